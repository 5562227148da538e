# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Watches this node's devices, addresses and gateways, and posts all of them whenever something changed.

No change notice is believed: each only says that it is time to look again, so that a lost one
(ENOBUFS, a burst) costs nothing but the wait for the next look, 10 s at most. The kernel's answers
are decoded by pyroute2's message classes, one at a time from a plain socket: its IPRoute keeps
whole dumps in memory (12 MB for 400 devices), which on a node with many pods would be a quarter of
the agent.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import closing
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from herald.core.events import InterfacesSeen
from herald.core.model import Address, AddressOnLink, Interface
from herald.net.messages import load
from herald.net.watcher import Readable, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

RESYNC = 10.0
"""Seconds between looks when nothing was heard."""
SPACING = 0.1
"""Seconds from one look to the next at least: pods that come and go by the dozen must not cost a
core."""

_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS = 29, 0x8
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_ARPHRD_ETHER = 1

_HEADER = struct.Struct("=IHHII")
_GET_LINKS = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + struct.pack(
    "=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS
)
_GET_ADDRESSES = struct.pack("=BBBBI", 0, 0, 0, 0, 0)
_GET_ROUTES = bytes(12)
_RTM_DST_LEN = _HEADER.size + 1
"""Where struct rtmsg says how long a route's prefix is: 0 is a default route."""
_RTN_UNICAST = 1
_DUMP_BUFFER = 1 << 16
_DUMP_TIMEOUT = 5.0
_ARP_IGNORE = Path("/proc/sys/net/ipv4/conf/all/arp_ignore")


class DumpInterruptedError(Exception):
    """The kernel's tables changed while they were read (NLM_F_DUMP_INTR): read again."""


# --- Looking --------------------------------------------------------------------------------------


def read_interfaces() -> tuple[Interface, ...]:
    """All network devices of this network namespace with their addresses, by index.

    Raises OSError.
    """
    for _ in range(5):
        try:
            return _read_once()
        except DumpInterruptedError:
            continue
    raise OSError(errno.EAGAIN, "the devices kept changing while they were read")


def _read_once() -> tuple[Interface, ...]:
    messages = load()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as netlink:
        netlink.settimeout(_DUMP_TIMEOUT)
        netlink.bind((0, 0))
        addresses: dict[int, list[AddressOnLink]] = {}
        for data in _dump(netlink, _RTM_GETADDR, _RTM_NEWADDR, _GET_ADDRESSES):
            index, address = _address(_decoded(messages.address, data))
            addresses.setdefault(index, []).append(address)
        gateways: dict[int, set[Address]] = {}
        for data in _dump(netlink, _RTM_GETROUTE, _RTM_NEWROUTE, _GET_ROUTES):
            # A node may have thousands of routes, and few of them are worth decoding.
            if data[_RTM_DST_LEN] == 0:
                for index, gateway in _next_hops(_decoded(messages.route, data)):
                    gateways.setdefault(index, set()).add(gateway)
        links = [
            read_link(data, addresses, gateways)
            for data in _dump(netlink, _RTM_GETLINK, _RTM_NEWLINK, _GET_LINKS)
        ]
    return tuple(sorted(links, key=lambda link: link.index))


def _dump(netlink: socket.socket, question: int, answer: int, body: bytes) -> Iterator[bytes]:
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    netlink.send(_HEADER.pack(_HEADER.size + len(body), question, flags, question, 0) + body)
    interrupted = False
    while True:
        data = netlink.recv(_DUMP_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
            interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
            if kind == _NLMSG_DONE:
                if interrupted:
                    raise DumpInterruptedError
                return
            if kind == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, offset + _HEADER.size)
                raise OSError(-code, os.strerror(-code))
            if kind == answer:
                yield data[offset : offset + length]
            offset += (length + 3) & ~3


def _decoded(kind: type[Any], data: bytes) -> Any:
    message = kind(data)
    message.decode()
    return message


def _address(message: ifaddrmsg) -> tuple[int, AddressOnLink]:
    # On a point-to-point link IFA_ADDRESS is the peer's; IPv6 has IFA_LOCAL only there.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return message["index"], ip_interface(f"{address}/{message['prefixlen']}")


def _next_hops(message: rtmsg) -> Iterator[tuple[int, Address]]:
    """Device and gateway of each way out that a default route names."""
    if message["type"] != _RTN_UNICAST:
        return
    for hop in [message, *(message.get_attr("RTA_MULTIPATH") or ())]:
        gateway = hop.get_attr("RTA_GATEWAY")
        if gateway is not None:
            index = hop["oif"] if hop is not message else message.get_attr("RTA_OIF")
            yield index, ip_address(gateway)


def read_link(
    data: bytes,
    addresses: Mapping[int, Sequence[AddressOnLink]],
    gateways: Mapping[int, Collection[Address]],
) -> Interface:
    """A device as RTM_NEWLINK tells of it, with what is known by its index."""
    message: ifinfmsg = _decoded(load().link, data)
    index: int = message["index"]
    flags: int = message["flags"]
    mac = message.get_attr("IFLA_ADDRESS") if message["ifi_type"] == _ARPHRD_ETHER else None
    # A VRF is a routing table, not a device that has taken over its members' wires.
    in_vrf = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_KIND") == "vrf"
    return Interface(
        index=index,
        name=message.get_attr("IFLA_IFNAME"),
        mac=bytes.fromhex(mac.replace(":", "")) if mac else b"",
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        master=0 if in_vrf else message.get_attr("IFLA_MASTER") or 0,
        addresses=tuple(addresses.get(index, ())),
        gateways=tuple(sorted(gateways.get(index, ()), key=lambda each: (each.version, each))),
    )


def arp_ignore(path: Path = _ARP_IGNORE) -> bool:
    """Whether the kernel answers for an IPv4 address only on the device that bears it.

    Of the value for all devices and a device's own the greater one counts (ip-sysctl); that for all is what
    kube-proxy's strictARP sets, and the one that is read. Where it cannot be read, it counts as not set.
    """
    try:
        return int(path.read_text()) > 0
    except (OSError, ValueError):
        return False


# --- Watching -------------------------------------------------------------------------------------


class Subscription(Readable, Protocol):
    def drain(self) -> None: ...

    def close(self) -> None: ...


class Notices:
    """Hears that something changed; what it was does not matter."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Forget what was heard so far, an overflow included: the look that follows sees it all."""
        while True:
            try:
                self._socket.recv(_DUMP_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        self._socket.close()


class Monitor(Watcher):
    """One thread that posts InterfacesSeen at its start, after each burst of changes and every 10
    s."""

    def __init__(
        self,
        post: Callable[[InterfacesSeen], None],
        read: Callable[[], tuple[Interface, ...]] = read_interfaces,
        subscribe: Callable[[], Subscription] = Notices,
    ) -> None:
        super().__init__("netlink")
        self._post = post
        self._read = read
        self._subscribe = subscribe

    def watch(self) -> None:
        """Notices are subscribed to before the first look, so that none falls between."""
        with closing(self._subscribe()) as notices:
            posted: InterfacesSeen | None = None
            while True:
                notices.drain()
                looked = time.monotonic()
                seen = InterfacesSeen(self._read(), arp_ignore())
                if seen != posted:
                    self._post(seen)
                    posted = seen
                heard = self.wait(notices, seconds=RESYNC)
                if heard is None:
                    return
                if not heard:
                    posted = None
                elif self.wait(seconds=max(0.0, looked + SPACING - time.monotonic())) is None:
                    return
