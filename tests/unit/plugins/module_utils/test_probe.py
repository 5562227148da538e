# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Asking who has an address: what counts as an answer, and what is said of the answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils import _probe
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption
from ansible_collections.baremetal.herald.plugins.modules import arp_probe
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

OWN = "02:00:00:00:00:01"
LEFT, RIGHT = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
V4, V6 = "192.0.2.7", "2001:db8::7"


class Segment:
    """Answers as it is told, each so many seconds after the question."""

    def __init__(self, *answers: tuple[str, str, float]) -> None:
        self.answers = answers
        self.now = 1000.0
        self.asked: list[str] = []
        self.listened: list[float] = []

    def ask(self, address: str) -> float:
        self.asked.append(address)
        return self.now

    def hear(self, seconds: float) -> Iterable[tuple[str, str, float]]:
        self.listened.append(seconds)
        if seconds:
            yield from ((address, mac, self.now + after) for address, mac, after in self.answers)
        self.now += seconds


def test_every_address_is_asked_for_in_turns() -> None:
    segment = Segment()
    found = _probe.probe(segment, [V4, V6], count=2, interval=0.5, timeout=3)
    assert segment.asked == [V4, V6, V4, V6]
    assert segment.listened == [0, 0, 0.5, 0, 0, 3]
    assert [entry.requests for entry in found] == [2, 2]


def test_all_who_answer_and_how_fast() -> None:
    segment = Segment((V4, LEFT, 0.001), (V4, RIGHT, 0.004), ("192.0.2.99", LEFT, 0.1))
    [found] = _probe.probe(segment, [V4], count=2, interval=1, timeout=1)
    assert found.result() == {
        "address": V4,
        "requests": 2,
        "answerers": [
            {"mac": LEFT, "answers": 2, "rtt_min": 1.0, "rtt_median": 1.0, "rtt_max": 1.0},
            {"mac": RIGHT, "answers": 2, "rtt_min": 4.0, "rtt_median": 4.0, "rtt_max": 4.0},
        ],
    }


def heard(*macs: str) -> _probe.Found:
    found = _probe.Found(V4, requests=3)
    for mac in macs:
        found.hear(mac, 0.0)
    return found


COMPLAINTS = [
    pytest.param([LEFT], False, [], id="one"),
    pytest.param([LEFT, LEFT], True, [], id="one, twice"),
    pytest.param([], False, [], id="none, which may be"),
    pytest.param([], True, ["found none after 3 requests"], id="none, which may not be"),
    pytest.param([LEFT, RIGHT], False, [f"found 2 ({LEFT}, {RIGHT})"], id="two"),
]


@pytest.mark.parametrize(("macs", "required", "words"), COMPLAINTS)
def test_complaints(macs: list[str], required: bool, words: list[str]) -> None:
    said = _probe.complaints([heard(*macs)], required)
    assert len(said) == len(words)
    for text, word in zip(said, words):
        assert text.startswith(f"{V4}: wanted one answering MAC, {word}")


def reply(**fields: Any) -> Any:
    given = {"op": "is-at", "hwsrc": LEFT, "psrc": V4, "hwdst": OWN, "pdst": "192.0.2.1", **fields}
    return Ether(src=LEFT, dst=OWN) / ARP(**given)


def advertisement(solicited: int = 1, hops: int = 255, option: bool = True) -> Any:
    packet = (
        Ether(src=RIGHT, dst=OWN)
        / IPv6(src=V6, dst="fe80::1", hlim=hops)
        / ICMPv6ND_NA(tgt=V6, S=solicited, R=0)
    )
    return packet / ICMPv6NDOptDstLLAddr(lladdr=LEFT) if option else packet


ANSWERS = [
    pytest.param(reply(), (V4, LEFT), id="ARP reply"),
    pytest.param(reply(op="who-has"), None, id="ARP request"),
    pytest.param(Ether(src=LEFT, dst="ff:ff:ff:ff:ff:ff") / reply().payload, None, id="GARP"),
    pytest.param(advertisement(), (V6, LEFT), id="NA"),
    pytest.param(advertisement(option=False), (V6, RIGHT), id="NA without its option"),
    pytest.param(advertisement(solicited=0), None, id="unsolicited NA"),
    pytest.param(advertisement(hops=64), None, id="NA from beyond a router"),
]


@pytest.mark.parametrize(("packet", "wanted"), ANSWERS)
def test_answers(packet: Any, wanted: Any) -> None:
    data = bytes(packet)
    assert _probe.answer(Ether(data), OWN) == wanted
    assert _probe.may_answer(data) or wanted is None


def test_what_is_asked() -> None:
    request = Ether(bytes(_probe.who_has(V4, OWN, "192.0.2.1")))
    assert (request.src, request.dst) == (OWN, "ff:ff:ff:ff:ff:ff")
    assert (request[ARP].op, request[ARP].psrc, request[ARP].pdst) == (1, "192.0.2.1", V4)
    assert Ether(bytes(_probe.who_has(V4, OWN, "")))[ARP].psrc == "0.0.0.0"
    request = Ether(bytes(_probe.solicitation("2001:db8::ab:cdef", OWN, "fe80::1")))
    assert (request.src, request.dst) == (OWN, "33:33:ff:ab:cd:ef")
    assert (request[IPv6].dst, request[IPv6].hlim) == ("ff02::1:ffab:cdef", 255)


BAD_ADDRESSES = [
    ([], "addresses: wanted at least one, found nothing"),
    ([V4, "banana"], "addresses[1]: wanted an address such as"),
    (["224.0.0.1"], "addresses[0]: wanted the address of a host on a network"),
    (["::1"], "addresses[0]: wanted the address of a host on a network"),
    (["0.0.0.0"], "addresses[0]: wanted the address of a host on a network"),
    (["fe80::1%eth0"], "addresses[0]: wanted an address such as"),
]


@pytest.mark.parametrize(
    ("texts", "words"), BAD_ADDRESSES, ids=[words for _texts, words in BAD_ADDRESSES]
)
def test_nonsense_addresses_are_refused_by_name(texts: list[str], words: str) -> None:
    with pytest.raises(BadOption) as raised:
        arp_probe.wanted_addresses(texts)
    assert str(raised.value).startswith(words)


def test_an_address_in_two_spellings_is_one() -> None:
    assert arp_probe.wanted_addresses(["2001:DB8:0::7", V6, V4]) == [V6, V4]


BAD_NUMBERS = [
    ({"count": 0}, "count: wanted a number above 0, found 0"),
    ({"interval": -1.0}, "interval: wanted seconds from 0 to 60"),
    ({"timeout": 61.0}, "timeout: wanted seconds from 0 to 60"),
]


@pytest.mark.parametrize(
    ("given", "words"), BAD_NUMBERS, ids=[words for _given, words in BAD_NUMBERS]
)
def test_nonsense_numbers_are_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption) as raised:
        arp_probe.check_numbers({"count": 3, "interval": 0.2, "timeout": 1.0, **given})
    assert str(raised.value).startswith(words)


BAD_INTERFACES = [
    ("nonsense0", "found 'nonsense0'"),
    ("lo", "found 'lo, which is no Ethernet device'"),
]


@pytest.mark.parametrize(("name", "words"), BAD_INTERFACES)
def test_an_interface_that_cannot_be_meant(name: str, words: str) -> None:
    with pytest.raises(BadOption, match=r"^interface: wanted an Ethernet device") as raised:
        arp_probe.check_interface(name)
    assert str(raised.value).endswith(words)
