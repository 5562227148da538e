# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What every placement depends on: who is alive, what they say of themselves, and this node's own standing.

Where it changes, all locks are looked at again; and whatever the kernel answers without any VIP lease goes. Where
others change it, or Nodes or policies do, nothing moves for a better placement until all has been quiet again.
"""

from __future__ import annotations

from collections.abc import Iterable

from herald.core.election.candidates import Candidates
from herald.core.election.election import Election
from herald.core.election.locks import Locks
from herald.core.election.observer import Observer
from herald.core.election.presence import OwnPresence
from herald.core.kernelmap import KernelMap
from herald.core.leases import Presence
from herald.core.model import Lease, Node, Policy, vip_lease_name
from herald.core.world import World


class Membership:
    def __init__(
        self,
        node: str,
        world: World,
        presence: OwnPresence,
        observer: Observer,
        candidates: Candidates,
        locks: Locks,
        election: Election,
        kernel: KernelMap,
    ) -> None:
        self._node = node
        self._world = world
        self._presence = presence
        self._observer = observer
        self._candidates = candidates
        self._locks = locks
        self._election = election
        self._kernel = kernel
        self._known: tuple[object, ...] = ()
        self._changes = 0
        """Of Nodes and policies, as last counted."""
        self._inputs: tuple[object, ...] = ()
        """What placement read of them then."""

    def tick(self, now: int, *, renewed: bool) -> None:
        """``renewed``: others have renewed, of which nothing follows but that a node may be deaf."""
        facts = (
            self._presence.epoch,
            self._presence.told,
            self._presence.waited_for,
            self._presence.live(now),
            self._election.synced,
            Lease in self._world.listed,
            self._candidates.own_report,
            self._candidates.stopping,
        )
        others, objects = bool(self._observer.changed), self._objects_changed()
        changed = facts != self._known or others
        if not (changed or renewed or objects):
            return
        self._known = facts
        self._observer.changed.clear()
        presences = self._observer.presences()
        if self._presence.epoch is not None and self._presence.lease.uid:
            # Of ourselves we know more than the watch has shown.
            own = Presence(self._presence.lease)
            own.__dict__["report"] = self._candidates.own_report
            presences[self._node] = own
        others_deaf = self._candidates.refresh(presences, self._reported(presences))
        self._presence.answer_to(self._candidates.asked_in, now)
        if others or objects:
            before, self._inputs = self._inputs, self._candidates.inputs()
            if others or self._inputs != before:
                self._election.unsettle(now)
        if changed or others_deaf:
            self._locks.recheck()
            self.notice_entries()

    def _objects_changed(self) -> bool:
        """Whether any Node or policy has changed since last asked. (Which locks are to be looked at again then, the
        watches say.)"""
        before = self._changes
        self._changes = self._world.changes[Node] + self._world.changes[Policy]
        return self._changes != before

    def _reported(self, nodes: Iterable[str]) -> dict[str, int]:
        """By node, the resourceVersion in which its present report first stood."""
        found = {node: self._observer.reported(node) for node in nodes}
        found[self._node] = self._presence.reported
        return {node: version for node, version in found.items() if version is not None}

    def notice_entries(self) -> None:
        """What the kernel answers without any VIP lease goes."""
        if self._presence.epoch is not None and Lease in self._world.listed:
            self._kernel.withdraw(
                [
                    address
                    for address in self._kernel.addresses()
                    if self._locks.get(vip_lease_name(address)) is None
                ]
            )
