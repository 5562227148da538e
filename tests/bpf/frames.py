# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames as scapy builds them, and the stations that they come from."""

from __future__ import annotations

from ipaddress import IPv6Address

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

OWN_MAC = "02:00:00:00:00:01"  # the announcing interface
PEER_MAC = "02:00:00:00:00:99"  # who asks
OTHER_MAC = "02:00:00:00:00:42"  # somebody else
NO_MAC = "00:00:00:00:00:00"
BROADCAST = "ff:ff:ff:ff:ff:ff"

VIP4, SECOND_VIP4 = "192.0.2.10", "192.0.2.11"
PEER4, OTHER4 = "192.0.2.99", "192.0.2.77"
VIP6, SECOND_VIP6 = "fd00:77::abcd:10", "fd00:77::abcd:11"
PEER6, OTHER6 = "fd00:77::99", "fd00:77::77"
GROUP6 = "ff02::1:ffcd:10"  # the solicited-node group of VIP6
GROUP_MAC = "33:33:ff:cd:00:10"
ALL_NODES = "ff02::1"
ALL_NODES_MAC = "33:33:00:00:00:01"


def MAC(text: str) -> bytes:  # noqa: N802
    return bytes.fromhex(text.replace(":", ""))


def arp(
    op: int = 1,
    *,
    dst: str = BROADCAST,
    src: str = PEER_MAC,
    sha: str | None = None,
    spa: str = PEER4,
    tha: str = NO_MAC,
    tpa: str = VIP4,
    **header: int,
) -> Packet:
    """An ARP request for the VIP, unless said otherwise; 42 bytes."""
    return Ether(dst=dst, src=src) / ARP(
        op=op, hwsrc=sha or src, psrc=spa, hwdst=tha, pdst=tpa, **header
    )


def arp_reply(
    *,
    dst: str = PEER_MAC,
    tha: str | None = None,
    spa: str = VIP4,
    tpa: str = PEER4,
    own: str = OWN_MAC,
) -> Packet:
    """The answer to ``arp()``."""
    return arp(2, dst=dst, src=own, spa=spa, tha=tha or dst, tpa=tpa)


def ns(
    *options: Packet,
    dst: str = GROUP_MAC,
    src: str = PEER_MAC,
    source: str = PEER6,
    dest: str = GROUP6,
    target: str = VIP6,
    hlim: int = 255,
    **fields: int,
) -> Packet:
    """A neighbour solicitation for the VIP, without options unless given."""
    frame = Ether(dst=dst, src=src) / IPv6(src=source, dst=dest, hlim=hlim)
    frame /= ICMPv6ND_NS(tgt=target, **fields)
    for option in options:
        frame /= option
    return frame


def sllao(mac: str = PEER_MAC) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=mac)


def tllao(mac: str = OTHER_MAC) -> Packet:
    return ICMPv6NDOptDstLLAddr(lladdr=mac)


def na(
    *options: Packet,
    dst: str = ALL_NODES_MAC,
    src: str = OTHER_MAC,
    source: str = VIP6,
    dest: str = ALL_NODES,
    target: str = VIP6,
    solicited: int = 0,
    override: int = 1,
    hlim: int = 255,
    **fields: int,
) -> Packet:
    """Somebody else's unsolicited advertisement of the VIP."""
    frame = Ether(dst=dst, src=src) / IPv6(src=source, dst=dest, hlim=hlim)
    frame /= ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=override, **fields)
    for option in options:
        frame /= option
    return frame


def na_answer(
    *, dst: str = PEER_MAC, dest: str = PEER6, target: str = VIP6, own: str = OWN_MAC
) -> Packet:
    """The answer to ``ns()``."""
    return na(tllao(own), dst=dst, src=own, source=target, dest=dest, target=target, solicited=1)


def dad_answer(target: str = VIP6) -> Packet:
    """The answer to duplicate address detection: to all nodes, for the asker has no address."""
    return na(tllao(OWN_MAC), src=OWN_MAC, source=target, target=target)


def solicited_node(address: str) -> tuple[str, str]:
    """The multicast group of an address, and its MAC."""
    low = IPv6Address(address).packed[13:]
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + low)
    return str(group), "33:33:ff:" + low.hex(":")


def ping4(
    payload: bytes = b"herald's ping", *, dst: str = OWN_MAC, src: str = PEER_MAC, **ip: object
) -> Packet:
    """An echo request to the VIP."""
    fields = {"src": PEER4, "dst": VIP4, "id": 7, "ttl": 63} | ip
    return Ether(dst=dst, src=src) / IP(**fields) / ICMP(type=8, id=3, seq=4) / payload


def ping4_reply(payload: bytes = b"herald's ping", **ip: object) -> Packet:
    fields = {"src": VIP4, "dst": PEER4, "id": 7, "ttl": 64} | ip
    return Ether(dst=PEER_MAC, src=OWN_MAC) / IP(**fields) / ICMP(type=0, id=3, seq=4) / payload


def ping6(
    payload: bytes = b"herald's ping", *, dst: str = OWN_MAC, src: str = PEER_MAC, **ip: object
) -> Packet:
    """An echo request to the VIP."""
    fields = {"src": PEER6, "dst": VIP6, "hlim": 63} | ip
    return Ether(dst=dst, src=src) / IPv6(**fields) / ICMPv6EchoRequest(id=3, seq=4, data=payload)


def ping6_reply(payload: bytes = b"herald's ping", **ip: object) -> Packet:
    fields = {"src": VIP6, "dst": PEER6, "hlim": 64} | ip
    return (
        Ether(dst=PEER_MAC, src=OWN_MAC)
        / IPv6(**fields)
        / ICMPv6EchoReply(id=3, seq=4, data=payload)
    )
