# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenarios of address management, told in one row each.

A row says what there is, what then happens, and what each Service has in the end: its addresses (as its
status shows them), the reason of its condition, and words of the message. The tables are in
``test_ipam_*.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from tests.unit.core.ipam_world import MAC, Allocator, Cluster, addresses, key_of, pool, settle

from herald.core.allocation.ipam import Record
from herald.core.model import Pool, Service


class World:
    """A cluster and its allocator, quick to give orders to."""

    def __init__(self, *, default_class: bool, adopt: tuple[str, ...]) -> None:
        self.cluster = Cluster()
        self._default_class = default_class
        self._adopt = adopt
        self.restart()

    def put(self, *objects: Service | Pool) -> None:
        self.cluster.put(*objects)

    def settle(self) -> None:
        settle(self.allocator)

    def restart(self) -> None:
        """A new allocator knows nothing but the cluster."""
        self.cluster.allocators.clear()
        self.allocator = Allocator(
            self.cluster, default_class=self._default_class, adopt=self._adopt
        )


Step = Callable[[World], None]


# --- What happens --------------------------------------------------------------------------------------


def then(*objects: Service | Pool) -> Step:
    return lambda world: world.put(*objects)


def gone(*names: str) -> Step:
    def step(world: World) -> None:
        for name in names:
            world.cluster.delete(name)

    return step


def restart() -> Step:
    return lambda world: world.restart()


def without_agent(*steps: Step) -> Step:
    """What happens while nobody allocates."""

    def step(world: World) -> None:
        world.cluster.allocators.clear()
        for each in steps:
            each(world)
        world.restart()

    return step


def status_written(name: str) -> Step:
    """Somebody writes its status, and leaves the rest as it is."""
    return lambda world: world.cluster.write_status(key_of(name))


def lost_leases(texts: str) -> Step:
    """etcd is restored from a backup that does not have these VIP leases."""

    def step(world: World) -> None:
        for address in addresses(texts):
            world.cluster.lose_lease(address)

    return step


def lease(text: str, of_pool: str, *names: str) -> Step:
    def step(world: World) -> None:
        record = Record(ip_address(text), of_pool, tuple(sorted(map(key_of, names))))
        assert world.cluster.give(record, world.cluster.leases.get(record.address))

    return step


def stranger(text: str) -> Step:
    """Somebody answers for the address."""

    def step(world: World) -> None:
        address = ip_address(text)
        record = world.cluster.leases.get(address)
        services = record.services if record else ()
        world.allocator.ipam.set_aside(address, MAC, services)

    return step


def stranger_left(text: str) -> Step:
    return lambda world: world.allocator.ipam.clear_aside(ip_address(text))


# --- Rows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    rule: str
    there_is: tuple[Pool | Service, ...]
    ends: dict[str, str]
    """Service to ``addresses reason`` (several addresses: comma), or ``untouched``."""
    steps: tuple[Step, ...] = ()
    says: dict[str, str] = field(default_factory=dict)
    """Service to words of the condition's message."""
    default_class: bool = True
    adopt: tuple[str, ...] = ()
    in_one_go: bool = True
    """Whether it ends so, too, where no agent sees what there is between the steps."""


V4 = pool("p", "192.0.2.0/28")
ONE = pool("one", "192.0.2.1")
BOTH = pool("both", "192.0.2.0/28,2001:db8::/64")
V6 = pool("six", "2001:db8::/64")


def rows(**groups: list[Case]) -> pytest.MarkDecorator:
    """Run the test once for every case."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=f"{group}: {ascii(case.rule)[1:-1][:90]}")
            for group, cases in groups.items()
            for case in cases
        ],
    )


def unseen_rows(**groups: list[Case]) -> pytest.MarkDecorator:
    """Run the test once for every case with steps, which happen while no agent runs: an agent
    between any two of them; and, where there are several, none."""
    return rows(
        **{
            f"{group} unseen": [
                replace(case, steps=tuple(map(without_agent, case.steps)))
                for case in cases
                if case.steps
            ]
            for group, cases in groups.items()
        },
        **{
            f"{group} in one go": [
                replace(case, steps=(without_agent(*case.steps),))
                for case in cases
                if len(case.steps) > 1 and case.in_one_go
            ]
            for group, cases in groups.items()
        },
    )


def play(case: Case) -> World:
    world = World(default_class=case.default_class, adopt=case.adopt)
    world.put(*case.there_is)
    world.settle()
    for step in case.steps:
        step(world)
        world.settle()
    return world


def check(case: Case) -> None:
    """It ends as the row says; and an allocator that starts afresh then writes nothing."""
    world = play(case)
    for name, end in case.ends.items():
        found = world.cluster.services[key_of(name)]
        *shown, reason = end.replace("- ", "").split()
        conditions = [condition.reason for condition in found.conditions] or ["untouched"]
        message = found.conditions[0].message if found.conditions else ""
        assert (",".join(found.ingress), conditions) == ("".join(shown), [reason]), message
        assert case.says.get(name, "") in message
    if not world.allocator.ipam.strangers:
        writes = world.cluster.writes
        world.restart()
        world.settle()
        assert world.cluster.writes == writes
