# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Each effect is carried out, and each failure becomes the answer that the decider reckons with."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from herald.core.effects import (
    Announcement,
    CancelProbes,
    Effect,
    EmitEvent,
    Finish,
    ForgetSeen,
    JoinGroups,
    LeaseRequest,
    Note,
    ProbeAddress,
    Relist,
    SendFrames,
    SendSolicitations,
    SetAttachments,
    SetEntries,
    SetSession,
    Solicitation,
    WatchServices,
)
from herald.core.events import (
    AddressProbed,
    Answer,
    AttachmentsSeen,
    Event,
    Failed,
    FramesAnswer,
    KernelAnswer,
    Kind,
)
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import Address, Lease
from herald.shell.counters import Counters
from herald.shell.hands import Hands
from herald.shell.worker import Worker

VIP = IPv4Address("192.0.2.7")
VIP6 = IPv6Address("2001:db8::7")
MAC = bytes.fromhex("02cafe00017f")
KEY = EntryKey(VIP, 2)
VALUE = EntryValue(MAC, 5)
NOW = 77


class Broken(Exception):
    pass


class Outside:
    """Kernel, devices, groups and API in one: remembers all, and fails where it is told to."""

    def __init__(self) -> None:
        self.fails: set[str] = set()
        self.error = ""
        self.calls: list[tuple[object, ...]] = []
        self.on: set[int] = set()

    def _do(self, name: str, *arguments: object) -> None:
        if name in self.fails:
            raise Broken(f"{name} failed")
        self.calls.append((name, *arguments))

    def set_session(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None:
        self._do("set_session", deadline, fuse, renewed, hold)

    def set_entries(self, remove: Collection[EntryKey], put: Mapping[EntryKey, EntryValue]) -> None:
        self._do("set_entries", remove, put)

    def forget_seen(self, addresses: Collection[Address]) -> int:
        self._do("forget_seen", addresses)
        return 40

    def learn_own(self, macs: Mapping[bytes, int]) -> None:
        self._do("learn_own", macs)

    def set_own(self, macs: Mapping[int, bytes]) -> None:
        self._do("set_own", macs)

    def attach(self, ifindex: int) -> None:
        self._do("attach", ifindex)
        self.on.add(ifindex)

    def detach(self, ifindex: int) -> None:
        self._do("detach", ifindex)
        self.on.discard(ifindex)

    def attached(self) -> frozenset[int]:
        if "attached" in self.fails:
            raise Broken("attached failed")
        return frozenset(self.on)

    def send(self, announcements: Iterable[Announcement]) -> str:
        self._do("send", *announcements)
        return self.error

    def solicit(self, solicitations: Iterable[Solicitation]) -> str:
        self._do("solicit", *solicitations)
        return self.error

    def ask(self, number: int, address: Address, ifindex: int, kin: frozenset[str]) -> None:
        self._do("ask", number, address, ifindex, kin)

    def cancel(self, numbers: frozenset[int]) -> None:
        self._do("cancel", numbers)

    def set(self, members: Iterable[tuple[Address, int]]) -> str:
        self._do("set", members)
        return self.error

    def reconcile(self) -> str:
        return self.error

    def submit(self, effect: Effect) -> None:
        self._do("submit", effect)

    def refresh(self, kind: Kind) -> None:
        self._do("refresh", kind)

    def watch_services(self, *, all_types: bool) -> None:
        self._do("watch_services", all_types)


class Prompt(Worker[Any]):
    """Carries a wish out as soon as it is told."""

    def want(self, wish: Any) -> None:
        super().want(wish)
        self._carry_out(wish)

    def again(self) -> None:
        if self._wish is not None:
            self._carry_out(self._wish)


def hands_with(
    outside: Outside,
    counters: Counters,
    post: Callable[[Event], None],
    worker: type[Worker[Any]],
    tidy: Callable[[], None] = lambda: None,
) -> Hands:
    return Hands(
        outside, outside, outside, outside, outside, counters, lambda: NOW, post, tidy, worker
    )


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def later() -> list[Event]:
    """What was answered later."""
    return []


@pytest.fixture
def hands(outside: Outside, counters: Counters, later: list[Event]) -> Hands:
    return hands_with(outside, counters, later.append, Prompt)


SESSION = SetSession(1, Session(deadline=9, fuse=8, renewed=7, hold=True))
ENTRIES = SetEntries(2, frozenset([KEY]), {KEY: VALUE})
FRAMES = SendFrames(3, (Announcement(VIP, 2, MAC),))
RENEWAL = LeaseRequest(4, "update", Lease("presence-n1"), 0)
SOLICITATIONS = SendSolicitations(
    (Solicitation(2, MAC, IPv4Address("192.0.2.11"), IPv4Address("192.0.2.1")),)
)
EVENT = EmitEvent(("default", "web"), "uid", "Normal", "Announced", "here")

KIN = frozenset(["02:00:00:00:00:0a"])

GOOD: list[tuple[Effect, tuple[object, ...], Event | None]] = [
    (SESSION, ("set_session", 9, 8, 7, True), KernelAnswer(1)),
    (ENTRIES, ("set_entries", ENTRIES.remove, ENTRIES.put), KernelAnswer(2)),
    (RENEWAL, ("submit", RENEWAL), None),
    (EVENT, ("submit", EVENT), None),
    (Relist(Lease), ("refresh", Lease), None),
    (WatchServices(True), ("watch_services", True), None),
    (SOLICITATIONS, ("solicit", *SOLICITATIONS.solicitations), None),
    (ProbeAddress(5, VIP, 2, KIN), ("ask", 5, VIP, 2, KIN), None),
    (CancelProbes(frozenset([5])), ("cancel", frozenset([5])), None),
    (
        JoinGroups(frozenset([(VIP6, 2)])),
        ("set", frozenset([(VIP6, 2)])),
        None,
    ),
]


@pytest.mark.parametrize(("effect", "call", "answer"), GOOD)
def test_an_effect_is_carried_out_and_answered(
    hands: Hands,
    outside: Outside,
    counters: Counters,
    effect: Effect,
    call: tuple[object, ...],
    answer: Event | None,
) -> None:
    assert hands.carry_out(effect) == answer
    assert outside.calls == [call]
    assert counters.effects == {type(effect).__name__: 1}
    assert not counters.errors


def test_answers_for_what_the_kernel_forgets_stay_counted(
    hands: Hands, outside: Outside, counters: Counters
) -> None:
    for _ in range(2):
        assert hands.carry_out(ForgetSeen(frozenset([VIP]))) is None
    assert outside.calls == [("forget_seen", frozenset([VIP]))] * 2
    assert counters.answers == 80


def test_a_mac_is_known_as_own_before_frames_bear_it(hands: Hands, outside: Outside) -> None:
    assert hands.carry_out(FRAMES) == FramesAnswer(3)
    assert outside.calls == [("learn_own", {MAC: 2}), ("send", *FRAMES.announcements)]


def test_no_frame_bears_a_mac_that_could_not_be_known(hands: Hands, outside: Outside) -> None:
    outside.fails = {"learn_own"}
    assert hands.carry_out(FRAMES) == FramesAnswer(3, "learn_own failed")
    assert outside.calls == []


BAD: list[tuple[Effect, str, Event | None]] = [
    (SESSION, "set_session", KernelAnswer(1, "set_session failed")),
    (ENTRIES, "set_entries", KernelAnswer(2, "set_entries failed")),
    (FRAMES, "send", FramesAnswer(3, "send failed")),
    (RENEWAL, "submit", Answer(4, NOW, Failed("submit failed"))),
    (EVENT, "submit", None),
    (SOLICITATIONS, "solicit", None),
]


@pytest.mark.parametrize(("effect", "method", "answer"), BAD)
def test_an_exception_becomes_the_error_answer(
    hands: Hands, outside: Outside, effect: Effect, method: str, answer: Event | None
) -> None:
    outside.fails = {method}
    assert hands.carry_out(effect) == answer


def test_frames_that_a_device_refused_are_an_error_answer(
    hands: Hands, outside: Outside, counters: Counters
) -> None:
    outside.error = "ENETDOWN: 192.0.2.7 on eth0"
    assert hands.carry_out(FRAMES) == FramesAnswer(3, outside.error)
    assert counters.errors == {"SendFrames": 1}


@pytest.mark.parametrize("method", ["attach", "attached"])
def test_a_failed_attachment_is_a_problem_until_it_works(
    hands: Hands, outside: Outside, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    outside.fails = {method}
    with caplog.at_level(logging.INFO):
        hands.carry_out(SetAttachments(6, {3: MAC}))
        assert hands.problems == (f"SetAttachments: {method} failed",)
        hands.reconcile()
        outside.fails = set()
        hands.reconcile()
    assert hands.problems == ()
    assert outside.on == {3}
    # Said once, not at every try.
    assert [record.message for record in caplog.records] == ["effect-failed", "effect-recovered"]


def test_problems_can_be_asked_for_while_the_deciding_thread_meets_another(
    hands: Hands, outside: Outside
) -> None:
    class Meanwhile(str):
        """What is looked at just as another effect fails."""

        asked = False

        def __bool__(self) -> bool:
            if self.asked:
                self.asked = False
                hands.carry_out(SetAttachments(6, {3: MAC}))
            return True

    outside.fails = {"attached"}
    outside.error = met = Meanwhile("ENODEV")
    hands.carry_out(JoinGroups(frozenset([(VIP6, 2)])))
    met.asked = True
    assert hands.problems == ("JoinGroups: ENODEV",)
    assert hands.problems == ("JoinGroups: ENODEV", "SetAttachments: attached failed")


def test_groups_that_cannot_be_joined_are_a_problem(hands: Hands, outside: Outside) -> None:
    outside.error = "ENODEV: group ff02::1:ff00:7, device 2"
    hands.carry_out(JoinGroups(frozenset([(VIP6, 2)])))
    assert hands.problems == (f"JoinGroups: {outside.error}",)


def test_a_note_is_a_line_in_the_log_with_its_fields(
    hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        hands.carry_out(Note("warning", "conflict", {"address": str(VIP)}))
    record = caplog.records[0]
    assert (record.levelname, record.message) == ("WARNING", "conflict")
    assert record.fields == {"address": "192.0.2.7"}  # type: ignore[attr-defined]


def test_a_question_that_cannot_be_put_is_answered_all_the_same(
    hands: Hands, outside: Outside
) -> None:
    outside.fails.add("ask")
    answer = hands.carry_out(ProbeAddress(5, VIP, 2, KIN))
    assert answer == AddressProbed(5, None, "ask failed")


def test_finish_is_the_loop_s_own(hands: Hands, outside: Outside) -> None:
    assert hands.carry_out(Finish(0, "done")) is None
    assert outside.calls == []


# --- what may wait ----------------------------------------------------------------------------------


def test_attachments_are_answered_later(hands: Hands, outside: Outside, later: list[Event]) -> None:
    assert hands.carry_out(SetAttachments(6, {3: MAC})) is None
    assert later == [AttachmentsSeen(6, frozenset([3]), {})]
    outside.on.clear()
    hands.reconcile()
    assert outside.on == {3}


def test_before_the_decider_has_said_where_nothing_is_detached(
    hands: Hands, outside: Outside
) -> None:
    outside.on = {2}
    hands.reconcile()
    assert outside.on == {2}


def test_groups_are_set_when_they_change_and_only_looked_at_else(
    hands: Hands, outside: Outside
) -> None:
    members = frozenset([(VIP6, 2)])
    hands.carry_out(JoinGroups(members))
    hands.reconcile()
    assert outside.calls == [("set", members)]


def test_what_an_earlier_process_left_is_tidied_up_though_there_is_no_group_to_join(
    outside: Outside, counters: Counters
) -> None:
    tidied = threading.Event()
    hands = hands_with(outside, counters, lambda _: None, Worker, tidied.set)
    hands.start()
    try:
        assert tidied.wait(20)
    finally:
        hands.stop()


def test_a_kernel_that_keeps_its_lock_of_all_networking_holds_nobody_up(
    outside: Outside, counters: Counters
) -> None:
    """Renewals go on while somebody else holds it: what takes it is done once it is free."""
    free = threading.Event()
    attach, join = outside.attach, outside.set

    def held_up(ifindex: int) -> None:
        assert free.wait(20)
        attach(ifindex)

    def held_up_too(members: Iterable[tuple[Address, int]]) -> str:
        assert free.wait(20)
        return join(members)

    outside.attach, outside.set = held_up, held_up_too  # type: ignore[method-assign]
    told: queue.Queue[Event] = queue.Queue()
    hands = hands_with(outside, counters, told.put, Worker)
    hands.start()
    try:
        hands.carry_out(SetAttachments(6, {3: MAC}))
        hands.carry_out(JoinGroups(frozenset([(VIP6, 2)])))
        for _ in range(3):
            hands.reconcile()
            assert hands.carry_out(SESSION) == KernelAnswer(1)
        assert told.empty()
        free.set()
        assert told.get(timeout=20) == AttachmentsSeen(6, frozenset({3}), {})
    finally:
        free.set()
        hands.stop()
    assert outside.on == {3}
