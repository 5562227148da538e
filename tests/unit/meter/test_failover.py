# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a trial's worst outage is, and when the failover benchmark is content."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from trial import Trial

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from failover import ENDLESS, Result, failures


def result(outage: float, fault: str = "power", verdict: str = "one") -> Result:
    return Result(fault, "n1", "n2", outage, 0, 100, verdict, "survived", 0)


@pytest.mark.parametrize(
    ("gaps", "worst"),
    [
        ([], 0.0),
        ([(30, True), (1400, True)], 1.4),
        ([(30, True), (20, False)], ENDLESS),
    ],
)
def test_worst_outage_of_a_trial(gaps: list[tuple[float, bool]], worst: float) -> None:
    trial = Trial("192.168.77.200", "n1", Path())
    trial.outage = {"gaps": [{"length_ms": length, "closed": closed} for length, closed in gaps]}
    assert trial.worst == worst


@pytest.mark.parametrize(
    ("results", "complaints"),
    [
        pytest.param([result(1.4), result(2.0)], [], id="at the limits"),
        pytest.param(
            [result(1.0), result(1.0), result(2.1)],
            ["power: worst outage 2.100 s, wanted at most 2 s"],
            id="one is too long",
        ),
        pytest.param(
            [result(1.9), result(1.8), result(0.2)],
            ["power: median outage 1.800 s, wanted at most 1.7 s"],
            id="most are too long",
        ),
        pytest.param(
            [result(1.0), result(1.0, "switch", "two")],
            ["switch on n1: who answers was 'two', wanted 'one'"],
            id="two at once",
        ),
        pytest.param(
            [result(1.0), result(ENDLESS, "switch")],
            [
                "switch: median outage inf s, wanted at most 1.7 s",
                "switch: worst outage inf s, wanted at most 2 s",
            ],
            id="each fault by itself",
        ),
    ],
)
def test_limits(results: list[Result], complaints: list[str]) -> None:
    assert failures(results, median=1.7, worst=2.0) == complaints


def test_without_limits_an_outage_still_has_to_end() -> None:
    assert failures([result(9.9), result(99.9)], None, None) == []
    assert failures([result(1.0), result(1.0), result(ENDLESS)], None, None) == [
        "power: worst outage inf s, wanted an end"
    ]
