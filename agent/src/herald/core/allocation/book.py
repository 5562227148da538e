# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who holds which address: what address management knows, without an opinion on it.

An address is *taken* by a record (its VIP lease, seen or under way), by a Service that shows it (status or
externalIPs, whoever's Service it is), or by a stranger on the segment (set aside). What is taken is kept as
runs too, so a pool that appears learns at once what of it is free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import merge
from typing import TYPE_CHECKING, TypeVar

from herald.core.allocation.addresses import Malformed, make_address, parse_address
from herald.core.allocation.pools import VERSIONS, Pools
from herald.core.allocation.ranges import Range, Runs, Version, without
from herald.core.allocation.sharing import Group, Member, terms_of
from herald.core.model import by_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from herald.core.allocation.pools import Plan
    from herald.core.allocation.requests import Request
    from herald.core.allocation.sharing import Common, Refusal, Terms
    from herald.core.model import Address, Service, ServiceKey, ServiceKeys, ServicePort


STRANGERS_MAX = 64
"""With so many addresses set aside, no other is tried: what is wrong is the pool, or a router that answers for all."""


@dataclass(frozen=True, slots=True)
class Record:
    """An allocation, as its VIP lease tells it."""

    address: Address
    pool: str
    services: ServiceKeys

    def joined(self, key: ServiceKey) -> Record:
        return replace(self, services=tuple(sorted({*self.services, key})))

    def left(self, key: ServiceKey) -> Record:
        return replace(self, services=tuple(each for each in self.services if each != key))


@dataclass(frozen=True, slots=True)
class Aside:
    """An address that somebody on the segment answers for, who is none of ours."""

    mac: str
    services: ServiceKeys
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
        self.of_pool: dict[tuple[str, Version], Runs] = {}
        """The addresses whose record names the pool."""
        self._showing: dict[ServiceKey, tuple[Address, ...]] = {}
        """What a Service shows, where that is not just the status of one in Herald's care."""
        self._groups: dict[Address, Group] = {}
        """Who has the address, where anybody of them would share it."""
        self._open: dict[tuple[Common, str, Version], Runs] = {}
        """Where the host of a group has this in common with whoever joins, and consents to the namespace."""
        self._used: dict[tuple[ServicePort, Version], Runs] = {}
        """Where anybody of a group uses the port."""

    # --- Addresses -------------------------------------------------------------------------------------

    def record(self, address: Address) -> Record | None:
        """The record as it is, or as it will be if the write under way succeeds."""
        entry = self.entries.get(address)
        return entry.record if entry else None

    def records_of(self, pool: str) -> Iterator[Record]:
        """Those that name the pool."""
        for version in VERSIONS:
            for part in self.of_pool.get((pool, version), ()):
                for number in range(part.first, part.last + 1):
                    if record := self.record(make_address(version, number)):
                        yield record

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

    def close(self, entry: Entry) -> Plan | None:
        """Count the address as taken or free, as the entry now says. The pool that can give one address
        more or less by that."""
        address = entry.address
        number, version = int(address), address.version
        recorded = entry.record is not None
        _set(self.recorded[version], number, recorded)
        if not (recorded or entry.holders):
            del self.entries[address]
        taken = recorded or bool(entry.holders) or address in self.strangers
        if not _set(self.taken[version], number, taken):
            return None
        for plan in self.pools.claimants(address)[:1]:
            line = plan.lines[version]
            (line.take if taken else line.give_back)(Range(number, number))
            self.pools.given_back += not taken
            return plan
        return None

    # --- Services --------------------------------------------------------------------------------------

    def name(self, address: Address, old: Record | None, new: Record | None) -> None:
        """The record of the address names others than before."""
        number, version = int(address), address.version
        if old and (new is None or new.pool != old.pool):
            _drop(self.of_pool, (old.pool, version), number)
        if new and (old is None or new.pool != old.pool):
            _put(self.of_pool, (new.pool, version), number)
        before = old.services if old else ()
        after = new.services if new else ()
        for key in set(before).difference(after):
            self._ungroup(address, key)
            rest = tuple(each for each in self.given[key] if each != address)
            if rest:
                self.given[key] = rest
            else:
                del self.given[key]
        for key in set(after).difference(before):
            self.given[key] = (*self.given.get(key, ()), address)
            self._group(address, key, after)

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
        given = self.given.get(key, ())
        for address in given:
            self._ungroup(address, key)
        self._showing.pop(key, None)
        if known is None:
            self.services.pop(key, None)
        else:
            self.services[key] = known
            for address in given:
                record = self.record(address)
                if record:
                    self._group(address, key, record.services)
        if showing != (known.shown if known else ()):
            self._showing[key] = showing

    # --- Sharing ---------------------------------------------------------------------------------------

    def refusal(self, address: Address, key: ServiceKey, known: Known) -> Refusal | None:
        """Who of those in Herald's care that have the address keeps the Service from joining, and why."""
        group = self._groups.get(address)
        if group is None:
            group = Group()
            record = self.record(address)
            for other in record.services if record else ():
                self._join(group, other)
        terms = terms_of(known.service, known.request)
        return group.refusal(key, terms, known.service.ports)

    def leavers(self, address: Address) -> set[ServiceKey]:
        """Who must leave the address so that the rules of sharing hold.

        Of two that may not share it is the one that edited last what the rules look at; if that was not
        seen, the one that was written last, statuses aside.
        """
        group = self._groups.get(address) if self._groups else None
        return group.leavers() if group is not None else set()

    def is_at_odds(self, address: Address) -> bool:
        group = self._groups.get(address) if self._groups else None
        return group is not None and group.at_odds

    def joinable(self, known: Known, version: Version) -> Iterator[Address]:
        """The addresses, from the lowest, that the Service may share with their hosts by the rules, and on which its
        ports are free: what others on them say is not looked at."""
        terms = terms_of(known.service, known.request)
        agreeing = (self._open.get((terms.common, to, version)) for to in (terms.namespace, "*"))
        found: Iterable[Range] = merge(*filter(None, agreeing))
        for port in known.service.ports:
            if used := self._used.get((port, version)):
                found = without(found, used)
        for part in found:
            for number in range(part.first, part.last + 1):
                yield make_address(version, number)

    def _group(self, address: Address, key: ServiceKey, everybody: ServiceKeys) -> None:
        known = self.services.get(key)
        if known is None:
            return
        group = self._groups.get(address)
        if group is None:
            if not known.request.sharing_key and len(everybody) == 1:
                return
            group = self._groups[address] = Group()
            for other in everybody:
                if other != key:
                    self._enter(address, group, other)
        if key not in group:
            self._enter(address, group, key)

    def _enter(self, address: Address, group: Group, key: ServiceKey) -> None:
        before = group.host
        if self._join(group, key):
            self._open_to(address, before, group.host)
            for port in group.ports(key):
                if group.users(port) == 1:
                    _put(self._used, (port, address.version), int(address))

    def _ungroup(self, address: Address, key: ServiceKey) -> None:
        group = self._groups.get(address)
        if group is None or key not in group:
            return
        before, ports = group.host, group.ports(key)
        group.drop(key)
        self._open_to(address, before, group.host)
        for port in ports:
            if not group.users(port):
                _drop(self._used, (port, address.version), int(address))
        if not len(group):
            del self._groups[address]

    def _open_to(self, address: Address, old: Terms | None, new: Terms | None) -> None:
        """Whoever joins the group must agree with other terms than before."""
        if old == new:
            return
        for terms, change in ((old, _drop), (new, _put)):
            if terms and terms.sharing_key:
                for to in terms.consents:
                    change(self._open, (terms.common, to, address.version), int(address))

    def _join(self, group: Group, key: ServiceKey) -> bool:
        known = self.services.get(key)
        if known:
            service = known.service
            standing = known.edited, service.written, service.resource_version
            group.put(key, Member(terms_of(service, known.request), service.ports, standing))
        return known is not None

    # --- Strangers -------------------------------------------------------------------------------------

    def asides_of(self, key: ServiceKey) -> list[tuple[Address, Aside]]:
        """The addresses that the Service had until a stranger was found to answer for them."""
        if not self.strangers:
            return []
        found = [each for each in self.strangers.items() if key in each[1].services]
        return sorted(found, key=lambda each: by_number(each[0]))

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


_K = TypeVar("_K")


def _put(index: dict[_K, Runs], at: _K, number: int) -> None:
    runs = index.get(at)
    if runs is None:
        runs = index[at] = Runs()
    runs.add(number, number)


def _drop(index: dict[_K, Runs], at: _K, number: int) -> None:
    index[at].remove(number, number)
    if not index[at].count:
        del index[at]
