# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Pings of held addresses: answered by policy, with the checksums of what came."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from tests.bpf.frames import (
    BROADCAST,
    NO_MAC,
    OTHER4,
    OTHER6,
    OTHER_MAC,
    OWN_MAC,
    PEER4,
    PEER6,
    PEER_MAC,
    VIP4,
    VIP6,
    ping4,
    ping4_reply,
    ping6,
    ping6_reply,
)
from tests.bpf.kernel import Kernel
from tests.bpf.table import CLAIMED, EXPIRED, HOLD_UNARMED, HOLDING, Row, check

LONG = bytes(range(256)) * 5
TO_ME = Ether(dst=OWN_MAC, src=PEER_MAC)


def patched(frame: Packet, at: int, value: bytes) -> bytes:
    """Other bytes in the place of some, the checksums left as they are."""
    data = bytes(frame)
    return data[:at] + value + data[at + len(value) :]


def wrong_checksum(frame: Packet, at: int, change: int) -> Packet:
    """The frame with its checksum off by so much (in ones' complement)."""
    data = bytes(frame)
    value = int.from_bytes(data[at : at + 2], "big") + change
    return Ether(patched(frame, at, (value % 0xFFFF).to_bytes(2, "big")))


PING4 = [
    Row("echo request", ping4(), ping4_reply()),
    Row("without data", ping4(b""), ping4_reply(b"")),
    Row("of an odd length", ping4(b"odd"), ping4_reply(b"odd")),
    Row("that fills a frame", ping4(LONG), ping4_reply(LONG)),
    Row("with Ethernet padding", bytes(ping4(b"x")) + bytes(17), ping4_reply(b"x")),
    Row("with TOS and DF", ping4(tos=0x48, flags="DF"), ping4_reply(tos=0x48, flags="DF")),
    Row("with TTL 1", ping4(ttl=1), ping4_reply()),
    Row("with TTL 255", ping4(ttl=255), ping4_reply()),
    *[
        Row(f"whose checksum carries ({data.hex()})", ping4(data), ping4_reply(data))
        for data in (b"\xff\xff", b"\xf7\xf8", b"\xff\xf0\xff\x08", b"\x00\x00\xf0\xf1")
    ],
    Row(
        "with a wrong ICMP checksum: stays as wrong",
        wrong_checksum(ping4(), 36, 5),
        wrong_checksum(ping4_reply(), 36, 5),
    ),
    Row("while holding", ping4(), ping4_reply(), session=HOLDING),
]

PASSED4 = [
    Row("policy says no", ping4(), ping=False),
    Row("of another address", TO_ME / IP(src=PEER4, dst=OTHER4) / ICMP() / b"x"),
    Row("no entries at all", ping4(), vips=()),
    Row("to another MAC", ping4(dst=OTHER_MAC)),
    Row("Ethernet broadcast", ping4(dst=BROADCAST)),
    Row("from a multicast Ethernet source", ping4(src="01:00:5e:00:00:01")),
    Row("from the all-zero Ethernet source", ping4(src=NO_MAC)),
    Row("from my own Ethernet address", ping4(src=OWN_MAC)),
    *[
        Row(f"from {source}", TO_ME / IP(src=source, dst=VIP4) / ICMP() / b"x")
        for source in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", VIP4)
    ],
    Row("an echo reply", TO_ME / IP(src=PEER4, dst=VIP4) / ICMP(type=0) / b"x"),
    Row("a destination unreachable", TO_ME / IP(src=PEER4, dst=VIP4) / ICMP(type=3) / b"x"),
    Row("code 1", TO_ME / IP(src=PEER4, dst=VIP4) / ICMP(code=1) / b"x"),
    Row("UDP", TO_ME / IP(src=PEER4, dst=VIP4) / UDP(sport=2048, dport=53) / b"x"),
    Row(
        "UDP that looks like a ping",
        TO_ME / IP(src=PEER4, dst=VIP4) / UDP(sport=0x0800, dport=0) / b"x",
    ),
    Row("IP options", ping4(options=[IPOption_NOP()])),
    Row("a first fragment", ping4(flags="MF")),
    Row("a later fragment", ping4(frag=1)),
    Row("IP version 6", patched(ping4(), 14, b"\x65")),
    Row("IP header too short", patched(ping4(), 14, b"\x44")),
    Row("IP header checksum wrong", patched(ping4(), 24, b"\x00\x01")),
    Row("IP length under the header's", ping4(len=27)),
    Row("IP length beyond the frame", ping4(len=100)),
    Row("IP length 0", ping4(len=0)),
    Row("Ethernet type IPv6", patched(ping4(), 12, b"\x86\xdd")),
    Row("deadline passed", ping4(), session=EXPIRED),
    Row("no session", ping4(), session=None),
    Row("hold mode, fuse not armed", ping4(), session=HOLD_UNARMED),
    Row("silenced", ping4(), silenced=CLAIMED),
    *[Row(f"of {size} bytes", bytes(ping4(b""))[:size]) for size in range(34, 42)],
]

