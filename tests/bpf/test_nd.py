# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""NDP: what is answered, byte for byte, what is passed, and what counts as a conflict."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from tests.bpf.frames import (
    ALL_NODES,
    ALL_NODES_MAC,
    BROADCAST,
    GROUP6,
    GROUP_MAC,
    NO_MAC,
    OTHER6,
    OTHER_MAC,
    OWN_MAC,
    PEER6,
    PEER_MAC,
    SECOND_VIP6,
    VIP6,
    dad_answer,
    na,
    na_answer,
    ns,
    sllao,
    solicited_node,
    tllao,
)
from tests.bpf.kernel import Kernel
from tests.bpf.rules import asked, claimed, conflicts, deadlines, defended, truncated
from tests.bpf.table import FIRST_ANSWER, Row, answered, check

CLAIM = claimed(VIP6)
ADVERTISED, DEFENDED = asked(VIP6), defended(VIP6)

SECOND_GROUP, SECOND_GROUP_MAC = solicited_node(SECOND_VIP6)


def nonce(units: int = 1) -> Packet:
    """Enhanced DAD's option (RFC 7527), or one that is longer."""
    return ICMPv6NDOptUnknown(type=14, len=units, data=bytes(range(1, 7)) + bytes(8 * units - 8))


def dad(*options: Packet, **fields: object) -> Packet:
    return ns(*options, **{"source": "::"} | fields)


def patched(frame: Packet, at: int, value: bytes) -> bytes:
    """Other bytes in the place of some, the checksum left as it is."""
    data = bytes(frame)
    return data[:at] + value + data[at + len(value) :]


ASKED = [
    Row("multicast, with SLLAO", ns(sllao()), na_answer(), **ADVERTISED),
    Row("multicast, without SLLAO", ns(), na_answer(), **ADVERTISED),
    Row("unicast, with SLLAO", ns(sllao(), dst=OWN_MAC, dest=VIP6), na_answer(), **ADVERTISED),
    Row("unicast, without SLLAO", ns(dst=OWN_MAC, dest=VIP6), na_answer(), **ADVERTISED),
    Row(
        "multicast sent as unicast by an access point",
        ns(sllao(), dst=OWN_MAC),
        na_answer(),
        **ADVERTISED,
    ),
    Row("SLLAO and nonce", ns(sllao(), nonce()), na_answer(), **ADVERTISED),
    Row("nonce and SLLAO", ns(nonce(), sllao()), na_answer(), **ADVERTISED),
    Row("a long unknown option, then SLLAO", ns(nonce(6), sllao()), na_answer(), **ADVERTISED),
    Row("as many options as are read", ns(nonce(63), sllao()), na_answer(), **ADVERTISED),
    Row("an MTU option", ns(ICMPv6NDOptMTU(mtu=1500)), na_answer(), **ADVERTISED),
    Row("SLLAO twice", ns(sllao(OTHER_MAC), sllao()), na_answer(), **ADVERTISED),
    Row(
        "SLLAO of another station: to the Ethernet source",
        ns(sllao(OTHER_MAC)),
        na_answer(),
        **ADVERTISED,
    ),
    Row(
        "a link-local asker",
        ns(sllao(), source="fe80::99"),
        na_answer(dest="fe80::99"),
        **ADVERTISED,
    ),
    Row(
        "traffic class and flow label",
        patched(ns(sllao()), 14, b"\x6a\xbc\xde\xf0"),
        na_answer(),
        **ADVERTISED,
    ),
    Row(
        "trailing bytes behind the message", bytes(ns(sllao())) + b"tail", na_answer(), **ADVERTISED
    ),
    Row("reserved bits are ignored", ns(sllao(), res=0x12345678), na_answer(), **ADVERTISED),
    Row(
        "second of two addresses",
        ns(sllao(), dst=SECOND_GROUP_MAC, dest=SECOND_GROUP, target=SECOND_VIP6),
        na_answer(target=SECOND_VIP6),
        vips=(VIP6, SECOND_VIP6),
        seen=answered(SECOND_VIP6),
        events=(FIRST_ANSWER,),
    ),
    Row("duplicate address detection: defended, to all", dad(), dad_answer(), **DEFENDED),
    Row("the same with a nonce (RFC 7527)", dad(nonce()), dad_answer(), **DEFENDED),
    Row("the same sent as unicast", dad(dst=OWN_MAC), dad_answer(), **DEFENDED),
]

