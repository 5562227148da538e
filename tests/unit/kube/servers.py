# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A real TLS server on loopback that misbehaves to order, and a CA to trust it by."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)
PEM = serialization.Encoding.PEM


def make_certificate(folder: Path, *addresses: str) -> tuple[Path, Path]:
    """A CA's certificate, and a file with a server's key and certificate for these IP addresses."""
    authority = Authority(folder)
    return authority.file, authority.issue("server.pem", *addresses)


class Authority:
    """A CA, whose certificate stands in ``file``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._sign("test CA", self._key, constraints).public_bytes(PEM))

    def issue(
        self, name: str, *addresses: str, ahead: datetime.timedelta = datetime.timedelta()
    ) -> Path:
        """A file of that name with a server's key and certificate; ``ahead``: of a clock that is wrong by so much."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        )
        own = self._sign("test server", key, names, ahead=ahead)
        file = self._folder / name
        file.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + own.public_bytes(PEM)
        )
        return file

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        extension: x509.ExtensionType,
        *,
        ahead: datetime.timedelta = datetime.timedelta(),
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC) + ahead
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + HOUR)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


@dataclass
class Exchange:
    """One request as the server read it, and the ways to answer it, well or badly."""

    socket: ssl.SSLSocket
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    closing: threading.Event

    def reply(self, status: int, body: object = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def begin_chunks(self) -> None:
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def end_chunks(self) -> None:
        self.raw(b"0\r\n\r\n")

    def reset(self) -> None:
        """RST, as a host that has rebooted sends. Ends the handler."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError  # everything is closed on the way out

    def hang_up(self) -> None:
        socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def stall(self) -> None:
        """Say nothing more until the test is over."""
        self.closing.wait()


@dataclass
class ApiServer:
    """``handler`` answers each request in the connection's thread; what it got stands in ``seen``."""

    server_file: Path
    handler: Callable[[Exchange], None]
    handshake: bool = True
    """Without, connections are accepted and nothing is ever said."""
    seen: queue.Queue[Exchange] = field(default_factory=queue.Queue)
    connections: int = 0

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(self.server_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def show(self, server_file: Path) -> None:
        """Whoever connects from now on is shown this certificate."""
        self._context.load_cert_chain(server_file)

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.add(connection)
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        if not self.handshake:
            self._closing.wait()
            connection.close()
            return
        with (
            contextlib.suppress(OSError, ValueError),
            self._context.wrap_socket(connection, server_side=True) as tls,
            tls.makefile("rb") as reader,
        ):
            self._sockets.add(tls)
            for exchange in self._requests(tls, reader, number):
                self.seen.put(exchange)
                self.handler(exchange)
        self._sockets.discard(connection)

    def _requests(self, tls: ssl.SSLSocket, reader, number: int) -> Iterator[Exchange]:
        while line := reader.readline():
            method, path, _ = line.decode().split(" ", 2)
            headers: dict[str, str] = {}
            while (header := reader.readline().decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = reader.read(int(headers.get("content-length", "0")))
            yield Exchange(tls, number, method, path, headers, body, self._closing)
