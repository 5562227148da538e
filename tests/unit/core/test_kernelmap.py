# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel may answer is never thought smaller than it is."""

from __future__ import annotations

from ipaddress import ip_address

from herald.core.effects import Note, SetEntries, SetSession
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.kernelmap import RETRY, KernelMap
from herald.core.outbox import Outbox

VIP = ip_address("198.51.100.1")
KEY = EntryKey(VIP, 2)
VALUE = EntryValue(bytes([2, 0, 0, 0, 0, 1]), 5)


def fresh(entries: dict[EntryKey, EntryValue] | None = None) -> tuple[KernelMap, Outbox]:
    outbox = Outbox()
    kernel = KernelMap(outbox)
    kernel.read(Session(deadline=9), entries or {}, {})
    return kernel, outbox


def test_a_fill_may_answer_from_the_moment_it_is_asked() -> None:
    kernel, outbox = fresh()
    kernel.fill(VIP, {2: VALUE})
    (asked,) = outbox.drain()
    assert isinstance(asked, SetEntries)
    assert kernel.may_answer(VIP)
    assert kernel.entries(VIP) == {}
    kernel.answer(asked.id, "", now=0)
    assert kernel.entries(VIP) == {2: VALUE}


def test_a_removal_counts_only_when_it_is_confirmed() -> None:
    kernel, outbox = fresh({KEY: VALUE})
    kernel.withdraw([VIP])
    kernel.ask()
    (asked,) = outbox.drain()
    assert kernel.may_answer(VIP)
    assert isinstance(asked, SetEntries)
    kernel.answer(asked.id, "", now=0)
    assert not kernel.may_answer(VIP)


def test_all_that_one_step_removes_is_asked_as_one() -> None:
    others = [VIP + number for number in range(1, 50)]
    kernel, outbox = fresh({EntryKey(address, 2): VALUE for address in (VIP, *others)})
    kernel.remove(VIP, [2])
    for address in others:
        kernel.withdraw([address])
    assert outbox.drain() == []
    kernel.ask()
    (asked,) = outbox.drain()
    assert isinstance(asked, SetEntries)
    assert len(asked.remove) == 50
    kernel.withdraw(others)
    kernel.ask()
    assert outbox.drain() == []


def test_what_goes_and_comes_in_one_step_has_come_after_it() -> None:
    kernel, outbox = fresh({KEY: VALUE})
    kernel.withdraw([VIP])
    kernel.fill(VIP, {2: VALUE})
    kernel.ask()
    removed, filled = outbox.drain()
    assert isinstance(removed, SetEntries)
    assert isinstance(filled, SetEntries)
    assert (removed.remove, removed.put) == ({KEY}, {})
    assert (filled.remove, filled.put) == (set(), {KEY: VALUE})


def test_silence_is_a_deadline_of_0_and_no_entry_both_confirmed() -> None:
    kernel, outbox = fresh({KEY: VALUE})
    kernel.silence()
    kernel.ask()
    session, entries = outbox.drain()
    assert isinstance(session, SetSession)
    assert session.session.deadline == 0
    kernel.answer(session.id, "", now=0)
    assert not kernel.silent
    assert isinstance(entries, SetEntries)
    kernel.answer(entries.id, "", now=0)
    assert kernel.silent


def test_what_the_kernel_refused_stays_and_is_asked_again_later() -> None:
    kernel, outbox = fresh({KEY: VALUE})
    kernel.withdraw([VIP])
    kernel.ask()
    (asked,) = outbox.drain()
    assert isinstance(asked, SetEntries)
    kernel.answer(asked.id, "EPERM", now=0)
    assert kernel.may_answer(VIP)
    outbox.drain()
    kernel.withdraw([VIP])
    kernel.ask()
    assert outbox.drain() == []
    assert not kernel.retry(RETRY - 1)
    assert kernel.retry(RETRY)
    kernel.withdraw([VIP])
    kernel.ask()
    assert len(outbox.drain()) == 1


