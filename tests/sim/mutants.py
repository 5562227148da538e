# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Rules of docs/design/election.md, each broken on purpose: the invariants must show every one.

A mutant is planted by replacing one function of the core, or of a fake where the rule is the kernel's. What befalls
the cluster is a pattern that the rule is about, its times drawn; the invariants are those of every schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.sim.api import Api
from tests.sim.disasters import Mode, Step
from tests.sim.kernel import Kernel
from tests.sim.machine import Machine

from herald.core.allocation.allocator import Allocator
from herald.core.effects import LeaseRequest
from herald.core.election import election, lock, presence
from herald.core.election.candidates import Candidates
from herald.core.election.election import Election
from herald.core.election.filling import Filler
from herald.core.election.lock import ACTIONS, Action, Own, Pair, Sight
from herald.core.election.moves import Moves
from herald.core.election.observer import Observer
from herald.core.election.presence import OwnPresence, Phase
from herald.core.election.segment import Segment
from herald.core.election.unaware import Unaware
from herald.core.events import Answer, Done, Failed
from herald.core.kernel import EntryKey, EntryValue
from herald.core.kernelmap import KernelMap, _Asked
from herald.core.leases import Epoch, Presence
from herald.core.model import SECOND, Address, Lease
from herald.core.step import Decider

Plant = Callable[[Any], None]
"""Given pytest's MonkeyPatch."""


@dataclass(frozen=True)
class Mutant:
    name: str
    rule: str
    plant: Plant
    mode: Mode
    steps: tuple[Step, ...]
    """What befalls one node after the other."""
    nodes: int
    renew_budget: int
    hold_down: int


CUT = Step("cut", lasts=(2500, 6000), much=(0, 1))
"""From the API server, both ways, for longer than D."""

MUTANTS: dict[str, Mutant] = {}


def mutant(
    name: str,
    rule: str,
    *steps: Step,
    mode: Mode = "Withdraw",
    nodes: int = 3,
    renew_budget: int = 50,
    hold_down: int = 120,
) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        MUTANTS[name] = Mutant(name, rule, plant, mode, steps, nodes, renew_budget, hold_down)
        return plant

    return register


def _table(patch: Any, sight: Sight, own: Own, action: Action) -> None:
    """Another action in one cell of the table of locks."""
    rows = {**ACTIONS, sight: {**ACTIONS[sight], own: action}}
    for module in (election, lock):
        patch.setattr(module, "ACTIONS", rows)


# --- 1: renewing --------------------------------------------------------------------------------------------


@mutant(
    "no-margin",
    "1: valid for D, not for 0.9 D",
    CUT,
)
def no_margin(patch: Any) -> None:
    accept = OwnPresence._accept

    def whole(self: OwnPresence, lease: Lease, sent: int, duration: int, now: int) -> None:
        accept(self, lease, sent, duration, now)
        self.valid_until = sent + duration
        self._extend(self.valid_until, sent)

    patch.setattr(OwnPresence, "_accept", whole)


@mutant(
    "renewed-unanswered",
    "1: renewals go on while the kernel refuses their deadline",
    Step("refuse", lasts=(6000, 9000), much=(0, 0)),
)
def renewed_unanswered(patch: Any) -> None:
    renew = OwnPresence._renew

    def go_on(self: OwnPresence, now: int) -> None:
        if self.wanted_duration < self.duration:
            renew(self, now)
        else:
            self._write("update", self.lease, "renew", now, self.wanted_duration)

    patch.setattr(OwnPresence, "_renew", go_on)


@mutant(
    "valid-from-answer",
    "1: valid from the answer on",
    Step("slow answers", lasts=(9000, 9000), much=(5, 8)),
    Step("cut", after=(1000, 2000), lasts=(3000, 5000), much=(0, 1)),
)
def valid_from_answer(patch: Any) -> None:
    answer = OwnPresence.answer
    patch.setattr(
        OwnPresence, "answer", lambda self, given, now: answer(self, replace(given, sent=now), now)
    )


@mutant(
    "shorter-unlowered",
    "1: a shorter D is sent before the deadline is lowered",
    Step("kill", lasts=(100, 500), much=(0, 0)),
    renew_budget=2,
)
def shorter_unlowered(patch: Any) -> None:
    patch.setattr(
        OwnPresence,
        "_renew",
        lambda self, now: self._write("update", self.lease, "renew", now, self.wanted_duration),
    )


