# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Since when a condition of a pool or policy stands, which people read and no decision does.

The decider's values do not carry it, so what a write of all conditions would lose is remembered here, from every pool
and policy that passes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from herald.core.events import Key, Kind
from herald.core.model import Condition, Policy, Pool
from herald.kube.fields import Fields, Undecodable
from herald.kube.transport import Json


class Times:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[tuple[Kind, str], dict[str, tuple[str, str]]] = {}

    def seen(self, kind: Kind, json: Json) -> None:
        """An object came from the API server. Whatever cannot be read is not remembered."""
        if kind not in (Pool, Policy):
            return
        try:
            self._seen_conditions(kind, Fields(json))
        except Undecodable:
            pass

    def gone(self, kind: Kind, key: Key) -> None:
        if isinstance(key, str):
            with self._lock:
                self._since.pop((kind, key), None)

    def only(self, kind: Kind, keys: AbstractSet[Key]) -> None:
        """A list of all objects of this kind came: forget those that are not in it."""
        with self._lock:
            for each in [each for each in self._since if each[0] is kind and each[1] not in keys]:
                del self._since[each]

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

    def _seen_conditions(self, kind: Kind, json: Fields) -> None:
        name = json.record("metadata").required("name")
        conditions = {
            each.word("type"): (each.word("status"), each.text("lastTransitionTime"))
            for each in json.record("status").records("conditions")
        }
        with self._lock:
            self._since[kind, name] = conditions
