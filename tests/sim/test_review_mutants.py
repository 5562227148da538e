# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every mutant is caught by the random schedules, as a violation and within a few seeds."""

from __future__ import annotations

import pytest
from tests.sim import test_schedules
from tests.sim.cluster import Violation
from tests.sim.mutants import MUTANTS, Mutant

SEEDS = 120
schedule = test_schedules.test_whatever_happens_one_answers_and_all_are_served_in_the_end


def violates(seed: int, mutant: Mutant) -> bool:
    try:
        schedule(seed, mutant.mode)
    except Violation:
        return True
    except AssertionError as failure:
        return isinstance(failure.__cause__, Violation)
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name].plant(monkeypatch)
    assert any(violates(seed, MUTANTS[name]) for seed in range(SEEDS))
