# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The program under test: frames in, frames out, and the maps around it."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from herald.core.kernel import EntryKey, EntryValue, KernelEvent, Seen, Session
from herald.core.model import Address
from herald.datapath import layout, loader
from herald.datapath.bpf import HashMap, obj_get, run_once
from herald.datapath.responder import Responder

PASS = -1  # TC_ACT_UNSPEC
SENT = 7  # TC_ACT_REDIRECT
IFINDEX = 1  # a test run needs a device that exists: lo
HOUR = 3600 * 10**9


def boottime() -> int:
    """Now, in nanoseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Outcome:
    """What one frame did."""

    verdict: int
    frame: bytes
    seen: Mapping[Address, Seen] = field(default_factory=dict)
    events: tuple[KernelEvent, ...] = ()


class Kernel:
    """The pinned responder, run on frames by BPF_PROG_TEST_RUN."""

    def __init__(self, bpffs: Path) -> None:
        self.bpffs = bpffs
        self.responder = Responder.open(bpffs, "auto")
        self._program = obj_get(loader.program_pin(bpffs))
        folder = loader.pin_folder(bpffs)
        self._vip_maps = {4: HashMap(folder / "vip4"), 6: HashMap(folder / "vip6")}
        session = obj_get(folder / "session")
        self._session = mmap.mmap(session, mmap.PAGESIZE)
        os.close(session)
        self._own = HashMap(folder / "own")
        self.seen_maps = {4: HashMap(folder / "seen4"), 6: HashMap(folder / "seen6")}

    def close(self) -> None:
        self.responder.close()
        os.close(self._program)
        self._session.close()
        for table in (*self.seen_maps.values(), *self._vip_maps.values(), self._own):
            table.close()

    def clear(self) -> None:
        """As freshly loaded. (No frames come meanwhile: none of the responder's care is needed.)"""
        self._session[: layout.SESSION.size] = bytes(layout.SESSION.size)
        for table in (*self.seen_maps.values(), *self._vip_maps.values(), self._own):
            table.remove([key for key, _ in table.items()])
        list(self.responder.events())

    def set_session(self, session: Session) -> None:
        """At once. (As above: no frames come meanwhile.)"""
        words = session.deadline, session.fuse, session.renewed, session.hold
        self._session[: layout.SESSION.size] = layout.SESSION.pack(*words)

    def hold_entries(self, entries: Mapping[EntryKey, EntryValue]) -> None:
        self.responder.set_entries((), entries)

    def silence(self, addresses: Iterable[Address], claimed: int) -> None:
        """As if a conflict had silenced a claim of these addresses before."""
        self.remember(addresses, layout.SEEN.pack(0, 0, claimed, 0, 0, 0, 0, bytes(6), 0))

    def remember(self, addresses: Iterable[Address], row: bytes) -> None:
        """As if this had been seen of each of these addresses before."""
        packed: dict[int, list[bytes]] = {4: [], 6: []}
        for address in addresses:
            packed[address.version].append(address.packed)
        for family, table in self.seen_maps.items():
            table.put(packed[family], [row] * len(packed[family]))

    def run(self, frame: bytes, ifindex: int = IFINDEX, times: int = 1) -> Outcome:
        """One frame in; so many times in a row, without a pause."""
        verdict, after, _ = run_once(self._program, frame, ifindex, times)
        return Outcome(verdict, after, self.seen(), tuple(self.responder.events()))

    def verdict(self, frame: bytes) -> tuple[int, bytes]:
        """The same, and nothing else looked at."""
        verdict, after, _ = run_once(self._program, frame, IFINDEX)
        return verdict, after

    def nanoseconds(self, frame: bytes, runs: int) -> int:
        """How long one of so many runs takes."""
        return run_once(self._program, frame, IFINDEX, runs)[2]

    def seen(self) -> dict[Address, Seen]:
        """What was counted; rows that say nothing yet are left out."""
        nothing = Seen(0, 0, 0, None, 0, 0)
        return {address: row for address, row in self.responder.seen().items() if row != nothing}
