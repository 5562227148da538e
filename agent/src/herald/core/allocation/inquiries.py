# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Does anybody on the segment have this address? Asked before an address is first given (RFC 5227, 2.1.1).

Three probes, a quarter of a second apart, and as long after the last one: a host that is up answers within
milliseconds, and a Service waits for its address meanwhile. (The RFC's four to seven seconds are for a host that
has nothing better to do, and for links that come up just then.) Silence means that the address may be given; so
does a probe that could not be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from herald.core.effects import Probe, SendProbes
from herald.core.model import MILLISECOND, Address
from herald.core.outbox import Outbox

PROBES = 3
GAP = 250 * MILLISECOND
AT_ONCE = 250
"""Addresses that are asked about at the same time: at most 1,000 probes a second on each segment."""

_NOBODY4, _NOBODY6 = IPv4Address(0), IPv6Address(0)


@dataclass(slots=True)
class _Inquiry:
    on: Mapping[int, bytes]
    sent: int = 0
    due: int = 0
    """When the next probe, or the verdict, is due."""


class Inquiries:
    """Which addresses are being asked about, and what came of it."""

    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._open: dict[Address, _Inquiry] = {}
        self._waiting: deque[tuple[Address, Mapping[int, bytes]]] = deque()
        self._verdicts: list[tuple[Address, bytes | None]] = []

    def ask(self, address: Address, on: Mapping[int, bytes], known: bytes | None = None) -> None:
        """Begin to ask on these devices (ifindex to MAC); one verdict comes from :meth:`verdicts`, at once where
        there is no device to ask on, or where it is ``known`` who has the address."""
        if known is not None or not on:
            self._verdicts.append((address, known))
        else:
            self._waiting.append((address, on))

    def heard(self, address: Address, mac: bytes) -> None:
        """Somebody says that it has the address."""
        if address in self._open:
            del self._open[address]
            self._verdicts.append((address, mac))

    def clear(self) -> None:
        self._open.clear()
        self._waiting.clear()
        self._verdicts.clear()

    def next_deadline(self) -> int | None:
        if self._verdicts or (self._waiting and len(self._open) < AT_ONCE):
            return 0
        return min((inquiry.due for inquiry in self._open.values()), default=None)

    def verdicts(self, now: int) -> list[tuple[Address, bytes | None]]:
        """Send what is due. The addresses about which enough is known, each with the MAC (empty: unknown) of who
        has it, or None."""
        found, self._verdicts = self._verdicts, []
        for address, inquiry in list(self._open.items()):
            if inquiry.sent == PROBES and now >= inquiry.due:
                del self._open[address]
                found.append((address, None))
        while self._waiting and len(self._open) < AT_ONCE:
            address, on = self._waiting.popleft()
            self._open[address] = _Inquiry(on)
        probes: list[Probe] = []
        for address, inquiry in self._open.items():
            if now >= inquiry.due:
                inquiry.sent += 1
                inquiry.due = now + GAP
                source = _NOBODY4 if address.version == 4 else _NOBODY6
                probes += (Probe(index, mac, source, address) for index, mac in inquiry.on.items())
        if probes:
            self._out.add(SendProbes(tuple(probes)))
        return found
