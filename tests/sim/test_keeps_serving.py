# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What keeps an address from being served, or moves it without a reason."""

from __future__ import annotations

import pytest
from tests.sim.cluster import Cluster, Machine
from tests.sim.test_life_of_an_address import served_cluster

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.leases import INSTANCE
from herald.core.model import SECOND, Address, Interface, Pool
from herald.core.settings import Settings


def once(kind: type[fx.Effect], attribute: str = "id") -> object:
    """Refuses the first effect of a kind that has something there, and no other."""
    errors = ["EBUSY"]

    def refuse(effect: fx.Effect) -> str:
        if isinstance(effect, kind) and getattr(effect, attribute) and errors:
            return errors.pop()
        return ""

    return refuse


def holder_of(cluster: Cluster) -> Machine:
    return cluster.machines[cluster.holder("web0")]


def test_a_shorter_duration_is_not_joined_with_while_the_kernel_answers_by_the_longer() -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss="Withdraw", renew_budget=1))
    cluster.run(20)
    machine = holder_of(cluster)
    machine.kill()
    machine.start()

    def die(written: ev.KubeObject, _: object) -> None:
        if written.key == f"presence-{machine.name}":
            cluster.after(0, machine.kill)

    cluster.api.written.append(die)
    cluster.run(10)
    assert cluster.served("web0")


def test_an_entry_that_the_kernel_refuses_once_is_asked_for_again() -> None:
    cluster = Cluster(1)
    cluster.machines["n1"].refuse = once(fx.SetEntries, "put")  # type: ignore[assignment]
    cluster.service("web0")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web0"), 3)


def test_a_full_table_keeps_what_it_has_and_the_rest_goes_elsewhere() -> None:
    cluster = Cluster(2)
    full = cluster.machines["n1"]

    def refuse(effect: fx.Effect) -> str:
        put = effect.put if isinstance(effect, fx.SetEntries) else {}
        if len(full.kernel.entries.keys() | put.keys()) <= 2:
            return ""
        cluster.invariants.trouble["n1"] = cluster.now
        return "map vip4 is full"

    full.refuse = refuse
    names = [f"web{number}" for number in range(8)]
    for name in names:
        cluster.service(name)
    cluster.start()
    cluster.run_until(lambda: len(full.kernel.entries) == 2, 10)
    oldest = dict(full.kernel.entries)

    cluster.run_until(lambda: cluster.served(*names), 60)

    until = cluster.now + 3 * SECOND
    while cluster.now < until:
        cluster.run(0.1)
        assert full.kernel.entries == oldest
        assert {key.address for key in oldest} <= full.kernel.answers(full.clock())


def holding() -> tuple[Cluster, Machine, Address]:
    """The API server is away; the node that holds the address answers on."""
    cluster, _ = served_cluster(settings=Settings(on_api_loss="Hold"))
    cluster.run(5)
    machine = holder_of(cluster)
    cluster.api_away()
    cluster.run(4)
    return cluster, machine, next(iter(machine.kernel.answers(machine.clock())))


def test_a_silenced_address_is_claimed_anew_by_an_agent_that_did_not_see_it_silenced() -> None:
    cluster, machine, address = holding()
    machine.kill()
    assert machine.kernel.conflict(address, machine.clock())
    machine.start()
    cluster.api_back()
    cluster.run(10)
    assert cluster.served("web0")


def test_a_silenced_address_is_claimed_anew_though_the_kernels_event_of_it_was_lost() -> None:
    cluster, machine, address = holding()
    assert machine.kernel.conflict(address, machine.clock())
    cluster.api_back()
    cluster.run_until(lambda: cluster.served("web0"), 2)
    assert machine.kernel.claim_of(address) > machine.kernel.silenced[address]


