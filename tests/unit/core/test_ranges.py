# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Ranges and runs agree with plain sets of numbers, and cost nothing where sets would."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from herald.core.allocation.ranges import Line, Range, Runs, common, in_order, union, without

MOST = 60

ranges = st.tuples(st.integers(0, MOST), st.integers(0, 12)).map(
    lambda ends: Range(ends[0], sum(ends))
)
many = st.lists(ranges, max_size=6)


def numbers(parts: Iterable[Range]) -> list[int]:
    return [number for part in parts for number in range(part.first, part.last + 1)]


def is_tidy(runs: Runs) -> bool:
    """Sorted, disjoint, never adjacent."""
    parts = list(runs)
    return all(one.last + 1 < other.first for one, other in pairwise(parts))


@given(st.lists(st.tuples(st.booleans(), ranges), max_size=25))
def test_runs_are_a_set(changes: list[tuple[bool, Range]]) -> None:
    runs, plain = Runs(), set[int]()
    for put_in, each in changes:
        if put_in:
            runs.add(each.first, each.last)
            plain |= set(numbers([each]))
        else:
            runs.remove(each.first, each.last)
            plain -= set(numbers([each]))
        assert set(numbers(list(runs))) == plain
        assert runs.count == len(plain)
        assert is_tidy(runs)
        assert runs.lowest_absent() == min(set(range(MOST + 99)) - plain)
        assert [number in runs for number in range(MOST + 20)] == [
            number in plain for number in range(MOST + 20)
        ]


@given(many, many)
def test_set_arithmetic_keeps_the_order(some: list[Range], others: list[Range]) -> None:
    holes = set(numbers(others))
    assert numbers(without(some, union(others))) == [
        each for each in numbers(some) if each not in holes
    ]
    assert numbers(common(some, union(others))) == [each for each in numbers(some) if each in holes]
    assert numbers(in_order(some)) == list(dict.fromkeys(numbers(some)))


@given(many, st.booleans(), st.integers(200, 260), st.data())
def test_a_line_gives_the_lowest_free_place(
    parts: list[Range], avoid_buggy: bool, shift: int, data: st.DataObject
) -> None:
    """Against a list of its addresses; shifted over an end of a network, where .255 and .0 are."""
    shifted = in_order(Range(part.first + shift, part.last + shift) for part in parts)
    line = Line(shifted, avoid_buggy=avoid_buggy)
    places = [each for each in numbers(shifted) if not (avoid_buggy and each & 255 in (0, 255))]
    assert line.size == line.free == len(places)
    assert [line.has(each) for each in range(shift - 2, shift + MOST + 20)] == [
        each in places for each in range(shift - 2, shift + MOST + 20)
    ]
    taken: set[int] = set()
    for number in data.draw(st.lists(st.sampled_from(places or [shift]), max_size=30)):
        if number in taken:
            taken.discard(number)
            line.give_back(Range(number, number))
        elif places:
            taken.add(number)
            line.take(Range(number, number))
        free = [each for each in places if each not in taken]
        assert line.free == len(free)
        assert line.lowest_free() == (free[0] if free else None)


@given(many, st.booleans(), st.integers(200, 260), many)
def test_a_new_line_takes_runs_at_once(
    parts: list[Range], avoid_buggy: bool, shift: int, taken: list[Range]
) -> None:
    shifted = in_order(Range(part.first + shift, part.last + shift) for part in parts)
    occupied = union(Range(part.first + shift, part.last + shift) for part in taken)
    at_once = Line(shifted, avoid_buggy=avoid_buggy)
    for part in shifted:
        for run in occupied.within(part):
            at_once.take(run)
    one_by_one = Line(shifted, avoid_buggy=avoid_buggy)
    for number in numbers(list(occupied)):
        one_by_one.take(Range(number, number))
    assert at_once.taken == one_by_one.taken


def test_size_costs_nothing() -> None:
    """A /8 that avoids .0 and .255, and 2^100 addresses: one part each."""
    line = Line([Range(10 << 24, (11 << 24) - 1)], avoid_buggy=True)
    assert line.size == 254 << 16
    assert line.lowest_free() == (10 << 24) + 1
    line.take(Range(10 << 24, (10 << 24) + 511))
    assert line.lowest_free() == (10 << 24) + 513
    huge = Line([Range(0xFD << 120, (0xFD << 120) + (1 << 100) - 1)])
    assert huge.size == 1 << 100
    huge.take(Range(0xFD << 120, (0xFD << 120) + (1 << 99)))
    assert huge.free == (1 << 99) - 1
    assert huge.lowest_free() == (0xFD << 120) + (1 << 99) + 1
