# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from herald.core.effects import EmitEvent
from herald.kube.pacer import BURST, RATE, REMEMBERED, REPEAT_AFTER, SECOND, EventPacer
from herald.kube.transport import Reply


class Clock:
    now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now


def event(number: int = 0, message: str = "m") -> EmitEvent:
    return EmitEvent(("shop", f"web-{number}"), f"u{number}", "Normal", "Moved", message)


def test_the_same_is_told_again_only_after_a_while() -> None:
    clock = Clock()
    pacer = EventPacer(clock)
    assert [pacer.admit(event()) for _ in range(3)] == [True, False, False]
    clock.now += REPEAT_AFTER
    assert pacer.admit(event())
    assert pacer.dropped == 0


def test_another_service_reason_or_message_is_something_else() -> None:
    pacer = EventPacer(Clock())
    assert pacer.admit(event(1))
    assert pacer.admit(event(2))
    assert pacer.admit(event(1, "other"))


def test_a_burst_is_told_and_then_so_many_a_second() -> None:
    clock = Clock()
    pacer = EventPacer(clock)
    assert sum(pacer.admit(event(number)) for number in range(2 * BURST)) == BURST
    assert pacer.dropped == BURST
    clock.now += SECOND
    assert sum(pacer.admit(event(number, "later")) for number in range(BURST)) == RATE


def test_what_is_remembered_is_bounded() -> None:
    clock = Clock()
    pacer = EventPacer(clock)
    for number in range(2 * REMEMBERED):
        clock.now += SECOND // RATE
        assert pacer.admit(event(number))
    assert len(pacer._told) == REMEMBERED


def test_names_differ() -> None:
    pacer = EventPacer(Clock())
    assert len({pacer.name() for _ in range(100)}) == 100


def test_what_the_server_did_not_take_is_counted() -> None:
    pacer = EventPacer(Clock())
    for outcome in (Reply(1, 201, b"{}"), Reply(1, 403, b"{}"), "connection reset"):
        pacer.sent(outcome)
    assert pacer.dropped == 2
