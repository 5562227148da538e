# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The rules of docs/design/election.md, one by one and to the nanosecond, on one agent whose world is the test's.

What several agents make of them together is in tests/sim and tests/model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from tests.unit.core.alone import (
    ETH0,
    KEY,
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

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.election.election import IN_FLIGHT, LATE, RANK_STEP
from herald.core.election.observer import FENCE_STEP, Observer
from herald.core.election.placement import (
    DRAIN_ANNOTATION,
    EXCLUDE_LABEL,
    OUT_OF_SERVICE_TAINT,
    rank_of,
)
from herald.core.election.placement import order as order_of
from herald.core.election.presence import RENEWED
from herald.core.kernel import EntryFlags, EntryKey, EntryValue, Session
from herald.core.leases import (
    DURATION,
    EPOCH,
    INSTANCE,
    POOL,
    REASON,
    RELEASED,
    SERVICES,
    Epoch,
    Presence,
    claimed,
    held_by,
    new_vip_lease,
    released,
)
from herald.core.leaving import LIMIT
from herald.core.model import (
    MILLISECOND,
    SECOND,
    Address,
    Interface,
    Lease,
    Node,
    Policy,
    Selector,
    Service,
    Taint,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import LATE_NEWS, Settings
from herald.core.step import FORGOTTEN
from herald.core.world import KINDS

D = 2 * SECOND
HOLD = Settings(on_api_loss="Hold")


def renewal(alone: Alone) -> fx.LeaseRequest:
    """The next renewal, just sent."""
    for _ in range(200):
        if alone.asked(PRESENCE_LEASE):
            return alone.request(PRESENCE_LEASE)
        alone.advance(10 * MILLISECOND)
    raise AssertionError("no renewal")


def claim(alone: Alone) -> fx.LeaseRequest:
    """The claim of a lease that was just given, just sent."""
    alone.post(ev.Changed(alone.given()), ev.Changed(service()))
    for _ in range(20):
        alone.serve(PRESENCE_LEASE)
        if alone.asked(VIP_LEASE):
            return alone.request(VIP_LEASE)
        alone.advance(10 * MILLISECOND)
    raise AssertionError("no claim")


def given_many(alone: Alone, count: int, first: int = 1) -> list[Address]:
    """Services that were given an address each, which nobody announces yet."""
    addresses = [VIP + number for number in range(first, first + count)]
    for address in addresses:
        text = {POOL: "pool", SERVICES: f"default/web-{address}"}
        changes = {"name": f"web-{address}", "uid": f"uid-{address}", "ingress": (str(address),)}
        lease = alone.put(new_vip_lease(vip_lease_name(address), text))
        alone.post(ev.Changed(lease), ev.Changed(service(**changes)))
    return addresses


def fence(alone: Alone) -> None:
    """Another node has fenced it, and the watch shows it."""
    alone.show(replace(alone.store[PRESENCE_LEASE], holder=""))


def order(alone: Alone, *kinds: type) -> list[type]:
    return [type(effect) for effect in alone.done if isinstance(effect, kinds)]


# --- 1: renew ----------------------------------------------------------------------------------------------


def test_rule_1_a_renewal_is_valid_from_before_it_was_sent() -> None:
    alone = holding()
    request = renewal(alone)
    sent = alone.now
    alone.now += 300 * MILLISECOND
    alone.answer(request, alone.outcome(request), sent)
    assert alone.session.deadline == sent + D * 9 // 10


def test_rule_1_the_deadline_is_assigned_and_never_the_greater_one() -> None:
    alone = holding()
    request = renewal(alone)
    sent, before = alone.now - SECOND, alone.session.deadline
    alone.answer(request, alone.outcome(request), sent)
    assert alone.session.deadline == sent + D * 9 // 10 < before


def test_rule_1_the_deadline_shrinks_before_a_shorter_duration_is_sent() -> None:
    alone = joined(peer("n2", 2))
    alone.live(15 * SECOND)
    assert Presence(alone.store[PRESENCE_LEASE]).duration(0) == 5 * D
    alone.serve()
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetSession)
    alone.post(ev.Changed(alone.given()), ev.Changed(service()))
    for _ in range(10):
        alone.advance(40 * MILLISECOND)
    lowered = [e.session.deadline for e in alone.kept_back if isinstance(e, fx.SetSession)]
    assert lowered
    assert not [r for r in alone.pending if r.lease.annotations.get(DURATION) == "2000"]
    alone.confirm()
    assert alone.session.deadline == lowered[0]
    alone.advance(10 * MILLISECOND)
    assert renewal(alone).lease.annotations[DURATION] == "2000"


def test_rule_1_no_renewal_leaves_while_the_kernel_refuses_the_deadline_of_the_one_before() -> None:
    """Else the node would live on for others, and nobody answer for what it holds."""
    alone = holding()
    alone.serve()
    until = alone.session.deadline
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetSession)

    def refuse() -> None:
        kept, alone.kept_back = alone.kept_back, []
        alone.post(*(ev.KernelAnswer(e.id, "EBUSY") for e in kept if isinstance(e, fx.SetSession)))

    request, sent = renewal(alone), alone.now
    alone.answer(request, alone.outcome(request))
    refuse()
    while alone.now < until:
        assert not alone.asked(PRESENCE_LEASE)
        alone.advance(min(10 * MILLISECOND, until - alone.now))
        refuse()
    alone.done.clear()
    alone.post(ev.AnnounceAgain(VIP))
    alone.advance(SECOND)
    assert not order(alone, fx.SendFrames, fx.LeaseRequest)
    refuse()
    assert alone.agent.status(alone.now).problems
    alone.keeps_back = lambda _: False
    alone.advance(200 * MILLISECOND)
    assert alone.session.deadline == sent + D * 9 // 10
    assert alone.asked(PRESENCE_LEASE)


# --- 2: end an epoch ---------------------------------------------------------------------------------------


def test_rule_2_a_fenced_agent_writes_its_next_epoch_only_when_the_kernel_is_silent() -> None:
    alone = holding()
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetSession | fx.SetEntries)
    epochs = alone.store[PRESENCE_LEASE].transitions
    fence(alone)
    alone.live(SECOND)
    assert alone.store[PRESENCE_LEASE].holder == ""
    assert alone.held
    alone.confirm()
    assert (alone.session.deadline, alone.entries) == (0, {})
    alone.live(100 * MILLISECOND)
    assert alone.store[PRESENCE_LEASE].transitions == epochs + 1


def test_rule_2_a_presence_is_released_only_when_the_kernel_is_silent() -> None:
    alone = joined()
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetSession | fx.SetEntries)
    alone.post(ev.Stop())
    alone.live(SECOND)
    assert alone.store[PRESENCE_LEASE].holder == "n1"
    alone.confirm()
    alone.live(300 * MILLISECOND)
    assert alone.store[PRESENCE_LEASE].holder == ""


def test_rule_2_answers_of_an_earlier_epoch_are_void() -> None:
    alone = holding()
    request = renewal(alone)
    fence(alone)
    alone.answer(request, ev.Done(replace(request.lease, resource_version=9999)))
    assert (alone.session.deadline, alone.entries) == (0, {})


def test_rule_2_a_conflict_is_read_back_and_renewed_if_it_is_still_mine() -> None:
    alone = holding()
    request = renewal(alone)
    alone.put(replace(alone.store[PRESENCE_LEASE], labels={"edited": "by hand"}))
    alone.answer(request, alone.outcome(request))
    assert alone.request(PRESENCE_LEASE).verb == "get"
    alone.serve()
    assert alone.request(PRESENCE_LEASE).verb == "update" if alone.pending else True
    alone.live(SECOND)
    assert alone.held
    assert alone.store[PRESENCE_LEASE].labels == {"edited": "by hand"}


@pytest.mark.parametrize(
    "outcome",
    [
        ev.Refused(404, "not found"),
        ev.Done(
            Lease(PRESENCE_LEASE, uid="another", resource_version=9999, holder="n1"), created=True
        ),
        ev.Done(Lease(PRESENCE_LEASE, uid="another", resource_version=9999, holder="n1")),
    ],
    ids=["404", "201", "another uid"],
)
def test_rule_2_a_presence_that_is_not_the_one_it_was_is_a_lost_epoch(
    outcome: ev.Done | ev.Refused,
) -> None:
    alone = holding()
    alone.answer(renewal(alone), outcome)
    assert (alone.session.deadline, alone.entries) == (0, {})


def by_another(alone: Alone, instance: str) -> Lease:
    """Our presence as it stands, with another process's instance."""
    lease = alone.store[PRESENCE_LEASE]
    return replace(lease, annotations={**lease.annotations, INSTANCE: instance})


INSTANCES = pytest.mark.parametrize(
    "instance",
    ["machine-1/nonce-of-a-clone", "machine-2/nonce-2"],
    ids=["of this machine", "of another"],
)


