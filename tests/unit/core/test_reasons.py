# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every move has a reason: in the Service's event and condition, and in the log, once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.core.alone import (
    MAC,
    ME,
    PRESENCE_LEASE,
    VIP,
    VIP_LEASE,
    Alone,
    holding,
    joined,
    node,
    peer,
    service,
)
from tests.unit.core.test_rules import given_many

from herald.core.allocation.requests import IPS
from herald.core.effects import EmitEvent, LeaseRequest, Note, PatchService
from herald.core.election.placement import DRAIN_ANNOTATION
from herald.core.events import (
    Changed,
    ConflictSeen,
    Failed,
    Removed,
    Stop,
    WatchBroken,
    WatchResumed,
)
from herald.core.leases import EPOCH, POOL, REASON, SERVICES, new_vip_lease, released, services_of
from herald.core.model import MILLISECOND, SECOND, Lease, Service
from herald.core.settings import Settings
from herald.core.status import (
    ALLOCATING_MOST_PUT_OFF,
    ALLOCATING_PUT_OFF,
    ANNOUNCED,
    BURST,
    MANY,
    MOST_PUT_OFF,
    PUT_OFF,
)

WHERE = f"{VIP} by n1 on eth0 ({MAC.hex(':')})"


def told(alone: Alone) -> tuple[list[str], list[str], list[str]]:
    """Messages of events, of the condition, and reasons in the log, about announcing."""
    events = [e.message for e in alone.effects(EmitEvent) if e.reason == "Announced"]
    conditions = [
        condition.message
        for patch in alone.effects(PatchService)
        for condition in patch.conditions
        if condition.type == ANNOUNCED
    ]
    notes = [str(n.fields["reason"]) for n in alone.effects(Note) if n.event == "announce"]
    return events, conditions, notes


def test_a_first_announcement_says_so_once() -> None:
    alone = holding()
    alone.live(10 * SECOND)
    message = f"{WHERE}, reason: first announcement"
    assert told(alone) == ([message], [message], ["first announcement"])


def test_what_was_taken_over_names_the_node_that_was_lost() -> None:
    alone = joined(peer("n2", 2, duration=2 * SECOND))
    alone.given()
    alone.show(
        replace(
            alone.store[VIP_LEASE],
            holder="n2",
            annotations={**alone.store[VIP_LEASE].annotations, EPOCH: "uid-p-n2/0"},
        )
    )
    alone.post(Changed(service()))
    alone.live(5 * SECOND)
    message = f"{WHERE}, reason: n2 was lost"
    assert told(alone) == ([message], [message], ["n2 was lost"])


def test_what_was_handed_over_names_who_did_and_why() -> None:
    alone = joined(peer("n2", 2))
    alone.post(Changed(service()))
    alone.given("uid-p-n2/0")
    alone.show(released(alone.store[VIP_LEASE], "n2: draining"))
    alone.live(SECOND)
    message = f"{WHERE}, reason: n2: draining"
    assert told(alone) == ([message], [message], ["n2: draining"])


def test_who_hands_over_says_why_in_the_lease_and_in_the_log_once() -> None:
    alone = holding(peer("n2", 2))
    alone.post(Changed(node("n1", annotations={DRAIN_ANNOTATION: "true"})))
    alone.live(SECOND)
    assert alone.store[VIP_LEASE].annotations[REASON] == "n1: draining"
    releases = [note.fields["reason"] for note in alone.effects(Note) if note.event == "release"]
    assert releases == ["draining"]


