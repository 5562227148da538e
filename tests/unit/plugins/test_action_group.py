# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The action group holds every module that has its options, and no other."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_every_module_with_connection_options_is_in_the_action_group() -> None:
    modules = {
        path.stem
        for path in (ROOT / "plugins/modules").glob("*.py")
        if "- baremetal.herald._connection" in path.read_text()
    }
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    assert set(runtime["action_groups"]["k8s"]) == modules