@INSTANCES
def test_rule_2_whoever_reads_a_foreign_nonce_that_is_renewed_stops_for_good_and_says_so(
    instance: str,
) -> None:
    alone = holding()
    written = by_another(alone, instance)
    for beat in range(RENEWED + 1):
        assert alone.effects(fx.Finish) == []
        alone.show(replace(written, labels={"beat": str(beat)}))
        assert (alone.session.deadline, alone.entries) == (0, {})
        alone.live(D // 4 + 10 * MILLISECOND)
    (finish,) = alone.effects(fx.Finish)
    assert finish.status == 77
    machine = instance.partition("/")[0]
    assert finish.reason == (
        f"another agent runs under the node name n1 (instance {machine}); this one stops"
    )
    assert Presence(alone.store[PRESENCE_LEASE]).epoch == Presence(written).epoch
    assert alone.store[PRESENCE_LEASE].annotations[INSTANCE] == instance


@INSTANCES
def test_rule_2_a_foreign_nonce_that_nobody_renews_is_followed_by_a_new_epoch_once_it_stood_still(
    instance: str,
) -> None:
    alone = holding(allocates=True)
    epoch = Presence(alone.store[PRESENCE_LEASE]).epoch
    alone.done.clear()
    alone.show(by_another(alone, instance))
    assert (alone.session.deadline, alone.entries) == (0, {})
    alone.live(D - 50 * MILLISECOND)
    assert {r.verb for r in alone.effects(fx.LeaseRequest) if r.own_connection} == {"get"}
    assert alone.agent.status(alone.now).problems[0] == (
        f"the presence presence-n1 says that another process lives ({instance});"
        " waiting until it has been still for its duration"
    )
    alone.live(300 * MILLISECOND)
    presence = Presence(alone.store[PRESENCE_LEASE])
    assert presence.nonce == "nonce-1"
    assert presence.epoch == replace(epoch, transitions=epoch.transitions + 1)
    alone.post(ev.Changed(alone.store[PRESENCE_LEASE]))
    alone.live(2 * D)
    assert alone.held
    assert alone.effects(fx.Finish) == []


def test_rule_2_people_who_go_on_editing_are_no_other_process() -> None:
    alone = holding()
    for number in range(RENEWED):
        alone.show(by_another(alone, f"another/process-{number}"))
        alone.live(D - 50 * MILLISECOND)
        assert alone.entries == {}
    alone.live(SECOND)
    assert Presence(alone.store[PRESENCE_LEASE]).nonce == "nonce-1"
    assert alone.effects(fx.Finish) == []


def test_rule_2_a_foreign_nonce_is_waited_for_as_long_as_observers_wait() -> None:
    """For the longer D of the last two: whoever shortened it may have told its process nothing."""
    alone = joined(peer("n2", 2))
    alone.live(15 * SECOND)
    lease = by_another(alone, "another/process")
    alone.show(replace(lease, annotations={**lease.annotations, DURATION: "1"}))
    alone.live(5 * D - 50 * MILLISECOND)
    assert Presence(alone.store[PRESENCE_LEASE]).nonce == "process"
    alone.live(300 * MILLISECOND)
    assert Presence(alone.store[PRESENCE_LEASE]).nonce == "nonce-1"


def test_rule_2_a_foreign_nonce_silences_also_while_a_renewal_is_under_way() -> None:
    alone = holding()
    request = renewal(alone)
    alone.show(by_another(alone, "another/process"))
    assert (alone.session.deadline, alone.entries) == (0, {})
    alone.answer(request, ev.Refused(409, "conflict"))
    alone.live(2 * D)
    assert Presence(alone.store[PRESENCE_LEASE]).nonce == "nonce-1"


def test_rule_2_an_earlier_state_put_back_by_hand_is_followed_by_an_epoch_that_never_was() -> None:
    """Others remember of the earlier ones that they are over."""
    alone = holding()
    saved = alone.store[PRESENCE_LEASE]
    epochs = [saved.transitions]
    for _ in range(3):
        fence(alone)
        alone.live(100 * MILLISECOND)
        epochs.append(alone.store[PRESENCE_LEASE].transitions)
    alone.show(saved)
    alone.live(100 * MILLISECOND)
    assert alone.store[PRESENCE_LEASE].transitions > max(epochs)


@pytest.mark.parametrize("created", [True, False], ids=["201", "another uid"])
def test_rule_2_a_presence_that_a_join_made_anew_is_a_lost_epoch(created: bool) -> None:
    """What the kernel answers was claimed in the one that is gone."""
    before = holding()
    after = restarted(before)
    after.answer(after.pending[0], after.outcome(after.pending[0]))
    request = after.request(PRESENCE_LEASE)
    assert after.held
    made = after.put(replace(request.lease, uid="another"))
    after.answer(request, ev.Done(made, created=created))
    assert (after.session.deadline, after.entries) == (0, {})
    after.live(100 * MILLISECOND)
    assert after.store[PRESENCE_LEASE].transitions == made.transitions + 1


def test_rule_2_a_namesake_on_another_machine_keeps_its_hands_off_and_says_so() -> None:
    theirs = replace(peer("n1", 1, duration=D), uid="uid-p")
    alone = Alone(identity=replace(ME, machine="machine-2"))
    alone.store[PRESENCE_LEASE] = theirs
    for beat in range(20):
        alone.put(replace(alone.store[PRESENCE_LEASE], labels={"beat": str(beat)}))
        alone.live(SECOND)
    assert alone.store[PRESENCE_LEASE].annotations[INSTANCE] == "machine-n1/nonce-n1"
    assert alone.agent.status(alone.now).problems[0] == (
        "the presence presence-n1 belongs to another machine or an earlier boot;"
        " waiting until it has been still for its duration"
    )
    # It is still: fenced like anybody's, and followed by an epoch of this one's own.
    alone.live(D + SECOND)
    presence = Presence(alone.store[PRESENCE_LEASE])
    assert (presence.machine, presence.epoch.transitions) == ("machine-2", theirs.transitions + 1)


def test_rule_2_a_presence_whose_instance_was_edited_is_fenced_in_silence_by_whose_it_is() -> None:
    before = holding()
    lease = before.store[PRESENCE_LEASE]
    edited = {key: text for key, text in lease.annotations.items() if key != INSTANCE}
    alone = Alone(session=before.session, entries=before.entries)
    alone.now, alone.version = before.now, before.version
    alone.put(replace(lease, annotations=edited))
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetEntries)
    alone.post(ev.Tick())
    alone.live(2 * D)
    assert alone.store[PRESENCE_LEASE].holder
    alone.confirm()
    assert not alone.entries
    alone.live(SECOND)
    assert alone.store[PRESENCE_LEASE].transitions == lease.transitions + 1


def test_rule_2_a_presence_that_bears_another_name_by_hand_is_taken_up_again_at_once() -> None:
    alone = holding(settings=HOLD)
    alone.show(replace(alone.store[PRESENCE_LEASE], holder="nobody"))
    assert alone.entries == {}
    alone.live(SECOND)
    assert alone.held
    assert alone.agent.status(alone.now).problems == ()


def test_rule_2_a_presence_that_is_released_after_time_ran_backwards_is_read_first() -> None:
    alone = joined(peer("n2", 2))
    alone.keeps_back = lambda effect: (
        isinstance(effect, fx.SetSession) and not effect.session.deadline
    )
    alone.post(ev.Stop())
    alone.live(100 * MILLISECOND)
    assert alone.kept_back
    before = alone.store["presence-n2"]
    alone.post(ev.Listed(Lease, (replace(before, resource_version=1),), asked=alone.now + 1))
    alone.done.clear()
    alone.confirm()
    alone.live(SECOND)
    assert alone.store[PRESENCE_LEASE].holder == ""
    written = [e.lease for e in alone.effects(fx.LeaseRequest) if e.verb == "update"]
    assert [bool(lease.resource_version) for lease in written] == [True]


# --- 3: fence ----------------------------------------------------------------------------------------------


def fences(alone: Alone, name: str = "presence-n2") -> bool:
    return any(r.lease.name == name and r.lease.holder == "" for r in alone.pending)


def quiet_for(alone: Alone, nanoseconds: int) -> None:
    """Time passes in which only this node's own presence is written."""
    end = alone.now + nanoseconds
    while alone.now < end:
        alone.serve(PRESENCE_LEASE, VIP_LEASE, "ipam")
        alone.advance(min(10 * MILLISECOND, end - alone.now))


@pytest.mark.parametrize(
    ("duration", "waited"), [(SECOND, D), (D, D), (3 * SECOND, 3 * SECOND), (5 * D, 5 * D)]
)
def test_rule_3_a_presence_is_fenced_after_its_own_duration_without_a_change(
    duration: int, waited: int
) -> None:
    alone = joined(peer("n2", 2))
    alone.show(peer("n2", 2, duration=duration))
    # The longer one of the last two that it said counts; one below this node's own is not believed.
    alone.show(replace(peer("n2", 2, duration=duration), labels={"renewed": "1"}))
    quiet_for(alone, waited - 20 * MILLISECOND)
    assert not fences(alone)
    # Who fences first, of all that may, is ranked.
    quiet_for(alone, 100 * MILLISECOND)
    assert fences(alone)


def test_rule_3_the_fence_is_a_compare_and_swap() -> None:
    alone = joined(peer("n2", 2, duration=D))
    quiet_for(alone, 3 * SECOND)
    request = alone.request("presence-n2")
    seen = alone.store["presence-n2"]
    assert (request.verb, request.lease) == ("update", replace(seen, holder=""))


