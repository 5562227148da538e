# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Which sequences of frames prove that two answered at once, and which do not.

A line of a table is read from left to right, 10 ms a word: `?` somebody asks, and `A`, `B` after it
are the answers to that very request; `a` is an announcement by A; `-` an unanswered request.
"""

from __future__ import annotations

import pytest
from clock import MS, SECOND
from judge import Judge, Violation
from segment import Frame


def frames(line: str) -> list[Frame]:
    """The frames of a line of words such as `?A ?AB - a ?B`, each request by an asker of its own."""
    heard = []
    for slot, word in enumerate(line.split()):
        now = slot * 10 * MS
        for offset, mark in enumerate(word):
            time = now + offset * 20_000
            if mark in "?-":
                heard.append(Frame(time, "request", f"asker{slot}"))
            elif mark.islower():
                heard.append(Frame(time, "garp", mark.upper()))
            else:
                heard.append(Frame(time, "reply", mark, f"asker{slot}"))
    return heard


def judged(heard: list[Frame], window: int = SECOND) -> Judge:
    judge = Judge(window)
    for frame in heard:
        judge.feed(frame)
    return judge


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="silence"),
        pytest.param("- - -", id="nobody answers"),
        pytest.param("?A ?A ?A", id="one holder"),
        pytest.param("?A ?A - - ?B ?B", id="taken over after silence"),
        pytest.param("?A ?A ?B ?B", id="handed over without silence"),
        pytest.param("?A b ?A b ?B", id="the new holder announces before it answers"),
        pytest.param("?A ?B ?B a ?B", id="a late announcement of the old holder is no answer"),
        pytest.param("?A ?B ?C", id="handed on twice"),
    ],
)
def test_lawful(line: str) -> None:
    assert judged(frames(line)).violations == []


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        pytest.param("?AB", ["together"], id="one request, two answers"),
        pytest.param("?A ?BA ?B", ["together"], id="both answer in the hand-over"),
        pytest.param("?ABC", ["together"] * 3, id="three at once, each pair"),
        pytest.param("?A ?B ?A", ["interleaved"], id="the old one answers once more"),
        pytest.param("?A ?B ?A ?B", ["interleaved"] * 2, id="taking turns"),
        pytest.param("?A - ?B - - ?A", ["interleaved"], id="with unanswered ones between"),
        pytest.param("?A ?B ?C ?A", ["interleaved"] * 2, id="two others between"),
    ],
)
def test_two_at_once(line: str, rules: list[str]) -> None:
    assert [violation.rule for violation in judged(frames(line)).violations] == rules


def test_a_violation_names_both_and_the_moment() -> None:
    [violation] = judged(frames("?A ?B ?A")).violations
    assert violation == Violation("interleaved", 20 * MS + 20_000, "B", "A")


def test_a_holder_may_come_back_after_the_window() -> None:
    line = "?A ?B ?B ?A"  # 30 ms between the requests of A's answers
    assert judged(frames(line), window=29 * MS).violations == []
    assert judged(frames(line), window=30 * MS).violations != []


def test_a_delayed_answer_counts_as_of_its_request() -> None:
    """A's answer to the first request comes after B has answered the second."""
    heard = [
        Frame(0, "request", "asker1"),
        Frame(10 * MS, "request", "asker2"),
        Frame(10 * MS + 1, "reply", "B", "asker2"),
        Frame(10 * MS + 2, "reply", "A", "asker1"),
        Frame(20 * MS, "request", "asker3"),
        Frame(20 * MS + 1, "reply", "B", "asker3"),
    ]
    assert judged(heard).violations == []


def test_answers_to_somebody_unheard_are_judged_by_their_own_time() -> None:
    heard = [Frame(slot * MS, "na", mac, "elsewhere") for slot, mac in enumerate("ABA")]
    judge = judged(heard)
    assert [violation.rule for violation in judge.violations] == ["interleaved"]
    assert (judge.requests, judge.answered) == (0, 0)


def test_spells_and_counts() -> None:
    judge = judged(frames("?A ?A - ?B ?B ?B"))
    assert [(spell.mac, spell.answers) for spell in judge.spells] == [("A", 2), ("B", 3)]
    assert (judge.requests, judge.answered) == (6, 5)


def test_latency_is_that_of_the_first_answer() -> None:
    assert judged(frames("?A ?AB -")).latencies == [20_000, 20_000]
