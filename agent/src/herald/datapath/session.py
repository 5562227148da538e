# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The session in the kernel: until when the responder may answer, set in a page that both map.

The responder reads its fields one by one while they are written. At every instant it must allow no
more than the session before or the one after does, so fields are written in an order:

1. the deadline, where it grows (what it allows, the new session allows);
2. whatever shrinks (what is left, the old one allows), then a wait until no program that read
   anything older is still running: that is also the kernel's confirmation that it is silent;
3. whatever else grows.

The responder reads ``renewed`` before ``fuse``, so that it never pairs an old fuse with a new
``renewed``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from pathlib import Path

from herald.core.kernel import Session
from herald.datapath.bpf import DatapathError, open_map
from herald.datapath.layout import SESSION_HOLD
from herald.datapath.settle import settle


class _Fields(ctypes.Structure):
    """struct session of layout.h."""

    _fields_ = (
        ("deadline", ctypes.c_uint64),
        ("fuse", ctypes.c_uint64),
        ("renewed", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
    )


class SessionPage:
    """The pinned map ``session``. Each assignment to a field is one aligned 8-byte store."""

    def __init__(self, path: Path) -> None:
        fd = open_map(path)
        try:
            self._page = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED)
        except OSError as failed:
            raise DatapathError(f"{path}: cannot map the session: {failed.strerror}") from failed
        finally:
            os.close(fd)
        self._fields = _Fields.from_buffer(self._page)

    def read(self) -> Session:
        """What the kernel holds."""
        fields = self._fields
        return Session(fields.deadline, fields.fuse, fields.renewed, fields.mode == SESSION_HOLD)

    def write(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None:
        """Boot-time nanoseconds, 0: never. Returns once the kernel allows nothing older."""
        fields = self._fields
        new = {
            "mode": SESSION_HOLD if hold else 0,
            "fuse": fuse,
            "renewed": renewed,
            "deadline": deadline,
        }
        if deadline > fields.deadline:
            fields.deadline = deadline
        shrinks = {name: value for name, value in new.items() if value < getattr(fields, name)}
        for name, value in shrinks.items():
            setattr(fields, name, value)
        if shrinks:
            settle()
        for name, value in new.items():
            if value != getattr(fields, name):
                setattr(fields, name, value)

    def close(self) -> None:
        """Unmap; the kernel keeps what was written."""
        del self._fields
        with suppress(BufferError):
            self._page.close()
