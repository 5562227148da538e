# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests over HTTPS by the standard library alone: a module lives for a third of a second, and importing more of a
library than it needs is most of that.

Connections are kept and shared by threads, each by one at a time. What was sent is never sent again: whether it took
effect is for the caller to find out.
"""

from __future__ import annotations

import select
import socket
import ssl
from http.client import HTTPS_PORT, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from ansible_collections.baremetal.herald.plugins.module_utils._client import Response
from ansible_collections.baremetal.herald.plugins.module_utils._errors import Unreachable

# seconds
CONNECT = 10.0
READ = 60.0

_TRIES = 2  # to connect


class HttpsTransport:
    """Sends to one host, C(https://name:port/prefix), by a TLS context, with these headers on every request."""

    def __init__(self, host: str, context: ssl.SSLContext, headers: list[tuple[str, str]]) -> None:
        self._host = host.rstrip("/")
        self._url = urlsplit(self._host)
        # Or else the last part of an IPv6 address would be taken for it.
        self._port = self._url.port or HTTPS_PORT
        self._context = context
        self._headers = headers
        self._idle: list[HTTPSConnection] = []

    def send(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Response:
        """See Transport."""
        connection = None
        try:
            connection = self._kept() or self._connected(_TRIES)
            connection.putrequest(method, self._url.path + target)
            content = body.encode("utf-8") if body is not None else b""
            if body is not None:
                connection.putheader("Content-Length", str(len(content)))
            for name, value in [*headers.items(), *self._headers]:
                connection.putheader(name, value)
            connection.endheaders(content or None)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            if connection is not None:
                connection.close()
            raise Unreachable(self._host, str(error) or type(error).__name__) from error
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return Response(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, text
        )

    def _kept(self) -> HTTPSConnection | None:
        """A connection of before, unless the other end has closed it meanwhile."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was first
                return None
            if connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()
        return None

    def _connected(self, tries: int) -> HTTPSConnection:
        connection = HTTPSConnection(
            self._url.hostname or "", self._port, timeout=CONNECT, context=self._context
        )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            if tries == 1 or isinstance(error, ssl.SSLCertVerificationError):
                raise
            return self._connected(tries - 1)
        connection.sock.settimeout(READ)
        return connection


def _readable(sock: socket.socket) -> bool:
    """Whether something has come that nobody asked for: as a rule, the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
