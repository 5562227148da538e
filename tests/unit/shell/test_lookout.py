# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the responder is attached is seen without waiting for the kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from herald.shell.lookout import Found, Lookout


class Kernel:
    """Answers when it is let go: as while somebody else holds its lock."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = threading.Semaphore(0)
        self.on: Found = frozenset({2})

    def attached(self) -> frozenset[int]:
        seen = self.on
        self.asked.release()
        assert self.free.wait(20)
        if isinstance(seen, Exception):
            raise seen
        return seen


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    found = Kernel()
    yield found
    found.free.set()


def eventually(lookout: Lookout) -> Found:
    deadline = time.monotonic() + 20
    while (found := lookout.take()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def test_a_look_is_waited_for_by_nobody_and_taken_once(kernel: Kernel) -> None:
    lookout = Lookout(kernel.attached)
    lookout.begin()
    lookout.begin()
    assert lookout.take() is None
    kernel.free.set()
    assert eventually(lookout) == frozenset({2})
    assert lookout.take() is None
    kernel.asked.acquire()
    assert not kernel.asked.acquire(blocking=False), "two looks at once"


def test_what_fails_is_what_was_found(kernel: Kernel) -> None:
    kernel.on = OSError("no such device")
    kernel.free.set()
    lookout = Lookout(kernel.attached)
    lookout.begin()
    assert eventually(lookout) is kernel.on


def test_what_was_seen_before_a_change_does_not_count(kernel: Kernel) -> None:
    lookout = Lookout(kernel.attached)
    lookout.begin()
    assert kernel.asked.acquire(timeout=20)
    lookout.discard()  # while it is under way
    kernel.on = frozenset({2, 3})
    kernel.free.set()
    assert kernel.asked.acquire(blocking=False) is False
    deadline = time.monotonic() + 20
    while not kernel.asked.acquire(blocking=False):
        assert time.monotonic() < deadline
        lookout.begin()  # which is the second look, once the first is over
    assert eventually(lookout) == frozenset({2, 3})
    lookout.begin()
    assert kernel.asked.acquire(timeout=20)
    while lookout._found is None:  # it is over, and nobody has taken it
        assert time.monotonic() < deadline
    lookout.discard()
    assert lookout.take() is None
