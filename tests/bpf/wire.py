# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces and a cable between them: the responder's node, and a client."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bpf.frames import OWN_MAC, PEER_MAC

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in a network namespace. (`ip netns exec` would hide bpffs.)"""
    here, netns = Path("/proc/thread-self/ns/net"), Path("/run/netns", namespace)
    with here.open() as home, netns.open() as there:
        assert _libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert _libc.setns(home.fileno(), _CLONE_NEWNET) == 0


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Wire:
    """A cable: interface ``node`` on this node's end, and a raw socket at the client's."""

    def __init__(self, name: str, client: str, ifindex: int) -> None:
        self.name = name
        self.client = client
        self.ifindex = ifindex
        with inside(client):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.socket.bind(("client", 0))
        self.socket.settimeout(5)

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def receive(self) -> bytes:
        """The next frame that came for the client."""
        while True:
            frame, (_, _, kind, _, _) = self.socket.recvfrom(4096)
            if kind != socket.PACKET_OUTGOING:
                return frame

    def ask(self, frame: bytes, sentinel: bytes, sentinel_answer: bytes) -> list[bytes]:
        """What comes back for a frame, up to the answer to a sentinel sent behind it."""
        self.send(frame)
        self.send(sentinel)
        came = []
        while (answer := self.receive()) != sentinel_answer:
            came.append(answer)
        return came

    def enable_ipv6(self, address: str) -> None:
        """On the client, with an address."""
        with inside(self.client):
            for scope in ("all", "client"):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0")
        ip("-n", self.client, "address", "add", address, "dev", "client", "nodad")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command on the client."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.client}", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )


@contextmanager
def wire() -> Iterator[Wire]:
    """Lay the cable; this thread is on the node until the end, when all is gone."""
    node, client = (f"herald-bpf-{os.getpid()}-{end}" for end in ("node", "client"))
    try:
        for namespace in (node, client):
            ip("netns", "add", namespace)
            with inside(namespace):
                # No frames but ours: IPv6 would announce itself.
                Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
                Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        with inside(node):
            lay()
            ip("link", "set", "client", "netns", client)
            ip("-n", client, "link", "set", "client", "up", "address", PEER_MAC)
            ip("-n", client, "address", "add", "192.0.2.99/24", "dev", "client")
            found = Wire(node, client, socket.if_nametoindex("node"))
            try:
                yield found
            finally:
                found.socket.close()
    finally:
        for namespace in (node, client):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


def lay() -> None:
    """A pair of interfaces, ``node`` and ``client``, in this namespace."""
    ip("link", "add", "node", "address", OWN_MAC, "type", "veth", "peer", "client")
    ip("link", "set", "node", "up")
