# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the sender calls accepted, and how it names what was not."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from herald.core.effects import Announcement
from herald.net.frames import announcement
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
