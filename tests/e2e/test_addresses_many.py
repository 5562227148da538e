# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Services by the hundred, while who gives the addresses is killed or stands still: none lost, none double."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from herald_lab.many import Many
from watched import LEASES, await_health, lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

COUNT = 1000
KILLS = (100, 300)  # so many addresses are given then
CIDR = "10.77.0.0/21"  # 2048 addresses
FEWER = 200
BEGUN = 20  # so many of them have a record when the allocator stands still


@pytest.fixture
def many(herald: Lab) -> Iterator[Many]:
    found = Many(herald.api, CIDR)
    try:
        yield found
    finally:
        found.remove()


def test_an_allocator_killed_in_the_middle_of_a_thousand_creations_loses_none_and_doubles_none(
    herald: Lab, many: Many, wait_for: Callable[..., None], figure: Callable[[str], None]
) -> None:
    shown_before: list[dict[str, list[str]]] = []
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        making = aside.submit(many.make, [f"s{number:04}" for number in range(COUNT)])
        for count in KILLS:
            enough = lambda count=count: many.used() >= count  # noqa: E731
            wait_for(f"{count} addresses to be given", enough, seconds=300)
            wait_for("an allocator that runs", lambda: runs(herald, allocator(herald)))
            shown_before.append(many.addresses())
            herald("fault", allocator(herald), "agent-kill")
        making.result()
    wait_for("every Service to have an address", lambda: many.served(COUNT), seconds=300)
    figure(
        f"{COUNT} Services, the allocator killed {len(KILLS)} times: all have addresses after "
        f"{time.monotonic() - begun:.1f} s"
    )
    assert sum(map(bool, shown_before[-1].values())) < COUNT, "the last kill came after the end"
    await_health(herald)

    shown = each_its_own(many, wait_for)
    for name, before in ((name, ips) for each in shown_before for name, ips in each.items()):
        assert before in ([], shown[name]), f"{name}: an address that was shown has changed"


def test_an_allocator_that_stands_still_in_the_middle_of_creations_is_replaced_and_doubles_none(
    herald: Lab, many: Many, wait_for: Callable[..., None]
) -> None:
    """Its node is frozen with requests under way, and wakes up in the belief that it allocates still."""
    with ThreadPoolExecutor(1) as aside:
        making = aside.submit(many.make, [f"s{number:04}" for number in range(FEWER)])
        wait_for(f"{BEGUN} records", lambda: len(many.given()) >= BEGUN)
        frozen = allocator(herald)
        with herald.fault(frozen, "freeze"):
            assert sum(map(bool, many.addresses().values())) < FEWER, "it came after the end"
            wait_for("another allocator", lambda: allocator(herald) not in ("", frozen))
            making.result()
            wait_for("every Service to have an address", lambda: many.served(FEWER), seconds=60)
            shown = each_its_own(many, wait_for)
    many.make([f"t{number:04}" for number in range(BEGUN)])
    wait_for("the latest to have addresses", lambda: many.served(FEWER + BEGUN), seconds=60)
    await_health(herald)
    assert shown.items() <= each_its_own(many, wait_for).items(), "an address has changed"


def each_its_own(many: Many, wait_for: Callable[..., None]) -> dict[str, list[str]]:
    """What the Services show: an address each, which no other has, and a lease that says the same."""
    shown = many.addresses()
    assert {len(addresses) for addresses in shown.values()} == {1}
    times = Counter(address for (address,) in shown.values())
    assert [address for address, count in times.items() if count > 1] == []
    leases = {lease_name(address): f"many/{name}" for name, (address,) in shown.items()}
    wait_for("a lease for each, and no other", lambda: many.given() == leases)
    assert many.addresses() == shown
    return shown


def allocator(lab: Lab) -> str:
    """The node that holds the lease `ipam`."""
    holder: str = lab.api.request("GET", f"{LEASES}/ipam")["spec"].get("holderIdentity", "")
    return holder


def runs(lab: Lab, node: str) -> bool:
    """Whether it is a node, and its agent has a process that could be killed."""
    active = ("systemctl", "is-active", "herald-agent")
    return bool(node) and lab.exec(node, *active, check=False).strip() == "active"
