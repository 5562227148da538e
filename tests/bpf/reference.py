# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder once more, in Python: slow, plain, and written from the RFCs and not from the C.

It answers for one interface as the session lets it, and says what it takes for a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from herald.core.model import Address

ARP, IPV4, IPV6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"
BROADCAST = b"\xff" * 6
ALL_NODES_MAC = bytes.fromhex("333300000001")
ALL_NODES = IPv6Address("ff02::1")
UNSPECIFIED = IPv6Address("::")


@dataclass(frozen=True)
class State:
    """What the session says at a moment."""

    valid: bool = True
    """The deadline lies ahead."""
    hold: bool = False
    burning: bool = False
    """The fuse lies ahead."""
    confirmed: bool = False
    """The entries' claims are older than the last renewal."""


@dataclass
class Reference:
    """``vips`` by address: whether pings are answered."""

    mac: bytes
    vips: Mapping[Address, bool]
    conflicts: dict[Address, int] = field(default_factory=dict)
    state: State = field(default_factory=State)
    silenced: set[Address] = field(default_factory=set)
    """Until they are claimed anew."""

    def answer(self, frame: bytes) -> bytes | None:
        """The frame that goes back, or None."""
        kind, rest = frame[12:14], frame[14:]
        if kind == ARP:
            return self._arp(frame, rest)
        if kind == IPV4:
            return self._ipv4(frame, rest)
        if kind == IPV6:
            return self._ipv6(frame, rest)
        return None

    def _claims(self, address: Address, mac: bytes) -> bool:
        if address in self.vips and mac != self.mac:
            self.conflicts[address] = self.conflicts.get(address, 0) + 1
            if self.state.hold and not self.state.valid:
                self.silenced.add(address)
            return True
        return False

    def _may(self, address: Address) -> bool:
        state = self.state
        held = state.hold and state.burning and state.confirmed
        return address in self.vips and address not in self.silenced and (state.valid or held)

    def _pings(self, address: Address) -> bool:
        return self._may(address) and self.vips[address]

    def _reply(self, frame: bytes, *parts: bytes) -> bytes:
        return frame[6:12] + self.mac + frame[12:14] + b"".join(parts)

    # --- RFC 826, 5227 ----------------------------------------------------------------------------

    def _arp(self, frame: bytes, arp: bytes) -> bytes | None:
        if len(arp) < 28 or arp[:6] != bytes.fromhex("000108000604"):
            return None
        op, sha, spa, tpa = arp[6:8], arp[8:14], arp[14:18], arp[24:28]
        source, dest = frame[6:12], frame[:6]
        if not station(source) or not station(sha) or self._claims(IPv4Address(spa), sha):
            return None
        if op != b"\x00\x01" or not self._may(IPv4Address(tpa)):
            return None
        if self.mac in (source, sha) or dest not in (BROADCAST, self.mac):
            return None
        return self._reply(frame, arp[:6], b"\x00\x02", self.mac, tpa, sha, spa)

    # --- RFC 792 ----------------------------------------------------------------------------------

    def _ipv4(self, frame: bytes, packet: bytes) -> bytes | None:
        if len(packet) < 28 or packet[0] != 0x45 or packet[9] != 1:
            return None
        length = int.from_bytes(packet[2:4], "big")
        fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
        if fragment or not 28 <= length <= len(packet) or checksum(packet[:20]):
            return None
        icmp = packet[20:length]
        source, dest = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        if icmp[:2] != b"\x08\x00" or not self._pings(dest) or not self._mine(frame):
            return None
        if packet[12] in (0, 127) or packet[12] >= 224 or source == dest:
            return None
        head = packet[:8] + b"\x40\x01\x00\x00" + dest.packed + source.packed
        head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
        return self._reply(frame, head, echoed(icmp, 0))

    # --- RFC 4443, 4861, 4862 ---------------------------------------------------------------------

    def _ipv6(self, frame: bytes, packet: bytes) -> bytes | None:
        if len(packet) < 48 or packet[0] >> 4 != 6 or packet[6] != 58:
            return None
        length = int.from_bytes(packet[4:6], "big")
        source, dest = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        if length > len(packet) - 40:
            return None
        icmp = packet[40 : 40 + length]
        if packet[40] == 128:
            return self._ping6(frame, packet, icmp, source, dest)
        if packet[40] not in (135, 136) or length < 24 or length % 8 or packet[7] != 255:
            return None
        pseudo = packet[8:40] + length.to_bytes(4, "big") + bytes([0, 0, 0, 58])
        options = parse_options(icmp[24:])
        if icmp[1] or checksum(pseudo + icmp) or options is None:
            return None
        target = IPv6Address(icmp[8:24])
        if not station(frame[6:12]) or source.is_multicast or target.is_multicast:
            return None
        told = options.get(1 if packet[40] == 135 else 2)
        mac = frame[6:12] if told is None else told
        if not station(mac):
            return None
        if packet[40] == 136:
            if not (dest.is_multicast and icmp[4] & 0x40):
                self._claims(target, mac)
            return None
        if source == UNSPECIFIED and told is not None:
            return None
        return None if self._claims(source, mac) else self._solicited(frame, source, dest, target)

    def _ping6(
        self, frame: bytes, packet: bytes, icmp: bytes, source: IPv6Address, dest: IPv6Address
    ) -> bytes | None:
        if len(icmp) < 8 or icmp[1] or not self._pings(dest) or not self._mine(frame):
            return None
        if source.is_multicast or source in (UNSPECIFIED, dest):
            return None
        head = packet[:7] + b"\x40" + dest.packed + source.packed
        return self._reply(frame, head, echoed(icmp, 129))

    def _solicited(
        self, frame: bytes, source: IPv6Address, dest: IPv6Address, target: IPv6Address
    ) -> bytes | None:
        low = target.packed[13:]
        group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + low)
        dad = source == UNSPECIFIED
        to_me = frame[:6] == self.mac and (dest == group or (dest == target and not dad))
        to_group = frame[:6] == b"\x33\x33\xff" + low and dest == group
        if not self._may(target) or not (to_me or to_group) or frame[6:12] == self.mac:
            return None
        to = ALL_NODES if dad else source
        flags = b"\x20" if dad else b"\x60"
        icmp = b"\x88\x00\x00\x00" + flags + bytes(3) + target.packed + b"\x02\x01" + self.mac
        pseudo = target.packed + to.packed + bytes([0, 0, 0, 32, 0, 0, 0, 58])
        icmp = icmp[:2] + checksum(pseudo + icmp).to_bytes(2, "big") + icmp[4:]
        head = b"\x60\x00\x00\x00\x00\x20\x3a\xff" + target.packed + to.packed
        answer = self._reply(frame, head, icmp)
        return ALL_NODES_MAC + answer[6:] if dad else answer

    def _mine(self, frame: bytes) -> bool:
        return frame[:6] == self.mac and station(frame[6:12]) and frame[6:12] != self.mac


def station(mac: bytes) -> bool:
    """Neither a group nor nobody."""
    return not mac[0] & 1 and any(mac)


def checksum(data: bytes) -> int:
    """RFC 1071; 0 over data that includes a correct one."""
    data += b"\x00" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echoed(icmp: bytes, kind: int) -> bytes:
    """The reply to an echo request: right if that was right, else as wrong."""
    change = (kind - icmp[0]) << 8
    was = ~int.from_bytes(icmp[2:4], "big") & 0xFFFF
    total = was + (change % 0xFFFF)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return bytes([kind, 0]) + (~total & 0xFFFF).to_bytes(2, "big") + icmp[4:]


def parse_options(data: bytes) -> dict[int, bytes] | None:
    """The last address option of each type, or None where the options are no options."""
    found = {}
    if len(data) > 64 * 8:
        return None  # more than are read
    while data:
        size = data[1] * 8
        if not size or size > len(data):
            return None
        if size == 8:
            found[data[0]] = data[2:8]
        data = data[size:]
    return found
