# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A thread that waits for sockets, begins anew after a failure, and ends when it is told to."""

from __future__ import annotations

import logging
import select
import socket
import threading
from abc import ABC, abstractmethod
from typing import Protocol

RETRY = 1.0
"""Seconds between a failure and the next attempt."""

log = logging.getLogger(__name__)


class Readable(Protocol):
    def fileno(self) -> int: ...


class Watcher(ABC):
    """Subclasses say what is watched. ``name`` is the thread's, and begins what is logged of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.send(b"x")
        if self._thread.is_alive():
            self._thread.join()
        self._stop.close()
        self._stopped.close()

    @abstractmethod
    def watch(self) -> None:
        """Open what is watched and watch it until ``wait`` says stop, leaving nothing open.

        An exception is logged, and it is called again after a while.
        """

    def wait(self, *sockets: Readable, seconds: float | None = None) -> list[Readable] | None:
        """Those that can be read now, none when time is up; None: stop."""
        readable, _, _ = select.select([*sockets, self._stopped], [], [], seconds)
        return None if self._stopped in readable else readable

    def _run(self) -> None:
        while True:
            try:
                self.watch()
                return
            except Exception as error:
                log.exception(f"{self._name}-failed", extra={"fields": {"error": str(error)}})
            if self.wait(seconds=RETRY) is None:
                return
