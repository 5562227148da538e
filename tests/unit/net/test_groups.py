# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Memberships follow the wish by difference, spread over sockets that fill up."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.unit.net.namespaces import PYTHON, TWO_HOSTS, run

from herald.net.frames import solicited_node
from herald.net.groups import Groups


class Kernel:
    """Opens sockets that hold a given number of groups, and fails joins on given devices."""

    def __init__(self, room: int = 3) -> None:
        self.room = room
        self.missing: set[int] = set()
        self.sockets: list[Socket] = []
        self.calls = 0

    def open(self) -> Socket:
        self.sockets.append(Socket(self))
        return self.sockets[-1]

    @property
    def joined(self) -> set[tuple[IPv6Address, int]]:
        return set().union(*(each.groups for each in self.sockets))

    @property
    def open_sockets(self) -> int:
        return sum(not each.closed for each in self.sockets)


class Socket:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.groups: set[tuple[IPv6Address, int]] = set()
        self.closed = False

    def fileno(self) -> int:
        return self.kernel.sockets.index(self)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert level == socket.IPPROTO_IPV6
        assert not self.closed
        self.kernel.calls += 1
        packed, ifindex = struct.unpack("=16si", value)
        member = IPv6Address(packed), ifindex
        if option == socket.IPV6_JOIN_GROUP:
            if ifindex in self.kernel.missing:
                raise OSError(errno.ENODEV, "no such device")
            if len(self.groups) >= self.kernel.room:
                raise OSError(errno.ENOBUFS, "full")
            assert member not in self.groups, "the kernel refuses to join twice: EADDRINUSE"
            self.groups.add(member)
        else:
            assert option == socket.IPV6_LEAVE_GROUP
            if ifindex in self.kernel.missing:
                raise OSError(errno.EADDRNOTAVAIL, "not a member")
            self.groups.remove(member)

    def close(self) -> None:
        self.closed = True
        self.groups.clear()


def vip(number: int) -> IPv6Address:
    return IPv6Address("2001:db8::") + number


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def groups(kernel: Kernel) -> Groups:
    return Groups(kernel.open)


def test_the_wish_is_joined_and_the_rest_is_left(kernel: Kernel, groups: Groups) -> None:
    assert groups.set([(vip(1), 2), (vip(2), 2)]) == ""
    assert groups.set([(vip(2), 2), (vip(2), 3)]) == ""
    assert kernel.joined == {(solicited_node(vip(2)), 2), (solicited_node(vip(2)), 3)}
    assert groups.joined == kernel.joined


def test_more_groups_than_one_socket_holds_are_spread(kernel: Kernel, groups: Groups) -> None:
    assert groups.set([(vip(number), 2) for number in range(10)]) == ""
    assert len(kernel.joined) == 10
    assert kernel.open_sockets == 4


def test_sockets_without_members_are_closed(kernel: Kernel, groups: Groups) -> None:
    groups.set([(vip(number), 2) for number in range(10)])
    assert groups.set([]) == ""
    assert kernel.open_sockets == 0


def test_addresses_with_the_same_last_24_bits_share_a_group(kernel: Kernel, groups: Groups) -> None:
    other = IPv6Address("2001:db8:1::") + 1
    groups.set([(vip(1), 2), (other, 2)])
    assert kernel.joined == {(solicited_node(vip(1)), 2)}
    groups.set([(other, 2)])
    assert kernel.joined == {(solicited_node(vip(1)), 2)}


def test_ipv4_addresses_have_no_groups(kernel: Kernel, groups: Groups) -> None:
    assert groups.set([(IPv4Address("192.0.2.1"), 2)]) == ""
    assert kernel.sockets == []


def test_a_failed_join_is_named_and_tried_again(kernel: Kernel, groups: Groups) -> None:
    kernel.missing = {2}
    error = groups.set([(vip(1), 2), (vip(1), 3)])
    assert error == "ENODEV: group ff02::1:ff00:1, device 2"
    assert kernel.joined == {(solicited_node(vip(1)), 3)}
    kernel.missing = set()
    assert groups.reconcile() == ""
    assert kernel.joined == {(solicited_node(vip(1)), 2), (solicited_node(vip(1)), 3)}


def test_a_membership_that_went_with_its_device_is_left_without_complaint(
    kernel: Kernel, groups: Groups
) -> None:
    groups.set([(vip(1), 2)])
    kernel.missing = {2}
    assert groups.set([]) == ""
    assert groups.joined == frozenset()


def test_a_socket_that_holds_nothing_at_all_is_an_error(groups: Groups, kernel: Kernel) -> None:
    kernel.room = 0
    assert groups.set([(vip(1), 2)]) == "ENOBUFS: group ff02::1:ff00:1, device 2"
    assert kernel.open_sockets == 0


def test_nothing_is_asked_of_the_kernel_where_nothing_differs(
    kernel: Kernel, groups: Groups
) -> None:
    groups.set([(vip(1), 2)])
    before = kernel.calls
    groups.set([(vip(1), 2)])
    groups.reconcile()
    assert kernel.calls == before


def test_close_lets_everything_go(kernel: Kernel, groups: Groups) -> None:
    groups.set([(vip(number), 2) for number in range(4)])
    groups.close()
    assert kernel.open_sockets == 0


def test_sockets_are_given_away_to_keep_and_taken_back(kernel: Kernel) -> None:
    kept: list[int] = []
    groups = Groups(
        kernel.open,
        keep=lambda each: kept.append(each.fileno()),
        drop=lambda each: kept.remove(each.fileno()),
    )
    groups.set([(vip(number), 2) for number in range(4)])
    assert kept == [0, 1]
    groups.set([(vip(number), 2) for number in range(3)])
    assert kept == [0]
    groups.close()
    assert kept == []


SIX_HUNDRED = """
import socket
from ipaddress import IPv6Address
from herald.net.frames import solicited_node
from herald.net.groups import Groups

index = socket.if_nametoindex("va")
vips = [IPv6Address("2001:db8::100") + number for number in range(600)]
wanted = {solicited_node(vip) for vip in vips}
macs = {"3333" + group.packed[12:].hex() for group in wanted}

def heard():
    groups = {line.split()[2] for line in open("/proc/net/igmp6") if line.split()[1] == "va"}
    filters = {line.split()[4] for line in open("/proc/net/dev_mcast") if line.split()[1] == "va"}
    return len({group.packed.hex() for group in wanted} & groups), len(macs & filters)

groups = Groups()
assert heard() == (0, 0)
assert groups.set((vip, index) for vip in vips) == ""
print(*heard(), len(groups._load))
groups.set([])
print(*heard(), len(groups._load))
"""


def test_the_kernel_hears_hundreds_of_groups_also_where_a_socket_holds_few() -> None:
    """A network namespace has this limit for itself since kernel 6.8."""
    limit = "/proc/sys/net/core/optmem_max"
    script = f"""{TWO_HOSTS}
if [ -e {limit} ]; then echo 8192 > {limit}; echo low; else echo usual; fi
$PYTHON -c "$SIX_HUNDRED"
"""
    room, joined, left = run(script, PYTHON=PYTHON, SIX_HUNDRED=SIX_HUNDRED).splitlines()
    groups, filters, sockets = map(int, joined.split())
    assert (groups, filters) == (600, 600)
    assert sockets == 3 if room == "usual" else sockets > 3
    assert left == "0 0 0"