def test_a_claim_anew_after_a_conflict_says_that() -> None:
    alone = holding(settings=Settings(on_api_loss="Hold"))
    alone.done.clear()
    alone.post(ConflictSeen(VIP, bytes(6), 2, silenced=True))
    alone.live(SECOND)
    assert told(alone)[0] == [f"{WHERE}, reason: another station claimed it"]
    assert told(alone)[2] == ["another station claimed it"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_restart_moves_nothing_and_tells_nothing(times: int) -> None:
    alone = holding()
    for number in range(times):
        after = Alone(
            session=alone.session,
            entries=alone.entries,
            identity=replace(ME, nonce=f"nonce-{number + 2}"),
        )
        after.now, after.store, after.version = alone.now, alone.store, alone.version
        after.serve()
        after.learn(services=(service(),))
        after.live(SECOND)
        assert after.held
        events, _, notes = told(after)
        assert (events, notes) == ([], [])
        alone = after


def claiming(count: int) -> Alone:
    """So many claims are under way."""
    alone = joined()
    given_many(alone, count)
    for _ in range(20):
        alone.serve(PRESENCE_LEASE)
        alone.advance(10 * MILLISECOND)
    alone.serve(PRESENCE_LEASE)
    assert len(claims(alone)) == count
    alone.done.clear()
    return alone


def claims(alone: Alone) -> list[LeaseRequest]:
    return [r for r in alone.pending if r.lease.name.startswith("vip-")]


def said(alone: Alone) -> int:
    """What people are told: status writes and events."""
    return len(alone.effects(PatchService)) + len(alone.effects(EmitEvent))


def test_what_people_are_told_waits_until_after_many_claims() -> None:
    alone = claiming(MANY)
    for request in claims(alone):
        alone.answer(request, alone.outcome(request))
    assert said(alone) == 0
    alone.advance(PUT_OFF - 1)
    assert said(alone) == 0
    alone.advance(MILLISECOND + 1)
    assert said(alone) == 2 * MANY


def test_what_people_are_told_waits_not_long_however_many_claims_follow() -> None:
    alone = claiming(MANY + 1)
    first = claims(alone)[0]
    alone.answer(first, alone.outcome(first))
    alone.advance(MOST_PUT_OFF)
    assert said(alone) == 2


def one_by_one(alone: Alone, pause: int, count: int = 3 * MANY) -> None:
    """So many new addresses, each claimed before the next comes."""
    for number in range(1, count + 1):
        given_many(alone, 1, first=number)
        before = alone.now
        alone.serve()
        alone.advance(before + pause - alone.now)
        alone.serve()


def test_what_people_are_told_waits_for_the_end_of_a_burst_of_new_services() -> None:
    alone = joined()
    one_by_one(alone, 50 * MILLISECOND)
    one_by_one(alone, PUT_OFF // 2, count=2)
    assert said(alone) <= 2 * MANY
    alone.live(PUT_OFF)
    assert said(alone) == 2 * (3 * MANY + 2)


def test_whoever_allocates_does_not_wait_for_that() -> None:
    alone = joined(allocates=True)
    one_by_one(alone, 50 * MILLISECOND)
    assert said(alone) >= 2 * (3 * MANY - 1)


@pytest.mark.parametrize(
    ("answered", "within"),
    [(True, ALLOCATING_PUT_OFF), (False, ALLOCATING_MOST_PUT_OFF)],
    ids=["claims answered", "claims under way"],
)
def test_addresses_wait_for_many_claims_for_a_moment_only(answered: bool, within: int) -> None:
    alone = joined(allocates=True)
    alone.done.clear()
    for number in range(2 * MANY):
        alone.post(Changed(service(name=f"new-{number}", uid=f"{number}", ingress=())))
        while created := [r for r in alone.pending if r.verb == "create"]:
            alone.answer(created[0], alone.outcome(created[0]))
    assert len(claims(alone)) == 2 * MANY

    def shown() -> int:
        return sum(patch.ingress is not None for patch in alone.effects(PatchService))

    if answered:
        alone.serve()
    before = shown()
    assert before < 2 * MANY
    end = alone.now + within - MILLISECOND
    while alone.now < end:
        alone.serve(PRESENCE_LEASE)
        alone.advance(min(50 * MILLISECOND, end - alone.now))
    assert shown() == before
    alone.advance(10 * MILLISECOND)
    assert shown() == 2 * MANY


def test_who_leaves_puts_nothing_off() -> None:
    alone = joined()
    one_by_one(alone, 50 * MILLISECOND)
    before = said(alone)
    alone.post(Stop())
    alone.live(100 * MILLISECOND)
    assert said(alone) > before
    assert len([e for e in alone.effects(EmitEvent) if e.reason == "Announced"]) == 3 * MANY


def test_what_people_are_told_of_new_services_now_and_then_waits_for_nothing() -> None:
    alone = joined()
    one_by_one(alone, BURST)
    assert said(alone) >= 2 * (3 * MANY - 1)


def test_what_people_are_told_of_a_claim_or_two_waits_for_nothing() -> None:
    alone = claiming(2)
    first = claims(alone)[0]
    alone.answer(first, alone.outcome(first))
    assert said(alone) == 2


# --- what a Service is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_service_is_told_no_address_that_is_being_taken_away_from_it(late: bool) -> None:
    """It was deleted, and made anew while the write that takes the address from the old one has no answer yet; and
    the lease ``ipam`` was lost and gained meanwhile, so nothing is known of that write but that it is under way."""
    alone = holding(allocates=True)
    alone.post(Removed(Service, ("default", "web")))
    handed_over = alone.request(VIP_LEASE)
    alone.answer(handed_over, alone.outcome(handed_over))
    request = alone.request(VIP_LEASE)
    assert request.lease.annotations.get(SERVICES, "") == ""
    alone.post(Changed(service(uid="another", ingress=(), conditions=())))
    allocator = alone.agent._allocator
    for leads in (False, True):
        allocator.lead(leads, alone.now)
    alone.done.clear()
    for _ in range(5):
        alone.serve(PRESENCE_LEASE)
        alone.advance(10 * MILLISECOND)
    assert not told_addresses(alone)
    if late:
        # It is given up, and the lease read as it was; and then it takes effect all the same.
        alone.answer(request, Failed("time-out"))
        read = until_asked(alone, "get")
        alone.answer(read, alone.outcome(read))
        assert not told_addresses(alone)
        alone.show(request.lease)
    else:
        alone.answer(request, alone.outcome(request))
    assert not told_addresses(alone)
    alone.live(5 * SECOND)
    ((given,),) = told_addresses(alone)
    assert services_of(alone.store[f"vip-{given}"]) == (("default", "web"),)


def test_what_the_allocator_before_may_have_sent_ends_before_a_service_is_told() -> None:
    """The lease is older than this one's term, and was seen only in it: its watch lagged."""
    alone = joined(allocates=True)
    text = {POOL: "pool", SERVICES: "default/web"}
    lease = replace(new_vip_lease(VIP_LEASE, text), uid="uid-old", resource_version=1)
    alone.store[VIP_LEASE] = lease
    asks = service(ingress=(), conditions=(), annotations={IPS: str(VIP)})
    alone.post(Changed(asks))
    create = until_asked(alone, "create")
    alone.post(Changed(lease))
    alone.answer(create, alone.outcome(create))
    update = until_asked(alone, "update")
    assert services_of(update.lease) == (("default", "web"),)
    assert not told_addresses(alone)
    alone.answer(update, alone.outcome(update))
    alone.live(SECOND)
    assert told_addresses(alone) == [(str(VIP),)]


def test_a_write_that_was_seen_to_succeed_is_not_repeated_for_want_of_an_answer() -> None:
    alone = holding(allocates=True)
    alone.post(Removed(Service, ("default", "web")))
    handed_over = alone.request(VIP_LEASE)
    alone.answer(handed_over, alone.outcome(handed_over))
    request = alone.request(VIP_LEASE)
    alone.show(request.lease)
    alone.answer(request, Failed("time-out"))
    lock = alone.agent._locks.get(VIP_LEASE)
    assert lock is not None
    assert lock.lease is not None
    assert lock.distrusted == request.lease.resource_version < lock.lease.resource_version


def test_what_a_service_shall_keep_is_not_doomed_any_more() -> None:
    alone = holding(allocates=True)
    lock = alone.agent._locks.get(VIP_LEASE)
    assert lock is not None
    lock.doomed = True
    alone.post(Changed(service(resource_version=alone.version + 1)))
    assert not lock.doomed


def until_asked(alone: Alone, verb: str) -> LeaseRequest:
    """The first such request about an address; whatever else is asked is answered."""
    for _ in range(100):
        for request in [r for r in alone.pending if r not in claims(alone) or r.verb != verb]:
            alone.answer(request, alone.outcome(request))
        if found := [r for r in claims(alone) if r.verb == verb]:
            return found[0]
        alone.advance(10 * MILLISECOND)
    raise AssertionError(f"no {verb} in a second")


def told_addresses(alone: Alone) -> list[tuple[str, ...]]:
    return [patch.ingress for patch in alone.effects(PatchService) if patch.ingress]


# --- what the agent says of itself ----------------------------------------------------------------------------


def test_an_api_server_that_does_not_answer_is_one_problem_not_two() -> None:
    alone = holding()
    alone.show(peer("n2", 2))
    alone.post(WatchBroken(Lease, "reset"))
    assert alone.agent.status(alone.now).problems == ("the API server does not answer",)
    alone.advance(SECOND)
    alone.answer(alone.request(PRESENCE_LEASE), Failed("time-out"))
    (problem,) = alone.agent.status(alone.now).problems
    assert problem.endswith("time-out")
    alone.post(WatchResumed(Lease))
    alone.live(SECOND)
    assert alone.agent.status(alone.now).problems == ()
