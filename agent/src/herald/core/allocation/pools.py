# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""All pools together: what each may give, which of two that overlap stops, and which select a Service.

What a pool claims are its blocks without its excludes. Where the claims of several pools overlap, the
oldest (ties: the lesser name) owns the overlap and the others stop for it, so every address has at most one
pool that gives it. A pool that was not understood in full claims and gives nothing: half an understanding
could give what an ``exclude`` was meant to keep.

The claims of all pools part the addresses into segments. After a change only those that the changed pools'
claims, old or new, lie in or at are made anew, by one sweep over the ends of the claims in there; so one more of
thousands of pools costs what its neighbours cost. Lines that came out the same stay, with what is taken of them.

Which pools give to a Service is worked out once for all Services that look alike to selectors, until pools change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary, ref

from herald.core import selectors
from herald.core.allocation.addresses import Malformed, Span, parse_block
from herald.core.allocation.ranges import (
    Line,
    Range,
    Runs,
    Version,
    common,
    in_order,
    union,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from herald.core.model import Address, Block, Labels, Pool, Selector

LineName: TypeAlias = tuple[str, Version]
"""A pool, and a family that it gives."""
_Interned: TypeAlias = "WeakKeyDictionary[frozenset[LineName], ref[frozenset[LineName]]]"
"""The lines that somebody waits for, each set once: two that are the same object are compared at once."""

VERSIONS: tuple[Version, Version] = (4, 6)
OVERLAPS_NAMED = 3
"""So many of its overlaps a pool tells."""
_REMEMBERED = 500_000
"""Of so many pools, all in all, it is remembered that they give to Services of certain labels: eight bytes each, or
some 120 where all are full and somebody waits."""


@dataclass(slots=True, eq=False)
class Plan:
    """A pool, understood, and its place among the others."""

    pool: Pool
    problems: tuple[str, ...]
    """Why it gives nothing: field, wanted, found."""
    blocks: Mapping[Version, Runs]
    usable: Mapping[Version, list[Range]]
    """What it could give were it alone, in giving order."""
    claims: Mapping[Version, Runs]
    owned: dict[Version, Runs] = field(default_factory=lambda: {4: Runs(), 6: Runs()})
    """The claims that no older pool has."""
    lines: dict[Version, Line] = field(default_factory=lambda: {4: Line(()), 6: Line(())})
    """What it gives."""

    @property
    def name(self) -> str:
        return self.pool.name

    @property
    def giving(self) -> bool:
        return not (self.pool.disabled or self.pool.deleting or self.problems)

    def withheld(self, version: Version) -> Iterator[Range]:
        """What of its blocks it does not claim: excluded, or not understood."""
        return without(self.blocks[version], self.claims[version])


class Choice:
    """Pools that would give a Service an address, in the order in which they are asked."""

    __slots__ = ("_asked", "_given_back", "_interned", "_lines", "_version", "plans")

    def __init__(self, plans: Iterable[Plan], version: Version, interned: _Interned) -> None:
        self.plans = tuple(plans)
        self._version = version
        self._interned = interned
        self._lines: frozenset[LineName] | None = None
        self._asked = 0
        """So many of the first are full, unless an address was given back since."""
        self._given_back = 0

    @property
    def lines(self) -> frozenset[LineName]:
        """Of which one must get an address back where all are full: as long as anybody keeps them, the same object for
        all choices of these pools."""
        if self._lines is None:
            lines = frozenset((plan.name, self._version) for plan in self.plans)
            self._lines = self._interned.setdefault(lines, ref(lines))() or lines
        return self._lines

    @property
    def size(self) -> int:
        """What it counts for where it is remembered."""
        return 1 + len(self.plans)

    def first_free(self, given_back: int) -> Plan | None:
        """The first that has an address left. ``given_back``: how many were given back so far, to any pool."""
        if given_back != self._given_back:
            self._given_back, self._asked = given_back, 0
        for plan in islice(self.plans, self._asked, None):
            if plan.lines[self._version].free:
                return plan
            self._asked += 1
        return None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Addresses that two pools claim; the older one gives them."""

    version: Version
    range: Range
    older: str
    younger: str


@dataclass(frozen=True, slots=True)
class _Segment:
    """Addresses that are claimed by the same pools."""

    range: Range
    contenders: tuple[Plan, ...]
    """By age, the owner first."""


def read_pool(pool: Pool) -> Plan:
    """What the pool says. Total: what is not understood becomes ``problems``."""
    problems = [f"serviceSelector.{each}" for each in selectors.problems(pool.service_selector)]
    blocks = _spans("blocks", pool.blocks, problems)
    exclude = _spans("exclude", pool.exclude, problems)
    usable: dict[Version, list[Range]] = {}
    claims: dict[Version, Runs] = {}
    for version in VERSIONS:
        holes = union(span.range for span in exclude if span.version == version)
        spans = [span for span in blocks if span.version == version and not problems]
        usable[version] = list(without(in_order(_inner(span, pool) for span in spans), holes))
        claims[version] = union(without((span.range for span in spans), holes))
    all_blocks = {
        version: union(span.range for span in blocks if span.version == version)
        for version in VERSIONS
    }
    return Plan(pool, tuple(problems), all_blocks, usable, claims)


class Pools:
    """The pools as they are, laid out on demand."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._laid: dict[str, Plan] = {}
        """As they were when they were laid out."""
        self._segments: dict[Version, list[_Segment]] = {4: [], 6: []}
        self._firsts: dict[Version, list[int]] = {4: [], 6: []}
        self._anchored: dict[_Anchor, list[Plan]] = {}
        """In the order in which they are asked, by labels that they cannot do without, so that a Service looks at few
        of them."""
        self._weighed: Counter[str] = Counter()
        """How many selectors look at these labels beside."""
        self._changed: set[str] = set()
        self.given_back = 0
        """How many addresses were given back to lines so far."""
        self._interned: _Interned = WeakKeyDictionary()
        # What is remembered until pools change.
        self._choices: OrderedDict[tuple[Version, tuple[tuple[str, str], ...]], Choice] = (
            OrderedDict()
        )
        """What was asked for longest ago first."""
        self._remembered = 0
        self._by_family: dict[Version, tuple[list[str], list[str]]] = {}
        self._withheld: dict[Version, _Withheld] = {}

    def put(self, pool: Pool) -> bool:
        """Whether it says anything new."""
        old = self._plans.get(pool.name)
        if old and _same_spec(old.pool, pool):
            old.pool = pool
            return False
        plan = read_pool(pool)
        if old:
            plan.owned, plan.lines = old.owned, old.lines
        self._plans[pool.name] = plan
        self._changed.add(pool.name)
        return True

    def drop(self, name: str) -> bool:
        """Whether there was such a pool."""
        self._changed.add(name)
        return self._plans.pop(name, None) is not None

    def get(self, name: str) -> Plan | None:
        return self._plans.get(name)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans.values())

    @property
    def stale(self) -> bool:
        """Whether :meth:`lay_out` is due."""
        return bool(self._changed)

    def lay_out(self, taken: Mapping[Version, Runs]) -> set[str]:
        """Settle overlaps anew. The names of all pools that changed, also of those that are gone.

        ``taken``: the addresses that cannot be given, by which new lines are marked.
        """
        changed, self._changed = self._changed, set()
        self._forget()
        spans = {version: self._touched(version, changed) for version in VERSIONS}
        old = {version: list(self._inside(version, spans[version])) for version in VERSIONS}
        there = set[Plan]().union(*(each.contenders for each in (*old[4], *old[6])))
        plans = [plan for plan in there if plan.name not in changed]
        overlaps = {plan.name: self.overlaps(plan.name) for plan in plans}
        for name in changed:
            self._renew_plan(name)
        plans += (self._laid[name] for name in changed if name in self._laid)
        told = set(changed)
        for version in VERSIONS:
            if not spans[version].count:
                continue
            new = _sweep(version, plans, spans[version])
            self._replace(version, spans[version], new)
            before, after = _owned(old[version]), _owned(new)
            for plan in plans:
                lost, won = before.get(plan.name), after.get(plan.name)
                if lost != won or plan.name in changed:
                    told.add(plan.name)
                    for run in lost or ():
                        plan.owned[version].remove(*run)
                    for run in won or ():
                        plan.owned[version].add(*run)
                    _renew_line(plan, version, taken[version])
        told.update(name for name, found in overlaps.items() if found != self.overlaps(name))
        return told

    def claimants(self, address: Address) -> tuple[Plan, ...]:
        """The pools that claim the address, the one that owns it first."""
        number = int(address)
        index = bisect_right(self._firsts[address.version], number) - 1
        if index < 0:
            return ()
        segment = self._segments[address.version][index]
        return segment.contenders if number <= segment.range.last else ()

    def choice(self, labels: Labels, version: Version) -> Choice:
        """The pools that give addresses of this family, unasked, to who bears these labels."""
        seen = tuple(label for label in labels.items() if self._tells(label))
        choice = self._choices.get((version, seen))
        if choice is None:
            plans = (plan for plan in self.selecting(labels) if _gives_unasked(plan, version))
            choice = self._choices[version, seen] = Choice(plans, version, self._interned)
            self._remembered += choice.size
            while self._remembered > _REMEMBERED and len(self._choices) > 1:
                _, oldest = self._choices.popitem(last=False)
                self._remembered -= oldest.size
        else:
            self._choices.move_to_end((version, seen))
        return choice

    def only(self, plan: Plan, version: Version) -> Choice:
        """This pool and no other: it was asked for."""
        return Choice((plan,), version, self._interned)

    def selecting(self, labels: Labels) -> Iterator[Plan]:
        """The pools whose selector selects these labels, in the order in which they are asked."""
        anchors = (
            anchor for key, value in labels.items() for anchor in ((key, value), (key, None))
        )
        anchored = [plan for anchor in anchors for plan in self._anchored.get(anchor, ())]
        found: Iterable[Plan] = self._anchored.get(None, ())
        if anchored:
            anchored.sort(key=_order)
            found = merge(anchored, found, key=_order)
        return (plan for plan in found if selectors.matches(plan.pool.service_selector, labels))

    def of_family(self, version: Version) -> tuple[list[str], list[str]]:
        """The names of the pools that give addresses of this family to somebody: unasked, and only if asked."""
        names = self._by_family.get(version)
        if names is None:
            unasked, asked = names = self._by_family[version] = [], []
            for name, plan in sorted(self._plans.items()):
                if _gives_unasked(plan, version):
                    unasked.append(name)
                elif plan.giving and plan.usable[version]:
                    asked.append(name)
        return names

    def withholding(self, address: Address) -> Plan | None:
        """The first by name of the pools that have the address in their blocks, and do not claim it."""
        version = address.version
        if version not in self._withheld:
            self._withheld[version] = _Withheld(version, self)
        return self._withheld[version].of(int(address))

    def _tells(self, label: tuple[str, str]) -> bool:
        """Whether any selector cares."""
        key, _ = label
        return label in self._anchored or (key, None) in self._anchored or key in self._weighed

    def _forget(self) -> None:
        self._choices.clear()
        self._remembered = 0
        self._by_family.clear()
        self._withheld.clear()

    def overlaps(self, name: str) -> list[Overlap]:
        """The first overlaps of this pool with others: those to be named and, if there are more, one more."""
        plan = self._plans[name]
        found = (
            overlap
            for version in VERSIONS
            for segment in self._inside(version, plan.claims[version])
            for overlap in _overlaps(version, segment, plan)
        )
        return list(islice(found, OVERLAPS_NAMED + 1))

    def _touched(self, version: Version, changed: Iterable[str]) -> Runs:
        """What the changed pools claim or claimed, and the whole segments that this lies in or at: no other segment
        can become another, nor one with any of these."""
        spans = Runs()
        for name in changed:
            for plan in (self._laid.get(name), self._plans.get(name)):
                for claim in plan.claims[version] if plan else ():
                    spans.add(*claim)
                    around = Range(claim.first - 1, claim.last + 1)
                    for segment in self._inside(version, (around,)):
                        spans.add(*segment.range)
        return spans

    def _inside(self, version: Version, claims: Iterable[Range]) -> Iterator[_Segment]:
        segments = self._segments[version]
        for claim in claims:
            index = max(0, bisect_right(self._firsts[version], claim.first) - 1)
            while index < len(segments) and segments[index].range.first <= claim.last:
                if segments[index].range.last >= claim.first:
                    yield segments[index]
                index += 1

    def _replace(self, version: Version, spans: Runs, new: list[_Segment]) -> None:
        """Have the new segments instead of those inside the spans."""
        segments, firsts = self._segments[version], self._firsts[version]
        starts = [segment.range.first for segment in new]
        for span in spans:
            low, high = bisect_left(firsts, span.first), bisect_right(firsts, span.last)
            begin, end = bisect_left(starts, span.first), bisect_right(starts, span.last)
            segments[low:high] = new[begin:end]
            firsts[low:high] = starts[begin:end]

    def _renew_plan(self, name: str) -> None:
        """Have the pool among those that are asked as it is now."""
        old, new = self._laid.pop(name, None), self._plans.get(name)
        if old:
            anchors, others = _anchors(old.pool.service_selector)
            for key in others:
                self._weighed[key] -= 1
                if not self._weighed[key]:
                    del self._weighed[key]
            for anchor in anchors:
                plans = self._anchored[anchor]
                del plans[bisect_left(plans, _order(old), key=_order)]
                if not plans:
                    del self._anchored[anchor]
        if new:
            self._laid[name] = new
            anchors, others = _anchors(new.pool.service_selector)
            self._weighed.update(others)
            for anchor in anchors:
                insort(self._anchored.setdefault(anchor, []), new, key=_order)


