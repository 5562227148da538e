# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""For how long a client that asks afresh would have found nobody: a run of unanswered questions.

A question is unanswered when no answer to any of ours came before the next one was sent. A *silence*
lasts from the sending of the first unanswered question to the arrival of the first answer after it.
So it is good to one interval: nobody may have answered for up to that long before its first question,
or only since just before the one that is answered at last. One that the capture ends in is open:
its length is then only a lower bound.

Where the meter itself stood still nobody was asked. Between two answered questions that is no
silence, however long it was; within one, the silence says how much of it the meter stood still.

`Silences` takes frames one by one, in the order of time, and keeps what it found in its fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gaps import Stall, stalls
from segment import is_identity

if TYPE_CHECKING:
    from segment import Frame


@dataclass(frozen=True, slots=True)
class Silence:
    """`questions` were sent in vain. Nanoseconds."""

    start: int
    end: int
    questions: int
    closed: bool  # by an answer
    stalled: int  # nanoseconds of it in which the meter itself stood still

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(slots=True)
class Silences:
    """Feed it the frames about one address, then `finish`; `found` is what there was."""

    interval: int  # ns between two of our questions, by plan
    found: list[Silence] = field(default_factory=list)
    _asked: list[int] = field(default_factory=list)  # since the last answer to us

    def feed(self, frame: Frame) -> None:
        if frame.kind == "request" and is_identity(frame.mac):
            self._asked.append(frame.time)
        elif frame.kind in ("reply", "na") and is_identity(frame.peer):
            self._end(frame.time, in_vain=len(self._asked) - 1, closed=True)
            self._asked.clear()

    def finish(self, end: int) -> None:
        """The capture ended at `end`, late enough for an answer to the last question."""
        self._end(end, in_vain=len(self._asked), closed=False)

    def _end(self, time: int, *, in_vain: int, closed: bool) -> None:
        if in_vain > 0:
            stood: list[Stall] = stalls(self._asked, self.interval)
            stalled = sum(pause.length for pause in stood)
            self.found.append(Silence(self._asked[0], time, in_vain, closed, stalled))