def test_the_deadline_does_not_wait_for_entries_that_the_kernel_refuses() -> None:
    kernel, outbox = fresh()
    kernel.fill(VIP, {2: VALUE})
    (asked,) = outbox.drain()
    assert isinstance(asked, SetEntries)
    kernel.answer(asked.id, "E2BIG", now=0)
    outbox.drain()
    kernel.set_session(Session(deadline=20))
    (asked,) = outbox.drain()
    assert isinstance(asked, SetSession)
    kernel.answer(asked.id, "EBUSY", now=RETRY // 2)
    outbox.drain()
    kernel.set_session(Session(deadline=20))
    assert outbox.drain() == []
    assert kernel.retry_at == RETRY
    assert kernel.retry(RETRY)
    assert kernel.takes_entries
    assert kernel.broken
    assert kernel.retry_at == RETRY * 3 // 2
    assert kernel.retry(RETRY * 3 // 2)
    kernel.set_session(Session(deadline=20))
    assert len(outbox.drain()) == 1


def test_the_log_tells_a_refusal_once_until_something_is_taken() -> None:
    kernel, outbox = fresh()
    told = []
    for number, error in enumerate(("EBUSY", "EBUSY", "EPERM", "", "EPERM")):
        kernel.set_session(Session(deadline=number + 1))
        (asked,) = outbox.drain()
        assert isinstance(asked, SetSession)
        kernel.answer(asked.id, error, now=number * RETRY)
        told.append([note.fields["error"] for note in outbox.drain() if isinstance(note, Note)])
        kernel.retry((number + 1) * RETRY)
    assert told == [["EBUSY"], [], ["EPERM"], [], ["EPERM"]]


def test_a_session_that_is_asked_already_is_not_asked_again() -> None:
    kernel, outbox = fresh()
    kernel.set_session(Session(deadline=20))
    kernel.set_session(Session(deadline=20))
    assert len(outbox.drain()) == 1
    kernel.set_session(Session(deadline=9))
    kernel.set_session(Session(deadline=9))
    assert len(outbox.drain()) == 1


def test_answers_to_others_are_not_taken() -> None:
    kernel, _ = fresh()
    assert kernel.answer(4711, "", now=0) == frozenset()


def test_what_is_intended_is_what_was_asked_last() -> None:
    kernel, outbox = fresh()
    kernel.set_session(Session(deadline=20))
    kernel.set_session(Session(deadline=30))
    first, second = outbox.drain()
    assert isinstance(first, SetSession)
    assert isinstance(second, SetSession)
    kernel.answer(first.id, "", now=0)
    assert kernel.session == Session(deadline=20)
    assert kernel.intended == Session(deadline=30)
    kernel.answer(second.id, "", now=0)
    assert kernel.session == kernel.intended == Session(deadline=30)


def test_only_a_renewal_sent_after_a_fill_confirms_it() -> None:
    kernel, outbox = fresh()
    kernel.read(Session(deadline=90, renewed=50), {}, {})
    late = {2: EntryValue(VALUE.mac, 40)}
    # The claim was at 40, a renewal went out at 50, the fill is later: what 50 proves ends before the fill.
    assert not kernel.fill(VIP, late)
    (lowered,) = outbox.drain()
    assert isinstance(lowered, SetSession)
    assert lowered.session == Session(deadline=90, renewed=40)
    assert not kernel.confirms(60)
    assert kernel.answer(lowered.id, "", now=65) == {VIP}
    assert kernel.fill(VIP, late)
    (filled,) = outbox.drain()
    assert isinstance(filled, SetEntries)
    assert not kernel.confirms(60)
    kernel.answer(filled.id, "", now=70)
    assert not kernel.confirms(69)
    assert kernel.confirms(70)


def test_a_fill_waits_until_the_kernel_has_taken_back_what_would_confirm_it() -> None:
    kernel, outbox = fresh()
    kernel.read(Session(deadline=90, renewed=50, hold=True), {}, {})
    late = {2: EntryValue(VALUE.mac, 40)}
    assert not kernel.fill(VIP, late)
    (lowered,) = outbox.drain()
    assert isinstance(lowered, SetSession)
    assert kernel.answer(lowered.id, "EBUSY", now=0) == frozenset()
    outbox.drain()
    assert not kernel.fill(VIP, late)
    assert outbox.drain() == []
    assert kernel.retry(RETRY)
    assert not kernel.fill(VIP, late)
    (lowered,) = outbox.drain()
    assert isinstance(lowered, SetSession)
    assert kernel.answer(lowered.id, "", now=RETRY) == {VIP}
    assert kernel.fill(VIP, late)
