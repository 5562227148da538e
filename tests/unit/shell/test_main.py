# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The real process: how it says why it cannot start, and how it starts and ends without an API server."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from tests.unit.kube.servers import make_certificate

import herald
from herald.cli.main import ask
from herald.shell.main import main

LIMIT = 30.0
"""Seconds that a busy machine may take for anything here."""

PROGRAM = """
import sys
from pathlib import Path
from herald.core.kernel import Session
from herald.shell.main import main

class Responder:
    def session(self): return Session()
    def entries(self): return {}
    def seen(self): return {}
    def set_session(self, deadline, fuse, renewed, hold): pass
    def set_entries(self, remove, put): pass
    def attach(self, ifindex): pass
    def detach(self, ifindex): pass
    def attached(self): return frozenset()
    def learn_own(self, macs): pass
    def set_own(self, macs): pass
    def look(self): return {}, set()
    def poll(self, timeout):
        import time
        time.sleep(timeout)
        return False
    def events(self): return []
    def close(self): Path(sys.argv[-1], "closed").touch()

sys.exit(main(sys.argv[1:-1], lambda *_: Responder()))
"""

SLOW_API = (
    """
from herald.kube.client import KubeClient
from herald.shell import proving

class Slow:
    def once(self): return 700_000_000
    def abort(self): pass
    def close(self): pass

KubeClient.latency_timer = lambda *_: Slow()
proving.EVERY = 0.01
"""
    + PROGRAM
)


class Agent:
    """A process, what systemd would hear from it, and what it logged."""

    def __init__(self, folder: Path, command: list[str], notify: socket.socket) -> None:
        self.folder = folder
        self.notify = notify
        self.said: list[str] = []
        self.process = subprocess.Popen(
            command,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(herald.__file__).parent.parent),
                "NOTIFY_SOCKET": str(folder / "notify"),
                "JOURNAL_STREAM": "8:1",
                "WATCHDOG_USEC": "10000000",
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, wanted: Callable[[str], bool]) -> str:
        """The first message to systemd that is wanted, said already or to come."""
        for message in self.said:
            if wanted(message):
                return message
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            try:
                self.said.append(self.notify.recv(4096).decode())
            except TimeoutError:
                continue
            if wanted(self.said[-1]):
                return self.said[-1]
        raise AssertionError(f"never said; it said {self.said}")

    def end(self) -> tuple[int, list[str]]:
        """Exit status and log lines."""
        _, log = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, log.splitlines()


@dataclass
class Node:
    """A node's files, good at first."""

    folder: Path
    config: dict[str, dict[str, object]] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    notify: socket.socket = field(default_factory=lambda: socket.socket(type=socket.SOCK_DGRAM))

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def write(self, **changes: object) -> None:
        settings = {
            "servers": '["https://127.0.0.1:1"]',
            "ca_file": f'"{self.folder / "ca.crt"}"',
            "token_file": f'"{self.folder / "token"}"',
        } | changes
        lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
        metrics = '[metrics]\nlisten = ""\n'
        bpffs = f'[datapath]\nbpffs = "{self.folder / "bpf"}"\n'
        (self.folder / "agent.toml").write_text(f'node = "n1"\n{bpffs}{metrics}[api]\n{lines}\n')

    def arguments(self) -> list[str]:
        return ["--config", str(self.folder / "agent.toml"), "--run-dir", str(self.run_dir)]

    def start(self, *, fake_responder: bool = True, program: str = PROGRAM) -> Agent:
        # A user and network namespace gives the capabilities that the unit would, without root.
        command = ["unshare", "--map-root-user", "--net", sys.executable]
        if fake_responder:
            command += ["-c", program, *self.arguments(), str(self.folder)]
        else:
            command += ["-m", "herald.shell.main", *self.arguments()]
        self.agents.append(Agent(self.folder, command, self.notify))
        return self.agents[-1]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    make_certificate(tmp_path, "127.0.0.1")
    (tmp_path / "token").write_text("a-token-of-another-kind")
    (tmp_path / "run").mkdir()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(0.5)
    node = Node(tmp_path, notify=notify)
    node.write()
    yield node
    for agent in node.agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.communicate()
    notify.close()


# --- Why it cannot start --------------------------------------------------------------------------


