# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who may not know yet that a lease was taken from him by hand, and until when his kernel may answer by it.

A lease leaves its holder by his own release, or by a claim after his epoch, which counts its transitions on. Whatever
else takes it from an epoch that counts (an edited epoch, an old copy put back, the lease torn out) was a hand, and the
holder finds out by a watch that may be late, or by its deadline. So what such an epoch had is claimed by nobody else
before that time has passed, or before the epoch is over, whichever comes first; whatever the lease has come to say
meanwhile.
"""

from __future__ import annotations

from herald.core.election.observer import Observer
from herald.core.leases import RELEASED, Epoch, held_by, is_counted_on
from herald.core.model import Lease

UNKNOWN = Epoch("", 0)
"""Of whoever had a lease before this agent began."""


class Unaware:
    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._until: dict[str, dict[Epoch, int]] = {}
        """By lease and by epoch that had it: when whoever lived in it has noticed, on our clock."""

    def seen(self, known: Lease, lease: Lease | None, own: Epoch | None, now: int) -> None:
        """``known`` has become ``lease`` (None: is gone). ``own``: this node's epoch, which knows of itself."""
        if lease is not None and (holder := held_by(lease)) is not None:
            # Whoever has it again lets go of it by its own word, or another hand takes it.
            self._until.get(known.name, {}).pop(holder, None)
        before = held_by(known)
        if before is None or before == own or self._is_over(before, now):
            return
        if lease is not None and self._explains(known, lease, before, own):
            return
        waits = self._until.pop(known.name, {})
        self._prune(now)
        self._until[known.name] = {
            **{epoch: until for epoch, until in waits.items() if until >= now},
            before: now + self._observer.patience(known.holder),
        }

    def first_seen(self, lease: Lease, now: int) -> None:
        """Where a lease names one node, and the epoch of another's presence, a hand wrote one of them before this agent
        began; whoever is named may not know."""
        epoch = held_by(lease)
        if epoch is not None and lease.holder and self._observer.is_anothers(epoch, lease.holder):
            self._until[lease.name] = {UNKNOWN: now + self._observer.patience(lease.holder)}

    def _is_over(self, epoch: Epoch, now: int) -> bool:
        since = self._observer.over_since(epoch)
        return since is not None and since <= now

    def _prune(self, now: int) -> None:
        """In the order in which they were last added to; what waits behind a longer one goes with it."""
        while self._until:
            oldest = next(iter(self._until))
            if max(self._until[oldest].values(), default=0) >= now:
                return
            del self._until[oldest]

    def _explains(self, known: Lease, lease: Lease, before: Epoch, own: Epoch | None) -> bool:
        """Whether the lease is what its holder, or those who claimed it after him, would have made of it."""
        holder = held_by(lease)
        if holder == before or (holder is not None and self._follows(holder, before)):
            return True
        if is_counted_on(known.transitions, lease.transitions):
            # By a claim, of which all that went before may have gone unseen; but one of this node would be known to it.
            return holder != own and (
                holder is not None or bool(lease.annotations.get(RELEASED, ""))
            )
        word = lease.annotations.get(RELEASED, "")
        return holder is None and word == str(before) and lease.transitions == known.transitions

    def _follows(self, holder: Epoch, before: Epoch) -> bool:
        """Whether it is a later epoch of the same presence: that began in silence, and has what it claimed again."""
        later = holder.uid == before.uid and is_counted_on(before.transitions, holder.transitions)
        known = self._observer.lives(holder) or self._observer.over_since(holder) is not None
        return later and known

    def until(self, name: str) -> int:
        """From when on everybody knows of what was done to that lease; 0: of nothing was it taken."""
        return max(
            (
                min(until, over)
                if (over := self._observer.over_since(epoch)) is not None
                else until
                for epoch, until in self._until.get(name, {}).items()
            ),
            default=0,
        )

    def forget(self) -> None:
        self._until.clear()
