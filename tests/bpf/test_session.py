# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The session's stores and the responder's loads, in every order in which they may meet."""

from __future__ import annotations

import itertools
import time
from ipaddress import ip_address

import pytest
from tests.bpf.frames import VIP4, arp
from tests.bpf.kernel import IFINDEX, SENT, Kernel, boottime
from tests.bpf.table import entry

from herald.core.kernel import EntryKey, Session
from herald.datapath.session import plan

# Times small enough to try all; 0 is never.
SESSIONS = [
    Session(deadline, fuse, renewed, hold)
    for deadline, fuse, renewed in itertools.product(range(3), repeat=3)
    for hold in (False, True)
]
MOMENTS = [(now, claimed) for now in range(3) for claimed in range(1, 3)]


def allows(session: Session, now: int, claimed: int) -> bool:
    """The rule, as the design says it."""
    held = session.hold and now < session.fuse and claimed < session.renewed
    return now < session.deadline or held


def what_may_be_read(states: list[Session]) -> set[Session]:
    """All that a responder may take for the session that reads in its order while these pass by.

    It loads deadline, mode, renewed, fuse (responder.c, may_answer), each at some later state.
    """
    found = set()
    steps = range(len(states))
    for at in itertools.combinations_with_replacement(steps, 4):
        deadline, mode, renewed, fuse = (states[step] for step in at)
        found.add(Session(deadline.deadline, fuse.fuse, renewed.renewed, mode.hold))
    return found


def after_stores(session: Session, stores: list[tuple[str, int]]) -> list[Session]:
    """The session before the stores, and after each."""
    states = [session]
    for name, value in stores:
        words = {field: getattr(states[-1], field) for field in ("deadline", "fuse", "renewed")}
        words["hold"] = states[-1].hold
        words["hold" if name == "mode" else name] = bool(value) if name == "mode" else value
        states.append(Session(**words))
    return states


def assert_never_more_than_either(old: Session, new: Session, waits: bool) -> None:
    deadline_grows, shrinks, grows = plan(old, new)
    first = after_stores(old, deadline_grows + shrinks)
    second = after_stores(first[-1], grows)
    assert second[-1] == new
    # No reader lives through the wait that follows a shrinking.
    passing = [first, second] if shrinks and waits else [first + second[1:]]
    read = set().union(*(what_may_be_read(states) for states in passing))
    for session, (now, claimed) in itertools.product(read, MOMENTS):
        if allows(session, now, claimed):
            assert allows(old, now, claimed) or allows(new, now, claimed), (new, session)


@pytest.mark.parametrize("old", SESSIONS, ids=str)
def test_no_reader_is_allowed_more_than_by_the_old_or_the_new_session(old: Session) -> None:
    for new in SESSIONS:
        assert_never_more_than_either(old, new, waits=True)


@pytest.mark.parametrize("old", SESSIONS, ids=str)
def test_a_kernel_that_cannot_wait_is_safe_while_renewals_move_on(old: Session) -> None:
    """Here it is the order of the loads that counts. (To and from silence nothing can go wrong.)"""
    for new in SESSIONS:
        if new.renewed >= old.renewed and new.hold == old.hold:
            assert_never_more_than_either(old, new, waits=False)


def test_a_renewal_needs_no_wait() -> None:
    """It comes several times a second, and must not cost a grace period."""
    assert plan(Session(10, 0, 5, True), Session(20, 0, 15, True))[1] == []
    assert plan(Session(10, 0, 5, False), Session(20, 0, 15, False))[1] == []
    assert plan(Session(10, 11, 5, True), Session(10, 12, 5, True))[1] == []


def test_what_is_written_is_read_back(kernel: Kernel) -> None:
    for session in (Session(5, 6, 7, True), Session(9, 2, 8, False), Session()):
        kernel.responder.set_session(session.deadline, session.fuse, session.renewed, session.hold)
        assert kernel.responder.session() == session


def test_the_last_answer_is_before_the_deadline(kernel: Kernel) -> None:
    """Asked without a pause; the clock is read around each question."""
    kernel.hold_entries({EntryKey(ip_address(VIP4), IFINDEX): entry()})
    frame = bytes(arp())
    deadline = boottime() + 50_000_000
    kernel.responder.set_session(deadline, 0, 0, hold=False)
    answered = silent = 0

    while silent < 100:
        before = boottime()
        verdict, _ = kernel.verdict(frame)
        if verdict == SENT:
            answered += 1
            assert before < deadline
        else:
            silent += 1
            assert boottime() >= deadline
        time.sleep(0.0001)

    assert answered
