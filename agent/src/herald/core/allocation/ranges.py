# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Addresses as ranges of whole numbers: what is given and what is free, without ever listing it.

A pool is a line of places 0, 1, 2, …: its addresses in the order in which they are given. What is taken of
the line is a set of runs, so the lowest free place is 0 or one beyond the first run, and a /64 costs as
little as a single address. Every step is a binary search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Version: TypeAlias = Literal[4, 6]


class Range(NamedTuple):
    """The numbers from ``first`` to ``last``, both in it; never empty."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class Runs:
    """A set of whole numbers, kept as its runs: disjoint, never adjacent, sorted."""

    __slots__ = ("_firsts", "_lasts", "count")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0
        """How many numbers there are in the set."""

    def __contains__(self, number: int) -> bool:
        index = bisect_left(self._lasts, number)
        return index < len(self._lasts) and self._firsts[index] <= number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __iter__(self) -> Iterator[Range]:
        return (Range(*ends) for ends in zip(self._firsts, self._lasts, strict=True))

    def add(self, first: int, last: int) -> None:
        """Put first to last in; some or all may be there already."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1, low)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        if high - low == 1:
            # By far the most frequent case: a run grows.
            self.count += last - first - (self._lasts[low] - self._firsts[low])
            self._firsts[low], self._lasts[low] = first, last
        else:
            self._replace(low, high, [first], [last])

    def remove(self, first: int, last: int) -> None:
        """Take first to last out; some or all may be absent."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        firsts, lasts = [], []
        if self._firsts[low] < first:
            firsts.append(self._firsts[low])
            lasts.append(first - 1)
        if self._lasts[high - 1] > last:
            firsts.append(last + 1)
            lasts.append(self._lasts[high - 1])
        self._replace(low, high, firsts, lasts)

    def lowest_absent(self) -> int:
        """The lowest number from 0 on that is not in the set."""
        return self._lasts[0] + 1 if self._firsts and self._firsts[0] <= 0 else 0

    def within(self, bounds: Range) -> Iterator[Range]:
        """The runs inside the bounds, cut to them."""
        index = bisect_left(self._lasts, bounds.first)
        while index < len(self._firsts) and self._firsts[index] <= bounds.last:
            yield Range(
                max(self._firsts[index], bounds.first), min(self._lasts[index], bounds.last)
            )
            index += 1

    def _replace(self, low: int, high: int, firsts: list[int], lasts: list[int]) -> None:
        for index in range(low, high):
            self.count -= self._lasts[index] - self._firsts[index] + 1
        for first, last in zip(firsts, lasts, strict=True):
            self.count += last - first + 1
        self._firsts[low:high] = firsts
        self._lasts[low:high] = lasts


def union(ranges: Iterable[Range]) -> Runs:
    runs = Runs()
    for each in ranges:
        runs.add(each.first, each.last)
    return runs


def without(ranges: Iterable[Range], holes: Runs) -> Iterator[Range]:
    """What of the ranges is not in the holes; their order stays."""
    for each in ranges:
        first = each.first
        for hole in holes.within(each):
            if first < hole.first:
                yield Range(first, hole.first - 1)
            first = hole.last + 1
        if first <= each.last:
            yield Range(first, each.last)


def common(ranges: Iterable[Range], bounds: Runs) -> list[Range]:
    """What of the ranges is in the bounds; their order stays."""
    return [part for each in ranges for part in bounds.within(each)]


def in_order(ranges: Iterable[Range]) -> list[Range]:
    """The ranges as they come, without what an earlier one has already: a union that keeps the order."""
    seen = Runs()
    parts: list[Range] = []
    for each in ranges:
        parts += without((each,), seen)
        seen.add(each.first, each.last)
    return parts


class Line:
    """The addresses of one family that a pool can give, as places in giving order, and those taken.

    With ``avoid_buggy``, addresses that end in .0 or .255 have no place: of every 256 numbers 254 count,
    and the arithmetic of :func:`_squeeze` closes the gaps, so that a /8 is still one range.
    """

    __slots__ = ("_firsts", "_parts", "_sorted", "_starts", "avoid_buggy", "parts", "size", "taken")

    def __init__(self, parts: Iterable[Range], *, avoid_buggy: bool = False) -> None:
        self.parts = tuple(parts)
        """Addresses, disjoint, in giving order."""
        self.avoid_buggy = avoid_buggy
        self.taken = Runs()
        """Places."""
        self._starts: list[int] = []
        self._parts: list[Range] = []
        self.size = 0
        """How many places there are."""
        for part in self.parts:
            squeezed = _squeeze(part) if avoid_buggy else part
            if squeezed:
                self._starts.append(self.size)
                self._parts.append(squeezed)
                self.size += squeezed.size
        self._sorted = sorted(zip(self._parts, self._starts, strict=True))
        self._firsts = [part.first for part, _ in self._sorted]

    @property
    def free(self) -> int:
        return self.size - self.taken.count

    def lowest_free(self) -> int | None:
        """The address at the lowest free place."""
        place = self.taken.lowest_absent()
        return self._address(place) if place < self.size else None

    def has(self, address: int) -> bool:
        return self._place(address) is not None

    def take(self, addresses: Range) -> None:
        """Mark what of these addresses has a place; they lie in one of the parts, or are a single one."""
        self._mark(addresses, taken=True)

    def give_back(self, addresses: Range) -> None:
        self._mark(addresses, taken=False)

    def _mark(self, addresses: Range, *, taken: bool) -> None:
        squeezed = _squeeze(addresses) if self.avoid_buggy else addresses
        if squeezed is None:
            return
        first, last = self._find(squeezed.first), self._find(squeezed.last)
        if first is None or last is None:
            return
        if taken:
            self.taken.add(first, last)
        else:
            self.taken.remove(first, last)

    def _place(self, address: int) -> int | None:
        if not self.avoid_buggy:
            return self._find(address)
        squeezed = _squeeze(Range(address, address))
        return None if squeezed is None else self._find(squeezed.first)

    def _find(self, number: int) -> int | None:
        index = bisect_right(self._firsts, number) - 1
        if index < 0:
            return None
        part, start = self._sorted[index]
        return start + number - part.first if number <= part.last else None

    def _address(self, place: int) -> int:
        index = bisect_right(self._starts, place) - 1
        number = self._parts[index].first + place - self._starts[index]
        if not self.avoid_buggy:
            return number
        network, host = divmod(number, _HOSTS)
        return network * 256 + host + 1


_HOSTS = 254


def _squeeze(addresses: Range) -> Range | None:
    """The range counted without addresses that end in .0 and .255; None if no other is in it."""
    first, last = addresses.first, addresses.last
    low = (first >> 8) * _HOSTS + max(first & 255, 1) - 1
    high = (last >> 8) * _HOSTS + min(last & 255, 254) - 1
    if first & 255 == 255:
        low = ((first >> 8) + 1) * _HOSTS
    return Range(low, high) if low <= high else None
