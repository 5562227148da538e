# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel saw reaches the decider."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

from herald.core.events import ConflictSeen, SeenRead
from herald.core.kernel import KernelEvent, KernelEventKind
from herald.core.model import Address
from herald.shell.listener import Listener

VIP = IPv4Address("192.0.2.7")
MAC = bytes.fromhex("02cafe00017f")


def event(kind: KernelEventKind) -> KernelEvent:
    return KernelEvent(kind=kind, address=VIP, ifindex=2, mac=MAC, at=1)


class Kernel:
    """Gives these batches, an exception where one stands, then nothing."""

    def __init__(self, *batches: list[KernelEvent] | Exception) -> None:
        self.batches = list(batches)
        self.looks: list[tuple[dict[Address, int], set[Address]]] = []

    def poll(self, timeout: float) -> bool:
        if not self.batches:
            threading.Event().wait(min(timeout, 0.01))
        return bool(self.batches)

    def events(self) -> Iterator[KernelEvent]:
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        yield from batch

    def look(self) -> tuple[dict[Address, int], set[Address]]:
        return self.looks.pop(0) if self.looks else ({}, set())


class Posted:
    def __init__(self, expected: int) -> None:
        self.events: list[ConflictSeen | SeenRead] = []
        self.expected = expected
        self.all = threading.Event()

    def __call__(self, event: ConflictSeen | SeenRead) -> None:
        self.events.append(event)
        if len(self.events) == self.expected:
            self.all.set()


def test_conflicts_are_posted_and_the_rest_is_not() -> None:
    posted = Posted(2)
    reader = Listener(Kernel([event(kind) for kind in KernelEventKind]), posted)
    reader.start()
    assert posted.all.wait(5)
    reader.stop()
    assert posted.events == [
        ConflictSeen(VIP, MAC, 2, silenced=False),
        ConflictSeen(VIP, MAC, 2, silenced=True),
    ]


def test_a_failure_is_survived() -> None:
    posted = Posted(1)
    kernel = Kernel(RuntimeError("a bad record"), [event(KernelEventKind.CONFLICT)])
    reader = Listener(kernel, posted, retry=0.0)
    reader.start()
    assert posted.all.wait(5)
    reader.stop()


def test_what_is_there_at_a_look_is_posted_whatever_became_of_the_events() -> None:
    kernel, posted = Kernel(), Posted(2)
    kernel.looks = [({}, set()), ({VIP: 7}, set()), ({}, {VIP}), ({}, set())]
    reader = Listener(kernel, posted, look=0.0)
    reader.start()
    assert posted.all.wait(5)
    reader.stop()
    assert posted.events == [SeenRead({VIP: 7}), SeenRead({}, frozenset([VIP]))]


def test_stop_before_start_is_no_error() -> None:
    Listener(Kernel(), Posted(1)).stop()
