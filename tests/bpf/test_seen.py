# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder remembers of each address: on all interfaces, in storms of frames, and when there is no room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from scapy.packet import Packet
from tests.bpf.frames import (
    OTHER_MAC,
    VIP4,
    VIP6,
    arp,
    arp_reply,
    na,
    na_answer,
    ns,
    ping4,
    ping4_reply,
    ping6,
    ping6_reply,
    sllao,
    tllao,
)
from tests.bpf.kernel import IFINDEX, PASS, SENT, Kernel
from tests.bpf.table import (
    CLAIMED,
    CONFLICT,
    EXPIRED,
    FIRST_ANSWER,
    HOLDING,
    PROBE,
    SILENCED,
    VALID,
    Row,
    Session,
    entry,
    prepare,
)
from tests.bpf.wire import Wire, wire

from herald.core.kernel import EntryKey
from herald.core.model import Address
from herald.datapath import layout, loader

STRANGER_MAC = "02:00:00:00:00:66"


@dataclass(frozen=True)
class Family:
    """The same frames of each: a question and its answer, a probe, a claim."""

    vip: str
    ask: Packet
    answer: Packet
    probe: Packet
    claim: Packet
    another_claim: Packet
    ping: Packet
    pong: Packet
    others: int
    """Where other addresses begin."""

    @property
    def address(self) -> Address:
        return ip_address(self.vip)

    def rest(self, count: int) -> list[Address]:
        return [ip_address(self.others + number) for number in range(count)]


FAMILIES = (
    Family(
        VIP4,
        arp(),
        arp_reply(),
        arp(spa="0.0.0.0"),
        arp(2, src=OTHER_MAC, spa=VIP4, tpa=VIP4),
        arp(2, src=STRANGER_MAC, spa=VIP4, tpa=VIP4),
        ping4(),
        ping4_reply(),
        0x0A000000,
    ),
    Family(
        VIP6,
        ns(sllao()),
        na_answer(),
        ns(source="::"),
        na(tllao()),
        na(tllao(STRANGER_MAC)),
        ping6(),
        ping6_reply(),
        0xFD01 << 112,
    ),
)


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture
def cable() -> Iterator[Wire]:
    with wire() as laid:
        yield laid


def hold(kernel: Kernel, family: Family, session: Session, ifindex: int = IFINDEX) -> None:
    prepare(kernel, Row("", b"", session=session, vips=(family.vip,)), ifindex)


# --- storms of frames -----------------------------------------------------------------------------------


def test_a_claim_that_is_repeated_is_counted_each_time_and_told_once(
    kernel: Kernel, family: Family
) -> None:
    hold(kernel, family, VALID)
    storm = kernel.run(bytes(family.claim), times=5)
    assert storm.seen[family.address].conflicts == 5
    assert [event.kind for event in storm.events] == [CONFLICT]

    another = kernel.run(bytes(family.another_claim), times=5)
    assert another.seen[family.address].conflicts == 10
    assert [(event.kind, event.mac.hex(":")) for event in another.events] == [
        (CONFLICT, STRANGER_MAC)
    ]


def test_a_silence_is_told_though_the_same_claim_was_told_just_before(
    kernel: Kernel, family: Family
) -> None:
    hold(kernel, family, VALID)
    kernel.run(bytes(family.claim))
    hold(kernel, family, HOLDING)
    storm = kernel.run(bytes(family.claim), times=5)
    assert [event.kind for event in storm.events] == [SILENCED]
    assert storm.seen[family.address].silenced == CLAIMED


def test_a_probe_that_is_repeated_is_told_once(kernel: Kernel, family: Family) -> None:
    hold(kernel, family, EXPIRED)  # an answer would take the frame's place
    storm = kernel.run(bytes(family.probe), times=5)
    assert [event.kind for event in storm.events] == [PROBE]


@pytest.mark.parametrize(("frame", "kind"), [("claim", CONFLICT), ("probe", PROBE)])
def test_what_was_told_is_told_again_after_a_tenth_of_a_second(
    kernel: Kernel, family: Family, frame: str, kind: object
) -> None:
    hold(kernel, family, EXPIRED)
    asked = bytes(getattr(family, frame))
    (told,) = kernel.run(asked).events
    told_before(kernel, family, 10**8)
    assert [event.kind for event in kernel.run(asked).events] == [told.kind] == [kind]


