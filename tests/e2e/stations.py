# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Other hosts on the lab's switch, each in a network namespace of its own."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from herald_lab import layout
from herald_lab.commands import inside, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Station:
    """A Linux host on the switch: the interface ``lan``, and 192.168.77.N with fd77:77::N."""

    def __init__(self, lab: layout.Lab, number: int) -> None:
        self.number = number
        self.mac = f"02:77:00:00:01:{number:02x}"
        self.netns = Path(f"/run/netns/{lab.netns.name}-{number}")
        self.ipv4, self.ipv6 = f"192.168.77.{number}", f"fd77:77::{number}"

    def __call__(self, *command: str, check: bool = True) -> str:
        return run(*command, netns=self.netns, check=check)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*inside(self.netns), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def neighbour(self, address: str) -> str:
        """The MAC that it has for an address, or nothing."""
        shown = json.loads(self("ip", "-json", "neighbour", "show", address, "dev", "lan") or "[]")
        return str(shown[0].get("lladdr", "")) if shown else ""


@contextmanager
def station(name: str, number: int, sysctls: Mapping[str, str] | None = None) -> Iterator[Station]:
    """A station of the lab of that name, with these settings of net.ipv4 and net.ipv6."""
    lab = layout.Lab(name)
    found = Station(lab, number)
    port = f"st-{number}"
    run("ip", "netns", "add", found.netns.name)
    try:
        end = ("peer", "name", "lan", "address", found.mac, "netns", found.netns.name)
        run("ip", "link", "add", port, "type", "veth", *end, netns=lab.netns)
        run("ip", "link", "set", port, "master", layout.BRIDGE, "up", netns=lab.netns)
        for key, value in (sysctls or {}).items():
            found("sysctl", "-qw", f"{key}={value}")
        found("ip", "address", "add", f"{found.ipv4}/24", "dev", "lan")
        found("ip", "address", "add", f"{found.ipv6}/64", "dev", "lan", "nodad")
        found("ip", "link", "set", "lan", "up")
        yield found
    finally:
        run("ip", "netns", "delete", found.netns.name)
        run("ip", "link", "delete", port, netns=lab.netns, check=False)
