# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who has an address that is to be given is found, in each way in which a station says so."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from tests.unit.net.namespaces import PYTHON, TWO_HOSTS, run

from herald.core.model import Address
from herald.net import frames
from herald.net.duplicates import claimant

MAC = bytes.fromhex("02cafe00017f")
VIP, HOST = IPv4Address("192.0.2.7"), IPv4Address("192.0.2.1")
VIP6, HOST6 = IPv6Address("2001:db8::7"), IPv6Address("2001:db8::1")


@pytest.mark.parametrize(
    ("says", "frame", "address"),
    [
        ("GARP, request form", frames.gratuitous_request(VIP, MAC), VIP),
        ("GARP, reply form", frames.gratuitous_reply(VIP, MAC), VIP),
        ("request of a host that has it", frames.arp_request(HOST, MAC, VIP), VIP),
        ("request for it: wants to know who has it", frames.arp_request(VIP, MAC, HOST), HOST),
        ("probe: wants it for itself", frames.arp_probe(VIP, MAC), VIP),
        ("advertisement", frames.unsolicited_advertisement(VIP6, MAC), VIP6),
        ("DAD: wants it for itself", frames.duplicate_probe(VIP6, MAC), VIP6),
        ("solicitation: only asks", frames.neighbour_solicitation(VIP6, MAC, HOST6), None),
        ("ARP, cut short", frames.gratuitous_reply(VIP, MAC)[:41], None),
        ("advertisement, cut short", frames.unsolicited_advertisement(VIP6, MAC)[:77], None),
        ("something else", MAC + MAC + b"\x08\x00" + bytes(60), None),
        ("nothing", b"", None),
    ],
)
def test_a_claim_is_understood(says: str, frame: bytes, address: Address | None) -> None:
    asks = says.startswith(("probe", "DAD"))
    assert claimant(frame) == ((address, MAC, asks) if address else None), says


def test_an_advertisement_names_the_mac_in_its_option() -> None:
    """Its Ethernet source may be a bridge's."""
    frame = bytearray(frames.unsolicited_advertisement(VIP6, MAC))
    frame[6:12] = b"\x02bridge"[:6]
    assert claimant(bytes(frame)) == (VIP6, MAC, False)
    assert claimant(bytes(frame[:78])) == (VIP6, b"\x02bridge"[:6], False)
    assert claimant(bytes(frame[:84])) == (VIP6, b"\x02bridge"[:6], False)


def test_a_reply_to_a_probe_is_a_claim() -> None:
    probe = frames.arp_probe(VIP, bytes(5) + b"\x0a")
    reply = probe[:20] + b"\0\2" + MAC + VIP.packed + probe[22:28] + bytes(4)
    assert claimant(reply) == (VIP, MAC, False)


ASK = """
import json, os, queue, subprocess, sys, time
from ipaddress import ip_address
from socket import if_nametoindex
from herald.net.duplicates import Duplicates

told = queue.Queue()
duplicates = Duplicates(lambda *said: told.put(said))
kin = frozenset(os.environ["KIN"].split())
for number, (address, name) in enumerate(json.loads(os.environ["ASKED"])):
    index = if_nametoindex(name) if name else 999
    duplicates.ask(number, ip_address(address), index, kin)
duplicates.cancel(frozenset(map(int, os.environ["CANCELLED"].split())))
duplicates.start()
count = len(json.loads(os.environ["ASKED"]))
said = sorted(told.get(timeout=20) for _ in range(count))
duplicates.stop()
assert told.empty()
json.dump([[number, mac and mac.hex(":"), why] for number, mac, why in said], sys.stdout)
"""


def asked(
    script: str, *questions: tuple[str, str], kin: str = "", cancelled: str = ""
) -> list[tuple[str | None, str]]:
    """Who has each (address, interface), and why it could not be asked."""
    printed = run(
        f'{TWO_HOSTS}{script}\n{PYTHON} -c "$ASK"',
        ASK=ASK,
        ASKED=json.dumps(questions),
        KIN=kin,
        CANCELLED=cancelled,
    )
    return [(mac, why) for _, mac, why in json.loads(printed)]


CARRIER = "until ip link show dev va | grep -q LOWER_UP; do sleep 0.01; done"
A, B, C = (f"02:00:00:00:00:0{last}" for last in "abc")


def test_who_answers_on_the_wire_has_it_and_silence_is_nobody() -> None:
    assert asked(
        CARRIER,
        ("192.0.2.2", "va"),
        ("192.0.2.3", "va"),
        ("2001:db8::2", "va"),
        ("2001:db8::3", "va"),
    ) == [(B, ""), (None, ""), (B, ""), (None, "")]


def test_an_interface_without_ipv6_hears_advertisements_all_the_same() -> None:
    """They go to ff02::1, which only a device with IPv6 is in by itself."""
    script = f"echo 1 > /proc/sys/net/ipv6/conf/va/disable_ipv6; {CARRIER}"
    assert asked(script, ("2001:db8::2", "va"), ("2001:db8::3", "va")) == [(B, ""), (None, "")]


TWO_DEVICES = f"""
ip link add vc address {C} type veth peer name vd
ip link set vd netns $other
$there ip link add bridge type bridge
for port in vb vd; do $there ip link set $port master bridge up; done
$there ip link set bridge up
ip link set vc up
{CARRIER}
until ip link show dev vc | grep -q LOWER_UP; do sleep 0.01; done
"""


@pytest.mark.parametrize("address", ["192.0.2.3", "2001:db8::3"])
def test_of_two_devices_in_one_segment_neither_takes_the_address_for_the_other_s(
    address: str,
) -> None:
    both = ((address, "va"), (address, "vc"))
    assert asked(TWO_DEVICES, *both, kin=f"{A} {C}") == [(None, ""), (None, "")]
    assert {mac for mac, _ in asked(TWO_DEVICES, *both)} & {A, C}, "a stranger would"


def test_an_answer_of_the_cluster_s_own_counts() -> None:
    assert asked(TWO_DEVICES, ("192.0.2.1", "vc"), kin=f"{A} {C}") == [(A, "")]


def test_a_question_that_is_called_off_is_not_put() -> None:
    questions = (("192.0.2.2", "va"), ("2001:db8::2", "va"))
    assert asked(CARRIER, *questions, cancelled="0") == [(None, ""), (B, "")]


def test_many_are_asked_at_once() -> None:
    script = f"$there ip address add 192.0.2.77/24 dev vb; {CARRIER}"
    questions = [(str(ip_address("192.0.2.3") + n), "va") for n in range(200)]
    found = asked(script, *questions)
    assert [n for n, said in enumerate(found) if said != (None, "")] == [74]
    assert found[74] == (B, "")


def test_what_cannot_be_asked_is_said() -> None:
    said = asked(
        f"ip link add br9 type bridge; {CARRIER}",
        ("192.0.2.3", "lo"),
        ("192.0.2.3", "br9"),
        ("192.0.2.3", ""),
        ("192.0.2.2", "va"),
    )
    assert [mac for mac, _ in said] == [None, None, None, B]
    assert "lo has no MAC" in said[0][1]
    assert "down" in said[1][1].lower()
    assert "interface 999" in said[2][1]
