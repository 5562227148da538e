# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""From a claim to an answer: on each interface the first GARP/NA pair, then the entry, then the burst.

What always holds (rule 4 of docs/design/election.md):

- The first pair of an interface was accepted by the device before that interface's entry is filled: it brings
  clients over, and silences a superseded node in ``Hold``.
- Nothing is announced or filled past the deadline.
- An interface that takes neither frames nor entry is tried twice, and again after ``UNABLE``; the others serve.
"""

from __future__ import annotations

from collections.abc import Mapping

from herald.core.effects import Announcement, SendFrames
from herald.core.election.announce import Announcer
from herald.core.election.lock import Lock, Pair, Target
from herald.core.election.locks import Locks
from herald.core.kernel import EntryValue
from herald.core.kernelmap import KernelMap
from herald.core.model import SECOND, Address
from herald.core.outbox import Outbox

UNABLE = 5 * SECOND
"""How long a node that could not announce an address leaves it to others."""
TRIES = 2


class Filler:
    def __init__(
        self,
        kernel: KernelMap,
        announcer: Announcer,
        outbox: Outbox,
        locks: Locks,
    ) -> None:
        self._kernel = kernel
        self._announcer = announcer
        self._out = outbox
        self._locks = locks
        self._frames: dict[int, tuple[Lock, int]] = {}

    def forget(self) -> None:
        """Answers that are under way concern nobody any more."""
        self._frames.clear()

    def answer(self, effect: int, error: str) -> Lock | None:
        """Take the device's answer to a first pair; the lock that it is about, None if it was none of ours."""
        lock, ifindex = self._frames.pop(effect, (None, 0))
        pair = lock.pairs.get(ifindex) if lock is not None else None
        if lock is not None and pair is not None and pair.frames == effect:
            pair.frames = 0
            pair.accepted = not error
            if error:
                self._out.note(
                    "first announcement refused",
                    level="warning",
                    lease=lock.name,
                    ifindex=ifindex,
                    error=error,
                )
        return lock

    def keep(
        self, lock: Lock, address: Address, targets: Mapping[int, Target], now: int, *, live: bool
    ) -> bool:
        """Hold a claimed address on these interfaces, by difference; False: none of them could be had."""
        wanted = {
            index: EntryValue(target.mac, lock.claimed, target.flags)
            for index, target in targets.items()
        }
        present = self._kernel.entries(address)
        if stale := [index for index in present if index not in wanted]:
            self._kernel.remove(address, stale)
        if not lock.pairs.keys() <= wanted.keys():
            lock.pairs = {index: pair for index, pair in lock.pairs.items() if index in wanted}
        missing = {i: value for i, value in wanted.items() if present.get(i) != value}
        if missing and not live:
            return True
        unable = 0
        for index, value in missing.items():
            unable += not self._fill(lock, address, index, value, present.get(index), now)
        if had := {index: target.mac for index, target in targets.items() if index not in missing}:
            self._had(lock, address, had, now)
        return bool(had) or not wanted or unable < len(wanted)

    def _fill(
        self,
        lock: Lock,
        address: Address,
        index: int,
        value: EntryValue,
        old: EntryValue | None,
        now: int,
    ) -> bool:
        """The next step towards one entry: pair, then entry; False where neither can be had for a while."""
        if not self._kernel.takes_entries:
            return True
        pair = lock.pairs.get(index)
        if pair is None or pair.mac != value.mac or 0 < pair.again_at <= now:
            # Another flag, or a claim that a process before this one made: clients know already.
            accepted = old is not None and (old.mac, old.claimed) == (value.mac, value.claimed)
            pair = Pair(value.mac, 0, accepted)
            lock.pairs = {**lock.pairs, index: pair}
        if pair.frames:
            return True
        if pair.accepted:
            if pair.fills >= TRIES:
                return self._give_up(lock, pair, now)
            pair.fills += self._kernel.fill(address, {index: value})
            return True
        if pair.sends >= TRIES:
            return self._give_up(lock, pair, now)
        pair.sends += 1
        pair.frames = self._out.new_id()
        self._frames[pair.frames] = lock, index
        frames = (Announcement(address, index, value.mac),)
        self._out.add(SendFrames(pair.frames, frames))
        return True

    def _give_up(self, lock: Lock, pair: Pair, now: int) -> bool:
        """One interface takes neither frames nor entry: leave it alone for a while."""
        pair.again_at = pair.again_at or now + UNABLE
        self._locks.recheck_at(lock, pair.again_at)
        return False

    def _had(self, lock: Lock, address: Address, macs: Mapping[int, bytes], now: int) -> None:
        """These interfaces answer."""
        self._announcer.keep(address, macs, lock.claimed, now)
        for index in macs:
            if (pair := lock.pairs.get(index)) is not None:
                pair.sends = pair.fills = 0
        if lock.announced:
            return
        lock.announced = True
        if not lock.told:
            self._out.note("announce", address=str(address), reason=lock.reason)
