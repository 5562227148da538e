# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every frame equals, byte for byte, the one that scapy builds from its fields."""

from __future__ import annotations

import warnings
from ipaddress import IPv4Address, IPv6Address

import pytest

with warnings.catch_warnings():
    # scapy's own use of cryptography.
    warnings.simplefilter("ignore")
    from scapy.layers.inet6 import (
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6NDOptDstLLAddr,
        ICMPv6NDOptSrcLLAddr,
        IPv6,
    )
    from scapy.layers.l2 import ARP, Ether

from herald.net import frames

MAC = bytes.fromhex("02cafe00017f")
MAC_TEXT = "02:ca:fe:00:01:7f"
ZERO = "00:00:00:00:00:00"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
VIP = "192.0.2.7"
VIP6 = "2001:db8::ff:1234:5678"
ALL_NODES = "33:33:00:00:00:01"
VIP6_GROUP = "ff02::1:ff34:5678"
VIP6_GROUP_MAC = "33:33:ff:34:56:78"

CASES = [
    (
        "GARP, request form: THA 0",
        frames.gratuitous_request(IPv4Address(VIP), MAC),
        Ether(src=MAC_TEXT, dst=EVERYBODY)
        / ARP(op=1, hwsrc=MAC_TEXT, psrc=VIP, hwdst=ZERO, pdst=VIP),
    ),
    (
        "GARP, reply form: THA = SHA",
        frames.gratuitous_reply(IPv4Address(VIP), MAC),
        Ether(src=MAC_TEXT, dst=EVERYBODY)
        / ARP(op=2, hwsrc=MAC_TEXT, psrc=VIP, hwdst=MAC_TEXT, pdst=VIP),
    ),
    (
        "ARP request",
        frames.arp_request(IPv4Address("192.0.2.1"), MAC, IPv4Address("192.0.2.11")),
        Ether(src=MAC_TEXT, dst=EVERYBODY)
        / ARP(op=1, hwsrc=MAC_TEXT, psrc="192.0.2.11", hwdst=ZERO, pdst="192.0.2.1"),
    ),
    (
        "ARP probe: SPA 0",
        frames.arp_probe(IPv4Address(VIP), MAC),
        Ether(src=MAC_TEXT, dst=EVERYBODY)
        / ARP(op=1, hwsrc=MAC_TEXT, psrc="0.0.0.0", hwdst=ZERO, pdst=VIP),
    ),
    (
        "unsolicited NA: to all nodes, S=0, O=1, TLLAO",
        frames.unsolicited_advertisement(IPv6Address(VIP6), MAC),
        Ether(src=MAC_TEXT, dst=ALL_NODES)
        / IPv6(src=VIP6, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=0, S=0, O=1, tgt=VIP6)
        / ICMPv6NDOptDstLLAddr(lladdr=MAC_TEXT),
    ),
    (
        "NS: to the solicited-node group, SLLAO",
        frames.neighbour_solicitation(IPv6Address(VIP6), MAC, IPv6Address("fe80::1")),
        Ether(src=MAC_TEXT, dst=VIP6_GROUP_MAC)
        / IPv6(src="fe80::1", dst=VIP6_GROUP, hlim=255)
        / ICMPv6ND_NS(tgt=VIP6)
        / ICMPv6NDOptSrcLLAddr(lladdr=MAC_TEXT),
    ),
    (
        "DAD NS: from ::, no option",
        frames.duplicate_probe(IPv6Address(VIP6), MAC),
        Ether(src=MAC_TEXT, dst=VIP6_GROUP_MAC)
        / IPv6(src="::", dst=VIP6_GROUP, hlim=255)
        / ICMPv6ND_NS(tgt=VIP6),
    ),
]


@pytest.mark.parametrize(
    ("frame", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_frame_is_what_scapy_builds(frame: bytes, expected: Ether) -> None:
    assert frame.hex(" ") == bytes(expected).hex(" ")


def test_checksum_is_right_for_every_folding_of_the_sum() -> None:
    """Targets that drive the sum through each end of its range, 0xffff and its neighbours
    included."""
    for low in [*range(0, 0x10000, 0x101), 0xFFFF, 0xFFFE]:
        vip = IPv6Address((0x20010DB8 << 96) | low)
        frame = frames.unsolicited_advertisement(vip, MAC)
        sent = Ether(frame)
        assert sent[ICMPv6ND_NA].cksum == _checksum_by_scapy(sent), vip


def _checksum_by_scapy(frame: Ether) -> int:
    again = Ether(bytes(frame))
    del again[ICMPv6ND_NA].cksum
    return int(Ether(bytes(again))[ICMPv6ND_NA].cksum)


def test_an_ipv4_address_is_announced_in_both_forms() -> None:
    vip = IPv4Address(VIP)
    assert frames.announcement(vip, MAC) == (
        frames.gratuitous_request(vip, MAC),
        frames.gratuitous_reply(vip, MAC),
    )


def test_an_ipv6_address_is_announced_by_an_advertisement() -> None:
    vip = IPv6Address(VIP6)
    assert frames.announcement(vip, MAC) == (frames.unsolicited_advertisement(vip, MAC),)
