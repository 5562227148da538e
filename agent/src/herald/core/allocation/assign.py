# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What one Service shall hold, by all that is known: a pure function of the book.

What always holds:

- an address that a Service shows is never changed without a request (its annotations, families, ports,
  sharing, class or type), whatever becomes of pools;
- an address that is replaced on request is left only when what replaces it was seen to be recorded;
- where a request cannot be met, what is held is kept, and the condition says what is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from herald.core.allocation.book import Record
from herald.core.allocation.offers import Offers, Problem, listed
from herald.core.model import Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from herald.core.allocation.book import Book, Known
    from herald.core.allocation.pools import LineName
    from herald.core.allocation.ranges import Version
    from herald.core.model import Address, Service, ServiceKey

ALLOCATED = "herald.dev/Allocated"
"""Whether it has all addresses that it asks for, and why not."""
ORPHANED = "Orphaned"
"""Its reason where no pool stands behind an address any more."""

_HELD = "held: "
_NAMED = re.compile(r"([\da-f.:]+)(?: of pool ([^ ,]*)|,|$)")
_MESSAGE_MAX = 2048


class Decision(NamedTuple):
    """What a Service shall hold, and what to do for it."""

    addresses: tuple[Address, ...] = ()
    """What its status shall show, in the order of its families; all of them are recorded for it, or about
    to be recorded again (``give``)."""
    give: tuple[Record, ...] = ()
    """VIP leases to create or, where the address is recorded already, to extend by the Service."""
    release: tuple[Address, ...] = ()
    """Records that the Service must leave."""
    condition: Condition | None = None
    """``herald.dev/Allocated``; None: not in Herald's care, or being deleted without an address."""
    settled: bool = True
    """False while a record of the Service is still to be written or under way: its status waits."""


class Hung(NamedTuple):
    """What a decision hung on: a change of these may change it."""

    restless: bool = False
    """Any change of a pool."""
    addresses: frozenset[Address] = frozenset()
    """It waits for these to be free."""
    pools: tuple[frozenset[LineName], ...] = ()
    """It waits for any address of these, for each of its families. (Many wait for the same.)"""
    sharing_key: str = ""
    """It waits for somebody with this key."""


class Verdict(NamedTuple):
    decision: Decision
    hung: Hung | None = None
    """None: on nothing but the Service and its records."""


def said_held(service: Service) -> Mapping[str, str]:
    """The addresses of which the Service's own condition says that Herald gave them, each with the pool that it names
    (empty: none). It names the first few addresses, in the order of the status, and counts the others: it means them
    where the status has just as many after those."""
    for condition in service.conditions:
        if condition.type == ALLOCATED:
            before, said, after = condition.message.partition(_HELD)
            held = after if said else before if condition.status == "True" else ""
            texts = held.split("; ")
            found = [match for text in texts if (match := _NAMED.match(text))]
            whole = len(condition.message) < _MESSAGE_MAX
            named = {match[1]: (whole and match[2]) or "" for match in found}
            first = len(named)
            counted = texts[first : first + 1] == [f"and {len(service.ingress) - first} more"]
            if counted and service.ingress[:first] == tuple(named):
                return {**dict.fromkeys(service.ingress, ""), **named}
            return named
    return {}


def ingress_due(service: Service, decision: Decision) -> tuple[str, ...] | None:
    """The addresses to write into the Service's status; None: leave it as it is."""
    due = tuple(str(address) for address in decision.addresses)
    if decision.condition is None:
        # Only what we gave is ours to take away: another balancer may have written it since.
        ours = {*said_held(service), *map(str, decision.release)}
        if service.served_otherwise or not ours.issuperset(service.ingress):
            return None
    return due if due != service.ingress else None


def needs_records(service: Service, decision: Decision) -> bool:
    """Whether the Service's records are what says that Herald gave what its status is to be rid of yet: they are left
    only afterwards, so that whoever allocates then knows it too."""
    return decision.condition is None and ingress_due(service, decision) is not None


def decide(book: Book, key: ServiceKey) -> Verdict:
    """What the Service shall hold. Who is not in Herald's care, or gone, leaves what it has."""
    known = book.services.get(key)
    given = book.given.get(key, ())
    if known is None:
        return Verdict(Decision(release=given))
    return _Case(book, key, known, Offers(book, key, known)).verdict(given)


