# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who holds which address: what address management knows, without an opinion on it.

An address is *taken* by a record (its VIP lease, seen or under way), by a Service that shows it (status or
externalIPs, whoever's Service it is), or by a stranger on the segment (set aside). What is taken is kept as
runs too, so a pool that appears learns at once what of it is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from herald.core.addresses import Malformed, parse_address
from herald.core.pools import VERSIONS, Pools
from herald.core.ranges import Range, Runs, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from herald.core.model import Address, Service, ServiceKey
    from herald.core.requests import Request


@dataclass(frozen=True, slots=True)
class Record:
    """An allocation, as its VIP lease tells it."""

    address: Address
    pool: str
    services: frozenset[ServiceKey]


@dataclass(frozen=True, slots=True)
class Aside:
    """An address that somebody on the segment answers for, who is none of ours."""

    mac: str
    services: frozenset[ServiceKey]
    """To whom it had been given when that was found out."""


@dataclass(slots=True)
class Entry:
    """All that is known of one address."""

    address: Address
    seen: Record | None = None
    """As its VIP lease was last seen."""
    expected: Record | None = None
    """As it will be if the write under way succeeds."""
    holders: tuple[ServiceKey, ...] = ()
    """The Services that show it."""

    @property
    def record(self) -> Record | None:
        return self.expected or self.seen


@dataclass(slots=True)
class Known:
    """A Service in Herald's care."""

    service: Service
    request: Request
    shown: tuple[Address, ...]
    """The addresses in its status."""
    edited: int = 0
    """Grows with every edit that sharing depends on; 0: none was seen."""


class Book:
    """Services, records, strangers and pools. Mutators keep the indexes; whom to ask again is ipam's."""

    def __init__(self) -> None:
        self.pools = Pools()
        self.services: dict[ServiceKey, Known] = {}
        self.given: dict[ServiceKey, tuple[Address, ...]] = {}
        """The addresses whose record names the Service."""
        self.entries: dict[Address, Entry] = {}
        """The addresses that Services have, by a record or by showing them."""
        self.strangers: dict[Address, Aside] = {}
        self.taken: Mapping[Version, Runs] = {version: Runs() for version in VERSIONS}
        self.recorded: Mapping[Version, Runs] = {version: Runs() for version in VERSIONS}
        self._showing: dict[ServiceKey, tuple[Address, ...]] = {}
        """What a Service shows, where that is not just the status of one in Herald's care."""
        self._sharers: dict[str, dict[ServiceKey, None]] = {}

    # --- Addresses -------------------------------------------------------------------------------------

    def record(self, address: Address) -> Record | None:
        """The record as it is, or as it will be if the write under way succeeds."""
        entry = self.entries.get(address)
        return entry.record if entry else None

    def confirmed(self, address: Address, key: ServiceKey) -> bool:
        """Whether the record was seen to name the Service: only then the address is the Service's."""
        entry = self.entries.get(address)
        return entry is not None and entry.seen is not None and key in entry.seen.services

    def holders(self, address: Address) -> tuple[ServiceKey, ...]:
        """The Services that show the address."""
        entry = self.entries.get(address)
        return entry.holders if entry else ()

    def open(self, address: Address) -> Entry:
        """The entry, to be changed; :meth:`close` ends that."""
        entry = self.entries.get(address)
        if entry is None:
            entry = self.entries[address] = Entry(address)
        return entry

    def close(self, entry: Entry) -> bool:
        """Count the address as taken or free, as the entry now says. Whether that changed anything."""
        address = entry.address
        number, version = int(address), address.version
        recorded = entry.record is not None
        _set(self.recorded[version], number, recorded)
        if not (recorded or entry.holders):
            del self.entries[address]
        taken = recorded or bool(entry.holders) or address in self.strangers
        if not _set(self.taken[version], number, taken):
            return False
        line = self.pools.line_of(address)
        if line and taken:
            line.take(Range(number, number))
        elif line:
            line.give_back(Range(number, number))
        return True

    # --- Services --------------------------------------------------------------------------------------

    def name(self, address: Address, old: Record | None, new: Record | None) -> None:
        """The record of the address names other Services than before."""
        before = old.services if old else frozenset()
        after = new.services if new else frozenset()
        for key in before - after:
            rest = tuple(each for each in self.given[key] if each != address)
            if rest:
                self.given[key] = rest
            else:
                del self.given[key]
        for key in after - before:
            self.given[key] = (*self.given.get(key, ()), address)

    def showing(self, key: ServiceKey) -> tuple[Address, ...]:
        """All addresses that nobody else must be given because the Service shows them."""
        special = self._showing.get(key)
        if special is not None:
            return special
        known = self.services.get(key)
        return known.shown if known else ()

    def put_service(
        self, key: ServiceKey, known: Known | None, showing: tuple[Address, ...]
    ) -> None:
        """None: a Service that is not (any more) in Herald's care."""
        old = self.services.pop(key, None)
        self._showing.pop(key, None)
        if old and old.request.sharing_key:
            sharers = self._sharers[old.request.sharing_key]
            del sharers[key]
            if not sharers:
                del self._sharers[old.request.sharing_key]
        if known:
            self.services[key] = known
            if known.request.sharing_key:
                self._sharers.setdefault(known.request.sharing_key, {})[key] = None
        if showing != (known.shown if known else ()):
            self._showing[key] = showing

    def shared_by(self, sharing_key: str) -> Iterable[Address]:
        """The addresses that are given to Services with this sharing key."""
        sharers = self._sharers.get(sharing_key, ())
        return {address: None for key in sharers for address in self.given.get(key, ())}

    # --- Strangers -------------------------------------------------------------------------------------

    def asides_of(self, key: ServiceKey) -> list[tuple[Address, Aside]]:
        """The addresses that the Service had until a stranger was found to answer for them."""
        if not self.strangers:
            return []
        return [each for each in self.strangers.items() if key in each[1].services]

    def read(self, texts: Iterable[str]) -> tuple[Address, ...]:
        """Those of the texts that are addresses, without repetition."""
        found: dict[Address, None] = {}
        for text in texts:
            address = parse_address(text)
            if not isinstance(address, Malformed):
                entry = self.entries.get(address)
                found[entry.address if entry else address] = None
        return tuple(found)


def _set(runs: Runs, number: int, present: bool) -> bool:
    """Whether that changed anything."""
    if (number in runs) == present:
        return False
    if present:
        runs.add(number, number)
    else:
        runs.remove(number, number)
    return True
