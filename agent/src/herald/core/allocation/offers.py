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
    from collections.abc import Sequence

    from herald.core.allocation.book import Book, Known
    from herald.core.allocation.pools import Choice, LineName, Plan
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
    full: list[frozenset[LineName]] = field(default_factory=list)
    """For each family that has none left: the pools that would give."""
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
        choice = self._asked(wanted, version) if wanted else self._willing(version)
        record = self._joined(version) if self.known.request.sharing_key else None
        if record:
            return record
        if isinstance(choice, Problem):
            return choice
        if len(self.book.strangers) >= STRANGERS_MAX:
            return self._infested()
        plan = choice.first_free(self.book.pools.given_back)
        number = plan.lines[version].lowest_free() if plan else None
        if plan and number is not None:
            return Record(make_address(version, number), plan.name, (self.key,))
        self.full.append(choice.lines)
        names = listed([each.name for each in choice.plans[:_NAMED_MAX]], of=len(choice.plans))
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
            withholding = self.book.pools.withholding(address)
            if withholding:
                return Problem("NoPool", f"{address} is not given: {_why_unclaimed(withholding)}")
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

    def _asked(self, wanted: str, version: Version) -> Choice | Problem:
        """The wanted pool, or why it does not give."""
        field_name = self.known.request.pool_field
        plan = self.book.pools.get(wanted)
        if plan is None:
            text = f"{field_name}: wanted a pool, found none named {shown(wanted)}"
            return Problem("NoPool", text)
        if not plan.giving:
            text = f"{field_name}: wanted pool {wanted}, which {_why_not(plan)}"
            return Problem("NoPool", text)
        if not plan.usable[version]:
            text = f"{field_name}: wanted {family(version)} of pool {wanted}, found none in it"
            return Problem("NoPool", text)
        if not self.selected_by(plan):
            text = f"{field_name}: wanted pool {wanted}, whose serviceSelector does not select the Service"
            return Problem("SelectorMismatch", text)
        return self.book.pools.only(plan, version)

    def _willing(self, version: Version) -> Choice | Problem:
        """The pools that give to this Service without being asked; or why there are none."""
        choice = self.book.pools.choice(self._labels, version)
        if choice.plans:
            return choice
        unasked, asked = self.book.pools.of_family(version)
        if unasked:
            text = f"no serviceSelector selects the Service, of pool {listed(unasked)}"
            return Problem("SelectorMismatch", text)
        text = f"no enabled pool has {family(version)} addresses"
        if asked:
            text += f" for who does not ask (autoAssign: false in pool {listed(asked)})"
        return Problem("NoPool", text)

    def _joined(self, version: Version) -> Record | None:
        """The lowest address of the Service's sharing key that the rules allow it on."""
        for address in self.book.joinable(self.known, version):
            record = self.book.record(address)
            if record is None or address in self.book.strangers:
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


def listed(texts: Sequence[str], joint: str = ", ", *, of: int = 0) -> str:
    """The first few, and how many more. ``of``: these are the first of so many."""
    more = (of or len(texts)) - _NAMED_MAX
    return joint.join(texts[:_NAMED_MAX]) + (f"{joint}and {more} more" if more > 0 else "")
