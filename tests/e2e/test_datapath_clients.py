# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What Linux clients of every kind make of an address that moves: docs/clients.md is held to what is seen here.

They stand on the switch side by side, so that one failure of the announcing node shows all of them. The moment that
counts is that of the successor's first frame.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from herald_lab import layout
from stations import Station, station
from watched import await_health, linger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

TABLE = Path(__file__).parents[2] / "docs/clients.md"
AT_ONCE = "at once"
BY_PROBES = "when its own probes have failed"
NEVER = "never"
ASKS = "makes no entry: asks when it sends"
SOON = 1.0  # seconds: ten times the second pair of frames, for a machine that is busy
WATCHED = 8.0  # seconds in which a hasty client's probes have failed
FIRST = 100  # number of the first client's station


@dataclass(frozen=True)
class Client:
    """A row of the table: its name there, its settings, and what it does before the address moves."""

    name: str
    version: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of net.ipv4.conf.lan or net.ipv6.conf.lan."""
    before: str = "asks"
    hasty: bool = False
    """Its probes begin after 2 s and fail after 2 s more, where a client as it comes takes 20 to 50 s and 3 s."""

    def sysctls(self) -> dict[str, str]:
        net = f"net.ipv{self.version}"
        found = {f"{net}.conf.lan.{key}": value for key, value in self.settings.items()}
        if self.hasty:
            hasty = {
                "base_reachable_time_ms": 1000,
                "delay_first_probe_time": 1,
                "retrans_time_ms": 500,
            }
            found |= {f"{net}.neigh.lan.{key}": str(value) for key, value in hasty.items()}
        return found


CLIENTS = (
    Client("IPv4, entry in use", 4),
    Client("IPv4, entry in use, `arp_accept=1`", 4, {"arp_accept": "1"}),
    Client("IPv4, no entry, `arp_accept=1`", 4, {"arp_accept": "1"}, before="nothing"),
    Client("IPv4, no entry", 4, before="nothing"),
    Client(
        "IPv4, entry in use, `drop_gratuitous_arp=1`", 4, {"drop_gratuitous_arp": "1"}, hasty=True
    ),
    Client("IPv4, static entry", 4, before="static"),
    Client("IPv6, entry in use", 6),
    Client("IPv6, no entry", 6, before="nothing"),
    Client(
        "IPv6, entry in use, `drop_unsolicited_na=1`", 6, {"drop_unsolicited_na": "1"}, hasty=True
    ),
    Client("IPv6, static entry", 6, before="static"),
)


class Watching:
    """One client, and when its neighbour entry changes, by its kernel's own notices."""

    def __init__(self, client: Client, host: Station, address: str) -> None:
        self.client, self.host, self.address = client, host, address
        self._monitor = host.start("ip", "-timestamp", "monitor", "neigh")

    def begin(self, mac: str) -> None:
        """As the row says, while ``mac`` answers."""
        if self.client.before == "static":
            entry = ("lladdr", mac, "dev", "lan", "nud", "permanent")
            self.host("ip", "neighbour", "add", self.address, *entry)
        elif self.client.before == "asks":
            self.host("ping", "-c", "1", "-W", "5", self.address)
            assert self.host.neighbour(self.address) == mac

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Who has an entry uses it all the while."""
        if self.client.before == "nothing":
            yield
            return
        ping = self.host.start("ping", "-i", "0.1", self.address)
        try:
            yield
        finally:
            ping.kill()
            ping.communicate()

    def outcome(self, mac: str, moved: float) -> tuple[str, float | None]:
        """What became of its entry, and seconds from the successor's first frame to its change."""
        at = self._first_had(mac)
        if at is None:
            return (ASKS if self.client.before == "nothing" else NEVER), None
        return (AT_ONCE if at - moved < SOON else BY_PROBES), at - moved

    def _first_had(self, mac: str) -> float | None:
        self._monitor.terminate()
        said, _ = self._monitor.communicate()
        when = 0.0
        for line in said.splitlines():
            if stamp := re.fullmatch(r"Timestamp: (.+) (\d+) usec", line):
                whole = time.mktime(time.strptime(stamp.group(1)))
                when = whole + int(stamp.group(2)) / 1e6
            elif line.startswith(f"{self.address} ") and f"lladdr {mac}" in line:
                return when
        return None


def documented(version: int) -> dict[str, str]:
    """Client and what it does, from the rows of the table."""
    rows = [line.split("|") for line in TABLE.read_text().splitlines()]
    return {
        cells[1].strip(): cells[2].strip()
        for cells in rows
        if len(cells) > 3 and cells[1].startswith(f" IPv{version},")
    }


@pytest.mark.parametrize("version", [4, 6])
def test_clients_do_what_the_table_says(
    herald: Lab,
    service: Callable[..., Service],
    wait_for: Callable[..., None],
    tmp_path: Path,
    figure: Callable[[str], None],
    version: int,
) -> None:
    family = "IPv6" if version == 6 else "SingleStack"
    _, (address,) = service("clients", "--families", family)
    wait_for("it to be announced", lambda: bool(herald.holder(address)))
    await_health(herald)
    old = layout.node(herald.holder(address))
    with ExitStack() as stack:
        watching = [
            Watching(
                client, stack.enter_context(station(herald.name, number, client.sysctls())), address
            )
            for number, client in enumerate(CLIENTS, FIRST)
            if client.version == version
        ]
        for each in watching:
            each.begin(old.mac)
            stack.enter_context(each.traffic())
        with (
            herald.meter("answers", address, file=tmp_path / "answers.json") as answers,
            herald.fault(old.name, "cable"),
        ):
            wait_for("another holder", lambda: herald.holder(address) not in ("", old.name))
            linger(WATCHED)
        new = layout.node(herald.holder(address))
        first = min(when for when, mac, _ in answers["heard"] if mac == new.mac)
        seen = {each.client.name: each.outcome(new.mac, first) for each in watching}
    await_health(herald)
    for name, (outcome, after) in seen.items():
        figure(
            f"client, {name}: {outcome}" + ("" if after is None else f" ({after * 1000:.1f} ms)")
        )
    assert {name: outcome for name, (outcome, _) in seen.items()} == documented(version)
