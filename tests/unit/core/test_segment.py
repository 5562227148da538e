# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whom an agent asks on its segments, how often, and what it makes of the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from itertools import pairwise

import pytest
from tests.unit.core.alone import ETH0, peer

from herald.core.effects import SendSolicitations
from herald.core.election.segment import (
    DEAF_AFTER,
    EVERY,
    HOLD_WITHIN,
    QUIET,
    TARGETS,
    URGENT,
    Segment,
    solicitations_of,
)
from herald.core.leases import Presence, PresenceReport
from herald.core.model import MILLISECOND, SECOND, Address, Interface
from herald.core.outbox import Outbox

START = 1000 * SECOND
GATEWAY = ip_address("192.0.2.254")
ROUTED = replace(ETH0, gateways=(GATEWAY,))
ETH1 = replace(ETH0, index=3, name="eth1", addresses=(IPv4Interface("198.18.0.1/24"),))

Answers = Callable[[Address], bool]


def everybody(_: Address) -> bool:
    return True


def nobody(_: Address) -> bool:
    return False


def reports_of(peers: int) -> list[PresenceReport]:
    """Of so many other nodes (n2, …) on the network of eth0."""
    return [Presence(peer(f"n{number}", number)).report for number in range(2, peers + 2)]


def targets(interface: Interface, peers: int, node: str = "n1") -> list[Address]:
    """Whom that node asks, of so many peers."""
    return [each.target for each in solicitations_of(interface, node, reports_of(peers))]


class Wires:
    """The segments of some interfaces, followed from one deadline to the next; who is asked answers or does not."""

    def __init__(self, *interfaces: Interface, peers: int = 3) -> None:
        reports = reports_of(peers)
        if ETH1 in interfaces:
            there = (IPv4Interface("198.18.0.2/24"),)
            eth1 = replace(reports[0].interfaces[0], name="eth1", addresses=there)
            reports.append(replace(reports[0], interfaces=(eth1,)))
        self.now = START
        self.asked: list[tuple[int, int, Address]] = []
        """When, on which interface, whom."""
        self._out = Outbox()
        self.segment = Segment(self._out)
        self.segment.watch({i.index: solicitations_of(i, "n1", reports) for i in interfaces}, START)

    def run(self, nanoseconds: int, answers: Answers = everybody, *, urgent: bool = False) -> None:
        end = self.now + nanoseconds
        while self.now < end:
            self.segment.tick(self.now, urgent=urgent)
            for effect in self._out.drain():
                assert isinstance(effect, SendSolicitations)
                for each in effect.solicitations:
                    self.asked.append((self.now - START, each.ifindex, each.target))
                    if answers(each.target):
                        self.segment.answered(each.ifindex, each.target, self.now)
            due = self.segment.next_deadline()
            # It is looked at when it asks to be, and now and then besides.
            self.now = min(end, self.now + 10 * MILLISECOND, max(self.now + 1, due or end))

    def moments(self, ifindex: int = 2) -> list[int]:
        return [when for when, index, _ in self.asked if index == ifindex]

    def whom(self, ifindex: int = 2) -> list[Address]:
        return [target for _, index, target in self.asked if index == ifindex]


# --- how often ---------------------------------------------------------------------------------------------


def test_one_is_asked_every_half_second_and_each_in_turn() -> None:
    wires = Wires(ROUTED, peers=3)
    wires.run(8 * EVERY)
    assert wires.moments() == [number * EVERY for number in range(8)]
    assert wires.whom()[:4] == targets(ROUTED, 3)
    assert wires.whom()[4:] == wires.whom()[:4]


def test_a_gateway_is_asked_as_often_as_each_of_the_peers() -> None:
    wires = Wires(ROUTED, peers=20)
    wires.run(10 * (TARGETS + 1) * EVERY)
    counts = Counter(wires.whom())
    assert set(counts.values()) == {10}
    assert len(counts) == TARGETS + 1
    assert GATEWAY in counts


