# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""An API server with etcd's semantics: one revision for every write, optimistic locking, watches from a revision.

A watch sees the events of its kind in the order of their revisions, as late as its connection makes them; one that
begins before what was compacted is refused (410). Reads without a resourceVersion are of the newest state.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.model import Lease, Node, Policy, Pool, Service

StoreKey = tuple[ev.Kind, ev.Key]
Backup = tuple[int, dict[StoreKey, ev.KubeObject]]


@dataclass
class _Log:
    """What happened to one kind."""

    revisions: list[int] = field(default_factory=list)
    events: list[ev.Event] = field(default_factory=list)


class Api:
    unconditional = False
    """Whether a Lease can be written whatever its version is; a real API server refuses that."""

    def __init__(self) -> None:
        self.revision = 100
        self.compacted = 0
        """Events up to this revision can be watched no more."""
        self.objects: dict[StoreKey, ev.KubeObject] = {}
        self.writes: list[tuple[str, str]] = []
        """Verb and name of each request."""
        self.up = True
        self.obstacle: Callable[[fx.Effect], ev.Refused | ev.Failed | None] = lambda _: None
        """What a request meets instead of the store: a webhook, a missing right, a full queue."""
        self.second: Callable[[], int] = lambda: 0
        """The time that is noted of who writes an object."""
        self.watchers: list[Callable[[ev.Kind], None]] = []
        """Told which kind has news."""
        self.written: list[Callable[[ev.KubeObject, ev.KubeObject | None], None]] = []
        """Told of every object that was written, and what stood there before."""
        self._logs: dict[ev.Kind, _Log] = {}
        self._uids = itertools.count(1)

    # --- the store --------------------------------------------------------------------------------------------

    def put(self, obj: ev.KubeObject) -> ev.KubeObject:
        """Somebody writes it, or one of our agents anything but a Service's status."""
        if isinstance(obj, Service):
            obj = replace(obj, written=f"{self.second():09}")
        return self._put(obj)

    def _put(self, obj: ev.KubeObject) -> ev.KubeObject:
        self.revision += 1
        if not isinstance(obj, ev.Endpoints | Node):
            obj = replace(obj, resource_version=self.revision)
        before = self.objects.get((type(obj), obj.key))
        self.objects[type(obj), obj.key] = obj
        for tell in self.written:
            tell(obj, before)
        self._happened(type(obj), ev.Changed(obj))
        return obj

    def remove(self, kind: ev.Kind, key: ev.Key) -> None:
        if self.objects.pop((kind, key), None) is not None:
            self.revision += 1
            self._happened(kind, ev.Removed(kind, key))

    def _happened(self, kind: ev.Kind, event: ev.Event) -> None:
        log = self._logs.setdefault(kind, _Log())
        log.revisions.append(self.revision)
        log.events.append(event)
        for tell in self.watchers:
            tell(kind)

    def list(self, kind: ev.Kind) -> ev.Listed:
        return ev.Listed(kind, tuple(o for (k, _), o in self.objects.items() if k is kind))

    def events(self, kind: ev.Kind, since: int) -> list[tuple[int, ev.Event]]:
        """What happened to a kind after that revision."""
        log = self._logs.get(kind, _Log())
        first = bisect_right(log.revisions, since)
        return list(zip(log.revisions[first:], log.events[first:], strict=True))

    def compact(self) -> None:
        self.compacted = self.revision
        self._logs.clear()

    def backup(self) -> Backup:
        return self.revision, dict(self.objects)

    def restore(self, backup: Backup) -> None:
        """As etcd restored from a snapshot without bumped revisions: everything is as it was."""
        self.revision, self.objects = backup[0], dict(backup[1])
        self.compacted = self.revision
        self._logs.clear()

    def lease(self, name: str) -> Lease | None:
        found = self.objects.get((Lease, name))
        return found if isinstance(found, Lease) else None

    # --- requests ---------------------------------------------------------------------------------------------

    def request(self, effect: fx.LeaseRequest) -> ev.Done | ev.Refused:
        lease, known = effect.lease, self.lease(effect.lease.name)
        self.writes.append((effect.verb, lease.name))
        if effect.verb == "get":
            return ev.Done(known) if known else ev.Refused(404, "not found")
        if effect.verb == "create":
            return ev.Refused(409, "already exists") if known else self._created(lease)
        if known is None:
            # A PUT that names no uid makes the object (tried on a real API server).
            if effect.verb == "update" and not lease.uid:
                return self._created(lease)
            return ev.Refused(409 if lease.uid else 404, "gone")
        # Without uid it is not compared.
        if lease.uid not in ("", known.uid):
            return ev.Refused(409, "another uid")
        if lease.resource_version == 0 and effect.verb == "update" and not self.unconditional:
            return ev.Refused(422, "metadata.resourceVersion: must be specified for an update")
        if lease.resource_version not in (0, known.resource_version):
            return ev.Refused(409, "conflict")
        if effect.verb == "delete":
            if known.finalizers:
                return ev.Done(self._stored(replace(known, deleting=True)))
            self.remove(Lease, lease.name)
            return ev.Done()
        if lease.transitions >= 1 << 31:
            return ev.Refused(422, "leaseTransitions: not an int32")
        if known.deleting and not lease.finalizers:
            self.remove(Lease, lease.name)
            return ev.Done(replace(lease, deleting=True, resource_version=self.revision))
        return ev.Done(self._stored(replace(lease, uid=known.uid, deleting=known.deleting)))

    def _created(self, lease: Lease) -> ev.Done:
        made = replace(lease, uid=f"uid-{next(self._uids)}", deleting=False)
        return ev.Done(self._stored(made), created=True)

    def _stored(self, lease: Lease) -> Lease:
        stored = self.put(lease)
        assert isinstance(stored, Lease)
        return stored

    def delete_lease(self, name: str) -> None:
        """As kubectl delete: what has a finalizer is marked only."""
        known = self.lease(name)
        if known is not None:
            self.request(fx.LeaseRequest(0, "delete", known, 0))

    def read(self, effect: fx.ReadService) -> ev.Done | ev.Refused:
        self.writes.append(("get", "/".join(effect.service)))
        found = self.objects.get((Service, effect.service))
        return (
            ev.Done(service=found) if isinstance(found, Service) else ev.Refused(404, "not found")
        )

    def patch(
        self, effect: fx.PatchService | fx.PatchPool | fx.PatchPolicy
    ) -> ev.Done | ev.Refused:
        self.writes.append(("patch", str(effect)))
        if isinstance(effect, fx.PatchService):
            known = self.objects.get((Service, effect.service.key))
            if not isinstance(known, Service):
                return ev.Refused(404, "not found")
            if effect.service.resource_version not in (0, known.resource_version):
                return ev.Refused(409, "conflict")
            if effect.service.uid not in ("", known.uid):
                return ev.Refused(422, "metadata.uid: field is immutable")
            conditions = {c.type: c for c in known.conditions if c.type not in effect.drop}
            conditions.update({c.type: c for c in effect.conditions})
            if effect.ingress is not None:
                known = replace(known, ingress=effect.ingress, served_otherwise=False)
            self._put(replace(known, conditions=tuple(conditions.values())))
            return ev.Done()
        kind: ev.Kind = Pool if isinstance(effect, fx.PatchPool) else Policy
        found = self.objects.get((kind, effect.name))
        if found is None:
            return ev.Refused(404, "not found")
        if isinstance(found, Pool | Policy):
            self.put(replace(found, status=effect.status))  # type: ignore[arg-type]
        return ev.Done()
