# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The newest wish is carried out, and nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from herald.shell.worker import Worker

PATIENCE = 20


class Kernel:
    """Does one thing after the other, each when it is let go: as while somebody else holds its lock."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.asked: list[str] = []

    def do(self, wish: str) -> None:
        self.asked.append(wish)
        self.begun.release()
        assert self.let_go.acquire(timeout=PATIENCE)
        if wish == "fails":
            raise OSError("no such device")

    def await_begin(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE)

    def await_idle(self, worker: Worker[str]) -> None:
        end = time.monotonic() + PATIENCE
        while worker._busy:
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def worker(kernel: Kernel) -> Iterator[Worker[str]]:
    made: Worker[str] = Worker("test", kernel.do)
    made.start()
    yield made
    kernel.let_go.release(100)
    made.stop()
    assert not made._thread.is_alive()


def test_a_wish_is_waited_for_by_nobody_and_an_overtaken_one_is_never_done(
    kernel: Kernel, worker: Worker[str]
) -> None:
    worker.want("first")
    kernel.await_begin()
    worker.want("second")
    worker.want("third")
    kernel.let_go.release()
    kernel.await_begin()
    assert kernel.asked == ["first", "third"]


def test_it_is_done_again_when_asked_but_not_because_it_was_asked_meanwhile(
    kernel: Kernel, worker: Worker[str]
) -> None:
    worker.again()  # nothing was wished yet
    worker.want("first")
    kernel.await_begin()
    worker.again()
    assert not worker._due.is_set()
    kernel.let_go.release()
    worker.want("second")
    kernel.await_begin()
    kernel.let_go.release()
    kernel.await_idle(worker)
    worker.again()
    kernel.await_begin()
    assert kernel.asked == ["first", "second", "second"]


def test_what_raises_ends_nothing(kernel: Kernel, worker: Worker[str]) -> None:
    worker.want("fails")
    kernel.await_begin()
    kernel.let_go.release()
    worker.want("second")
    kernel.await_begin()
    assert kernel.asked == ["fails", "second"]


def test_who_is_held_up_does_not_hold_up_the_end(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herald.shell.worker.ENDS_WITHIN", 0.01)
    worker = Worker("test", kernel.do)
    worker.start()
    worker.want("first")
    kernel.await_begin()
    worker.stop()
    assert worker._thread.is_alive()
    kernel.let_go.release()
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
