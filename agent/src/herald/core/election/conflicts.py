# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who else claims the addresses that this node holds.

A frame that claims a held address for a MAC that is none of this node's is a conflict. It is told when it begins and
when another station joins in, and is over after a minute without a claim. What the wire tells of a station is its
MAC, and what follows from that: a node of this cluster, a virtual router, one that claims several addresses. Whether
it is configured with the address, answers as a proxy or belongs to another cluster, no frame says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from herald.core.effects import EmitEvent
from herald.core.election.candidates import Candidates
from herald.core.events import ConflictSeen
from herald.core.model import MILLISECOND, SECOND, Address, ServiceKey
from herald.core.outbox import Outbox
from herald.core.world import World

REASON = "AddressConflict"
QUIET = 60 * SECOND
"""After so long without a claim a station counts no more."""
STATIONS = 8
"""Stations that are kept of one address, the newest."""

_VIRTUAL = {
    bytes.fromhex("00005e0001"): "VRRP or CARP, group",  # RFC 9568, 7.3
    bytes.fromhex("00005e0002"): "VRRP for IPv6, group",
    bytes.fromhex("00000c07ac"): "HSRP, group",
}
"""The first five bytes of the MACs of virtual routers; the sixth is the group."""


@dataclass(frozen=True, slots=True)
class ConflictTold:
    """A station that claims a held address, for people."""

    address: str
    claimed_by: str
    interface: str
    ago_ms: int


@dataclass(frozen=True, slots=True)
class _Station:
    ifindex: int
    last: int
    """Boottime nanoseconds."""


class Conflicts:
    def __init__(self, world: World, candidates: Candidates, outbox: Outbox) -> None:
        self._world = world
        self._candidates = candidates
        self._out = outbox
        self._stations: dict[Address, dict[bytes, _Station]] = {}

    def seen(self, event: ConflictSeen, services: Iterable[ServiceKey], now: int) -> bool:
        """Take a claim of an address that these Services have here. Whether it is news is told, and returned."""
        stations = self._stations.setdefault(event.address, {})
        news = stations.pop(event.mac, None) is None
        stations[event.mac] = _Station(event.ifindex, now)
        while len(stations) > STATIONS:
            del stations[next(iter(stations))]
        if news or event.silenced:
            self._tell(event, services)
        return news

    def _tell(self, event: ConflictSeen, services: Iterable[ServiceKey]) -> None:
        what = "silenced" if event.silenced else "answered by an announcement"
        who, where = self._who(event.mac), self._interface(event.ifindex)
        self._out.note(
            "address conflict",
            level="warning",
            address=str(event.address),
            claimed_by=who,
            interface=where,
            outcome=what,
        )
        for key in services:
            service = self._world.services.get(key)
            if service is not None:
                message = f"{event.address} is also claimed by {who} on {where}: {what}"
                self._out.add(EmitEvent(key, service.uid, "Warning", REASON, message))

    @property
    def any(self) -> bool:
        return bool(self._stations)

    def tick(self, held: Collection[Address | None], now: int) -> list[Address]:
        """The addresses of which a station counts no more. What is not held here is none of this node's business."""
        changed = []
        for address, stations in list(self._stations.items()):
            quiet = now - QUIET if address in held else now
            over = [mac for mac, station in stations.items() if station.last <= quiet]
            for mac in over:
                del stations[mac]
            if over:
                changed.append(address)
            if not stations:
                del self._stations[address]
                self._out.note("address conflict is over", address=str(address))
        return changed

    def next_deadline(self) -> int | None:
        lasts = (s.last for stations in self._stations.values() for s in stations.values())
        first = min(lasts, default=None)
        return None if first is None else first + QUIET

    def told(self, now: int) -> tuple[ConflictTold, ...]:
        return tuple(
            ConflictTold(
                address=str(address),
                claimed_by=self._who(mac),
                interface=self._interface(station.ifindex),
                ago_ms=(now - station.last) // MILLISECOND,
            )
            for address, stations in self._stations.items()
            for mac, station in stations.items()
        )

    def text(self, addresses: Iterable[Address]) -> str:
        """Who else claims these addresses; empty: nobody. It names no number that changes by itself."""
        return "; ".join(
            f"{address} is also claimed by {self._who(mac)} on {self._interface(station.ifindex)}"
            for address in addresses
            for mac, station in sorted(self._stations.get(address, {}).items())
        )

    def _interface(self, ifindex: int) -> str:
        interface = self._world.interfaces.get(ifindex)
        return interface.name if interface is not None else f"interface {ifindex}"

    def _who(self, mac: bytes) -> str:
        """A station in words: its MAC, and what that says of it."""
        text = mac.hex(":")
        for node, presence in self._candidates.presences.items():
            if any(interface.mac == text for interface in presence.report.interfaces):
                return f"{text} (node {node} of this cluster)"
        if (protocol := _VIRTUAL.get(mac[:5])) is not None:
            return f"{text} ({protocol} {mac[5]})"
        claims = sum(mac in stations for stations in self._stations.values())
        if claims > 1:
            return f"{text} (claims several addresses: a proxy, or another cluster)"
        return text
