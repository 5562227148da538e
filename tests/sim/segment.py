# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The network that nodes and clients share: frames take time, get lost, and do not pass where it is cut.

A cut has a direction: nodes whose frames others no longer get, nodes that no longer get any, or groups of nodes that
are kept apart. Who is on no side of any cut but the clients' counts as served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from herald.core.model import MILLISECOND

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

GATEWAY = "gateway"
"""The router on the segment, where there is one; clients are behind it."""


class Segment:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.mute: set[str] = set()
        """Nothing that these send arrives."""
        self.deaf: set[str] = set()
        """Nothing arrives at these."""
        self.apart: frozenset[str] = frozenset()
        """Nothing passes between these and the others."""
        self.loss = 0.0
        self.delay = 0
        """Frames take up to so many nanoseconds more."""

    @property
    def whole(self) -> bool:
        return not (self.mute or self.deaf or self.apart or self.loss or self.delay)

    def passes(self, sender: str, receiver: str) -> bool:
        return (
            sender not in self.mute
            and receiver not in self.deaf
            and (sender in self.apart) == (receiver in self.apart)
        )

    def joined(self, name: str) -> bool:
        """Whether clients reach this node, and it them."""
        return self.passes(name, GATEWAY) and self.passes(GATEWAY, name)

    def send(self, sender: str, receiver: str, arrive: Callable[[], None]) -> None:
        """A cut that begins while it is on its way stops it."""
        rng = self._cluster.rng
        if not self.passes(sender, receiver) or self._cluster.draw(self.loss):
            return
        delay = rng.randrange(20_000, MILLISECOND) + (
            rng.randrange(self.delay) if self.delay else 0
        )
        self._cluster.after(delay, lambda: arrive() if self.passes(sender, receiver) else None)
