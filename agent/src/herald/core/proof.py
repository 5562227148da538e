# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a node that has just begun proves before it is given an address.

It must have carrier, know what there is in the cluster, have asked its segment for long enough to tell whether
anybody answers, have found the API server quick enough, and have had no complaint from kube-proxy's health port. Once
proven, always proven: what fails later has conditions of its own. An agent that goes on in an epoch (rule 7 of
docs/design/election.md) has proven itself in the life of the process before it, as its presence says.
"""

from __future__ import annotations

from herald.core.election.segment import Segment
from herald.core.settings import Settings
from herald.core.world import World


class Proof:
    def __init__(self, settings: Settings, world: World, segment: Segment) -> None:
        self._world = world
        self._segment = segment
        self._await_proxy = settings.await_proxy
        self._await_timing = settings.await_timing
        self.proven = False
        self._complete = False
        """All was listed already at the last look, so that the peers are known whom the segment is asked for."""

    def accept(self) -> None:
        """It was given by a process before this one in the same epoch."""
        self.proven = True

    def missing(self, carrier: bool, now: int) -> str:
        """What is yet to be proven; empty: nothing. ``carrier``: one device at least could announce."""
        if self.proven:
            return ""
        complete, self._complete = self._complete, self._world.complete
        if not carrier:
            return "no device has carrier"
        if not complete:
            return "the cluster has not been listed"
        if self._segment.asking(now):
            return "its segment is being asked"
        if self._await_timing and not self._world.api_timed:
            return "the API server is being timed"
        if self._await_proxy and self._world.proxy_problem is None:
            return "kube-proxy's health port has not been asked"
        if self._await_proxy and self._world.proxy_problem:
            return f"kube-proxy is not healthy: {self._world.proxy_problem}"
        self.proven = True
        return ""

    def next_deadline(self) -> int | None:
        """What was just listed is looked at at once."""
        return 0 if self._world.complete and not self._complete and not self.proven else None
