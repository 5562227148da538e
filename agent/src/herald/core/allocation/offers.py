# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What address management can offer a Service: one address by name, or any of a family; or why not.

A new address comes from a pool that gives it at that moment: enabled, selecting the Service, not excluded,
reserved, buggy, or lost to an older pool. Within the first pool that has one free (by priority, then name)
it is the lowest free one, blocks in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from herald.core import selectors
from herald.core.allocation.addresses import family, make_address, shown
from herald.core.allocation.book import STRANGERS_MAX, Record
from herald.core.model import by_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from herald.core.allocation.book import Book, Known
    from herald.core.allocation.pools import Plan
    from herald.core.allocation.ranges import Version
    from herald.core.model import Address, Labels, ServiceKey

_NAMED_MAX = 5


class Problem(NamedTuple):
    """Why something is not offered."""

    reason: str
    text: str


@dataclass(slots=True)
class Offers:
    """To one Service, and what they hung on."""

    book: Book
    key: ServiceKey
    known: Known
    awaited: set[Address] = field(default_factory=set)
    """Addresses that were asked for by name."""
    full: set[tuple[str, Version]] = field(default_factory=set)
    """Pools that would give if they had any left."""
    labels: Labels | None = None

    def exact(self, address: Address) -> Record | Problem:
        """This very address."""
        self.awaited.add(address)
        problem = self._refused_by_pools(address) or self._refused_by_holders(address)
        if problem:
            return problem
        record = self.book.record(address)
        if record:
            return record.joined(self.key)
        pool = self.book.pools.claimants(address)[0].name
        return Record(address, pool, (self.key,))

    def any(self, version: Version) -> Record | Problem:
        """An address that a partner has, else the lowest free one of the first pool."""
        wanted = self.known.request.pool
        plans, problem = self._asked(wanted, version) if wanted else self._willing(version)
        record = self._joined(version) if self.known.request.sharing_key else None
        if record:
            return record
        if plans and len(self.book.strangers) >= STRANGERS_MAX:
            return self._infested()
        for plan in plans:
            number = plan.lines[version].lowest_free()
            if number is not None:
                return Record(make_address(version, number), plan.name, (self.key,))
            self.full.add((plan.name, version))
        if not plans:
            return problem
        names = listed(plan.name for plan in plans)
        return Problem("PoolExhausted", f"no {family(version)} address is free in pool {names}")

    def _infested(self) -> Problem:
        address, aside = min(self.book.strangers.items(), key=lambda each: by_number(each[0]))
        return Problem(
            "AddressConflict",
            f"{len(self.book.strangers)} addresses are answered for by others, {address} by {aside.mac}:"
            " exclude them from the pools, or see whether a router answers for all (proxy ARP)",
        )

    def _refused_by_pools(self, address: Address) -> Problem | None:
        claimants = self.book.pools.claimants(address)
        if not claimants:
            having = [p for p in self.book.pools if int(address) in p.blocks[address.version]]
            if having:
                why = _why_unclaimed(min(having, key=lambda plan: plan.name))
                return Problem("NoPool", f"{address} is not given: {why}")
            return Problem("NoPool", f"{address} is outside every pool")
        plan = claimants[0]
        wanted, field_name = self.known.request.pool, self.known.request.pool_field
        if wanted and plan.name != wanted:
            text = f"{field_name}: wanted pool {shown(wanted)}, found {address} in {plan.name}"
            return Problem("InvalidRequest", text)
        if not plan.giving:
            return Problem("NoPool", f"{address} is in pool {plan.name}, which {_why_not(plan)}")
        if not plan.lines[address.version].has(int(address)):
            text = f"{address} is reserved in pool {plan.name} (allowFirstLastIPs, avoidBuggyIPs)"
            return Problem("NoPool", text)
        if not self.selected_by(plan):
            text = f"{address} is in pool {plan.name}, whose serviceSelector does not select the Service"
            return Problem("SelectorMismatch", text)
        return None

    def _refused_by_holders(self, address: Address) -> Problem | None:
        aside = self.book.strangers.get(address)
        if aside:
            return Problem("AddressConflict", f"{address} is answered for by {aside.mac}")
        record = self.book.record(address)
        if record is None:
            others = [key for key in self.book.holders(address) if key != self.key]
            if not others:
                return None
            by = _spelled(min(others))
            return Problem("AddressTaken", f"{address} is held by Service {by}")
        leaving = sorted(key for key in record.services if key not in self.book.services)
        if leaving or not record.services:
            by = f" by Service {_spelled(leaving[0])}" if leaving else ""
            return Problem("AddressTaken", f"{address} is being freed{by}")
        refusal = self.book.refusal(address, self.key, self.known)
        if refusal is None:
            return None
        text = f"{address} is held by Service {_spelled(refusal.key)}"
        if self.known.request.sharing_key:
            return Problem("SharingRefused", f"{text}: {refusal.rule}")
        return Problem("AddressTaken", text)

    def _asked(self, wanted: str, version: Version) -> tuple[list[Plan], Problem]:
        """The wanted pool, or why it does not give."""
        field_name = self.known.request.pool_field
        plan = self.book.pools.get(wanted)
        if plan is None:
            text = f"{field_name}: wanted a pool, found none named {shown(wanted)}"
            return [], Problem("NoPool", text)
        if not plan.giving:
            text = f"{field_name}: wanted pool {wanted}, which {_why_not(plan)}"
            return [], Problem("NoPool", text)
        if not plan.usable[version]:
            text = f"{field_name}: wanted {family(version)} of pool {wanted}, found none in it"
            return [], Problem("NoPool", text)
        if not self.selected_by(plan):
            text = f"{field_name}: wanted pool {wanted}, whose serviceSelector does not select the Service"
            return [], Problem("SelectorMismatch", text)
        return [plan], Problem("", "")

    def _willing(self, version: Version) -> tuple[list[Plan], Problem]:
        """The pools that give to this Service without being asked, in order; or why there are none.

        The list ends at the first one that has a free address.
        """
        plans: list[Plan] = []
        for plan in self.book.pools.selecting(self._labels):
            if plan.giving and plan.pool.auto_assign and plan.usable[version]:
                plans.append(plan)
                if plan.lines[version].free:
                    break
        if plans:
            return plans, Problem("", "")
        others = [plan.name for plan in self.book.pools if plan.giving and plan.usable[version]]
        willing = [
            name
            for name in others
            if (found := self.book.pools.get(name)) and found.pool.auto_assign
        ]
        if willing:
            text = f"no serviceSelector selects the Service, of pool {listed(sorted(willing))}"
            return [], Problem("SelectorMismatch", text)
        text = f"no enabled pool has {family(version)} addresses"
        if others:
            text += f" for who does not ask (autoAssign: false in pool {listed(sorted(others))})"
        return [], Problem("NoPool", text)

    def _joined(self, version: Version) -> Record | None:
        """The lowest address of the Service's sharing key that the rules allow it on."""
        for address in sorted(self.book.shared_by(self.known), key=int):
            record = self.book.record(address)
            if address.version != version or record is None or address in self.book.strangers:
                continue
            if any(key not in self.book.services for key in record.services):
                continue
            if self._gives(address) and not self.book.refusal(address, self.key, self.known):
                return record.joined(self.key)
        return None

    def _gives(self, address: Address) -> bool:
        """Whether the pool of the address gives to this Service, without regard to who has it now."""
        for plan in self.book.pools.claimants(address)[:1]:
            wanted = self.known.request.pool
            asked = plan.name == wanted if wanted else plan.pool.auto_assign
            has = plan.lines[address.version].has(int(address))
            return plan.giving and asked and has and self.selected_by(plan)
        return False

    @property
    def _labels(self) -> Labels:
        if self.labels is None:
            self.labels = selectors.service_labels(self.known.service)
        return self.labels

    def selected_by(self, plan: Plan) -> bool:
        selector = plan.pool.service_selector
        if not (selector.match_labels or selector.match_expressions):
            return True
        return selectors.matches(selector, self._labels)


def _why_not(plan: Plan) -> str:
    if plan.pool.disabled:
        return "is disabled"
    if plan.pool.deleting:
        return "is being deleted"
    return f"is not understood: {listed(plan.problems, '; ')}"


def _why_unclaimed(plan: Plan) -> str:
    if plan.problems:
        return f"pool {plan.name} {_why_not(plan)}"
    return f"pool {plan.name} excludes it"


def _spelled(key: ServiceKey) -> str:
    return "/".join(key)


def listed(texts: Iterable[str], joint: str = ", ") -> str:
    """The first few, and how many more."""
    every = list(texts)
    more = len(every) - _NAMED_MAX
    return joint.join(every[:_NAMED_MAX]) + (f"{joint}and {more} more" if more > 0 else "")
