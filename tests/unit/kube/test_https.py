# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The transport against a real TLS server that misbehaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.kube.servers import ApiServer, Authority, Exchange, make_certificate

from herald.kube.clock import boottime
from herald.kube.https import Https, HttpsConnection, Server
from herald.kube.token import TokenFile
from herald.kube.transport import NoAnswer, Reply, Request, Silence

SECOND = 1_000_000_000
GET = Request("GET", "/api/v1/nodes?limit=500")
Serve = Callable[..., ApiServer]


def soon(seconds: float = 5.0) -> int:
    return boottime() + int(seconds * SECOND)


@pytest.fixture
def connect(ca_file: Path) -> Iterator[Callable[..., HttpsConnection]]:
    opened: list[HttpsConnection] = []

    def open_to(*servers: ApiServer | str, **options: object) -> HttpsConnection:
        urls = tuple(server if isinstance(server, str) else server.url for server in servers)
        options = {"token": lambda: "t0ken", "user_agent": "test", "ca_file": ca_file} | options
        opened.append(Https(urls, **options).open())  # type: ignore[arg-type]
        return opened[-1]

    yield open_to
    for connection in opened:
        connection.close()


def say(status: int, body: object = None, **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.reply(status, body, **headers)


def test_a_request_carries_token_and_agent_and_its_answer_comes_back(serve, connect):
    server = serve(say(200, {"items": []}))
    before = boottime()
    reply = connect(server).call(Request("POST", "/x", b'{"a":1}'), soon())
    assert (reply.status, reply.body) == (200, b'{"items": []}')
    assert before <= reply.sent <= boottime()
    seen = server.seen.get()
    assert (seen.method, seen.path, seen.body) == ("POST", "/x", b'{"a":1}')
    assert seen.headers["authorization"] == "Bearer t0ken"
    assert seen.headers["user-agent"] == "test"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["accept-encoding"] == "identity"


def test_a_connection_is_kept(serve, connect):
    server = serve(say(200, {}))
    connection = connect(server)
    for _ in range(3):
        connection.call(GET, soon())
    assert server.connections == 1


@pytest.mark.parametrize("status", [201, 401, 404, 409, 410, 422, 429])
def test_an_answer_with_a_status_is_a_reply_and_the_connection_stays(serve, connect, status):
    server = serve(say(status, {"message": "because"}))
    connection = connect(server)
    assert connection.call(GET, soon()).status == status
    assert connection.call(GET, soon()).body == b'{"message": "because"}'
    assert server.connections == 1


def test_retry_after_is_told(serve, connect):
    assert connect(serve(say(429, {}, Retry_After="7"))).call(GET, soon()).retry_after == 7.0


def reset(exchange: Exchange) -> None:
    exchange.reset()


def hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


def half_a_header(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.hang_up()


def half_a_body(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    exchange.hang_up()


def half_a_chunk(exchange: Exchange) -> None:
    exchange.begin_chunks()
    exchange.raw(b"40\r\nabc")
    exchange.hang_up()


def no_http(exchange: Exchange) -> None:
    exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.hang_up()


@pytest.mark.parametrize(
    "fault", [reset, hang_up, half_a_header, half_a_body, half_a_chunk, no_http]
)
def test_a_broken_answer_is_none_and_the_next_request_has_a_new_connection(serve, connect, fault):
    answers = iter([fault, say(200, {})])
    server = serve(lambda exchange: next(answers)(exchange))
    connection = connect(server)
    with pytest.raises(NoAnswer, match=f"^{server.url}: "):
        connection.call(GET, soon())
    assert connection.call(GET, soon()).status == 200
    assert server.connections == 2


def silent(exchange: Exchange) -> None:
    exchange.stall()


def stalls_in_the_header(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\n")
    exchange.stall()


def stalls_in_the_body(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    exchange.stall()


def trickles(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not exchange.closing.wait(0.02):
        exchange.raw(b" ")


@pytest.mark.parametrize("fault", [silent, stalls_in_the_header, stalls_in_the_body, trickles])
def test_a_call_ends_at_its_deadline(serve, connect, fault):
    connection = connect(serve(fault))
    deadline = soon(0.3)
    with pytest.raises(NoAnswer):
        connection.call(GET, deadline)
    assert boottime() >= deadline


def test_a_server_that_never_shakes_hands_costs_no_more_than_the_deadline(serve, connect):
    deadline = soon(0.3)
    with pytest.raises(NoAnswer, match="timed out"):
        connect(serve(silent, handshake=False)).call(GET, deadline)


def test_nothing_is_sent_past_the_deadline(serve, connect):
    server = serve(say(200, {}))
    with pytest.raises(NoAnswer, match="no time left"):
        connect(server).call(GET, boottime() - 1)
    assert server.seen.empty()


# --- several servers --------------------------------------------------------------------------------------

NOBODY = "https://127.0.0.1:1"


def test_the_next_server_is_asked_within_the_same_call(serve, connect):
    server = serve(say(200, {}))
    assert connect(NOBODY, server).call(GET, soon()).status == 200


def test_a_dead_server_that_says_nothing_takes_only_its_share_of_the_time(serve, connect):
    connection = connect(serve(silent, handshake=False), serve(say(200, {})))
    assert connection.call(GET, soon(2.0)).status == 200


def test_all_servers_failing_names_them_all(connect):
    with pytest.raises(NoAnswer) as failure:
        connect(NOBODY, "https://127.0.0.1:2").call(GET, soon())
    assert str(failure.value) == (
        "https://127.0.0.1:1: Connection refused; https://127.0.0.1:2: Connection refused"
    )


@pytest.mark.parametrize("fault", [reset, say(500, {}), say(503, {})])
def test_a_server_that_fails_is_left_and_the_one_that_answers_is_kept(serve, connect, fault):
    bad, good = serve(fault), serve(say(200, {}))
    connection = connect(bad, good)
    try:
        connection.call(GET, soon())
    except NoAnswer:
        pass
    assert [connection.call(GET, soon()).status for _ in range(3)] == [200, 200, 200]
    assert (bad.seen.qsize(), good.connections) == (1, 1)


def test_too_many_requests_is_no_reason_to_leave(serve, connect):
    busy, other = serve(say(429, {})), serve(say(200, {}))
    connection = connect(busy, other)
    assert [connection.call(GET, soon()).status for _ in range(2)] == [429, 429]


def test_all_connections_learn_of_a_dead_server(serve, ca_file):
    server = serve(say(200, {}))
    transport = Https((NOBODY, server.url), ca_file, lambda: "t", user_agent="test")
    connection = transport.open()
    connection.call(GET, soon())
    connection.close()
    assert transport.current == 1


def test_two_that_saw_the_same_failure_move_on_once(ca_file):
    transport = Https((NOBODY, NOBODY, NOBODY), ca_file, lambda: "t", user_agent="test")
    transport.move_on(0)
    transport.move_on(0)
    assert transport.current == 1


# --- TLS --------------------------------------------------------------------------------------------------


def test_a_certificate_of_another_ca_is_refused(serve, connect, tmp_path):
    other_ca, _ = make_certificate(tmp_path / "other", "127.0.0.1")
    server = serve(say(200, {}))
    with pytest.raises(NoAnswer, match=r"certificate not accepted: .*(signature|issuer)"):
        connect(server, ca_file=other_ca).call(GET, soon())
    assert server.seen.empty()


def test_a_certificate_for_another_address_is_refused(tmp_path, connect):
    ca, server_file = make_certificate(tmp_path / "elsewhere", "192.0.2.1")
    server = ApiServer(server_file, say(200, {}))
    try:
        with pytest.raises(NoAnswer, match="certificate not accepted: IP address mismatch"):
            connect(server, ca_file=ca).call(GET, soon())
        assert server.seen.empty()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("year", "why"), [(1, "certificate is not yet valid"), (-1, "certificate has expired")]
)
def test_a_clock_a_year_off_is_a_failed_attempt_until_it_is_set_right(tmp_path, connect, year, why):
    """The node's clock, or whose made the certificate: it is the same to who verifies it."""
    authority = Authority(tmp_path)
    wrong = authority.issue("wrong.pem", "127.0.0.1", ahead=year * timedelta(days=365))
    server = ApiServer(wrong, say(200, {}))
    try:
        connection = connect(server, ca_file=authority.file)
        for _ in range(2):
            with pytest.raises(NoAnswer, match=f"certificate not accepted: {why}"):
                connection.call(GET, soon())
        assert server.seen.empty()
        server.show(authority.issue("right.pem", "127.0.0.1"))
        assert connection.call(GET, soon()).status == 200
    finally:
        server.close()


def test_a_replaced_ca_file_is_used(serve, connect, ca_file, tmp_path):
    other_ca, _ = make_certificate(tmp_path / "other", "127.0.0.1")
    file = tmp_path / "ca.crt"
    file.write_bytes(other_ca.read_bytes())
    connection = connect(serve(say(200, {})), ca_file=file)
    with pytest.raises(NoAnswer):
        connection.call(GET, soon())
    (tmp_path / "new").write_bytes(ca_file.read_bytes())
    (tmp_path / "new").replace(file)
    assert connection.call(GET, soon()).status == 200


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_is_none_is_a_failed_attempt_and_never_trust(
    serve, connect, tmp_path, content
):
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    server = serve(say(200, {}))
    with pytest.raises(NoAnswer, match=f"^api.ca_file {file}: "):
        connect(server, ca_file=file).call(GET, soon())
    assert server.connections == 0


def test_a_token_that_cannot_be_read_is_a_failed_attempt_and_no_servers_fault(
    serve, ca_file, tmp_path
):
    first, second = serve(say(200, {})), serve(say(200, {}))
    token = TokenFile(tmp_path / "token")
    transport = Https((first.url, second.url), ca_file, token, user_agent="test")
    connection = transport.open()
    with pytest.raises(NoAnswer, match=f"^api.token_file: .*{token.path}"):
        connection.call(GET, soon())
    assert (first.connections, transport.current) == (0, 0)
    token.path.write_text("t0ken")
    assert connection.call(GET, soon()).status == 200
    connection.close()


# --- watches ----------------------------------------------------------------------------------------------


def lines_of(stream) -> list[bytes]:
    assert not isinstance(stream, Reply)
    return list(stream)


def test_lines_come_as_they_are_sent_however_they_are_cut(serve, connect):
    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        for piece in (b'{"a":1}\n', b'{"b"', b":2}\n{", b'"c":3}\n\n{"d":4}\n'):
            exchange.chunk(piece)
        exchange.end_chunks()

    connection = connect(serve(watch))
    stream = connection.stream(GET, soon(), 5.0)
    assert lines_of(stream) == [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'{"d":4}']


def test_a_watch_that_ended_in_order_leaves_the_connection_for_the_next(serve, connect):
    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        exchange.chunk(b"{}\n")
        exchange.end_chunks()

    server = serve(watch)
    connection = connect(server)
    assert [lines_of(connection.stream(GET, soon(), 5.0)) for _ in range(2)] == [[b"{}"]] * 2
    assert server.connections == 1


def test_each_line_is_there_before_the_next_is_sent(serve, connect):
    taken = threading.Event()

    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        exchange.chunk(b"1\n")
        assert taken.wait(5)
        exchange.chunk(b"2\n")
        exchange.end_chunks()

    stream = iter(connect(serve(watch)).stream(GET, soon(), 5.0))
    assert next(stream) == b"1"
    taken.set()
    assert list(stream) == [b"2"]


def test_a_silent_watch_is_noticed(serve, connect):
    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        exchange.chunk(b"1\n")
        exchange.stall()

    stream = iter(connect(serve(watch)).stream(GET, soon(), 0.2))
    assert next(stream) == b"1"
    with pytest.raises(Silence):
        next(stream)


@pytest.mark.parametrize("fault", [reset, hang_up])
def test_a_watch_that_breaks_is_not_an_ordinary_end(serve, connect, fault):
    # Python's ssl tells a reset from an end only sometimes.
    reason = "(closed in the middle of an answer|Connection reset by peer)"
    taken = threading.Event()

    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        exchange.chunk(b"1\n")
        assert taken.wait(5)
        fault(exchange)

    server = serve(watch)
    stream = iter(connect(server).stream(GET, soon(), 5.0))
    assert next(stream) == b"1"
    taken.set()
    with pytest.raises(NoAnswer, match=f"^{server.url}: {reason}$") as failure:
        next(stream)
    assert not isinstance(failure.value, Silence)


def test_a_watch_that_ends_inside_a_line_is_broken(serve, connect):
    def watch(exchange: Exchange) -> None:
        exchange.begin_chunks()
        exchange.chunk(b'{"a":')
        exchange.end_chunks()

    with pytest.raises(NoAnswer, match="in the middle of a line"):
        lines_of(connect(serve(watch)).stream(GET, soon(), 5.0))


@pytest.mark.parametrize("status", [401, 403, 410, 500])
def test_a_refused_watch_is_a_reply(serve, connect, status):
    reply = connect(serve(say(status, {}))).stream(GET, soon(), 5.0)
    assert isinstance(reply, Reply)
    assert reply.status == status


# --- from other threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
def test_abort_ends_what_is_under_way_and_everything_after(serve, connect, streaming):
    def watch(exchange: Exchange) -> None:
        if streaming:
            exchange.begin_chunks()
            exchange.chunk(b"1\n")
        exchange.stall()

    server = serve(watch)
    connection = connect(server)
    outcome: list[str] = []

    def use() -> None:
        try:
            if streaming:
                lines_of(connection.stream(GET, soon(60), 60.0))
            else:
                connection.call(GET, soon(60))
        except NoAnswer as error:
            outcome.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    server.seen.get(timeout=5)
    connection.abort()
    thread.join(5)
    assert outcome == ["given up"]
    with pytest.raises(NoAnswer, match="given up"):
        connection.call(GET, soon())
    assert server.connections == 1


def test_an_idle_connection_that_the_server_closed_is_made_anew(serve, connect):
    closed = threading.Event()

    def once(exchange: Exchange) -> None:
        exchange.reply(200, {})
        if exchange.connection == 1:
            exchange.hang_up()
            closed.set()

    server = serve(once)
    connection = connect(server)
    connection.call(GET, soon())
    assert closed.wait(5)
    while not _readable(connection):
        time.sleep(0.001)
    assert connection.call(GET, soon()).status == 200


def _readable(connection: HttpsConnection) -> bool:
    assert connection._http is not None
    return not connection._http.is_connected


def test_a_connection_idle_for_long_is_made_anew(serve, connect):
    now = [boottime()]
    server = serve(say(200, {}))
    connection = connect(server, clock=lambda: now[0])
    connection.call(GET, now[0] + SECOND)
    now[0] += 31 * SECOND
    connection.call(GET, now[0] + SECOND)
    assert server.connections == 2


# --- addresses of servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix"),
    [
        ("https://192.0.2.1:6443", "192.0.2.1", 6443, ""),
        ("https://api.example", "api.example", 443, ""),
        ("https://[fd00::1]:6443/", "fd00::1", 6443, ""),
        ("https://rancher.example/k8s/clusters/c-1", "rancher.example", 443, "/k8s/clusters/c-1"),
    ],
)
def test_a_server_is_taken_apart(url, host, port, prefix):
    assert Server.parse(url) == Server(url, host, port, prefix)


@pytest.mark.parametrize(
    "url",
    ["", "192.0.2.1:6443", "http://192.0.2.1:6443", "https://", "https://u:p@h", "https://h:port"],
)
def test_a_server_that_is_none_is_refused_with_the_setting_named(url):
    with pytest.raises(ValueError, match=r"^api\.servers: wanted https://HOST:PORT, found"):
        Server.parse(url)


def test_at_least_one_server_is_needed(ca_file):
    with pytest.raises(ValueError, match="at least one"):
        Https((), ca_file, lambda: "t", user_agent="test")
