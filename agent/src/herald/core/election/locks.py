# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The locks of this cluster by name, and which of them are to be looked at again, and when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import chain, islice

from herald.core.election.lock import Lock
from herald.core.model import IPAM_LEASE, Address, ServiceKey, ServiceKeys, vip_address

BATCH = 200
"""Locks that are looked at at once, so that renewals never wait for thousands of them."""


class Locks:
    def __init__(self) -> None:
        self.by_name: dict[str, Lock] = {}
        self.touched: dict[str, None] = {}
        """Those whose lease, holder or placement changed since the caller last took them."""
        self.moved = False
        """What is held, or on which devices, has changed since last cleared."""
        self._first: dict[str, None] = {}
        """To be looked at: of these something has changed."""
        self._rest: dict[str, None] = {}
        """To be looked at after those: what all are decided by has changed."""
        self._waiting: dict[str, None] = {}
        """Those whose request waits for a place in flight, the longest first."""
        self._timers: list[tuple[int, str]] = []
        self._of_service: dict[ServiceKey, tuple[str, ...]] = {}
        """Names of the locks of the addresses that each Service has."""
        self.want(IPAM_LEASE)

    def get(self, name: str) -> Lock | None:
        return self.by_name.get(name)

    def want(self, name: str) -> Lock | None:
        """The lock of that Lease's name, made if need be; None where the name stands for none."""
        lock = self.by_name.get(name)
        if lock is None:
            address = vip_address(name)
            if address is None and name != IPAM_LEASE:
                return None
            lock = self.by_name[name] = Lock(name, address)
            self._first[name] = None
        return lock

    def remove(self, lock: Lock) -> None:
        del self.by_name[lock.name]

    def clear(self) -> None:
        self.touched.update(dict.fromkeys(self.by_name))
        self.by_name.clear()
        self._of_service.clear()
        self.want(IPAM_LEASE)

    def held(self) -> list[Lock]:
        """Those that this node holds."""
        return [lock for lock in self.by_name.values() if lock.held]

    @property
    def allocates(self) -> bool:
        """Whether this node holds the lease ``ipam``."""
        return self.by_name[IPAM_LEASE].held

    @property
    def addresses(self) -> int:
        """Addresses that were given, in the whole cluster."""
        return len(self.by_name) - 1

    def set_services(self, lock: Lock, services: ServiceKeys, external: ServiceKeys) -> None:
        before = lock.keys
        lock.services, lock.external = services, external
        for key in before - lock.keys:
            rest = tuple(name for name in self._of_service[key] if name != lock.name)
            if rest:
                self._of_service[key] = rest
            else:
                del self._of_service[key]
        for key in lock.keys - before:
            self._of_service[key] = (*self._of_service.get(key, ()), lock.name)

    def of_service(self, key: ServiceKey) -> list[Lock]:
        """Those of the addresses that the Service has."""
        return [self.by_name[name] for name in self._of_service.get(key, ())]

    def external(self, key: ServiceKey) -> list[Address]:
        """The external addresses of a Service that are announced."""
        locks = self.of_service(key)
        return [lock.address for lock in locks if key in lock.external and lock.address is not None]

    # --- what is to be looked at again ---------------------------------------------------------------------

    def recheck(self, names: Iterable[str] | None = None) -> None:
        """What these locks (None: all) are decided by has changed."""
        if names is None:
            self._rest.update(dict.fromkeys(self.by_name))
        else:
            self._first.update((name, None) for name in names if name in self.by_name)

    def recheck_service(self, key: ServiceKey) -> None:
        """A Service, or where its endpoints are, has changed."""
        self.recheck(self._of_service.get(key, ()))

    def recheck_at(self, lock: Lock, when: int) -> None:
        heapq.heappush(self._timers, (when, lock.name))

    def touch(self, lock: Lock) -> None:
        """It changed: look at it again, and let the caller do so too."""
        self._first[lock.name] = None
        self.touched[lock.name] = None

    def next_deadline(self) -> int | None:
        return self._timers[0][0] if self._timers else None

    def wait(self, lock: Lock) -> None:
        """Its request waits for a place in flight; it keeps the one that it has in the queue."""
        self._waiting[lock.name] = None

    @property
    def waiting(self) -> bool:
        """Whether any request waits for a place."""
        return bool(self._waiting)

    def next_waiting(self) -> Lock | None:
        """Whoever has waited longest, to be looked at again; None: nobody waits."""
        while self._waiting:
            name = next(iter(self._waiting))
            del self._waiting[name]
            if (lock := self.by_name.get(name)) is not None:
                return lock
        self._waiting.clear()  # it keeps the room that it once had for thousands until then
        return None

    def due(self, now: int, most: int | None = None) -> list[str]:
        """Names of those to be looked at now, up to so many; each stays so until it is taken."""
        while self._timers and self._timers[0][0] <= now:
            self.recheck([heapq.heappop(self._timers)[1]])
        rest = (name for name in self._rest if name not in self._first)
        return list(islice(chain(self._first, rest), most))

    @property
    def behind(self) -> bool:
        """Whether there are more to be looked at now."""
        return bool(self._first or self._rest)

    def take(self, name: str) -> Lock | None:
        """It is being looked at; None where it has gone meanwhile."""
        for names in (self._first, self._rest):
            names.pop(name, None)
            if not names:
                names.clear()  # as above
        return self.by_name.get(name)
