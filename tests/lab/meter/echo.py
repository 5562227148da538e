#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A backend for the meters: HTTP, UDP echo and TCP line echo, on IPv4 and IPv6, in one process.

    echo.py --name n1 --http 8080 --udp 9000 --tcp 9000

HTTP answers every GET with the name. UDP sends each datagram back with the name appended, TCP each
line. Whoever asks knows from the answer which backend served it. Runs until it is ended.
"""

from __future__ import annotations

import argparse
import http.server
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
BACKLOG = 8 << 20  # bytes


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, both families on one socket."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler:
    name: ClassVar[bytes]


class Lines(_Handler, socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.wfile.write(line.rstrip(b"\r\n") + b" " + self.name + b"\n")
        except OSError:  # the client is gone
            return


class Page(_Handler, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        client = self.client_address[0].removeprefix("::ffff:").encode()
        body = b"served by %s, asked by %s\n" % (self.name, client)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a meter asks hundreds of times a second."""


def tcp(port: int, handler: type[Lines | Page]) -> Callable[[], None]:
    """A TCP server, listening; the result serves."""
    return _Server(("::", port), handler).serve_forever


def udp(port: int, name: bytes) -> Callable[[], None]:
    """A UDP server, bound; the result sends datagrams back.

    Each answer leaves from the very address to which the datagram was sent (RFC 3542, 6.2).
    """
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # What comes while a busy machine lets this wait is answered late, not lost: it is not this that is measured.
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BACKLOG)
    server.bind(("::", port))

    def serve() -> None:
        while True:
            try:
                data, information, _, client = server.recvmsg(65536, socket.CMSG_SPACE(20))
                server.sendmsg([data, name, b"\n"], information, 0, client)
            except OSError:  # an ICMP error for an earlier answer, or no way back
                continue

    return serve


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default=socket.gethostname(), help="what answers say (host name)")
    for protocol in ("http", "udp", "tcp"):
        parser.add_argument(f"--{protocol}", type=int, action="append", default=[], metavar="PORT")
    arguments = parser.parse_args()
    name = arguments.name.encode()
    _Handler.name = name
    try:
        servers = [
            *(tcp(port, Page) for port in arguments.http),
            *(udp(port, name) for port in arguments.udp),
            *(tcp(port, Lines) for port in arguments.tcp),
        ]
    except OSError as error:
        parser.error(f"cannot listen: {error}")
    if not servers:
        parser.error("wanted at least one of --http, --udp, --tcp, found none")
    threads = [threading.Thread(target=serve, daemon=True) for serve in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
