# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Each effect is carried out, and each failure becomes the answer that the decider reckons with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

import pytest

from herald.core.effects import (
    Announcement,
    CancelProbes,
    Effect,
    EmitEvent,
    Finish,
    JoinGroups,
    LeaseRequest,
    Note,
    Probe,
    ProbeAddress,
    Relist,
    SendFrames,
    SendProbes,
    SetAttachments,
    SetEntries,
    SetSession,
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
from herald.shell.hands import ATTACH_FOR, Hands
from herald.shell.lookout import Found

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

    def probe(self, probes: Iterable[Probe]) -> str:
        self._do("probe", *probes)
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


class Prompt:
    """A lookout that has seen everything as soon as it is asked."""

    def __init__(self, attached: Callable[[], frozenset[int]]) -> None:
        self._attached = attached
        self._found: Found | None = None

    def begin(self) -> None:
        try:
            self._found = self._attached()
        except Broken as error:
            self._found = error

    def take(self) -> Found | None:
        found, self._found = self._found, None
        return found

    def discard(self) -> None:
        self._found = None


def slow_tick(hands: Hands) -> Event | None:
    """A slow tick that has a look taken, and the next one, which deals with what was seen."""
    first = hands.reconcile()
    return hands.reconcile() or first


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def hands(outside: Outside, counters: Counters) -> Hands:
    lookout = Prompt(outside.attached)
    return Hands(
        outside, outside, outside, outside, outside, counters, lambda: NOW, lookout=lookout
    )


SESSION = SetSession(1, Session(deadline=9, fuse=8, renewed=7, hold=True))
ENTRIES = SetEntries(2, frozenset([KEY]), {KEY: VALUE})
FRAMES = SendFrames(3, (Announcement(VIP, 2, MAC),))
RENEWAL = LeaseRequest(4, "update", Lease("presence-n1"), 0)
PROBES = SendProbes((Probe(2, MAC, IPv4Address("192.0.2.11"), IPv4Address("192.0.2.1")),))
EVENT = EmitEvent(("default", "web"), "uid", "Normal", "Announced", "here")

KIN = frozenset(["02:00:00:00:00:0a"])

GOOD: list[tuple[Effect, tuple[object, ...], Event | None]] = [
    (SESSION, ("set_session", 9, 8, 7, True), KernelAnswer(1)),
    (ENTRIES, ("set_entries", ENTRIES.remove, ENTRIES.put), KernelAnswer(2)),
    (FRAMES, ("send", *FRAMES.announcements), FramesAnswer(3)),
    (RENEWAL, ("submit", RENEWAL), None),
    (EVENT, ("submit", EVENT), None),
    (Relist(Lease), ("refresh", Lease), None),
    (WatchServices(True), ("watch_services", True), None),
    (PROBES, ("probe", *PROBES.probes), None),
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


BAD: list[tuple[Effect, str, Event | None]] = [
    (SESSION, "set_session", KernelAnswer(1, "set_session failed")),
    (ENTRIES, "set_entries", KernelAnswer(2, "set_entries failed")),
    (FRAMES, "send", FramesAnswer(3, "send failed")),
    (RENEWAL, "submit", Answer(4, NOW, Failed("submit failed"))),
    (EVENT, "submit", None),
    (PROBES, "probe", None),
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


def test_attachments_are_set_by_difference(hands: Hands, outside: Outside) -> None:
    outside.on = {2, 3}
    assert hands.carry_out(SetAttachments(frozenset([3, 4]))) == AttachmentsSeen({})
    assert outside.calls == [("detach", 2), ("attach", 4)]


def test_an_attachment_that_others_removed_comes_back_at_the_slow_tick(
    hands: Hands, outside: Outside
) -> None:
    hands.carry_out(SetAttachments(frozenset([3])))
    outside.on.clear()
    slow_tick(hands)
    assert outside.on == {3}


def test_before_the_decider_has_said_where_nothing_is_detached(
    hands: Hands, outside: Outside
) -> None:
    outside.on = {2}
    slow_tick(hands)
    assert outside.on == {2}


def test_many_devices_are_attached_to_in_several_goes(outside: Outside, counters: Counters) -> None:
    """The kernel takes its time for each; a renewal must not wait for all of them."""
    clock = iter(range(0, 1 << 60, ATTACH_FOR // 10))
    lookout = Prompt(outside.attached)
    hands = Hands(
        outside,
        outside,
        outside,
        outside,
        outside,
        counters,
        lambda: next(clock),
        lookout=lookout,
    )
    wanted = frozenset(range(1, 51))

    answer = hands.carry_out(SetAttachments(wanted))

    assert isinstance(answer, AttachmentsSeen)
    assert 0 < len(outside.on) < 12
    assert answer.refused.keys() == wanted - outside.on
    goes = 1
    while outside.on != wanted:
        seen = hands.reconcile()
        goes += 1
    assert goes < 10
    assert seen == AttachmentsSeen({})
    assert counters.restored == 0


def test_what_was_removed_behind_our_back_is_counted_and_what_is_gone_is_not(
    hands: Hands, outside: Outside, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    hands.carry_out(SetAttachments(frozenset({2, 3})))
    assert counters.restored == 0

    outside.on.remove(3)
    slow_tick(hands)
    slow_tick(hands)

    assert counters.restored == 1
    (record,) = [each for each in caplog.records if each.message == "attachment-restored"]
    assert record.fields == {"interfaces": "3"}  # type: ignore[attr-defined]

    outside.on.remove(2)
    outside.fails.add("attach")  # its device is gone, as netlink will tell
    slow_tick(hands)
    assert counters.restored == 1
    hands.carry_out(SetAttachments(frozenset({3})))
    assert counters.restored == 1


@pytest.mark.parametrize("method", ["attach", "attached"])
def test_a_failed_attachment_is_a_problem_until_it_works(
    hands: Hands, outside: Outside, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    outside.fails = {method}
    with caplog.at_level(logging.INFO):
        hands.carry_out(SetAttachments(frozenset([3])))
        assert hands.problems == (f"SetAttachments: {method} failed",)
        slow_tick(hands)
        outside.fails = set()
        slow_tick(hands)
    assert hands.problems == ()
    assert outside.on == {3}
    # Said once, not at every try.
    assert [record.message for record in caplog.records] == ["effect-failed", "effect-recovered"]


def test_one_device_that_fails_does_not_keep_the_others_from_their_responder(
    hands: Hands, outside: Outside
) -> None:
    attach = outside.attach

    def refuse_2(ifindex: int) -> None:
        if ifindex == 2:
            raise Broken("no such device")
        attach(ifindex)

    outside.attach = refuse_2  # type: ignore[method-assign]
    told = hands.carry_out(SetAttachments(frozenset([2, 3])))
    assert told == AttachmentsSeen({2: "no such device"})
    assert outside.on == {3}
    assert hands.problems == ("SetAttachments: no such device",)


def test_the_slow_tick_tells_when_an_attachment_fails_and_when_it_works_again(
    hands: Hands, outside: Outside
) -> None:
    hands.carry_out(SetAttachments(frozenset([3])))
    outside.on.clear()
    outside.fails = {"attach"}
    assert slow_tick(hands) == AttachmentsSeen({3: "attach failed"})
    assert slow_tick(hands) is None
    outside.fails.clear()
    assert slow_tick(hands) == AttachmentsSeen({})


def test_a_look_that_fails_takes_no_device_away_and_the_next_one_counts(
    hands: Hands, outside: Outside, counters: Counters
) -> None:
    hands.carry_out(SetAttachments(frozenset([2, 3])))
    outside.fails = {"attached"}
    assert slow_tick(hands) is None
    assert hands.problems == ("SetAttachments: attached failed",)
    # Whose responder was never seen does not announce, whatever else was.
    answer = hands.carry_out(SetAttachments(frozenset([3, 4])))
    assert answer == AttachmentsSeen({4: "attached failed"})
    assert slow_tick(hands) is None

    outside.fails = set()
    assert slow_tick(hands) == AttachmentsSeen({})
    assert (outside.on, hands.problems, counters.restored) == ({3, 4}, (), 0)


def test_what_was_refused_before_a_look_that_fails_stays_refused(
    hands: Hands, outside: Outside
) -> None:
    outside.fails = {"attach"}
    hands.carry_out(SetAttachments(frozenset([3])))
    outside.fails = {"attached"}
    assert slow_tick(hands) is None


def test_where_nothing_was_ever_seen_a_look_that_fails_refuses_all(
    hands: Hands, outside: Outside
) -> None:
    outside.fails = {"attached"}
    answer = hands.carry_out(SetAttachments(frozenset([2, 3])))
    assert answer == AttachmentsSeen({2: "attached failed", 3: "attached failed"})
    outside.fails = set()
    assert slow_tick(hands) == AttachmentsSeen({})


def test_problems_can_be_asked_for_while_the_deciding_thread_meets_another(
    hands: Hands, outside: Outside
) -> None:
    class Meanwhile(str):
        """What is looked at just as another effect fails."""

        asked = False

        def __bool__(self) -> bool:
            if self.asked:
                self.asked = False
                hands.carry_out(SetAttachments(frozenset([3])))
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


def test_the_slow_tick_tidies_up(outside: Outside, counters: Counters) -> None:
    tidied: list[int] = []
    hands = Hands(
        outside,
        outside,
        outside,
        outside,
        outside,
        counters,
        lambda: NOW,
        lambda: tidied.append(1),
    )
    hands.reconcile()
    assert tidied == [1]


def test_a_kernel_that_does_not_say_where_it_is_attached_holds_nobody_up(
    outside: Outside, counters: Counters
) -> None:
    """As while somebody else holds its lock of all networking configuration."""
    free = threading.Event()
    attached = outside.attached

    def held_up() -> frozenset[int]:
        assert free.wait(20)
        return attached()

    free.set()
    outside.attached = held_up  # type: ignore[method-assign]
    hands = Hands(outside, outside, outside, outside, outside, counters, lambda: NOW)
    hands.carry_out(SetAttachments(frozenset({3})))
    free.clear()
    outside.on.clear()
    for _ in range(3):
        hands.reconcile()
    assert outside.on == set()
    free.set()
    deadline = time.monotonic() + 20
    while not outside.on:
        assert time.monotonic() < deadline
        hands.reconcile()
    assert outside.on == {3}
