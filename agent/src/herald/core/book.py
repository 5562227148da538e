# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who holds which address: what address management knows, without an opinion on it.

An address is *taken* by a record (its VIP lease, seen or under way), by a Service that shows it (status or
externalIPs, whoever's Service it is), or by a stranger on the segment (set aside). What is taken is kept as
runs, so a pool that appears learns at once what of it is free.
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
        self.given_by: dict[str, dict[Address, None]] = {}
        """The addresses whose record names the pool."""
        self.aside: dict[Address, Aside] = {}
        self.taken: Mapping[Version, Runs] = {version: Runs() for version in VERSIONS}
        self.recorded: Mapping[Version, Runs] = {version: Runs() for version in VERSIONS}
        self._seen: dict[Address, Record] = {}
        self._expected: dict[Address, Record] = {}
        self._holders: dict[Address, tuple[ServiceKey, ...]] = {}
        self._sharers: dict[str, dict[ServiceKey, None]] = {}

    # --- Records ---------------------------------------------------------------------------------------

    def record(self, address: Address) -> Record | None:
        """The record as it is, or as it will be if the write under way succeeds."""
        return self._expected.get(address) or self._seen.get(address)

    def confirmed(self, address: Address, key: ServiceKey) -> bool:
        """Whether the record was seen to name the Service: only then the address is the Service's."""
        record = self._seen.get(address)
        return record is not None and key in record.services

    def set_seen(
        self, address: Address, record: Record | None
    ) -> tuple[Record | None, Record | None]:
        """The record before and after."""
        before = self.record(address)
        if record is None:
            self._seen.pop(address, None)
        else:
            self._seen[address] = record
        return self._reindex(address, before)

    def set_expected(
        self, address: Address, record: Record | None
    ) -> tuple[Record | None, Record | None]:
        """The record before and after."""
        before = self.record(address)
        if record is None:
            self._expected.pop(address, None)
        else:
            self._expected[address] = record
        return self._reindex(address, before)

    def _reindex(self, address: Address, old: Record | None) -> tuple[Record | None, Record | None]:
        new = self.record(address)
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
        if old and (new is None or new.pool != old.pool):
            del self.given_by[old.pool][address]
            if not self.given_by[old.pool]:
                del self.given_by[old.pool]
        if new and (old is None or new.pool != old.pool):
            self.given_by.setdefault(new.pool, {})[address] = None
        return old, new

    # --- Services --------------------------------------------------------------------------------------

    def put_service(self, key: ServiceKey, known: Known) -> None:
        self.drop_service(key)
        self.services[key] = known
        if known.request.sharing_key:
            self._sharers.setdefault(known.request.sharing_key, {})[key] = None

    def drop_service(self, key: ServiceKey) -> None:
        known = self.services.pop(key, None)
        if known and known.request.sharing_key:
            sharers = self._sharers[known.request.sharing_key]
            del sharers[key]
            if not sharers:
                del self._sharers[known.request.sharing_key]

    def shared_by(self, sharing_key: str) -> Iterable[Address]:
        """The addresses that are given to Services with this sharing key."""
        sharers = self._sharers.get(sharing_key, ())
        return {address: None for key in sharers for address in self.given.get(key, ())}

    def hold(self, key: ServiceKey, addresses: Iterable[Address]) -> None:
        """The Service shows these addresses."""
        for address in addresses:
            self._holders[address] = (*self._holders.get(address, ()), key)

    def let_go(self, key: ServiceKey, addresses: Iterable[Address]) -> None:
        for address in addresses:
            rest = tuple(each for each in self._holders[address] if each != key)
            if rest:
                self._holders[address] = rest
            else:
                del self._holders[address]

    def holders(self, address: Address) -> tuple[ServiceKey, ...]:
        """The Services that show the address."""
        return self._holders.get(address, ())

    # --- Strangers -------------------------------------------------------------------------------------

    def asides_of(self, key: ServiceKey) -> list[tuple[Address, Aside]]:
        """The addresses that the Service had until a stranger was found to answer for them."""
        return [each for each in self.aside.items() if key in each[1].services]

    # --- What is taken ---------------------------------------------------------------------------------

    def refresh(self, address: Address) -> bool:
        """Count the address as taken or free, by all that was said of it. Whether that changed anything."""
        number = int(address)
        record = self.record(address)
        _set(self.recorded[address.version], number, record is not None)
        taken = record is not None or address in self._holders or address in self.aside
        changed = _set(self.taken[address.version], number, taken)
        if changed:
            line = self.pools.line_of(address)
            if line and taken:
                line.take(Range(number, number))
            elif line:
                line.give_back(Range(number, number))
        return changed


def _set(runs: Runs, number: int, present: bool) -> bool:
    """Whether that changed anything."""
    if (number in runs) == present:
        return False
    if present:
        runs.add(number, number)
    else:
        runs.remove(number, number)
    return True


def addresses_in(texts: Iterable[str]) -> tuple[Address, ...]:
    """Those of the texts that are addresses, without repetition."""
    if not texts:
        return ()
    parsed = map(parse_address, texts)
    return tuple(dict.fromkeys(each for each in parsed if not isinstance(each, Malformed)))
