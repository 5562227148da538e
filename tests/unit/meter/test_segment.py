# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames on the wire: what is asked, and what each kind of answer is taken for.

The expected bytes are written out by hand from RFC 826 and RFC 4861.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from segment import Frame, identity, parse, request

VIP4, VIP6 = IPv4Address("192.168.77.200"), IPv6Address("fd77:77::200")
OTHER4 = IPv4Address("192.168.77.202")
HEARD = frozenset(address.packed for address in (VIP4, VIP6, OTHER4))
NODE, CLIENT = "02:77:00:00:00:12", "02:77:00:00:00:09"


def octets(*words: str) -> bytes:
    return b"".join(bytes.fromhex(word.replace(":", "")) for word in words)


def arp(
    operation: int, sha: str, spa: str, tpa: str, to: str = CLIENT, head: str = "0001080006040"
):
    addresses = (IPv4Address(spa).packed.hex(), IPv4Address(tpa).packed.hex())
    return octets(to, NODE, "0806", f"{head}00{operation}", sha, addresses[0], to, addresses[1])


def icmpv6(kind: str, flags: str, to: str = CLIENT, options: str = "", hops: str = "ff"):
    length = f"{24 + len(octets(options)):04x}"
    addresses = ("fd770077" + "0" * 22 + "12", "fd770077" + "0" * 22 + "09")
    packet = octets("60000000", length, "3a", hops, *addresses)
    message = octets(kind, "00", "0000", flags, VIP6.packed.hex(), options)
    return octets(to, NODE, "86dd") + packet + message


def test_an_arp_request_asks_everybody_from_a_made_up_neighbour() -> None:
    assert request(VIP4, 258) == octets(
        "ff:ff:ff:ff:ff:ff 02:68:65:72:00:02 0806".replace(" ", ""),
        "0001 0800 06 04 0001".replace(" ", ""),
        "02:68:65:72:00:02 c0000201".replace(" ", ""),
        "000000000000 c0a84dc8".replace(" ", ""),
    )


def test_a_solicitation_asks_the_solicited_node_group() -> None:
    assert request(VIP6, 7) == octets(
        "33:33:ff:00:02:00 02:68:65:72:00:07 86dd".replace(" ", ""),
        "60000000 0020 3a ff".replace(" ", ""),
        "fe80000000000000026865fffe720000",
        "ff0200000000000000000001ff000200",
        "87 00 aa73 00000000".replace(" ", ""),
        "fd770077000000000000000000000200",
        "01 01 026865720007".replace(" ", ""),
    )


def test_identities_are_local_unicast_and_come_back_after_256() -> None:
    assert identity(0)[0] & 0b11 == 0b10
    assert len({identity(sequence) for sequence in range(300)}) == 256


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            arp(2, NODE, "192.168.77.200", "192.168.77.9"), ("reply", NODE, CLIENT), id="reply"
        ),
        pytest.param(
            arp(2, "02:00:00:00:00:99", "192.168.77.200", "192.168.77.9"),
            ("reply", "02:00:00:00:00:99", CLIENT),
            id="reply that gives another MAC than its sender's",
        ),
        pytest.param(
            arp(1, NODE, "192.168.77.200", "192.168.77.200"), ("garp", NODE, ""), id="GARP request"
        ),
        pytest.param(
            arp(2, NODE, "192.168.77.200", "192.168.77.200"), ("garp", NODE, ""), id="GARP reply"
        ),
        pytest.param(
            arp(2, NODE, "192.168.77.200", "192.168.77.9", to="ff:ff:ff:ff:ff:ff"),
            ("garp", NODE, ""),
            id="reply to everybody",
        ),
        pytest.param(
            arp(1, NODE, "192.168.77.200", "192.168.77.9"), ("claim", NODE, ""), id="used to ask"
        ),
        pytest.param(
            arp(1, NODE, "192.168.77.12", "192.168.77.200"), ("request", NODE, ""), id="request"
        ),
        pytest.param(arp(1, NODE, "0.0.0.0", "192.168.77.200"), ("request", NODE, ""), id="probe"),
        pytest.param(arp(2, NODE, "192.168.77.201", "192.168.77.9"), None, id="another's reply"),
        pytest.param(arp(1, NODE, "192.168.77.9", "192.168.77.201"), None, id="for another"),
        pytest.param(
            arp(2, NODE, "192.168.77.200", "192.168.77.9", head="0006080006040"),
            None,
            id="not Ethernet",
        ),
    ],
)
def test_arp(data: bytes, expected: tuple[str, str, str] | None) -> None:
    assert parse(data, HEARD, 5) == (Frame(5, *expected, VIP4.packed) if expected else None)


TLLAO = "0201027700000099"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(icmpv6("88", "60000000"), ("na", NODE, CLIENT), id="NA by its sender's MAC"),
        pytest.param(
            icmpv6("88", "60000000", options=TLLAO),
            ("na", "02:77:00:00:00:99", CLIENT),
            id="NA with a TLLAO",
        ),
        pytest.param(
            icmpv6("88", "20000000", to="33:33:00:00:00:01", options=TLLAO),
            ("unsolicited-na", "02:77:00:00:00:99", ""),
            id="announcement",
        ),
        pytest.param(
            icmpv6("88", "60000000", to="33:33:00:00:00:01"),
            ("unsolicited-na", NODE, ""),
            id="solicited, to everybody: an announcement",
        ),
        pytest.param(icmpv6("87", "00000000"), ("request", NODE, ""), id="solicitation"),
        pytest.param(icmpv6("88", "60000000", hops="40"), None, id="from beyond the link"),
        pytest.param(icmpv6("86", "60000000"), None, id="another message"),
    ],
)
def test_icmpv6(data: bytes, expected: tuple[str, str, str] | None) -> None:
    assert parse(data, HEARD, 5) == (Frame(5, *expected, VIP6.packed) if expected else None)


@pytest.mark.parametrize(
    "data", [arp(2, NODE, "192.168.77.200", "192.168.77.9"), icmpv6("88", "60000000")]
)
def test_a_frame_cut_short_says_nothing(data: bytes) -> None:
    assert parse(data, HEARD, 0) is not None
    assert [parse(data[:length], HEARD, 0) for length in range(len(data))] == [None] * len(data)


def test_a_frame_is_about_the_address_whose_owner_it_names() -> None:
    asked_by_one_for_another = arp(1, NODE, "192.168.77.202", "192.168.77.200")
    assert parse(asked_by_one_for_another, HEARD, 5) == Frame(5, "claim", NODE, "", OTHER4.packed)


def test_a_tllao_cut_short_is_not_read() -> None:
    whole = icmpv6("88", "60000000", options=TLLAO)
    cut = [parse(whole[:length], HEARD, 0) for length in range(len(whole) - 8, len(whole))]
    assert {frame.mac for frame in cut if frame} == {NODE}
