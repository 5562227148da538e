# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who may not know yet that a lease was taken from him by hand, and until when his kernel may answer by it.

A lease leaves its holder by his own release, or by a claim after his epoch. Whatever else takes it from an epoch that
counts (an edited epoch, an old copy put back, the lease torn out) was a hand, and the holder finds out by a watch that
may be late, or by its deadline. So what such an epoch had is claimed by nobody else before that time has passed, or
before the epoch is over, whichever comes first; whatever the lease has come to say meanwhile.
"""

from __future__ import annotations

from herald.core.election.observer import Observer
from herald.core.leases import RELEASED, Epoch, held_by
from herald.core.model import Lease


class Unaware:
    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._until: dict[str, dict[Epoch, int]] = {}
        """By lease and by epoch that had it: when whoever lived in it has noticed, on our clock."""

    def seen(self, known: Lease, lease: Lease | None, own: Epoch | None, now: int) -> None:
        """``known`` has become ``lease`` (None: is gone). ``own``: this node's epoch, which knows of itself."""
        before = held_by(known)
        if before is None or before == own or self._is_over(before, now):
            return
        if lease is not None and self._explains(known, lease, before, own):
            return
        self._prune(now)
        self._until.setdefault(known.name, {})[before] = now + self._observer.patience(known.holder)

    def _explains(self, known: Lease, lease: Lease, before: Epoch, own: Epoch | None) -> bool:
        """Whether the lease is what its holder, or a claim after him, would have made of it."""
        holder = held_by(lease)
        if holder == before:
            return True
        if holder is None:
            word = lease.annotations.get(RELEASED, "")
            return word == str(before) and lease.transitions == known.transitions
        # What went before a claim may have gone unseen. That of this node would be known to it.
        return (
            holder != own
            and self._observer.lives_in(lease.holder, holder)
            and lease.transitions != known.transitions
        )

    def _is_over(self, epoch: Epoch, now: int) -> bool:
        since = self._observer.over_since(epoch)
        return since is not None and since <= now

    def _prune(self, now: int) -> None:
        """In the order in which they came; what waits behind a longer one goes with it."""
        while self._until:
            oldest = next(iter(self._until))
            if max(self._until[oldest].values()) >= now:
                return
            del self._until[oldest]

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
