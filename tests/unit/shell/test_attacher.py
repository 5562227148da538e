# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder is where it is wanted, and where it is not is told with the reason."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping

import pytest

from herald.core.effects import SetAttachments
from herald.core.events import AttachmentsSeen
from herald.shell.attacher import TELL_AFTER, Attacher
from herald.shell.counters import Counters


class Kernel:
    """Remembers what was asked of it, and fails where it is told to."""

    def __init__(self) -> None:
        self.on: set[int] = set()
        self.fails: dict[int | str, str] = {}
        self.calls: list[tuple[str, int]] = []
        self.own: dict[int, bytes] = {}

    def attach(self, ifindex: int) -> None:
        self.calls.append(("attach", ifindex))
        if error := self.fails.get("attach") or self.fails.get(ifindex):
            raise OSError(error)
        self.on.add(ifindex)

    def detach(self, ifindex: int) -> None:
        self.calls.append(("detach", ifindex))
        self.on.discard(ifindex)

    def set_own(self, macs: Mapping[int, bytes]) -> None:
        if error := self.fails.get("set_own"):
            raise OSError(error)
        self.own = dict(macs)

    def attached(self) -> frozenset[int]:
        if error := self.fails.get("attached"):
            raise OSError(error)
        return frozenset(self.on)


def mac(ifindex: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, ifindex])


class Node:
    """An attacher with everything around it."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.told: list[AttachmentsSeen] = []
        self.complaint = ""
        self.counters = Counters()
        self.per_device = 0
        self._clock = itertools.count()
        self._numbers = itertools.count(1)
        self._wish = SetAttachments(0, {})
        self.attacher = Attacher(
            self.kernel,
            self.told.append,
            self._complained,
            self.counters,
            lambda: next(self._clock) * self.per_device,
        )

    def _complained(self, error: str) -> None:
        self.complaint = error

    def want(self, *interfaces: int) -> list[AttachmentsSeen]:
        self._wish = SetAttachments(next(self._numbers), {each: mac(each) for each in interfaces})
        return self.again()

    def again(self) -> list[AttachmentsSeen]:
        """As once a second. What was told."""
        self.told.clear()
        self.attacher.set(self._wish)
        return list(self.told)


@pytest.fixture
def node() -> Node:
    return Node()


def seen(wish: int, *attached: int, refused: Mapping[int, str] | None = None) -> AttachmentsSeen:
    return AttachmentsSeen(wish, frozenset(attached), refused or {})


def test_attachments_are_set_by_difference(node: Node) -> None:
    node.kernel.on = {2, 3}
    assert node.want(3, 4) == [seen(1, 3, 4)]
    assert node.kernel.calls == [("detach", 2), ("attach", 4)]


def test_the_macs_of_all_devices_are_known_and_looked_at_each_second(node: Node) -> None:
    node.want(2, 3)
    assert node.kernel.own == {2: mac(2), 3: mac(3)}
    node.kernel.own.clear()
    node.again()
    assert node.kernel.own == {2: mac(2), 3: mac(3)}


def test_no_device_is_attached_whose_mac_could_not_be_known(node: Node) -> None:
    node.kernel.fails["set_own"] = "out of memory"
    assert node.want(2) == [seen(1, refused={2: "out of memory"})]
    assert node.complaint == "out of memory"


def test_every_wish_is_answered_and_what_stays_as_it_is_is_told_once(node: Node) -> None:
    assert node.want(3) == [seen(1, 3)]
    assert node.again() == []
    assert node.want(3) == [seen(2, 3)]
    assert node.want() == [seen(3)]


def test_an_attachment_that_others_removed_comes_back_and_is_counted(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.want(2, 3)
    assert node.counters.restored == 0
    node.kernel.on.remove(3)
    assert node.again() == []
    assert node.kernel.on == {2, 3}
    assert node.counters.restored == 1
    (record,) = [each for each in caplog.records if each.message == "attachment-restored"]
    assert record.fields == {"interfaces": "3"}  # type: ignore[attr-defined]


def test_a_device_that_is_gone_is_not_counted_as_restored(node: Node) -> None:
    node.want(2, 3)
    node.kernel.on.remove(2)
    node.kernel.fails[2] = "no such device"
    assert node.again() == [seen(1, 3, refused={2: "no such device"})]
    # As netlink will tell.
    assert node.want(3) == [seen(2, 3)]
    assert node.counters.restored == 0


def test_of_many_devices_those_that_are_done_are_told_meanwhile(node: Node) -> None:
    node.per_device = TELL_AFTER // 10
    told = node.want(*range(1, 51))
    assert len(told) >= 5
    counts = [len(each.attached) for each in told]
    assert counts == sorted(counts)
    assert 0 < counts[0] < 12
    assert told[-1] == seen(1, *range(1, 51))


def test_one_device_that_fails_does_not_keep_the_others_from_their_responder(node: Node) -> None:
    node.kernel.fails[2] = "no such device"
    assert node.want(2, 3) == [seen(1, 3, refused={2: "no such device"})]
    assert node.complaint == "no such device"
    node.kernel.fails.clear()
    assert node.again() == [seen(1, 2, 3)]
    assert node.complaint == ""


def test_a_look_that_fails_takes_no_device_away_and_the_next_one_counts(node: Node) -> None:
    node.want(2, 3)
    node.kernel.fails["attached"] = "out of memory"
    assert node.again() == []
    assert node.complaint == "out of memory"
    # Whose responder was never seen does not announce, whatever else was.
    assert node.want(3, 4) == [seen(2, 3, refused={4: "out of memory"})]
    assert node.again() == []

    node.kernel.fails.clear()
    assert node.again() == [seen(2, 3, 4)]
    assert (node.kernel.on, node.complaint, node.counters.restored) == ({3, 4}, "", 0)


def test_what_was_refused_before_a_look_that_fails_stays_refused(node: Node) -> None:
    node.kernel.fails["attach"] = "no such device"
    node.want(3)
    node.kernel.fails["attached"] = "out of memory"
    assert node.again() == []


def test_where_nothing_was_ever_seen_a_look_that_fails_refuses_all(node: Node) -> None:
    node.kernel.fails["attached"] = "out of memory"
    assert node.want(2, 3) == [seen(1, refused={2: "out of memory", 3: "out of memory"})]
    node.kernel.fails.clear()
    assert node.again() == [seen(1, 2, 3)]


def test_what_fails_is_logged_nowhere_but_in_the_complaint(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.kernel.fails["attach"] = "no such device"
    with caplog.at_level(logging.INFO):
        node.want(3)
    assert caplog.records == []
