# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder in the kernel, as the agent sees it: entries, session, attachments, events.

Everything is pinned by the loader and outlives this object, so that a restarted agent finds what
its predecessor left, and the kernel answers meanwhile. All calls are synchronous: when one that
takes something away returns, no program that saw it is still running. One thread may see to
attachments while another sets entries and session, and a third reads events.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from herald.core.kernel import EntryKey, EntryValue, KernelEvent, Seen, Session
from herald.core.model import Address
from herald.datapath import layout, loader, tcx
from herald.datapath.bpf import DatapathError, HashMap, obj_get
from herald.datapath.events import EventReader
from herald.datapath.own import OwnMacs
from herald.datapath.session import SessionPage
from herald.datapath.settle import settle

if TYPE_CHECKING:
    from herald.datapath.clsact import Clsact

__all__ = ["AttachBy", "DatapathError", "Responder"]

AttachBy = Literal["auto", "tcx", "clsact"]


class _Attachments(Protocol):
    def attach(self, ifindex: int) -> None: ...
    def detach(self, ifindex: int) -> None: ...
    def attached(self) -> frozenset[int]: ...
    def close(self) -> None: ...


class Responder:
    """The pinned program and its maps. Every method raises DatapathError."""

    def __init__(self, folder: Path, program: int, attachments: _Attachments) -> None:
        self._folder = folder
        self._program = program
        self._attachments = attachments
        self._session = SessionPage(folder / "session")
        self._vips = {4: HashMap(folder / "vip4"), 6: HashMap(folder / "vip6")}
        self._seen = {4: HashMap(folder / "seen4"), 6: HashMap(folder / "seen6")}
        self._own = OwnMacs(folder / "own")
        self._events = EventReader(folder / "events")

    @classmethod
    def open(cls, bpffs: Path, attach: AttachBy) -> Responder:
        """Open what the loader pinned under ``bpffs``, to be attached by ``attach``.

        ``auto`` is tcx where the kernel has it, else clsact.
        """
        pin = program_pin(bpffs)
        try:
            program = obj_get(pin)
        except OSError as failed:
            raise DatapathError(f"{pin}: {failed.strerror}; run the loader") from failed
        use_tcx = attach == "tcx" or (attach == "auto" and tcx.supported())
        make = tcx.Tcx if use_tcx else _clsact
        responder = cls(pin.parent, program, make(pin.parent, program))
        responder._adopt()
        return responder

    def _adopt(self) -> None:
        """Have this program wherever an agent before attached one, in whichever way.

        So `attached` tells of all of them, and what is no longer wanted is detached.
        """
        for kind in (loader.LINK, loader.FILTER):
            for ifindex in list(loader.interface_pins(self._folder, kind)):
                try:
                    self.attach(ifindex)
                except DatapathError:  # the device is gone
                    loader.interface_pin(self._folder, kind, ifindex).unlink(missing_ok=True)
                    self.detach(ifindex)

    # --- Session ----------------------------------------------------------------------------------

    def set_session(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None:
        """Boot-time nanoseconds; 0 is silence. No instant allows more than old or new do."""
        self._session.write(deadline, fuse, renewed, hold)

    def session(self) -> Session:
        """What the kernel holds."""
        return self._session.read()

    # --- Entries ----------------------------------------------------------------------------------

    def set_entries(self, remove: Collection[EntryKey], put: Mapping[EntryKey, EntryValue]) -> None:
        """Remove entries, then add or replace others.

        A full table keeps what it has and raises DatapathError with the count.
        """
        gone = layout.pack_keys(remove)
        for family, table in self._vips.items():
            table.remove(gone[family])
        if remove:
            settle()
        self._own.put({value.mac: key.ifindex for key, value in put.items()})
        come = layout.pack_entries(put)
        for family, table in self._vips.items():
            table.put(*come[family])

    def entries(self) -> dict[EntryKey, EntryValue]:
        """What the kernel holds."""
        return {
            layout.unpack_key(key): layout.unpack_value(value)
            for table in self._vips.values()
            for key, value in table.items()
        }

    def seen(self) -> dict[Address, Seen]:
        """What the kernel counted, for every address that it ever found in its entries."""
        return {
            _address(key): layout.unpack_seen(value)
            for table in self._seen.values()
            for key, value in table.items()
        }

    def look(self) -> tuple[dict[Address, int], set[Address]]:
        """By address: the newest claim that a conflict has silenced. And all addresses that are
        remembered, of a family of which half fills what room there is."""
        silenced: dict[Address, int] = {}
        crowd: set[Address] = set()
        for table in self._seen.values():
            rows = dict(table.items())
            for key, value in rows.items():
                if claim := layout.silenced(value):
                    silenced[_address(key)] = claim
            if len(rows) > table.room // 2:
                crowd.update(map(_address, rows))
        return silenced, crowd

    def forget_seen(self, addresses: Collection[Address]) -> int:
        """Make room for others; they must have no entry. How many answers had been counted for them."""
        answered = 0
        for family, table in self._seen.items():
            keys = [each.packed for each in addresses if each.version == family]
            rows = dict(table.items())
            table.remove(keys)
            answered += sum(layout.unpack_seen(rows[key]).answered for key in keys if key in rows)
        return answered

    # --- Own MACs ---------------------------------------------------------------------------------

    def learn_own(self, macs: Mapping[bytes, int]) -> None:
        """Know these MACs, each with its interface, as this node's: before anything bears them."""
        self._own.put(macs)

    def set_own(self, macs: Mapping[int, bytes]) -> None:
        """The MAC of each interface, as it is now; others are forgotten once nothing bears them."""
        self._own.set({mac: ifindex for ifindex, mac in macs.items()}, self._used_macs)

    def _used_macs(self) -> set[bytes]:
        return {
            layout.unpack_value(value).mac
            for table in self._vips.values()
            for _, value in table.items()
        }

    # --- Attachments ------------------------------------------------------------------------------

    def attach(self, ifindex: int) -> None:
        """Have the responder on an interface; done already is no error."""
        self._attachments.attach(ifindex)
        # What an agent before attached by the other way goes only now: no frame meets neither.
        if not isinstance(self._attachments, tcx.Tcx):
            tcx.Tcx(self._folder, self._program).detach(ifindex)
        elif loader.interface_pin(self._folder, loader.FILTER, ifindex).exists():
            filters = _clsact(self._folder, self._program)
            filters.remove_filter(ifindex)
            filters.close()

    def detach(self, ifindex: int) -> None:
        """Have no responder on an interface; a device that is gone is no error."""
        self._attachments.detach(ifindex)

    def attached(self) -> frozenset[int]:
        """Where the kernel says that this responder is attached."""
        return self._attachments.attached()

    # --- Events -----------------------------------------------------------------------------------

    def events(self) -> Iterator[KernelEvent]:
        """What the kernel has reported and nobody read, oldest first; never waits."""
        return self._events.read()

    def poll(self, timeout: float | None) -> bool:
        """Wait for an event, at most so many seconds (None: for ever); is there one?"""
        return self._events.wait(timeout)

    def close(self) -> None:
        """Let go of everything and leave it pinned."""
        self._attachments.close()
        self._session.close()
        self._own.close()
        self._events.close()
        for table in (*self._vips.values(), *self._seen.values()):
            table.close()
        os.close(self._program)


def _clsact(folder: Path, program: int) -> Clsact:
    # Here and not above: pyroute2 costs 12 MB and 100 ms, which a restart has better uses for.
    from herald.datapath.clsact import Clsact

    return Clsact(folder, program)


def program_pin(bpffs: Path) -> Path:
    """Where the loader of this version pins its program."""
    try:
        return loader.program_pin(bpffs)
    except loader.LoaderError as missing:
        raise DatapathError(str(missing)) from missing


def _address(packed: bytes) -> Address:
    address: IPv4Address | IPv6Address = ip_address(packed)
    return address
