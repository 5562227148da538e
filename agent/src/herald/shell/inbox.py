# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The one bounded queue in front of the decider.

Edges that are faster than the decider wait in ``post``: memory stays bounded, and nothing is
dropped. Once the inbox is closed nobody waits any more, since nobody will come.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from herald.core.events import Event

CAPACITY = 4096
_LOOK = 0.5
"""Seconds between looks of a waiting poster whether the inbox was closed."""


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody else's thread asks for the decider's status, as a frozen value."""

    answer: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)


Item: TypeAlias = Event | Question


class Inbox:
    def __init__(self, capacity: int = CAPACITY) -> None:
        self._queue: queue.Queue[Item] = queue.Queue(capacity)
        self._closed = False

    def post(self, item: Item) -> None:
        """Put an item at the end; waits while the inbox is full."""
        while not self._closed:
            try:
                self._queue.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return

    def get(self, seconds: float) -> Item | None:
        """The next item; None if none came within so many seconds (0: do not wait)."""
        try:
            if seconds <= 0:
                return self._queue.get_nowait()
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None

    def ask(self, seconds: float) -> Any | None:
        """The decider's status; None if the loop gave none within so many seconds."""
        question = Question()
        try:
            self._queue.put(question, timeout=seconds)
            return question.answer.get(timeout=seconds)
        except (queue.Full, queue.Empty):
            return None

    def close(self) -> None:
        self._closed = True

    def __len__(self) -> int:
        return self._queue.qsize()
