# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A row of a truth table: what stands in the maps, what comes in, what goes out, what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from scapy.packet import Packet
from tests.bpf.frames import MAC, OWN_MAC, VIP4, VIP6
from tests.bpf.kernel import HOUR, IFINDEX, PASS, SENT, Kernel, boottime

from herald.core.kernel import EntryFlags, EntryKey, EntryValue, KernelEventKind, Seen
from herald.core.model import Address

CLAIMED = 1000  # boot-time nanoseconds: long ago
CONFLICT, SILENCED, PROBE, FIRST_ANSWER = (
    KernelEventKind.CONFLICT,
    KernelEventKind.SILENCED,
    KernelEventKind.PROBE,
    KernelEventKind.FIRST_ANSWER,
)


@dataclass(frozen=True)
class Session:
    """Relative to the moment of the test; nanoseconds."""

    deadline: int = HOUR
    fuse: int | None = None
    renewed: int = CLAIMED + 1  # absolute
    hold: bool = False


VALID = Session()
VALID_HOLD = Session(hold=True)
EXPIRED = Session(deadline=-1)
EXPIRED_WITH_FUSE = Session(deadline=-1, fuse=HOUR)
HOLDING = Session(deadline=-1, fuse=HOUR, hold=True)
HOLD_UNARMED = Session(deadline=-1, hold=True)
HOLD_BURNT = Session(deadline=-1, fuse=-1, hold=True)


@dataclass(frozen=True)
class Counts:
    """What is left in ``seen`` for one address."""

    answered: int = 0
    conflicts: int = 0
    silenced: int = 0
    foreign: str | None = None


@dataclass(frozen=True)
class Row:
    """``answer`` None: the frame is passed untouched, and nothing is seen unless said."""

    description: str
    frame: Packet | bytes
    answer: Packet | None = None
    session: Session | None = VALID
    vips: tuple[str, ...] = (VIP4, VIP6)
    ping: bool = True
    silenced: int = 0
    """For every address: the claim that a conflict silenced before."""
    seen: Mapping[str, Counts] = field(default_factory=dict)
    events: tuple[KernelEventKind, ...] = ()

    def __str__(self) -> str:
        return self.description


def entry(claimed: int = CLAIMED, mac: str = OWN_MAC, ping: bool = True) -> EntryValue:
    flags = EntryFlags.ANSWER_PING if ping else EntryFlags.NONE
    return EntryValue(MAC(mac), claimed, flags)


def answered(address: str) -> dict[str, Counts]:
    return {address: Counts(answered=1)}


def prepare(kernel: Kernel, row: Row, ifindex: int = IFINDEX) -> None:
    """Fill the maps as the row says."""
    now = boottime()
    if row.session is not None:
        fuse = 0 if row.session.fuse is None else now + row.session.fuse
        kernel.responder.set_session(
            now + row.session.deadline, fuse, row.session.renewed, row.session.hold
        )
    kernel.hold_entries(
        {EntryKey(ip_address(vip), ifindex): entry(ping=row.ping) for vip in row.vips}
    )
    if row.silenced:
        kernel.silence([ip_address(vip) for vip in row.vips], row.silenced)


def check(kernel: Kernel, row: Row) -> None:
    """Run the row's frame and compare everything with what the row says."""
    prepare(kernel, row)
    entries = kernel.responder.entries()
    before = boottime()
    frame = bytes(row.frame)

    outcome = kernel.run(frame)

    if row.answer is None:
        assert (outcome.verdict, outcome.frame.hex()) == (PASS, frame.hex())
    else:
        assert (outcome.verdict, outcome.frame.hex()) == (SENT, bytes(row.answer).hex())
    assert counted(outcome.seen) == left(row)
    assert tuple(event.kind for event in outcome.events) == row.events
    for event in outcome.events:
        assert event.ifindex == IFINDEX
        assert before <= event.at <= boottime()
        assert str(event.address) in row.vips
    for seen in outcome.seen.values():
        _check_time(seen, before)
    assert kernel.responder.entries() == entries


def _check_time(seen: Seen, before: int) -> None:
    if seen.foreign_mac:
        assert before <= seen.foreign_at <= boottime()
        assert seen.foreign_ifindex == IFINDEX


def counted(seen: Mapping[Address, Seen]) -> dict[str, Counts]:
    """What the kernel has, as rows say it."""
    return {
        str(address): Counts(
            row.answered,
            row.conflicts,
            row.silenced,
            row.foreign_mac.hex(":") if row.foreign_mac else None,
        )
        for address, row in seen.items()
    }


def left(row: Row) -> dict[str, Counts]:
    """What a row wants to be left, with the silence that was there before."""
    wanted = dict(row.seen)
    if row.silenced:
        for vip in row.vips:
            wanted.setdefault(vip, Counts(silenced=row.silenced))
    return wanted
