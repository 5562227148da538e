# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the sender calls accepted, and how it names what was not."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.unit.net.namespaces import PYTHON, TWO_HOSTS, run

from herald.core.effects import Announcement, Solicitation
from herald.net.frames import announcement, solicitation
from herald.net.sender import Sender

MAC = bytes.fromhex("02cafe00017f")
VIP = IPv4Address("192.0.2.7")
VIP6 = IPv6Address("2001:db8::7")
LOOPBACK = socket.if_nametoindex("lo")
NOWHERE = 2**31 - 1


class Device:
    """Takes frames, or refuses them with a given error, or only a part."""

    def __init__(self, refuses: int | None = None, takes: int | None = None) -> None:
        self.refuses = refuses
        self.takes = takes
        self.frames: list[tuple[str, bytes]] = []
        self.closed = False

    def sendto(self, data: bytes, flags: int, address: tuple[str, int]) -> int:
        assert flags & socket.MSG_DONTWAIT, "the deciding thread must never wait for a device"
        if self.refuses is not None:
            raise OSError(self.refuses, "refused")
        self.frames.append((address[0], data))
        return len(data) if self.takes is None else self.takes

    def close(self) -> None:
        self.closed = True


def announce(address: IPv4Address | IPv6Address, ifindex: int = LOOPBACK) -> Announcement:
    return Announcement(address, ifindex, MAC)


def test_accepted_is_every_frame_taken_whole() -> None:
    device = Device()
    assert Sender(device).send([announce(VIP), announce(VIP6)]) == ""
    expected = [*announcement(VIP, MAC), *announcement(VIP6, MAC)]
    assert device.frames == [("lo", frame) for frame in expected]


@pytest.mark.parametrize("code", [errno.ENETDOWN, errno.ENOBUFS, errno.EAGAIN, errno.ENXIO])
def test_a_refusal_is_named(code: int) -> None:
    error = Sender(Device(refuses=code)).send([announce(VIP)])
    assert error == f"{errno.errorcode[code]}: 192.0.2.7 on lo"


def test_a_frame_taken_in_part_is_not_sent() -> None:
    error = Sender(Device(takes=10)).send([announce(VIP)])
    assert error == "EMSGSIZE: 192.0.2.7 on lo: 10 of 42 bytes sent"


def test_a_device_that_is_gone_does_not_keep_the_others_from_sending() -> None:
    device = Device()
    error = Sender(device).send([announce(VIP, NOWHERE), announce(VIP6)])
    assert error == f"ENXIO: 192.0.2.7: no device has index {NOWHERE}"
    assert device.frames == [("lo", frame) for frame in announcement(VIP6, MAC)]


def test_it_closes_its_socket() -> None:
    device = Device()
    with Sender(device):
        pass
    assert device.closed


def test_probes_are_sent_from_the_address_that_they_name() -> None:
    device = Device()
    own, own6 = IPv4Address("192.0.2.11"), IPv6Address("2001:db8::11")
    solicitations = [Solicitation(LOOPBACK, MAC, own, VIP), Solicitation(LOOPBACK, MAC, own6, VIP6)]
    assert Sender(device).solicit(solicitations) == ""
    assert device.frames == [
        ("lo", solicitation(VIP, MAC, own)),
        ("lo", solicitation(VIP6, MAC, own6)),
    ]


# --- The real kernel ------------------------------------------------------------------------------

SEND = """
import subprocess
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Announcement
from herald.net.sender import Sender
mac = bytes.fromhex("02000000000a")
index = if_nametoindex("va")
with Sender.open() as sender:
    def send():
        addresses = ("192.0.2.1", "2001:db8::1")
        print(sender.send([Announcement(ip_address(a), index, mac) for a in addresses]))
    send()
    subprocess.run("ip link set va down", shell=True, check=True)
    send()
    subprocess.run("ip link delete va", shell=True, check=True)
    send()
"""


