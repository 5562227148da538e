# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from herald.shell.notify import Notifier


class Systemd:
    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    path = str(tmp_path / "notify")
    system = Systemd(path if request.param == "path" else f"@{path}")
    with system.socket:
        yield system


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    with closing(Notifier({"NOTIFY_SOCKET": systemd.address})) as notifier:
        yield notifier


def test_each_message_is_a_datagram(systemd: Systemd, notifier: Notifier) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.stopping("handing over")
    assert systemd.heard() == [
        "READY=1",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=handing over",
    ]


def test_the_status_is_sent_when_it_changes(systemd: Systemd, notifier: Notifier) -> None:
    for text in ["live", "live", "live; 1 problem", "live"]:
        notifier.status(text)
    assert systemd.heard() == ["STATUS=live", "STATUS=live; 1 problem", "STATUS=live"]


def test_a_status_is_one_line(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("a\nREADY=1")
    assert systemd.heard() == ["STATUS=a READY=1"]


def test_without_systemd_nothing_happens() -> None:
    Notifier({}).ready()


def test_a_systemd_that_does_not_listen_is_no_error(tmp_path: Path) -> None:
    with closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})) as notifier:
        notifier.ready()


@pytest.mark.parametrize(
    ("environment", "nanoseconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "10000000"}, 10_000_000_000),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 10_000_000_000),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_is_the_one_that_systemd_asked_this_process_for(
    environment: dict[str, str], nanoseconds: int
) -> None:
    assert Notifier(environment).watchdog_ns == nanoseconds
