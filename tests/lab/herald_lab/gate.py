#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands between the nodes and the API server while the API is to be slow or faulty.

slow MS       what the nodes say reaches the API server MS milliseconds late, in its order
errors CODE   HTTP status CODE answers every request (of a share of the connections)
reset         connections are taken and reset
cut           they reach the API server, and are reset in the middle of an answer: what was asked
              has been done, and the client does not know
hang          connections are taken, and nothing ever comes back
front         TLS ends here, by the certificate that is given: to clients, one more API server

`lab api` starts it and leads the nodes' connections to it (faults.py); `front` is started by a test,
on a port of its own. To answer with errors it ends TLS with the API server's own certificate, so
that clients get as far as the HTTP status.
"""

from __future__ import annotations

import argparse
import asyncio
import http
import json
import random
import socket
import ssl
import struct
import sys
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Awaitable, Callable

Handler = Callable[[Reader, Writer], Awaitable[None]]
_CHUNK = 65_536


def relay(port: int, delay: float, tls: ssl.SSLContext | None = None) -> Handler:
    """Forward to `port` of this host, by `tls` if it is given; what the client says waits `delay` seconds."""

    async def handle(reader: Reader, writer: Writer) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, server_writer, delay))
                tasks.create_task(_pump(server_reader, writer, 0))
        finally:
            server_writer.close()

    return handle


async def _pump(reader: Reader, writer: Writer, delay: float) -> None:
    """Bytes from one to the other until the end; each waits `delay` seconds, none overtakes."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        data = b"?"
        while data:
            data = await reader.read(_CHUNK)
            await under_way.put((loop.time() + delay, data))

    async def give() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                # TLS ends both directions at once.
                (writer.write_eof if writer.can_write_eof() else writer.close)()
                return
            writer.write(data)
            await writer.drain()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take())
        tasks.create_task(give())


def refuse(code: int, tls: ssl.SSLContext) -> Handler:
    """Answer every request with the HTTP status `code`, as the API server words it."""
    phrase = http.HTTPStatus(code).phrase
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    body = json.dumps({**status, "message": f"the lab answers {code} {phrase}"}).encode()
    head = (
        f"HTTP/1.1 {code} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{'Retry-After: 1' if code == 429 else 'X-Lab: gate'}\r\n\r\n"
    )

    async def handle(reader: Reader, writer: Writer) -> None:
        await writer.start_tls(tls)
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(request))
            writer.write(head.encode() + body)
            await writer.drain()

    return handle


def _length(request: bytes) -> int:
    """The Content-Length of a request's head, bytes; 0 where there is none."""
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def reset(_: Reader, writer: Writer) -> None:
    """End the connection with RST (socket(7), SO_LINGER of 0 s)."""
    endpoint = writer.get_extra_info("socket")
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def cut(port: int) -> Handler:
    """Forward to `port` of this host, and reset after some thousand bytes of answers.

    The TLS handshake takes the first three or four thousand, a Lease less than two.
    """

    async def handle(reader: Reader, writer: Writer) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(_pump(reader, server_writer, 0))
        left = random.randrange(4_000, 12_000)
        try:
            while left > 0 and (data := await server_reader.read(min(left, _CHUNK))):
                left -= len(data)
                writer.write(data)
                await writer.drain()
        finally:
            asking.cancel()
            server_writer.close()
            await reset(reader, writer)

    return handle


async def hang(reader: Reader, _: Writer) -> None:
    """Take what comes, for as long as the client likes."""
    while await reader.read(_CHUNK):
        pass


def safely(handler: Handler) -> Handler:
    """A connection that breaks is what this program is for: close it, and go on."""

    async def handle(reader: Reader, writer: Writer) -> None:
        try:
            await handler(reader, writer)
        except* (OSError, EOFError, ssl.SSLError):
            pass
        finally:
            writer.close()

    return handle


def shared(handler: Handler, other: Handler, share: float) -> Handler:
    """`handler` for that share of the connections, at random, and `other` for the rest."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await (handler if random.random() < share else other)(reader, writer)

    return handle


def inside() -> ssl.SSLContext:
    """To ask the API server of this host, whoever signed its certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


def outside(arguments: argparse.Namespace) -> ssl.SSLContext:
    """To be an API server, by the certificate that is given."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _handler(arguments: argparse.Namespace) -> Handler:
    match arguments.mode:
        case "slow":
            return relay(arguments.to, arguments.milliseconds / 1000)
        case "errors":
            refusing = refuse(arguments.code, outside(arguments))
            return shared(refusing, relay(arguments.to, 0), arguments.share)
        case "reset":
            return reset
        case "cut":
            return cut(arguments.to)
        case "front":
            return relay(arguments.to, 0, inside())
        case _:
            return hang


async def serve(port: int, handler: Handler, tls: ssl.SSLContext | None) -> None:
    server = await asyncio.start_server(
        safely(handler), host=None, port=port, backlog=1024, ssl=tls
    )
    async with server:
        await server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="to listen on")
    parser.add_argument("--to", type=int, required=True, help="the API server's, on this host")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("slow").add_argument("milliseconds", type=float)
    errors = modes.add_parser("errors")
    errors.add_argument("code", type=int)
    errors.add_argument("--share", type=float, default=1.0)
    modes.add_parser("reset")
    modes.add_parser("cut")
    modes.add_parser("hang")
    modes.add_parser("front")
    arguments = parser.parse_args()
    tls = outside(arguments) if arguments.mode == "front" else None
    asyncio.run(serve(arguments.port, _handler(arguments), tls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