def test_every_interface_has_a_turn_of_its_own() -> None:
    wires = Wires(ETH0, ETH1)
    wires.run(8 * EVERY)
    assert len(wires.moments(2)) == len(wires.moments(3)) == 8
    assert set(wires.whom(3)) == {ip_address("198.18.0.2")}


def test_near_the_end_of_the_validity_all_are_asked_every_200_ms() -> None:
    wires = Wires(ROUTED, peers=3)
    wires.run(4 * EVERY)
    wires.asked.clear()
    wires.run(SECOND, urgent=True)
    assert Counter(wires.whom()) == dict.fromkeys(targets(ROUTED, 3), 5)
    moments = sorted(set(wires.moments()))
    assert [b - a for a, b in pairwise(moments)] == [URGENT] * 4
    # And one in turn again, once it is over.
    wires.asked.clear()
    wires.run(4 * EVERY)
    assert len(wires.asked) in (4, 5)


def test_after_700_ms_without_an_answer_all_are_asked_within_200_and_one_answer_is_enough() -> None:
    wires = Wires(ROUTED, peers=3)
    wires.run(4 * EVERY)
    last = wires.moments()[-1]
    wires.asked.clear()
    wires.run(SECOND, nobody)
    asked = Counter(wires.moments())
    assert asked.pop(last + EVERY) == 1
    assert asked == {last + QUIET + number * URGENT: 4 for number in (1, 2, 3)}
    wires.run(URGENT, lambda target: target == GATEWAY)
    wires.asked.clear()
    wires.run(4 * EVERY)
    assert len(wires.asked) in (4, 5)


# --- whom --------------------------------------------------------------------------------------------------


def test_at_most_eight_peers_are_asked_and_every_node_is_by_some() -> None:
    asked = Counter(
        target
        for number in range(2, 42)
        for target in targets(_eth0_of(number), 40, node=f"n{number}")
    )
    assert sum(asked.values()) == 40 * TARGETS
    assert len(asked) == 40


def _eth0_of(number: int) -> Interface:
    return replace(ETH0, addresses=(IPv4Interface(f"192.0.2.{number}/24"),))


def test_who_has_no_address_on_the_network_is_not_asked() -> None:
    assert targets(ETH1, 3) == []
    assert targets(replace(ETH0, addresses=()), 3) == []


# --- what it tells -----------------------------------------------------------------------------------------


def test_whether_anybody_answers_is_told_after_1_5_s_and_at_once_where_somebody_does() -> None:
    wires = Wires(ETH0)
    wires.run(DEAF_AFTER - 1, nobody)
    assert wires.segment.heard(wires.now) == {2: None}
    wires.run(1, nobody)
    assert wires.segment.heard(wires.now) == {2: False}
    wires.run(EVERY + 1)
    assert wires.segment.heard(wires.now) == {2: True}


def test_a_segment_is_deaf_1_5_s_after_the_last_answer_and_held_by_for_one() -> None:
    wires = Wires(ETH0)
    wires.run(EVERY + 1)
    last = START + EVERY
    wires.run(SECOND, nobody)
    assert wires.segment.hears([2], last + HOLD_WITHIN - 1)
    assert not wires.segment.hears([2], last + HOLD_WITHIN)
    assert wires.segment.heard(last + DEAF_AFTER - 1) == {2: True}
    assert wires.segment.heard(last + DEAF_AFTER) == {2: False}


def test_only_an_answer_of_who_was_asked_counts() -> None:
    wires = Wires(ETH0)
    wires.run(DEAF_AFTER, nobody)
    wires.segment.answered(2, ip_address("192.0.2.99"), wires.now)
    wires.segment.answered(3, ip_address("192.0.2.2"), wires.now)
    assert wires.segment.heard(wires.now) == {2: False}


@pytest.mark.parametrize(
    ("indexes", "hears"), [([2], True), ([2, 3], False), ([4], False), ([], False)]
)
def test_to_hold_somebody_must_answer_on_every_device_that_holds(
    indexes: list[int], hears: bool
) -> None:
    wires = Wires(ETH0, ETH1)
    wires.run(EVERY, lambda target: target in ETH0.addresses[0].network)
    assert wires.segment.hears(indexes, wires.now) is hears
