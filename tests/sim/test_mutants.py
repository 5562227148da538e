# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every mutant violates an invariant within a few schedules.

``make sim-mutants`` lists them; ``make sim MUTANT=name`` plants one and shows the shortest schedule that catches it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.sim.disasters import Schedule, pattern, run
from tests.sim.invariants import Violation
from tests.sim.mutants import MUTANTS, Mutant

SCHEDULES = 60
"""At the most; nearly every mutant is caught by one of the first five."""
SHOWN = os.environ.get("HERALD_MUTANT", "")
NAMES = [SHOWN] if SHOWN else list(MUTANTS)


def survive(mutant: Mutant, schedules: int, *, shrink: bool = False) -> int:
    """Run so many schedules of the mutant's pattern; how many there were, or Violation."""
    tried = 0

    @seed(0)
    @settings(
        max_examples=schedules,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(pattern(mutant.mode, mutant.steps, mutant.nodes, mutant.renew_budget))
    def hold(schedule: Schedule) -> None:
        nonlocal tried
        tried += 1
        run(schedule)

    hold()
    return tried


def test_there_are_enough_and_each_says_its_rule() -> None:
    assert len(MUTANTS) >= 18
    assert all(mutant.rule[0].isdigit() for mutant in MUTANTS.values())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.plant(monkeypatch)
    with pytest.raises(Violation) as caught:
        survive(mutant, SCHEDULES, shrink=bool(SHOWN))
    print(f"\n{name} (rule {mutant.rule}) is caught:\n{caught.value}")
    for note in getattr(caught.value, "__notes__", []):
        print(note)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_what_catches_a_mutant_harms_nobody_else(name: str) -> None:
    assert survive(MUTANTS[name], 2) == 2
