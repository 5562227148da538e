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

from herald.core.effects import SendSolicitations, Solicitation
from herald.core.election.placement import order
from herald.core.leases import PresenceReport
from herald.core.model import MILLISECOND, SECOND, Address, Interface
from herald.core.outbox import Outbox

EVERY = 500 * MILLISECOND
"""Between two solicitations on an interface."""
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
class _Wire:
    """One interface."""

    solicitations: tuple[Solicitation, ...]
    since: int
    next_at: int
    turn: int = 0
    heard_at: int = 0


class Segment:
    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._wires: dict[int, _Wire] = {}

    def watch(self, solicitations: Mapping[int, tuple[Solicitation, ...]], now: int) -> None:
        """Whom to ask, by ifindex; an interface with nobody to ask is not watched."""
        for index in [index for index in self._wires if not solicitations.get(index)]:
            del self._wires[index]
        for index, wanted in solicitations.items():
            wire = self._wires.get(index)
            if wire is None and wanted:
                self._wires[index] = _Wire(wanted, since=now, next_at=now)
            elif wire is not None:
                wire.solicitations = wanted

    def answered(self, ifindex: int, address: Address, at: int) -> None:
        wire = self._wires.get(ifindex)
        if wire is not None and any(each.target == address for each in wire.solicitations):
            wire.heard_at = max(wire.heard_at, at)

    def heard(self, now: int) -> Mapping[int, bool | None]:
        """Whether somebody answers, by ifindex where anybody is asked; None: asked too recently to tell."""
        return {index: _heard(wire, now) for index, wire in self._wires.items()}

    def asking(self, now: int) -> bool:
        """Whether some device's segment was asked too recently to tell whether anybody answers."""
        return None in self.heard(now).values()

    def hears(self, indexes: Iterable[int], now: int) -> bool:
        """Whether somebody was just heard on each of these devices."""
        wires = [self._wires.get(index) for index in indexes]
        return bool(wires) and all(
            wire is not None and wire.heard_at and now < wire.heard_at + HOLD_WITHIN
            for wire in wires
        )

    def next_deadline(self) -> int | None:
        return min((wire.next_at for wire in self._wires.values()), default=None)

    def tick(self, now: int, *, urgent: bool) -> None:
        """Ask whose turn it is; ``urgent``: all of them."""
        due: list[Solicitation] = []
        for wire in self._wires.values():
            all_of_them = urgent or (wire.heard_at and now >= wire.heard_at + QUIET)
            if all_of_them:
                wire.next_at = min(wire.next_at, now + URGENT)
            if now < wire.next_at:
                continue
            wire.next_at = now + (URGENT if all_of_them else EVERY)
            if all_of_them:
                due += wire.solicitations
            else:
                due.append(wire.solicitations[wire.turn % len(wire.solicitations)])
                wire.turn += 1
        if due:
            self._out.add(SendSolicitations(tuple(due)))


def _heard(wire: _Wire, now: int) -> bool | None:
    if not wire.heard_at and now < wire.since + DEAF_AFTER:
        return None
    return now < wire.heard_at + DEAF_AFTER


def solicitations_of(
    interface: Interface, node: str, others: Iterable[PresenceReport]
) -> tuple[Solicitation, ...]:
    """Whom a node may ask on one of its interfaces: the gateways, and peers with an address on its networks."""
    own = [address for address in interface.addresses if not address.is_link_local]
    found: list[Solicitation] = []
    for gateway in interface.gateways:
        source = next((a.ip for a in own if a.version == gateway.version), None)
        if source is not None:
            found.append(Solicitation(interface.index, interface.mac, source, gateway))
    peers = [
        (report.node, Solicitation(interface.index, interface.mac, mine.ip, theirs.ip))
        for report in others
        for mine in own
        for other in report.interfaces
        if other.mac
        for theirs in other.addresses
        if mine.version == theirs.version and theirs.ip in mine.network and theirs.ip != mine.ip
    ]
    # Each node asks others, so that all are asked, and no eight that are lost at once make all deaf.
    ranking = order(node, {name: 1 for name, _ in peers})
    place = {name: number for number, name in enumerate(ranking)}
    peers.sort(key=lambda peer: place[peer[0]])
    return (*found, *(solicitation for _, solicitation in peers[:TARGETS]))


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
