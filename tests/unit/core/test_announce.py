# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How many frames leave when: a thousand addresses within a second, and never in one burst."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from herald.core.effects import SendFrames
from herald.core.election.announce import BURST4, Announcer
from herald.core.model import MILLISECOND, SECOND
from herald.core.outbox import Outbox

MACS = {2: bytes.fromhex("020000000001")}
DEFAULT_RATE = 2000


def sent(announcer: Announcer, outbox: Outbox, start: int, end: int) -> list[tuple[int, int]]:
    """When how many announcements left, following the deadlines that it names."""
    now, found = start, []
    while True:
        announcer.tick(now)
        leaving = sum(
            len(effect.announcements) for effect in outbox.drain() if isinstance(effect, SendFrames)
        )
        if leaving:
            found.append((now, leaving))
        deadline = announcer.next_deadline()
        if deadline is None or deadline > end:
            return found
        now = max(now + 1, deadline)


def kept(rate: int, count: int) -> tuple[Announcer, Outbox]:
    outbox = Outbox()
    announcer = Announcer(3600 * SECOND, rate, outbox)
    for number in range(count):
        announcer.keep(IPv4Address(0xC6336400 + number), MACS, claimed=1, now=0)
    return announcer, outbox


@pytest.mark.parametrize("rate", [10, 70, 1000, DEFAULT_RATE, 100_000])
def test_never_more_than_the_rate_in_a_second_nor_a_fiftieth_of_it_at_once(rate: int) -> None:
    announcer, outbox = kept(rate, 1000)

    leaving = sent(announcer, outbox, 0, 20 * SECOND)

    assert leaving
    assert max(count for _, count in leaving) <= max(1, rate // 50)
    for start, _ in leaving:
        in_a_second = sum(n for at, n in leaving if start <= at < start + SECOND)
        assert in_a_second <= rate + max(1, rate // 50)


def test_a_thousand_addresses_are_announced_within_a_second_by_default() -> None:
    announcer, outbox = kept(DEFAULT_RATE, 1000)

    leaving = sent(announcer, outbox, 0, BURST4[0] + SECOND)

    first_thousand = 0
    for at, count in leaving:
        first_thousand += count
        if first_thousand >= 1000:
            assert at <= BURST4[0] + SECOND
            break
    else:
        pytest.fail(f"only {first_thousand} left")


def test_what_waits_leaves_in_the_order_in_which_it_was_due() -> None:
    announcer, outbox = kept(DEFAULT_RATE, 1000)
    announcer.again(None, 10 * MILLISECOND)

    seen: list[IPv4Address] = []
    now = 10 * MILLISECOND
    while len(seen) < 1000:
        announcer.tick(now)
        for effect in outbox.drain():
            assert isinstance(effect, SendFrames)
            seen += [each.address for each in effect.announcements]  # type: ignore[misc]
        now = announcer.next_deadline() or now + 1

    assert len(set(seen)) == 1000, "an address waited while another was announced twice"
