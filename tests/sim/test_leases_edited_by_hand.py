# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What people do to Leases by hand: nothing of it may end a loop, nor make two nodes answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.sim.cluster import Cluster
from tests.sim.disasters import MODES, Mode
from tests.sim.test_life_of_an_address import served_cluster

from herald.core.leases import DURATION, EPOCH, INSTANCE, PRESENCE, RELEASED
from herald.core.model import MILLISECOND, Service
from herald.core.settings import Settings

VIP = "vip-198.51.100.0"


def cut_off_holder(cluster: Cluster) -> str:
    """The holder goes on answering until its deadline, and hears of nothing."""
    holder = cluster.holder("web0")
    cluster.machines[holder].cut()
    return holder


def _holder(cluster: Cluster) -> str | None:
    lease = cluster.api.lease(VIP)
    return lease.holder if lease is not None else None


def test_a_report_edited_by_hand_ends_the_epoch_for_all_or_for_nobody() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    cluster.edit(f"presence-{cluster.holder('web0')}", {PRESENCE: '{"node":"another"}'})
    cluster.run(1.5)
    cut_off_holder(cluster)
    cluster.run(5)
    assert cluster.served("web0")


def test_an_epoch_taken_off_a_lease_by_hand_frees_nothing_at_once() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    cut_off_holder(cluster)
    cluster.edit(VIP, {EPOCH: None})
    cluster.run(5)
    assert cluster.served("web0")


def _epoch_of(cluster: Cluster, node: str) -> str:
    lease = cluster.api.lease(f"presence-{node}")
    assert lease is not None
    return f"{lease.uid}/{lease.transitions}"


def _another(cluster: Cluster) -> str:
    holder = cluster.holder("web0")
    return next(name for name in cluster.machines if name != holder)


def _names_another_that_lives(cluster: Cluster) -> Callable[[], None]:
    epoch = _epoch_of(cluster, _another(cluster))
    return lambda: cluster.edit(VIP, {EPOCH: epoch})


def _names_another_that_is_over(cluster: Cluster) -> Callable[[], None]:
    machine = cluster.machines[_another(cluster)]
    epoch = _epoch_of(cluster, machine.name)
    machine.power_off()
    cluster.run(4)
    machine.power_on()
    cluster.run(4)
    return lambda: cluster.edit(VIP, {EPOCH: epoch})


def _names_an_earlier_one_of_the_same_node(cluster: Cluster) -> Callable[[], None]:
    for machine in cluster.machines.values():
        machine.power_off()
        cluster.run(4)
        machine.power_on()
        cluster.run_until(lambda: cluster.served("web0"), 20)
        cluster.run(5)
    uid, _, transitions = _epoch_of(cluster, cluster.holder("web0")).rpartition("/")
    return lambda: cluster.edit(VIP, {EPOCH: f"{uid}/{int(transitions) - 1}"})


def _is_a_copy_of_when_another_let_go(cluster: Cluster) -> Callable[[], None]:
    epoch = _epoch_of(cluster, _another(cluster))
    return lambda: cluster.edit(VIP, {EPOCH: None, RELEASED: epoch}, holder="")


def _is_a_copy_of_when_its_holder_let_go_before(cluster: Cluster) -> Callable[[], None]:
    epoch = _epoch_of(cluster, cluster.holder("web0"))
    lease = cluster.api.lease(VIP)
    assert lease is not None
    before = lease.transitions - 1
    return lambda: cluster.edit(VIP, {EPOCH: None, RELEASED: epoch}, holder="", transitions=before)


def _is_a_copy_of_when_one_that_is_drained_had_it(cluster: Cluster) -> Callable[[], None]:
    before = cluster.api.lease(VIP)
    assert before is not None
    cluster.drain(before.holder, drain=True)
    cluster.run_until(lambda: _holder(cluster) not in ("", before.holder), 3)
    cluster.run(1)
    return lambda: cluster.edit(
        VIP, dict(before.annotations), holder=before.holder, transitions=before.transitions
    )


def _is_torn_out(cluster: Cluster) -> Callable[[], None]:
    return lambda: cluster.tear_out(VIP)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "hand",
    [
        _names_another_that_lives,
        _names_another_that_is_over,
        _names_an_earlier_one_of_the_same_node,
        _is_a_copy_of_when_another_let_go,
        _is_a_copy_of_when_its_holder_let_go_before,
        _is_a_copy_of_when_one_that_is_drained_had_it,
        _is_torn_out,
    ],
)
def test_whose_lease_is_taken_by_hand_has_the_time_to_notice(
    mode: Mode, late: bool, hand: Callable[[Cluster], Callable[[], None]]
) -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss=mode))
    cluster.run(5)
    edit = hand(cluster)
    holder = cluster.machines[cluster.holder("web0")]
    if late:
        holder.lag = 1900 * MILLISECOND  # it renews, and hears late of what was done
    else:
        holder.cut()
    edit()
    cluster.run(8)
    assert cluster.served("web0")


