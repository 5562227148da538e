# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The kernel's ring buffer of events (kernel/bpf/ringbuf.c), read without a copy of it.

Two positions only ever grow: the kernel's, behind what it has reserved, and ours, in front of what
we have read. Events that do not fit are dropped by the kernel; the counters of ``seen`` still tell.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
from collections.abc import Iterator
from pathlib import Path

from herald.core.kernel import KernelEvent
from herald.datapath import loader
from herald.datapath.bpf import DatapathError, open_map
from herald.datapath.layout import EVENT, unpack_event

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_HEADER = 8


class EventReader:
    """The pinned ring buffer ``events``; one reader at a time."""

    def __init__(self, path: Path) -> None:
        self.fd = open_map(path)
        self._size = loader.MAPS[path.name].max_entries
        page = mmap.PAGESIZE
        try:
            self._ours = mmap.mmap(self.fd, page, mmap.MAP_SHARED)
            # The kernel maps the data twice in a row, so that no record wraps.
            self._data = mmap.mmap(
                self.fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as failed:
            os.close(self.fd)
            raise DatapathError(f"{path}: cannot map the events: {failed.strerror}") from failed
        self._position = ctypes.c_uint64.from_buffer(self._ours)
        self._words = memoryview(self._data).cast("Q")
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def read(self) -> Iterator[KernelEvent]:
        """What is there now, oldest first; never waits."""
        while (at := self._position.value) < self._words[0]:
            offset = mmap.PAGESIZE + (at & (self._size - 1))
            # One load: the length and its busy bit, then the page offset.
            header = self._words[offset // 8]
            length = header & 0xFFFFFFFF
            if length & _BUSY:
                return
            size = length & ~_DISCARDED
            event = None
            if not length & _DISCARDED and size == EVENT.size:
                start = offset + _HEADER
                event = unpack_event(self._data[start : start + size])
            self._position.value = at + (size + _HEADER + 7 & ~7)
            if event is not None:
                yield event

    def wait(self, timeout: float | None) -> bool:
        """Wait for an event, at most so many seconds; is there one?"""
        return bool(self._poll.poll(None if timeout is None else max(0, round(timeout * 1000))))

    def close(self) -> None:
        """Let go of it; what was not read stays."""
        self._words.release()
        del self._position
        self._data.close()
        self._ours.close()
        os.close(self.fd)
