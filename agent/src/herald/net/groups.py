# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Membership in solicited-node groups, so that solicitations for held IPv6 addresses reach this
node.

The kernel answers for an address that no interface has, so nobody else joins its group: NIC filters
and switches with MLD snooping would drop the question. Memberships belong to sockets, and a socket
holds only some hundreds (``net.core.optmem_max``), so they are spread over several.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Protocol, TypeAlias

from herald.net.frames import solicited_node
from herald.net.sender import error_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from herald.core.model import Address

Member: TypeAlias = tuple[IPv6Address, int]
"""Group and ifindex. Addresses whose last 24 bits are the same share one."""

_FULL = (errno.ENOBUFS, errno.ENOMEM)
_PER_SOCKET = 256
_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO)


class GroupSocket(Protocol):
    def fileno(self) -> int: ...

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...

    def close(self) -> None: ...


def open_group_socket() -> GroupSocket:
    return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


class Groups:
    """The memberships of this process, set by difference; used by one thread."""

    def __init__(
        self,
        opener: Callable[[], GroupSocket] = open_group_socket,
        keep: Callable[[GroupSocket], None] = lambda _: None,
        drop: Callable[[GroupSocket], None] = lambda _: None,
    ) -> None:
        """``keep``: what is done with a socket when it is opened; ``drop``: before it is closed."""
        self._open = opener
        self._keep = keep
        self._drop = drop
        self._wanted: frozenset[Member] = frozenset()
        self._joined: dict[Member, GroupSocket] = {}
        self._load: dict[GroupSocket, int] = {}

    @property
    def joined(self) -> frozenset[Member]:
        return frozenset(self._joined)

    def set(self, members: Iterable[tuple[Address, int]]) -> str:
        """Be a member of the groups of these addresses on these devices, and of no others.

        Returns what failed, or "". What failed is tried again by ``reconcile``.
        """
        self._wanted = frozenset(
            (solicited_node(address), ifindex)
            for address, ifindex in members
            if isinstance(address, IPv6Address)
        )
        return self.reconcile()

    def reconcile(self) -> str:
        """Join and leave what differs from the wish; costs nothing where nothing does."""
        if self._wanted == self._joined.keys():
            return ""
        errors: list[str] = []
        for member in sorted(self._joined.keys() - self._wanted):
            self._leave(member)
        for member in sorted(self._wanted - self._joined.keys()):
            try:
                self._join(member)
            except OSError as error:
                errors.append(f"{error_name(error)}: group {member[0]}, device {member[1]}")
        return "; ".join(errors)

    def close(self) -> None:
        for holder in self._load:
            self._drop(holder)
            holder.close()
        self._load.clear()
        self._joined.clear()

    def _join(self, member: Member) -> None:
        for holder, load in self._load.items():
            if load < _PER_SOCKET and self._try(holder, member):
                return
        fresh = self._open()
        self._keep(fresh)
        self._load[fresh] = 0
        try:
            if not self._try(fresh, member):
                raise OSError(errno.ENOBUFS, "no room for a single group (net.core.optmem_max)")
        finally:
            self._close_if_idle(fresh)

    def _try(self, holder: GroupSocket, member: Member) -> bool:
        """False where the socket is full."""
        try:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _request(member))
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        self._joined[member] = holder
        self._load[holder] += 1
        return True

    def _leave(self, member: Member) -> None:
        holder = self._joined.pop(member)
        self._load[holder] -= 1
        try:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _request(member))
        except OSError as error:
            # The membership went with its device.
            if error.errno not in _GONE:
                raise
        finally:
            self._close_if_idle(holder)

    def _close_if_idle(self, holder: GroupSocket) -> None:
        if self._load[holder] == 0:
            del self._load[holder]
            self._drop(holder)
            holder.close()


def _request(member: Member) -> bytes:
    """struct ipv6_mreq (linux/in6.h)."""
    group, ifindex = member
    return struct.pack("=16si", group.packed, ifindex)
