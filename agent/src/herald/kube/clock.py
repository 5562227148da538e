# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The two clocks of this package: one to decide by, one for people to read."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def boottime() -> int:
    """Nanoseconds of CLOCK_BOOTTIME: the clock of every deadline, which a sleeping machine does not stop."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def micro_time() -> str:
    """Now as a ``metav1.MicroTime``, for people: nothing is ever decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def second_time() -> str:
    """Now as a ``metav1.Time``, for people."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
