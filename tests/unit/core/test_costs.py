# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What changes nothing costs nothing: how often something is worked out, counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.unit.core.alone import ETH0, VIP, Alone, holding, joined, node, peer, service
from tests.unit.core.test_proof import IPVS0
from tests.unit.core.test_rules import fence, given_many

from herald.core import effects as fx
from herald.core import events as ev
from herald.core import status
from herald.core.allocation.allocator import BATCH
from herald.core.allocation.allocator import IN_FLIGHT as REPORTS
from herald.core.election import election
from herald.core.election.election import IN_FLIGHT
from herald.core.election.lock import Lock
from herald.core.election.locks import BATCH as LOCKS
from herald.core.election.moves import Moves
from herald.core.election.placement import DRAIN_ANNOTATION, EXCLUDE_LABEL
from herald.core.leases import EPOCH, POOL, PRESENCE, SERVICES, Presence, new_vip_lease
from herald.core.model import (
    MILLISECOND,
    SECOND,
    Block,
    Lease,
    Policy,
    PolicyStatus,
    Pool,
    Service,
    vip_lease_name,
)


class Calls:
    """Counts the calls of a method from now on."""

    def __init__(self, owner: object, method: str) -> None:
        self.count = 0
        original = getattr(owner, method)

        def counted(*arguments: object) -> object:
            self.count += 1
            return original(*arguments)

        setattr(owner, method, counted)


def next_step(alone: Alone, done: Callable[[], int]) -> int:
    """How much more was done in the step that the agent asks for at once."""
    assert alone.agent.next_deadline() == 0
    before, alone.now = done(), alone.now + MILLISECOND
    alone.post(ev.Tick())
    return done() - before


def decisions(alone: Alone) -> Calls:
    """Those about locks."""
    return Calls(alone.agent._election, "_decide")


# --- a deaf neighbour --------------------------------------------------------------------------------------


def hears_nobody(lease: Lease) -> Lease:
    report = Presence(lease).report
    deaf = replace(report, interfaces=tuple(replace(i, heard=False) for i in report.interfaces))
    return replace(lease, annotations={**lease.annotations, PRESENCE: deaf.encode()})


def renew(alone: Alone, *nodes: str) -> None:
    """The watch shows that they have, and say what they said."""
    for name in nodes:
        alone.show(alone.store[f"presence-{name}"])


def test_a_neighbour_that_stays_deaf_costs_no_decision_when_anybody_renews() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.show(hears_nobody(peer("n2", 2)))
    renew(alone, "n1", "n3")
    decided = decisions(alone)
    renew(alone, "n2", "n3", "n2", "n3")
    alone.live(2 * SECOND)
    renew(alone, "n1", "n2", "n3")
    assert decided.count == 0
    assert alone.held


def test_who_hears_nobody_is_deaf_with_the_first_renewal_of_another_who_does() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.show(hears_nobody(peer("n2", 2)))
    decided = decisions(alone)
    renew(alone, "n2")
    assert decided.count == 0
    renew(alone, "n3")
    assert decided.count > 0
    (lock,) = alone.agent._locks.held()
    assert lock.placement.why_not["n2"] == "nobody on the segment answers on eth0"


def test_where_nobody_hears_anybody_nobody_is_deaf_and_renewals_cost_nothing() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.neighbours = False
    alone.show(hears_nobody(peer("n2", 2)))
    alone.show(hears_nobody(peer("n3", 3)))
    alone.live(3 * SECOND)
    renew(alone, "n1")
    decided = decisions(alone)
    renew(alone, "n2", "n3", "n1")
    assert decided.count == 0
    assert alone.held


# --- this node's own ---------------------------------------------------------------------------------------


def test_the_report_is_made_anew_only_where_it_says_something_else() -> None:
    alone = holding(peer("n2", 2))
    before = alone.report
    alone.live(2 * SECOND)
    renew(alone, "n2")
    alone.post(ev.InterfacesSeen((ETH0,)))
    assert alone.report is before
    alone.post(ev.InterfacesSeen((replace(ETH0, carrier=False),)))
    assert alone.report.interfaces[0].carrier is False


@pytest.mark.parametrize(
    ("change", "part", "says"),
    [
        (ev.InterfacesSeen((ETH0, IPVS0)), "ipvs", "kube-ipvs0"),
        (ev.Changed(node("n1", annotations={DRAIN_ANNOTATION: "true"})), "draining", True),
        (ev.Stop(), "draining", True),
    ],
)
def test_whatever_it_says_is_said_when_it_changes(
    change: ev.Event, part: str, says: object
) -> None:
    alone = holding()
    assert getattr(alone.report, part) != says
    alone.post(change)
    assert getattr(alone.report, part) == says


# --- what Herald itself writes -------------------------------------------------------------------------------


