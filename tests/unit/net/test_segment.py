# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who answers is heard, over a real wire; who does not, is not."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.unit.net.namespaces import PYTHON, TWO_HOSTS, run

from herald.core.events import SegmentHeard
from herald.net import frames
from herald.net.segment import _SO_TIMESTAMPNS, REPEAT, Ears, _came_in, answerer

MAC = bytes.fromhex("02cafe00017f")

ASK = """
import queue, time
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Announcement, Solicitation
from herald.net.segment import Ears
from herald.net.sender import Sender

heard = queue.Queue()
ears = Ears(heard.put)
ears.start()
ifindex = if_nametoindex("va")
mac = bytes.fromhex("02000000000a")
with Sender.open() as sender:
    def ask(source, target):
        error = sender.solicit([Solicitation(ifindex, mac, ip_address(source), ip_address(target))])
        assert not error, error
    waited = {ip_address("192.0.2.2"), ip_address("2001:db8::2")}
    until = time.monotonic() + 30
    while waited and time.monotonic() < until:
        # Again and again, as the agent does: carrier and ears may not be there yet.
        for last in (9, 2):
            ask("192.0.2.1", f"192.0.2.{last}")
            ask("2001:db8::1", f"2001:db8::{last}")
        try:
            event = heard.get(timeout=0.2)
        except queue.Empty:
            continue
        assert event.ifindex == ifindex, event
        # The kernel's own discovery may bring link-local neighbours.
        if not event.address.is_link_local:
            assert str(event.address)[-1] == "2", event
            waited.discard(event.address)
    assert not waited, waited
ears.stop()
print("ended")
"""


def test_who_answers_is_heard_and_who_does_not_is_not() -> None:
    assert run(TWO_HOSTS + f'{PYTHON} -c "$ASK"', ASK=ASK) == "ended\n"


LATE = """
import queue, select, time
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Solicitation
from herald.net import segment
from herald.net.sender import Sender

def boottime():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

heard = queue.Queue()
ears = segment.Ears(heard.put)
asked = Solicitation(
    if_nametoindex("va"), bytes.fromhex("02000000000a"), ip_address("192.0.2.1"), ip_address("192.0.2.2")
)
with Sender.open() as sender, segment.open_ears(segment.ARP, segment._ARP_REPLIES) as arp:
    before = boottime()
    while not select.select([arp], [], [], 0.2)[0]:
        assert boottime() < before + 30 * 10**9
        sender.solicit([asked])
    after = boottime()
    while boottime() < after + 10**8:
        time.sleep(0.01)
    ears._listen(arp)
at = heard.get_nowait().at
assert before <= at <= after, (before, at, after)
print("ended")
"""


def test_an_answer_that_waited_is_as_old_as_it_is() -> None:
    assert run(TWO_HOSTS + f'{PYTHON} -c "$LATE"', LATE=LATE) == "ended\n"


DEAF = """
import os, queue, subprocess, sys, time
from herald.net import segment
segment.REPEAT = 0
heard = queue.Queue()
ears = segment.Ears(heard.put)
ears.start()
until = time.monotonic() + 30

def run(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)

def heard_after_a_ping():
    while time.monotonic() < until:
        run("ip neighbour flush dev va; ping -c 1 -W 5 192.0.2.2")
        try:
            return {str(heard.get(timeout=0.2).address)} | rest()
        except queue.Empty:
            pass

def rest():
    found = set()
    while not heard.empty():
        found.add(str(heard.get().address))
    return found

# Once one answer is heard, the ears are there for sure; only then the announcements count.
assert heard_after_a_ping()
run(os.environ["there"] + f' {sys.executable} -c "$ANNOUNCE"')
print(sorted(each for each in heard_after_a_ping() if not each.startswith("fe80")))
ears.stop()
"""

ANNOUNCE = """
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Announcement
from herald.net.sender import Sender
mac = bytes.fromhex("02000000000b")
with Sender.open() as sender:
    for address in ("192.0.2.7", "2001:db8::7"):
        error = sender.send([Announcement(ip_address(address), if_nametoindex("vb"), mac)])
        assert not error, error
"""


def test_announcements_of_others_prove_nothing_about_the_way_back() -> None:
    """A node whose own frames are lost would hear them all the same."""
    script = f'export there\n{PYTHON} -c "$DEAF"'
    said = run(TWO_HOSTS + script, DEAF=DEAF, ANNOUNCE=ANNOUNCE)
    assert said == "['192.0.2.2']\n"


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (frames.gratuitous_reply(IPv4Address("192.0.2.7"), MAC), IPv4Address("192.0.2.7")),
        (
            frames.unsolicited_advertisement(IPv6Address("2001:db8::7"), MAC),
            IPv6Address("2001:db8::7"),
        ),
        (frames.gratuitous_reply(IPv4Address("192.0.2.7"), MAC)[:41], None),
        (frames.unsolicited_advertisement(IPv6Address("2001:db8::7"), MAC)[:77], None),
        (MAC + MAC + b"\x08\x00" + bytes(60), None),
    ],
)
def test_the_answerer_is_read_from_the_frame(
    frame: bytes, address: IPv4Address | IPv6Address | None
) -> None:
    assert answerer(frame) == address


def test_the_same_answer_is_passed_on_once_in_a_while() -> None:
    posted: list[SegmentHeard] = []
    ears = Ears(posted.append)
    one = SegmentHeard(2, IPv4Address("192.0.2.2"), 10**9)
    soon, late = replace(one, at=one.at + REPEAT - 1), replace(one, at=one.at + REPEAT)
    other = replace(one, ifindex=3)
    for event in (one, soon, other, late):
        ears._heard(event)
    assert posted == [one, other, late]
    ears.stop()


SECOND = 10**9
YEAR = 365 * 86400 * SECOND
SLEW = SECOND // 100


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def control(stamp: int) -> list[tuple[int, int, bytes]]:
    """What the kernel says beside a frame: when it came in, by CLOCK_REALTIME."""
    return [(socket.SOL_SOCKET, _SO_TIMESTAMPNS, struct.pack("@ll", *divmod(stamp, SECOND)))]


@pytest.mark.parametrize("age", [0, SECOND, YEAR])
def test_a_frame_came_in_as_long_ago_as_its_stamp_says(age: int) -> None:
    before = boottime()
    found = _came_in(control(time.time_ns() - age))
    # One of the two clocks may be slewed meanwhile.
    assert before - SLEW <= found + age <= boottime() + SLEW


@pytest.mark.parametrize("ahead", [SECOND, YEAR])
def test_what_came_in_before_the_clock_was_set_back_counts_as_long_ago(ahead: int) -> None:
    at = _came_in(control(time.time_ns() + ahead))
    assert at == 0
    posted: list[SegmentHeard] = []
    ears = Ears(posted.append)
    ears._heard(SegmentHeard(2, IPv4Address("192.0.2.2"), at))
    assert posted == []
    ears.stop()


def test_a_frame_without_a_stamp_came_in_now() -> None:
    before = boottime()
    assert before <= _came_in([]) <= boottime()
