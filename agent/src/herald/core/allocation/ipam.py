# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Address management: which Service gets which address, and why not.

An address is given by *creating* its VIP lease (names are unique in etcd), so no two allocators can ever
give one address to two unrelated Services; this module only proposes. It is told what there is (Services,
pools, records) and is asked, for one Service at a time, what that Service shall hold. The answer depends on
nothing but what it was told: a new allocator, or one that restarts, decides the same.

The caller must

- decide nothing before Services, pools and VIP leases were all listed once;
- tell of every write it sends (:meth:`Ipam.expect`) before the next :meth:`Ipam.decide`, and of its answer
  (:meth:`Ipam.settle`, and :meth:`Ipam.put_record` with the lease that came back);
- write a Service's status only from a decision that is ``settled``;
- carry out a release only where the status does not need the record any more (:func:`needs_records`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeVar

from herald.core.allocation.addresses import spelled
from herald.core.allocation.assign import (
    ALLOCATED,
    ORPHANED,
    Decision,
    Hung,
    decide,
    ingress_due,
    needs_records,
)
from herald.core.allocation.book import STRANGERS_MAX, Aside, Book, Entry, Known, Record
from herald.core.allocation.pools import OVERLAPS_NAMED, VERSIONS
from herald.core.allocation.ranges import common, without
from herald.core.allocation.requests import parse_request
from herald.core.allocation.turns import Turns
from herald.core.model import LOAD_BALANCER_CLASS, Condition, PoolStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from herald.core.allocation.pools import LineName, Plan
    from herald.core.model import Address, Pool, Service, ServiceKey, ServiceKeys

__all__ = ["ALLOCATED", "ORPHANED", "Decision", "Ipam", "Record", "ingress_due", "needs_records"]

_PROBLEMS_NAMED = 5
_NOBODY: ServiceKey = ("", "")
"""Before everybody in the order of names."""


class Ipam:
    """What Services hold and shall hold. See the module for what the caller must do."""

    def __init__(self, default_class: bool, adopt_classes: tuple[str, ...]) -> None:
        self._default_class = default_class
        self._classes = frozenset({LOAD_BALANCER_CLASS, *adopt_classes})
        self._book = Book()
        self._used: dict[str, int] = {}
        self._edits = 0
        # Whom to ask again.
        self._turns = Turns()
        self._dirty_pools: set[str] = set()
        # What the last decision of a Service hung on.
        self._hung: dict[ServiceKey, Hung] = {}
        self._awaiting: dict[Address, set[ServiceKey]] = {}
        self._hungry: dict[frozenset[LineName], list[ServiceKey]] = {}
        """Who waits for any address of these, in the order of names."""
        self._queues: dict[LineName, set[frozenset[LineName]]] = {}
        """Of which somebody waits for this one."""
        self._lonely: dict[str, set[ServiceKey]] = {}
        self._refilled: dict[LineName, ServiceKey] = {}
        """Lines that had an address freed, and who was asked last since whether it can use it."""
        self._refilled_in_order: list[LineName] = []
        """A heap."""

    # --- What there is ---------------------------------------------------------------------------------

    def in_care(self, service: Service) -> bool:
        """Whether the Service is Herald's by type and class.

        (One without a class that another load balancer serves already is left to it all the same.)
        """
        if service.type != "LoadBalancer":
            return False
        if not service.load_balancer_class:
            return self._default_class
        return service.load_balancer_class in self._classes

    def put_service(self, service: Service) -> None:
        shown = self._book.read(service.ingress)
        given = self._book.given.get(service.key)
        if shown == given:
            shown = given  # the same twice is once too often in memory
        known = None
        if self.in_care(service):
            known = Known(service, parse_request(service), shown)
        if service.external_ips:
            shown = tuple(dict.fromkeys((*shown, *self._book.read(service.external_ips))))
        self._change_service(service.key, known, shown)

    def drop_service(self, key: ServiceKey) -> None:
        self._change_service(key, None, ())

    def put_pool(self, pool: Pool) -> None:
        if self._book.pools.put(pool):
            self._dirty_pools.add(pool.name)

    def drop_pool(self, name: str) -> None:
        self._book.pools.drop(name)

    def put_record(self, record: Record) -> None:
        """A VIP lease as it was seen."""
        entry = self._book.open(record.address)
        seen, before = entry.seen, entry.record
        if seen != record:
            entry.seen = record
            self._record_changed(entry, before)
            self._mark(set(record.services).difference(seen.services if seen else ()))

    def drop_record(self, address: Address) -> None:
        """The VIP lease is gone."""
        entry = self._book.open(address)
        before, entry.seen = entry.record, None
        self._record_changed(entry, before)

    def expect(self, record: Record) -> None:
        """A write that makes the record so has been sent. Until its answer the address counts as taken."""
        entry = self._book.open(record.address)
        before, entry.expected = entry.record, record
        self._record_changed(entry, before, decided=record.services)

    def settle(self, address: Address) -> None:
        """The write was answered, either way, or given up: from here on what is seen counts."""
        entry = self._book.open(address)
        before, entry.expected = entry.record, None
        if before is None or before != entry.seen:
            self._record_changed(entry, before)

    def set_aside(self, address: Address, mac: str, services: ServiceKeys) -> None:
        """Somebody who is none of ours answers for the address: it is not given until cleared.

        ``services``: who was to have it when that was found out.
        """
        aside = Aside(mac, services)
        if self._book.strangers.get(address) != aside:
            self._book.strangers[address] = aside
            self._stranger_changed(self._book.open(address), aside)

    def clear_aside(self, address: Address) -> None:
        aside = self._book.strangers.pop(address, None)
        if aside:
            self._stranger_changed(self._book.open(address), aside)
            if len(self._book.strangers) == STRANGERS_MAX - 1:
                self._mark(self._hung)

    # --- What follows ----------------------------------------------------------------------------------

    def dirty(self) -> Iterator[ServiceKey]:
        """The Services whose decision may have changed; who is taken from here must be decided.

        Take as many as time allows: the others stay.
        """
        while True:
            self._lay_out()
            key = self._turns.next() or self._next_hungry()
            if key is None:
                return
            yield key

    def decide(self, key: ServiceKey) -> Decision:
        """What the Service shall hold. Asking again without news brings the same answer."""
        self._lay_out()
        verdict = decide(self._book, key)
        self._remember(key, verdict.hung)
        return verdict.decision

    def cares_for(self, key: ServiceKey) -> bool:
        """Whether the Service, as it was last put, is in Herald's care."""
        return key in self._book.services

    def ask_again(self, key: ServiceKey) -> None:
        """More is known of the Service than the caller went by when it was decided."""
        self._mark((key,))

    def notes(self, key: ServiceKey) -> tuple[str, ...]:
        """What of the Service's request is worth a warning event, though it is sound."""
        known = self._book.services.get(key)
        return known.request.notes if known is not None else ()

    @property
    def strangers(self) -> Collection[Address]:
        """The addresses that are set aside."""
        return self._book.strangers.keys()

    def shown(self, address: Address) -> bool:
        """Whether any Service shows the address: then it was given before."""
        return bool(self._book.holders(address))

    def record(self, address: Address) -> Record | None:
        """The record as it is, or as it will be if the write under way succeeds."""
        return self._book.record(address)

    def is_orphan(self, address: Address) -> bool:
        """Whether the address has a record that names nobody (any more): it is to be freed."""
        record = self.record(address)
        return record is not None and not record.services

    def dirty_pools(self) -> Iterator[str]:
        """The pools whose status may have changed; those that are gone are not named."""
        self._lay_out()
        while self._dirty_pools:
            name = self._dirty_pools.pop()
            if self._book.pools.get(name):
                yield name

    def pool_status(self, name: str) -> PoolStatus | None:
        """None: there is no such pool."""
        self._lay_out()
        plan = self._book.pools.get(name)
        if plan is None:
            return None
        lines = plan.lines.values()
        return PoolStatus(
            ips_total=str(sum(line.size for line in lines)),
            ips_used=str(self._used.get(name, 0)),
            ips_available=str(sum(line.free for line in lines)),
            observed_generation=plan.pool.generation,
            conditions=(_ready(plan), self._conflict(plan)),
        )

    # --- What a change touches -------------------------------------------------------------------------

    def _change_service(
        self, key: ServiceKey, new: Known | None, showing: tuple[Address, ...]
    ) -> None:
        book = self._book
        old = book.services.get(key)
        if new and old:
            new.edited = old.edited
            if not _same_terms(old, new):
                self._edits += 1
                new.edited = self._edits
        before = book.showing(key)
        at_odds = {each for each in book.given.get(key, ()) if book.is_at_odds(each)}
        book.put_service(key, new, showing)
        self._mark((key,))
        if before != showing:
            self._shows(key, before, showing)
        if (old is None) != (new is None):
            for address in showing:
                self._mark_waiting(address)
        if old is None or new is None or old.edited != new.edited:
            self._terms_changed(key, new, at_odds)

    def _shows(
        self, key: ServiceKey, before: tuple[Address, ...], after: tuple[Address, ...]
    ) -> None:
        """The Service shows other addresses than before."""
        for address in before:
            entry = self._book.open(address)
            entry.holders = tuple(each for each in entry.holders if each != key)
        for address in after:
            entry = self._book.open(address)
            entry.holders += (key,)
            if entry.record and entry.record.services == entry.holders:
                entry.holders = entry.record.services
        for address in {*before, *after}:
            self._recount(self._book.open(address))
            self._mark_waiting(address)

    def _terms_changed(self, key: ServiceKey, known: Known | None, at_odds: set[Address]) -> None:
        """The Service may share with others than before; ``at_odds``: where the rules failed before."""
        given = self._book.given.get(key, ())
        for address in given:
            record = self._book.record(address)
            if record and (address in at_odds or self._book.is_at_odds(address)):
                self._mark(record.services)
            self._mark_waiting(address)
        if given and known and known.request.sharing_key:
            self._mark(self._lonely.get(known.request.sharing_key, ()))

    def _record_changed(
        self, entry: Entry, before: Record | None, decided: ServiceKeys = ()
    ) -> None:
        """``decided``: Services whose own decision the change is, and who need not be asked again for it."""
        address, after = entry.address, entry.record
        if before == after:
            if after is None:
                self._recount(entry)
        else:
            self._book.name(address, before, after)
            self._count(before, -1)
            self._count(after, 1)
            self._recount(entry)
            self._members_changed(entry, before, after, decided)
        self._mark_waiting(address)

    def _members_changed(
        self,
        entry: Entry,
        before: Record | None,
        after: Record | None,
        decided: ServiceKeys,
    ) -> None:
        """Ask again who comes or goes, and who shows the address without being in its record; those who
        stay only where the record says something else of them, too."""
        old = frozenset(before.services if before else ())
        new = frozenset(after.services if after else ())
        self._mark((old ^ new).difference(decided))
        if (before and after and before.pool != after.pool) or self._book.is_at_odds(entry.address):
            self._mark(new.difference(decided))
        self._mark([key for key in entry.holders if key not in new])
        if self._lonely and (before is None or old - new):
            for key in old | new:
                known = self._book.services.get(key)
                if known and known.request.sharing_key:
                    self._mark(self._lonely.get(known.request.sharing_key, ()))

    def _stranger_changed(self, entry: Entry, aside: Aside) -> None:
        self._mark(aside.services)
        self._mark(entry.record.services if entry.record else ())
        self._mark_waiting(entry.address)
        self._recount(entry)

    def _recount(self, entry: Entry) -> None:
        """Count the address as taken or free; where it is free, who waits for any address has a chance."""
        plan = self._book.close(entry)
        if plan:
            self._dirty_pools.add(plan.name)
            line = plan.name, entry.address.version
            if line in self._queues:
                if line not in self._refilled:
                    heappush(self._refilled_in_order, line)
                self._refilled[line] = _NOBODY

    def _count(self, record: Record | None, difference: int) -> None:
        for name in self._counted_by(record) if record else ():
            self._used[name] = self._used.get(name, 0) + difference
            self._dirty_pools.add(name)

    def _counted_by(self, record: Record) -> Iterator[str]:
        """The pools whose ``ipsUsed`` has the record: the one that owns the address, and the one that gave
        it while it is still in its blocks."""
        number, version = int(record.address), record.address.version
        owner = ""
        for plan in self._book.pools.claimants(record.address)[:1]:
            owner = plan.name
            yield owner
        giver = self._book.pools.get(record.pool) if record.pool != owner else None
        if giver and number in giver.blocks[version]:
            yield record.pool

    def _lay_out(self) -> None:
        """Settle the pools anew after a change of them, and ask again whom that may concern."""
        book = self._book
        if not book.pools.stale:
            return
        changed = book.pools.lay_out(book.taken)
        for name in changed:
            plan = book.pools.get(name)
            self._used.pop(name, None)
            if plan:
                self._used[name] = _count_used(plan, book)
                self._dirty_pools.add(name)
            for record in book.records_of(name):
                self._mark(record.services)
        self._mark(self._hung)

    # --- Whom to ask again -----------------------------------------------------------------------------

    def _mark(self, keys: Iterable[ServiceKey]) -> None:
        for key in keys:
            if key not in self._turns:
                known = self._book.services.get(key)
                names = known is None or bool(known.shown or known.request.wanted)
                self._turns.add(key, first=names or key in self._book.given)

    def _mark_waiting(self, address: Address) -> None:
        """Those who wait for this very address."""
        if self._awaiting:
            self._mark(self._awaiting.get(address, ()))

    def _next_hungry(self) -> ServiceKey | None:
        """A Service that waits for any address of a line that has one again, and was not asked yet."""
        while self._refilled_in_order:
            line = self._refilled_in_order[0]
            name, version = line
            plan = self._book.pools.get(name)
            if plan and plan.lines[version].free:
                after = self._refilled[line]
                queues = [self._hungry[each] for each in self._queues.get(line, ())]
                places = [(queue, bisect_right(queue, after)) for queue in queues]
                waiting = [queue[place] for queue, place in places if place < len(queue)]
                if waiting:
                    self._refilled[line] = min(waiting)
                    return self._refilled[line]
            del self._refilled[heappop(self._refilled_in_order)]
        return None

    def _remember(self, key: ServiceKey, new: Hung | None) -> None:
        """Keep what the decision hung on, and forget what the one before did."""
        old = self._hung.get(key)
        if old == new:
            return
        if old:
            del self._hung[key]
            for address in old.addresses:
                _discard(self._awaiting, address, key)
            for lines in old.pools:
                self._leave_queue(lines, key)
            _discard(self._lonely, old.sharing_key, key)
        if not new:
            return
        self._hung[key] = new
        for address in new.addresses:
            self._awaiting.setdefault(address, set()).add(key)
        for lines in new.pools:
            self._join_queue(lines, key)
        if new.sharing_key:
            self._lonely.setdefault(new.sharing_key, set()).add(key)

    def _join_queue(self, lines: frozenset[LineName], key: ServiceKey) -> None:
        queue = self._hungry.get(lines)
        if queue is None:
            queue = self._hungry[lines] = []
            for line in lines:
                self._queues.setdefault(line, set()).add(lines)
        insort(queue, key)

    def _leave_queue(self, lines: frozenset[LineName], key: ServiceKey) -> None:
        queue = self._hungry[lines]
        del queue[bisect_left(queue, key)]
        if not queue:
            del self._hungry[lines]
            for line in lines:
                _discard(self._queues, line, lines)

    # --- Pool conditions -------------------------------------------------------------------------------

    def _conflict(self, plan: Plan) -> Condition:
        found = self._book.pools.overlaps(plan.name)
        texts = []
        for overlap in found[:OVERLAPS_NAMED]:
            addresses = spelled(overlap.version, overlap.range)
            if overlap.younger == plan.name:
                texts.append(f"{addresses}: left to the older pool {overlap.older}")
            else:
                texts.append(f"{addresses}: not given by the younger pool {overlap.younger}")
        if len(found) > OVERLAPS_NAMED:
            texts.append("and more")
        if not texts:
            return Condition("Conflict", "False", "NoOverlap", "")
        return Condition("Conflict", "True", "Overlap", "; ".join(texts))


def _ready(plan: Plan) -> Condition:
    if plan.problems:
        return Condition(
            "Ready", "False", "InvalidSpec", "; ".join(plan.problems[:_PROBLEMS_NAMED])
        )
    if not any(line.size for line in plan.lines.values()):
        return Condition("Ready", "False", "NoAddresses", "blocks: nothing is left to give")
    if plan.pool.disabled:
        return Condition("Ready", "True", "Disabled", "no new addresses are given")
    return Condition("Ready", "True", "Ready", "")


def _count_used(plan: Plan, book: Book) -> int:
    """How many records there are of what the pool owns, and of what it gave and has in its blocks still."""
    used = 0
    for version in VERSIONS:
        owned = plan.owned[version]
        used += sum(run.size for run in common(owned, book.recorded[version]))
        given = common(book.of_pool.get((plan.name, version), ()), plan.blocks[version])
        used += sum(run.size for run in without(given, owned))
    return used


def _same_terms(one: Known, other: Known) -> bool:
    """Whether the two are the same to the rules of sharing."""
    return (
        one.service.ports == other.service.ports
        and one.service.external_traffic_policy == other.service.external_traffic_policy
        and one.service.selector == other.service.selector
        and one.request.sharing_key == other.request.sharing_key
        and one.request.shares_with == other.request.shares_with
    )


_K = TypeVar("_K")
_V = TypeVar("_V")


def _discard(index: dict[_K, set[_V]], at: _K, value: _V) -> None:
    values = index.get(at)
    if values:
        values.discard(value)
        if not values:
            del index[at]
