# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who is decided when."""

from __future__ import annotations

from herald.core.allocation.turns import Turns


def take(turns: Turns) -> list[str]:
    found = []
    while key := turns.next():
        found.append(key[1])
    return found


def test_by_name_whatever_the_order_of_coming() -> None:
    turns = Turns()
    for name in "cabac":
        turns.add(("n", name), first=False)
    assert take(turns) == ["a", "b", "c"]


def test_those_who_hold_something_go_first_also_in_the_middle_of_a_round() -> None:
    turns = Turns()
    for name in "ab":
        turns.add(("n", name), first=False)
    turns.add(("n", "z"), first=True)
    assert turns.next() == ("n", "z")
    assert turns.next() == ("n", "a")
    turns.add(("n", "y"), first=True)
    turns.add(("n", "a"), first=False)
    assert take(turns) == ["y", "b", "a"]


def test_nobody_is_in_it_twice_and_who_left_may_come_again() -> None:
    turns = Turns()
    turns.add(("n", "a"), first=False)
    turns.add(("n", "a"), first=True)
    assert ("n", "a") in turns
    assert take(turns) == ["a"]
    assert ("n", "a") not in turns
    turns.add(("n", "a"), first=True)
    assert take(turns) == ["a"]