def test_statuses_that_cannot_be_written_keep_nobody_from_fencing() -> None:
    cluster, names = served_cluster(services=8, nodes=2)
    cluster.run(5)
    cluster.api.obstacle = lambda effect: (
        ev.Failed("500 webhook") if isinstance(effect, fx.PatchService) else None
    )
    cluster.service("web8")
    allocator = cluster.api.lease("ipam")
    assert allocator is not None
    lost = next(name for name in cluster.machines if name != allocator.holder)
    cluster.machines[lost].power_off()
    cluster.run_until(lambda: cluster.served(*names), 4)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_status_that_is_refused_once_is_written_in_the_end(status: int) -> None:
    cluster, _ = served_cluster()
    errors = [ev.Refused(status, "not now") if status < 500 else ev.Failed("not now")]
    cluster.api.obstacle = lambda effect: (
        errors.pop() if errors and isinstance(effect, fx.PatchService) else None
    )
    cluster.service("web1")
    cluster.run(10)
    assert cluster.get("web1").ingress


def test_a_pool_status_that_failed_once_is_written_in_the_end() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    errors = [ev.Failed("not now")]
    cluster.api.obstacle = lambda effect: (
        errors.pop() if errors and isinstance(effect, fx.PatchPool) else None
    )
    cluster.service("web1")
    cluster.run(10)
    pool = cluster.api.objects[Pool, "pool"]
    assert isinstance(pool, Pool)
    assert pool.status is not None
    assert pool.status.ips_used == "2"


def keeps_answering(cluster: Cluster, seconds: float) -> None:
    """Nothing that a living node answers falls silent or moves."""
    before = {
        address: nodes
        for address, nodes in cluster.answering().items()
        if cluster.machines[nodes[0]].powered
    }
    assert before
    for _ in range(int(seconds * 50)):
        cluster.run(0.02)
        now = cluster.answering()
        assert {address: now.get(address) for address in before} == before


def test_the_loss_of_the_only_peer_takes_no_address_from_the_node_that_stays() -> None:
    cluster, _ = served_cluster(services=8, nodes=2)
    cluster.run(5)
    cluster.machines["n2"].power_off()
    keeps_answering(cluster, 6)


def test_the_loss_of_most_peers_takes_no_address_from_those_that_stay() -> None:
    cluster, _ = served_cluster(services=16, nodes=5)
    cluster.run(5)
    for name in ("n3", "n4", "n5"):
        cluster.machines[name].power_off()
    keeps_answering(cluster, 6)


def test_one_of_two_devices_that_takes_no_frames_does_not_keep_the_other_from_its_burst() -> None:
    cluster = Cluster(1)
    machine = cluster.machines["n1"]
    machine.extra = (Interface(3, "eth1", bytes([2, 0, 0, 0, 1, 1]), up=True, carrier=True),)
    machine.refuse = lambda effect: (
        "ENOBUFS"
        if isinstance(effect, fx.SendFrames) and effect.announcements[0].ifindex == 3
        else ""
    )
    cluster.service("web0")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web0"), 5)
    cluster.run(5)
    assert len([frame for frame in machine.frames if frame.ifindex == 2]) > 3


def test_an_agent_that_must_fall_silent_does_so_although_the_kernel_refused_once() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    machine = holder_of(cluster)
    machine.refuse = once(fx.SetEntries, "remove")  # type: ignore[assignment]
    cluster.edit(f"presence-{machine.name}", {INSTANCE: "another/process"})
    cluster.run(1)
    assert machine.kernel.entries == {}
    assert machine.kernel.session.deadline == 0


def test_a_conflict_that_is_won_is_answered_by_frames() -> None:
    cluster, _ = served_cluster()
    cluster.run(10)
    machine = holder_of(cluster)
    sent = len(machine.frames)
    (address,) = machine.kernel.answers(machine.clock())
    machine.post(ev.ConflictSeen(address, bytes([2, 0, 0, 0, 9, 9]), 2))
    cluster.run(1)
    assert len(machine.frames) > sent


def test_a_device_that_nobody_can_be_heard_on_is_not_held() -> None:
    """Announced on eth1, which has no address to probe from; eth0 hears everybody."""
    cluster = Cluster(2, settings=Settings(on_api_loss="Hold"))
    for machine in cluster.machines.values():
        mac = bytes([2, 0, 0, 0, 1, machine.number])
        machine.extra = (Interface(3, "eth1", mac, up=True, carrier=True),)
    cluster.service("web0")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web0"), 5)
    cluster.run(5)
    machine = holder_of(cluster)
    assert {key.ifindex for key in machine.kernel.entries} == {2, 3}
    cluster.api_away()
    cluster.run(4)
    assert machine.kernel.session.fuse == 0
