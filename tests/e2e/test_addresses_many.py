# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A thousand Services at once, an allocator that is killed meanwhile, and what a restart writes: nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from herald_lab.layout import NODES
from herald_lab.many import Many
from watched import await_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = pytest.mark.lab

COUNT = 1000
# 15 s are promised where the cluster has a machine for each of its parts. Here three agents, the API server, etcd and
# whatever else is tested just now share two cores: so this only tells a storm, or a queue that stands, from work.
# tests/bench/addresses.py measures it.
LIMIT = 90.0
QUIET = 3.0  # seconds without a write


@pytest.fixture
def silence(herald: Lab) -> Iterator[None]:
    """No policy: nothing is announced, so that the machine has its cores for what is tried here."""
    policy = herald.get("l2policy", "lab")
    herald.kubectl("delete", "l2policy", "lab")
    try:
        yield
    finally:
        kept = {
            "apiVersion": policy["apiVersion"],
            "kind": policy["kind"],
            "metadata": {"name": "lab"},
            "spec": policy["spec"],
        }
        herald.api.apply("/apis/herald.dev/v1alpha1/l2announcementpolicies/lab", kept)


@pytest.fixture
def many(herald: Lab, silence: None, wait_for: Callable[..., None]) -> Iterator[Many]:
    found = Many(herald.api, "10.77.0.0/20")
    try:
        yield found
    finally:
        found.remove()
        wait_for("all addresses to be freed", lambda: not found.given(), seconds=LIMIT)


def test_an_allocator_killed_again_and_again_loses_no_service_and_gives_no_address_twice(
    herald: Lab, many: Many, wait_for: Callable[..., None], figure: Callable[[str], None]
) -> None:
    names = [f"s{number:04}" for number in range(COUNT)]
    killed: list[str] = []

    def kill(number: int) -> None:
        if number and number % 250 == 0:
            ipam = herald.api.get(
                "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases/ipam"
            )
            assert ipam is not None
            node = ipam["spec"].get("holderIdentity")
            if node:
                herald("fault", node, "agent-kill")
                killed.append(node)

    begun = time.monotonic()
    many.make(names, meanwhile=kill)
    made = time.monotonic()
    assert len(killed) >= 2, killed
    wait_for(
        "every Service to have an address", lambda: all(many.addresses().values()), seconds=LIMIT
    )
    figure(
        f"{COUNT} Services, made within {made - begun:.1f} s, the allocator killed {len(killed)} times: "
        f"all have addresses {time.monotonic() - made:.1f} s later"
    )
    shown = many.addresses()
    assert sorted(shown) == names
    assert {len(addresses) for addresses in shown.values()} == {1}
    assert len({addresses[0] for addresses in shown.values()}) == COUNT
    wait_for("no record without a Service that shows it", lambda: len(many.given()) == COUNT)
    recorded = {services: lease for lease, services in many.given().items()}
    assert recorded == {f"many/{name}": f"vip-{addresses[0]}" for name, addresses in shown.items()}

    restart_all_and_see_nothing_written(herald, many, wait_for)


def restart_all_and_see_nothing_written(
    herald: Lab, many: Many, wait_for: Callable[..., None]
) -> None:
    """Every agent in turn starts afresh, the allocator among them."""
    settled: tuple[object, float] = (None, 0.0)

    def quiet() -> bool:
        nonlocal settled
        found, now = (many.versions(), many.writes()), time.monotonic()
        if found != settled[0]:
            settled = found, now
        return now - settled[1] >= QUIET

    wait_for("the last write", quiet, seconds=LIMIT)
    before, writes = many.versions(), many.writes()
    for node in NODES:
        herald("fault", node.name, "agent-kill")
        await_health(herald, [node.name])
        wait_for("an allocator at work", lambda: allocates(herald))
    assert many.versions() == before
    assert many.writes() - writes == {}


def allocates(lab: Lab) -> bool:
    """Whether whoever holds the lease says that it allocates: it has read all there is."""
    from watched import agent_status

    return any(agent_status(lab, node.name)["allocator"] for node in NODES)