@dataclass(slots=True)
class _Case:
    """The work on one decision."""

    book: Book
    key: ServiceKey
    known: Known
    offers: Offers
    keep: list[Address] = field(default_factory=list)
    give: list[Record] = field(default_factory=list)
    leave: list[Address] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lacking: dict[Version, Problem] = field(default_factory=dict)
    """Why a family has no address, where none is wanted by name."""
    met: list[Address] = field(default_factory=list)
    """What is held as of the pool that is asked for, whichever its record names."""

    def verdict(self, given: tuple[Address, ...]) -> Verdict:
        self._sort(given)
        if self._is_anothers(given):
            return Verdict(Decision(), Hung(restless=True, addresses=frozenset(self.known.shown)))
        if not self.known.service.deleting:
            if self.known.request.problems:
                self.problems += (
                    Problem("InvalidRequest", text) for text in self.known.request.problems
                )
            else:
                for version in self.known.request.families:
                    self._serve(version)
                self._weigh_families()
        return self._conclude()

    # --- What is held ----------------------------------------------------------------------------------

    def _sort(self, given: tuple[Address, ...]) -> None:
        """Part what the Service holds into what it keeps and what it must leave."""
        for address in given:
            fits = address.version in self.known.request.families or self.known.service.deleting
            if not fits or self._is_aside(address) or self.key in self.book.leavers(address):
                self.leave.append(address)
            else:
                self.keep.append(address)
        for address in self.known.shown:
            if address not in given and address.version in self.known.request.families:
                record = self._adopted(address)
                if record:
                    self.keep.append(address)
                    self.give.append(record)

    def _is_aside(self, address: Address) -> bool:
        """A stranger answers for it, and it was not in use yet: another is tried."""
        strangers = self.book.strangers
        return bool(strangers) and address in strangers and address not in self.known.shown

    def _adopted(self, address: Address) -> Record | None:
        """The record that an address in status without one gets (again); None: it is not the Service's."""
        record = self.book.record(address)
        if record is None:
            claimants = self.book.pools.claimants(address)
            service = self.known.service
            said = said_held(service)
            owned = service.load_balancer_class or str(address) in said
            foreign = self._held_elsewhere(address) or not claimants
            if not owned and (foreign or not self.known.request.own):
                return None
            # Not of another pool than before: a pool that the Service asks for may have been edited since.
            owner = claimants[0].name if claimants else ""
            return Record(address, said.get(str(address)) or owner, (self.key,))
        if self.book.refusal(address, self.key, self.known):
            return None
        return record.joined(self.key)

    def _held_elsewhere(self, address: Address) -> bool:
        """Whether a Service that is not in Herald's care shows the address."""
        return any(key not in self.book.services for key in self.book.holders(address))

    def _is_anothers(self, given: tuple[Address, ...]) -> bool:
        """Whether a Service without a class is served by another load balancer, and nobody asks Herald."""
        service = self.known.service
        return (
            (bool(service.ingress) or service.served_otherwise)
            and not service.load_balancer_class
            and not (given or self.keep or self.known.request.own)
            and said_held(service).keys().isdisjoint(map(str, self.known.shown))
        )

    # --- What is asked for -----------------------------------------------------------------------------

    def _serve(self, version: Version) -> None:
        request = self.known.request
        wanted = request.wanted_of(version) if request.wanted else ()
        mine = [address for address in self.keep if address.version == version]
        if wanted:
            for address in wanted:
                if address not in mine:
                    self._take(self.offers.exact(address))
            self._replace(mine, [address for address in mine if address in wanted], len(wanted))
        elif not mine:
            self._take(self.offers.any(version), version)
        elif request.pool:
            fitting = [address for address in mine if self._is_of_wanted_pool(address)]
            if not fitting:
                self._take(self.offers.any(version), version)
            self.met += fitting
            self._replace(mine, fitting, 1)
            self._drop_surplus(fitting)
        else:
            self._drop_surplus(mine)

    def _take(self, offer: Record | Problem, version: Version | None = None) -> None:
        """``version``: any address of this family would have done."""
        if isinstance(offer, Record):
            self.give.append(offer)
        elif version:
            self.lacking[version] = offer
        else:
            self.problems.append(offer)

    def _replace(self, mine: list[Address], fitting: list[Address], enough: int) -> None:
        """Leave what is not asked for any more, once enough of what is asked for is recorded."""
        if sum(self.book.confirmed(address, self.key) for address in fitting) < enough:
            return
        for address in mine:
            if address not in fitting:
                self._give_up(address)

    def _drop_surplus(self, mine: list[Address]) -> None:
        """Of several addresses none of which is in use one is enough (a write had succeeded unnoticed)."""
        if len(mine) < 2:
            return
        enough = [address for address in mine if address in self.known.shown] or [
            min(mine, key=lambda each: (not self.book.confirmed(each, self.key), int(each)))
        ]
        for address in mine:
            if address not in enough:
                self._give_up(address)

    def _give_up(self, address: Address) -> None:
        self.keep.remove(address)
        if address in self.book.given.get(self.key, ()):
            self.leave.append(address)
        self.give = [record for record in self.give if record.address != address]

    def _is_of_wanted_pool(self, address: Address) -> bool:
        """Whether the pool gave it, has it, or had it once since it is asked for. Only the Service's own condition
        tells the last: a record names one pool, and those who share the address may ask for different ones."""
        wanted = self.known.request.pool
        record = self.book.record(address)
        if record and record.pool == wanted:
            return True
        plan = self.book.pools.get(wanted)
        if plan is not None and int(address) in plan.claims[address.version]:
            return True
        return said_held(self.known.service).get(str(address)) == wanted

    # --- The end ---------------------------------------------------------------------------------------

    def _weigh_families(self) -> None:
        """SingleStack needs its family, PreferDualStack any, RequireDualStack both or none."""
        if not (self.lacking or self.problems):
            return
        served = {address.version for address in self.keep}
        served |= {record.address.version for record in self.give}
        if self.known.request.policy != "some" or not served:
            # What waiting does not heal comes first.
            self.problems += sorted(
                self.lacking.values(), key=lambda problem: problem.reason == "PoolExhausted"
            )
        if self.known.request.policy == "all" and len(served) < len(self.known.request.families):
            kept = set(self.keep)
            for record in self.give:
                if record.address not in kept:
                    self.offers.awaited.add(record.address)
            self.give = [record for record in self.give if record.address in kept]
            if not kept & set(self.known.shown):
                for address in list(self.keep):
                    self._give_up(address)

    def _conclude(self) -> Verdict:
        given = {record.address: record for record in self.give} if self.give else {}
        held = list(dict.fromkeys((*self.keep, *given))) if given else self.keep
        if len(held) > 1:
            held = sorted(held, key=self._rank)
        addresses: list[Address] = []
        texts: list[str] = []
        orphaned = moved = False
        settled = not given
        for address in held:
            entry = self.book.entries.get(address)
            seen = entry.seen if entry else None
            confirmed = seen is not None and self.key in seen.services
            settled = settled and confirmed
            if confirmed or address in self.known.shown:
                addresses.append(address)
            record = given.get(address) if given else None
            if record is None and entry:
                record = entry.record
            pool = record.pool if record else ""
            if address in self.met and pool != self.known.request.pool:
                pool, moved = self.known.request.pool, True
            trouble, elsewhere = self._backing(address, pool)
            orphaned |= bool(trouble)
            moved |= elsewhere
            texts.append(
                f"{address}{' of pool ' + pool if pool else ''}{trouble}{self._why(address)}"
            )
        condition = None
        if held or not self.known.service.deleting:
            condition = self._condition(texts, orphaned=orphaned)
        decision = Decision(
            tuple(addresses),
            tuple(self.give),
            tuple(self.leave),
            condition,
            settled,
        )
        if not (orphaned or moved or self.problems or self.lacking or self.offers.awaited):
            return Verdict(decision)
        hung = Hung(
            restless=orphaned or moved or bool(self.problems or self.lacking),
            addresses=frozenset(self.offers.awaited),
            pools=tuple(self.offers.full),
            sharing_key=self.known.request.sharing_key if self.lacking else "",
        )
        return Verdict(decision, hung)

    def _rank(self, address: Address) -> tuple[int, int, int]:
        """The order in status: families as the Service has them, wanted ones as it names them."""
        families = self.known.request.families
        wanted = self.known.request.wanted_of(address.version)
        return (
            families.index(address.version) if address.version in families else len(families),
            wanted.index(address) if address in wanted else len(wanted),
            int(address),
        )

    def _why(self, address: Address) -> str:
        """Who asked for this very address; nobody: it was the first that was free."""
        for wanted in self.known.request.wanted:
            if wanted.address == address:
                return f", asked for by {wanted.field}"
        return ""

    def _backing(self, address: Address, pool: str) -> tuple[str, bool]:
        """Why no pool stands behind the address any more, and whether another one than its own does."""
        number, version = int(address), address.version
        plan = self.book.pools.get(pool)
        has = plan is not None and (
            number in plan.claims[version]
            or (bool(plan.problems) and number in plan.blocks[version])
        )
        if plan and has and self.offers.selected_by(plan):
            return "", False
        if any(self.offers.selected_by(other) for other in self.book.pools.claimants(address)):
            return "", True
        if plan is None:
            return (", which is gone" if pool else ", which is in no pool"), False
        return (
            ", which no longer selects the Service" if has else ", which no longer has it"
        ), False

    def _condition(self, texts: list[str], *, orphaned: bool) -> Condition:
        held = listed(texts, "; ")
        status: Literal["True", "False"] = "True" if held else "False"
        reason = ORPHANED if orphaned else "Allocated"
        if not (self.problems or self.lacking or self.book.strangers):
            return _told(status, reason, [held])
        missing = dict.fromkeys(problem.text for problem in self.problems)
        remarks = [each.text for each in self.lacking.values() if each.text not in missing]
        remarks += (
            f"{address} was left: {aside.mac} answers for it"
            for address, aside in self.book.asides_of(self.key)
        )
        if self.problems:
            kept = f"{_HELD}{held}" if held else ""
            # Said in full, since it is read again.
            parts = [listed(list(missing), "; ")[: _MESSAGE_MAX - len(f"; {kept}")], kept, *remarks]
            return _told("False", self.problems[0].reason, parts)
        return _told(status, reason, [held, *remarks])


def _told(status: Literal["True", "False"], reason: str, parts: list[str]) -> Condition:
    message = parts[0] if len(parts) == 1 else "; ".join(filter(None, parts))
    return Condition(ALLOCATED, status, reason, message[:_MESSAGE_MAX])
