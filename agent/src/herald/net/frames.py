# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The frames that Herald sends, packed by ``struct``.

Announcements tell a segment who has an address now; solicitations ask who is there. Nothing here pads to
the 60 bytes of the shortest Ethernet frame: drivers do.

Sources: RFC 826 (ARP), RFC 5227 (ARP probes and announcements), RFC 4861 (neighbour discovery), RFC
4862 (duplicate detection), RFC 2464 (IPv6 multicast over Ethernet).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herald.core.model import Address

BROADCAST = b"\xff" * 6
NO_MAC = bytes(6)
ANY4 = IPv4Address(0)
ANY6 = IPv6Address(0)
ALL_NODES = IPv6Address("ff02::1")

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")
"""Type, code, checksum, flags (NA) or reserved (NS), target."""
_LINK_OPTION = struct.Struct("!BB6s")
"""Type, length in units of eight octets, address."""

_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_IPV6 = 0x86DD
_REQUEST = 1
_REPLY = 2
_ICMPV6 = 58
_SOLICITATION = 135
_ADVERTISEMENT = 136
_OVERRIDE = 1 << 29
_SOURCE_LINK_ADDRESS = 1
_TARGET_LINK_ADDRESS = 2
_HOP_LIMIT = 255
"""Neighbour discovery is dropped by everybody with any other (RFC 4861, 7.1): it never crossed a
router."""


def announcement(address: Address, mac: bytes) -> tuple[bytes, ...]:
    """The frames that tell a segment that ``mac`` has ``address`` now, in the order to send
    them."""
    if isinstance(address, IPv4Address):
        return gratuitous_request(address, mac), gratuitous_reply(address, mac)
    return (unsolicited_advertisement(address, mac),)


def solicitation(target: Address, mac: bytes, source: Address) -> bytes:
    """The question whether ``target`` is there, from an address of this node."""
    if isinstance(target, IPv4Address) and isinstance(source, IPv4Address):
        return arp_request(target, mac, source)
    if isinstance(target, IPv6Address) and isinstance(source, IPv6Address):
        return neighbour_solicitation(target, mac, source)
    raise ValueError(f"source: wanted an address of {target}'s family, found {source}")


# --- ARP ------------------------------------------------------------------------------------------


def gratuitous_request(address: IPv4Address, mac: bytes) -> bytes:
    """An announcement in request form (RFC 5227, 3): SPA = TPA, THA 0."""
    return _arp(_REQUEST, mac, address, NO_MAC, address)


def gratuitous_reply(address: IPv4Address, mac: bytes) -> bytes:
    """An announcement in reply form: SPA = TPA and **THA = SHA**.

    Linux takes a reply for gratuitous only where the target hardware address is the sender's own
    (net/ipv4/arp.c, arp_is_garp); with ff:ff:ff:ff:ff:ff there it is ignored within the neighbour's
    lock time.
    """
    return _arp(_REPLY, mac, address, mac, address)


def arp_request(target: IPv4Address, mac: bytes, source: IPv4Address) -> bytes:
    """Who has ``target``? Tell ``source``, which is an address of the asking device."""
    return _arp(_REQUEST, mac, source, NO_MAC, target)


def arp_probe(target: IPv4Address, mac: bytes) -> bytes:
    """Does anybody have ``target``? It touches no cache, since it claims nothing (RFC 5227,
    2.1.1)."""
    return _arp(_REQUEST, mac, ANY4, NO_MAC, target)


def _arp(
    operation: int,
    mac: bytes,
    sender: IPv4Address,
    target_mac: bytes,
    target: IPv4Address,
) -> bytes:
    return _ETHERNET.pack(BROADCAST, mac, _ETHERTYPE_ARP) + _ARP.pack(
        1, 0x0800, 6, 4, operation, mac, sender.packed, target_mac, target.packed
    )


# --- Neighbour discovery --------------------------------------------------------------------------


def unsolicited_advertisement(address: IPv6Address, mac: bytes) -> bytes:
    """An NA to all nodes: S=0, O=1 (so that it replaces what a cache holds), with TLLAO."""
    return _neighbour(
        _ADVERTISEMENT, _OVERRIDE, address, ALL_NODES, mac, address, _TARGET_LINK_ADDRESS
    )


def neighbour_solicitation(target: IPv6Address, mac: bytes, source: IPv6Address) -> bytes:
    """Who has ``target``? To its solicited-node group, with SLLAO."""
    return _neighbour(
        _SOLICITATION, 0, source, solicited_node(target), mac, target, _SOURCE_LINK_ADDRESS
    )


def duplicate_probe(target: IPv6Address, mac: bytes) -> bytes:
    """Does anybody have ``target``? From ::, without SLLAO (RFC 4861, 4.3; RFC 4862, 5.4.2)."""
    return _neighbour(_SOLICITATION, 0, ANY6, solicited_node(target), mac, target, None)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast group that solicitations for ``address`` go to (RFC 4291, 2.7.1)."""
    return IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + address.packed[13:])


def _neighbour(
    kind: int,
    flags: int,
    source: IPv6Address,
    destination: IPv6Address,
    mac: bytes,
    target: IPv6Address,
    option: int | None,
) -> bytes:
    link = b"" if option is None else _LINK_OPTION.pack(option, 1, mac)
    blank = _NEIGHBOUR.pack(kind, 0, 0, flags, target.packed) + link
    checksum = _icmpv6_checksum(source, destination, blank)
    return (
        _ETHERNET.pack(b"\x33\x33" + destination.packed[12:], mac, _ETHERTYPE_IPV6)
        + _IPV6.pack(6 << 28, len(blank), _ICMPV6, _HOP_LIMIT, source.packed, destination.packed)
        + blank[:2]
        + checksum.to_bytes(2, "big")
        + blank[4:]
    )


def _icmpv6_checksum(source: IPv6Address, destination: IPv6Address, message: bytes) -> int:
    """The one's complement of the sum over pseudo-header and message (RFC 4443, 2.3).

    Ones' complement sums are the same modulo 0xffff, and a message of ours is never all zeros, so
    the remainder is the folded sum.
    """
    summed = (
        source.packed
        + destination.packed
        + struct.pack("!II", len(message), _ICMPV6)
        + message
        + bytes(len(message) % 2)
    )
    return 0xFFFF - (sum(struct.unpack(f"!{len(summed) // 2}H", summed)) % 0xFFFF or 0xFFFF)
