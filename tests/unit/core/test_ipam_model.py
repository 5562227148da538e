# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Address management keeps its promises whatever happens; and who breaks one is caught.

``HERALD_EXAMPLES=2000`` has so many other examples run instead.
"""

from __future__ import annotations

import os

import pytest
from tests.unit.core.ipam_model import EXAMPLES, run
from tests.unit.core.ipam_mutants import MUTANTS

EXPLORED = int(os.environ.get("HERALD_EXAMPLES", "0"))

REACHED = {
    "given": 250,
    "joined": 80,
    "replaced": 10,
    "refused, for another was faster": 30,
    "edited out of sharing, seen": 25,
    "quiet": 400,
    "quiet with Allocated": 350,
    "quiet with a shared address": 200,
    "quiet with Orphaned": 60,
    "quiet with PoolExhausted": 30,
    "quiet with SharingRefused": 10,
    "in use, checked": 3000,
    "shared, checked": 600,
    "counts, checked": 1000,
}
"""What the examples come by at the least, mostly a quarter of what they do: which ones they are changes with every
word of this tree."""


@pytest.mark.timeout(max(120, EXPLORED))
def test_what_is_promised_holds_and_there_was_something_to_hold() -> None:
    reached = run(EXPLORED or EXAMPLES, surely=not EXPLORED)
    print()
    for name in sorted(reached):
        print(f"{reached[name]:8} {name}")
    assert {name: reached[name] for name in REACHED if reached[name] < REACHED[name]} == {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(AssertionError) as caught:
        run(shrink=False)
    print(f"\n{name} is caught: {str(caught.value)[:200]}")
