# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What herald.kube.reflector makes of an API server, in virtual time: one kind listed, then watched from there.

Events of one watch arrive in order, those of two watches in any. A connection that breaks says so at once (reset)
or when nothing has come for too long (cut); it is resumed from where it was, or listed anew where that was
compacted. A connection that was cut for a shorter time delivers late what was sent meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from herald.core import events as ev
from herald.core.model import MILLISECOND, SECOND, Service
from herald.core.settings import LATE_NEWS

if TYPE_CHECKING:
    from tests.sim.machine import Machine

RETRY = 200 * MILLISECOND
SILENCE = 5 * SECOND
"""A cut is noticed after so long without a line, at the latest."""


class Watch:
    def __init__(self, machine: Machine, kind: ev.Kind) -> None:
        self.machine, self.kind = machine, kind
        self._cluster, self._life = machine.cluster, machine.life
        self._version: int | None = None
        """Everything up to this revision has been told; None: list."""
        self._sent = 0
        """Everything up to this revision is on its way."""
        self._free_at = 0
        """No event of this watch arrives before."""
        self._connection = 0
        """Counts connections: what is on its way on an earlier one is lost."""
        self._cuts = 0
        self._awaited: tuple[int, int] | None = None
        """A revision that this agent wrote and the watch has not shown, and when."""
        self._broken = False
        self._connected = False
        self.hung = False
        """Nothing comes on this connection, and nobody notices."""

    @property
    def _current(self) -> bool:
        return self._life == self.machine.life and self.machine.agent is not None

    @property
    def sound(self) -> bool:
        return self._connected and self._version is not None

    def begin(self) -> None:
        """Connect, after one way to the API server."""
        connection = self._connection

        def ask(latency: int) -> None:
            asked = self.machine.clock()
            self._cluster.after(latency, lambda: arrive(asked))

        def arrive(asked: int) -> None:
            if not self._current or self._connected or connection != self._connection:
                return
            refused = self._version is None and self._cluster.refuses_list(self.machine, self.kind)
            if (
                refused
                or not self.machine.api_answers()
                or self._cluster.draw(self._cluster.errors)
            ):
                ask(RETRY)
                return
            since = self._version
            if since is None or since < self._cluster.api.compacted:
                since = self._cluster.api.revision
                self._post(
                    replace(self._cluster.api.list(self.kind), asked=asked, version=since), since
                )
            elif self._broken:
                self._post(ev.WatchResumed(self.kind), since)
            self._sent, self._connected, self._broken = since, True, False
            self.news()

        ask(self._cluster.latency())

    def news(self) -> None:
        """Send what has happened since the last was sent."""
        if not self._connected or not self._current:
            return
        for revision, event in self._cluster.api.events(self.kind, self._sent):
            self._sent = revision
            self._post(event, revision)

    def _post(self, event: ev.Event, revision: int) -> None:
        """In order, one way later; lost with its connection, and held up while the way back is cut."""
        connection = self._connection
        # A list is of the newest state, whoever answers it.
        lag = max(self.machine.lag, self.machine.services_lag if self.kind is Service else 0)
        if isinstance(event, ev.Listed):
            lag = 0
        when = self._cluster.now + self._cluster.latency() + lag
        self._free_at = max(self._free_at, when)

        def deliver() -> None:
            if connection != self._connection or not self._current:
                return
            if self.hung or not self.machine.from_api:
                # Everything after it waits as well: `mend` sends it again.
                self._connection += 1
                return
            self._version = revision
            self.machine.post(self.machine.as_watched(event))

        self._cluster.at(self._free_at, deliver)

    def reset(self, reason: str, *, relist: bool = False) -> None:
        """The connection is gone, and the agent notices."""
        if not self._current:
            return
        self._connection += 1
        self._connected, self._free_at = False, 0
        if relist:
            self._version = None
        if not self._broken:
            self._broken = True
            self.machine.post(ev.WatchBroken(self.kind, reason))
        self.begin()

    def wrote(self, revision: int) -> None:
        """This agent's write was given that revision: the watch must show it before long."""
        now, told = self._cluster.now, self._version or 0
        if not self.sound:
            self._awaited = None
        elif self._awaited is None or told >= self._awaited[0]:
            self._awaited = (revision, now)
        elif now - self._awaited[1] > LATE_NEWS:
            self._awaited = None
            self.reset("a write has not been shown", relist=True)

    def cut(self) -> None:
        """Nothing comes any more; noticed once it has been silent for too long."""
        self._cuts += 1
        cut = self._cuts

        def notice() -> None:
            if cut == self._cuts and not self.machine.api_answers():
                self.reset("silence")

        self._cluster.after(self._cluster.rng.randrange(SILENCE), notice)

    def mend(self) -> None:
        """The way is free again: what was held up comes now, if the connection is still there."""
        self._cuts += 1
        self.hung = False
        if not self._connected:
            return
        if self._version is None:
            self.reset("the list did not come", relist=True)
            return
        if self._version < self._cluster.api.compacted:
            # What was held up is not known here any more: then the connection did not outlive the cut.
            self.reset("cut")
            return
        self._connection += 1
        self._sent = self._version
        self.news()
