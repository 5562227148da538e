# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Looks where the responder is attached, in a thread of its own.

The kernel answers that under its lock of all networking configuration (RTNL; kernel/bpf/tcx.c,
tcx_link_fill_info), which others may hold for seconds: a driver that resets its card, a container
runtime that takes a hundred devices away. A decider that waited for it would renew nothing
meanwhile, and its node would lose every address.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

Found: TypeAlias = frozenset[int] | Exception


class Lookout:
    """One look at a time. Used by one thread beside its own."""

    def __init__(self, attached: Callable[[], Iterable[int]]) -> None:
        self._attached = attached
        self._lock = threading.Lock()
        self._wanted = threading.Semaphore(0)
        self._looking = False
        self._stale = False
        self._found: Found | None = None
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def begin(self) -> None:
        """Have a look taken, unless one is under way. Never waits."""
        if self._thread.ident is None:
            self._thread.start()
        with self._lock:
            if self._looking:
                return
            self._looking, self._stale = True, False
        self._wanted.release()

    def take(self) -> Found | None:
        """What the last look found, once; None where it is still under way, or there was none."""
        with self._lock:
            found, self._found = self._found, None
            return found

    def discard(self) -> None:
        """What was seen until now does not count: the attachments have just been changed."""
        with self._lock:
            self._found, self._stale = None, True

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            found: Found
            try:
                found = frozenset(self._attached())
            except Exception as error:
                found = error
            with self._lock:
                self._looking = False
                if not self._stale:
                    self._found = found
