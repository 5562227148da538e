# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The module arp_probe on a segment where it is known who answers, and in the lab."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from herald_lab import ansible
from herald_lab.layout import NODES
from hosts import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests/lab/lab"
MACS = {node.name: node.mac for node in NODES}
BOTH, ONE, NOBODY = "192.168.99.50", "192.168.99.60", "192.168.99.70"
BOTH6, ONE6, NOBODY6 = "fd99::50", "fd99::60", "fd99::70"

Json = dict[str, Any]

CASES: dict[str, Json] = {
    "one": {"addresses": [ONE, ONE6], "require_answer": True},
    "check": {"addresses": [ONE, ONE6], "require_answer": True},
    "nobody": {"addresses": [NOBODY, NOBODY6]},
    "wanted": {"addresses": [ONE, NOBODY6], "require_answer": True},
    "two": {"addresses": [ONE, BOTH, ONE6]},
    "two6": {"addresses": [BOTH6]},
    "bare": {"addresses": [ONE], "interface": "eth1", "require_answer": True},
    "bare6": {"addresses": [ONE6], "interface": "eth1"},
    "down": {"addresses": [ONE], "interface": "eth2"},
}


def play(seat: list[str], folder: Path, cases: dict[str, Json]) -> dict[str, Json]:
    """What the module returns in each case, by one playbook run on that seat."""
    tasks: list[Json] = [
        {
            "baremetal.herald.arp_probe": {"interface": "eth0", "timeout": 0.5, **options},
            "register": name,
            "ignore_errors": True,
            "check_mode": name == "check",
        }
        for name, options in cases.items()
    ]
    results = "{{ {" + ", ".join(f"'{name}': {name}" for name in cases) + "} | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": results, "dest": str(folder / "results")}})
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    book = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]
    (folder / "play.yml").write_text(json.dumps(book))
    command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local"]
    done = subprocess.run(
        [*seat, *command, str(folder / "play.yml")],
        env={**os.environ, **ansible.settings()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Json] = json.loads((folder / "results").read_text())
    return found


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    """The client, and two hosts: both have an address, the left one has one for itself."""
    made = Segment()
    try:
        made.make()
        for host in ("left", "right"):
            made.give(host, BOTH)
            made.give(host, BOTH6)
        made.give("left", ONE)
        made.give("left", ONE6)
        made.plug("client", "eth1", "bare")
        made.ip("client", "link", "set", "eth1", "addrgenmode", "none", "up")
        made.plug("client", "eth2", "unused")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def results(segment: Segment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    return play(segment.seat("client"), tmp_path_factory.mktemp("probe"), CASES)


def macs(result: Json) -> dict[str, list[str]]:
    return {
        entry["address"]: [each["mac"] for each in entry["answerers"]]
        for entry in result["addresses"]
    }


@pytest.mark.parametrize("case", ["one", "check"])
def test_one_answers_in_both_families(
    results: dict[str, Json], segment: Segment, case: str
) -> None:
    result = results[case]
    left = segment.mac("left")
    assert not result["failed"]
    assert not result["changed"]
    assert macs(result) == {ONE: [left], ONE6: [left]}
    for entry in result["addresses"]:
        assert entry["requests"] == 3
        [answerer] = entry["answerers"]
        assert answerer["answers"] == 3
        assert 0 < answerer["rtt_min"] <= answerer["rtt_median"] <= answerer["rtt_max"]


def test_nobody_answers_and_that_is_an_error_only_if_it_is_to_be(results: dict[str, Json]) -> None:
    assert not results["nobody"]["failed"]
    assert macs(results["nobody"]) == {NOBODY: [], NOBODY6: []}
    assert results["wanted"]["failed"]
    assert results["wanted"]["msg"] == (
        f"{NOBODY6}: wanted one answering MAC, found none after 3 requests"
    )
    assert macs(results["wanted"])[ONE]


@pytest.mark.parametrize(("case", "address"), [("two", BOTH), ("two6", BOTH6)])
def test_two_answer_and_that_is_an_error(
    results: dict[str, Json], segment: Segment, case: str, address: str
) -> None:
    result = results[case]
    assert result["failed"]
    assert set(macs(result)[address]) == {segment.mac("left"), segment.mac("right")}
    assert result["msg"].startswith(f"{address}: wanted one answering MAC, found 2 (")
    assert ";" not in result["msg"]


def test_a_device_without_addresses_probes_ipv4_and_says_what_ipv6_needs(
    results: dict[str, Json], segment: Segment
) -> None:
    assert macs(results["bare"]) == {ONE: [segment.mac("left")]}
    assert results["bare6"]["failed"]
    assert results["bare6"]["msg"] == (
        "interface: wanted a device with a link-local IPv6 address, found 'eth1'"
    )


def test_a_device_that_is_down_is_said(results: dict[str, Json]) -> None:
    assert results["down"]["failed"]
    assert "found 'eth2, which is down'" in results["down"]["msg"]


@pytest.mark.lab
def test_the_client_of_the_lab_hears_the_node_that_announces(
    herald: Lab,
    service: Callable[..., Service],
    wait_for: Callable[..., None],
    tmp_path: Path,
) -> None:
    _, addresses = service("probed", "--families", "RequireDualStack")
    for address in addresses:
        wait_for("a holder", lambda address=address: herald.holder(address) in MACS)
    seat = [str(PROGRAM), "--lab", herald.name, "client", "--"]
    case = {"addresses": addresses, "interface": "lan", "count": 10, "require_answer": True}
    result = play(seat, tmp_path, {"probe": case})["probe"]
    assert not result["failed"]
    assert macs(result) == {address: [MACS[herald.holder(address)]] for address in addresses}
