# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The status for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import cast

import pytest

from herald.core import report
from herald.shell.report import as_json, headline


@dataclass(frozen=True, slots=True)
class Held:
    address: IPv4Address
    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    phase: str = "live"
    held: tuple[Held, ...] = ()
    allocator: bool = False
    problems: tuple[str, ...] = ()


HELD = Held(IPv4Address("192.0.2.7"), ("eth0",))


def test_every_value_has_its_json() -> None:
    value = {"a": Status(held=(HELD,)), "b": frozenset([2, 1]), "c": [None, 1.5], 4: "d"}
    assert as_json(value) == {
        "a": {
            "phase": "live",
            "held": [{"address": "192.0.2.7", "interfaces": ["eth0"]}],
            "allocator": False,
            "problems": [],
        },
        "b": [1, 2],
        "c": [None, 1.5],
        "4": "d",
    }


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status(), "live; holds 0 addresses"),
        (Status(held=(HELD,), allocator=True), "live; holds 1 address; allocates addresses"),
        (Status("joining", problems=("no Node n1",)), "joining; holds 0 addresses; no Node n1"),
    ],
)
def test_the_headline(status: Status, line: str) -> None:
    assert headline(cast("report.Status", status)) == line