class _Withheld:
    """Which pools have an address in their blocks, and do not claim it."""

    def __init__(self, version: Version, pools: Pools) -> None:
        seen = Runs()
        found: list[tuple[Range, Plan]] = []
        for plan in sorted(pools, key=lambda plan: plan.name):
            for part in plan.withheld(version):
                found += ((rest, plan) for rest in without((part,), seen))
                seen.add(*part)
        found.sort(key=lambda each: each[0])
        self._parts = [part for part, _ in found]
        """Disjoint: of several pools the first by name has an address."""
        self._plans = [plan for _, plan in found]

    def of(self, number: int) -> Plan | None:
        """The first by name."""
        index = bisect_right(self._parts, number, key=lambda part: part.first) - 1
        return self._plans[index] if index >= 0 and number <= self._parts[index].last else None


def _spans(name: str, blocks: Sequence[Block], problems: list[str]) -> list[Span]:
    spans = []
    for index, block in enumerate(blocks):
        span = parse_block(block)
        if isinstance(span, Malformed):
            problems.append(f"{name}[{index}].{span.why}")
        else:
            spans.append(span)
    return spans


def _inner(span: Span, pool: Pool) -> Range:
    """The span without a network's first and last address, where the pool reserves them.

    Ranges, and networks of one or two addresses (RFC 3021, RFC 6164), have none to reserve.
    """
    if pool.allow_first_last_ips or span.prefix_length is None or span.range.size <= 2:
        return span.range
    return Range(span.range.first + 1, span.range.last - 1)


