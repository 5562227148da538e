# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A burst of changes costs paced writes, one for each Service, and nothing is written twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.sim.cluster import Cluster
from tests.sim.machine import Machine, Request

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.allocation.allocator import IN_FLIGHT as REPORTS
from herald.core.model import SECOND, Block, Policy, Pool, Selector
from herald.core.status import IN_FLIGHT

COUNT = 1000


class Patches:
    """The status writes of a cluster: how many at once, and how many for each object."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        *kinds: type[fx.PatchService | fx.PatchPool | fx.PatchPolicy],
    ) -> None:
        self.open: Counter[str] = Counter()
        self.most = 0
        self.of: Counter[str] = Counter()
        patches: dict[tuple[str, int], str] = {}
        request, post = Machine._request, Machine.post

        def sent(machine: Machine, effect: Request) -> None:
            if isinstance(effect, kinds):
                name = effect.service.name if isinstance(effect, fx.PatchService) else effect.name
                patches[machine.name, effect.id] = name
                self.of[name] += 1
                self.open[machine.name] += 1
                self.most = max(self.most, self.open[machine.name])
            request(machine, effect)

        def answered(machine: Machine, event: ev.Event) -> None:
            is_answer = isinstance(event, ev.Answer)
            if is_answer and patches.pop((machine.name, event.request), None) is not None:
                self.open[machine.name] -= 1
            post(machine, event)

        patch.setattr(Machine, "_request", sent)
        patch.setattr(Machine, "post", answered)


def test_a_pool_edit_that_concerns_a_thousand_services(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(1)
    cluster.api.remove(Policy, "all")
    pool = cluster.api.objects[Pool, "pool"]
    assert isinstance(pool, Pool)
    (block,) = pool.blocks
    cluster.api.put(replace(pool, blocks=(replace(block, cidr="10.0.0.0/20"),), generation=2))
    names = [f"web{number}" for number in range(COUNT)]
    for name in names:
        cluster.service(name)
    cluster.start()
    cluster.run_until(lambda: all(cluster.get(name).ingress for name in names), 60)
    cluster.run(3)
    patches = Patches(monkeypatch, fx.PatchService)
    cluster.api.remove(Pool, "pool")
    begun = cluster.now
    cluster.run_until(
        lambda: all(
            any(condition.reason == "Orphaned" for condition in cluster.get(name).conditions)
            for name in names
        ),
        60,
    )
    spent = (cluster.now - begun) / SECOND
    cluster.run(5)
    assert patches.most <= IN_FLIGHT
    assert set(patches.of.values()) == {1}
    assert len(patches.of) == COUNT
    # Each takes the API server 1 to 10 ms here.
    assert spent < 10


POOLS = 200


def many_pools_and_policies() -> Cluster:
    """Settled, and the API server has been told what each says."""
    cluster = Cluster(1)
    for number in range(POOLS):
        block = Block(cidr=f"10.0.{number}.0/24")
        made = "2026-01-01T00:00:00Z"
        cluster.api.put(Pool(f"pool{number}", f"q{number}", 1, 1, made, (block,)))
        nobody = Selector({"app": f"{number}"})
        cluster.api.put(Policy(f"policy{number}", f"p{number}", 1, 1, service_selector=nobody))
    cluster.start()
    cluster.run_until(lambda: told_of(cluster) == {1}, 30)
    cluster.run(3)
    return cluster


def told_of(cluster: Cluster) -> set[int]:
    """Which generations statuses are of; 0: there is none."""
    return {
        obj.status.observed_generation if obj.status is not None else 0
        for obj in cluster.api.objects.values()
        if isinstance(obj, Pool | Policy)
    }


def edit_all(cluster: Cluster) -> None:
    for obj in list(cluster.api.objects.values()):
        if isinstance(obj, Pool | Policy):
            cluster.api.put(replace(obj, generation=obj.generation + 1))


def test_hundreds_of_pools_and_policies_that_change_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = many_pools_and_policies()
    patches = Patches(monkeypatch, fx.PatchPool, fx.PatchPolicy)
    edit_all(cluster)
    cluster.run_until(lambda: told_of(cluster) == {2}, 10)
    cluster.run(5)
    assert patches.most == REPORTS
    assert set(patches.of.values()) == {1}
    assert len(patches.of) == 2 * POOLS + 2


def test_statuses_of_pools_and_policies_that_are_refused_are_tried_again_at_leisure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = many_pools_and_policies()
    patches = Patches(monkeypatch, fx.PatchPool, fx.PatchPolicy)
    cluster.api.obstacle = lambda effect: (
        ev.Failed("429") if isinstance(effect, fx.PatchPool | fx.PatchPolicy) else None
    )
    edit_all(cluster)
    cluster.run(10)
    assert told_of(cluster) == {1}
    assert sum(patches.of.values()) < 11 * REPORTS
    cluster.api.obstacle = lambda _: None
    cluster.run_until(lambda: told_of(cluster) == {2}, 10)
    assert patches.most == REPORTS


def test_agents_that_start_again_write_nothing_but_who_lives_and_who_allocates() -> None:
    cluster = Cluster(3)
    names = [f"web{number}" for number in range(100)]
    for name in names:
        cluster.service(name)
    cluster.start()
    cluster.run_until(lambda: cluster.served(*names), 60)
    cluster.run(130)  # beyond the hold-down: what placement would rather see elsewhere has moved
    before = dict(cluster.api.objects)
    cluster.api.writes.clear()
    for machine in cluster.machines.values():
        machine.told.clear()
        machine.kill()
        cluster.run(0.5)
        machine.start()
        cluster.run(5)
    own = {"ipam", *(f"presence-{node}" for node in cluster.machines)}
    assert {name for _, name in cluster.api.writes} == own
    assert [event for machine in cluster.machines.values() for event in machine.told] == []
    changed = {key for key, found in cluster.api.objects.items() if before.get(key) is not found}
    assert {str(key) for _, key in changed} == own


def test_an_allocator_killed_in_the_middle_of_a_thousand_creations_loses_none_and_doubles_none() -> (
    None
):
    cluster = Cluster(3)
    cluster.api.remove(Policy, "all")
    pool = cluster.api.objects[Pool, "pool"]
    assert isinstance(pool, Pool)
    (block,) = pool.blocks
    cluster.api.put(replace(pool, blocks=(replace(block, cidr="10.0.0.0/20"),), generation=2))
    cluster.start()
    cluster.run_until(lambda: cluster.api.lease("ipam") is not None, 10)
    names = [f"web{number}" for number in range(COUNT)]
    killed = []
    for number, name in enumerate(names):
        cluster.service(name)
        cluster.run(0.01)
        if number % 150 == 149 and (allocator := cluster.allocator()):
            # In turn its agent starts again at once, or is gone for good until the next is killed.
            for machine in cluster.machines.values():
                if machine.agent is None:
                    machine.start()
            cluster.machines[allocator].kill()
            killed.append(allocator)
            if number % 300 == 149:
                cluster.machines[allocator].start()
    for machine in cluster.machines.values():
        if machine.agent is None:
            machine.start()
    assert len(killed) >= 4
    cluster.run_until(lambda: all(cluster.get(name).ingress for name in names), 120)
    cluster.run(5)
    shown = [cluster.get(name).ingress for name in names]
    assert {len(addresses) for addresses in shown} == {1}
    assert len({addresses[0] for addresses in shown}) == COUNT
    assert cluster.vip_leases() == {f"vip-{addresses[0]}" for addresses in shown}


@pytest.mark.parametrize("kind", [Pool, Policy])
def test_a_status_that_somebody_edits_is_put_right(kind: type[Pool | Policy]) -> None:
    cluster = Cluster(1)
    cluster.service("web")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web"), 15)
    cluster.run(5)
    (found,) = (each for each in cluster.api.objects.values() if isinstance(each, kind))
    assert found.status is not None
    cluster.api.put(replace(found, status=None))
    cluster.run(5)
    now = cluster.api.objects[kind, found.key]
    assert isinstance(now, kind)
    assert now.status == found.status
