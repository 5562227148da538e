# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The queue in front of the decider: bounded, in order, and never a trap."""

from __future__ import annotations

import threading

from herald.core.events import Stop, Tick
from herald.shell.inbox import Inbox, Question


def test_items_come_in_order_and_none_when_there_are_none() -> None:
    inbox = Inbox()
    inbox.post(Tick())
    inbox.post(Stop())
    assert len(inbox) == 2
    assert [inbox.get(1), inbox.get(0), inbox.get(0)] == [Tick(), Stop(), None]
    assert inbox.get(0.001) is None


def test_a_full_inbox_makes_its_posters_wait_and_loses_nothing() -> None:
    inbox = Inbox(capacity=1)
    inbox.post(Tick())
    posted = threading.Event()

    def poster() -> None:
        inbox.post(Stop())
        posted.set()

    thread = threading.Thread(target=poster)
    thread.start()
    assert not posted.is_set()
    assert inbox.get(5) == Tick()
    assert inbox.get(5) == Stop()
    assert posted.wait(5)
    thread.join()


def test_a_closed_inbox_lets_waiting_posters_go() -> None:
    inbox = Inbox(capacity=1)
    inbox.post(Tick())
    thread = threading.Thread(target=inbox.post, args=(Stop(),))
    thread.start()
    inbox.close()
    thread.join(5)
    assert not thread.is_alive()
    inbox.post(Stop())


def test_a_question_is_answered_by_whoever_takes_it() -> None:
    inbox = Inbox()

    def loop() -> None:
        question = inbox.get(5)
        assert isinstance(question, Question)
        question.answer.put("well")

    thread = threading.Thread(target=loop)
    thread.start()
    assert inbox.ask(5) == "well"
    thread.join()


def test_a_question_that_nobody_takes_is_given_up() -> None:
    assert Inbox().ask(0.01) is None
    full = Inbox(capacity=1)
    full.post(Tick())
    assert full.ask(0.01) is None
