# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The transport to the API servers: HTTPS by urllib3, one connection a thread, several servers in turn.

What always holds: TLS is verified against the given CA alone; no call outlives its deadline by more than one
read; a connection about which there is any doubt (time-out, half an answer, a 5xx) is closed, never reused.
All connections share which server is the current one: the first to find it dead moves everybody's next
connection on, and living connections stay where they are.

Proxies in the environment are not used: a node's path to its API server is direct.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from urllib3.connection import HTTPSConnection
from urllib3.exceptions import (
    HTTPError,
    InvalidChunkLength,
    LocationParseError,
    ReadTimeoutError,
)
from urllib3.response import HTTPResponse
from urllib3.util import parse_url

from herald.kube.clock import boottime
from herald.kube.transport import NoAnswer, Reply, Request, Silence

CONNECT_LIMIT = 5.0
"""Seconds for TCP and TLS with one server, if the call's deadline leaves that much."""
IDLE_LIMIT = 30 * 1_000_000_000
"""Nanoseconds after which an idle connection is made anew: its server may have died without a word."""
BODY_MAX = 64 << 20
LINE_MAX = 8 << 20
"""Bytes; etcd holds no object above 1.5 MiB."""
_READ = 64 << 10

_SOCKET_OPTIONS: list[tuple[int, int, int | bytes]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A watch sends nothing, so only probes notice a dead peer: after 5 + 3 × 2 = 11 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Server:
        """``https://HOST[:PORT][/PREFIX]``; ValueError says what is wrong with another."""
        try:
            parts = parse_url(url)
        except LocationParseError:
            parts = None
        if parts is None or parts.scheme != "https" or not parts.host or parts.query or parts.auth:
            raise ValueError(f"api.servers: wanted https://HOST:PORT, found {url!r}")
        host = parts.host.removeprefix("[").removesuffix("]")
        return cls(url, host, parts.port or 443, (parts.path or "").rstrip("/"))


class Https:
    """The servers, and what is needed to speak with them."""

    def __init__(
        self,
        servers: tuple[str, ...],
        ca_file: Path,
        token: Callable[[], str],
        *,
        user_agent: str,
        first: int = 0,
        clock: Callable[[], int] = boottime,
    ) -> None:
        """``token`` gives the bearer token of the moment; ``first`` the server to begin with (taken modulo)."""
        if not servers:
            raise ValueError("api.servers: wanted at least one https://HOST:PORT, found none")
        self.servers = tuple(Server.parse(url) for url in servers)
        self.clock = clock
        self.user_agent = user_agent
        self.token = token
        self.ca_file = ca_file
        self._lock = threading.Lock()
        self._current = first % len(servers)
        self._context: ssl.SSLContext | None = None
        self._context_of: tuple[int, int] | None = None

    def open(self) -> HttpsConnection:
        return HttpsConnection(self)

    @property
    def current(self) -> int:
        return self._current

    def move_on(self, failed: int) -> None:
        """That server failed: the next connections go to the one after it, unless someone has moved already."""
        with self._lock:
            if self._current == failed:
                self._current = (failed + 1) % len(self.servers)

    def context(self) -> ssl.SSLContext:
        """One TLS context for all, made anew when the CA file changes; OSError (also SSLError) if it is no good."""
        stat = self.ca_file.stat()
        identity = (stat.st_mtime_ns, stat.st_ino)
        with self._lock:
            if self._context is None or self._context_of != identity:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(cafile=str(self.ca_file))
                self._context, self._context_of = context, identity
            return self._context


class HttpsConnection:
    """See ``transport.Connection``."""

    def __init__(self, transport: Https) -> None:
        self._transport = transport
        self._clock = transport.clock
        self._http: HTTPSConnection | None = None
        self._server = 0
        self._used = 0
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        """A second descriptor of the same socket: abort() may use it at any moment, while the connection's own
        thread alone opens, reads and closes the first."""
        self._aborted = threading.Event()

    # --- the connection's own thread --------------------------------------------------------------------

    def call(self, request: Request, deadline: int) -> Reply:
        try:
            sent, response = self._ask(request, deadline)
            body = self._body(response, deadline)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise self._lost(error) from error
        except BaseException:
            self.close()
            raise
        return self._reply(sent, response, body)

    def stream(self, request: Request, deadline: int, silence: float) -> Reply | HttpsStream:
        try:
            sent, response = self._ask(request, deadline)
            if response.status == 200:
                self._set_timeout(silence)
                return HttpsStream(self, response)
            body = self._body(response, deadline)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise self._lost(error) from error
        except BaseException:
            self.close()
            raise
        return self._reply(sent, response, body)

    def close(self) -> None:
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()
        connection, self._http = self._http, None
        if connection is not None:
            connection.close()

    def _ask(self, request: Request, deadline: int) -> tuple[int, HTTPResponse]:
        try:
            token = self._transport.token()
        except OSError as error:
            raise NoAnswer(f"api.token_file: {error}") from error
        connection = self._ready(deadline)
        self._set_timeout(self._left(deadline))
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "User-Agent": self._transport.user_agent,
        }
        if request.body:
            headers["Content-Type"] = request.content_type
        path = self._transport.servers[self._server].prefix + request.path
        sent = self._clock()
        connection.request(
            request.method,
            path,
            request.body or None,
            headers,
            preload_content=False,
            decode_content=False,
        )
        response = connection.getresponse()
        if response.length_remaining is None and not response.chunked:
            # http.client takes headers that end too early for all there are.
            raise OSError("an answer without length, perhaps cut off")
        return sent, response

    def _body(self, response: HTTPResponse, deadline: int) -> bytes:
        body = bytearray()
        while True:
            self._set_timeout(self._left(deadline))
            if not (part := response.read1(_READ)):
                return bytes(body)
            body += part
            if len(body) > BODY_MAX:
                raise OSError(f"an answer of more than {BODY_MAX >> 20} MiB")

    def _reply(self, sent: int, response: HTTPResponse, body: bytes) -> Reply:
        self._used = self._clock()
        if response.status >= 500:
            self.close()
            self._transport.move_on(self._server)
        return Reply(sent, response.status, body, _seconds(response.headers.get("Retry-After")))

    def _ready(self, deadline: int) -> HTTPSConnection:
        """The connection as it is if that may be relied on, else one that was just made."""
        connection = self._http
        if connection is not None:
            fresh = self._clock() - self._used < IDLE_LIMIT
            # A readable idle connection is a closed one, or one out of step.
            if fresh and not self._aborted.is_set() and connection.is_connected:
                return connection
            self.close()
        return self._connect(deadline)

    def _connect(self, deadline: int) -> HTTPSConnection:
        """Try each server once, giving each its share of what time is left."""
        try:
            context = self._transport.context()
        except OSError as error:
            raise NoAnswer(f"api.ca_file {self._transport.ca_file}: {explain(error)}") from error
        failures: list[str] = []
        for left in range(len(self._transport.servers), 0, -1):
            seconds = self._left(deadline)
            if self._aborted.is_set() or seconds <= 0:
                break
            self._server = self._transport.current
            server = self._transport.servers[self._server]
            limit = min(CONNECT_LIMIT, seconds / left)
            try:
                connection = HTTPSConnection(
                    server.host,
                    server.port,
                    timeout=limit,
                    socket_options=_SOCKET_OPTIONS,
                    ssl_context=context,
                )
                self._http = connection
                connection.connect()
            except (HTTPError, OSError) as error:
                failures.append(f"{server.url}: {explain(error, limit)}")
                self.close()
                self._transport.move_on(self._server)
                continue
            connection.auto_open = 0
            with self._lock:
                self._handle = socket.socket(fileno=os.dup(connection.sock.fileno()))
                if not self._aborted.is_set():
                    return connection
            self.close()
        raise NoAnswer(
            "; ".join(failures) or ("given up" if self._aborted.is_set() else "no time left")
        )

    def _left(self, deadline: int) -> float:
        """Seconds."""
        return (deadline - self._clock()) / 1e9

    def _set_timeout(self, seconds: float) -> None:
        """For everything that is waited for from here on, the answer under way included."""
        if seconds <= 0:
            raise TimeoutError
        if self._http is not None:
            self._http.timeout = seconds
        if self._handle is not None and self._http is not None and self._http.sock is not None:
            self._http.sock.settimeout(seconds)

    def _lost(self, error: Exception, kind: type[NoAnswer] = NoAnswer) -> NoAnswer:
        """The connection is of no more use; what to raise instead."""
        self.close()
        if self._aborted.is_set():
            return NoAnswer("given up")
        self._transport.move_on(self._server)
        return kind(f"{self._transport.servers[self._server].url}: {explain(error)}")

    # --- any thread -------------------------------------------------------------------------------------

    def abort(self) -> None:
        with self._lock:
            self._aborted.set()
            if self._handle is not None:
                try:
                    self._handle.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the peer has closed it already