def refusal(node: Node, *, fake_responder: bool = True) -> tuple[int, str]:
    agent = node.start(fake_responder=fake_responder)
    status, log = agent.end()
    message = agent.until(lambda said: said.startswith("STATUS=cannot start: "))
    reason = message.removeprefix("STATUS=cannot start: ")
    assert len(log) == 1, log
    assert log[0].startswith("<3>cannot-start error=")
    assert f"status={status}" in log[0]
    return status, reason


def test_a_bad_configuration(node: Node) -> None:
    node.write(servers='["http://127.0.0.1:1"]')
    assert refusal(node) == (
        78,
        (
            f"{node.folder}/agent.toml: api.servers[0]: wanted https://host:port,"
            " found 'http://127.0.0.1:1'"
        ),
    )


@pytest.mark.parametrize(
    ("servers", "status", "said"),
    [
        ('["https://127.0.0.1:1"]', 0, ""),
        (
            '["http://127.0.0.1:1"]',
            78,
            "api.servers[0]: wanted https://host:port, found 'http://127.0.0.1:1'\n",
        ),
    ],
    ids=["good", "bad"],
)
def test_a_configuration_is_judged_and_nothing_begun(
    node: Node, capfd: pytest.CaptureFixture[str], servers: str, status: int, said: str
) -> None:
    node.write(servers=servers)
    (node.folder / "token").unlink()
    assert main([*node.arguments(), "--check"], never) == status
    assert capfd.readouterr().err.removeprefix(f"{node.folder}/agent.toml: ") == said
    assert list(node.run_dir.iterdir()) == []


def never(*_: object) -> NoReturn:
    raise AssertionError("the responder was opened")


def test_no_configuration(node: Node) -> None:
    (node.folder / "agent.toml").unlink()
    status, reason = refusal(node)
    assert status == 78
    assert "agent.toml: wanted a readable file, found No such file" in reason


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_no_ca(node: Node, content: str | None) -> None:
    (node.folder / "ca.crt").unlink()
    if content is not None:
        (node.folder / "ca.crt").write_text(content)
    status, reason = refusal(node)
    assert status == 78
    assert f"{node.folder}/ca.crt" in reason


@pytest.mark.parametrize("content", [None, "", "two words"])
def test_no_token(node: Node, content: str | None) -> None:
    (node.folder / "token").unlink()
    if content is not None:
        (node.folder / "token").write_text(content)
    status, reason = refusal(node)
    assert status == 78
    assert reason.startswith(f"api.token_file: {node.folder}/token: wanted a token, found")
    assert "run the agent role again" in reason
    assert "two words" not in reason


def test_another_agent_on_this_machine(node: Node) -> None:
    with (node.run_dir / "agent.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711\n")
        held.flush()
        status, reason = refusal(node)
    assert status == 75
    assert "another agent runs on this machine (process 4711)" in reason


def test_no_responder_in_the_kernel(node: Node) -> None:
    status, reason = refusal(node, fake_responder=False)
    assert status == 69
    assert str(node.folder / "bpf") in reason
    assert "loader" in reason


def test_a_duration_that_the_api_server_is_too_slow_for(node: Node) -> None:
    agent = node.start(program=SLOW_API)
    status, log = agent.end()
    # systemd tries it again: the API server may be quicker then.
    assert status == 75
    figures = "lease.duration_ms: wanted 2800 at least, found 2000: the API server took 700 ms"
    assert [line for line in log if line.startswith("<3>finished") and figures in line], log
    assert agent.until(lambda said: said.startswith("STOPPING=1") and figures in said)


# --- Without an API server ------------------------------------------------------------------------


def test_it_starts_says_what_is_wrong_and_ends_when_told(node: Node) -> None:
    agent = node.start()
    agent.until(lambda said: said == "READY=1")
    agent.until(lambda said: said == "WATCHDOG=1")
    status = agent.until(lambda said: said.startswith("STATUS=") and "API server" in said)
    assert "cannot start" not in status
    while not (node.run_dir / "control.sock").exists():
        time.sleep(0.01)
    answer = ask(node.run_dir / "control.sock", {"do": "status"})
    assert answer["status"]["node"] == "n1"
    assert any("API server" in problem for problem in answer["problems"])
    agent.process.send_signal(signal.SIGTERM)
    agent.process.send_signal(signal.SIGTERM)
    agent.until(lambda said: said.startswith("STOPPING=1"))
    code, log = agent.end()
    assert code == 0, log
    assert not [line for line in log if "decider-raised" in line or "Traceback" in line]
    assert (node.folder / "closed").exists()
    assert not (node.run_dir / "control.sock").exists()