@pytest.mark.parametrize("loss", ["watch", "request"])
def test_rule_3_who_was_out_of_touch_counts_again(loss: Literal["watch", "request"]) -> None:
    alone = holding(peer("n2", 2))
    for beat in range(2):
        alone.show(replace(peer("n2", 2, duration=D), labels={"beat": str(beat)}))
    quiet_for(alone, D - 700 * MILLISECOND)
    if loss == "watch":
        alone.post(ev.WatchBroken(Lease, "reset"), ev.WatchResumed(Lease))
    else:
        alone.answer(renewal(alone), ev.Failed("reset"))
    quiet_for(alone, D - 200 * MILLISECOND)
    assert not fences(alone)
    quiet_for(alone, SECOND)
    assert fences(alone)


@pytest.mark.parametrize(
    ("outcome", "in_touch"),
    [(ev.Refused(409, "conflict"), True), (ev.Failed("reset"), False)],
    ids=["409", "no answer"],
)
def test_rule_3_a_fence_that_is_refused_starts_no_count_again_and_one_without_an_answer_all(
    outcome: ev.Refused | ev.Failed, in_touch: bool
) -> None:
    alone = joined(peer("n2", 2, duration=D), peer("n3", 3, duration=D))
    quiet_for(alone, SECOND)
    beat(alone, "n3")
    seen = alone.now
    quiet_for(alone, SECOND + 200 * MILLISECOND)
    assert (fences(alone), fences(alone, "presence-n3")) == (True, False)
    alone.answer(alone.request("presence-n2"), outcome)
    refused = alone.now
    # It is tried again after a while, and the other's turn comes when it would have come.
    quiet_for(alone, D // 4 + 20 * MILLISECOND)
    assert fences(alone) is in_touch
    quiet_for(alone, seen + D + 200 * MILLISECOND - alone.now)
    assert fences(alone, "presence-n3") is in_touch
    quiet_for(alone, refused + D - 20 * MILLISECOND - alone.now)
    assert fences(alone) is in_touch
    # In touch again from its next renewal that succeeds.
    quiet_for(alone, 5 * D // 4 + 200 * MILLISECOND)
    assert fences(alone)
    assert fences(alone, "presence-n3")


def beat(alone: Alone, name: str) -> None:
    """It renews."""
    lease = alone.store[f"presence-{name}"]
    alone.show(replace(lease, labels={"beat": str(alone.now)}))


def test_rule_3_fencers_take_turns_of_50_ms_in_an_order_that_differs_from_node_to_node() -> None:
    lost = [f"n{number}" for number in range(2, 8)]
    alone = joined(*(peer(name, int(name[1:]), duration=D) for name in lost))
    turns = {}
    for name in lost:
        quiet_for(alone, 100 * MILLISECOND)
        for other in lost:
            beat(alone, other)
        seen = alone.now
        while alone.now < seen + D - 100 * MILLISECOND:
            quiet_for(alone, 100 * MILLISECOND)
            for other in lost:
                if other != name:
                    beat(alone, other)
        while not fences(alone, f"presence-{name}"):
            quiet_for(alone, MILLISECOND)
        turns[name] = alone.now - seen - D
        alone.serve(f"presence-{name}")
        alone.show(peer(name, int(name[1:]), duration=D))
        others = {"n1", "n9", *lost} - {name}
        assert turns[name] == rank_of("n1", f"presence-{name}", others) * FENCE_STEP
    assert len(set(turns.values())) > 1


def test_rule_3_an_epoch_that_a_hand_ended_and_set_again_ends_anew() -> None:
    observer = Observer(Settings(), ME.node, Outbox())
    lease = peer("n2", 2, duration=D)
    epoch = Presence(lease).epoch

    def hand(holder: str, version: int, now: int) -> None:
        observer.seen(replace(lease, holder=holder, resource_version=version), now)

    observer.seen(lease, 10 * SECOND)
    hand("", 11, 11 * SECOND)
    assert observer.over_since(epoch) == 12 * SECOND
    hand("n2", 12, 20 * SECOND)
    assert observer.over_since(epoch) is None
    hand("", 13, 21 * SECOND)
    assert observer.over_since(epoch) == 22 * SECOND


@pytest.mark.parametrize("torn_out", [False, True])
def test_rule_3_what_was_renewed_unseen_until_a_hand_ended_it_is_waited_for_in_full(
    torn_out: bool,
) -> None:
    """The watch was away: nobody here knows how long before the list its node last renewed."""
    observer = Observer(Settings(), ME.node, Outbox())
    lease = peer("n2", 2, duration=D)
    observer.listed({lease.name: lease}, 9 * SECOND, 10 * SECOND)
    ended = replace(lease, holder="", resource_version=lease.resource_version + 7)
    observer.listed({} if torn_out else {lease.name: ended}, 13 * SECOND, 14 * SECOND)
    assert observer.over_since(Presence(lease).epoch) == 14 * SECOND + D


# --- 4: claim ----------------------------------------------------------------------------------------------


def test_rule_4_an_epoch_that_was_counted_on_before_this_agent_began_is_waited_for_in_full() -> (
    None
):
    """A hand may have counted it, while the kernel of its node still answers."""
    before = peer("n2", 2, duration=D)
    ended = replace(before, holder="", transitions=before.transitions + 1)
    alone = joined(ended, allocates=True)
    given = alone.put(replace(alone.given(str(Presence(before).epoch)), holder="n2"))
    began = alone.now
    alone.post(ev.Changed(given), ev.Changed(service()))
    while not alone.held and alone.now < began + 3 * D:
        alone.live(10 * MILLISECOND)
    assert began + D <= alone.now < began + 3 * D


def test_rule_4_the_first_frames_go_before_the_entry() -> None:
    alone = joined()
    request = claim(alone)
    alone.done.clear()
    alone.answer(request, alone.outcome(request))
    assert order(alone, fx.SendFrames, fx.SetEntries)[:2] == [fx.SendFrames, fx.SetEntries]
    assert alone.held


def test_rule_4_the_rest_of_the_burst_and_what_is_told_come_after_the_entry() -> None:
    alone = joined()
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetEntries)
    request = claim(alone)
    alone.done.clear()
    alone.answer(request, alone.outcome(request))
    alone.live(SECOND)
    assert len(alone.effects(fx.SendFrames)) == 1
    assert not alone.effects(fx.EmitEvent)
    alone.confirm()
    alone.live(SECOND)
    assert len(alone.effects(fx.SendFrames)) > 1
    assert alone.effects(fx.EmitEvent)


@pytest.mark.parametrize("gone", ["404", "201"])
def test_rule_4_a_claim_of_a_lease_that_was_gone_fills_nothing(gone: str) -> None:
    """A PUT may make the object anew: then it is not what was claimed."""
    alone = joined()
    request = claim(alone)
    del alone.store[VIP_LEASE]
    if gone == "404":
        alone.answer(request, ev.Refused(404, "not found"))
    else:
        made = alone.put(replace(request.lease, uid="made-anew"))
        alone.answer(request, ev.Done(made, created=True))
    assert not alone.entries
    assert not alone.effects(fx.SendFrames)


@pytest.mark.parametrize("lives", [True, False])
def test_rule_4_an_epoch_that_nobody_knows_is_settled_by_the_lease_and_then_the_presence(
    lives: bool,
) -> None:
    alone = joined(allocates=True)
    unseen = peer("n7", 7, duration=D)
    vip = alone.put(replace(alone.given(str(Presence(unseen).epoch)), holder="n7"))
    alone.post(ev.Changed(service()), ev.Changed(vip))
    assert alone.request(VIP_LEASE).verb == "get"
    assert not alone.asked("presence-n7")
    alone.serve(VIP_LEASE)
    read = alone.request("presence-n7")
    assert read.verb == "get"
    alone.answer(read, ev.Done(unseen) if lives else ev.Refused(404, "not found"))
    began = alone.now
    while not alone.held and alone.now < began + D + SECOND:
        if lives:
            alone.show(replace(unseen, labels={"beat": str(alone.now)}))
        quiet_for(alone, 100 * MILLISECOND)
    assert alone.held is not lives


def test_rule_4_no_entry_before_the_device_has_accepted_the_frames() -> None:
    alone = joined()
    alone.keeps_back = lambda effect: isinstance(effect, fx.SendFrames)
    request = claim(alone)
    alone.answer(request, alone.outcome(request))
    alone.live(SECOND)
    assert not alone.held
    alone.confirm()
    assert alone.held


def test_rule_4_a_lease_that_is_merely_read_fills_nothing() -> None:
    alone = joined()
    epoch = str(alone.agent._presence.epoch)
    alone.post(ev.Changed(service()))
    alone.show(alone.given(epoch))
    assert not alone.held
    # It is claimed anew, and that claim fills.
    assert alone.request(VIP_LEASE).verb == "update"
    alone.serve()
    assert alone.held


def test_rule_4_a_claim_past_the_deadline_fills_nothing() -> None:
    alone = joined()
    request = claim(alone)
    outcome = alone.outcome(request)
    alone.now = alone.session.deadline + 1
    alone.answer(request, outcome)
    alone.serve(PRESENCE_LEASE)
    assert alone.agent._presence.live(alone.now)
    # Nor after the next renewal: only what is claimed anew does.
    assert not alone.held
    assert alone.request(VIP_LEASE).verb == "update"
    alone.serve()
    assert alone.held


def test_rule_4_a_claim_that_something_newer_was_seen_after_fills_nothing() -> None:
    alone = joined(peer("n2", 2))
    request = claim(alone)
    outcome = alone.outcome(request)
    newer = replace(alone.store[VIP_LEASE], holder="n2")
    alone.show(replace(newer, annotations={**newer.annotations, EPOCH: "uid-p-n2/0"}))
    alone.answer(request, outcome)
    assert not alone.held


def test_rule_4_a_claim_of_an_earlier_epoch_fills_nothing() -> None:
    alone = joined()
    request = claim(alone)
    outcome = alone.outcome(request)
    fence(alone)
    alone.serve(PRESENCE_LEASE)
    assert alone.agent._presence.live(alone.now)
    alone.answer(request, outcome)
    assert not alone.held


def test_rule_4_what_cannot_be_announced_is_left_to_others() -> None:
    alone = joined()
    request = claim(alone)
    alone.keeps_back = lambda effect: isinstance(effect, fx.SendFrames)
    alone.answer(request, alone.outcome(request))
    for _ in range(2):
        failed = [e.id for e in alone.kept_back if isinstance(e, fx.SendFrames)]
        alone.kept_back.clear()
        alone.post(*(ev.FramesAnswer(number, "ENETDOWN") for number in failed))
    alone.serve()
    assert not alone.held
    assert alone.store[VIP_LEASE].annotations[RELEASED] != ""
    assert held_by(alone.store[VIP_LEASE]) is None


def test_rule_4_a_won_claim_is_announced_and_filled_before_others_are_sent() -> None:
    alone = joined()
    given_many(alone, 60)
    for _ in range(20):
        alone.advance(10 * MILLISECOND)
        alone.serve(PRESENCE_LEASE)
    assert len(alone.pending) == IN_FLIGHT
    first, waiting = alone.pending[0], {r.lease.name for r in alone.pending}
    alone.done.clear()
    alone.answer(first, alone.outcome(first))
    assert [vip_lease_name(key.address) for key in alone.entries] == [first.lease.name]
    # One place was free, and one who had waited has it.
    assert len(alone.pending) == IN_FLIGHT
    assert len({r.lease.name for r in alone.pending} - waiting) == 1
    alone.live(SECOND)
    assert len(alone.entries) == 60


def free_for(alone: Alone, first: str, count: int) -> list[Lease]:
    """So many leases that nobody holds, for which that one of n1 and n3 is the first."""
    addresses = [VIP + number for number in range(1, 8 * count)]
    weights = {"n1": 1, "n3": 1}
    leases = []
    for address in [a for a in addresses if order_of(str(a), weights)[0] == first][:count]:
        text = {POOL: "pool", SERVICES: f"default/web-{address}"}
        changes = {"name": f"web-{address}", "uid": f"uid-{address}", "ingress": (str(address),)}
        leases.append(alone.put(new_vip_lease(vip_lease_name(address), text)))
        alone.post(ev.Changed(service(**changes)), ev.Changed(leases[-1]))
    return leases


def claims_of(alone: Alone) -> set[str]:
    return {r.lease.name for r in alone.pending if r.lease.name.startswith("vip-")}


def claimed_by_n3(alone: Alone, lease: Lease) -> None:
    epoch = Presence(alone.store["presence-n3"]).epoch
    alone.show(claimed(alone.store[lease.name], "n3", epoch, "first announcement"))


def pass_by(alone: Alone, nanoseconds: int) -> None:
    """Time, in which renewals alone are answered."""
    for _ in range(nanoseconds // (10 * MILLISECOND)):
        alone.serve(PRESENCE_LEASE)
        alone.advance(10 * MILLISECOND)


def test_rule_4_who_is_second_waits_while_the_first_claims_one_address_after_the_other() -> None:
    alone = joined(peer("n3", 3))
    leases = free_for(alone, "n3", 4)
    pass_by(alone, 100 * MILLISECOND)
    claimed_by_n3(alone, leases[0])
    pass_by(alone, RANK_STEP - 20 * MILLISECOND)
    assert claims_of(alone) == set()
    claimed_by_n3(alone, leases[1])
    pass_by(alone, RANK_STEP - 20 * MILLISECOND)
    assert claims_of(alone) == set()
    # It claims nothing more.
    pass_by(alone, 40 * MILLISECOND)
    assert claims_of(alone) == {lease.name for lease in leases[2:]}


def test_rule_4_who_is_second_waits_for_no_more_than_a_second() -> None:
    """And then its own turn."""
    alone = joined(peer("n3", 3))
    leases = free_for(alone, "n3", 24)
    for lease in leases[:11]:
        claimed_by_n3(alone, lease)
        pass_by(alone, 100 * MILLISECOND)
        assert claims_of(alone) == set()
    claimed_by_n3(alone, leases[11])
    pass_by(alone, 90 * MILLISECOND)
    assert claims_of(alone) == {lease.name for lease in leases[12:]}


@pytest.mark.parametrize("made_again", [False, True])
def test_rule_4_what_is_told_late_of_a_lease_that_is_gone_is_no_news(made_again: bool) -> None:
    alone = joined()
    given = alone.given()
    deleted = alone.put(replace(given, deleting=True))
    alone.post(ev.Changed(deleted))
    alone.live(SECOND)
    assert VIP_LEASE not in alone.store
    assert alone.agent._locks.get(VIP_LEASE) is None
    # The watch is late: this was before.
    alone.post(ev.Changed(given), ev.Changed(deleted))
    assert alone.agent._locks.get(VIP_LEASE) is None
    if made_again:
        alone.show(replace(given, uid=""))
        assert alone.agent._locks.get(VIP_LEASE) is not None
    else:
        alone.post(ev.Removed(Lease, VIP_LEASE))
        assert alone.agent._locks.get(VIP_LEASE) is None


@pytest.mark.parametrize("asked", ["read", "let go"])
def test_rule_4_that_a_lease_was_gone_says_nothing_of_one_that_was_seen_since(asked: str) -> None:
    """The answer was on its way for longer than the watch took to show that it was made again."""
    alone = joined()
    given = alone.given()
    alone.post(ev.Changed(service()))
    if asked == "read":
        alone.post(ev.Changed(given))
        alone.answer(alone.request(VIP_LEASE), ev.Failed("timeout"))
        del alone.store[VIP_LEASE]
        pass_by(alone, 200 * MILLISECOND)
    else:
        alone.show(replace(given, deleting=True))
    request, sent = alone.request(VIP_LEASE), alone.now
    outcome = alone.outcome(request)
    assert VIP_LEASE not in alone.store
    pass_by(alone, 10 * MILLISECOND)
    alone.show(replace(given, uid=""))
    alone.answer(request, outcome, sent)
    alone.live(SECOND)
    assert alone.held


def test_rule_4_that_a_lease_is_gone_is_remembered_no_longer_than_a_watch_may_be_late() -> None:
    """The watch told of it before the answer came, and tells of it no more."""
    alone = joined()
    given = alone.given()
    alone.post(ev.Changed(alone.put(replace(given, deleting=True))))
    alone.live(SECOND)
    assert list(alone.agent._election._gone) == [VIP_LEASE]
    alone.now += LATE
    (address,) = given_many(alone, 1)
    name = vip_lease_name(address)
    alone.live(SECOND)
    alone.post(ev.Changed(alone.put(replace(alone.store[name], deleting=True))))
    alone.live(2 * SECOND)
    assert list(alone.agent._election._gone) == [name]


# --- 5: hand over ------------------------------------------------------------------------------------------


def test_rule_5_a_holder_is_cleared_only_after_the_kernel_has_confirmed() -> None:
    alone = holding(peer("n2", 2))
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetEntries)
    alone.post(ev.Changed(node("n1", annotations={DRAIN_ANNOTATION: "true"})))
    alone.live(SECOND)
    assert alone.store[VIP_LEASE].holder == "n1"
    alone.confirm()
    alone.live(100 * MILLISECOND)
    assert not alone.held
    assert alone.store[VIP_LEASE].holder == ""


def test_rule_5_what_a_node_took_up_in_a_later_epoch_of_its_own_is_let_go_of_by_its_word() -> None:
    """Whoever began after the earlier one had ended knows nothing of it."""
    now = replace(peer("n2", 2), transitions=1)
    before, after = Epoch(now.uid, 0), Presence(now).epoch
    alone = joined(now, allocates=True)
    held = replace(alone.given(str(before)), holder="n2", transitions=1)
    alone.post(ev.Changed(service()))
    alone.show(held)
    taken = claimed(held, "n2", after, "its claim was lost")
    alone.show(taken)
    alone.show(released(taken, "n2: drained"))
    alone.live(SECOND)
    assert alone.held


def test_rule_4_an_epoch_that_its_presence_never_had_is_a_hands() -> None:
    """Though it would be a later one of the same presence."""
    living = peer("n2", 2, duration=D)
    alone = joined(living, allocates=True)
    held = alone.put(replace(alone.given(str(Presence(living).epoch)), holder="n2", transitions=1))
    alone.post(ev.Changed(service()), ev.Changed(held))
    began = alone.now
    never = Epoch(living.uid, living.transitions + 1)
    alone.show(replace(held, annotations={**held.annotations, EPOCH: str(never)}))
    while not alone.held and alone.now < began + 3 * D:
        beat(alone, "n2")
        alone.live(100 * MILLISECOND)
    assert began + D + LATE_NEWS <= alone.now < began + 3 * D


def test_rule_4_a_longer_duration_that_is_being_said_counts_before_a_claim() -> None:
    alone = holding()
    alone.post(ev.Removed(Service, ("default", "web")))
    for _ in range(1000):
        alone.serve(VIP_LEASE)
        request = renewal(alone)
        if request.lease.annotations[DURATION] == str(5 * D // MILLISECOND):
            break
        alone.serve()
    # It may have taken effect, whatever its answer will be.
    alone.store.pop(VIP_LEASE, None)
    alone.post(ev.Removed(Lease, VIP_LEASE), ev.Changed(alone.given()), ev.Changed(service()))
    alone.advance(100 * MILLISECOND)
    assert not alone.asked(VIP_LEASE)
    alone.live(SECOND)
    assert alone.held


@pytest.mark.parametrize(
    ("drained", "reason"),
    [
        (node("n1", annotations={DRAIN_ANNOTATION: "true"}), "draining"),
        (
            node("n1", taints=(Taint(OUT_OF_SERVICE_TAINT, "nodeshutdown", "NoExecute"),)),
            "taint out-of-service",
        ),
    ],
    ids=["annotation", "taint"],
)
def test_rule_5_the_presence_says_first_that_it_is_out(drained: Node, reason: str) -> None:
    alone = holding(peer("n2", 2))
    alone.done.clear()
    alone.post(ev.Changed(drained))
    assert alone.held
    request = alone.request(PRESENCE_LEASE)
    assert Presence(request.lease).report.draining
    assert not alone.asked(VIP_LEASE)
    alone.serve()
    assert not alone.held
    written = [e.lease.name for e in alone.effects(fx.LeaseRequest)]
    assert written.index(PRESENCE_LEASE) < written.index(VIP_LEASE)
    assert alone.store[VIP_LEASE].annotations[REASON] == f"n1: {reason}"


def test_rule_5_a_stop_hands_over_then_falls_silent_then_releases_then_ends() -> None:
    alone = holding(peer("n2", 2))
    alone.done.clear()
    alone.post(ev.Stop())
    alone.live(SECOND)
    happened = [
        e.lease.name if isinstance(e, fx.LeaseRequest) else type(e).__name__
        for e in alone.done
        if (isinstance(e, fx.LeaseRequest) and e.lease.holder == "" and e.verb == "update")
        or isinstance(e, fx.Finish)
        or (isinstance(e, fx.SetSession) and e.session.deadline == 0)
    ]
    assert happened == [VIP_LEASE, "SetSession", PRESENCE_LEASE, "Finish"]


@pytest.mark.parametrize(
    "event",
    [
        ev.Changed(node("n1", labels={EXCLUDE_LABEL: ""})),
        ev.Stop(),
        ev.InterfacesSeen(()),
        ev.InterfacesSeen((replace(ETH0, carrier=False),)),
    ],
    ids=["excluded", "stop", "no device", "no carrier"],
)
def test_rule_5_many_addresses_are_withdrawn_as_one(event: ev.Event) -> None:
    alone = joined()
    addresses = given_many(alone, 60)
    alone.live(3 * SECOND)
    assert {key.address for key in alone.entries} == set(addresses)
    alone.done.clear()
    alone.post(event)
    alone.live(3 * SECOND)
    assert alone.entries == {}
    assert not any(alone.store[vip_lease_name(address)].holder for address in addresses)
    (removal,) = (effect for effect in alone.effects(fx.SetEntries) if effect.remove)
    assert len(removal.remove) == 60


@pytest.mark.parametrize("answer", ["done", "refused", "lost"])
def test_rule_5_a_claim_under_way_is_awaited_before_the_presence_is_released(answer: str) -> None:
    """Else the address would be an ended epoch's, and dark until others have counted D."""
    alone = joined(peer("n2", 2))
    alone.post(ev.Changed(alone.given()), ev.Changed(service()))
    alone.advance(SECOND)
    claim = alone.request(VIP_LEASE)
    outcome = alone.outcome(claim) if answer != "refused" else ev.Refused(409, "conflict")
    alone.post(ev.Stop())
    alone.serve(PRESENCE_LEASE)
    assert alone.store[PRESENCE_LEASE].holder == "n1"
    alone.answer(claim, ev.Failed("timeout") if answer == "lost" else outcome)
    alone.live(500 * MILLISECOND)
    assert alone.effects(fx.Finish)
    assert alone.store[VIP_LEASE].holder == ""
    assert alone.store[PRESENCE_LEASE].holder == ""


def leaving_while_it_renews(alone: Alone) -> fx.LeaseRequest:
    """It has handed over all, and fallen silent, while this renewal is under way."""
    alone.post(ev.Stop())
    alone.serve(PRESENCE_LEASE)
    request = renewal(alone)
    alone.serve(VIP_LEASE)
    alone.advance(10 * MILLISECOND)
    assert (alone.session.deadline, alone.entries) == (0, {})
    return request


@pytest.mark.parametrize("answer", ["done", "done, but the answer is lost", "lost", "conflict"])
def test_rule_5_a_renewal_under_way_is_awaited_before_the_presence_is_released(answer: str) -> None:
    alone = holding(peer("n2", 2))
    request = leaving_while_it_renews(alone)
    assert alone.request(PRESENCE_LEASE) is request
    if answer == "conflict":
        edited = alone.store[PRESENCE_LEASE]
        alone.put(replace(edited, annotations={**edited.annotations, "by": "hand"}))
    outcome = alone.outcome(request) if answer != "lost" else None
    failed = outcome is None or "lost" in answer
    alone.answer(request, ev.Failed("timeout") if failed or outcome is None else outcome)
    # Its success does not let the kernel answer again.
    assert alone.session.deadline == 0
    alone.live(300 * MILLISECOND)
    assert alone.store[PRESENCE_LEASE].holder == ""
    assert alone.session.deadline == 0
    assert alone.effects(fx.Finish)
    assert "presence not released" not in [note.event for note in alone.effects(fx.Note)]


def test_rule_5_who_was_fenced_while_leaving_releases_nothing() -> None:
    alone = holding(peer("n2", 2))
    request = leaving_while_it_renews(alone)
    fenced = alone.put(replace(alone.store[PRESENCE_LEASE], holder=""))
    alone.answer(request, ev.Refused(409, "conflict"))
    alone.live(100 * MILLISECOND)
    assert alone.store[PRESENCE_LEASE] == fenced
    assert alone.effects(fx.Finish)


def test_rule_5_a_release_that_is_refused_is_told() -> None:
    alone = holding(peer("n2", 2))
    request = leaving_while_it_renews(alone)
    alone.answer(request, alone.outcome(request))
    alone.advance(10 * MILLISECOND)
    alone.answer(alone.request(PRESENCE_LEASE), ev.Refused(403, "forbidden"))
    (note,) = [n for n in alone.effects(fx.Note) if n.event == "presence not released"]
    assert note.fields["reason"] == "forbidden"
    assert alone.effects(fx.Finish)


@pytest.mark.parametrize("kernel", ["silent at once", "silent late"])
def test_rule_5_a_release_that_nobody_answers_is_given_up_and_nothing_spins(kernel: str) -> None:
    alone = joined(settings=Settings(on_api_loss="Withdraw", duration_ns=60 * SECOND))
    if kernel == "silent late":
        alone.keeps_back = lambda effect: isinstance(effect, fx.SetSession | fx.SetEntries)
    alone.post(ev.Stop(75, "too slow"))
    told = renewal(alone)
    assert Presence(told.lease).report.draining
    alone.answer(told, alone.outcome(told))
    rounds, until = 0, alone.now + 2 * LIMIT
    while rounds < 100 and (due := alone.agent.next_deadline()) is not None and due <= until:
        alone.now = max(alone.now + MILLISECOND, due)
        alone.post(ev.Tick())
        rounds += 1
    assert rounds < 100
    if kernel == "silent late":
        # Nothing ends before the kernel has confirmed (rule 2).
        assert not alone.effects(fx.Finish)
        assert not [r for r in alone.pending if r.lease.holder == ""]
        alone.confirm()
    assert alone.session.deadline == 0
    assert alone.effects(fx.Finish) == [fx.Finish(75, "too slow")]
    assert alone.agent.next_deadline() is None


# --- 6: allocate -------------------------------------------------------------------------------------------


def test_rule_6_an_address_is_given_by_creating_its_lease() -> None:
    alone = joined(allocates=True)
    alone.post(ev.Changed(service(ingress=())))
    alone.live(100 * MILLISECOND)
    created = [r for r in alone.effects(fx.LeaseRequest) if r.verb == "create"]
    given = [r.lease.name for r in created if r.lease.name.startswith("vip-")]
    assert given == ["vip-198.51.100.0"]


def test_rule_6_who_comes_second_gives_another_address() -> None:
    alone = joined(allocates=True)
    alone.put(new_vip_lease("vip-198.51.100.0", {"herald.dev/services": "default/one"}))
    alone.post(ev.Changed(service(name="one", uid="uid-one", ingress=("198.51.100.0",))))
    alone.post(ev.Changed(service(ingress=())))
    alone.live(SECOND)
    assert alone.store["vip-198.51.100.0"].annotations["herald.dev/services"] == "default/one"
    told = [(p.service.name, p.ingress) for p in alone.effects(fx.PatchService) if p.ingress]
    assert told == [("web", ("198.51.100.1",))]


# --- 7: a restarted agent ----------------------------------------------------------------------------------


def restarted(alone: Alone) -> Alone:
    after = Alone(
        session=alone.session, entries=alone.entries, identity=replace(ME, nonce="nonce-2")
    )
    after.now, after.store, after.version = alone.now, alone.store, alone.version
    return after


def test_rule_7_a_restart_goes_on_in_its_epoch_and_first_swaps_its_nonce_in() -> None:
    before = holding()
    epoch = before.agent._presence.epoch
    after = restarted(before)
    assert [(r.verb, r.lease.name) for r in after.pending] == [("get", PRESENCE_LEASE)]
    after.answer(after.pending[0], after.outcome(after.pending[0]))
    after.learn(services=(service(),))
    # Nothing else is sent before that has succeeded.
    assert [(r.verb, r.lease.name) for r in after.pending] == [("update", PRESENCE_LEASE)]
    assert after.pending[0].lease.annotations[INSTANCE] == "machine-1/nonce-2"
    assert after.held
    after.serve()
    assert after.agent._presence.epoch == epoch
    after.live(SECOND)
    assert after.entries == before.entries


def test_rule_7_a_restart_never_says_the_duration_of_who_holds_nothing() -> None:
    """Or others would wait five times as long for it, were it lost then."""
    before = holding()
    after = restarted(before)
    after.learn(services=(service(),))
    after.advance(SECOND)
    after.live(3 * SECOND)
    said = {
        request.lease.annotations[DURATION]
        for request in after.effects(fx.LeaseRequest)
        if request.verb == "update" and request.lease.name == PRESENCE_LEASE
    }
    assert said == {"2000"}


def test_rule_7_a_restart_says_no_shorter_duration_than_the_kernel_still_has() -> None:
    """Somebody has edited the one that stood in the presence."""
    before = holding(settings=Settings(on_api_loss="Withdraw", duration_ns=5 * D))
    lease = before.store[PRESENCE_LEASE]
    before.put(replace(lease, annotations={**lease.annotations, DURATION: "1"}))
    before.session = replace(before.session, deadline=before.now + 9 * SECOND)
    after = restarted(before)
    after.answer(after.pending[0], after.outcome(after.pending[0]))
    (request,) = after.pending
    assert int(request.lease.annotations[DURATION]) * MILLISECOND * 9 // 10 >= 9 * SECOND


def test_rule_7_entries_without_a_lease_of_this_epoch_go_before_anything_is_filled() -> None:
    before = holding()
    stray = replace(KEY, address=VIP + 1)
    before.entries[stray] = EntryValue(MAC, 1, EntryFlags.NONE)
    after = restarted(before)
    after.serve()
    assert stray in after.entries
    after.learn(services=(service(),))
    after.live(100 * MILLISECOND)
    assert stray not in after.entries
    assert after.held


def test_rule_7_an_agent_that_was_fenced_while_it_was_down_falls_silent_before_it_begins_anew() -> (
    None
):
    before = holding()
    epochs = before.put(replace(before.store[PRESENCE_LEASE], holder="")).transitions
    after = restarted(before)
    after.keeps_back = lambda effect: isinstance(effect, fx.SetSession | fx.SetEntries)
    after.live(SECOND)
    assert after.held
    assert after.store[PRESENCE_LEASE].transitions == epochs
    after.confirm()
    assert (after.session.deadline, after.entries) == (0, {})
    after.live(300 * MILLISECOND)
    assert after.store[PRESENCE_LEASE].transitions == epochs + 1


# --- 8: the API server lost --------------------------------------------------------------------------------


def past_the_deadline(alone: Alone) -> None:
    """No request is answered any more, for as long as a presence is valid and a little longer."""
    while alone.now <= alone.session.deadline + 100 * MILLISECOND:
        for request in list(alone.pending):
            alone.answer(request, ev.Failed("time limit"))
        alone.advance(50 * MILLISECOND)


def holds_on(alone: Alone) -> bool:
    return alone.now < alone.session.fuse


def test_rule_8_hold_goes_on_past_the_deadline_while_the_segment_is_heard() -> None:
    alone = holding(peer("n2", 2), settings=HOLD)
    alone.live(SECOND)
    assert alone.session.fuse == 0
    past_the_deadline(alone)
    assert holds_on(alone)
    assert alone.session.fuse <= alone.now + SECOND


def test_rule_8_hold_ends_for_good_when_the_segment_is_silent() -> None:
    alone = holding(peer("n2", 2), settings=HOLD)
    alone.live(SECOND)
    past_the_deadline(alone)
    alone.neighbours = False
    alone.advance(1500 * MILLISECOND)
    assert not holds_on(alone)
    alone.neighbours = True
    alone.advance(2 * SECOND)
    assert not holds_on(alone)
    alone.live(SECOND)
    past_the_deadline(alone)
    assert holds_on(alone), "a renewal has succeeded"


def test_rule_8_with_nobody_to_ask_there_is_no_hold() -> None:
    alone = holding(settings=HOLD, allocates=True)
    alone.live(SECOND)
    past_the_deadline(alone)
    assert not holds_on(alone)


def test_rule_8_what_was_heard_before_the_agent_was_stopped_proves_nothing_after_it() -> None:
    alone = holding(peer("n2", 2), settings=HOLD)
    alone.live(SECOND)
    alone.done.clear()
    alone.neighbours = False
    alone.live(600 * MILLISECOND)
    (asked, *_) = (p for e in alone.effects(fx.SendSolicitations) for p in e.solicitations)
    heard = ev.SegmentHeard(asked.ifindex, asked.target, alone.now)
    # Stopped; and what came in meanwhile waits for it.
    alone.now = alone.session.deadline + 2 * SECOND
    alone.post(heard, ev.Tick())
    assert not holds_on(alone)


@pytest.mark.parametrize("status", [401, 403])
def test_rule_8_a_refusal_that_lasts_is_an_answer_and_no_reason_to_hold(status: int) -> None:
    """One that does not may be that of an API server which has just begun."""
    alone = holding(peer("n2", 2), settings=HOLD)
    alone.live(SECOND)
    past_the_deadline(alone)
    began = alone.now
    while alone.now < began + 4 * SECOND:
        for request in list(alone.pending):
            alone.answer(request, ev.Refused(status, "no"))
        alone.advance(50 * MILLISECOND)
        if alone.now < began + 2 * SECOND:
            assert holds_on(alone)
    assert not holds_on(alone)


def test_rule_8_no_moment_at_the_deadline_is_without_an_answer() -> None:
    alone = holding(peer("n2", 2), settings=HOLD)
    alone.live(SECOND)
    end = alone.session.deadline + SECOND
    while alone.now < end:
        for request in list(alone.pending):
            alone.answer(request, ev.Failed("connection refused"))
        before = alone.session
        alone.advance(10 * MILLISECOND)
        # As the kernel saw it just before this agent woke up.
        assert alone.now < max(before.deadline, before.fuse)


ETH1 = replace(ETH0, index=3, name="eth1", mac=bytes.fromhex("020000000003"))
ON_ETH1 = VIP + 1


def holding_on_two_devices() -> Alone:
    """One address on each of them."""
    alone = joined(peer("n2", 2), settings=HOLD)
    chosen = {"device": "eth1"}
    alone.post(
        ev.InterfacesSeen((ETH0, ETH1)),
        ev.Removed(Policy, "all"),
        *(
            ev.Changed(
                Policy(
                    device,
                    "p",
                    1,
                    1,
                    Selector({"device": device}),
                    interfaces=(device,),
                    load_balancer_ips=True,
                )
            )
            for device in ("eth0", "eth1")
        ),
        ev.Changed(alone.given()),
        ev.Changed(alone.put(new_vip_lease(vip_lease_name(ON_ETH1), {SERVICES: "default/other"}))),
        ev.Changed(service(labels={"device": "eth0"})),
        ev.Changed(service(name="other", labels=chosen, ingress=(str(ON_ETH1),))),
    )
    alone.live(2 * SECOND)
    assert alone.entries.keys() == {KEY, EntryKey(ON_ETH1, ETH1.index)}
    return alone


@pytest.mark.parametrize("left", [(ETH0,), (ETH0, replace(ETH1, carrier=False))])
def test_rule_8_a_device_that_is_lost_takes_what_was_held_there_and_nothing_else(
    left: tuple[Interface, ...],
) -> None:
    alone = holding_on_two_devices()
    past_the_deadline(alone)
    assert holds_on(alone)
    alone.silent = ETH1.index
    alone.post(ev.InterfacesSeen(left))
    alone.advance(3 * SECOND)
    assert holds_on(alone)
    assert alone.entries.keys() == {KEY}


def test_rule_8_a_device_that_is_just_plugged_in_again_takes_nothing() -> None:
    alone = holding_on_two_devices()
    past_the_deadline(alone)
    alone.silent = ETH1.index
    alone.post(ev.InterfacesSeen((ETH0, replace(ETH1, carrier=False))))
    alone.advance(500 * MILLISECOND)
    alone.silent = 0
    alone.post(ev.InterfacesSeen((ETH0, ETH1)))
    alone.advance(3 * SECOND)
    assert holds_on(alone)
    assert len(alone.entries) == 2


def test_rule_8_withdraw_never_holds() -> None:
    alone = holding(peer("n2", 2))
    past_the_deadline(alone)
    assert alone.session == Session(alone.session.deadline, 0, alone.session.renewed, hold=False)


def test_rule_8_only_what_a_renewal_sent_after_the_fill_confirms_may_be_held() -> None:
    alone = joined(peer("n2", 2), settings=HOLD)
    alone.keeps_back = lambda effect: isinstance(effect, fx.SendFrames)
    request = claim(alone)
    alone.answer(request, alone.outcome(request))
    before = renewal(alone)
    sent = alone.now
    alone.now += MILLISECOND
    alone.confirm()
    assert alone.held
    # Sent after the claim, but before the fill: it says nothing about a fill that came late.
    assert alone.entries[KEY].claimed < sent
    alone.answer(before, alone.outcome(before), sent)
    assert alone.session.renewed <= alone.entries[KEY].claimed
    alone.live(SECOND)
    assert alone.session.renewed > alone.entries[KEY].claimed


def test_rule_8_what_the_kernel_has_silenced_is_claimed_anew_also_where_nobody_told() -> None:
    alone = holding(allocates=True)
    before = alone.entries[KEY].claimed
    alone.post(ev.SeenRead({VIP: before - 1}))
    assert not alone.asked(VIP_LEASE), "an older claim"
    alone.post(ev.SeenRead({VIP: before}))
    alone.serve()
    after = alone.entries[KEY].claimed
    assert after > before
    alone.post(ev.SeenRead({VIP: before}))
    assert not alone.asked(VIP_LEASE), "the kernel remembers for good"


def test_rule_8_what_is_answered_is_not_forgotten_where_the_kernel_is_crowded() -> None:
    """With it would go the silence of an entry that is there, or is about to be."""
    alone = holding()
    others = frozenset(VIP + number for number in range(1, 4))
    alone.post(ev.SeenRead({}, others | {VIP}))
    assert alone.effects(fx.ForgetSeen) == [fx.ForgetSeen(others)]
    alone.done.clear()
    alone.post(ev.SeenRead({}, frozenset((VIP,))))
    assert alone.effects(fx.ForgetSeen) == []
    alone.post(ev.SeenRead({}, frozenset(VIP + number for number in range(2 * FORGOTTEN))))
    (made,) = alone.effects(fx.ForgetSeen)
    assert len(made.addresses) == FORGOTTEN
    assert VIP not in made.addresses


# --- 9: requests -------------------------------------------------------------------------------------------


def test_rule_9_a_request_ends_before_what_is_left_of_the_validity() -> None:
    alone = holding()
    request = renewal(alone)
    assert alone.now < request.deadline <= alone.session.deadline
    alone.now += 600 * MILLISECOND
    alone.answer(request, ev.Failed("reset"))
    while not alone.asked(PRESENCE_LEASE):
        alone.advance(10 * MILLISECOND)
    assert alone.request(PRESENCE_LEASE).deadline == alone.session.deadline


def test_rule_9_a_claim_ends_before_the_deadline() -> None:
    alone = holding(allocates=True)
    renewal(alone)
    alone.now = alone.session.deadline - 100 * MILLISECOND
    alone.post(ev.ConflictSeen(VIP, bytes(6), 2, silenced=True))
    assert alone.request(VIP_LEASE).deadline == alone.session.deadline


def test_rule_9_renewals_have_a_connection_of_their_own_and_nothing_else_has_it() -> None:
    alone = holding(peer("n2", 2, duration=D))
    alone.live(5 * SECOND)
    for request in alone.effects(fx.LeaseRequest):
        assert request.own_connection is (request.lease.name == PRESENCE_LEASE)


def test_rule_9_a_failed_renewal_is_tried_again_for_ever() -> None:
    alone = joined()
    for _ in range(500):
        alone.answer(renewal(alone), ev.Failed("reset"))
    assert renewal(alone)


def pause(alone: Alone, request: fx.LeaseRequest, outcome: ev.Failed | ev.Refused) -> int:
    """How long after that answer the next request about the same Lease leaves."""
    alone.answer(request, outcome)
    began = alone.now
    while not alone.asked(request.lease.name):
        alone.advance(MILLISECOND)
    return alone.now - began


def after_failed_reads() -> list[int]:
    """Of nodes that boot at one moment."""
    found = []
    for number in range(5):
        alone = Alone(identity=replace(ME, node=f"n{number}"))
        alone.post(ev.Tick())
        found.append(pause(alone, alone.pending[0], ev.Failed("reset")))
    return found


def after_failed_joins() -> list[int]:
    """The same."""
    found = []
    for number in range(5):
        alone = Alone(identity=replace(ME, node=f"n{number}"))
        alone.post(ev.InterfacesSeen((ETH0,)), ev.Listed(Node, (node(f"n{number}"),)), ev.Tick())
        alone.answer(alone.pending[0], ev.Refused(404, "not found"))
        found.append(pause(alone, alone.pending[0], ev.Failed("reset")))
    return found


def after_failed_renewals() -> list[int]:
    alone = holding()
    return [pause(alone, renewal(alone), ev.Failed("reset")) for _ in range(5)]


def before_releases() -> list[int]:
    """Of the presence, after the renewal that was under way has failed."""
    found = []
    for seconds in range(5):
        alone = holding(peer("n2", 2))
        alone.live(seconds * SECOND)
        found.append(pause(alone, leaving_while_it_renews(alone), ev.Failed("reset")))
    return found


def after_failed_reads_of_an_epoch() -> list[int]:
    """Of the presence that a VIP lease names."""
    alone = joined(peer("n2", 2))
    lease = replace(alone.given("uid-p-unknown/0"), holder="n7")
    alone.post(ev.Changed(service()))
    alone.show(lease)
    found = []
    for _ in range(5):
        alone.serve(VIP_LEASE)
        read = alone.request("presence-n7")
        alone.answer(read, ev.Failed("reset"))
        began = alone.now
        while not alone.asked(VIP_LEASE):
            alone.serve(PRESENCE_LEASE)
            alone.advance(MILLISECOND)
        found.append(alone.now - began)
    return found


@pytest.mark.parametrize(
    "pauses",
    [
        after_failed_reads,
        after_failed_joins,
        after_failed_renewals,
        before_releases,
        after_failed_reads_of_an_epoch,
    ],
)
def test_rule_9_who_failed_at_one_moment_does_not_try_again_at_one_moment(
    pauses: Callable[[], list[int]],
) -> None:
    found = pauses()
    assert min(found) >= 100 * MILLISECOND
    assert max(found) <= 201 * MILLISECOND
    assert len(set(found)) > 1


# --- 10: time runs backwards -------------------------------------------------------------------------------


def rewound(alone: Alone) -> None:
    """The map was emptied, an epoch begun anew, all listed, and nothing is claimed for the longest D."""
    began = alone.now
    assert [e.kind for e in alone.effects(fx.Relist)] == list(KINDS)
    assert not alone.held
    alone.serve()
    alone.post(ev.Listed(Lease, tuple(alone.store.values()), asked=alone.now))
    alone.live(D - 50 * MILLISECOND)
    claims = [r for r in alone.effects(fx.LeaseRequest) if r.lease.annotations.get(EPOCH)]
    assert claims == []
    assert alone.store[PRESENCE_LEASE].transitions == 1
    alone.live(3 * D)
    assert alone.held
    assert alone.now < began + 5 * D


def test_rule_10_an_older_presence_of_its_own_begins_a_new_epoch() -> None:
    alone = holding(allocates=True)
    older = alone.store[PRESENCE_LEASE]
    alone.live(SECOND)
    alone.done.clear()
    request = renewal(alone)
    alone.store[PRESENCE_LEASE] = older
    alone.answer(request, ev.Refused(409, "conflict"))
    alone.serve()
    rewound(alone)


@pytest.mark.parametrize("which", [VIP_LEASE, "presence-n2"])
def test_rule_10_any_lease_that_a_list_shows_older_begins_a_new_epoch(which: str) -> None:
    alone = holding(peer("n2", 2, duration=D), allocates=True)
    older = alone.store[which]
    alone.show(replace(older, labels={"later": "1"}))
    alone.now += MILLISECOND
    alone.done.clear()
    alone.store[which] = older
    alone.post(ev.Listed(Lease, tuple(alone.store.values()), asked=alone.now))
    rewound(alone)


@pytest.mark.parametrize("known", ["newer", "gone"])
def test_rule_10_any_lease_that_a_read_shows_older_begins_a_new_epoch(known: str) -> None:
    alone = holding(allocates=True)
    older = alone.store[VIP_LEASE]
    if known == "newer":
        alone.show(replace(older, labels={"later": "1"}))
        alone.now += MILLISECOND
        alone.store[VIP_LEASE] = older
        alone.post(ev.Removed(Lease, VIP_LEASE))
    else:
        alone.post(ev.Removed(Service, ("default", "web")))
        alone.live(2 * SECOND)
        assert VIP_LEASE not in alone.store
        alone.store[VIP_LEASE] = older
        lock = alone.agent._locks.want(VIP_LEASE)
        assert lock is not None
        lock.wants = {SERVICES: "default/web"}
    alone.done.clear()
    alone.live(SECOND)
    assert [e.kind for e in alone.effects(fx.Relist)] == list(KINDS)


def test_rule_10_a_renewal_that_is_older_than_what_was_known_before_begins_a_new_epoch() -> None:
    """Where this node's presence had not been written since the backup, and its watch waits for what is long past."""
    alone = holding(peer("n2", 2, duration=D), allocates=True)
    alone.post(ev.Changed(replace(alone.store["presence-n2"], resource_version=1 << 40)))
    alone.done.clear()
    request = renewal(alone)
    alone.answer(request, alone.outcome(request))
    rewound(alone)


@pytest.mark.parametrize("which", [VIP_LEASE, "presence-n2"])
def test_rule_10_a_version_that_is_given_again_to_something_else_begins_a_new_epoch(
    which: str,
) -> None:
    """The API server was set back, and has written as often since as it had before."""
    alone = holding(peer("n2", 2, duration=D), allocates=True)
    alone.now += MILLISECOND
    alone.done.clear()
    alone.store[which] = replace(alone.store[which], labels={"another": "history"})
    alone.post(ev.Listed(Lease, tuple(alone.store.values()), asked=alone.now))
    rewound(alone)


def test_rule_10_a_list_that_is_older_than_anything_known_begins_a_new_epoch() -> None:
    """Though of all that is in it nothing has changed."""
    alone = holding(peer("n2", 2, duration=D), allocates=True)
    alone.show(replace(alone.store["presence-n2"], labels={"later": "1"}))
    alone.now += MILLISECOND
    alone.done.clear()
    newest = alone.version
    for older in (newest, newest - 1):
        assert not alone.effects(fx.Relist)
        listed = ev.Listed(Lease, tuple(alone.store.values()), asked=alone.now, version=older)
        alone.post(listed)
    rewound(alone)


def test_rule_10_who_joins_in_a_version_that_is_older_than_what_was_known_begins_anew() -> None:
    alone = Alone()
    alone.learn(peer("n2", 2))
    alone.post(ev.Changed(replace(alone.store["presence-n2"], resource_version=1 << 40)))
    alone.done.clear()
    alone.serve(PRESENCE_LEASE)
    assert [e.kind for e in alone.effects(fx.Relist)] == list(KINDS)
    assert alone.store[PRESENCE_LEASE].transitions == 1


@pytest.mark.parametrize("away", [D - 1, D])
def test_rule_10_a_watch_that_was_away_for_d_is_listed_anew_and_nothing_claimed_before(
    away: int,
) -> None:
    alone = joined(allocates=True)
    alone.show(peer("n2", 2))
    alone.post(ev.WatchBroken(Lease, "reset"))
    alone.done.clear()
    quiet_for(alone, away)
    alone.post(ev.WatchResumed(Lease), ev.Changed(alone.given()), ev.Changed(service()))
    alone.live(SECOND)
    assert alone.effects(fx.Relist) == [fx.Relist(Lease)] * (away >= D)
    assert alone.held == (away < D)
    alone.post(ev.Listed(Lease, tuple(alone.store.values()), asked=alone.now))
    alone.live(SECOND)
    assert alone.held


def test_rule_10_a_list_that_was_asked_for_before_may_be_older() -> None:
    alone = holding(allocates=True)
    older, asked = dict(alone.store), alone.now
    alone.now += MILLISECOND
    alone.show(replace(alone.store[VIP_LEASE], labels={"later": "1"}))
    alone.post(ev.Listed(Lease, tuple(older.values()), asked=asked))
    alone.live(SECOND)
    assert alone.effects(fx.Relist) == []
    assert alone.held


# --- 11: order ---------------------------------------------------------------------------------------------


def test_rule_11_a_write_leaves_after_the_removal_that_it_depends_on() -> None:
    alone = holding(allocates=True)
    alone.done.clear()
    alone.post(ev.Removed(Service, ("default", "web")))
    alone.live(SECOND)
    removal = next(n for n, e in enumerate(alone.done) if isinstance(e, fx.SetEntries))
    writes = [
        n
        for n, e in enumerate(alone.done)
        if isinstance(e, fx.LeaseRequest) and e.lease.name == VIP_LEASE and e.verb != "get"
    ]
    assert writes
    assert removal < writes[0]


def test_rule_11_what_the_kernel_refused_to_remove_is_not_released() -> None:
    alone = holding(allocates=True)
    alone.keeps_back = lambda effect: isinstance(effect, fx.SetEntries)
    alone.post(ev.Removed(Service, ("default", "web")))
    for _ in range(20):
        alone.serve()
        refused = [e.id for e in alone.kept_back if isinstance(e, fx.SetEntries)]
        alone.kept_back.clear()
        alone.post(*(ev.KernelAnswer(number, "EBUSY") for number in refused))
        alone.advance(100 * MILLISECOND)
    assert held_by(alone.store[VIP_LEASE]) is not None
    alone.confirm()
    alone.live(SECOND)
    assert VIP_LEASE not in alone.store


# --- load --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("announcing", "seconds"), [(10, 2.0), (25, 2.0), (50, 4.0), (100, 8.0)])
def test_the_budget_stretches_the_duration_once_many_announce(
    announcing: int, seconds: float
) -> None:
    others = [peer(f"p{number}", number + 2) for number in range(announcing - 1)]
    alone = joined(*others)
    for number, other in enumerate(others):
        name = f"vip-203.0.113.{number}"
        epoch = str(Presence(other).epoch)
        annotations = {EPOCH: epoch, "herald.dev/services": f"default/s{number}"}
        alone.show(replace(new_vip_lease(name, annotations), holder=other.holder))
    alone.post(ev.Changed(alone.given()), ev.Changed(service()))
    alone.live(25 * SECOND)
    assert alone.held
    # 50 renewals a second in the whole cluster, each node every quarter of its D.
    assert Presence(alone.store[PRESENCE_LEASE]).duration(0) == pytest.approx(
        seconds * SECOND, 0.02
    )


# --- versions, and what is left behind -------------------------------------------------------------------------


@pytest.mark.parametrize("next_one", ["n1", "n3"])
def test_who_comes_next_says_the_short_duration_before_a_lost_node_is_fenced(next_one: str) -> None:
    alone = joined(peer("n2", 2, duration=D), peer("n3", 3))
    address = next(
        VIP + number
        for number in range(1, 64)
        if order_of(str(VIP + number), {"n1": 1, "n3": 1})[0] == next_one
    )
    text = {SERVICES: "default/web", EPOCH: str(Presence(alone.store["presence-n2"]).epoch)}
    lease = replace(new_vip_lease(vip_lease_name(address), text), holder="n2")
    alone.post(ev.Changed(alone.put(lease)), ev.Changed(service(ingress=(str(address),))))
    for beat in range(40):  # it renews, and this node is idle
        alone.show(replace(peer("n2", 2, duration=D), labels={"beat": str(beat)}))
        quiet_for(alone, 500 * MILLISECOND)
    assert Presence(alone.store[PRESENCE_LEASE]).duration(0) == 5 * D
    quiet_for(alone, D - 100 * MILLISECOND - 500 * MILLISECOND)
    assert not fences(alone)
    expected = D if next_one == "n1" else 5 * D
    assert Presence(alone.store[PRESENCE_LEASE]).duration(0) == expected
    assert alone.agent._presence.waited_for == expected


def test_an_agent_of_another_version_is_named_in_the_status() -> None:
    report = Presence(peer("n2", 2)).report
    older = peer("n2", 2)
    older = replace(
        older,
        annotations={
            **older.annotations,
            "herald.dev/presence": replace(report, version="0.0.9").encode(),
        },
    )
    alone = holding(older, peer("n3", 3))
    assert alone.agent.status(alone.now).other_versions == ("n2: 0.0.9",)
    assert alone.agent.status(alone.now).problems == ()


def test_the_presence_of_a_node_that_was_removed_is_fenced_and_then_let_go_of() -> None:
    alone = joined(peer("n2", 2, duration=D))
    alone.post(ev.Removed(type(node("n2")), "n2"))
    # Its Node owns it, so the garbage collector deletes it; the finalizer is ours to drop.
    alone.show(replace(alone.store["presence-n2"], deleting=True))
    alone.live(2 * D)
    assert "presence-n2" not in alone.store
