# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The layout of the maps, held against layout.h from Python's side."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from herald.core.kernel import (
    EntryFlags,
    EntryKey,
    EntryValue,
    KernelEvent,
    KernelEventKind,
    Seen,
)
from herald.datapath import layout, loader

HEADER = (Path(__file__).resolve().parents[2] / "bpf/layout.h").read_text()
MAC = bytes.fromhex("020000000001")


def sizes() -> dict[str, int]:
    return {
        name: int(size)
        for name, size in re.findall(r"^LAYOUT_SIZE\((\w+), (\d+)\)", HEADER, re.MULTILINE)
    }


def offsets(struct: str) -> list[int]:
    """Where the fields of a struct stand, in their order."""
    return [
        int(offset)
        for offset in re.findall(rf"^LAYOUT_FIELD\({struct}, \w+, (\d+)\)", HEADER, re.MULTILINE)
    ]


def python_offsets(layout_format: str) -> list[int]:
    """The same of a struct format in standard sizes."""
    found, at = [], 0
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", layout_format):
        size = {"Q": 8, "I": 4, "H": 2}.get(kind)
        if kind in "sx":
            if kind == "s":
                found.append(at)
            at += int(count)
        else:
            assert size
            assert not count
            found.append(at)
            at += size
    return found


@pytest.mark.parametrize(
    ("struct", "python"),
    [
        ("vip4_key", layout.VIP4_KEY),
        ("vip6_key", layout.VIP6_KEY),
        ("entry", layout.ENTRY),
        ("seen", layout.SEEN),
        ("own_key", layout.OWN_KEY),
        ("session", layout.SESSION),
        ("event", layout.EVENT),
    ],
)
def test_struct_has_the_size_and_offsets_of_the_header(struct: str, python: object) -> None:
    assert python.size == sizes()[struct]
    assert python_offsets(python.format) == offsets(struct)


def test_every_struct_of_the_header_is_held_to_its_size() -> None:
    assert set(re.findall(r"^struct (\w+) \{", HEADER, re.MULTILINE)) == set(sizes())


def test_every_field_of_the_header_is_held_to_its_offset() -> None:
    for struct, body in re.findall(r"^struct (\w+) \{(.*?)^\};", HEADER, re.MULTILINE | re.DOTALL):
        fields = re.findall(r"(\w+)(?:\[\d+\])?;", body)
        held = re.findall(rf"^LAYOUT_FIELD\({struct}, (\w+),", HEADER, re.MULTILINE)
        assert held == [field for field in fields if field != "reserved"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAYOUT_VERSION", loader.LAYOUT_VERSION),
        ("LAYOUT_ENTRIES", loader.ENTRIES),
        ("LAYOUT_INTERFACES", loader.MAPS["own"].max_entries),
        ("ENTRY_ANSWER_PING", EntryFlags.ANSWER_PING),
        ("SESSION_HOLD", layout.SESSION_HOLD),
        *[(f"EVENT_{kind.name}", kind.value) for kind in KernelEventKind],
    ],
)
def test_constant_is_the_header_s(name: str, value: int) -> None:
    assert re.search(rf"^#define {name} (\d+)", HEADER, re.MULTILINE).group(1) == str(int(value))


def test_maps_have_the_sizes_of_their_structs() -> None:
    size = sizes()
    assert {name: (shape.key_size, shape.value_size) for name, shape in loader.MAPS.items()} == {
        "vip4": (size["vip4_key"], size["entry"]),
        "vip6": (size["vip6_key"], size["entry"]),
        "seen4": (4, size["seen"]),
        "seen6": (16, size["seen"]),
        "own": (size["own_key"], layout.OWN_IFINDEX.size),
        "session": (4, size["session"]),
        "events": (0, 0),
    }


@pytest.mark.parametrize("address", [IPv4Address("192.0.2.10"), IPv6Address("fd00::10")])
def test_keys_and_values_come_back_as_they_went(address: IPv4Address | IPv6Address) -> None:
    key = EntryKey(address, 7)
    value = EntryValue(MAC, 123456789, EntryFlags.ANSWER_PING)
    packed = layout.pack_entries({key: value})
    (keys, values) = packed.pop(address.version)
    assert list(packed.values()) == [([], [])]
    assert [layout.unpack_key(each) for each in keys] == [key]
    assert [layout.unpack_value(each) for each in values] == [value]
    assert layout.pack_keys([key])[address.version] == keys


def test_key_bytes_are_in_network_order_before_the_interface() -> None:
    (packed,) = layout.pack_keys([EntryKey(IPv4Address("192.0.2.10"), 7)])[4]
    assert packed == bytes([192, 0, 2, 10]) + (7).to_bytes(4, "little")


def test_what_the_kernel_wrote_is_read() -> None:
    seen = layout.SEEN.pack(5, 6, 7, 8, 9, 10, 11, MAC, 12)
    assert layout.unpack_seen(seen) == Seen(5, 6, 7, MAC, 9, 12)
    assert layout.unpack_seen(bytes(72)) == Seen(0, 0, 0, None, 0, 0)
    event = layout.EVENT.pack(9, 4, 2, socket.AF_INET, bytes([192, 0, 2, 10]) + bytes(12), MAC)
    assert layout.unpack_event(event) == KernelEvent(
        KernelEventKind.SILENCED, IPv4Address("192.0.2.10"), 4, MAC, 9
    )