def test_devices_that_are_down_or_gone_refuse_by_name() -> None:
    said = run(TWO_HOSTS + f'{PYTHON} -c "$SEND"', SEND=SEND).splitlines()
    assert said[:2] == ["", "ENETDOWN: 192.0.2.1 on va; ENETDOWN: 2001:db8::1 on va"]
    assert said[2].startswith("ENXIO: 192.0.2.1: no device has index ")


NEIGHBOURS = """
$there ip neighbour replace 192.0.2.7 lladdr 02:00:00:00:00:77 dev vb nud reachable
$there ip neighbour replace 2001:db8::7 lladdr 02:00:00:00:00:77 dev vb nud reachable
{PYTHON} -c "$ANNOUNCE"
for tried in $(seq 100); do
  [ "$($there ip neighbour show dev vb | grep -c 02:00:00:00:00:0a)" = 2 ] && break
  sleep 0.05
done
$there ip neighbour show dev vb | grep -v fe80 | cut -d" " -f1,3 | sort
"""

ANNOUNCE = """
from ipaddress import ip_address
from socket import if_nametoindex
from herald.core.effects import Announcement
from herald.net.sender import Sender
mac = bytes.fromhex("02000000000a")
index = if_nametoindex("va")
with Sender.open() as sender:
    addresses = ("192.0.2.7", "2001:db8::7")
    error = sender.send([Announcement(ip_address(a), index, mac) for a in addresses])
    assert not error, error
"""


def test_an_announcement_moves_a_fresh_neighbour_entry_to_the_new_mac() -> None:
    """Within the neighbour lock time of a second, in which a reply of another form is ignored."""
    script = TWO_HOSTS + NEIGHBOURS.replace("{PYTHON}", PYTHON)
    assert run(script, ANNOUNCE=ANNOUNCE).splitlines() == [
        "192.0.2.7 02:00:00:00:00:0a",
        "2001:db8::7 02:00:00:00:00:0a",
    ]


THOUSAND = """
import socket, struct, time
from contextlib import suppress
from ipaddress import IPv4Address
from herald.core.election.announce import Announcer
from herald.core.model import SECOND
from herald.core.outbox import Outbox
from herald.core.settings import Settings
from herald.net.sender import Sender
so_timestampns = 35
macs = {socket.if_nametoindex("va"): bytes.fromhex("02000000000a")}
addresses = [IPv4Address("198.51.100.0") + number for number in range(1000)]
beyond = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
beyond.bind(("vb", 0))
beyond.setsockopt(socket.SOL_SOCKET, so_timestampns, 1)
beyond.setblocking(False)

def hear(first):
    with suppress(BlockingIOError):
        while True:
            frame, control, _, _ = beyond.recvmsg(2048, 64)
            seconds, nanoseconds = struct.unpack("=qq", control[0][2])
            first.setdefault(frame[20:22] + frame[28:32], seconds + nanoseconds / 1e9)

def seconds_for_all(sender):
    outbox = Outbox()
    announcer = Announcer(3600 * SECOND, Settings().announce_rate, outbox)
    for address in addresses:
        announcer.keep(address, macs, 1, time.monotonic_ns())
    announcer.again(None, time.monotonic_ns())
    first = {}
    while len(first) < 2 * len(addresses):
        announcer.tick(time.monotonic_ns())
        for effect in outbox.drain():
            assert sender.send(effect.announcements) == ""
        hear(first)
        time.sleep(0.001)
    wanted = {form + each.packed for each in addresses for form in (bytes([0, 1]), bytes([0, 2]))}
    assert set(first) == wanted
    return max(first.values()) - min(first.values())

with Sender.open() as sender:
    for tried in range(5):
        took = seconds_for_all(sender)
        if took < 1:
            break
print(took)
"""


def test_a_thousand_addresses_leave_a_device_within_a_second() -> None:
    """In both forms, as many at once as is the default. The quickest of a few, for the machine does other things."""
    devices = """
    ip link add va type veth peer name vb
    ip link set va up
    ip link set vb up
    """
    assert float(run(f'{devices}\n{PYTHON} -c "$THOUSAND"', THOUSAND=THOUSAND)) < 1