def _order(plan: Plan) -> tuple[int, str]:
    """Pools are asked in this order."""
    return plan.pool.priority, plan.pool.name


def _age(plan: Plan) -> tuple[str, str]:
    return plan.pool.created, plan.pool.name


def _sweep(version: Version, plans: Iterable[Plan], spans: Runs) -> list[_Segment]:
    """The segments of all that the pools claim inside the spans."""
    by_age = sorted(plans, key=_age)
    ends: list[tuple[int, int]] = []
    for rank, plan in enumerate(by_age):
        for claim in common(plan.claims[version], spans):
            ends += (claim.first, rank), (claim.last + 1, rank)
    ends.sort()
    segments: list[_Segment] = []
    active: list[int] = []
    for index, (start, rank) in enumerate(ends):
        place = bisect_left(active, rank)
        if place < len(active) and active[place] == rank:
            del active[place]
        else:
            insort(active, rank)
        if not active or ends[index + 1][0] == start:
            continue
        bounds = Range(start, ends[index + 1][0] - 1)
        contenders = tuple(map(by_age.__getitem__, active))
        segments.append(_Segment(bounds, contenders))
    return segments


def _owned(segments: Iterable[_Segment]) -> dict[str, Runs]:
    """What each pool owns of them."""
    owned: dict[str, Runs] = {}
    for segment in segments:
        owned.setdefault(segment.contenders[0].name, Runs()).add(*segment.range)
    return owned


