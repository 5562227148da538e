# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Does in a thread of its own what may wait for the kernel's lock of all networking configuration.

Others may hold that lock (RTNL) for seconds: a driver that resets its card, a container runtime
that takes a hundred devices away. A decider that waited for it would renew nothing meanwhile, and
its node would lose every address.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Wish = TypeVar("Wish")

ENDS_WITHIN = 1.0
"""Seconds that the end of the process waits for what is under way."""

log = logging.getLogger(__name__)


class Worker(Generic[Wish]):
    """Carries out the newest wish, one at a time: what was overtaken before its turn is never done.

    Used by one thread beside its own.
    """

    def __init__(self, name: str, carry_out: Callable[[Wish], None]) -> None:
        self._carry_out = carry_out
        self._wish: Wish | None = None
        self._due = threading.Event()
        self._busy = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(ENDS_WITHIN)

    def want(self, wish: Wish) -> None:
        """Have this carried out, and no older wish any more. Never waits."""
        self._wish = wish
        self._due.set()

    def again(self) -> None:
        """Have the newest wish carried out again, unless one is under way. Never waits."""
        if self._wish is not None and not self._busy:
            self._due.set()

    def _run(self) -> None:
        while self._due.wait() and not self._stopping:
            self._busy = True
            self._due.clear()
            try:
                if self._wish is not None:
                    self._carry_out(self._wish)
            except Exception:
                log.exception("worker-raised", extra={"fields": {"at": self._thread.name}})
            self._busy = False
