# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The bytes in the maps: Python's side of bpf/layout.h.

tests/bpf/test_layout.py holds every size and offset here against the header.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
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


_KEYS = {4: (4, VIP4_KEY.pack), 16: (6, VIP6_KEY.pack)}
"""By the length of an address: its family, and what packs the key."""


def pack_keys(keys: Iterable[EntryKey]) -> dict[int, list[bytes]]:
    """By family: the keys of vip4 and of vip6."""
    found: dict[int, list[bytes]] = {4: [], 6: []}
    for key in keys:
        address = key.address.packed
        family, pack = _KEYS[len(address)]
        found[family].append(pack(address, key.ifindex))
    return found


def pack_entries(
    entries: Mapping[EntryKey, EntryValue],
) -> dict[int, tuple[list[bytes], list[bytes]]]:
    """By family: the keys of vip4 and of vip6, and the value of each.

    In one loop without a call of ours: thousands of addresses move at once.
    """
    found: dict[int, tuple[list[bytes], list[bytes]]] = {4: ([], []), 6: ([], [])}
    pack_value = ENTRY.pack
    for key, value in entries.items():
        address = key.address.packed
        family, pack = _KEYS[len(address)]
        keys, values = found[family]
        keys.append(pack(address, key.ifindex))
        values.append(pack_value(value.mac, value.flags, value.claimed))
    return found


def unpack_key(data: bytes) -> EntryKey:
    """A key of vip4 or vip6; the length says the family."""
    if len(data) == VIP4_KEY.size:
        packed4, ifindex = VIP4_KEY.unpack(data)
        return EntryKey(IPv4Address(packed4), ifindex)
    packed6, ifindex = VIP6_KEY.unpack(data)
    return EntryKey(IPv6Address(packed6), ifindex)


def unpack_value(data: bytes) -> EntryValue:
    """A value of vip4 or vip6."""
    mac, flags, claimed = ENTRY.unpack(data)
    return EntryValue(mac, claimed, EntryFlags(flags))


def unpack_seen(data: bytes) -> Seen:
    """A value of seen4 or seen6."""
    answered, conflicts, silenced, _, foreign_at, _, _, mac, ifindex = SEEN.unpack(data)
    return Seen(answered, conflicts, silenced, mac if foreign_at else None, foreign_at, ifindex)


def silenced(data: bytes) -> int:
    """The same, and nothing else of it: the newest claim that a conflict has silenced."""
    return int(SEEN.unpack(data)[2])


def unpack_event(data: bytes) -> KernelEvent:
    """A record of the ring buffer."""
    at, ifindex, kind, family, packed, mac = EVENT.unpack_from(data)
    address: Address = IPv6Address(packed)
    if family == socket.AF_INET:
        address = IPv4Address(packed[:4])
    return KernelEvent(KernelEventKind(kind), address, ifindex, mac, at)
