# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the agent counts about itself. Plain numbers, written by the deciding thread, read by
anybody."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds; one bucket more takes what is slower."""


@dataclass(slots=True)
class Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Counters:
    started: int = 0
    """Boottime nanoseconds."""
    events: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    """By the effect's name."""
    errors: Counter[str] = field(default_factory=Counter)
    """Effects that failed, by name."""
    restored: int = 0
    """Attachments that were gone, or behind another program, and were put back."""
    answers: int = 0
    """Of the responder, for addresses that the kernel remembers no more."""
    loop_exceptions: int = 0
    renewals: Counter[str] = field(default_factory=Counter)
    """By outcome: ok, refused, failed."""
    renewal_seconds: Histogram = field(default_factory=Histogram)
    status: Any = None
    """The decider's status at the last slow tick."""