@pytest.mark.parametrize("mode", MODES)
def test_who_begins_after_a_hand_wrote_its_epoch_waits_for_whoever_is_named(mode: Mode) -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss=mode))
    cluster.run(5)
    holder = cluster.machines[cluster.holder("web0")]
    other = next(machine for machine in cluster.machines.values() if machine is not holder)
    holder.lag = 1900 * MILLISECOND
    cluster.edit(VIP, {EPOCH: _epoch_of(cluster, other.name)})
    other.kill()
    other.start()
    cluster.run(8)
    assert cluster.served("web0")


def test_what_the_allocator_writes_to_a_lease_edited_by_hand_begins_no_new_count() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    cluster.delete_service("web0")
    cluster.run_until(lambda: _holder(cluster) == "", 1)
    cluster.edit(VIP, {EPOCH: "garbage"})
    cluster.service("web0")
    # The longest D, of nodes that hold nothing, and as long as a watch may be late.
    gone = cluster.run_until(lambda: VIP not in cluster.vip_leases(), 40)
    assert 11 < gone < 13


def test_a_duration_of_nothing_written_by_hand_fences_nobody_at_once() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cut_off_holder(cluster)
    cluster.edit(f"presence-{holder}", {DURATION: "1"})
    cluster.run(5)
    assert cluster.served("web0")


def test_a_presence_torn_out_by_hand_is_over_no_sooner_for_an_agent_that_just_began() -> None:
    cluster, _ = served_cluster(nodes=2)
    cluster.run(5)
    holder = cut_off_holder(cluster)
    other = next(m for m in cluster.machines.values() if m.name != holder)
    other.kill()
    cluster.tear_out(f"presence-{holder}")
    other.start()
    # Nobody knows what D that presence said: the longest that is known is waited for, 5 D of a node that holds
    # nothing.
    cluster.run(13)
    assert cluster.served("web0")


@pytest.mark.parametrize(
    "epoch",
    [
        "uid/" + "9" * 5000,
        "/",
        "uid/-1",
        "uid/²",
    ],
)
def test_an_epoch_that_is_garbage_raises_nothing(epoch: str) -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    cluster.edit(VIP, {EPOCH: epoch})
    cluster.run(5)
    assert cluster.served("web0")


@pytest.mark.parametrize(
    "instance", [None, "", "garbage", "another/process", "machine-{holder}-1/process"]
)
@pytest.mark.parametrize("nodes", [1, 3])
def test_an_instance_written_by_hand_ends_no_agent(instance: str | None, nodes: int) -> None:
    cluster, _ = served_cluster(nodes=nodes)
    cluster.run(3)
    holder = cluster.holder("web0")
    written = None if instance is None else instance.format(holder=holder)
    cluster.edit(f"presence-{holder}", {INSTANCE: written})
    cluster.run(0.1)
    cluster.run_until(lambda: cluster.served("web0"), 2.5)
    cluster.run_until(cluster.machines[holder].may_announce, 3)
    cluster.run(5)
    assert cluster.machines[holder].finished is None
    assert cluster.served("web0")


def test_instances_written_one_after_the_other_end_no_agent() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    for number in range(4):
        cluster.edit("presence-n1", {INSTANCE: f"another/process-{number}"})
        cluster.run(1.5)
    cluster.run_until(cluster.machines["n1"].may_announce, 12)
    assert cluster.served("web0")


def test_a_presence_put_back_as_it_was_in_an_earlier_epoch_or_process_is_begun_anew() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    saved = cluster.api.lease("presence-n1")
    assert saved is not None
    machine = cluster.machines["n1"]
    cluster.edit("presence-n1", {}, holder="")  # fenced
    cluster.run(3)
    machine.kill()
    machine.start()
    cluster.run_until(machine.may_announce, 12)
    epoch = machine.agent._presence.epoch if machine.agent else None
    cluster.edit("presence-n1", dict(saved.annotations), transitions=saved.transitions)
    cluster.run(0.1)
    cluster.run_until(machine.may_announce, 12)
    assert machine.agent is not None
    after = machine.agent._presence.epoch
    assert epoch is not None
    assert after is not None
    assert after.transitions > epoch.transitions
    cluster.run(5)
    assert cluster.served("web0")