# --- 2: ending an epoch -------------------------------------------------------------------------------------


@mutant(
    "begin-unsilenced",
    "2: an epoch is begun before the kernel is silent",
    Step("pause", lasts=(2100, 3000), much=(0, 0)),
)
def begin_unsilenced(patch: Any) -> None:
    patch.setattr(OwnPresence, "_silent", lambda self: True)
    patch.setattr(OwnPresence, "_lose", _lose_noisily)


def _lose_noisily(self: OwnPresence, reason: str) -> None:
    self.epoch, self._pending, self._ended, self.phase = None, None, True, Phase.READ


@mutant(
    "release-unsilenced",
    "2: the presence is released before the kernel is silent",
    Step("forbidden", lasts=(9000, 9000)),
    Step("stop", lasts=(9000, 9000)),
)
def release_unsilenced(patch: Any) -> None:
    def leave(self: OwnPresence, now: int) -> None:
        if self.phase not in (Phase.LEAVE, Phase.STOPPED):
            self.phase = Phase.LEAVE if self.epoch is not None else Phase.STOPPED
            self._pending, self._due = None, now

    def release(self: OwnPresence, now: int) -> None:
        self.epoch = None
        self._request("update", replace(self.lease, holder=""), "release", now)

    patch.setattr(OwnPresence, "leave", leave)
    patch.setattr(OwnPresence, "_release", release)


@mutant(
    "put-without-uid",
    "2: the uid is neither sent nor compared",
    Step("lag", lasts=(9000, 9000), much=(25, 39)),
    Step("hand on presence", much=(5, 5)),
)
def put_without_uid(patch: Any) -> None:
    request, answer = OwnPresence._request, OwnPresence.answer

    def anonymous(self: OwnPresence, verb: Any, lease: Lease, *rest: Any) -> None:
        request(self, verb, replace(lease, uid="") if verb == "update" else lease, *rest)

    def believe(self: OwnPresence, given: Answer, now: int) -> bool:
        if self.phase is Phase.LIVE and isinstance(given.outcome, Done) and given.outcome.lease:
            self.lease = replace(self.lease, uid=given.outcome.lease.uid)
            given = replace(given, outcome=replace(given.outcome, created=False))
        return answer(self, given, now)

    patch.setattr(OwnPresence, "_request", anonymous)
    patch.setattr(OwnPresence, "answer", believe)


@mutant(
    "stops-at-a-hand",
    "2: whoever finds another nonce in its presence stops at once, whether or not it is renewed",
    Step("hand on instance"),
)
def stops_at_a_hand(patch: Any) -> None:
    patch.setattr(presence, "RENEWED", 0)


# --- 3: fencing ---------------------------------------------------------------------------------------------


