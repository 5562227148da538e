# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Asks a segment whether an address is in use, before the address is given to anybody.

As RFC 5227 (2.1.1) asks by ARP probes, and RFC 4862 (5.4) by neighbour solicitations from ``::``: neither touches a
neighbour's cache. Whoever answers, claims the address meanwhile, or asks the same for itself has it; but for the
cluster's own stations that ask: they are other devices of this node, or an allocator whose term is over.

Both say to wait for seconds, for the sake of links and hosts that boot together. One agent asks for the whole
cluster here, on a segment that it already serves, and a person waits for the address: so three probes a quarter of
a second apart, and half a second after the last. A switch port that does not forward yet, or a host that takes
longer, is not heard.
"""

from __future__ import annotations

import errno
import queue
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from herald.core.model import Address
from herald.net.frames import arp_probe, duplicate_probe
from herald.net.segment import ARP, IPV6, open_ears
from herald.net.watcher import Watcher

PROBES = 3
INTERVAL = 0.25
"""Seconds from one probe to the next."""
AFTER = 0.5
"""Seconds after the last one in which an answer still counts."""
SPACING = 0.002
"""Seconds between the first probes of two addresses, so that a thousand are no burst."""

_FRAME = 128
_ARP_SIZE, _ND_SIZE = 42, 78
_LOAD_BYTE = 0x30
_ICMPV6_ONLY = ((_LOAD_BYTE, 20, 58),)
_SOLICITATION, _ADVERTISEMENT = 135, 136
_TARGET_LINK_ADDRESS = b"\x02\x01"
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_ALLMULTI = 263, 1, 2
_PACKET_OUTGOING = 4
_ARPHRD_ETHER = 1

Told = Callable[[int, bytes | None, str], None]
"""Takes a question's number; who has the address, or None; and why it could not be asked, or an empty text."""


class Claim(NamedTuple):
    address: Address
    mac: bytes
    asks: bool = False
    """It only asks whether the address is free, to have it then."""


def claimant(frame: bytes) -> Claim | None:
    """Which address a frame claims or wants for which MAC; None: it does neither."""
    kind = frame[12:14]
    if kind == ARP and len(frame) >= _ARP_SIZE:
        sender, target = IPv4Address(frame[28:32]), IPv4Address(frame[38:42])
        if int(sender):
            return Claim(sender, frame[22:28])
        return Claim(target, frame[22:28], asks=True) if frame[20:22] == b"\0\1" else None
    if kind == IPV6 and len(frame) >= _ND_SIZE and frame[20] == 58:
        address = IPv6Address(frame[62:78])
        if frame[54] == _ADVERTISEMENT:
            said = frame[80:86] if frame[78:80] == _TARGET_LINK_ADDRESS else b""
            return Claim(address, said if len(said) == 6 else frame[6:12])
        # From any other address it only wants to know who has it.
        if frame[54] == _SOLICITATION and not any(frame[22:38]):
            return Claim(address, frame[6:12], asks=True)
    return None


@dataclass(slots=True)
class _Question:
    number: int
    address: Address
    kin: frozenset[str]
    due: float
    """Monotonic seconds of the next probe, or of the end."""
    sent: int = 0

    def settled_by(self, claim: Claim) -> bool:
        return not (claim.asks and claim.mac.hex(":") in self.kin)


class _Side:
    """An interface while something is asked there."""

    def __init__(self, ifindex: int) -> None:
        """Raises OSError."""
        name = socket.if_indextoname(ifindex)
        self.questions: list[_Question] = []
        with ExitStack() as stack:
            self._arp = stack.enter_context(open_ears(ARP, ()))
            self._nd = stack.enter_context(open_ears(IPV6, _ICMPV6_ONLY))
            # Advertisements go to a group that the device need not be in.
            everything = struct.pack("=iHH8x", ifindex, _PACKET_MR_ALLMULTI, 0)
            for ears in self.ears:
                ears.bind((name, 0))
                ears.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, everything)
            _, _, _, kind, self._mac = self._arp.getsockname()
            if kind != _ARPHRD_ETHER:
                raise OSError(errno.EOPNOTSUPP, f"{name} has no MAC")
            self.close = stack.pop_all().close

    @property
    def ears(self) -> tuple[socket.socket, socket.socket]:
        return self._arp, self._nd

    def ask(self, address: Address) -> None:
        """Raises OSError."""
        if isinstance(address, IPv4Address):
            self._arp.send(arp_probe(address, self._mac))
        else:
            self._nd.send(duplicate_probe(address, self._mac))

    def heard(self) -> Iterator[Claim]:
        """What other stations claimed since."""
        for ears in self.ears:
            while True:
                try:
                    frame, where = ears.recvfrom(_FRAME)
                except BlockingIOError:
                    break
                except OSError:  # the device went down or away: an error that is read once
                    continue
                claim = claimant(frame) if where[2] != _PACKET_OUTGOING else None
                if claim is not None and claim.mac != self._mac:
                    yield claim


