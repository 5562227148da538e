# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Sockets that systemd keeps for the next process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from herald.core.model import SECOND
from herald.shell.fdstore import KEEP, FdStore
from herald.shell.notify import Notifier


class Systemd:
    """Keeps descriptors by name, as systemd does."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(self.address)
        self.kept: dict[str, int] = {}

    def listen(self) -> None:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
            except BlockingIOError:
                return
            fields = dict(line.split("=", 1) for line in message.decode().splitlines())
            if fields.get("FDSTORE") == "1":
                assert fields["FDPOLL"] == "0", "an error on the socket must not end the keeping"
                (self.kept[fields["FDNAME"]],) = descriptors
            elif fields.get("FDSTOREREMOVE") == "1":
                os.close(self.kept.pop(fields["FDNAME"]))

    def close(self) -> None:
        self.socket.close()
        for descriptor in self.kept.values():
            os.close(descriptor)


class Clock:
    now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with closing(Systemd(tmp_path / "notify")) as systemd:
        yield systemd


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    with closing(Notifier({"NOTIFY_SOCKET": systemd.address})) as notifier:
        yield notifier


def inherit(*names: str, process: int | None = None) -> dict[str, str]:
    return {
        "LISTEN_PID": str(process or os.getpid()),
        "LISTEN_FDS": str(len(names)),
        "LISTEN_FDNAMES": ":".join(names),
    }


def test_a_socket_is_kept_until_it_is_dropped(systemd: Systemd, notifier: Notifier) -> None:
    store = FdStore(notifier, "groups-a", Clock(), {})
    with socket.socket() as first, socket.socket() as second:
        store.keep(first)
        store.keep(second)
        systemd.listen()
        assert list(systemd.kept) == ["groups-a-1", "groups-a-2"]
        assert os.path.sameopenfile(systemd.kept["groups-a-1"], first.fileno())
        store.drop(first)
        systemd.listen()
        assert list(systemd.kept) == ["groups-a-2"]
        store.drop(first)
        systemd.listen()
        assert list(systemd.kept) == ["groups-a-2"]


def test_what_was_inherited_is_let_go_when_its_time_is_up(
    systemd: Systemd, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    uninheritable: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "set_inheritable", lambda *pair: uninheritable.append(pair))
    clock = Clock()
    store = FdStore(notifier, "groups-b", clock, inherit("groups-a-1", "groups-a-2"), closed.append)
    with socket.socket() as left:
        for name in ("groups-a-1", "groups-a-2"):
            systemd.kept[name] = os.dup(left.fileno())
    assert uninheritable == [(3, False), (4, False)]
    clock.now += KEEP - 1
    store.tidy()
    assert (store.inherited, closed) == (2, [])
    clock.now += 1
    store.tidy()
    store.tidy()
    systemd.listen()
    assert (store.inherited, closed) == (0, [3, 4])
    assert systemd.kept == {}


@pytest.mark.parametrize(
    "environment",
    [{}, inherit("a", process=1), {"LISTEN_PID": "x"}, inherit() | {"LISTEN_FDS": "many"}],
)
def test_descriptors_that_are_not_meant_for_this_process_are_left_alone(
    notifier: Notifier, environment: dict[str, str]
) -> None:
    assert FdStore(notifier, "groups", Clock(), environment).inherited == 0
