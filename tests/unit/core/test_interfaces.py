# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a held address when a device gets another MAC or loses its carrier, and when a policy changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from tests.unit.core.alone import ETH0, KEY, MAC, VIP, Alone, holding

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.election.announce import BURST4
from herald.core.kernel import EntryFlags, EntryKey
from herald.core.model import MILLISECOND, SECOND, Interface, Policy

NEW_MAC = bytes.fromhex("020000000077")
ETH1 = Interface(
    3, "eth1", bytes.fromhex("020000000003"), up=True, carrier=True,
    addresses=(IPv4Interface("192.0.3.1/24"),),
)  # fmt: skip
ON_ETH1 = EntryKey(VIP, ETH1.index)
FIRST = fx.Announcement(VIP, ETH0.index, MAC)
SECOND_DEVICE = fx.Announcement(VIP, ETH1.index, ETH1.mac)


def happened(alone: Alone) -> list[object]:
    """What went to the kernel and to the devices since it was last looked at, in its order."""
    found: list[object] = []
    for effect in alone.done:
        if isinstance(effect, fx.SendFrames):
            found.append(("send", *effect.announcements))
        elif isinstance(effect, fx.SetEntries):
            found += [("remove", key) for key in effect.remove]
            found += [("put", key, value.mac) for key, value in effect.put.items()]
    alone.done.clear()
    return found


def see(alone: Alone, *interfaces: Interface) -> None:
    alone.done.clear()
    alone.post(ev.InterfacesSeen(interfaces))


def quiet(*devices: Interface) -> Alone:
    """It announces on these, and every burst is over."""
    alone = holding()
    see(alone, *devices)
    alone.live(7 * SECOND)
    alone.done.clear()
    return alone


def test_a_new_mac_is_announced_then_answered_with_then_announced_again() -> None:
    alone = quiet(ETH0)
    claimed = alone.entries[KEY].claimed
    announcement = replace(FIRST, mac=NEW_MAC)

    see(alone, replace(ETH0, mac=NEW_MAC))

    assert happened(alone) == [("send", announcement), ("put", KEY, NEW_MAC)]
    assert alone.entries[KEY].claimed == claimed, "it is the same claim"
    alone.live(BURST4[-1] + SECOND)
    assert happened(alone) == [("send", announcement)] * len(BURST4)


def test_a_new_mac_is_not_answered_with_before_the_device_has_taken_its_announcement() -> None:
    alone = quiet(ETH0)
    alone.keeps_back = lambda effect: isinstance(effect, fx.SendFrames)

    see(alone, replace(ETH0, mac=NEW_MAC))

    assert happened(alone) == [("send", replace(FIRST, mac=NEW_MAC))]
    assert alone.entries[KEY].mac == MAC
    alone.confirm()
    assert alone.entries[KEY].mac == NEW_MAC


def test_where_carrier_is_back_the_address_is_announced_again() -> None:
    """On that device the first pair, the entry, the burst; the other one has gone on meanwhile, and joins in."""
    alone = quiet(ETH0, ETH1)
    assert {KEY, ON_ETH1} == alone.entries.keys()

    see(alone, ETH0, replace(ETH1, carrier=False))
    assert happened(alone)[0] == ("remove", ON_ETH1)
    alone.live(7 * SECOND)
    assert {FIRST} == {each for what in happened(alone) for each in what[1:]}  # type: ignore[index]

    see(alone, ETH0, ETH1)
    assert happened(alone) == [("send", SECOND_DEVICE), ("put", ON_ETH1, ETH1.mac)]
    alone.live(BURST4[-1] + SECOND)
    assert happened(alone) == [("send", FIRST, SECOND_DEVICE)] * len(BURST4)


def test_a_command_has_the_frames_sent_at_once() -> None:
    alone = quiet(ETH0)
    for wanted in (VIP, None):
        alone.post(ev.AnnounceAgain(wanted))
        alone.live(100 * MILLISECOND)
        assert happened(alone) == [("send", FIRST)]


def test_pings_are_answered_unless_the_policy_says_otherwise() -> None:
    """Another flag changes the entry, and is nothing that clients must be told."""
    alone = quiet(ETH0)
    assert alone.entries[KEY].flags == EntryFlags.ANSWER_PING

    policy = Policy("all", "p", 2, 2, load_balancer_ips=True, answer_ping=False)
    alone.post(ev.Changed(policy))
    alone.live(SECOND)

    assert alone.entries[KEY].flags == EntryFlags.NONE
    assert happened(alone) == [("put", KEY, MAC)]
