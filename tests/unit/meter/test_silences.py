# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""For how long nobody answered, from frames made by hand.

A line of a table is one question each 10 ms: `+` answered after 1 ms, `-` never, `.` not sent.
"""

from __future__ import annotations

import ipaddress

import pytest
from clock import MS
from segment import Frame, identity, parse, request
from silences import Silence, Silences

INTERVAL = 10 * MS


def asker(slot: int) -> str:
    return identity(slot).hex(":")


def question(slot: int) -> Frame:
    return Frame(slot * INTERVAL, "request", asker(slot))


def answer(slot: int, *, after: int = 1) -> Frame:
    return Frame(slot * INTERVAL + after * MS, "reply", "A", asker(slot))


def frames(picture: str) -> list[Frame]:
    heard = []
    for slot, mark in enumerate(picture):
        heard += [question(slot)] if mark != "." else []
        heard += [answer(slot)] if mark == "+" else []
    return heard


def found(heard: list[Frame], end: int) -> list[Silence]:
    silences = Silences(INTERVAL)
    for frame in sorted(heard, key=lambda frame: frame.time):
        silences.feed(frame)
    silences.finish(end)
    return silences.found


def silence(start: int, end: int, questions: int, closed: bool = True, own: int = 0) -> Silence:
    return Silence(start * MS, end * MS, questions, closed, own * MS)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param("", [], id="nothing asked"),
        pytest.param("++++", [], id="all answered"),
        pytest.param("+-+", [silence(10, 21, 1)], id="from the unanswered question to an answer"),
        pytest.param("++----+++", [silence(20, 61, 4)], id="a planted gap"),
        pytest.param("+-+--+", [silence(10, 21, 1), silence(30, 51, 2)], id="an answer ends one"),
        pytest.param("--+", [silence(0, 21, 2)], id="from the start"),
        pytest.param("+--", [silence(10, 90, 2, closed=False)], id="open at the end"),
        pytest.param("---", [silence(0, 90, 3, closed=False)], id="nobody ever"),
        pytest.param("+.....+", [], id="the meter slept, nobody was asked"),
        pytest.param("+-....-+", [silence(10, 71, 2, own=50)], id="it slept within a silence"),
        pytest.param("+....-+", [silence(50, 61, 1)], id="it slept before"),
        pytest.param("+-+....+", [silence(10, 21, 1)], id="it slept after"),
        pytest.param("+-....+", [silence(10, 61, 1, own=50)], id="it slept, then was answered"),
    ],
)
def test_silences(picture: str, expected: list[Silence]) -> None:
    assert found(frames(picture), 90 * MS) == expected


def test_an_answer_that_comes_before_the_next_question_is_in_time() -> None:
    assert found([question(0), answer(0, after=9), question(1), answer(1)], 90 * MS) == []


def test_a_late_answer_ends_the_silence_when_it_comes() -> None:
    late = [question(0), question(1), question(2), answer(0, after=25)]
    assert found(late, 26 * MS) == [silence(0, 25, 2)]


def test_announcements_and_what_others_ask_and_are_answered_change_nothing() -> None:
    beside = [
        Frame(15 * MS, "garp", "B"),
        Frame(16 * MS, "request", "02:00:00:00:00:07"),
        Frame(17 * MS, "reply", "B", "02:00:00:00:00:07"),
    ]
    assert found(frames("+--+") + beside, 90 * MS) == [silence(10, 31, 2)]
    assert found([*frames("++"), beside[1]], 90 * MS) == []


@pytest.mark.parametrize("address", ["192.0.2.50", "2001:db8::50"])
def test_our_own_questions_are_known_in_a_capture(address: str) -> None:
    about = ipaddress.ip_address(address)
    heard = []
    for slot in range(3):
        frame = parse(request(about, slot), {about.packed}, slot * INTERVAL)
        assert frame is not None
        heard.append(frame)
    assert found(heard, 40 * MS) == [silence(0, 40, 3, closed=False)]