def test_of_two_machines_of_one_name_one_goes_on_when_somebody_writes_a_third_ones_instance() -> (
    None
):
    cluster, _ = served_cluster()
    cluster.run(5)
    first = cluster.machines[cluster.holder("web0")]
    second = cluster.add_machine("clone", node=first.name)
    second.start()
    cluster.run(3)
    cluster.edit(f"presence-{first.name}", {INSTANCE: "another/process"})
    cluster.run(15)
    assert first.may_announce() != second.may_announce()
    assert cluster.served("web0")


def test_a_counter_at_its_end_does_not_keep_a_lease_from_being_claimed() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    cluster.edit(VIP, {}, transitions=2**31 - 1)
    cluster.machines[cluster.holder("web0")].power_off()
    cluster.run_until(lambda: cluster.served("web0"), 5)


@pytest.mark.parametrize("transitions", [0, 2**31 - 1])
def test_an_epoch_that_is_lived_once_more_is_over_no_sooner(transitions: int) -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cluster.holder("web0")
    others = [name for name in cluster.machines if name != holder]
    cluster.edit(f"presence-{holder}", {}, holder="")
    cluster.run(8)
    cluster.edit(f"presence-{holder}", {}, transitions=transitions)
    cluster.run(8)
    for drain in (True, False):
        for name in others:
            cluster.drain(name, drain=drain)
        cluster.run(4)
    assert cluster.holder("web0") == holder
    cut_off_holder(cluster)
    cluster.tear_out(f"presence-{holder}")
    cluster.run(10)
    assert cluster.served("web0")


@pytest.mark.parametrize("name", [VIP, "presence-n1"])
def test_somebody_elses_finalizer_is_waited_for_in_peace(name: str) -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    lease = cluster.api.lease(name)
    assert lease is not None
    cluster.edit(name, {}, finalizers=(*lease.finalizers, "example.org/mine"), deleting=True)
    cluster.run(3)
    cluster.api.writes.clear()
    cluster.run(2)
    assert sum(written == name for _, written in cluster.api.writes) <= 10


def test_a_lease_torn_out_with_its_service_leaves_no_entry_where_the_kernel_refused_once() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    machine = cluster.machines[cluster.holder("web0")]
    errors = ["EBUSY"]
    machine.refuse = lambda effect: errors.pop() if errors and getattr(effect, "remove", ()) else ""
    cluster.api.remove(Service, ("default", "web0"))
    cluster.tear_out(VIP)
    cluster.run(10)
    assert cluster.answering() == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lives", [False, True])
def test_a_fenced_presence_that_a_hand_brings_back_lets_no_agent_go_on_in_its_epoch(
    mode: Mode, lives: bool
) -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss=mode))
    cluster.run(5)
    machine = cluster.machines[cluster.holder("web0")]
    if lives:
        machine.cut()
        machine.unplug()
    else:
        machine.kill()
    cluster.run(3)
    assert cluster.holder("web0") != machine.name
    cluster.edit(f"presence-{machine.node}", {}, holder=machine.node)
    if lives:
        machine.lag = 1900 * MILLISECOND  # its watches show late who has claimed the address
        machine.join()
        machine.plug()
    else:
        machine.start()
    cluster.run(5)
    assert cluster.served("web0")


@pytest.mark.parametrize("name", ["", "nobody"])
def test_a_holders_name_that_a_hand_takes_off_is_written_back(name: str) -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cluster.holder("web0")
    cluster.edit(VIP, {}, holder=name)
    cluster.run_until(lambda: _holder(cluster) == holder, 1)
    cluster.run(2)
    assert cluster.holder("web0") == holder
    cluster.edit(VIP, {}, holder=name)
    cluster.drain(holder, drain=True)
    cluster.run_until(lambda: cluster.served("web0") and cluster.holder("web0") != holder, 3)


@pytest.mark.parametrize("torn", [False, True])
def test_whoever_has_a_lease_again_lets_go_of_it_by_its_own_word(torn: bool) -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cluster.holder("web0")
    if torn:
        cluster.tear_out(VIP)
    else:
        cluster.edit(VIP, {EPOCH: None})
    cluster.run_until(lambda: _holder(cluster) == holder, 1)
    cluster.run(1)
    cluster.drain(holder, drain=True)
    cluster.run_until(lambda: cluster.served("web0") and cluster.holder("web0") != holder, 1)
