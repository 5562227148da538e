# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The MACs of this node's announcing interfaces, for the responder to tell from those of others.

Two interfaces on one segment hear each other's announcements, which are no conflict. So a MAC must
be known before the first frame that bears it: at the latest when its interface is attached.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from herald.datapath import layout
from herald.datapath.bpf import HashMap

_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1


class OwnMacs:
    """The pinned map ``own``."""

    def __init__(self, path: Path) -> None:
        self._map = HashMap(path)

    def put(self, interfaces: Mapping[bytes, int]) -> None:
        """Add MACs, each with its interface. Raises DatapathError."""
        self._map.put(
            [layout.OWN_KEY.pack(mac) for mac in interfaces],
            [layout.OWN_IFINDEX.pack(ifindex) for ifindex in interfaces.values()],
        )

    def learn(self, ifindex: int) -> None:
        """Add the MAC that an interface has now; one that is gone or has none is no error."""
        with suppress(OSError):
            self.put(dict.fromkeys(_mac_of(ifindex), ifindex))

    def forget(self, ifindex: int) -> None:
        """Remove all that an interface has had."""
        value = layout.OWN_IFINDEX.pack(ifindex)
        self._map.remove([mac for mac, found in self._map.items() if found == value])

    def close(self) -> None:
        """Let go of it; the pin stays."""
        self._map.close()


def _mac_of(ifindex: int) -> tuple[bytes, ...]:
    """netdevice(7). Raises OSError where the interface is gone."""
    request = struct.pack("=16s24x", socket.if_indextoname(ifindex).encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)
    kind, mac = struct.unpack_from("=H6s", answer, 16)
    return (mac,) if kind == _ARPHRD_ETHER else ()