PASSED = [
    Row("another address", ns(sllao(), target=OTHER6)),
    Row("another address of the same group", ns(sllao(), target="fd00:78::abcd:10")),
    Row("no entries at all", ns(sllao()), vips=()),
    Row("unicast to another MAC", ns(sllao(), dst=OTHER_MAC, dest=VIP6)),
    Row("group, to another MAC", ns(sllao(), dst=OTHER_MAC)),
    Row("group, to another group's MAC", ns(sllao(), dst="33:33:ff:cd:00:11")),
    Row("group, to the all-nodes MAC", ns(sllao(), dst=ALL_NODES_MAC)),
    Row("group, Ethernet broadcast", ns(sllao(), dst=BROADCAST)),
    Row("the address itself, to the group's MAC", ns(sllao(), dest=VIP6)),
    Row("all nodes", ns(sllao(), dst=ALL_NODES_MAC, dest=ALL_NODES)),
    Row("another solicited-node group", ns(sllao(), dest=SECOND_GROUP)),
    Row("to another unicast address of mine", ns(sllao(), dst=OWN_MAC, dest=OTHER6)),
    Row("hop limit 254", ns(sllao(), hlim=254)),
    Row("hop limit 0", ns(sllao(), hlim=0)),
    Row("hop limit 64", ns(sllao(), hlim=64)),
    Row("checksum wrong by one", ns(sllao(), cksum=1)),
    Row("checksum zero", patched(ns(sllao()), 56, b"\0\0")),
    Row("one bit of an option flipped", patched(ns(sllao()), 85, b"\x98")),
    Row("one bit of the reserved field flipped", patched(ns(sllao()), 58, b"\x01")),
    Row("checksum of another source", patched(ns(sllao()), 37, b"\x98")),
    Row("code 1", ns(sllao(), code=1)),
    Row("IP version 4", patched(ns(sllao()), 14, b"\x40")),
    Row("IP version 0", patched(ns(sllao()), 14, b"\x00")),
    Row("Ethernet type IPv4", patched(ns(sllao()), 12, b"\x08\x00")),
    Row(
        "inside a hop-by-hop header",
        Ether(src=PEER_MAC, dst=GROUP_MAC)
        / IPv6(src=PEER6, dst=GROUP6, hlim=255)
        / IPv6ExtHdrHopByHop()
        / ICMPv6ND_NS(tgt=VIP6),
    ),
    Row("payload length 16", patched(ns(sllao()), 18, b"\x00\x10")),
    Row("payload length beyond the frame", patched(ns(sllao()), 18, b"\x00\x28")),
    Row("payload length 65535", patched(ns(sllao()), 18, b"\xff\xff")),
    Row("payload length no multiple of 8", patched(ns(sllao()), 18, b"\x00\x1c")),
    Row("an option of length 0", ns(sllao(), Raw(bytes([14, 0, 0, 0, 0, 0, 0, 0])))),
    Row("a first option of length 0", ns(Raw(bytes([1, 0, 2, 0, 0, 0, 0, 99])))),
    Row("an option that overruns", ns(Raw(bytes([1, 2, 2, 0, 0, 0, 0, 99])))),
    Row("an option that overruns by far", ns(Raw(bytes([14, 255, 2, 0, 0, 0, 0, 99])))),
    Row("more options than are read", ns(nonce(64), sllao())),
    Row("source multicast", ns(sllao(), source="ff02::2")),
    Row("target multicast", ns(sllao(), target="ff02::1:ffcd:10")),
    Row("from a multicast Ethernet source", ns(sllao(), src="33:33:00:00:00:02")),
    Row("from the all-zero Ethernet source", ns(sllao(), src=NO_MAC)),
    Row("SLLAO zero", ns(sllao(NO_MAC))),
    Row("SLLAO broadcast", ns(sllao(BROADCAST))),
    Row("DAD with SLLAO", dad(sllao())),
    Row("DAD to the address itself", dad(dst=OWN_MAC, dest=VIP6)),
    Row("DAD to all nodes", dad(dst=ALL_NODES_MAC, dest=ALL_NODES)),
    Row("DAD, hop limit 254", dad(hlim=254)),
    Row("my own solicitation, come back", ns(sllao(OWN_MAC), src=OWN_MAC)),
    Row("my own DAD, come back", dad(src=OWN_MAC)),
    Row("my own advertisement, come back", na(tllao(OWN_MAC), src=OWN_MAC)),
    Row("my own advertisement, by an access point", na(tllao(OWN_MAC), src=OTHER_MAC)),
    Row("a router solicitation", patched(ns(sllao()), 54, b"\x85")),
    Row("a redirect", patched(ns(sllao()), 54, b"\x89")),
]

CONFLICTS = [
    Row(
        "foreign unsolicited advertisement",
        na(tllao()),
        **CLAIM,
    ),
    Row(
        "without override",
        na(tllao(), override=0),
        **CLAIM,
    ),
    Row(
        "without TLLAO",
        na(),
        **CLAIM,
    ),
    Row(
        "TLLAO is what counts, not the Ethernet source",
        na(tllao(), src=PEER_MAC),
        **CLAIM,
    ),
    Row(
        "from another source address",
        na(tllao(), source=OTHER6),
        **CLAIM,
    ),
    Row(
        "solicited, to me",
        na(tllao(), dst=OWN_MAC, dest=OTHER6, solicited=1),
        **CLAIM,
    ),
    Row(
        "solicited, to somebody else",
        na(tllao(), dst=PEER_MAC, dest=PEER6, solicited=1),
        **CLAIM,
    ),
    Row(
        "a solicitation by somebody who thinks to have the VIP",
        ns(sllao(OTHER_MAC), src=OTHER_MAC, source=VIP6, target=OTHER6),
        **CLAIM,
    ),
    Row(
        "such a solicitation without SLLAO",
        ns(src=OTHER_MAC, source=VIP6, target=OTHER6),
        **CLAIM,
    ),
    Row("of an address that is not mine", na(tllao(), source=OTHER6, target=OTHER6)),
    Row("hop limit 254", na(tllao(), hlim=254)),
    Row("checksum wrong", na(tllao(), cksum=1)),
    Row("code 1", na(tllao(), code=1)),
    Row("solicited and multicast (RFC 4861, 7.1.2)", na(tllao(), solicited=1)),
    Row("target multicast", na(tllao(), target="ff02::1")),
    Row("an option of length 0", na(Raw(bytes([2, 0, 2, 0, 0, 0, 0, 99])))),
    *conflicts(VIP6, na(tllao())),
]

DEADLINES = deadlines(VIP6, ns(sllao()), na_answer(), dad(), dad_answer())

TRUNCATED = [
    *truncated("solicitation", ns(sllao()), 54),
    *truncated("foreign advertisement", na(tllao()), 54),
]

ROWS = ASKED + PASSED + CONFLICTS + DEADLINES + TRUNCATED


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_nd(kernel: Kernel, row: Row) -> None:
    check(kernel, row)
