# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""heraldctl against an agent that answers, one that does not, and none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import herald
from herald.cli import main as cli
from herald.cli.main import main

HEALTHY = {
    "version": "0.1.0",
    "status": {
        "node": "n1",
        "phase": "live",
        "valid_for_ms": 1500,
        "held": [{"address": "192.0.2.7", "interfaces": ["eth0", "eth1"], "held_ms": 20}],
        "api_ok": True,
        "draining": False,
        "epoch": "",
        "problems": [],
    },
    "problems": [],
}
ILL = HEALTHY | {"problems": ["there is no Node named n1", "the API server does not answer"]}


class Agent:
    """Gives its answers one after the other, the last one for ever."""

    def __init__(self, path: Path) -> None:
        self.answers: list[Any] = [HEALTHY]
        self.asked: list[Any] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            with caller, caller.makefile("rb") as lines:
                self.asked.append(json.loads(lines.readline()))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                caller.sendall(data + b"\n")

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def agent(path: Path) -> Iterator[Agent]:
    agent = Agent(path)
    yield agent
    agent.stop()


def run(path: Path, *arguments: str) -> int:
    return main(["--socket", str(path), *arguments])


def test_a_healthy_agent(agent: Agent, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "version: 0.1.0",
        "node: n1",
        "phase: live",
        "valid for (ms): 1500",
        "held: 1",
        "  192.0.2.7, interfaces eth0, eth1, held (ms) 20",
        "api ok: yes",
        "draining: no",
        "epoch: -",
    ]
    assert agent.asked == [{"do": "status"}]


def test_each_problem_is_a_line(
    agent: Agent, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.answers = [ILL]
    assert run(path, "status") == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "problem: there is no Node named n1",
        "problem: the API server does not answer",
    ]


@pytest.mark.parametrize(("answer", "status"), [(HEALTHY, 0), (ILL, 1)])
def test_json_is_all_that_the_agent_said(
    agent: Agent, path: Path, capsys: pytest.CaptureFixture[str], answer: Any, status: int
) -> None:
    agent.answers = [answer]
    assert run(path, "status", "--json") == status
    assert json.loads(capsys.readouterr().out) == answer


def test_an_agent_whose_decider_is_stuck(
    agent: Agent, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.answers = [{"version": "0.1.0", "status": None, "problems": ["no answer"]}]
    assert run(path, "status") == 1
    assert capsys.readouterr().out.splitlines() == ["version: 0.1.0", "problem: no answer"]


def test_no_agent_says_what_to_do(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "status") == 3
    error = capsys.readouterr().err
    assert error.startswith(f"heraldctl: the agent is not running ({path}: No such file")
    assert "systemctl status herald-agent" in error


def test_wait_is_until_healthy(agent: Agent, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "LOOK_EVERY", 0.0)
    agent.answers = [ILL, ILL, HEALTHY]
    assert run(path, "status", "--wait", "60") == 0
    assert len(agent.asked) == 3


def test_wait_is_also_for_an_agent_that_makes_way_for_a_new_process(
    agent: Agent, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "LOOK_EVERY", 0.0)
    agent.answers = [b"", HEALTHY]
    assert run(path, "status", "--wait", "60") == 0
    assert len(agent.asked) == 2


def test_wait_ends(agent: Agent, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "LOOK_EVERY", 0.01)
    agent.answers = [ILL]
    assert run(path, "status", "--wait", "0.05") == 1


def test_wait_is_also_for_an_agent_that_starts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[Agent] = []

    def start_it(_: float) -> None:
        if not agents:
            agents.append(Agent(path))

    monkeypatch.setattr(cli.time, "sleep", start_it)
    assert run(path, "status", "--wait", "60") == 0
    agents[0].stop()


@pytest.mark.parametrize(
    ("arguments", "address"), [(["announce"], None), (["announce", "192.0.2.7"], "192.0.2.7")]
)
def test_announce(
    agent: Agent,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    address: str | None,
) -> None:
    agent.answers = [{"announced": address or "all"}]
    assert run(path, *arguments) == 0
    assert agent.asked == [{"do": "announce", "address": address}]
    assert capsys.readouterr().out == f"announced again: {address or 'all'}\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": "192.0.2.8: this node does not announce it"}, "192.0.2.8: this node does not"),
        (b"hello", "wanted a line of JSON, found b'hello"),
        (b"", "wanted a line of JSON, found b'"),
        ([], "wanted a JSON object"),
    ],
)
def test_a_refusal_or_nonsense_is_shown(
    agent: Agent, path: Path, capsys: pytest.CaptureFixture[str], answer: Any, error: str
) -> None:
    agent.answers = [answer]
    assert run(path, "announce", "192.0.2.8") == 1
    assert error in capsys.readouterr().err


def test_an_agent_that_takes_the_question_and_says_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "ANSWER_LIMIT", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert run(path, "status") == 1
    assert "took the question and gave no answer" in capsys.readouterr().err


def test_wrong_usage_is_2(path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(path, "dance")
    assert ended.value.code == 2


def test_it_needs_the_standard_library_alone() -> None:
    """Health checks call it often: no import of what the agent needs."""
    script = "import sys, herald.cli.main; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(herald.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("urllib3", "pyroute2", "prometheus_client", "tomllib", "ssl"):
        assert f"'{name}'" not in done.stdout
