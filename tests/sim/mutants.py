# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Rules of docs/design/election.md, each broken on purpose: the random schedules must catch every one.

A mutant is planted by replacing one function of the core, or of the fake kernel where the rule is its.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.sim.cluster import Cluster, Kernel

from herald.core.election.filling import Filler
from herald.core.election.lock import Pair
from herald.core.election.presence import OwnPresence, Phase
from herald.core.election.segment import Segment
from herald.core.leases import Presence
from herald.core.model import MILLISECOND, Lease

Plant = Callable[[Any], None]
"""Given pytest's MonkeyPatch."""


@dataclass(frozen=True)
class Mutant:
    name: str
    rule: str
    plant: Plant
    mode: Literal["Withdraw", "Hold"] = "Withdraw"


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, rule: str, mode: Literal["Withdraw", "Hold"] = "Withdraw") -> Any:
    def register(plant: Plant) -> Plant:
        MUTANTS[name] = Mutant(name, rule, plant, mode)
        return plant

    return register


def slow_api(patch: Any) -> None:
    """Three ways in ten, to the API server or back, take up to 900 ms."""

    def latency(self: Cluster) -> int:
        longest = 900 if self.rng.random() < 0.3 else 5
        return int(longest * self.rng.random() * MILLISECOND) + 1

    patch.setattr(Cluster, "latency", latency)


@mutant("no-margin", "1: valid for D, not for 0.9 D")
def no_margin(patch: Any) -> None:
    accept = OwnPresence._accept

    def whole(self: OwnPresence, lease: Lease, sent: int, duration: int, now: int) -> None:
        accept(self, lease, sent, duration, now)
        self.valid_until = sent + duration
        self._extend(self.valid_until, sent)

    patch.setattr(OwnPresence, "_accept", whole)


@mutant("valid-from-answer", "1: valid from the answer, not from before the request")
def valid_from_answer(patch: Any) -> None:
    answer = OwnPresence.answer
    patch.setattr(
        OwnPresence,
        "answer",
        lambda self, given, now: answer(self, replace(given, sent=now), now),
    )
    slow_api(patch)


@mutant("begin-unsilenced", "2: a new epoch begins before the kernel is silent")
def begin_unsilenced(patch: Any) -> None:
    patch.setattr(OwnPresence, "_silent", lambda self: True)


@mutant("fence-early", "3: observed for less than its D")
def fence_early(patch: Any) -> None:
    duration = Presence.duration
    patch.setattr(Presence, "duration", lambda self, default: duration(self, default) * 7 // 10)


@mutant("live-past-deadline", "4: claims, pairs and fills past the deadline")
def live_past_deadline(patch: Any) -> None:
    patch.setattr(OwnPresence, "live", lambda self, now: self.epoch is not None)


@mutant("joined-unwritten", "7: a restarted agent goes on without swapping its nonce in")
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


@mutant("hold-ignores-conflicts", "8: held on although another claims the address", "Hold")
def hold_ignores_conflicts(patch: Any) -> None:
    patch.setattr(Kernel, "conflict", lambda self, address, now: False)


@mutant("hold-unlatched", "8: held again once the segment is heard again", "Hold")
def hold_unlatched(patch: Any) -> None:
    hold = OwnPresence.hold

    def again(self: OwnPresence, now: int, *, hears: bool) -> None:
        self._may_hold = True
        hold(self, now, hears=hears)

    patch.setattr(OwnPresence, "hold", again)


@mutant("hold-deaf", "8: held on while nobody on the segment is heard", "Hold")
def hold_deaf(patch: Any) -> None:
    patch.setattr(Segment, "hears", lambda self, *_: True)


@mutant("fill-before-pair", "4: the entry before the first GARP/NA pair", "Hold")
def fill_before_pair(patch: Any) -> None:
    fill = Filler._fill

    def first(self: Filler, lock: Any, address: Any, index: int, value: Any, *rest: Any) -> bool:
        lock.pairs.setdefault(index, Pair(value.mac, 0, accepted=True))
        return fill(self, lock, address, index, value, *rest)

    patch.setattr(Filler, "_fill", first)
