# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The session in the kernel: until when the responder may answer, set in a page that both map.

The responder reads its fields one by one while they are written. At every instant it must allow no
more than the session before or the one after does, so fields are written in an order:

1. the deadline, where it grows (what it allows, the new session allows);
2. whatever shrinks (what is left, the old one allows), then a wait until no program that read
   anything older is still running: that is also the kernel's confirmation that it is silent;
3. whatever else grows.

The responder reads ``renewed`` before ``fuse``: where the kernel has no way to wait, it still never
pairs an old fuse with a new ``renewed``.
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

Store = tuple[str, int]
"""A field and the 8 bytes to put into it."""


class _Fields(ctypes.Structure):
    """struct session of layout.h."""

    _fields_ = (
        ("deadline", ctypes.c_uint64),
        ("fuse", ctypes.c_uint64),
        ("renewed", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
    )


def plan(old: Session, new: Session) -> tuple[list[Store], list[Store], list[Store]]:
    """The stores that lead from one session to another: the three steps above.

    tests/bpf/test_session.py tries every order in which a responder may read among them.
    """
    was, will = _words(old), _words(new)
    shrinks = [(name, will[name]) for name in was if will[name] < was[name]]
    grows = [(name, will[name]) for name in was if will[name] > was[name]]
    return (
        [store for store in grows if store[0] == "deadline"],
        shrinks,
        [store for store in grows if store[0] != "deadline"],
    )


def _words(session: Session) -> dict[str, int]:
    return {
        "mode": SESSION_HOLD if session.hold else 0,
        "fuse": session.fuse,
        "renewed": session.renewed,
        "deadline": session.deadline,
    }


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
        deadline_grows, shrinks, grows = plan(self.read(), Session(deadline, fuse, renewed, hold))
        self._store(deadline_grows)
        self._store(shrinks)
        if shrinks:
            settle()
        self._store(grows)

    def _store(self, stores: list[Store]) -> None:
        for name, value in stores:
            setattr(self._fields, name, value)

    def close(self) -> None:
        """Unmap; the kernel keeps what was written."""
        del self._fields
        with suppress(BufferError):
            self._page.close()
