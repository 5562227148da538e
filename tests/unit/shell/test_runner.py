# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider loop, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from herald.core.effects import (
    Announcement,
    Effect,
    Finish,
    LeaseRequest,
    SendFrames,
    SetEntries,
    SetSession,
)
from herald.core.events import (
    AnnounceAgain,
    Answer,
    Done,
    Event,
    Failed,
    FramesAnswer,
    KernelAnswer,
    Refused,
    Stop,
    Tick,
)
from herald.core.kernel import Session
from herald.core.model import MILLISECOND, SECOND, Lease
from herald.shell.counters import Counters
from herald.shell.inbox import Item, Question
from herald.shell.runner import BATCH, Runner

START = 1_000 * SECOND


class World:
    """Time, the events that come at given moments, and the queue that they wait in."""

    def __init__(self) -> None:
        self.now = START
        self.coming: list[tuple[int, Item]] = []
        self.waits: list[float] = []

    def clock(self) -> int:
        return self.now

    def at(self, moment: int, *items: Item) -> None:
        self.coming += [(START + moment, item) for item in items]
        self.coming.sort(key=lambda pair: pair[0])

    def get(self, seconds: float) -> Item | None:
        until = self.now + round(seconds * SECOND)
        if seconds:
            self.waits.append(seconds)
        if self.coming and self.coming[0][0] <= until:
            moment, item = self.coming.pop(0)
            self.now = max(self.now, moment)
            return item
        self.now = until
        return None


@dataclass(frozen=True)
class Status:
    problems: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    phase: str = "live"
    allocator: bool = False