def _renew_line(plan: Plan, version: Version, taken: Runs) -> None:
    old = plan.lines[version]
    avoid_buggy = version == 4 and plan.pool.avoid_buggy_ips
    parts = tuple(common(plan.usable[version], plan.owned[version]))
    if old.parts == parts and old.avoid_buggy == avoid_buggy:
        return
    line = Line(parts, avoid_buggy=avoid_buggy)
    for part in parts:
        for run in taken.within(part):
            line.take(run)
    plan.lines[version] = line


def _overlaps(version: Version, segment: _Segment, plan: Plan) -> Iterator[Overlap]:
    owner = segment.contenders[0]
    if owner is not plan:
        yield Overlap(version, segment.range, owner.name, plan.name)
        return
    for other in islice(segment.contenders, 1, None):
        yield Overlap(version, segment.range, owner.name, other.name)


_Anchor: TypeAlias = "tuple[str, str | None] | None"
"""A label, or any with a certain key."""


def _anchors(selector: Selector) -> tuple[Sequence[_Anchor], list[str]]:
    """Labels one of which everything that the selector selects must bear, None alone if there are no such labels; and
    the keys of what else it looks at."""
    keys = [*selector.match_labels, *(each.key for each in selector.match_expressions)]
    for label in selector.match_labels.items():
        return [label], keys[1:]
    for index, requirement in enumerate(selector.match_expressions):
        rest = keys[:index] + keys[index + 1 :]
        if requirement.operator == "In":
            return [(requirement.key, value) for value in dict.fromkeys(requirement.values)], rest
        if requirement.operator == "Exists":
            return [(requirement.key, None)], rest
    return [None], keys


def _gives_unasked(plan: Plan, version: Version) -> bool:
    return plan.giving and plan.pool.auto_assign and bool(plan.usable[version])


def _same_spec(old: Pool, new: Pool) -> bool:
    return (
        old.uid == new.uid
        and old.generation == new.generation
        and old.deleting == new.deleting
        and _spec(old) == _spec(new)
    )


def _spec(pool: Pool) -> tuple[object, ...]:
    return (
        pool.created,
        pool.blocks,
        pool.exclude,
        pool.service_selector,
        pool.allow_first_last_ips,
        pool.avoid_buggy_ips,
        pool.auto_assign,
        pool.priority,
        pool.disabled,
    )