def told_before(kernel: Kernel, family: Family, nanoseconds: int) -> None:
    """Its last events were so much earlier."""
    table = kernel.seen_maps[family.address.version]
    row = list(layout.SEEN.unpack(table.get(family.address.packed) or b""))
    reported, probed = 5, 6  # places in struct seen
    for place in (reported, probed):
        row[place] = max(0, row[place] - nanoseconds)
    table.put([family.address.packed], [layout.SEEN.pack(*row)])


def test_the_first_answer_since_a_claim_is_told_and_no_other(
    kernel: Kernel, family: Family
) -> None:
    hold(kernel, family, VALID)
    told = [kernel.run(bytes(family.ask)).events for _ in range(3)]
    assert [[event.kind for event in events] for events in told] == [[FIRST_ANSWER], [], []]

    kernel.hold_entries({EntryKey(family.address, IFINDEX): entry(CLAIMED + 1)})
    assert [event.kind for event in kernel.run(bytes(family.ask)).events] == [FIRST_ANSWER]


# --- several interfaces ---------------------------------------------------------------------------------


def test_what_is_held_on_another_interface_is_passed(kernel: Kernel, family: Family) -> None:
    hold(kernel, family, VALID, ifindex=IFINDEX + 1)
    for frame in (family.ask, family.probe, family.claim, family.ping):
        outcome = kernel.run(bytes(frame))
        assert (outcome.verdict, outcome.frame) == (PASS, bytes(frame))
        assert (outcome.seen, outcome.events) == ({}, ())


def test_a_claim_on_one_interface_silences_the_address_on_all(
    kernel: Kernel, cable: Wire, family: Family
) -> None:
    for ifindex in (IFINDEX, cable.ifindex):
        hold(kernel, family, HOLDING, ifindex)
        assert kernel.run(bytes(family.ask), ifindex).verdict == SENT

    (event,) = kernel.run(bytes(family.claim), IFINDEX).events

    assert (event.kind, event.ifindex) == (SILENCED, IFINDEX)
    for ifindex in (IFINDEX, cable.ifindex):
        assert kernel.run(bytes(family.ask), ifindex).verdict == PASS


# --- no room ----------------------------------------------------------------------------------------------


def fill(kernel: Kernel, family: Family, count: int) -> list[Address]:
    """So many other addresses were asked for once, of each with 3 answers."""
    rest = family.rest(count)
    kernel.remember(rest, layout.SEEN.pack(3, 0, 0, 0, 0, 0, 0, bytes(6), 0))
    return rest


def test_without_room_to_remember_a_conflict_nothing_is_held_and_all_else_is_answered(
    kernel: Kernel, family: Family
) -> None:
    fill(kernel, family, loader.ENTRIES)
    hold(kernel, family, VALID)
    for frame, answer in ((family.ask, family.answer), (family.ping, family.pong)):
        outcome = kernel.run(bytes(frame))
        assert (outcome.verdict, outcome.frame) == (SENT, bytes(answer))
    assert kernel.run(bytes(family.claim)).verdict == PASS

    hold(kernel, family, HOLDING)
    for frame in (family.ask, family.probe, family.ping):
        outcome = kernel.run(bytes(frame))
        assert (outcome.verdict, outcome.frame) == (PASS, bytes(frame))
    assert family.address not in outcome.seen


def test_what_was_remembered_before_is_held_all_the_same(kernel: Kernel, family: Family) -> None:
    hold(kernel, family, HOLDING)
    assert kernel.run(bytes(family.ask)).verdict == SENT
    fill(kernel, family, loader.ENTRIES - 1)
    assert kernel.run(bytes(family.ask)).verdict == SENT
    assert [event.kind for event in kernel.run(bytes(family.claim)).events] == [SILENCED]


def test_what_is_forgotten_makes_room(kernel: Kernel, family: Family) -> None:
    rest = fill(kernel, family, loader.ENTRIES)
    hold(kernel, family, VALID)
    assert kernel.run(bytes(family.claim)).events == ()
    assert kernel.responder.look() == ({}, set(rest))

    gone = rest[:1000]
    assert kernel.responder.forget_seen(gone) == 3000

    assert kernel.responder.look() == ({}, set(rest[1000:]))
    assert [event.kind for event in kernel.run(bytes(family.claim)).events] == [CONFLICT]


def test_a_look_tells_of_silences_and_only_of_crowds(kernel: Kernel) -> None:
    addresses = [family.address for family in FAMILIES]
    kernel.silence(addresses, 7)
    for family in FAMILIES:
        fill(kernel, family, loader.ENTRIES // 2 - 1)
    assert kernel.responder.look() == (dict.fromkeys(addresses, 7), set())
