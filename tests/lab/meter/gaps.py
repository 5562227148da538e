# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""From single datagrams to an outage: which gaps there were, and the meter's own part in each.

A datagram is lost when no answer came within the limit. A *gap* is a run of lost datagrams; it
lasts from the sending of the last answered one before it to the sending of the first answered one
after it. That is an upper bound: the service may have been back up to one interval earlier. A gap
at either end of the measurement is open there, and its length is then only a lower bound.

A meter that is not scheduled sends nothing, and silence looks like an outage. So pauses of the
meter itself, *stalls*, are found from the sending times, listed apart, and each gap says how much
of it they make up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from clock import MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Sample:
    """One datagram: when it was sent, after how long it was answered (None: lost). Nanoseconds."""

    sent: int
    rtt: int | None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Stall:
    """A pause of the meter itself: two sendings too far apart for its schedule. Nanoseconds."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of lost datagrams. `start` and `end` are sendings, in nanoseconds.

    `opened`: an answered datagram stands before it; `closed`: one stands after it. Where one is
    missing, the gap began before the measurement or was not over at its end, and `length` is a
    lower bound.
    """

    start: int
    end: int
    lost: int
    opened: bool
    closed: bool
    stalled: int  # nanoseconds of it in which the meter itself stood still

    @property
    def length(self) -> int:
        return self.end - self.start


def stalls(sent: Iterable[int], interval: int) -> list[Stall]:
    """Sendings more than two intervals apart, and more than 10 ms later than planned."""
    longest = max(2 * interval, interval + 10 * MS)
    return [Stall(a, b) for a, b in pairwise(sent) if b - a > longest]


def gaps(samples: Sequence[Sample], interval: int) -> list[Gap]:
    """Every gap of `samples`, given in the order of sending, one `interval` (ns) apart by plan."""
    pauses = stalls((sample.sent for sample in samples), interval)
    found: list[Gap] = []
    index = 0
    while index < len(samples):
        if samples[index].rtt is not None:
            index += 1
            continue
        first = index
        while index < len(samples) and samples[index].rtt is None:
            index += 1
        opened, closed = first > 0, index < len(samples)
        start = samples[first - 1 if opened else first].sent
        end = samples[index if closed else index - 1].sent
        stalled = sum(pause.length for pause in pauses if start <= pause.start and pause.end <= end)
        found.append(Gap(start, end, index - first, opened, closed, stalled))
    return found


def longest_silence(samples: Iterable[Sample]) -> int:
    """The longest time between two answers' arrivals, in ns; 0 with less than two.

    It is longer than the worst gap where answers came late: a client's kernel queues datagrams
    while it resolves the address, and they are answered, but only once it is served again.
    """
    arrivals = sorted(sample.sent + sample.rtt for sample in samples if sample.rtt is not None)
    return max((b - a for a, b in pairwise(arrivals)), default=0)
