# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Did two machines answer for one address? Decided from the frames that a client saw.

An *answer* is an ARP reply, or a solicited neighbour advertisement, that gives a MAC for the
address. Announcements (GARP, unsolicited NA) are none: a new holder sends its first before it
answers, and a successor announces while the old one's last answers are still on the wire.

An answer belongs to the latest request that its receiver sent before it. Two rules, each of which
no lawful sequence of holders breaks:

- *together*: one request is answered by two MACs.
- *interleaved*: A answers, then B, then A again, and A's two answers belong to requests less than
  `window` apart. A lawful holder may come back, but not so soon: it would have to lose the address
  and win it back within the window (1 s by default; losing it unasked takes a lease's duration,
  and who gave it up does not ask for it again for two minutes).

The order that counts is that of the requests, so that an answer which waited in a queue is not
taken for one that was given late.

`Judge` takes frames one by one, in the order of time, and keeps what it found in its fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clock import SECOND

if TYPE_CHECKING:
    from segment import Frame

WINDOW = 1 * SECOND


@dataclass(slots=True)
class Spell:
    """A run of answers by one MAC, no other's between them. Times in ns."""

    mac: str
    first: int
    last: int
    answers: int = 1


@dataclass(frozen=True, slots=True)
class Violation:
    """Two MACs answered: `first` had answered, `second` did, at `time` (ns), by one of the rules."""

    rule: str
    time: int
    first: str
    second: str


@dataclass(slots=True)
class _Request:
    time: int
    answered_by: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Judge:
    """Feed it frames; `violations` and `spells` are the verdict."""

    window: int = WINDOW
    spells: list[Spell] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    requests: int = 0
    latencies: list[int] = field(default_factory=list)  # ns, of each request's first answer
    _latest: dict[str, _Request] = field(default_factory=dict)  # by who asked
    _asked: dict[str, int] = field(default_factory=dict)  # by MAC: its last answer's request

    def feed(self, frame: Frame) -> None:
        if frame.kind == "request":
            self.requests += 1
            self._latest[frame.mac] = _Request(frame.time)
        elif frame.kind in ("reply", "na"):
            self._answer(frame)

    @property
    def answered(self) -> int:
        """How many requests had at least one answer."""
        return len(self.latencies)

    def _answer(self, frame: Frame) -> None:
        asked = self._latest.get(frame.peer)
        request = asked or _Request(frame.time)  # nobody heard asking: it stands for itself
        self._check_together(frame, request)
        self._check_interleaved(frame, request)
        if asked and not asked.answered_by:
            self.latencies.append(frame.time - request.time)
        request.answered_by.add(frame.mac)
        self._asked[frame.mac] = max(request.time, self._asked.get(frame.mac, 0))
        if self.spells and self.spells[-1].mac == frame.mac:
            self.spells[-1].last = frame.time
            self.spells[-1].answers += 1
        else:
            self.spells.append(Spell(frame.mac, frame.time, frame.time))

    def _check_together(self, frame: Frame, request: _Request) -> None:
        for other in sorted(request.answered_by - {frame.mac}):
            self.violations.append(Violation("together", frame.time, other, frame.mac))

    def _check_interleaved(self, frame: Frame, request: _Request) -> None:
        """`frame.mac` answers again: did another answer a request between its own two?"""
        before = self._asked.get(frame.mac)
        if before is None or request.time - before > self.window:
            return
        for other, asked in self._asked.items():
            if other != frame.mac and before < asked < request.time:
                self.violations.append(Violation("interleaved", frame.time, other, frame.mac))
