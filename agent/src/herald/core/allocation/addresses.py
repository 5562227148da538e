# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Addresses and blocks as people write them: read, or refused with what was wanted and what was found.

Every function is total: whatever the text, there is an answer and no exception. A text is taken only if it
has one meaning (RFC 6943, section 3.1.1 tells what comes of guessing): zones, leading zeros, IPv4-mapped
IPv6, netmasks and host bits are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from herald.core.allocation.ranges import Range, Version

if TYPE_CHECKING:
    from herald.core.model import Address, Block

_SHOWN_MAX = 64
_TEXT_MAX = 64
"""No address or CIDR is longer (45 characters and a prefix length)."""


def _taboo(*networks: str) -> tuple[tuple[str, Range], ...]:
    whole = map(ip_network, networks)
    return tuple((str(each), Range(int(each[0]), int(each[-1]))) for each in whole)


_NEVER: dict[Version, tuple[tuple[str, Range], ...]] = {
    4: _taboo("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"),
    6: _taboo("::/127", "::ffff:0:0/96", "ff00::/8"),
}
"""What no host on a segment can have: unspecified, loopback, multicast, broadcast, IPv4-mapped."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a text was refused: what was wanted, and what was found."""

    why: str


@dataclass(frozen=True, slots=True)
class Span:
    """A block that was understood."""

    version: Version
    range: Range
    prefix_length: int | None = None
    """Of a ``cidr``; None for a range."""


def shown(text: str) -> str:
    """Quoted, escaped and cut: whatever somebody wrote can stand in a message, and look-alikes show."""
    return ascii(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")


def family(version: int) -> str:
    return f"IPv{version}"


def make_address(version: Version, number: int) -> Address:
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def spelled(version: Version, addresses: Range) -> str:
    first = make_address(version, addresses.first)
    if addresses.size == 1:
        return str(first)
    return f"{first} to {make_address(version, addresses.last)}"


def parse_address(text: str) -> Address | Malformed:
    """One unicast address, in any spelling that has one meaning only."""
    try:
        address = ip_address(text) if len(text) <= _TEXT_MAX else None
    except ValueError:
        address = None
    if address is None:
        return Malformed(f"wanted an IPv4 or IPv6 address, found {shown(text)}")
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return Malformed(f"wanted an address without a zone, found {shown(text)}")
        if address.ipv4_mapped is not None:
            return Malformed(f"wanted {address.ipv4_mapped}, found IPv4-mapped {shown(text)}")
    number = int(address)
    return _never(address.version, Range(number, number)) or address


def parse_block(block: Block) -> Span | Malformed:
    """A block of a pool: ``cidr``, or ``start`` with optional ``stop``."""
    if block.cidr and (block.start or block.stop):
        found = f"cidr {shown(block.cidr)} and start {shown(block.start)}"
        return Malformed(f"wanted either cidr or start and stop, found {found}")
    if not (block.cidr or block.start):
        return Malformed("wanted cidr or start, found neither")
    span = _parse_cidr(block.cidr) if block.cidr else _parse_range(block)
    if isinstance(span, Malformed):
        return span
    return _never(span.version, span.range) or span


def _parse_cidr(text: str) -> Span | Malformed:
    wanted = f"cidr: wanted a network such as 192.0.2.0/24 or 2001:db8::/64, found {shown(text)}"
    head, _, tail = text.partition("/")
    try:
        address = ip_address(head) if len(head) <= _TEXT_MAX else None
    except ValueError:
        address = None
    if address is None or (isinstance(address, IPv6Address) and address.scope_id is not None):
        return Malformed(wanted)
    length = _prefix_length(tail)
    if length is None or length > address.max_prefixlen:
        return Malformed(wanted)
    host_bits = (1 << (address.max_prefixlen - length)) - 1
    first = int(address) & ~host_bits
    if first != int(address):
        network = f"{make_address(address.version, first)}/{length}"
        return Malformed(f"cidr: wanted the network {network}, found host bits in {shown(text)}")
    return Span(address.version, Range(first, first | host_bits), length)


def _parse_range(block: Block) -> Span | Malformed:
    start = parse_address(block.start)
    if isinstance(start, Malformed):
        return Malformed(f"start: {start.why}")
    stop = parse_address(block.stop) if block.stop else start
    if isinstance(stop, Malformed):
        return Malformed(f"stop: {stop.why}")
    if stop.version != start.version:
        return Malformed(f"stop: wanted {family(start.version)} like start {start}, found {stop}")
    if int(stop) < int(start):
        return Malformed(f"stop: wanted {start} or above, found {stop}")
    return Span(start.version, Range(int(start), int(stop)))


def _prefix_length(text: str) -> int | None:
    """A prefix length as everybody writes it: one to three ASCII digits, no sign, no leading zero."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3) or text != str(int(text)):
        return None
    return int(text)


def _never(version: Version, addresses: Range) -> Malformed | None:
    for network, taboo in _NEVER[version]:
        if taboo.first <= addresses.last and addresses.first <= taboo.last:
            found = spelled(version, addresses)
            return Malformed(f"wanted unicast addresses, found {found}, which overlaps {network}")
    return None
