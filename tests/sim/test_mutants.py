# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every mutant violates an invariant within a few schedules, and what shows it does no harm without the mutant.

``make sim-mutants`` lists them; ``make sim MUTANT=name`` plants one and shows the shortest schedule that catches it.
"""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.sim.disasters import BEYOND, Schedule, pattern, run
from tests.sim.invariants import Violation
from tests.sim.mutants import MUTANTS, Mutant

SCHEDULES = 200
"""At the most; nearly every mutant is caught by one of the first five, the rarest ones within some tens."""
SHOWN = os.environ.get("HERALD_MUTANT", "")
NAMES = [SHOWN] if SHOWN else list(MUTANTS)


def catch(mutant: Mutant, *, shrink: bool = False) -> tuple[Schedule, Violation] | None:
    """Run schedules of the mutant's pattern; the one that catches it (``shrink``: the shortest one), and how.

    It must do no harm without the mutant. Where the pattern is beyond what the protocol takes for granted, others may,
    and are passed over.
    """
    caught: tuple[Schedule, Violation] | None = None
    beyond = any(step.kind == BEYOND for step in mutant.steps)

    @seed(0)
    @settings(
        max_examples=SCHEDULES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(pattern(mutant.mode, mutant.steps, mutant.nodes, mutant.renew_budget, mutant.hold_down))
    def hold(schedule: Schedule) -> None:
        nonlocal caught
        violation = violation_of(schedule, mutant)
        if violation is None:
            return
        harmless = violation_of(schedule) is None
        assert harmless or beyond, f"{schedule} does harm without {mutant.name}"
        if harmless:
            caught = schedule, violation
            raise violation

    with contextlib.suppress(Violation):
        hold()
    return caught


def violation_of(schedule: Schedule, mutant: Mutant | None = None) -> Violation | None:
    with pytest.MonkeyPatch.context() as patch:
        if mutant is not None:
            mutant.plant(patch)
        try:
            run(schedule)
        except Violation as violation:
            return violation
    return None


def test_there_are_enough_and_each_says_its_rule() -> None:
    assert len(MUTANTS) >= 18
    assert all(mutant.rule[0].isdigit() for mutant in MUTANTS.values())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_is_caught_by_what_harms_nobody_else(name: str) -> None:
    caught = catch(MUTANTS[name], shrink=bool(SHOWN))
    assert caught is not None, f"{name} survives {SCHEDULES} schedules"
    schedule, violation = caught
    print(f"\n{name} (rule {MUTANTS[name].rule}) is caught by {schedule}:\n{violation}")
