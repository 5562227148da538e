# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What counts as a gap, how long it lasts, and what of it the meter did itself."""

from __future__ import annotations

import pytest
from clock import MS
from gaps import Gap, Sample, Stall, gaps, longest_silence, stalls

INTERVAL = 10 * MS


def samples(picture: str, late: dict[int, int] | None = None) -> list[Sample]:
    """`+` answered in 1 ms, `-` lost, `.` not sent; one each 10 ms, some of them `late` ms."""
    return [
        Sample((slot * 10 + (late or {}).get(slot, 0)) * MS, MS if mark == "+" else None)
        for slot, mark in enumerate(picture)
        if mark != "."
    ]


def gap(start: int, end: int, lost: int, opened: bool = True, closed: bool = True, own: int = 0):
    return Gap(start * MS, end * MS, lost, opened, closed, own * MS)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param("", [], id="nothing sent"),
        pytest.param("++++", [], id="all answered"),
        pytest.param("+-+", [gap(0, 20, 1)], id="from answered sending to answered sending"),
        pytest.param("+---++", [gap(0, 40, 3)], id="a run is one gap"),
        pytest.param("+-+-+", [gap(0, 20, 1), gap(20, 40, 1)], id="one answer ends a gap"),
        pytest.param("--+", [gap(0, 20, 2, opened=False)], id="open at the start"),
        pytest.param("+--", [gap(0, 20, 2, closed=False)], id="open at the end"),
        pytest.param("---", [gap(0, 20, 3, opened=False, closed=False)], id="never answered"),
        pytest.param("+.....+", [], id="the meter slept, nothing was lost"),
        pytest.param("+-....-+", [gap(0, 70, 2, own=50)], id="the meter slept inside a gap"),
        pytest.param("+....-+", [gap(0, 60, 1, own=50)], id="the meter slept, then one was lost"),
        pytest.param("+-+....+", [gap(0, 20, 1)], id="the meter slept after the gap"),
    ],
)
def test_gaps(picture: str, expected: list[Gap]) -> None:
    assert gaps(samples(picture), INTERVAL) == expected


@pytest.mark.parametrize(
    ("picture", "late", "expected"),
    [
        pytest.param("++++", {}, [], id="punctual"),
        pytest.param("++++", {2: 9}, [], id="late by less than a slot"),
        pytest.param("+.+", {}, [], id="one slot left out"),
        pytest.param("+.+", {2: 1}, [Stall(0, 21 * MS)], id="more than two intervals"),
        pytest.param("+..+++..+", {}, [Stall(0, 30 * MS), Stall(50 * MS, 80 * MS)], id="two"),
    ],
)
def test_stalls(picture: str, late: dict[int, int], expected: list[Stall]) -> None:
    assert stalls([sample.sent for sample in samples(picture, late)], INTERVAL) == expected


def test_a_fast_meter_stalls_only_when_it_is_ten_milliseconds_late() -> None:
    assert stalls([0, 11 * MS, 23 * MS], 1 * MS) == [Stall(11 * MS, 23 * MS)]


def test_silence_counts_arrivals_where_late_answers_hide_it_from_the_gaps() -> None:
    queued = [Sample(slot * 10 * MS, (500 - slot * 10) * MS) for slot in range(1, 50)]
    measured = [Sample(0, 1 * MS), *queued, Sample(500 * MS, 1 * MS)]
    assert gaps(measured, INTERVAL) == []
    assert longest_silence(measured) == 499 * MS


@pytest.mark.parametrize("picture", ["", "-", "+", "+--"])
def test_no_silence_is_told_between_less_than_two_answers(picture: str) -> None:
    assert longest_silence(samples(picture)) == 0
