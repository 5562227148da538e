# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Events about Services are for people: the same one is told once in a while, and many do not crowd the rest."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from herald.core.effects import EmitEvent
from herald.kube.transport import Reply, refusal

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
REPEAT_AFTER = 300 * SECOND
"""Nanoseconds for which the same reason and message about the same Service is not told again."""
BURST = 100
RATE = 10
"""Events a second in the long run, after a burst."""
REMEMBERED = 1000


class EventPacer:
    """Used by the deciding thread, but for ``sent``."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._told: OrderedDict[int, int] = OrderedDict()
        self._allowance = float(BURST)
        self._at = clock()
        self._names = itertools.count(self._at)
        self._lock = threading.Lock()
        self.dropped = 0
        """How many were not told, too many or not taken by the API server, since the start."""

    def admit(self, effect: EmitEvent) -> bool:
        """Whether this one is to be told."""
        now = self._clock()
        same = hash((effect.uid, effect.service, effect.reason, effect.message))
        told = self._told.get(same)
        if told is not None and now - told < REPEAT_AFTER:
            return False
        self._allowance = min(BURST, self._allowance + (now - self._at) / SECOND * RATE)
        self._at = now
        if self._allowance < 1:
            self._drop()
            return False
        self._allowance -= 1
        self._told[same] = now
        self._told.move_to_end(same)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return True

    def name(self) -> str:
        """The end of an Event's name: differs from every other of this boot's Events about a Service."""
        return f"{next(self._names):x}"

    def sent(self, reply: Reply | str) -> None:
        """What became of one. Best effort: nobody waits for it, so a failure is only counted."""
        no = refusal(reply) if isinstance(reply, Reply) else None
        reason = reply if isinstance(reply, str) else no.reason if no is not None else ""
        if reason:
            self._drop()
            log.debug("event not told reason=%s", reason)

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1
