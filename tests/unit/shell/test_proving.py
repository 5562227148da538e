# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the shell asks for a node that has just begun: kube-proxy's health port, and how quick the API server is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from herald.core.events import ApiTimed, Event, ProxySeen, Stop
from herald.core.model import MILLISECOND, SECOND
from herald.shell.proving import BOOT_GRACE, SAMPLES, START, ApiLatency, ProxyHealth, health

LATER = BOOT_GRACE + SECOND


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """An HTTP server whose ``status`` is its answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status if self.path == "/healthz" else 404)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.mark.parametrize(("status", "problem"), [(200, ""), (503, "says 503"), (404, "says 404")])
def test_what_the_health_port_says(server: HTTPServer, status: int, problem: str) -> None:
    server.status = status  # type: ignore[attr-defined]
    found = health(server.server_port)
    assert found is not None
    assert found.endswith(problem)
    assert bool(found) is bool(problem)


def test_nobody_at_the_port_is_no_kube_proxy() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert health(bound.getsockname()[1]) is None


def test_who_speaks_something_else_at_the_port_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        found = health(listening.getsockname()[1])
        thread.join()
    assert found is not None
    assert "hello" in found


@pytest.mark.parametrize(
    ("since_boot", "answers", "said"),
    [
        (LATER, ["", ""], [""]),
        (LATER, [None], [""]),
        (LATER, ["port 1 says 503", "port 1 says 503", ""], ["port 1 says 503", ""]),
        # kube-proxy may be yet to start; the clock of this test stands still.
        (
            SECOND,
            [None, None, ""],
            ["nothing listens on port 1, 30 s after boot that means that", ""],
        ),
    ],
    ids=["healthy", "there is none", "becomes healthy", "just booted"],
)
def test_kube_proxy_is_asked_until_it_is_well_or_there_is_none(
    since_boot: int, answers: list[str | None], said: list[str]
) -> None:
    posted: list[ProxySeen] = []
    asked = iter(answers)
    proxy = ProxyHealth(1, posted.append, lambda: since_boot, lambda _: next(asked))
    while not proxy.look():
        pass
    assert [event.problem[: len(text)] for event, text in zip(posted, said, strict=True)] == said


class Timer:
    """Each request takes so many milliseconds by the fake clock; None is not answered."""

    def __init__(self, *milliseconds: int | None) -> None:
        self.now = 100 * SECOND
        self.left = list(milliseconds)
        self.closed = False

    def clock(self) -> int:
        return self.now

    def once(self) -> int | None:
        took = self.left.pop(0)
        self.now += (took or 10_000) * MILLISECOND
        return took * MILLISECOND if took is not None else None

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


def timed(timer: Timer, duration: int) -> list[Event]:
    posted: list[Event] = []
    latency = ApiLatency(duration, posted.append, timer, timer.clock, 78)
    while not latency.look():
        pass
    return posted


def test_one_quick_answer_is_enough() -> None:
    assert timed(Timer(900, None, 400), 2 * SECOND) == [ApiTimed(400 * MILLISECOND)]


def test_a_duration_below_what_the_latency_allows_is_refused_with_the_figures() -> None:
    slow = [700] * (SAMPLES - 1) + [650]
    figures = (
        "lease.duration_ms: wanted 2600 at least, found 2000: the API server took 650 ms for the"
        " quickest of 10 requests, and a renewal is due every quarter of the duration"
    )
    assert timed(Timer(*slow), 2 * SECOND) == [ApiTimed(650 * MILLISECOND, Stop(78, figures))]


def test_what_it_wanted_is_what_it_takes() -> None:
    slow = [700] * (SAMPLES - 1) + [650]
    assert timed(Timer(*slow), 2600 * MILLISECOND) == [ApiTimed(650 * MILLISECOND)]


def test_an_agent_that_has_run_for_a_while_is_not_stopped_by_a_slow_api_server() -> None:
    timer = Timer(*[None] * (START // (10 * SECOND) + 1), 9000)
    assert timed(timer, 2 * SECOND) == [ApiTimed(9 * SECOND)]


def test_a_thread_that_never_started_stops_and_lets_go() -> None:
    timer = Timer()
    ApiLatency(SECOND, lambda _: None, timer, timer.clock, 78).stop()
    assert timer.closed


def test_the_thread_ends_once_it_has_its_answer() -> None:
    posted: list[Event] = []
    timer = Timer(5)
    latency = ApiLatency(SECOND, posted.append, timer, timer.clock, 78)
    latency.start()
    latency._thread.join(10)
    assert posted == [ApiTimed(5 * MILLISECOND)]
    assert timer.closed
    latency.stop()
