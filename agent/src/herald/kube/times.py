# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The times in objects that people read and no decision does: since when a holder holds, a condition stands.

The decider's values carry none, so what a whole write would lose is remembered here, from every object that
passes: one short text for each Lease with a holder, one for each condition of a pool or policy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from herald.core.events import Key, Kind
from herald.core.model import Condition, Lease, Policy, Pool
from herald.kube.fields import Fields, Undecodable
from herald.kube.transport import Json


class Times:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acquired: dict[str, tuple[str, str]] = {}
        self._since: dict[tuple[Kind, str], dict[str, tuple[str, str]]] = {}

    def seen(self, kind: Kind, json: Json) -> None:
        """An object came from the API server. Whatever cannot be read is not remembered."""
        try:
            if kind is Lease:
                self._seen_lease(Fields(json))
            elif kind in (Pool, Policy):
                self._seen_conditions(kind, Fields(json))
        except Undecodable:
            pass

    def gone(self, kind: Kind, key: Key) -> None:
        if isinstance(key, str):
            with self._lock:
                if kind is Lease:
                    self._acquired.pop(key, None)
                else:
                    self._since.pop((kind, key), None)

    def only(self, kind: Kind, keys: AbstractSet[Key]) -> None:
        """A list of all objects of this kind came: forget those that are not in it."""
        with self._lock:
            if kind is Lease:
                for name in self._acquired.keys() - keys:
                    del self._acquired[name]
            for each in [each for each in self._since if each[0] is kind and each[1] not in keys]:
                del self._since[each]

    def acquired(self, lease: Lease, now: str) -> str:
        """When this holder got this Lease; empty for no holder."""
        if not lease.holder:
            return ""
        with self._lock:
            holder, since = self._acquired.get(lease.name, ("", ""))
        return since if holder == lease.holder and since else now

    def since(
        self, kind: Kind, name: str, conditions: Iterable[Condition], now: str
    ) -> dict[str, str]:
        """The transition time of each of these conditions, by type."""
        with self._lock:
            before = self._since.get((kind, name), {})
        times: dict[str, str] = {}
        for condition in conditions:
            status, since = before.get(condition.type, ("", ""))
            times[condition.type] = since if status == condition.status and since else now
        return times

    def _seen_lease(self, json: Fields) -> None:
        name, spec = json.record("metadata").required("name"), json.record("spec")
        holder, since = spec.word("holderIdentity"), spec.text("acquireTime")
        with self._lock:
            if holder and since:
                self._acquired[name] = holder, since
            else:
                self._acquired.pop(name, None)

    def _seen_conditions(self, kind: Kind, json: Fields) -> None:
        name = json.record("metadata").required("name")
        conditions = {
            each.word("type"): (each.word("status"), each.text("lastTransitionTime"))
            for each in json.record("status").records("conditions")
        }
        with self._lock:
            self._since[kind, name] = conditions
