# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the watches show, and whom it concerns.

Leases are told to those who decide about them by their own knowledge (an answer may be ahead of the watch); of all
else, only what differs from what was known is told.
"""

from __future__ import annotations

from dataclasses import replace

from herald.core.allocation.allocator import Allocator
from herald.core.effects import Relist, WatchServices
from herald.core.election.candidates import Candidates
from herald.core.election.election import Election
from herald.core.election.locks import Locks
from herald.core.election.observer import Observer
from herald.core.election.presence import OwnPresence
from herald.core.events import (
    Changed,
    Key,
    Kind,
    KubeObject,
    Listed,
    Removed,
    WatchBroken,
    WatchResumed,
)
from herald.core.misread import Misread
from herald.core.model import PRESENCE_PREFIX, Endpoints, Lease, Node, Policy, Pool, Service
from herald.core.outbox import Outbox
from herald.core.status import ServiceStatus
from herald.core.world import World


class Watches:
    def __init__(
        self,
        world: World,
        presence: OwnPresence,
        observer: Observer,
        locks: Locks,
        election: Election,
        candidates: Candidates,
        allocator: Allocator,
        status: ServiceStatus,
        outbox: Outbox,
        duration: int,
    ) -> None:
        """``duration``: D in nanoseconds, as it is set."""
        self._world = world
        self._presence = presence
        self._observer = observer
        self._locks = locks
        self._election = election
        self._candidates = candidates
        self._allocator = allocator
        self._status = status
        self._out = outbox
        self._misread = Misread(outbox)
        self._policies: dict[str, Policy] = {}
        """As last followed, without what Herald itself says in their status."""
        self._all_services = False
        """Services of every type are watched, or about to be."""
        self.leases_sound = False
        """The watch of Leases can be relied on."""
        self._duration = duration
        self._shown_at = 0
        """When the watch of Leases last showed anything."""
        self.presences_renewed = False
        """What presences say by being renewed at all may have changed, since last cleared."""

    def take(
        self, event: Listed | Changed | Removed | WatchBroken | WatchResumed, now: int
    ) -> None:
        match event:
            case Listed():
                self._listed(event, now)
            case Changed():
                obj = self._as_known(event.object)
                self._look_for_nonsense(obj)
                if self._world.put(obj):
                    self._changed(obj, now)
            case Removed():
                self._removed(event.kind, event.key, now)
            case WatchBroken() if event.kind is Lease:
                self.leases_sound = False
            case WatchResumed() if event.kind is Lease:
                self._leases_resumed(now)
            case _:
                pass

    def _as_known(self, obj: KubeObject) -> KubeObject:
        """A Lease of which our own write's answer said the same: kept once."""
        lock = self._locks.get(obj.name) if isinstance(obj, Lease) else None
        return lock.lease if lock is not None and lock.lease == obj else obj

    def _look_for_nonsense(self, obj: KubeObject) -> None:
        """Of what says the same as before (renewals do) nothing new is to be told."""
        match obj:
            case Lease():
                known = self._world.leases.get(obj.name)
                same = known is not None and (known.annotations, known.holder) == (
                    obj.annotations,
                    obj.holder,
                )
            case Node():
                before = self._world.nodes.get(obj.name)
                same = before is not None and before.annotations == obj.annotations
            case _:
                return
        if not same:
            self._misread.look(obj)

    def _listed(self, event: Listed, now: int) -> None:
        if event.narrowed and self._all_services:
            # It was on its way when all were asked for.
            return
        if event.kind is Service:
            self._world.others_unlisted = False
        if event.kind in (Lease, Node):
            for obj in event.objects:
                self._look_for_nonsense(obj)
        if event.kind is Lease:
            self._leases_listed(event, now)
        for change in self._world.replace(event):
            if event.kind is Lease:
                if isinstance(change, tuple):
                    self._misread.gone(Lease, str(change[1]))
                continue
            if isinstance(change, tuple):
                self._gone(change[0], change[1], now)
            else:
                self._changed(change, now)
        self._locks.recheck()

    def _leases_resumed(self, now: int) -> None:
        """An API server that was away for D may have been set back, and gone on from there (rule 10): a list shows
        that, where a watch begins with what is news to it. Until then no Lease counts as known. (Whoever was stopped
        meanwhile is told late of what came before, but is not live.)"""
        self.leases_sound = now < self._shown_at + self._duration and self._presence.live(now)
        if not self.leases_sound:
            self._world.listed.discard(Lease)
            self._out.add(Relist(Lease))

    def _leases_listed(self, event: Listed, now: int) -> None:
        self.leases_sound = self.presences_renewed = True
        self._shown_at = now
        leases = {lease.name: lease for lease in event.objects if isinstance(lease, Lease)}
        presences = {n: v for n, v in leases.items() if n.startswith(PRESENCE_PREFIX)}
        self._observer.listed(presences, event.asked, now)
        if self._presence.is_past(event.version, event.asked):
            self._observer.rewound = True
        self._election.listed(
            {n: v for n, v in leases.items() if n not in presences}, event.asked, now
        )
        versions = (lease.resource_version for lease in leases.values())
        self._presence.saw(max(versions, default=0), now)
        own = leases.get(self._presence.lease.name)
        if own is not None:
            self._presence.seen(own, now)
        else:
            self._presence.gone(now)

    def _changed(self, obj: KubeObject, now: int) -> None:
        match obj:
            case Lease():
                self._lease_changed(obj, now)
            case Service():
                self._service_changed(obj.key)
            case Endpoints():
                self._locks.recheck_service(obj.service)
            case Pool():
                self._allocator.pool_changed(obj.name)
            case Policy():
                self._policies_changed()
            case Node():
                self._locks.recheck()

    def _lease_changed(self, lease: Lease, now: int) -> None:
        self._shown_at = now
        self._presence.saw(lease.resource_version, now)
        if not lease.name.startswith(PRESENCE_PREFIX):
            self._election.seen(lease, now)
            return
        self._observer.seen(lease, now)
        self.presences_renewed = self.presences_renewed or self._candidates.in_doubt
        if lease.name == self._presence.lease.name:
            self._presence.seen(lease, now)

    def _removed(self, kind: Kind, key: Key, now: int) -> None:
        service = self._world.slice_service(key) if kind is Endpoints else None
        if self._world.remove(kind, key) or kind is Lease:
            self._gone(kind, key, now)
        if service is not None:
            self._locks.recheck_service(service)

    def _gone(self, kind: Kind, key: Key, now: int) -> None:
        if kind in (Lease, Node) and isinstance(key, str):
            self._misread.gone(kind, key)
        if kind is Lease and isinstance(key, str):
            self._lease_gone(key, now)
        elif kind is Service and isinstance(key, tuple):
            self._service_changed(key)
        elif kind is Pool and isinstance(key, str):
            self._allocator.pool_changed(key)
        elif kind is Policy:
            self._policies_changed()
        else:
            self._locks.recheck()

    def _policies_changed(self) -> None:
        policies = {
            name: replace(policy, resource_version=0, status=None)
            for name, policy in self._world.policies.items()
        }
        if policies == self._policies:
            return
        self._policies = policies
        all_services = self._world.all_types
        if all_services != self._all_services:
            self._all_services = all_services
            self._out.add(WatchServices(all_services))
            self._world.others_unlisted = all_services
        self._locks.recheck()
        self._allocator.policies_changed()
        self._status.mark(self._world.services)

    def _lease_gone(self, name: str, now: int) -> None:
        if not name.startswith(PRESENCE_PREFIX):
            self._election.gone(name, now)
            return
        self._observer.gone(name, now)
        if name == self._presence.lease.name:
            self._presence.gone(now)

    def _service_changed(self, key: tuple[str, str]) -> None:
        self._allocator.service_changed(key)
        self._status.service_changed(key)
        self._locks.recheck_service(key)
