# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads what the responder saw in the kernel, and posts what the decider decides by.

The kernel drops events for which its buffer has no room: so what they have left behind is looked at
every second as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from herald.core.events import ConflictSeen, SeenRead
from herald.core.kernel import KernelEvent, KernelEventKind
from herald.core.model import Address

WAIT = 0.5
"""Seconds in the kernel at most, so that stop is prompt."""
RETRY = 1.0
LOOK = 1.0
_CONFLICTS = (KernelEventKind.CONFLICT, KernelEventKind.SILENCED)

log = logging.getLogger(__name__)


class KernelEvents(Protocol):
    def poll(self, timeout: float) -> bool: ...

    def events(self) -> Iterable[KernelEvent]: ...

    def look(self) -> tuple[Mapping[Address, int], Collection[Address]]: ...


class Listener:
    def __init__(
        self,
        source: KernelEvents,
        post: Callable[[ConflictSeen | SeenRead], None],
        retry: float = RETRY,
        look: float = LOOK,
    ) -> None:
        self._source = source
        self._post = post
        self._retry = retry
        self._look_every = look
        self._look_at = time.monotonic() + look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kernel-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(4 * WAIT)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._source.poll(WAIT):
                    for event in self._source.events():
                        self._pass_on(event)
                if time.monotonic() >= self._look_at:
                    self._look_at = time.monotonic() + self._look_every
                    self._look()
            except Exception as error:
                log.warning("kernel-events-failed", extra={"fields": {"error": str(error)}})
                self._stopping.wait(self._retry)

    def _look(self) -> None:
        silenced, crowd = self._source.look()
        if silenced or crowd:
            self._post(SeenRead(silenced, frozenset(crowd)))

    def _pass_on(self, event: KernelEvent) -> None:
        fields = {
            "kind": event.kind.name.lower(),
            "address": event.address,
            "mac": event.mac.hex(":"),
            "ifindex": event.ifindex,
        }
        log.debug("kernel-event", extra={"fields": fields})
        if event.kind in _CONFLICTS:
            silenced = event.kind is KernelEventKind.SILENCED
            self._post(ConflictSeen(event.address, event.mac, event.ifindex, silenced))
