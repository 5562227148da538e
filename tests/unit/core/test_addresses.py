# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Addresses and blocks that people write are understood in one way, or refused with what was found."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herald.core.allocation.addresses import Malformed, Span, parse_address, parse_block
from herald.core.allocation.ranges import Range
from herald.core.model import Block

TAKEN = [
    ("192.0.2.1", "192.0.2.1"),
    ("10.255.255.255", "10.255.255.255"),
    ("2001:db8::a", "2001:db8::a"),
    ("2001:DB8::A", "2001:db8::a"),
    ("2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a"),
    ("2001:db8:0:0::a", "2001:db8::a"),
    ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
]


@pytest.mark.parametrize(("text", "address"), TAKEN)
def test_an_address_in_any_spelling(text: str, address: str) -> None:
    assert parse_address(text) == ip_address(address)


@given(st.ip_addresses(v=6), st.data())
def test_every_spelling_of_an_ipv6_address_is_that_address(
    address: IPv6Address, data: st.DataObject
) -> None:
    """Either case, any leading zeros, ``::`` for any run of zeros, the last 32 bits as IPv4 (RFC 4291, 2.2)."""
    groups = [
        data.draw(st.sampled_from((f"{group:x}", f"{group:X}", f"{group:04x}", f"{group:04X}")))
        for group in (int(address) >> shift & 0xFFFF for shift in range(112, -16, -16))
    ]
    if data.draw(st.booleans()):
        groups[6:] = [str(IPv4Address(int(address) & 0xFFFFFFFF))]
    zeros = [
        (first, last)
        for first in range(len(groups))
        for last in range(first + 1, len(groups) + 1)
        if all(group.strip("0") == "" for group in groups[first:last])
    ]
    text = ":".join(groups)
    if zeros and data.draw(st.booleans()):
        first, last = data.draw(st.sampled_from(zeros))
        text = ":".join(groups[:first]) + "::" + ":".join(groups[last:])
    plain = parse_address(str(address))
    if isinstance(plain, Malformed):
        assert isinstance(parse_address(text), Malformed)
    else:
        assert parse_address(text) == address


