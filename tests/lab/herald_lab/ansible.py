# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Ansible for tests and benchmarks: this tree's collection (`make venv` links it), and nothing of the user's home."""

from __future__ import annotations

from pathlib import Path

_BUILD = Path(__file__).resolve().parents[3] / "build"


def settings(**others: str) -> dict[str, str]:
    """Environment variables of ansible-playbook; `others` go before."""
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(_BUILD / "collections"),
        "ANSIBLE_HOME": str(_BUILD / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        **others,
    }


def env(**others: str) -> list[str]:
    """The same as the beginning of a command."""
    return ["env", *(f"{name}={value}" for name, value in settings(**others).items())]
