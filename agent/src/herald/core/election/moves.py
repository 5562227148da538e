# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Moves for a better placement: only once membership has been quiet, and one at a time from each node.

The holder of an address stays while it is eligible. What placement would rather see elsewhere is handed over after
the hold-down, so that a node that comes and goes moves nothing back and forth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from herald.core.election.candidates import Candidates
from herald.core.election.lock import Lock
from herald.core.election.locks import BATCH
from herald.core.leases import Epoch


class Moves:
    def __init__(self, hold_down: int, candidates: Candidates) -> None:
        """``hold_down``: nanoseconds without a change."""
        self._hold_down = hold_down
        self._candidates = candidates
        self._waiting: deque[str] = deque()
        self._moving = ""
        self.quiet_at: int | None = None
        """When membership will have been quiet for the hold-down; None: it is."""

    def unsettle(self, now: int) -> None:
        """Membership has changed: nothing moves until it has been quiet again."""
        self.quiet_at = now + self._hold_down
        self._waiting.clear()
        self._moving = ""

    def settle(self, locks: Mapping[str, Lock], now: int) -> None:
        """Once it has been quiet, everything that is announced here may be better placed elsewhere."""
        if self.quiet_at is not None and now >= self.quiet_at:
            self.quiet_at = None
            self._waiting.extend(name for name, lock in locks.items() if lock.announced)

    def next(self, locks: Mapping[str, Lock], epoch: Epoch | None) -> Lock | None:
        """The lock that is to be handed over next; None while one is on its way, or none is to be."""
        if self._moving:
            lock = locks.get(self._moving)
            if lock is not None and (lock.held or lock.holder in (None, epoch)):
                return None
            self._moving = ""
        for _ in range(min(len(self._waiting), BATCH)):
            lock = locks.get(self._waiting.popleft())
            if lock is not None and lock.announced and self._candidates.better_placed(lock):
                self._moving = lock.name
                return lock
        return None

    @property
    def looking(self) -> bool:
        """Whether it is not known yet what is to be handed over next."""
        return bool(self._waiting) and not self._moving

    def moves(self, lock: Lock) -> bool:
        """Whether a lock is being handed over for a better placement."""
        return lock.name == self._moving

    def stay(self, lock: Lock) -> None:
        """Whoever is better placed did not come: it stays here until membership changes."""
        if lock.name == self._moving:
            self._moving = ""