REFUSED = [
    ("", "wanted an IPv4 or IPv6 address, found ''"),
    (" 192.0.2.1", "wanted an IPv4 or IPv6 address"),
    ("192.0.2.1\n", "wanted an IPv4 or IPv6 address"),
    ("192.0.2", "wanted an IPv4 or IPv6 address"),
    ("192.0.2.256", "wanted an IPv4 or IPv6 address"),
    ("192.0.2.-1", "wanted an IPv4 or IPv6 address"),
    ("192.000.002.001", "wanted an IPv4 or IPv6 address"),
    ("192.0.2.１", "wanted an IPv4 or IPv6 address, found '192.0.2.\\uff11'"),
    ("192.0.2.١", "wanted an IPv4 or IPv6 address, found '192.0.2.\\u0661'"),
    ("192.0.2.1/32", "wanted an IPv4 or IPv6 address"),
    ("0xc0000201", "wanted an IPv4 or IPv6 address"),
    ("3221225985", "wanted an IPv4 or IPv6 address"),
    ("2001:db8:::1", "wanted an IPv4 or IPv6 address"),
    ("2001:db8::1::2", "wanted an IPv4 or IPv6 address"),
    ("2001:db8::12345", "wanted an IPv4 or IPv6 address"),
    ("[2001:db8::1]", "wanted an IPv4 or IPv6 address"),
    ("fe80::1%eth0", "wanted an address without a zone, found 'fe80::1%eth0'"),
    ("2001:db8::1%", "wanted an IPv4 or IPv6 address"),
    ("::ffff:192.0.2.1", "wanted 192.0.2.1, found IPv4-mapped '::ffff:192.0.2.1'"),
    ("::ffff:c000:201", "wanted 192.0.2.1, found IPv4-mapped '::ffff:c000:201'"),
    ("0.0.0.0", "wanted unicast addresses, found 0.0.0.0, which overlaps 0.0.0.0/8"),
    ("127.1.2.3", "wanted unicast addresses"),
    ("224.0.0.1", "wanted unicast addresses"),
    ("255.255.255.255", "wanted unicast addresses"),
    ("::", "wanted unicast addresses"),
    ("::1", "wanted unicast addresses"),
    ("ff02::1", "wanted unicast addresses"),
    ("9" * 100_000, "wanted an IPv4 or IPv6 address, found '999"),
    ("\ud800", "wanted an IPv4 or IPv6 address, found '\\ud800'"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[ascii(text[:40]) for text, _ in REFUSED])
def test_an_address_that_is_refused(text: str, why: str) -> None:
    found = parse_address(text)
    assert isinstance(found, Malformed)
    assert found.why.startswith(why)
    assert len(found.why) < 300


BLOCKS = [
    (Block(cidr="192.0.2.0/30"), 4, "192.0.2.0", "192.0.2.3", 30),
    (Block(cidr="192.0.2.1/32"), 4, "192.0.2.1", "192.0.2.1", 32),
    (Block(cidr="10.0.0.0/8"), 4, "10.0.0.0", "10.255.255.255", 8),
    (Block(cidr="2001:DB8::/126"), 6, "2001:db8::", "2001:db8::3", 126),
    (Block(cidr="fd00::/28"), 6, "fd00::", "fd00:f:ffff:ffff:ffff:ffff:ffff:ffff", 28),
    (Block(start="192.0.2.9"), 4, "192.0.2.9", "192.0.2.9", None),
    (Block(start="192.0.2.9", stop="192.0.3.1"), 4, "192.0.2.9", "192.0.3.1", None),
    (Block(start="2001:db8::1", stop="2001:db8::ff"), 6, "2001:db8::1", "2001:db8::ff", None),
]


@pytest.mark.parametrize(("block", "version", "first", "last", "length"), BLOCKS)
def test_a_block(block: Block, version: int, first: str, last: str, length: int | None) -> None:
    span = Range(int(ip_address(first)), int(ip_address(last)))
    assert parse_block(block) == Span(version, span, length)


REFUSED_BLOCKS = [
    (Block(), "wanted cidr or start, found neither"),
    (Block(stop="192.0.2.1"), "wanted cidr or start, found neither"),
    (
        Block(cidr="192.0.2.0/24", start="192.0.2.1"),
        "wanted either cidr or start and stop, found cidr",
    ),
    (Block(cidr="192.0.2.0"), "cidr: wanted a network such as 192.0.2.0/24"),
    (Block(cidr="192.0.2.0/"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/33"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/-1"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/024"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/²"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/255.255.255.0"), "cidr: wanted a network"),
    (Block(cidr="192.0.2.0/24/24"), "cidr: wanted a network"),
    (Block(cidr="2001:db8::%eth0/64"), "cidr: wanted a network"),
    (
        Block(cidr="192.0.2.5/24"),
        "cidr: wanted the network 192.0.2.0/24, found host bits in '192.0.2.5/24'",
    ),
    (Block(cidr="0.0.0.0/0"), "wanted unicast addresses, found 0.0.0.0 to 255.255.255.255"),
    (Block(cidr="224.0.0.0/8"), "wanted unicast addresses"),
    (Block(cidr="::ffff:192.0.2.0/120"), "wanted unicast addresses"),
    (Block(start="nonsense"), "start: wanted an IPv4 or IPv6 address, found 'nonsense'"),
    (Block(start="192.0.2.1", stop="nonsense"), "stop: wanted an IPv4 or IPv6 address"),
    (
        Block(start="192.0.2.9", stop="192.0.2.1"),
        "stop: wanted 192.0.2.9 or above, found 192.0.2.1",
    ),
    (Block(start="2001:db8::9", stop="2001:db8::1"), "stop: wanted 2001:db8::9 or above"),
    (Block(start="192.0.2.1", stop="2001:db8::1"), "stop: wanted IPv4 like start 192.0.2.1"),
    (Block(start="10.0.0.1", stop="230.0.0.1"), "stop: wanted unicast addresses"),
    (
        Block(start="10.0.0.1", stop="192.0.2.1"),
        "wanted unicast addresses, found 10.0.0.1 to 192.0.2.1",
    ),
    (Block(start="::ffff:192.0.2.1"), "start: wanted 192.0.2.1, found IPv4-mapped"),
]


@pytest.mark.parametrize(("block", "why"), REFUSED_BLOCKS)
def test_a_block_that_is_refused(block: Block, why: str) -> None:
    found = parse_block(block)
    assert isinstance(found, Malformed)
    assert found.why.startswith(why)


almost = st.text(alphabet="0123456789abcdefABCDEF.:/%-x １", max_size=45)
texts = st.one_of(
    almost,
    st.text(max_size=80),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda each: each.exploded),
)


@given(texts)
def test_parsing_is_total(text: str) -> None:
    """An address, which reads the same again, or a refusal in printable ASCII."""
    found = parse_address(text)
    if isinstance(found, Malformed):
        assert found.why.isascii()
        assert found.why.isprintable()
    else:
        assert isinstance(found, IPv4Address | IPv6Address)
        assert parse_address(str(found)) == found


@given(st.builds(Block, texts, texts, texts))
def test_parsing_blocks_is_total(block: Block) -> None:
    found = parse_block(block)
    assert isinstance(found, Malformed | Span)
    if isinstance(found, Span):
        assert found.range.first <= found.range.last
