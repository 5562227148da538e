# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A segment where it is known what happens: three hosts on a switch, made for a test.

Two hosts, left and right, whose own kernels answer for an address when it is put on them, and a client.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

METER = Path(__file__).parents[1] / "lab" / "meter"


class Segment:
    """A switch with hosts in network namespaces of their own; programs run on them."""

    def __init__(self) -> None:
        self._prefix = f"segment-{os.getpid()}"
        self._hosts = ("client", "left", "right")
        self._running: list[subprocess.Popen[str]] = []

    def make(self) -> None:
        for name in ("switch", *self._hosts):
            _ip("netns", "add", self.netns(name))
        self.ip("switch", "link", "add", "name", "br0", "type", "bridge")
        self.ip("switch", "link", "set", "br0", "up")
        for number, name in enumerate(self._hosts, start=1):
            self.plug(name, "eth0", name)
            self.ip(name, "link", "set", "eth0", "address", self.mac(name))
            self.ip(name, "link", "set", "eth0", "up")
            self.ip(name, "addr", "add", f"192.168.99.{number}/24", "dev", "eth0")
            self.ip(name, "addr", "add", f"fd99::{number}/64", "dev", "eth0", "nodad")

    def plug(self, host: str, interface: str, port: str) -> None:
        """Give `host` one more interface, and plug it into the switch."""
        peer = ("peer", "name", interface, "netns", self.netns(host))
        self.ip("switch", "link", "add", "name", port, "type", "veth", *peer)
        self.ip("switch", "link", "set", port, "master", "br0", "up")

    def remove(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        for name in ("switch", *self._hosts):
            subprocess.run(["ip", "netns", "delete", self.netns(name)], check=False)

    def mac(self, name: str) -> str:
        return f"02:99:00:00:00:0{self._hosts.index(name) + 1}"

    def ip(self, host: str, *words: str) -> str:
        return _ip("-n", self.netns(host), *words)

    def give(self, host: str, address: str) -> None:
        """Put `address` on `host`, whose kernel answers for it from now on."""
        prefix = "128" if ":" in address else "32"
        nodad = ["nodad"] if ":" in address else []
        self.ip(host, "addr", "add", f"{address}/{prefix}", "dev", "eth0", *nodad)

    def drop(self, host: str) -> None:
        """The switch drops all frames to and from `host`; its carrier stays."""
        self._port(host, "0")

    def forward(self, host: str) -> None:
        self._port(host, "3")

    def seat(self, host: str) -> list[str]:
        """What a command begins with to run on `host`."""
        return ["nsenter", f"--net=/run/netns/{self.netns(host)}"]

    def start(self, host: str, program: str, *words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self.seat(host), sys.executable, str(METER / program), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def _port(self, host: str, state: str) -> None:
        port = ("link", "set", "dev", host, "state", state)
        subprocess.run(["bridge", "-n", self.netns("switch"), *port], check=True)

    def netns(self, host: str) -> str:
        return f"{self._prefix}-{host}"


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout
