# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The bytes in the maps: Python's side of bpf/layout.h.

tests/bpf/test_layout.py holds every size and offset here against the header.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from herald.core.kernel import (
    EntryFlags,
    EntryKey,
    EntryValue,
    KernelEvent,
    KernelEventKind,
    Seen,
)
from herald.core.model import Address
from herald.datapath import loader

# Native byte order, standard sizes, padding written out. What the loader must know stands there.
VIP4_KEY = struct.Struct("=4sI")
VIP6_KEY = struct.Struct("=16sI")
ENTRY, SEEN, SESSION = (
    struct.Struct(loader.LAYOUTS[loader.LAYOUT_VERSION][name].format)
    for name in ("vip4", "seen4", "session")
)
EVENT = struct.Struct("=QIHH16s6s2x")

OWN_KEY = struct.Struct("=6s2x")
OWN_IFINDEX = struct.Struct("=I")

SESSION_HOLD = 1


def pack_key(key: EntryKey) -> bytes:
    """The key of vip4 or vip6."""
    layout = VIP4_KEY if isinstance(key.address, IPv4Address) else VIP6_KEY
    return layout.pack(key.address.packed, key.ifindex)


def unpack_key(data: bytes) -> EntryKey:
    """The reverse; the length says the family."""
    if len(data) == VIP4_KEY.size:
        packed4, ifindex = VIP4_KEY.unpack(data)
        return EntryKey(IPv4Address(packed4), ifindex)
    packed6, ifindex = VIP6_KEY.unpack(data)
    return EntryKey(IPv6Address(packed6), ifindex)


def pack_value(value: EntryValue) -> bytes:
    """The value of vip4 or vip6."""
    return ENTRY.pack(value.mac, value.flags, value.claimed)


def unpack_value(data: bytes) -> EntryValue:
    """The reverse."""
    mac, flags, claimed = ENTRY.unpack(data)
    return EntryValue(mac, claimed, EntryFlags(flags))


def unpack_seen(data: bytes) -> Seen:
    """A value of seen4 or seen6."""
    answered, conflicts, silenced, _, foreign_at, _, _, mac, ifindex = SEEN.unpack(data)
    return Seen(answered, conflicts, silenced, mac if foreign_at else None, foreign_at, ifindex)


def unpack_event(data: bytes) -> KernelEvent:
    """A record of the ring buffer."""
    at, ifindex, kind, family, packed, mac = EVENT.unpack_from(data)
    address: Address = IPv6Address(packed)
    if family == socket.AF_INET:
        address = IPv4Address(packed[:4])
    return KernelEvent(KernelEventKind(kind), address, ifindex, mac, at)