PING6 = [
    Row("echo request", ping6(), ping6_reply()),
    Row("without data", ping6(b""), ping6_reply(b"")),
    Row("of an odd length", ping6(b"odd"), ping6_reply(b"odd")),
    Row("that fills a frame", ping6(LONG), ping6_reply(LONG)),
    Row("with trailing bytes", bytes(ping6(b"x")) + bytes(17), ping6_reply(b"x")),
    Row(
        "with traffic class and flow label",
        ping6(tc=0x48, fl=0x12345),
        ping6_reply(tc=0x48, fl=0x12345),
    ),
    Row("with hop limit 1", ping6(hlim=1), ping6_reply()),
    *[
        Row(f"whose checksum carries ({data.hex()})", ping6(data), ping6_reply(data))
        for data in (b"\xff\xff", b"\x7e\x7f", b"\xff\xf0\xff\x08", b"\x00\x00\xf0\xf1")
    ],
    Row(
        "with a wrong checksum: stays as wrong",
        wrong_checksum(ping6(), 56, 5),
        wrong_checksum(ping6_reply(), 56, 5),
    ),
    Row("while holding", ping6(), ping6_reply(), session=HOLDING),
]

PASSED6 = [
    Row("policy says no", ping6(), ping=False),
    Row("of another address", TO_ME / IPv6(src=PEER6, dst=OTHER6) / ICMPv6EchoRequest()),
    Row("no entries at all", ping6(), vips=()),
    Row("to another MAC", ping6(dst=OTHER_MAC)),
    Row("Ethernet broadcast", ping6(dst=BROADCAST)),
    Row("to all nodes", ping6(dst="33:33:00:00:00:01")),
    Row("from a multicast Ethernet source", ping6(src="33:33:00:00:00:02")),
    Row("from my own Ethernet address", ping6(src=OWN_MAC)),
    *[
        Row(f"from {source}", TO_ME / IPv6(src=source, dst=VIP6) / ICMPv6EchoRequest(data=b"x"))
        for source in ("::", "ff02::1", VIP6)
    ],
    Row("an echo reply", patched(ping6(), 54, b"\x81")),
    Row("code 1", TO_ME / IPv6(src=PEER6, dst=VIP6) / ICMPv6EchoRequest(code=1)),
    Row("UDP", TO_ME / IPv6(src=PEER6, dst=VIP6) / UDP(sport=0x8000, dport=53) / b"x"),
    Row("a fragment", TO_ME / IPv6(src=PEER6, dst=VIP6) / IPv6ExtHdrFragment() / ICMPv6EchoRequest()),
    Row("destination options",
        TO_ME / IPv6(src=PEER6, dst=VIP6) / IPv6ExtHdrDestOpt() / ICMPv6EchoRequest()),
    Row("IP version 4", patched(ping6(), 14, b"\x40")),
    Row("payload length 7", patched(ping6(), 18, b"\x00\x07")),
    Row("payload length beyond the frame", patched(ping6(), 18, b"\x00\x40")),
    Row("deadline passed", ping6(), session=EXPIRED),
    Row("no session", ping6(), session=None),
    Row("hold mode, fuse not armed", ping6(), session=HOLD_UNARMED),
    Row("silenced", ping6(), silenced=CLAIMED),
    *[Row(f"of {size} bytes", bytes(ping6(b""))[:size]) for size in range(54, 62)],
]  # fmt: skip


@pytest.mark.parametrize("row", PING4 + PASSED4, ids=str)
def test_ping_over_ipv4(kernel: Kernel, row: Row) -> None:
    check(kernel, row)


@pytest.mark.parametrize("row", PING6 + PASSED6, ids=str)
def test_ping_over_ipv6(kernel: Kernel, row: Row) -> None:
    check(kernel, row)
