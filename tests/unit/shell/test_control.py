# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The control socket, asked over a real socket."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from herald import __version__
from herald.core.events import AnnounceAgain, Event
from herald.shell import control
from herald.shell.control import Control


@dataclass(frozen=True)
class Held:
    address: str


@dataclass(frozen=True)
class Status:
    held: tuple[Held, ...] = (Held("192.0.2.7"),)
    api_ok: bool = True
    problems: tuple[str, ...] = ()


class Agent:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.status: Status | None = Status()
        self.more: tuple[str, ...] = ()
        self.posted: list[Event] = []
        self.control = Control(path, lambda _: self.status, self.posted.append, lambda: self.more)

    def say(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(10)
            caller.connect(str(self.path))
            caller.sendall(data)
            with caller.makefile("rb") as answers:
                return answers.read()

    def ask(self, request: Any) -> Any:
        return json.loads(self.say(json.dumps(request).encode() + b"\n"))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "control.sock")
    agent.control.start()
    yield agent
    agent.control.stop()


def test_status_is_the_decider_s_with_version_and_problems(agent: Agent) -> None:
    assert agent.ask({"do": "status"}) == {
        "version": __version__,
        "process": os.getpid(),
        "status": {"held": [{"address": "192.0.2.7"}], "api_ok": True, "problems": []},
        "problems": [],
    }


def test_problems_of_decider_and_shell_are_told_together(agent: Agent) -> None:
    agent.status = Status(problems=("no Node n1",))
    agent.more = ("metrics not served",)
    assert agent.ask({"do": "status"})["problems"] == ["no Node n1", "metrics not served"]


def test_a_decider_that_gives_no_answer_is_a_problem(agent: Agent) -> None:
    agent.status = None
    answer = agent.ask({"do": "status"})
    assert answer["status"] is None
    assert answer["problems"] == ["the decider gave no answer within 2 s"]


def test_all_addresses_are_announced_again(agent: Agent) -> None:
    assert agent.ask({"do": "announce", "address": None}) == {"announced": "all"}
    assert agent.posted == [AnnounceAgain()]


def test_one_address_is_announced_again(agent: Agent) -> None:
    assert agent.ask({"do": "announce", "address": "192.0.2.7"}) == {"announced": "192.0.2.7"}
    assert agent.posted == [AnnounceAgain(IPv4Address("192.0.2.7"))]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b'{"do": "announce", "address": "192.0.2.8"}\n', "192.0.2.8: this node does not announce"),
        (b'{"do": "announce", "address": "web"}\n', "address: wanted an IP address, found 'web'"),
        (b'{"do": "announce"}\n', 'wanted {"do": "status"}'),
        (b'{"do": "dance"}\n', 'wanted {"do": "status"}'),
        (b"[]\n", 'wanted {"do": "status"}'),
        (b"hello\n", "wanted one JSON object on a line"),
        (b"\xff\xfe\n", "wanted one JSON object on a line"),
        (b"x" * 5000, "wanted one JSON object on a line"),
    ],
)
def test_what_makes_no_sense_is_refused(agent: Agent, request_: bytes, error: str) -> None:
    assert json.loads(agent.say(request_))["error"].startswith(error)
    assert agent.posted == []


def test_a_caller_that_says_nothing_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LIMIT", 0.05)
    agent = Agent(tmp_path / "control.sock")
    agent.control.start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(agent.path))
        assert agent.ask({"do": "status"})["problems"] == []
    agent.control.stop()


def test_a_socket_that_a_dead_agent_left_is_replaced_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    agent = Agent(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    agent.control.start()
    assert agent.ask({"do": "status"})["problems"] == []
    agent.control.stop()
    assert not path.exists()
