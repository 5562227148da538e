# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Where this node answers: the responder's attachments, and the groups that its devices hear.

Both are worked out anew only where the devices, or what is announced on them, have changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from herald.core.effects import JoinGroups, SetAttachments
from herald.core.election.locks import Locks
from herald.core.election.placement import is_layer3
from herald.core.events import AttachmentsSeen
from herald.core.model import Address, Interface
from herald.core.outbox import Outbox
from herald.core.world import World


class Devices:
    def __init__(self, world: World, locks: Locks, outbox: Outbox) -> None:
        self._world = world
        self._locks = locks
        self._out = outbox
        self._seen: Mapping[int, Interface] = {}
        self._wish = 0
        self._attached: Mapping[int, bytes] | None = None
        self._joined: frozenset[tuple[Address, int]] = frozenset()

    def seen(self, event: AttachmentsSeen) -> None:
        """What became of an older wish is no news."""
        if event.wish == self._wish:
            self._world.attached, self._world.refused = event.attached, event.refused

    def tick(self) -> None:
        """Attach the responder, and join groups, where addresses are or may be announced."""
        if self._seen is not self._world.interfaces:
            self._seen = self._world.interfaces
            self._attach({i.index: i.mac for i in self._seen.values() if is_layer3(i)})
        if self._locks.moved:
            self._locks.moved = False
            self._join(
                frozenset(
                    (lock.address, index)
                    for lock in self._locks.held()
                    if lock.address is not None and lock.address.version == 6
                    for index in lock.devices
                )
            )

    def _attach(self, wanted: Mapping[int, bytes]) -> None:
        if wanted != self._attached:
            self._attached, self._wish = wanted, self._out.new_id()
            self._out.add(SetAttachments(self._wish, wanted))

    def _join(self, wanted: frozenset[tuple[Address, int]]) -> None:
        if wanted != self._joined:
            self._joined = wanted
            self._out.add(JoinGroups(wanted))
