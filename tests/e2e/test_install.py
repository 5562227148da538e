# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What playbooks/site.yml leaves on a node and in the cluster, and that it knows when it is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from published import install
from watched import agent_status, await_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab

pytestmark = pytest.mark.lab

NODES = ("n1", "n2", "n3")
MEMORY = 48 * 1024  # KiB, resident


def test_second_run_of_the_playbook_changes_nothing(herald: Lab, tmp_path: Path) -> None:
    """The second one is the published collection's, and finds what the tree's has done."""
    install(tmp_path)
    done = herald.attempt_playbook("baremetal.herald.site", ANSIBLE_COLLECTIONS_PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    recap = done.stdout.partition("PLAY RECAP")[2]
    hosts = dict(re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", recap, re.MULTILINE))
    assert hosts == dict.fromkeys(("localhost", *NODES), "0"), recap


def test_every_agent_is_healthy_and_knows_the_others(herald: Lab) -> None:
    await_health(herald)
    for node in NODES:
        status = agent_status(herald, node)
        assert status["node"] == node
        assert status["live_nodes"] == len(NODES)
        assert status["problems"] == []


def test_agent_is_no_root_and_holds_three_capabilities(herald: Lab) -> None:
    for node in NODES:
        status = herald.exec(node, "cat", f"/proc/{main_process(herald, node)}/status")
        uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
        assert uids
        assert "0" not in uids[1].split()
        held = re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
        assert held
        wanted = 1 << 12 | 1 << 13 | 1 << 39  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF
        assert int(held[1], 16) == wanted


def test_agent_is_small_and_the_loader_gone(herald: Lab, figure: Callable[[str], None]) -> None:
    found = {}
    for node in NODES:
        status = herald.exec(node, "cat", f"/proc/{main_process(herald, node)}/status")
        resident = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert resident
        found[node] = int(resident[1])
        assert "loader.py" not in herald.exec(node, "ps", "-eo", "args")
    each = ", ".join(f"{node} {size / 1024:.1f}" for node, size in found.items())
    figure(f"agents' resident memory in MB: {each}")
    assert max(found.values()) <= MEMORY


def main_process(lab: Lab, node: str) -> str:
    shown = ("systemctl", "show", "--property=MainPID", "--value", "herald-agent")
    pid = lab.exec(node, *shown).strip()
    assert pid != "0", f"{node}: the agent does not run"
    return pid