def test_what_a_policy_s_status_says_costs_no_decision() -> None:
    alone = holding()
    (policy,) = alone.objects[Policy].values()
    assert isinstance(policy, Policy)
    decided = decisions(alone)
    status = PolicyStatus(1, 1, 1, ())
    alone.post(ev.Changed(replace(policy, resource_version=2, status=status)))
    assert decided.count == 0
    alone.post(ev.Changed(replace(policy, resource_version=3, generation=2, answer_ping=False)))
    assert decided.count > 0


def test_a_pool_s_status_is_written_once_a_second_however_many_addresses_it_gives() -> None:
    alone = holding(allocates=True)
    alone.live(2 * SECOND)
    alone.done.clear()
    for number in range(10):
        alone.post(ev.Changed(service(name=f"web{number}", uid=f"{number}", ingress=())))
        alone.live(50 * MILLISECOND)
    assert len(alone.effects(fx.PatchPool)) <= 1
    alone.live(SECOND)
    assert len(alone.effects(fx.PatchPool)) <= 2
    assert alone.effects(fx.PatchPool)[-1].status.ips_used == "11"


def test_while_statuses_of_pools_wait_for_answers_nothing_is_done_for_them() -> None:
    alone = joined(allocates=True)
    alone.live(2 * SECOND)
    alone.done.clear()
    alone.keeps_back = lambda effect: isinstance(effect, fx.PatchPool | fx.PatchPolicy)
    names = [f"pool{number}" for number in range(200)]
    for number, name in enumerate(names):
        blocks = (Block(cidr=f"10.0.{number}.0/24"),)
        alone.post(ev.Changed(Pool(name, f"u{number}", 2, 1, "2026-01-02T00:00:00Z", blocks)))
    ticks = Calls(alone.agent._allocator, "tick")
    for _ in range(20):
        alone.serve()
        alone.advance(250 * MILLISECOND)
    assert len(alone.kept_back) == REPORTS
    assert ticks.count < 200
    assert alone.agent._allocator.next_deadline(alone.now) is None
    alone.confirm()
    alone.live(2 * SECOND)
    assert sorted(patch.name for patch in alone.effects(fx.PatchPool)) == sorted(names)


def test_what_is_told_of_the_node_once_a_second_works_nothing_out_anew() -> None:
    alone = holding()
    targets = Calls(alone.agent._candidates, "targets")
    (held,) = alone.agent.status(alone.now).held
    assert (held.address, held.interfaces) == ("198.51.100.7", ("eth0",))
    assert targets.count == 0


# --- many addresses ----------------------------------------------------------------------------------------


def groups(alone: Alone) -> list[set[str]]:
    """The addresses whose groups its devices were to hear, each time that changed."""
    joins = alone.effects(fx.JoinGroups)
    return [{str(address) for address, index in each.members if index == 2} for each in joins]


def held_v6(count: int) -> Alone:
    alone = joined()
    for number in range(1, count + 1):
        address, name = ip_address(f"2001:db8::{number:x}"), f"web{number}"
        text = {POOL: "pool", SERVICES: f"default/{name}"}
        alone.post(
            ev.Changed(alone.put(new_vip_lease(vip_lease_name(address), text))),
            ev.Changed(service(name=name, uid=name, ingress=(str(address),), ip_families=(6,))),
        )
    alone.live(3 * SECOND)
    assert len(alone.agent._locks.held()) == count
    return alone


def test_where_held_addresses_are_answered_is_not_asked_again_at_each_event() -> None:
    alone = held_v6(20)
    assert len(groups(alone)[-1]) == 20
    targets = Calls(alone.agent._candidates, "targets")
    alone.done.clear()
    alone.live(2 * SECOND)
    alone.post(ev.InterfacesSeen((ETH0,)))
    assert targets.count == 0
    assert groups(alone) == []


def test_groups_follow_the_addresses_that_come_and_go() -> None:
    alone = held_v6(3)
    assert [len(each) for each in groups(alone)] == [1, 2, 3]
    alone.done.clear()
    alone.post(ev.Removed(Service, ("default", "web2")))
    alone.live(SECOND)
    assert groups(alone) == [{"2001:db8::1", "2001:db8::3"}]
    alone.post(ev.InterfacesSeen((replace(ETH0, carrier=False),)))
    alone.live(SECOND)
    assert groups(alone)[-1] == set()


def test_thousands_of_locks_are_looked_at_some_at_a_time() -> None:
    """Else one step would take longer than a renewal can wait."""
    alone = joined(peer("n2", 2))
    epoch = str(Presence(alone.store["presence-n2"]).epoch)
    for number in range(3 * LOCKS):
        address = ip_address("10.0.0.0") + number
        text = {POOL: "pool", SERVICES: "default/web", EPOCH: epoch}
        alone.put(replace(new_vip_lease(vip_lease_name(address), text), holder="n2"))
    decided = decisions(alone)
    alone.post(ev.Listed(Lease, tuple(alone.store.values())))
    # Before the allocator, and after it.
    assert decided.count <= 2 * LOCKS
    while alone.agent.next_deadline() == 0:
        assert 0 < next_step(alone, lambda: decided.count) <= 2 * LOCKS
    assert decided.count == 3 * LOCKS + 1  # and the lease ipam


