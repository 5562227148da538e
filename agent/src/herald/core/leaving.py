# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How the agent ends: everything handed over, the kernel silent, the presence released, and only then the process.

A hand-over that does not come about in time (no API server, say) is given up for silence, and so is the release then:
the others count for themselves.
"""

from __future__ import annotations

from herald.core.effects import Finish
from herald.core.election.election import Election
from herald.core.election.presence import OwnPresence, Phase
from herald.core.events import Stop
from herald.core.kernelmap import KernelMap
from herald.core.model import SECOND
from herald.core.outbox import Outbox

LIMIT = 4 * SECOND
"""How long the hand-over may take, and then the release of the presence."""
EXIT_NAMESAKE = 77
"""Another agent runs under this node's name: not to be restarted."""


class Leaving:
    def __init__(
        self, presence: OwnPresence, election: Election, kernel: KernelMap, outbox: Outbox
    ) -> None:
        self._presence = presence
        self._election = election
        self._kernel = kernel
        self._out = outbox
        self.due: int | None = None
        """When patience ends; None: nothing is waited for but the kernel's silence, or nobody told it to stop."""
        self._finish: Finish | None = None

    def begin(self, stop: Stop, held: int, now: int) -> None:
        """Told to stop; ``held``: how many addresses are to be handed over."""
        if self._finish is None:
            self._out.note("stop", held=held, reason=stop.reason)
            self._finish = Finish(stop.status, stop.reason)
            self.due = now + LIMIT

    def tick(self, now: int) -> bool:
        """True once all is done."""
        late = self.due is not None and now >= self.due
        if self._presence.phase is Phase.LEAVE:
            if late:
                self._presence.give_up()
        elif self.due is not None:
            done = self._presence.told and self._election.handed_over
            if done or self._presence.epoch is None or late:
                self._presence.leave(now)
                self.due = now + LIMIT
        if self._presence.phase is not Phase.STOPPED:
            return False
        self.due = None
        return self._end()

    def _end(self) -> bool:
        self._kernel.silence()
        if not self._kernel.silent:
            return False
        self._out.add(self._finish or Finish(EXIT_NAMESAKE, self._presence.problem))
        return True
