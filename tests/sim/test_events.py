# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What people are told by events: why a Service has no address, in time and again, and none for want of room."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from tests.sim.cluster import Cluster, Machine

from herald.core import effects as fx
from herald.core import status
from herald.core.model import SECOND, Pool
from herald.core.status import REMIND, REMIND_PACE
from herald.kube.pacer import RATE, REPEAT_AFTER, EventPacer

COUNT = 1000
NOWHERE = {"herald.dev/pool": "none"}


class Told(list[fx.EmitEvent]):
    """The events that the writer lets through, and when."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.pacer = EventPacer(machine.clock)
        self.at: dict[str, list[int]] = {}
        self._clock = machine.clock
        machine.told = self

    def append(self, event: fx.EmitEvent) -> None:
        if self.pacer.admit(event):
            super().append(event)
            self.at.setdefault(event.service[1], []).append(self._clock())


def test_who_has_no_address_is_told_why_again_before_the_event_is_forgotten() -> None:
    cluster = Cluster(1)
    cluster.service("web", annotations=NOWHERE)
    cluster.start()
    cluster.run(10)
    before = len(cluster.told("web", "NoPool"))
    assert before >= 1
    cluster.run(2 * REMIND / SECOND)
    assert len(cluster.told("web", "NoPool")) == before + 2


def test_a_thousand_who_have_no_address_are_told_in_turn() -> None:
    cluster = Cluster(1)
    (machine,) = cluster.machines.values()
    told = Told(machine)
    names = [f"web{number}" for number in range(COUNT)]
    for name in names:
        cluster.service(name, annotations=NOWHERE)
    cluster.start()
    cluster.run(30)
    # Of so many at once the writer lets through only some.
    assert len(told.at) < COUNT / 2
    begun, dropped = machine.clock(), told.pacer.dropped
    cluster.run(REMIND / SECOND)
    assert told.at.keys() == set(names)
    cluster.service("new", annotations=NOWHERE)
    cluster.run(1)
    assert len(told.at["new"]) == 1
    cluster.run(1.2 * REMIND / SECOND)
    assert told.pacer.dropped == dropped
    for times in told.at.values():
        # The writer tells nothing twice in five minutes; then it is told with the next round.
        gaps = [after - before for before, after in pairwise((*times, machine.clock()))]
        assert max(gaps) < REMIND + REPEAT_AFTER + SECOND
    again = sorted(at for name in names for at in told.at[name] if at > begun)
    assert min(after - before for before, after in pairwise(again)) >= REMIND // (COUNT + 1)


def test_more_than_there_is_time_for_are_told_in_turn_below_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "REMIND", 10 * SECOND)
    assert REMIND_PACE * RATE > SECOND
    cluster = Cluster(1)
    (machine,) = cluster.machines.values()
    names = [f"web{number}" for number in range(100)]
    for name in names:
        cluster.service(name, annotations=NOWHERE)
    cluster.start()
    cluster.run(10)
    machine.told.clear()
    length = len(names) * REMIND_PACE / SECOND
    for _ in range(3):
        cluster.run(length)
    assert len(machine.told) <= 3 * len(names) + 1
    for name in names:
        assert len(cluster.told(name, "NoPool")) in (2, 3, 4)


def test_who_has_an_address_meanwhile_or_is_gone_is_told_nothing_again() -> None:
    cluster = Cluster(1)
    for name in ("web", "gone", "waits"):
        cluster.service(name, annotations=NOWHERE)
    cluster.start()
    cluster.run(10)
    cluster.api.put(replace(cluster.get("web"), annotations={}))
    cluster.delete_service("gone")
    cluster.run(10)
    assert cluster.served("web")
    (machine,) = cluster.machines.values()
    machine.told.clear()
    cluster.run(2 * REMIND / SECOND)
    assert {event.service[1] for event in machine.told} == {"waits"}


def test_another_allocator_goes_on_to_tell_why() -> None:
    cluster = Cluster(2)
    cluster.service("web", annotations=NOWHERE)
    cluster.start()
    cluster.run(10)
    lost = cluster.machines[cluster.allocator()]
    lost.power_off()
    before = len(cluster.told("web", "NoPool"))
    cluster.run(10 + REMIND / SECOND)
    assert cluster.allocator() != lost.name
    assert len(cluster.told("web", "NoPool")) == before + 1


def test_an_address_without_a_pool_behind_it_is_told_once_and_so_is_its_end() -> None:
    cluster = Cluster(1)
    pool = cluster.api.objects[Pool, "pool"]
    assert isinstance(pool, Pool)
    cluster.service("web")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web"), 15)
    cluster.run(3)
    (address,) = cluster.get("web").ingress
    given = cluster.told("web", "Allocated")
    (block,) = pool.blocks
    elsewhere = replace(pool, blocks=(replace(block, cidr="203.0.113.0/24"),), generation=2)
    cluster.api.put(elsewhere)
    cluster.run(3)
    cluster.api.remove(Pool, "pool")
    cluster.run(3)
    (condition,) = (c for c in cluster.get("web").conditions if c.type == "herald.dev/Allocated")
    assert (condition.status, condition.reason) == ("True", "Orphaned")
    assert cluster.told("web", "Orphaned") == [f"{address} of pool pool, which no longer has it"]
    assert cluster.told("web", "Allocated") == given
    (kind,) = {e.type for e in cluster.machines["n1"].told if e.reason == "Orphaned"}
    assert kind == "Warning"
    cluster.machines["n1"].kill()
    cluster.machines["n1"].start()
    cluster.run(5)
    assert len(cluster.told("web", "Orphaned")) == 1
    cluster.api.put(replace(pool, generation=3))
    cluster.run(3)
    assert cluster.told("web", "Allocated") == [*given, f"{address} of pool pool"]
    assert cluster.get("web").ingress == (str(address),)