def test_what_has_changed_for_one_lock_alone_does_not_wait_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = holding()
    given_many(alone, 3 * LOCKS, first=10)
    for _ in range(20):
        alone.live(10 * MILLISECOND)
    order: list[str] = []
    decide = alone.agent._election._decide

    def noted(lock: Lock, now: int) -> None:
        order.append(lock.name)
        decide(lock, now)

    monkeypatch.setattr(alone.agent._election, "_decide", noted)
    alone.agent._locks.recheck()
    last = vip_lease_name(VIP + 10 + 3 * LOCKS - 1)
    alone.agent._locks.recheck([last])
    alone.post(ev.Tick())
    assert order[0] == last
    assert order.count(last) == 1


def test_what_an_epoch_that_is_over_has_left_is_forgotten_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(election, "BATCH", 2)
    alone = joined()
    given_many(alone, 12)
    alone.live(5 * SECOND)
    assert len(alone.agent._locks.held()) == 12
    fence(alone)
    assert alone.agent._locks.held() == []


def test_requests_that_need_no_place_any_more_are_looked_at_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = joined()
    given_many(alone, IN_FLIGHT + 12)
    alone.advance(SECOND)
    assert alone.agent._locks.waiting
    alone.post(ev.Changed(node("n1", labels={EXCLUDE_LABEL: ""})))
    alone.advance(50 * MILLISECOND)
    monkeypatch.setattr(election, "BATCH", 2)
    decided = decisions(alone)
    request = next(r for r in alone.pending if r.lease.name.startswith("vip-"))
    alone.answer(request, ev.Failed("time-out"))
    assert 0 < decided.count <= 2 * (2 + 2)
    while alone.agent._locks.waiting:
        assert 0 < next_step(alone, lambda: decided.count) <= 2 * (2 + 2)


def test_statuses_of_thousands_of_services_are_looked_at_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "LOOKED_AT", 2)
    alone = joined()
    given_many(alone, 6)
    alone.live(5 * SECOND)
    looked = Calls(alone.agent._status, "_write")
    alone.agent._status.mark(list(alone.agent._world.services))
    for times in (1, 2, 3):
        alone.now += MILLISECOND
        alone.post(ev.Tick())
        assert looked.count == 2 * times
        due = alone.agent.next_deadline()
        assert due is not None
        assert (due <= alone.now) == (times < 3)


def test_who_would_be_better_placed_is_worked_out_some_at_a_time() -> None:
    alone = held_v6(2)
    announced = dict.fromkeys(map(str, range(3 * LOCKS)), alone.agent._locks.held()[0])
    alone.agent._election._moves._waiting.extend(announced)
    alone.agent._candidates.better_placed = lambda lock: False
    alone.post(ev.Tick())
    assert alone.agent.next_deadline() == 0
    looked = []
    alone.agent._candidates.better_placed = lambda lock: bool(looked.append(lock))
    moves = Moves(0, alone.agent._candidates)
    moves.unsettle(0)
    moves.settle(announced, 0)
    for times in (1, 2, 3):
        assert moves.looking
        assert moves.next(announced, None) is None
        assert len(looked) == times * LOCKS
    assert not moves.looking


# --- many addresses that are freed ---------------------------------------------------------------------------


def test_addresses_are_freed_some_at_a_time() -> None:
    """Else one step of an allocator that finds thousands would take longer than a renewal can wait."""
    alone = holding(allocates=True)
    count = 2 * BATCH + 1
    for number in range(count):
        text = {POOL: "pool", SERVICES: ""}
        alone.put(new_vip_lease(vip_lease_name(ip_address("198.51.101.0") + number), text))

    def freed() -> int:
        return sum(note.event == "free" for note in alone.effects(fx.Note))

    alone.post(ev.Listed(Lease, tuple(alone.store.values())))
    assert freed() <= BATCH
    assert freed() < count
    while freed() < count:
        assert 0 < next_step(alone, freed) <= BATCH


def test_addresses_that_are_being_freed_cost_nothing_when_something_happens() -> None:
    alone = holding(allocates=True)
    count = 40
    for number in range(1, count + 1):
        address = ip_address("198.51.100.100") + number
        text = {POOL: "pool", SERVICES: f"default/web-{number}"}
        alone.show(new_vip_lease(vip_lease_name(address), text))
    # They name Services that are not there; what says so is answered, what deletes them is not.
    while updates := [r for r in alone.pending if r.verb == "update"]:
        alone.answer(updates[0], alone.outcome(updates[0]))
    doomed = [lock for lock in alone.agent._locks.by_name.values() if lock.doomed]
    assert len(doomed) > IN_FLIGHT
    looked = Calls(alone.agent._locks, "want")
    alone.post(ev.Tick(), ev.Tick())
    assert looked.count == 0
    alone.live(5 * SECOND)
    assert not [name for name in alone.store if name.startswith("vip-198.51.100.1")]