class FakeDecider:
    """Answers events from a table of rules, and writes down what it was told and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[tuple[int, Event]] = []
        self.rules: list[tuple[Callable[[Event], bool], Callable[[], Sequence[Effect]]]] = []
        self.deadline: int | None = None
        self.problems: tuple[str, ...] = ()

    def on(
        self, when: Event | type[Event], *effects: Effect, raises: Exception | None = None
    ) -> None:
        def matches(event: Event) -> bool:
            return isinstance(event, when) if isinstance(when, type) else event == when

        def act() -> Sequence[Effect]:
            if raises is not None:
                raise raises
            return effects

        self.rules.append((matches, act))

    def step(self, event: Event, now: int) -> Sequence[Effect]:
        self.told.append((now - START, event))
        if isinstance(event, Tick) and self.deadline is not None and now >= self.deadline:
            self.deadline = None
        for matches, act in self.rules:
            if matches(event):
                return act()
        return ()

    def next_deadline(self) -> int | None:
        return self.deadline

    def status(self, now: int) -> Status:
        return Status(self.problems)

    @property
    def events(self) -> list[Event]:
        """What it was told but for the passing of time."""
        return [event for _, event in self.told if not isinstance(event, Tick)]


class FakeHands:
    """Confirms kernel and frames, and writes down what it carried out."""

    def __init__(self) -> None:
        self.done: list[Effect] = []
        self.reconciled = 0

    def carry_out(self, effect: Effect) -> Event | None:
        self.done.append(effect)
        match effect:
            case SetSession() | SetEntries():
                return KernelAnswer(effect.id)
            case SendFrames():
                return FramesAnswer(effect.id)
        return None

    def reconcile(self) -> None:
        self.reconciled += 1


class FakeNotifier:
    def __init__(self, world: World, watchdog_ns: int = 0) -> None:
        self.world = world
        self.watchdog_ns = watchdog_ns
        self.pings: list[int] = []
        self.said: list[str] = []

    def watchdog(self) -> None:
        self.pings.append(self.world.now - START)

    def status(self, text: str) -> None:
        self.said.append(text)

    def stopping(self, text: str) -> None:
        self.said.append(f"stopping: {text}")


class Loop:
    """A runner with everything around it."""

    def __init__(self, watchdog_ns: int = 0) -> None:
        self.world = World()
        self.decider = FakeDecider(self.world)
        self.hands = FakeHands()
        self.notifier = FakeNotifier(self.world, watchdog_ns)
        self.counters = Counters()
        self.lists: list[int] = []
        self.runner = Runner(
            self.decider,
            self.hands,
            self.world,
            self.notifier,  # type: ignore[arg-type]
            self.counters,
            self.world.clock,
            lambda: self.lists.append(self.world.now - START),
        )

    def run_until(self, moment: int) -> None:
        mark = Question()
        self.world.at(moment, mark)
        while mark.answer.empty():
            self.runner.round()


@pytest.fixture
def loop() -> Loop:
    return Loop()


SESSION = SetSession(1, Session(deadline=1))
ENTRIES = SetEntries(2, frozenset(), {})
FRAMES = SendFrames(3, (Announcement(IPv4Address("192.0.2.7"), 2, bytes(6)),))
RENEWAL = LeaseRequest(4, "update", Lease("presence-n1"), 0, own_connection=True)
CLAIM = LeaseRequest(5, "update", Lease("vip-192.0.2.7"), 0)
READ = LeaseRequest(6, "get", Lease("presence-n1"), 0, own_connection=True)


def again(number: int) -> AnnounceAgain:
    return AnnounceAgain(IPv4Address(number))


# --- Time -----------------------------------------------------------------------------------------


def test_without_events_it_ticks_once_a_second(loop: Loop) -> None:
    loop.run_until(3 * SECOND + 100 * MILLISECOND)
    ticks = [moment for moment, event in loop.decider.told if isinstance(event, Tick)]
    assert [round(moment / SECOND) for moment in ticks] == [1, 2, 3]
    assert loop.hands.reconciled == len(ticks)


def test_it_ticks_at_the_deadline_that_the_decider_named(loop: Loop) -> None:
    loop.run_until(1)
    loop.decider.deadline = START + 437 * MILLISECOND
    loop.run_until(500 * MILLISECOND)
    assert loop.decider.told[-1] == (437 * MILLISECOND, Tick())


def test_a_deadline_goes_before_the_events_that_wait(loop: Loop) -> None:
    loop.run_until(1)
    loop.world.at(400 * MILLISECOND, again(1), again(2))
    loop.decider.deadline = START + 400 * MILLISECOND
    loop.run_until(401 * MILLISECOND)
    assert [event for _, event in loop.decider.told[-3:]] == [Tick(), again(1), again(2)]


def test_a_deadline_that_comes_amid_a_flood_is_kept(loop: Loop) -> None:
    """Each event takes 1 ms to decide; the deadline lies in the middle of a hundred."""
    loop.run_until(1)
    step = loop.decider.step

    def slow(event: Event, now: int) -> Sequence[Effect]:
        loop.world.now += MILLISECOND
        return step(event, now)

    loop.decider.step = slow  # type: ignore[method-assign]
    loop.world.at(10 * MILLISECOND, *(again(number) for number in range(100)))
    loop.decider.deadline = START + 60 * MILLISECOND
    loop.run_until(500 * MILLISECOND)
    moments = [moment for moment, event in loop.decider.told if isinstance(event, Tick)]
    assert 60 * MILLISECOND <= moments[-1] <= 61 * MILLISECOND
    assert len(loop.decider.events) == 100


def test_a_deadline_that_stays_in_the_past_does_not_spin(loop: Loop) -> None:
    loop.decider.next_deadline = lambda: START  # type: ignore[method-assign]
    loop.run_until(SECOND)
    assert len(loop.decider.told) <= 502


def test_a_flood_of_events_leaves_the_slow_tick_its_turn(loop: Loop) -> None:
    loop.world.at(SECOND, *(again(number) for number in range(3 * BATCH)))
    loop.runner.round()
    assert loop.hands.reconciled == 1
    assert len(loop.decider.told) == BATCH + 1


# --- Effects --------------------------------------------------------------------------------------


def test_effects_are_carried_out_in_order_then_their_answers_come_before_other_events(
    loop: Loop,
) -> None:
    loop.decider.on(again(1), SESSION, ENTRIES, CLAIM)
    loop.world.at(1, again(1), again(2))
    loop.run_until(MILLISECOND)
    assert loop.hands.done == [SESSION, ENTRIES, CLAIM]
    assert loop.decider.events[-4:] == [again(1), KernelAnswer(1), KernelAnswer(2), again(2)]


def test_what_an_answer_brings_is_carried_out_at_once(loop: Loop) -> None:
    """As a claim does: frames, their acceptance, entry, its confirmation."""
    loop.decider.on(again(1), FRAMES)
    loop.decider.on(FramesAnswer(3), ENTRIES)
    loop.world.at(1, again(1), again(2))
    loop.run_until(MILLISECOND)
    assert loop.hands.done == [FRAMES, ENTRIES]
    assert loop.decider.events[-4:] == [again(1), FramesAnswer(3), KernelAnswer(2), again(2)]


def test_finish_ends_the_loop_and_nothing_is_decided_after_it(loop: Loop) -> None:
    finish = Finish(0, "handed over")
    loop.decider.on(Stop(), SESSION, finish)
    loop.world.at(1, Stop(), again(1))
    assert loop.runner.run() == finish
    assert loop.hands.done == [SESSION, finish]
    assert loop.decider.events[-1] == Stop()
    assert loop.notifier.said[-1] == "stopping: handing over"


# --- Exceptions -----------------------------------------------------------------------------------


def test_an_exception_in_the_decider_is_logged_counted_and_survived(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.decider.on(again(1), raises=RuntimeError("a defect"))
    loop.world.at(1, again(1), again(2))
    with caplog.at_level(logging.ERROR):
        loop.run_until(MILLISECOND)
    assert loop.decider.events[-1] == again(2)
    assert loop.counters.loop_exceptions == 1
    assert "a defect" in caplog.text


def test_the_watchdog_hears_from_a_healthy_loop(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(watchdog_ns=10 * SECOND)
    loop.run_until(5 * SECOND)
    gaps = [b - a for a, b in zip(loop.notifier.pings, loop.notifier.pings[1:], strict=False)]
    assert len(gaps) >= 3
    assert max(gaps) <= 2 * SECOND


def test_the_watchdog_hears_nothing_while_every_tick_raises() -> None:
    loop = Loop(watchdog_ns=10 * SECOND)
    loop.decider.on(Tick, raises=RuntimeError("a defect"))
    loop.run_until(5 * SECOND)
    assert loop.notifier.pings == []
    assert loop.counters.loop_exceptions >= 5


def test_one_bad_event_does_not_take_the_watchdog_away() -> None:
    loop = Loop(watchdog_ns=10 * SECOND)
    loop.decider.on(again(1), raises=RuntimeError("a defect"))
    loop.world.at(2 * SECOND, again(1))
    loop.run_until(5 * SECOND)
    assert loop.notifier.pings[-1] > 3 * SECOND


def test_without_a_watchdog_nothing_is_sent(loop: Loop) -> None:
    loop.run_until(3 * SECOND)
    assert loop.notifier.pings == []


# --- Renewals and lists ---------------------------------------------------------------------------


def renewing(loop: Loop, request: LeaseRequest = RENEWAL) -> None:
    loop.decider.on(again(1), request)
    loop.world.at(10 * MILLISECOND, again(1))


def test_lists_begin_with_the_first_renewal(loop: Loop) -> None:
    renewing(loop)
    loop.world.at(30 * MILLISECOND, Answer(4, START + 10 * MILLISECOND, Done()))
    loop.run_until(2 * SECOND)
    assert loop.lists == [30 * MILLISECOND]
    assert loop.counters.renewals == {"ok": 1}
    assert loop.counters.renewal_seconds.total == pytest.approx(0.020)


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [(Refused(409, "Conflict"), {"refused": 1}), (Failed("time-out"), {"failed": 1})],
)
def test_lists_do_not_wait_for_ever_for_a_renewal(
    loop: Loop, outcome: Refused | Failed, counted: dict[str, int]
) -> None:
    renewing(loop)
    loop.world.at(30 * MILLISECOND, Answer(4, START + 10 * MILLISECOND, outcome))
    loop.run_until(3 * SECOND)
    assert len(loop.lists) == 1
    assert SECOND <= loop.lists[0] <= 2 * SECOND + 10 * MILLISECOND
    assert loop.counters.renewals == counted


def test_lists_begin_where_there_is_no_presence_to_renew(loop: Loop) -> None:
    """It is made once its Node is known."""
    renewing(loop, READ)
    loop.world.at(30 * MILLISECOND, Answer(READ.id, START, Refused(404, "not found")))
    loop.run_until(500 * MILLISECOND)
    assert loop.lists == [30 * MILLISECOND]


@pytest.mark.parametrize("request_", [READ, CLAIM], ids=["a read", "a claim"])
def test_only_a_write_of_the_presence_is_a_renewal(loop: Loop, request_: LeaseRequest) -> None:
    renewing(loop, request_)
    loop.world.at(30 * MILLISECOND, Answer(request_.id, START, Done()))
    loop.run_until(500 * MILLISECOND)
    assert loop.lists == []
    assert loop.counters.renewals == {}


# --- Questions ------------------------------------------------------------------------------------


def test_a_question_is_answered_by_the_deciding_thread(loop: Loop) -> None:
    question = Question()
    loop.world.at(1, question)
    loop.run_until(MILLISECOND)
    assert question.answer.get_nowait() == Status()


def test_what_systemd_shows_follows_the_status(loop: Loop) -> None:
    loop.run_until(2 * SECOND)
    assert set(loop.notifier.said) == {"live; holds 0 addresses"}


def test_a_problem_is_logged_when_it_comes_and_when_it_is_over(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for problems in [(), ("cannot renew: reset",), ("cannot renew: time-out",), ()]:
            loop.decider.problems = problems
            loop.run_until(loop.world.now - START + SECOND)
    said = [
        (record.levelname, record.message, record.fields)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.message.startswith("problem")
    ]
    assert said == [
        ("WARNING", "problem", {"is": "cannot renew: reset"}),
        ("INFO", "problem-over", {"was": "cannot renew"}),
    ]
