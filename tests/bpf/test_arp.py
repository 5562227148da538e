# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""ARP: what is answered, byte for byte, what is passed, and what counts as a conflict."""

from __future__ import annotations

import pytest
from scapy.packet import Raw
from tests.bpf.frames import (
    BROADCAST,
    NO_MAC,
    OTHER4,
    OTHER_MAC,
    OWN_MAC,
    PEER4,
    PEER_MAC,
    SECOND_VIP4,
    VIP4,
    arp,
    arp_reply,
)
from tests.bpf.kernel import Kernel
from tests.bpf.rules import asked, claimed, conflicts, deadlines, defended, lost, truncated
from tests.bpf.table import FIRST_ANSWER, HOLDING, Row, answered, check

CLAIM, CLAIM_OF_PEER = claimed(VIP4), claimed(VIP4, by=PEER_MAC)
REPLY, PROBED = asked(VIP4), defended(VIP4)
GARP_REQUEST = arp(1, src=OTHER_MAC, spa=VIP4, tpa=VIP4)
GARP_REPLY = arp(2, src=OTHER_MAC, spa=VIP4, tha=OTHER_MAC, tpa=VIP4)

ASKED = [
    Row("broadcast request", arp(), arp_reply(), **REPLY),
    Row("unicast request to my MAC", arp(dst=OWN_MAC), arp_reply(), **REPLY),
    Row("request with THA of the target filled in", arp(tha=OWN_MAC), arp_reply(), **REPLY),
    Row("request with THA broadcast", arp(tha=BROADCAST), arp_reply(), **REPLY),
    Row("request padded to 60 bytes", arp() / Raw(bytes(18)), arp_reply(), **REPLY),
    Row("request with a long tail", arp() / Raw(b"x" * 1400), arp_reply(), **REPLY),
    Row(
        "request from a station behind a proxy: to the Ethernet source, for SHA",
        arp(src=PEER_MAC, sha=OTHER_MAC),
        arp_reply(dst=PEER_MAC, tha=OTHER_MAC),
        **REPLY,
    ),
    Row("request from another subnet", arp(spa="10.1.2.3"), arp_reply(tpa="10.1.2.3"), **REPLY),
    Row(
        "second of two addresses",
        arp(tpa=SECOND_VIP4),
        arp_reply(spa=SECOND_VIP4),
        vips=(VIP4, SECOND_VIP4),
        seen=answered(SECOND_VIP4),
        events=(FIRST_ANSWER,),
    ),
    Row("probe (RFC 5227): defended", arp(spa="0.0.0.0"), arp_reply(tpa="0.0.0.0"), **PROBED),
    Row("probe, unicast", arp(dst=OWN_MAC, spa="0.0.0.0"), arp_reply(tpa="0.0.0.0"), **PROBED),
]

PASSED = [
    Row("another address", arp(tpa=OTHER4)),
    Row("no entries at all", arp(), vips=()),
    Row("VIP with a byte more", arp(tpa="192.0.2.110")),
    Row("unicast to another MAC", arp(dst=OTHER_MAC)),
    Row("to a multicast MAC", arp(dst="01:00:5e:00:00:01")),
    Row("to the all-zero MAC", arp(dst=NO_MAC)),
    Row("reply for the VIP's asker", arp(2, tpa=VIP4)),
    Row("reply, unicast", arp(2, dst=OWN_MAC, tha=OWN_MAC)),
    Row("op 0", arp(0)),
    Row("op 3 (RARP request)", arp(3)),
    Row("op 4 (RARP reply)", arp(4)),
    Row("op 8 (InARP request)", arp(8)),
    Row("op 256 (1 in the wrong order)", arp(256)),
    Row("htype IEEE 802", arp(hwtype=6)),
    Row("htype 0", arp(hwtype=0)),
    Row("htype 256", arp(hwtype=256)),
    Row("ptype IPv6", arp(ptype=0x86DD)),
    Row("ptype 0", arp(ptype=0)),
    Row("hlen 0", arp(hwlen=0, sha=PEER_MAC)),
    Row("hlen 8", bytes(arp())[:18] + b"\x08" + bytes(arp())[19:] + bytes(4)),
    Row("plen 16", bytes(arp())[:19] + b"\x10" + bytes(arp())[20:] + bytes(24)),
    Row("plen 0", bytes(arp())[:19] + b"\x00" + bytes(arp())[20:]),
    Row("RARP's Ethernet type", bytes(arp())[:12] + b"\x80\x35" + bytes(arp())[14:]),
    Row("802.1Q in the frame", bytes(arp())[:12] + b"\x81\x00\x00\x07" + bytes(arp())[12:]),
    Row("802.1ad in the frame", bytes(arp())[:12] + b"\x88\xa8\x00\x07" + bytes(arp())[12:]),
    Row("from a multicast source", arp(src="01:00:5e:00:00:01", sha=PEER_MAC)),
    Row("from the broadcast source", arp(src=BROADCAST, sha=PEER_MAC)),
    Row("from the all-zero source", arp(src=NO_MAC, sha=PEER_MAC)),
    Row("SHA zero", arp(sha=NO_MAC)),
    Row("SHA broadcast", arp(sha=BROADCAST)),
    Row("SHA multicast", arp(sha="33:33:00:00:00:01")),
    Row("my own request, come back", arp(src=OWN_MAC)),
    Row("my own request, by an access point", arp(src=PEER_MAC, sha=OWN_MAC)),
    Row("from my Ethernet address, another SHA", arp(src=OWN_MAC, sha=PEER_MAC)),
    Row("my own announcement, request form", arp(1, src=OWN_MAC, spa=VIP4, tpa=VIP4)),
    Row("my own announcement, reply form", arp(2, src=OWN_MAC, spa=VIP4, tha=OWN_MAC, tpa=VIP4)),
    Row(
        "my own announcement, by an access point",
        arp(1, src=PEER_MAC, sha=OWN_MAC, spa=VIP4, tpa=VIP4),
    ),
]