class HttpsStream:
    """See ``transport.Stream``. To be read by the connection's thread; whatever ends it early closes the connection."""

    def __init__(self, connection: HttpsConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        pending = bytearray()
        ended = False
        try:
            while part := self._response.read1(_READ):
                pending += part
                if len(pending) > LINE_MAX:
                    raise OSError(f"a line of more than {LINE_MAX >> 20} MiB")
                if b"\n" not in part:
                    continue
                *lines, rest = pending.split(b"\n")
                pending = rest
                for line in lines:
                    if line:
                        yield bytes(line)
            if pending:
                raise OSError("ended in the middle of a line")
            ended = True
            self._connection._used = self._connection._clock()
        except (ReadTimeoutError, TimeoutError) as error:
            raise self._connection._lost(error, Silence) from error
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise self._connection._lost(error) from error
        finally:
            if not ended:
                self._connection.close()


def explain(error: BaseException, limit: float | None = None) -> str:
    """The cause at the bottom of a chain of exceptions, in few words and without addresses of objects."""
    while (cause := error.__cause__ or error.__context__) is not None:
        if isinstance(error, http.client.IncompleteRead | InvalidChunkLength):
            return "closed in the middle of an answer"
        error = cause
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"timed out after {limit:.1f} s" if limit is not None else "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return float(retry_after[:6])
