# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Other hosts on the segment ask for a held address, want it for themselves, and take it all the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from herald_lab import layout
from stations import Station, station
from watched import agent_status, await_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

METRICS = "http://127.0.0.1:9955/metrics"


@pytest.fixture
def other(herald: Lab) -> Iterator[Station]:
    with station(herald.name, 99) as found:
        yield found


@pytest.fixture
def held(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None]
) -> tuple[str, str]:
    """An IPv4 and an IPv6 address that are announced."""
    _, given = service("contested", "--families", "RequireDualStack")
    wait_for("both to be announced", lambda: all(herald.holder(each) for each in given))
    await_health(herald)
    four, six = sorted(given, key=lambda each: ":" in each)
    return four, six


def mac_of(lab: Lab, address: str) -> str:
    return layout.node(lab.holder(address)).mac


@pytest.mark.parametrize(
    ("families", "address"), [("SingleStack", "192.168.77.239"), ("IPv6", "fd77:77::2fe")]
)
def test_an_address_that_a_host_has_is_not_given(
    herald: Lab, other: Station, wait_for: Callable[..., None], families: str, address: str
) -> None:
    once = ["nodad"] if ":" in address else []
    other("ip", "address", "add", f"{address}/{128 if once else 32}", "dev", "lan", *once)

    def allocated() -> dict[str, str]:
        found = herald.get("service", "taken")["status"].get("conditions", [])
        return next((each for each in found if each["type"] == "herald.dev/Allocated"), {})

    wanted = ("--families", families, "--annotation", f"herald.dev/ips={address}")
    try:
        herald("service", "taken", *wanted)
        wait_for("it to be refused", lambda: allocated().get("reason") == "AddressConflict")
        assert other.mac in allocated()["message"]
        assert herald.holder(address) == ""
    finally:
        herald("service", "taken", "--delete")


def test_common_tools_are_answered_by_the_holder_alone(
    herald: Lab, held: tuple[str, str], other: Station
) -> None:
    four, six = held
    said = other("arping", "-c", "3", "-w", "5", "-I", "lan", four)
    assert set(re.findall(r"\[([0-9A-F:]+)\]", said)) == {mac_of(herald, four).upper()}
    said = other("ndisc6", "--retry", "3", six, "lan")
    assert re.findall(r"Target link-layer address: (\S+)", said) == [mac_of(herald, six).upper()]


def test_a_host_that_wants_a_held_address_is_told_that_it_is_in_use(
    held: tuple[str, str], other: Station, wait_for: Callable[..., None]
) -> None:
    """By RFC 5227's probe, and by duplicate address detection as Linux itself does it."""
    four, six = held
    said = other("arping", "-D", "-c", "2", "-w", "5", "-I", "lan", four, check=False)
    assert re.search(r"Received 1 response|Received [1-9]\d* repl", said), said

    other("ip", "address", "add", f"{six}/64", "dev", "lan")

    def flags() -> str:
        return other("ip", "address", "show", "dev", "lan", "to", six)

    wait_for("detection to end", lambda: "tentative" not in flags() or "dadfailed" in flags())
    assert "dadfailed" in flags()


def test_a_host_that_takes_a_held_address_is_named_and_answered(
    herald: Lab, held: tuple[str, str], other: Station, wait_for: Callable[..., None]
) -> None:
    four, _ = held
    holder, mac = herald.holder(four), mac_of(herald, four)
    with station(herald.name, 98) as client:
        client("arping", "-c", "1", "-I", "lan", four)  # (asks, and leaves the cache alone)
        client("ip", "neighbour", "add", four, "lladdr", mac, "dev", "lan", "nud", "reachable")
        other("ip", "address", "add", f"{four}/32", "dev", "lan")

        other("arping", "-A", "-c", "1", "-I", "lan", four)

        wait_for("the client to be back at the holder", lambda: client.neighbour(four) == mac)
        assert herald.holder(four) == holder

    def condition() -> dict[str, str]:
        found = herald.get("service", "contested")["status"]["conditions"]
        return next(each for each in found if each["type"] == "herald.dev/Announced")

    wait_for("the condition to say so", lambda: condition()["reason"] == "AddressConflict")
    assert f"{four} is also claimed by {other.mac} on host0" in condition()["message"]
    (told,) = agent_status(herald, holder)["conflicts"]
    assert (told["address"], told["claimed_by"], told["interface"]) == (four, other.mac, "host0")
    metrics = herald.exec(holder, "curl", "-sS", METRICS)
    assert re.search(rf'^herald_conflicts_total{{address="{four}"}} [1-9]', metrics, re.MULTILINE)
    assert (
        f'herald_conflict_age_seconds{{address="{four}",interface="host0",mac="{other.mac}"}}'
        in metrics
    )
    uid = herald.get("service", "contested")["metadata"]["uid"]
    told_to_the_service = [
        (each["reason"], each["source"]["host"])
        for each in herald.get("events")["items"]
        if each["involvedObject"].get("uid") == uid and other.mac in each["message"]
    ]
    assert told_to_the_service == [("AddressConflict", holder)]