CONFLICTS = [
    Row(
        "foreign GARP, request form",
        GARP_REQUEST,
        **CLAIM,
    ),
    Row(
        "foreign GARP, reply form",
        GARP_REPLY,
        **CLAIM,
    ),
    Row(
        "foreign GARP, THA broadcast",
        arp(2, src=OTHER_MAC, spa=VIP4, tha=BROADCAST, tpa=VIP4),
        **CLAIM,
    ),
    Row(
        "foreign GARP, padded",
        GARP_REPLY / Raw(bytes(18)),
        **CLAIM,
    ),
    Row(
        "foreign reply to somebody, unicast to me",
        arp(2, src=OTHER_MAC, dst=OWN_MAC, spa=VIP4, tpa=PEER4),
        **CLAIM,
    ),
    Row(
        "foreign reply to somebody else",
        arp(2, src=OTHER_MAC, dst=PEER_MAC, spa=VIP4, tpa=PEER4),
        **CLAIM,
    ),
    Row(
        "request by somebody who thinks to have the VIP",
        arp(1, src=OTHER_MAC, spa=VIP4, tpa=OTHER4),
        **CLAIM,
    ),
    Row(
        "such a request for another address of mine",
        arp(1, src=OTHER_MAC, spa=VIP4, tpa=SECOND_VIP4),
        vips=(VIP4, SECOND_VIP4),
        **CLAIM,
    ),
    Row(
        "claim with an unknown op",
        arp(9, src=OTHER_MAC, spa=VIP4),
        **CLAIM,
    ),
    Row(
        "SHA is what counts, not the Ethernet source",
        arp(2, src=PEER_MAC, sha=OTHER_MAC, spa=VIP4, tpa=VIP4),
        **CLAIM,
    ),
    Row(
        "foreign SHA from my own Ethernet address",
        arp(2, src=OWN_MAC, sha=OTHER_MAC, spa=VIP4, tpa=VIP4),
        **CLAIM,
    ),
    Row("claim of an address that is not mine", arp(1, src=OTHER_MAC, spa=OTHER4, tpa=OTHER4)),
    Row("claim, malformed: hlen", arp(2, sha=OTHER_MAC, hwlen=0, spa=VIP4, tpa=VIP4)),
    Row("claim with SHA zero", arp(2, src=OTHER_MAC, sha=NO_MAC, spa=VIP4, tpa=VIP4)),
    Row("holding, request form", GARP_REQUEST, session=HOLDING, **lost(VIP4)),
    *conflicts(VIP4, GARP_REPLY),
]

DEADLINES = deadlines(VIP4, arp(), arp_reply(), arp(spa="0.0.0.0"), arp_reply(tpa="0.0.0.0"))

TRUNCATED = [
    *truncated("request", arp(), 14),
    *truncated("foreign GARP", GARP_REPLY, 14),
]

ROWS = ASKED + PASSED + CONFLICTS + DEADLINES + TRUNCATED


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_arp(kernel: Kernel, row: Row) -> None:
    check(kernel, row)
