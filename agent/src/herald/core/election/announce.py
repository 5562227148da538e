# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""When the frames of held addresses are sent: the burst after a claim, then the periodic refresh.

The first pair of a claim is the election's (it goes out before the entry is filled); what follows is here.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from herald.core.effects import Announcement, SendFrames
from herald.core.election.placement import spread
from herald.core.model import MILLISECOND, SECOND, Address
from herald.core.outbox import Outbox

BURST4 = tuple(ms * MILLISECOND for ms in (100, 300, 1000, 2000, 5000))
"""After the claim; each is a pair of GARPs."""
BURST6 = tuple(ms * MILLISECOND for ms in (1000, 2000))
"""RFC 4861 section 7.2.6: at most three unsolicited advertisements, a second apart."""
DEFEND_EVERY = 10 * SECOND
"""RFC 5227 section 2.4: a conflict is answered by an announcement, at most so often."""
CHUNKS = 50
"""A second: what is due leaves in so many small bursts, each of a size that a switch's queue takes."""


@dataclass(slots=True)
class _Kept:
    claimed: int
    macs: dict[int, bytes]
    """By ifindex."""
    generation: int
    defended_at: int = -DEFEND_EVERY
    """When the last defence left, or the next one will."""


class Announcer:
    def __init__(self, refresh_ns: int, rate: int, outbox: Outbox) -> None:
        """``rate``: addresses announced in a second, at the most."""
        self._refresh = refresh_ns
        self._chunk = max(1, rate // CHUNKS)
        self._gap = self._chunk * SECOND // rate
        self._out = outbox
        self._kept: dict[Address, _Kept] = {}
        self._due: list[tuple[int, int, Address, int]] = []
        self._generations = itertools.count(1)
        self._sent: set[int] = set()
        self._not_before = 0

    def keep(self, address: Address, macs: Mapping[int, bytes], claimed: int, now: int) -> None:
        """Announce this address from now on; a burst where the claim, a device or a MAC is new."""
        kept = self._kept.get(address)
        if kept is not None and kept.claimed == claimed and kept.macs == macs:
            return
        generation = next(self._generations)
        self._kept[address] = _Kept(claimed, dict(macs), generation)
        for delay in BURST4 if isinstance(address, IPv4Address) else BURST6:
            self._push(now + delay, generation, address, again=False)
        self._push(now + spread(str(address), self._refresh), generation, address, again=True)

    def stop(self, address: Address) -> None:
        self._kept.pop(address, None)

    def again(self, address: Address | None, now: int) -> None:
        """Somebody asks for the frames now."""
        for kept_address in [address] if address is not None else list(self._kept):
            if (kept := self._kept.get(kept_address)) is not None:
                self._push(now, kept.generation, kept_address, again=False)

    def defend(self, address: Address, now: int) -> None:
        """Somebody else claims a held address: say again whose it is. What may not be said yet is said as soon as
        it may, so that the last word is ours."""
        kept = self._kept.get(address)
        if kept is not None and now >= kept.defended_at:
            kept.defended_at = max(now, kept.defended_at + DEFEND_EVERY)
            self._push(kept.defended_at, kept.generation, address, again=False)

    def answer(self, effect: int, error: str) -> bool:
        if effect not in self._sent:
            return False
        self._sent.discard(effect)
        if error:
            self._out.note("announcement refused", level="warning", error=error)
        return True

    def next_deadline(self) -> int | None:
        return max(self._due[0][0], self._not_before) if self._due else None

    def tick(self, now: int) -> None:
        """Send what is due. To be called only while this node is live: past the deadline another may hold the
        address, and our frame would take its clients away."""
        if not self._due or now < max(self._due[0][0], self._not_before):
            return
        frames: list[Announcement] = []
        for _ in range(self._chunk):
            if not self._due or self._due[0][0] > now:
                break
            _, generation, address, again = heapq.heappop(self._due)
            kept = self._kept.get(address)
            if kept is None or kept.generation != generation:
                continue
            frames += [Announcement(address, index, mac) for index, mac in kept.macs.items()]
            if again:
                self._push(now + self._refresh, generation, address, again=True)
        self._not_before = now + self._gap
        if frames:
            number = self._out.new_id()
            self._sent.add(number)
            self._out.add(SendFrames(number, tuple(frames)))

    def _push(self, due: int, generation: int, address: Address, *, again: bool) -> None:
        heapq.heappush(self._due, (due, generation, address, int(again)))