class Duplicates(Watcher):
    """One thread, from which every question is answered once."""

    def __init__(self, tell: Told) -> None:
        super().__init__("duplicates")
        self._tell = tell
        self._asked: queue.SimpleQueue[tuple[int, Address, int, frozenset[str]] | frozenset[int]]
        self._asked = queue.SimpleQueue()
        self._bell, self._rings = socket.socketpair()
        self._rings.setblocking(False)
        self._sides: dict[int, _Side] = {}
        self._next_start = 0.0

    def ask(self, number: int, address: Address, ifindex: int, kin: frozenset[str]) -> None:
        """Never waits. ``kin``: MACs that may ask for the address as well, and do not have it for that."""
        self._put((number, address, ifindex, kin))

    def cancel(self, numbers: frozenset[int]) -> None:
        """These questions need no other answer than that nobody was found. Never waits."""
        self._put(numbers)

    def _put(self, what: tuple[int, Address, int, frozenset[str]] | frozenset[int]) -> None:
        self._asked.put(what)
        with suppress(BlockingIOError):  # full: it has rung already
            self._bell.send(b"x", socket.MSG_DONTWAIT)

    def stop(self) -> None:
        super().stop()
        self._bell.close()
        self._rings.close()

    def watch(self) -> None:
        try:
            while True:
                dues = [q.due for side in self._sides.values() for q in side.questions]
                patience = max(0.0, min(dues) - time.monotonic()) if dues else None
                ears = [each for side in self._sides.values() for each in side.ears]
                if self.wait(self._rings, *ears, seconds=patience) is None:
                    return
                self._begin()
                for ifindex, side in list(self._sides.items()):
                    self._go_on(ifindex, side)
        finally:
            for ifindex in list(self._sides):
                self._end(ifindex, "the search for duplicates was broken off")

    def _begin(self) -> None:
        with suppress(BlockingIOError):
            self._rings.recv(4096)
        while not self._asked.empty():
            asked = self._asked.get()
            if isinstance(asked, frozenset):
                self._drop(asked)
                continue
            number, address, ifindex, kin = asked
            try:
                side = self._sides.get(ifindex) or _Side(ifindex)
            except OSError as error:
                self._tell(number, None, f"interface {ifindex}: {error.strerror}")
                continue
            self._sides[ifindex] = side
            self._next_start = max(time.monotonic(), self._next_start + SPACING)
            side.questions.append(_Question(number, address, kin, self._next_start))

    def _drop(self, numbers: frozenset[int]) -> None:
        for side in self._sides.values():
            for question in [each for each in side.questions if each.number in numbers]:
                side.questions.remove(question)
                self._tell(question.number, None, "")

    def _go_on(self, ifindex: int, side: _Side) -> None:
        claims: dict[Address, list[Claim]] = {}
        for claim in side.heard():
            claims.setdefault(claim.address, []).append(claim)
        now = time.monotonic()
        for question in list(side.questions):
            found = filter(question.settled_by, claims.get(question.address, ()))
            if question.sent and (first := next(found, None)) is not None:
                side.questions.remove(question)
                self._tell(question.number, first.mac, "")
            elif now >= question.due and question.sent == PROBES:
                side.questions.remove(question)
                self._tell(question.number, None, "")
            elif now >= question.due:
                try:
                    side.ask(question.address)
                except OSError as error:
                    self._end(ifindex, f"interface {ifindex}: {error.strerror}")
                    return
                question.sent += 1
                question.due = now + (AFTER if question.sent == PROBES else INTERVAL)
        if not side.questions:
            self._end(ifindex, "")

    def _end(self, ifindex: int, why: str) -> None:
        side = self._sides.pop(ifindex)
        side.close()
        for question in side.questions:
            self._tell(question.number, None, why)
