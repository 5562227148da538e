# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The outage meter and the echo backend as programs, talking over the loopback interface."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METER = Path(__file__).parents[2] / "lab" / "meter"
LOOPBACK = ("127.0.0.1", "::1")


def free_port() -> int:
    """A port that is free for UDP and TCP at this moment."""
    while True:
        with closing(socket.socket()) as tcp, closing(socket.socket(type=socket.SOCK_DGRAM)) as udp:
            tcp.bind(("", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("", port))
            except OSError:
                continue
            return port


def start(program: str, *words: object) -> subprocess.Popen[str]:
    argv = [sys.executable, str(METER / program), *map(str, words)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def echo(*words: object) -> Iterator[None]:
    server = start("echo.py", "--name", "n2", *words)
    try:
        yield
    finally:
        server.terminate()
        server.communicate()


def wait_for(port: int) -> None:
    """Until somebody accepts TCP connections at `port`."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def backend() -> Iterator[int]:
    """The port of an echo backend, UDP and TCP."""
    port = free_port()
    with echo("--udp", port, "--tcp", port):
        wait_for(port)
        yield port


class Measurement:
    """A run of outage.py; `result` waits for its end."""

    def __init__(self, tmp_path: Path, address: str, port: int, *words: object):
        self._json = tmp_path / "outage.json"
        self.process = start("outage.py", address, port, "--json", self._json, *words)

    def served(self) -> None:
        """Until the first datagram is answered."""
        assert self.process.stderr is not None
        assert "the first datagram is answered" in self.process.stderr.readline()

    def result(self) -> tuple[dict[str, Any], str]:
        words, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return json.loads(self._json.read_text()), words


@pytest.mark.parametrize("address", LOOPBACK)
def test_all_is_answered(address: str, backend: int, tmp_path: Path) -> None:
    found, words = Measurement(tmp_path, address, backend, "--seconds", 0.5).result()
    assert found["sent"] + found["meter"]["skipped"] == 50
    assert (found["lost"], found["gaps"]) == (0, [])
    assert found["backends"] == {"n2": found["sent"]}
    assert found["tcp"]["fate"] == "survived"
    assert found["tcp"]["lines"] > 0
    assert "no gap" in words


def test_several_addresses_are_measured_at_once_each_on_its_own(tmp_path: Path) -> None:
    both = ("127.0.0.1", "127.0.0.2")
    with (
        socket.socket(type=socket.SOCK_DGRAM) as echoing,
        socket.socket(type=socket.SOCK_DGRAM) as deaf,
    ):
        echoing.bind((both[0], 0))
        port = echoing.getsockname()[1]
        deaf.bind((both[1], port))
        words = ("--seconds", 0.5, "--limit-ms", 200, "--no-tcp")
        running = Measurement(tmp_path, ",".join(both), port, *words)
        while running.process.poll() is None:
            echoing.settimeout(0.1)
            with suppress(TimeoutError):
                data, asker = echoing.recvfrom(100)
                echoing.sendto(data, asker)
        found, said = running.result()
    first, second = found["targets"]
    assert [first["address"], second["address"]] == list(both)
    assert first["sent"] + second["sent"] + first["meter"]["skipped"] == 100
    assert (first["lost"], first["gaps"]) == (0, [])
    assert second["lost"] == second["sent"] > 0
    assert said.count("datagrams, one every 10 ms") == 2


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    found, words = Measurement(tmp_path, "127.0.0.1", port, "--seconds", 0.2).result()
    assert found["lost"] == found["sent"] > 0
    assert found["errors"] == {"ECONNREFUSED": found["sent"]}
    assert found["tcp"]["fate"] == "not connected"
    assert "nothing answered before it, not over at the end" in words


def test_every_datagram_has_a_port_of_its_own(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        words = ("--seconds", 0.1, "--interval-ms", 1, "--limit-ms", 50, "--no-tcp")
        found, _ = Measurement(tmp_path, "127.0.0.1", port, *words).result()
        server.setblocking(False)
        sources = [server.recvfrom(100)[1][1] for _ in range(found["sent"])]
    assert len(set(sources)) == len(sources) == found["sent"] > 10
    assert found["lost"] == found["sent"]


def test_a_stall_of_the_meter_is_told_and_is_no_outage(backend: int, tmp_path: Path) -> None:
    running = Measurement(tmp_path, "127.0.0.1", backend, "--seconds", 1)
    running.served()
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    running.process.send_signal(signal.SIGCONT)
    found, words = running.result()
    assert max(stall["length_ms"] for stall in found["meter"]["stalls"]) >= 300
    assert found["meter"]["skipped"] >= 28
    assert (found["lost"], found["gaps"]) == (0, [])
    assert "stalled" in words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_report(number: int, backend: int, tmp_path: Path) -> None:
    running = Measurement(tmp_path, "127.0.0.1", backend, "--seconds", 600)
    running.served()
    running.process.send_signal(number)
    found, _ = running.result()
    assert 0 < found["sent"] < 10_000
    assert found["lost"] == 0


@contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one connection, which `serve` gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        thread.join(20)


def close_at_once(connection: socket.socket) -> None:
    connection.recv(100)


def reset(connection: socket.socket) -> None:
    connection.recv(100)
    linger_not = b"\1\0\0\0\0\0\0\0"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)


def answer_nonsense(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.recv(100)


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(100):
        pass


def pause(connection: socket.socket) -> None:
    time.sleep(0.6)
    # Whoever ends before the last line is back ends by a reset.
    with suppress(ConnectionError):
        while data := connection.recv(100):
            connection.sendall(data)


@pytest.mark.parametrize(
    ("serve", "fate", "reason"),
    [
        (close_at_once, "closed", "by the peer"),
        (reset, "reset", "ECONNRESET: Connection reset by peer"),
        (
            answer_nonsense,
            "unusable",
            "no line-echo server: b'HTTP/1.1 400 Bad Request\\r' answers line 0",
        ),
        (say_nothing, "stalled", ""),
        (pause, "paused", ""),
    ],
)
def test_the_fate_of_the_connection(
    serve: Callable[[socket.socket], None], fate: str, reason: str, tmp_path: Path
) -> None:
    with tcp_server(serve) as port:
        found, words = Measurement(tmp_path, "127.0.0.1", port, "--seconds", 1).result()
    assert (found["tcp"]["fate"], found["tcp"]["reason"]) == (fate, reason)
    assert f"TCP connection: {fate}" in words


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("::1", 70000, "--seconds", 1), "wanted 1 to 65535, found 70000"),
        (("nowhere", 9000, "--seconds", 1), "argument address"),
        (("::1,::1", 9000, "--seconds", 1), "wanted different addresses of one family"),
        (("::1,127.0.0.1", 9000, "--seconds", 1), "wanted different addresses of one family"),
        (("::1", 9000, "--seconds", 0), "wanted a number above 0, found 0"),
        (("::1", 9000, "--seconds", 1, "--limit-ms", 10**9), "sockets, the limit is"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: tuple[object, ...], complaint: str) -> None:
    process = start("outage.py", *words)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert complaint in errors


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_page_says_who_served_it(host: str) -> None:
    port = free_port()
    with echo("--http", port):
        wait_for(port)
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=20) as answer:
            assert answer.read().decode() == f"served by n2, asked by {host.strip('[]')}\n"


def test_a_backend_whose_port_is_taken_says_so_and_ends(backend: int) -> None:
    second = start("echo.py", "--tcp", backend)
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 2
    assert "cannot listen" in errors
