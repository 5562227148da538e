# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who answers is heard, over a real wire; who does not, is not."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.unit.net.namespaces import PYTHON, TWO_HOSTS, run

from herald.core.events import SegmentHeard
from herald.net import frames, segment
from herald.net.segment import Ears, answerer

MAC = bytes.fromhex("02cafe00017f")

ASK = """
import queue
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Announcement, Probe
from herald.net.segment import Ears
from herald.net.sender import Sender

heard = queue.Queue()
ears = Ears(heard.put)
ears.start()
ifindex = if_nametoindex("va")
mac = bytes.fromhex("02000000000a")
with Sender.open() as sender:
    def ask(source, target):
        probe = Probe(ifindex, mac, ip_address(source), ip_address(target))
        print(sender.probe([probe]) or "asked")
        return ip_address(target)
    ask("192.0.2.1", "192.0.2.9")
    ask("2001:db8::1", "2001:db8::9")
    waited = {ask("192.0.2.1", "192.0.2.2"), ask("2001:db8::1", "2001:db8::2")}
    while waited:
        event = heard.get(timeout=10)
        assert event.ifindex == ifindex, event
        # The kernel's own discovery may bring link-local neighbours.
        if not event.address.is_link_local:
            waited.remove(event.address)
ears.stop()
print("ended")
"""


def test_who_answers_is_heard_and_who_does_not_is_not() -> None:
    said = run(TWO_HOSTS + f'{PYTHON} -c "$ASK"', ASK=ASK)
    assert said.splitlines() == ["asked", "asked", "asked", "asked", "ended"]


DEAF = """
import sys
from herald.net.segment import Ears
heard = []
ears = Ears(heard.append)
ears.start()
print("listening", flush=True)
sys.stdin.readline()
ears.stop()
print([str(each.address) for each in heard if not each.address.is_link_local])
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
    script = f"""
mkfifo {{fifos}}/in {{fifos}}/out
{PYTHON} -c "$DEAF" <{{fifos}}/in >{{fifos}}/out &
exec 8>{{fifos}}/in 9<{{fifos}}/out
read listening <&9
$there {PYTHON} -c "$ANNOUNCE"
ping -c 1 -W 5 192.0.2.2 >/dev/null
echo >&8
cat <&9
"""
    with tempfile.TemporaryDirectory() as fifos:
        said = run(TWO_HOSTS + script.format(fifos=fifos), DEAF=DEAF, ANNOUNCE=ANNOUNCE)
    # The ping's own ARP is heard: everything before it had been, too.
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


def test_the_same_answer_is_passed_on_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(segment.time, "monotonic", lambda: now)
    posted: list[SegmentHeard] = []
    ears = Ears(posted.append)
    one = SegmentHeard(2, IPv4Address("192.0.2.2"))
    other = SegmentHeard(3, IPv4Address("192.0.2.2"))
    for event in (one, one, other):
        ears._heard(event)
    now += segment.REPEAT
    ears._heard(one)
    assert posted == [one, other, one]
    ears.stop()
