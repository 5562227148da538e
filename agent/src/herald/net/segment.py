# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Hears who answers this node's questions: the sign that a segment is there, which carrier alone is
not.

Two packet sockets take the answers that are addressed to this node, ARP replies and neighbour
advertisements; a filter in the kernel drops everything else before it costs anything. The kernel's
own neighbour discovery is heard too, and proves the same.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from herald.core.events import SegmentHeard
from herald.core.model import Address
from herald.net.watcher import Watcher

REPEAT = 100_000_000
"""Nanoseconds in which the same answer is not passed on again."""

_SO_ATTACH_FILTER = 26
ARP, IPV6 = b"\x08\x06", b"\x86\xdd"
_ARP_SIZE, _NA_SIZE = 42, 78
_PACKET_HOST = 0
_SO_TIMESTAMPNS = 35
"""Asked for and given by the same number (asm-generic/socket.h); struct timespec of CLOCK_REALTIME."""
_FRAME = 128
_CONTROL = socket.CMSG_SPACE(struct.calcsize("@ll"))

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_JUMP_EQUAL, _RETURN = 0x15, 0x06
_PACKET_TYPE = 0xFFFFF000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE (linux/filter.h)."""

_ARP_REPLIES = ((_LOAD_WORD, _PACKET_TYPE, _PACKET_HOST), (_LOAD_HALF, 20, 2))
"""Each: load from an offset of the frame, and it must be this. To us; ARP operation: reply."""
_ADVERTISEMENTS = (
    (_LOAD_WORD, _PACKET_TYPE, _PACKET_HOST),
    (_LOAD_BYTE, 20, 58),
    (_LOAD_BYTE, 54, 136),
)
"""To us; next header ICMPv6; neighbour advertisement."""


def answerer(frame: bytes) -> Address | None:
    """Who says in this frame that it is there: the sender of an ARP reply, the target of an NA."""
    if len(frame) >= _ARP_SIZE and frame[12:14] == ARP and frame[20:22] == b"\0\2":
        return IPv4Address(frame[28:32])
    if len(frame) >= _NA_SIZE and frame[12:14] == IPV6 and (frame[20], frame[54]) == (58, 136):
        return IPv6Address(frame[62:78])
    return None


class Ears(Watcher):
    """One thread that posts SegmentHeard."""

    def __init__(self, post: Callable[[SegmentHeard], None]) -> None:
        super().__init__("segment")
        self._post = post
        self._last: dict[tuple[int, Address], int] = {}

    def watch(self) -> None:
        with open_ears(ARP, _ARP_REPLIES) as arp, open_ears(IPV6, _ADVERTISEMENTS) as nd:
            while (readable := self.wait(arp, nd)) is not None:
                for ears in (arp, nd):
                    if ears in readable:
                        self._listen(ears)

    def _listen(self, ears: socket.socket) -> None:
        # A device that goes away leaves an error on the socket: ENETDOWN, once.
        try:
            frame, control, _, where = ears.recvmsg(_FRAME, _CONTROL)
            ifindex = socket.if_nametoindex(where[0])
        except OSError:
            return
        # Again, for what came in before the filter was there.
        if where[2] == _PACKET_HOST and (address := answerer(frame)) is not None:
            self._heard(SegmentHeard(ifindex, address, _came_in(control)))

    def _heard(self, event: SegmentHeard) -> None:
        who = event.ifindex, event.address
        if event.at < self._last.get(who, 0) + REPEAT:
            return
        if len(self._last) > 1000:
            self._last.clear()
        self._last[who] = event.at
        self._post(event)


def _came_in(control: list[tuple[int, int, bytes]]) -> int:
    """When the kernel took the frame in, nanoseconds of CLOCK_BOOTTIME; now, where it does not say so.

    It stamps by CLOCK_REALTIME, of which only the time since then counts; 0, long ago, where that clock was set back
    meanwhile.
    """
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("@ll", data)
            age = time.time_ns() - int(seconds * 10**9 + nanoseconds)
            return now - age if age >= 0 else 0
    return now


def open_ears(protocol: bytes, conditions: tuple[tuple[int, int, int], ...]) -> socket.socket:
    """A packet socket that takes the frames on which all conditions hold. Raises OSError."""
    ears = socket.socket(
        socket.AF_PACKET,
        socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        # packet(7) wants it in network byte order.
        int.from_bytes(protocol, sys.byteorder),
    )
    try:
        ears.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        program = _program(conditions)
        code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: length in instructions, and where they are.
        fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
        ears.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError:
        ears.close()
        raise
    return ears


def _program(conditions: tuple[tuple[int, int, int], ...]) -> bytes:
    """Classic BPF: every condition is a load and a jump to the last instruction, which drops."""
    code = []
    for number, (load, offset, wanted) in enumerate(conditions):
        code.append(struct.pack("=HBBI", load, 0, 0, offset))
        to_drop = 2 * (len(conditions) - 1 - number) + 1
        code.append(struct.pack("=HBBI", _JUMP_EQUAL, 0, to_drop, wanted))
    code.append(struct.pack("=HBBI", _RETURN, 0, 0, _FRAME))
    code.append(struct.pack("=HBBI", _RETURN, 0, 0, 0))
    return b"".join(code)
