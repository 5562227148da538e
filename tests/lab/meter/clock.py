# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One clock for the meters: monotonic inside, time of day only in reports.

A gap must not grow or shrink because somebody set the time of day, and the reports of two meters
must be comparable on one axis. So each program measures with CLOCK_MONOTONIC and adds an offset,
taken once at its start, when it reports. The kernel stamps frames with CLOCK_REALTIME
(SO_TIMESTAMPNS, socket(7)); such a stamp is brought over with the offset of the moment in which it
is read.

All times are integer nanoseconds; in reports, Unix seconds with microseconds.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import time

MS = 1_000_000
SECOND = 1_000_000_000
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module has no name for it
STAMP_SPACE = socket.CMSG_SPACE(16)  # for recvmsg: room for one stamp


class Clock:
    """Monotonic time, and how to print it as time of day."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    @staticmethod
    def now() -> int:
        return time.monotonic_ns()

    @staticmethod
    def arrival(ancillary: list[tuple[int, int, bytes]]) -> int:
        """When the kernel received what was just read by recvmsg, or now if it does not say.

        A late read must not make the network look slow.
        """
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                offset = time.time_ns() - time.monotonic_ns()
                return int(seconds * SECOND + nanoseconds - offset)
        return time.monotonic_ns()

    def unix(self, moment: int) -> float:
        """`moment` in Unix seconds, to the microsecond."""
        return round((moment + self._offset) / SECOND, 6)


def steady() -> bool:
    """Keep this process punctual: no garbage collection, a real-time priority where allowed.

    Returns whether the priority was given. Punctuality is measured all the same, never assumed.
    """
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    return True
