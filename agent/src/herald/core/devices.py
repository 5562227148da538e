# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Where this node answers: the responder's attachments, and the groups that its devices hear."""

from __future__ import annotations

from herald.core.effects import JoinGroups, SetAttachments
from herald.core.election.candidates import Candidates
from herald.core.election.locks import Locks
from herald.core.election.placement import is_layer3
from herald.core.model import Address
from herald.core.outbox import Outbox
from herald.core.world import World


class Devices:
    def __init__(self, world: World, locks: Locks, candidates: Candidates, outbox: Outbox) -> None:
        self._world = world
        self._locks = locks
        self._candidates = candidates
        self._out = outbox
        self._attached: frozenset[int] | None = None
        self._joined: frozenset[tuple[Address, int]] = frozenset()

    def tick(self) -> None:
        """Attach the responder, and join groups, where addresses are or may be announced."""
        attached = frozenset(i.index for i in self._world.interfaces.values() if is_layer3(i))
        if attached != self._attached:
            self._attached = attached
            self._out.add(SetAttachments(attached))
        joined = frozenset(
            (lock.address, index)
            for lock in self._locks.held()
            if lock.address is not None and lock.address.version == 6
            for index in self._candidates.targets(lock)
        )
        if joined != self._joined:
            self._joined = joined
            self._out.add(JoinGroups(joined))
