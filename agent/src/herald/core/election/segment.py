# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether anybody on this node's segments answers: carrier is not enough.

On each interface the other nodes' addresses and the gateways are asked in turn by ARP or NS. Two decisions hang
on it: an interface that nobody answers on, while other nodes hear theirs, is not eligible; and without the API
server a node holds on to its addresses only while it hears somebody (rule 8 of docs/design/election.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herald.core.effects import Probe, SendProbes
from herald.core.election.placement import rank_of
from herald.core.leases import PresenceReport
from herald.core.model import MILLISECOND, SECOND, Address, Interface
from herald.core.outbox import Outbox

EVERY = 500 * MILLISECOND
"""Between two probes on an interface."""
URGENT = 200 * MILLISECOND
"""The same while the API server is lost: a held address hangs on the answers."""
QUIET = 700 * MILLISECOND
"""After so long without an answer everybody on the segment is asked, not one in turn."""
DEAF_AFTER = 1500 * MILLISECOND
HOLD_WITHIN = SECOND
"""Past the deadline somebody must have answered so recently."""
TARGETS = 8
"""Peers that are asked in turn, at the most."""


@dataclass(slots=True)
class _Side:
    """One interface."""

    probes: tuple[Probe, ...]
    since: int
    next_at: int
    turn: int = 0
    heard_at: int = 0


class Segment:
    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._sides: dict[int, _Side] = {}

    def watch(self, probes: Mapping[int, tuple[Probe, ...]], now: int) -> None:
        """Whom to ask, by ifindex; an interface with nobody to ask is not watched."""
        for index in [index for index in self._sides if not probes.get(index)]:
            del self._sides[index]
        for index, wanted in probes.items():
            side = self._sides.get(index)
            if side is None and wanted:
                self._sides[index] = _Side(wanted, since=now, next_at=now)
            elif side is not None:
                side.probes = wanted

    def answered(self, ifindex: int, address: Address, now: int) -> None:
        side = self._sides.get(ifindex)
        if side is not None and any(probe.target == address for probe in side.probes):
            side.heard_at = now

    def heard(self, now: int) -> Mapping[int, bool | None]:
        """Whether somebody answers, by ifindex where anybody is asked; None: asked too recently to tell."""
        return {index: _heard(side, now) for index, side in self._sides.items()}

    def asking(self, now: int) -> bool:
        """Whether some device's segment was asked too recently to tell whether anybody answers."""
        return None in self.heard(now).values()

    def hears(self, indexes: Iterable[int], now: int) -> bool:
        """Whether somebody was just heard on each of these devices."""
        sides = [self._sides.get(index) for index in indexes]
        return bool(sides) and all(
            side is not None and side.heard_at and now < side.heard_at + HOLD_WITHIN
            for side in sides
        )

    def next_deadline(self) -> int | None:
        return min((side.next_at for side in self._sides.values()), default=None)

    def tick(self, now: int, *, urgent: bool) -> None:
        """Ask whose turn it is; ``urgent``: all of them."""
        due: list[Probe] = []
        for side in self._sides.values():
            all_of_them = urgent or (side.heard_at and now >= side.heard_at + QUIET)
            if all_of_them:
                side.next_at = min(side.next_at, now + URGENT)
            if now < side.next_at:
                continue
            side.next_at = now + (URGENT if all_of_them else EVERY)
            if all_of_them:
                due += side.probes
            else:
                due.append(side.probes[side.turn % len(side.probes)])
                side.turn += 1
        if due:
            self._out.add(SendProbes(tuple(due)))


def _heard(side: _Side, now: int) -> bool | None:
    if not side.heard_at and now < side.since + DEAF_AFTER:
        return None
    return now < side.heard_at + DEAF_AFTER


def probes_of(
    interface: Interface, node: str, others: Iterable[PresenceReport]
) -> tuple[Probe, ...]:
    """Whom a node may ask on one of its interfaces: the gateways, and peers with an address on its networks."""
    own = [address for address in interface.addresses if not address.is_link_local]
    found: list[Probe] = []
    for gateway in interface.gateways:
        source = next((a.ip for a in own if a.version == gateway.version), None)
        if source is not None:
            found.append(Probe(interface.index, interface.mac, source, gateway))
    peers = [
        (report.node, Probe(interface.index, interface.mac, mine.ip, theirs.ip))
        for report in others
        for mine in own
        for other in report.interfaces
        if other.mac
        for theirs in other.addresses
        if mine.version == theirs.version and theirs.ip in mine.network and theirs.ip != mine.ip
    ]
    peers.sort(key=lambda peer: (rank_of(peer[0], node, [name for name, _ in peers]), peer[0]))
    return (*found, *(probe for _, probe in peers[:TARGETS]))


def deaf(report: PresenceReport, hearing_nodes: Iterable[PresenceReport]) -> frozenset[str]:
    """The interfaces on which a node hears nobody while another node on the same network does.

    ``hearing_nodes``: reports of other nodes that have renewed since this one said that it hears nobody; what a
    node said before may be its last word.
    """
    hearing = [
        address.network
        for other in hearing_nodes
        for interface in other.interfaces
        if interface.heard
        for address in interface.addresses
    ]
    return frozenset(
        interface.name
        for interface in report.interfaces
        if interface.heard is False
        and any(
            address.network in hearing
            for address in interface.addresses
            if not address.is_link_local
        )
    )