@mutant(
    "fence-early",
    "3: observed for less than its D",
    CUT,
)
def fence_early(patch: Any) -> None:
    duration = Presence.duration
    patch.setattr(Presence, "duration", lambda self, least: duration(self, least) * 7 // 10)


@mutant(
    "fence-without-version",
    "3: the fence is no compare-and-swap",
    Step("lag", lasts=(9000, 9000), much=(5, 9), neighbour=1),
    Step("pause", after=(1000, 2000), lasts=(2100, 2900), much=(0, 0)),
    nodes=2,
)
def fence_without_version(patch: Any) -> None:
    tick = Observer.tick

    def blind(self: Observer, now: int) -> None:
        tick(self, now)
        self._out._effects[:] = [
            replace(effect, lease=replace(effect.lease, resource_version=0))
            if isinstance(effect, LeaseRequest)
            and any(t.request == effect.id for t in self._tracks.values())
            else effect
            for effect in self._out._effects
        ]

    patch.setattr(Observer, "tick", blind)
    patch.setattr(Api, "unconditional", True)


@mutant(
    "counts-out-of-touch",
    "3: counted on while the API server is away",
    Step("api", lasts=(3000, 6000)),
    mode="Hold",
)
def counts_out_of_touch(patch: Any) -> None:
    in_touch = Observer.in_touch
    patch.setattr(Observer, "in_touch", lambda self, _, now: in_touch(self, True, now))


@mutant(
    "over-at-once",
    "3: an epoch is over as soon as somebody clears its presence by hand",
    Step("lag", lasts=(9000, 9000), much=(2, 9)),
    Step("slow answers", after=(0, 100), lasts=(9000, 9000), much=(2, 9)),
    Step("hand on presence", much=(0, 0)),
)
def over_at_once(patch: Any) -> None:
    patch.setattr(Observer, "over_since", lambda self, epoch: 0 if epoch in self._over else None)


@mutant(
    "over-for-ever",
    "3: an epoch that a hand ended and set again ends at once when it ends next",
    Step("lag", lasts=(9000, 9000), much=(30, 39)),
    Step("hand on presence", after=(0, 500), much=(0, 0)),
    Step("hand brings back", after=(20, 100)),
    Step("hand on presence", after=(2500, 3000), much=(0, 0)),
)
def over_for_ever(patch: Any) -> None:
    seen = Observer.seen

    def remember(self: Observer, lease: Lease, now: int, *, skipped: bool = False) -> None:
        over = dict(self._over)
        seen(self, lease, now, skipped=skipped)
        self._over = {**self._over, **over}

    patch.setattr(Observer, "seen", remember)


# --- 4: claiming --------------------------------------------------------------------------------------------


@mutant(
    "claim-before-fence",
    "4: claimed when its holder was still for D, unfenced",
    Step("lag", lasts=(9000, 9000), much=(2, 6)),
    Step("cut", after=(500, 1500), lasts=(1950, 2500), much=(0, 1)),
)
def claim_before_fence(patch: Any) -> None:
    clocks: dict[int, int] = {}

    def still(self: Observer, epoch: Epoch) -> bool:
        tracks = (t for t in self._tracks.values() if t.presence.epoch == epoch)
        return any(self._still_until(track) <= clocks.get(id(self), 0) for track in tracks)

    def tick(self: Observer, now: int) -> None:
        """Nobody fences: who was still for D counts as gone."""
        clocks[id(self)] = now
        for track in self._tracks.values():
            still_for_d = track.presence.alive and self._still_until(track) <= now
            if self._in_touch and still_for_d and now >= track.retry_at:
                track.retry_at = now + SECOND
                self.changed.add(track.presence.node)

    def gone(self: Observer, epoch: Epoch) -> int | None:
        if not still(self, epoch):
            return over_since(self, epoch)
        return max(self._still_until(t) for t in self._tracks.values() if t.presence.epoch == epoch)

    def there(self: Observer, epoch: Epoch) -> bool:
        return lives(self, epoch) and not still(self, epoch)

    over_since, lives = Observer.over_since, Observer.lives
    patch.setattr(Observer, "tick", tick)
    patch.setattr(Observer, "over_since", gone)
    patch.setattr(Observer, "lives", there)


@mutant(
    "live-past-deadline",
    "4: claims and fills past the deadline",
    Step("cut", lasts=(3000, 6000), much=(0, 1)),
    Step("drain", after=(100, 1500), neighbour=1),
)
def live_past_deadline(patch: Any) -> None:
    patch.setattr(OwnPresence, "live", lambda self, now: self.epoch is not None)


@mutant(
    "fill-on-read",
    "4: filled by a lease that is merely read",
    Step("lag", lasts=(9000, 9000), much=(1, 6)),
    Step("requests late", after=(500, 1000), lasts=(200, 1200), much=(2, 3)),
    Step("drain", after=(0, 100), lasts=(500, 1200)),
    nodes=2,
)
def fill_on_read(patch: Any) -> None:
    def fill(self: Election, lock: Any, now: int) -> None:
        lock.hold(now)
        self._locks.recheck([lock.name])

    patch.setattr(Election, "_claim_anew", fill)


@mutant(
    "late-answer-fills",
    "4: filled by the answer to a claim that was given up",
    Step("slow answers", lasts=(12000, 12000), much=(15, 23)),
    Step("drain", after=(100, 300), lasts=(900, 1300), neighbour=1),
    Step("drain", after=(1100, 1900), lasts=(5000, 5000)),
    nodes=2,
)
def late_answer_fills(patch: Any) -> None:
    answer = Election.answer
    given_up: dict[tuple[int, int], str] = {}

    def late(self: Election, given: Answer, now: int) -> bool:
        number = id(self), given.request
        known = self._locks.get(self._requests.get(given.request, ""))
        if isinstance(given.outcome, Failed) and known is not None and known.request is not None:
            if known.request.purpose == "claim":
                given_up[number] = known.name
        elif number in given_up and isinstance(given.outcome, Done):
            again = self._locks.get(given_up[number])
            if again is not None and self._presence.live(now):
                again.hold(now)
                self._filler.keep(
                    again, again.address, self._candidates.targets(again), now, live=True
                )
            return True
        return answer(self, given, now)

    patch.setattr(Election, "answer", late)
    patch.setattr(Machine, "late_answers", True)


@mutant(
    "epoch-not-compared",
    "4: an epoch lives as long as its presence, whichever epoch that is in",
    Step("power"),
    nodes=1,
)
def epoch_not_compared(patch: Any) -> None:
    def same(self: Observer, epoch: Epoch) -> bool:
        tracks = self._tracks.values()
        return any(t.presence.epoch.uid == epoch.uid and t.presence.alive for t in tracks)

    patch.setattr(Observer, "lives", same)


@mutant(
    "fill-before-pair",
    "4: the entry before the first frames",
    Step("power"),
    mode="Hold",
)
def fill_before_pair(patch: Any) -> None:
    fill = Filler._fill

    def first(self: Filler, lock: Any, address: Any, index: int, value: Any, *rest: Any) -> bool:
        lock.pairs = {index: Pair(value.mac, 0, accepted=True), **lock.pairs}
        return fill(self, lock, address, index, value, *rest)

    patch.setattr(Filler, "_fill", first)


@mutant(
    "lost-claim-rests",
    "4: a lease that is ours without an entry is not claimed anew",
    Step("answers lost", lasts=(1000, 2000), much=(2, 2)),
    Step("drain", after=(0, 500)),
)
def lost_claim_rests(patch: Any) -> None:
    _table(patch, Sight.OURS, Own.NOTHING, Action.REST)


@mutant(
    "unaware-forgotten",
    "4: a lease that was taken from its holder by hand is free at once",
    CUT,
    Step("hand on epoch", after=(0, 1500)),
)
def unaware_forgotten(patch: Any) -> None:
    patch.setattr(Unaware, "until", lambda self, name: 0)


@mutant(
    "claims-unhastened",
    "4: claimed while the presence says the duration of who holds nothing",
    Step("power"),
)
def claims_unhastened(patch: Any) -> None:
    patch.setattr(OwnPresence, "hasten", lambda self, now: True)


# --- 5: handing over ----------------------------------------------------------------------------------------


@mutant(
    "emptied-after",
    "5: the holder is cleared before the entry is gone",
    Step("lag", lasts=(5000, 9000), much=(2, 9)),
    Step("slow answers", after=(0, 100), lasts=(5000, 9000), much=(2, 9)),
    Step("drain"),
)
def emptied_after(patch: Any) -> None:
    release = Election._release

    def cleared(self: Election, lock: Any, now: int) -> None:
        with_entries = KernelMap.may_answer
        KernelMap.may_answer = lambda *_: False  # type: ignore[method-assign]
        try:
            release(self, lock, now)
        finally:
            KernelMap.may_answer = with_entries  # type: ignore[method-assign]

    patch.setattr(Election, "_release", cleared)


@mutant(
    "moves-at-once",
    "5: moved for a better placement before membership was quiet",
    Step("power"),
)
def moves_at_once(patch: Any) -> None:
    unsettle = Moves.unsettle

    def at_once(self: Moves, now: int) -> None:
        unsettle(self, now)
        self.quiet_at = now

    patch.setattr(Moves, "unsettle", at_once)


@mutant(
    "nodes-unsettle-nothing",
    "5: moved for a better placement although what placement reads of a Node was not quiet",
    Step("power", after=(4000, 4000), lasts=(500, 1000)),
    Step("node", after=(2500, 4000), lasts=(9000, 9000), much=(3, 3)),
    hold_down=3,
)
def nodes_unsettle_nothing(patch: Any) -> None:
    patch.setattr(Candidates, "inputs", lambda self: ())


# --- 6: allocating ------------------------------------------------------------------------------------------


@mutant(
    "frees-the-unseen",
    "6: freed because its Service is not to be seen, unasked",
    Step("services lag", lasts=(9000, 9000), much=(30, 39), neighbour=1),
    Step("service", after=(0, 200), lasts=(100, 200), much=(0, 7)),
    Step("power", after=(1500, 1900), lasts=(9000, 9000)),
    nodes=2,
)
def frees_the_unseen(patch: Any) -> None:
    patch.setattr(Allocator, "_are_gone", lambda self, keys: True)


# --- 7: a restarted agent -----------------------------------------------------------------------------------


@mutant(
    "joined-unwritten",
    "7: a restarted agent goes on without swapping its nonce in",
    Step("lag", lasts=(9000, 9000), much=(2, 6)),
    Step("kill", after=(500, 1000), lasts=(1400, 1980), much=(0, 0)),
)
def joined_unwritten(patch: Any) -> None:
    judge = OwnPresence._judge

    def believe(self: OwnPresence, lease: Lease, now: int) -> None:
        presence = Presence(lease)
        if not presence.alive or presence.machine != self._identity.machine:
            judge(self, lease, now)
            return
        self.phase, self.epoch = Phase.LIVE, presence.epoch
        self.resumed = self._written = presence.report
        self._accept(lease, now, self.wanted_duration, now)

    patch.setattr(OwnPresence, "_judge", believe)


@mutant(
    "resumed-past-deadline",
    "7: an epoch is gone on with that the kernel does not answer by any more",
    Step("kill", lasts=(3500, 5000), much=(0, 0)),
    Step("hand brings back", after=(2800, 3400)),
)
def resumed_past_deadline(patch: Any) -> None:
    patch.setattr(OwnPresence, "_answers", lambda self, now: True)


# --- 8: the API server lost ---------------------------------------------------------------------------------


def _hold(name: str, rule: str, *steps: Step, nodes: int = 3) -> Callable[[Plant], Plant]:
    return mutant(name, f"8: {rule}", *steps, mode="Hold", nodes=nodes)


@_hold(
    "hold-ignores-conflicts",
    "held although another claims the address",
    CUT,
)
def hold_ignores_conflicts(patch: Any) -> None:
    patch.setattr(Kernel, "conflict", lambda self, address, now: False)


@_hold(
    "hold-unlatched",
    "a conflict silences only until the fuse is fed again",
    CUT,
)
def hold_unlatched(patch: Any) -> None:
    def unlatched(self: Kernel, address: Address, now: int) -> bool:
        if self.claim_of(address) and now >= self.session.deadline:
            self.session = replace(self.session, fuse=0)
        return False

    patch.setattr(Kernel, "conflict", unlatched)


@_hold(
    "hold-silences-only-armed",
    "a conflict silences only while the fuse is armed",
    Step("cut", lasts=(6000, 9000), much=(0, 1)),
    Step("pause", after=(900, 1700), lasts=(700, 1000), much=(0, 0)),
)
def hold_silences_only_armed(patch: Any) -> None:
    conflict = Kernel.conflict
    patch.setattr(
        Kernel,
        "conflict",
        lambda self, address, now: now < self.session.fuse and conflict(self, address, now),
    )


@_hold(
    "hold-resumed",
    "held again once the segment is heard again",
    Step("cut", lasts=(9000, 9000), much=(0, 1)),
    Step("segment", after=(0, 1000), lasts=(3000, 5000), much=(0, 0)),
)
def hold_resumed(patch: Any) -> None:
    hold = OwnPresence.hold

    def again(self: OwnPresence, now: int, *, hears: bool) -> None:
        self._may_hold = True
        hold(self, now, hears=hears)

    patch.setattr(OwnPresence, "hold", again)


@_hold(
    "hold-deaf",
    "held on while nobody on the segment is heard",
    Step("cut", lasts=(9000, 9000), much=(0, 1)),
    Step("segment", after=(0, 1000), lasts=(3000, 5000), much=(0, 0)),
)
def hold_deaf(patch: Any) -> None:
    patch.setattr(Segment, "hears", lambda self, *_: True)


@_hold(
    "late-answer-holds",
    "held again by the answer to a renewal that was given up",
    # Nobody at all is heard, and nobody is there who could fence it.
    Step("cut", lasts=(6000, 6000), much=(0, 1)),
    Step("segment", after=(0, 0), lasts=(5500, 5700), much=(0, 0)),
    Step("kill", after=(500, 500), lasts=(10000, 10000), much=(0, 0), neighbour=1),
    # Then its neighbour's kernel is heard, and one renewal arrives, whose answer comes late.
    Step("slow answers", after=(4500, 4500), lasts=(6000, 6000), much=(21, 23)),
    Step("cut", after=(1000, 1000), lasts=(1200, 1300), much=(2, 2)),
    Step("cut", after=(1300, 1300), lasts=(3000, 4000), much=(3, 3)),
    nodes=2,
)
def late_answer_holds(patch: Any) -> None:
    answer = OwnPresence.answer
    given_up: set[tuple[int, int]] = set()

    def rearm(self: OwnPresence, given: Answer, now: int) -> bool:
        number = id(self), given.request
        if number in given_up and isinstance(given.outcome, Done):
            self._may_hold = self.epoch is not None
            return True
        if answer(self, given, now):
            if isinstance(given.outcome, Failed):
                given_up.add(number)
            return True
        return False

    patch.setattr(OwnPresence, "answer", rearm)
    patch.setattr(Machine, "late_answers", True)


@_hold(
    "held-unconfirmed",
    "held although no renewal sent after the fill has confirmed it",
    Step("drain", lasts=(9000, 9000), neighbour=1),
    Step("cut", after=(20, 300), lasts=(5000, 9000), much=(0, 1)),
)
def held_unconfirmed(patch: Any) -> None:
    def fill(self: KernelMap, address: Address, entries: Mapping[int, EntryValue]) -> bool:
        self._set(
            frozenset(), {EntryKey(address, index): value for index, value in entries.items()}
        )
        return True

    extend = OwnPresence._extend
    patch.setattr(KernelMap, "fill", fill)
    # As if a renewal had been sent after whatever there is.
    patch.setattr(
        OwnPresence, "_extend", lambda self, deadline, _: extend(self, deadline, deadline)
    )


# --- 9: requests --------------------------------------------------------------------------------------------


@mutant(
    "renewal-untimed",
    "9: a renewal waits for its answer for as long as that takes",
    Step("answers lost", lasts=(1000, 2000), much=(2, 3)),
)
def renewal_untimed(patch: Any) -> None:
    request = OwnPresence._request

    def patient(self: OwnPresence, verb: Any, lease: Lease, purpose: str, *rest: Any) -> None:
        request(self, verb, lease, purpose, *rest)
        sent = self._out._effects[-1]
        assert isinstance(sent, LeaseRequest)
        if purpose == "renew":
            self._out._effects[-1] = replace(sent, deadline=sent.deadline + 3600 * SECOND)

    patch.setattr(OwnPresence, "_request", patient)


@mutant(
    "renewal-untried",
    "9: a renewal that failed is not tried again",
    Step("errors", lasts=(500, 1500), much=(1, 3)),
)
def renewal_untried(patch: Any) -> None:
    pause = OwnPresence._pause

    def untried(self: OwnPresence, pending: Any, *least: int) -> int:
        renews = self.phase is Phase.LIVE and pending.purpose == "renew"
        return 3600 * SECOND if renews else pause(self, pending, *least)

    patch.setattr(OwnPresence, "_pause", untried)


# --- 10: time running backwards -----------------------------------------------------------------------------

SET_BACK = (
    # Its addresses go to others after the backup, of which one is cut off when etcd is restored.
    Step("restore in haste", lasts=(3000, 4000)),
    Step("drain", after=(200, 1000), lasts=(9000, 9000)),
    Step("cut", after=(1000, 1700), lasts=(3000, 5000), much=(0, 1), neighbour=1),
)


@mutant(
    "claims-set-back",
    "10: claimed at once after time ran backwards",
    *SET_BACK,
)
def claims_set_back(patch: Any) -> None:
    begin = Decider._begin_anew

    def at_once(self: Decider, now: int) -> None:
        begin(self, now)
        self._claims_from = now

    patch.setattr(Decider, "_begin_anew", at_once)


@mutant(
    "set-back-unnoticed",
    "10: that a Lease is older than it was known is not noticed",
    *SET_BACK,
)
def set_back_unnoticed(patch: Any) -> None:
    patch.setattr(Lease, "is_before", lambda self, known: False)
    patch.setattr(Election, "_was_newer", lambda *_: False)


# --- 11: order ----------------------------------------------------------------------------------------------


@mutant(
    "removal-unconfirmed",
    "11: a removal counts as done before the kernel has confirmed it",
    Step("refuse", much=(9, 9)),
    Step("drain", after=(100, 500)),
)
def removal_unconfirmed(patch: Any) -> None:
    remove = KernelMap._remove

    def done(self: KernelMap, keys: set[EntryKey]) -> None:
        remove(self, keys)
        self._apply(_Asked(remove=frozenset(keys)))

    patch.setattr(KernelMap, "_remove", done)


if __name__ == "__main__":
    for each in MUTANTS.values():
        print(f"{each.name:26} rule {each.rule}")
