# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""ARP and neighbour discovery on one interface: asking, and hearing everything, by AF_PACKET.

Asking must not change what is measured. If a client's own MAC and address asked, the answers would
refresh the client's neighbour entry, and its outage would end with our question instead of the new
holder's announcement. So requests come from made-up neighbours: a locally administered MAC, whose
answers the client's kernel ignores (they are another host's), and an address that nobody has
(192.0.2.1, RFC 5737; for IPv6 a link-local one). Not an ARP probe with sender 0.0.0.0 either: to a
holder that says "I want this address", and is an event to report.

The made-up MACs rotate through 256, so that an answer says by its destination which request it
answers.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clock import SO_TIMESTAMPNS, STAMP_SPACE, Clock

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from options import Address

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
ICMPV6, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 58, 135, 136
ARP_REQUEST, ARP_REPLY = 1, 2
BROADCAST = b"\xff" * 6
IDENTITIES = 256
_IDENTITY = "02:68:65:72:00:"
SOURCE4 = ipaddress.IPv4Address("192.0.2.1")
SOURCE6 = ipaddress.IPv6Address("fe80::268:65ff:fe72:0")

# linux/if_packet.h, asm-generic/socket.h, linux/sockios.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_MR_PROMISC = 263, 1, 6, 1
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SIOCGIFFLAGS = 26, 33, 0x8913
_ARP = struct.Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame says about an address.

    `kind`: `request` (ARP request or NS: who has it?), `reply` and `na` (an answer to `peer`),
    `garp` and `unsolicited-na` (an announcement), `claim` (it is used as a sender's own).
    `mac`: whose MAC the frame gives for the address; for a request, who asks.
    """

    time: int  # monotonic nanoseconds, from the kernel's stamp
    kind: str
    mac: str
    peer: str = ""
    about: bytes = b""  # the address, packed


def identity(sequence: int) -> bytes:
    """The made-up MAC that asks request `sequence`: locally administered, unicast."""
    return bytes.fromhex(_IDENTITY.replace(":", "")) + bytes([sequence % IDENTITIES])


def is_identity(mac: str) -> bool:
    """Whether a MAC, as words, is one of those made-up ones."""
    return mac.startswith(_IDENTITY)


def request(address: Address, sequence: int, source4: ipaddress.IPv4Address = SOURCE4) -> bytes:
    """A whole frame that asks everybody for `address`."""
    mac = identity(sequence)
    if isinstance(address, ipaddress.IPv4Address):
        body = _ARP.pack(
            1, 0x0800, 6, 4, ARP_REQUEST, mac, source4.packed, b"\0" * 6, address.packed
        )
        return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + body
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
    message = struct.pack("!BBHI", NEIGHBOUR_SOLICITATION, 0, 0, 0) + address.packed + b"\1\1" + mac
    pseudo = SOURCE6.packed + group + struct.pack("!II", len(message), ICMPV6)
    message = message[:2] + _checksum(pseudo + message) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 255) + SOURCE6.packed + group
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6) + header + message


def parse(data: bytes, addresses: Container[bytes], time: int) -> Frame | None:
    """What the Ethernet frame `data` says about one of `addresses` (packed); None for nothing, or
    nonsense."""
    protocol = int.from_bytes(data[12:14], "big")
    if protocol == ETH_P_ARP and len(data) >= 14 + _ARP.size:
        return _parse_arp(data, addresses, time)
    if protocol == ETH_P_IPV6 and len(data) >= 14 + 40 + 24:
        return _parse_icmpv6(data, addresses, time)
    return None


def _parse_arp(data: bytes, addresses: Container[bytes], time: int) -> Frame | None:
    *head, operation, sha, spa, _, tpa = _ARP.unpack_from(data, 14)
    if head != [1, 0x0800, 6, 4]:
        return None
    if spa in addresses:
        if tpa == spa or (data[:6] == BROADCAST and operation == ARP_REPLY):
            return Frame(time, "garp", _mac(sha), about=spa)
        if operation == ARP_REPLY:
            return Frame(time, "reply", _mac(sha), _mac(data[:6]), spa)
        return Frame(time, "claim", _mac(sha), about=spa)
    if operation == ARP_REQUEST and tpa in addresses:
        return Frame(time, "request", _mac(data[6:12]), about=tpa)
    return None


def _parse_icmpv6(data: bytes, addresses: Container[bytes], time: int) -> Frame | None:
    packet = data[14:]
    kind, target = packet[40], packet[48:64]
    if packet[6] != ICMPV6 or packet[7] != 255 or target not in addresses:
        return None
    if kind == NEIGHBOUR_SOLICITATION:
        return Frame(time, "request", _mac(data[6:12]), about=target)
    if kind != NEIGHBOUR_ADVERTISEMENT:
        return None
    mac = _mac(packet[66:72] if packet[64:66] == b"\2\1" and len(packet) >= 72 else data[6:12])
    if packet[44] & 0x40 and not data[0] & 1:  # S, unicast: an answer to a solicitation
        return Frame(time, "na", mac, _mac(data[:6]), target)
    return Frame(time, "unsolicited-na", mac, about=target)


class Segment:
    """An interface, opened for hearing every ARP or ND frame there, also those for others."""

    def __init__(self, interface: str, addresses: Sequence[Address], clock: Clock):
        """`addresses`, all of one family, are those to hear of."""
        self.clock = clock
        self._addresses = frozenset(address.packed for address in addresses)
        self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sender.bind((interface, 0))
        # Protocol 0 hears nothing until bound, so no unfiltered frame gets in before the filter.
        self.capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self.capture.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.capture.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        _attach(self.capture, _ARP_ONLY if addresses[0].version == 4 else _ND_ONLY)
        index = socket.if_nametoindex(interface)
        membership = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self.capture.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        self.capture.bind((interface, ETH_P_ALL))  # ALL: what this host sends is heard too

    def ask(self, address: Address, sequence: int, source4: ipaddress.IPv4Address) -> None:
        self._sender.send(request(address, sequence, source4))

    def heard(self) -> list[Frame]:
        """Every frame about one of the addresses that has come in since the last call."""
        frames: list[Frame] = []
        while True:
            try:
                data, ancillary, _, _ = self.capture.recvmsg(256, STAMP_SPACE)
            except BlockingIOError:
                return frames
            frame = parse(data, self._addresses, self.clock.arrival(ancillary))
            if frame:
                frames.append(frame)

    def missed(self) -> int:
        """Frames that the kernel dropped since the last call, because nobody read them in time."""
        statistics = self.capture.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        dropped: int = struct.unpack("II", statistics)[1]
        return dropped


def sole_interface() -> str:
    """The one interface of this network namespace that is up, beside lo."""
    names = [name for _, name in socket.if_nameindex() if name != "lo" and _is_up(name)]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise OSError(f"wanted one interface that is up, found {found}: name it by --interface")
    return names[0]


def _is_up(name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
    return bool(struct.unpack("16xH", answer[:18])[0] & 1)


# Classic BPF (linux/filter.h) as (code, jump if true, jump if false, constant), on whole frames.
_LDH, _LDB, _JEQ, _JGE, _RET = 0x28, 0x30, 0x15, 0x35, 0x06
_ARP_ONLY = [(_LDH, 0, 0, 12), (_JEQ, 0, 1, ETH_P_ARP), (_RET, 0, 0, 256), (_RET, 0, 0, 0)]
_ND_ONLY = [
    (_LDH, 0, 0, 12),
    (_JEQ, 0, 6, ETH_P_IPV6),
    (_LDB, 0, 0, 20),
    (_JEQ, 0, 4, ICMPV6),
    (_LDB, 0, 0, 54),
    (_JGE, 0, 2, NEIGHBOUR_SOLICITATION),
    (_JGE, 1, 0, NEIGHBOUR_ADVERTISEMENT + 1),
    (_RET, 0, 0, 256),
    (_RET, 0, 0, 0),
]


def _attach(target: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    fprog = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    target.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)


def _checksum(data: bytes) -> bytes:
    """RFC 1071, for an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def _mac(octets: bytes) -> str:
    return octets.hex(":")
