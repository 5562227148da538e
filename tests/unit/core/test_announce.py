# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How many frames leave when: the burst, the refresh, a thousand addresses within a second and never at once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from herald.core.effects import Note, SendFrames
from herald.core.election.announce import BURST4, Announcer
from herald.core.model import MILLISECOND, SECOND
from herald.core.outbox import Outbox

MACS = {2: bytes.fromhex("020000000001")}
DEFAULT_RATE = 2000


FIRST4, FIRST6 = IPv4Address(0xC6336400), IPv6Address("2001:db8::7")
REFRESH = 90 * SECOND


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


def times(address: IPv4Address | IPv6Address, refresh: int, end: int) -> list[int]:
    """Milliseconds from the claim to each announcement of one address but the first pair, which is the election's."""
    outbox = Outbox()
    announcer = Announcer(refresh, DEFAULT_RATE, outbox)
    announcer.keep(address, MACS, claimed=1, now=0)
    return [at // MILLISECOND for at, _ in sent(announcer, outbox, 0, end)]


@pytest.mark.parametrize(
    ("address", "burst"),
    [
        pytest.param(FIRST4, [100, 300, 1000, 2000, 5000], id="IPv4: pairs of GARPs"),
        pytest.param(FIRST6, [1000, 2000], id="IPv6: three NAs in all, a second apart (RFC 4861)"),
    ],
)
def test_the_burst_after_a_claim(address: IPv4Address | IPv6Address, burst: list[int]) -> None:
    assert times(address, 3600 * SECOND, 60 * SECOND) == burst


def test_the_refresh_comes_every_period_at_a_moment_of_each_address_s_own() -> None:
    moments = []
    for number in range(20):
        first, *later = (
            at for at in times(FIRST6 + number, REFRESH, 5 * REFRESH) if at not in (1000, 2000)
        )
        assert later == [first + 90_000 * turn for turn in range(1, len(later) + 1)]
        assert len(later) == 4
        moments.append(first)
    assert len(set(moments)) == 20
    assert 0 <= min(moments) < 30_000
    assert 60_000 < max(moments) < 90_000


def test_a_device_or_a_mac_that_is_new_begins_the_burst_anew_and_nothing_else_does() -> None:
    outbox = Outbox()
    announcer = Announcer(3600 * SECOND, DEFAULT_RATE, outbox)
    announcer.keep(FIRST6, MACS, claimed=1, now=0)
    announcer.keep(FIRST6, dict(MACS), claimed=1, now=SECOND // 2)
    assert [at for at, _ in sent(announcer, outbox, SECOND // 2, 5 * SECOND)] == [
        SECOND,
        2 * SECOND,
    ]
    both = {**MACS, 3: bytes.fromhex("020000000003")}
    announcer.keep(FIRST6, both, claimed=1, now=10 * SECOND)
    assert sent(announcer, outbox, 10 * SECOND, 20 * SECOND) == [(11 * SECOND, 2), (12 * SECOND, 2)]


def test_what_a_device_refuses_is_noted_and_said_again_in_its_time() -> None:
    announcer, outbox = kept(DEFAULT_RATE, 1)
    announcer.tick(BURST4[0])
    (effect,) = outbox.drain()
    assert isinstance(effect, SendFrames)
    assert announcer.answer(effect.id, "eth0: Network is down")
    assert outbox.drain() == [
        Note("warning", "announcement refused", {"error": "eth0: Network is down"})
    ]
    assert not announcer.answer(effect.id, ""), "it is nobody's a second time"
    assert announcer.next_deadline() == BURST4[1]


def kept(rate: int, count: int) -> tuple[Announcer, Outbox]:
    outbox = Outbox()
    announcer = Announcer(3600 * SECOND, rate, outbox)
    for number in range(count):
        announcer.keep(FIRST4 + number, MACS, claimed=1, now=0)
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
