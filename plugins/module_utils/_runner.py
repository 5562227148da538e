# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring objects of one kind to their wanted state, with as few requests as that takes.

One list reads them all; only what differs is written, a few at a time, each write bound to the resourceVersion that
the decision was made on. Whoever changed an object in between makes that write fail, and the decision is made anew on
what is there now. So nothing that others wrote is ever overwritten unseen, and a second run writes nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, TypeVar

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, HeraldError

_TRIES = 5
_AT_ONCE = 4

T = TypeVar("T")


class Wanted(NamedTuple):
    """An object as it should be. C(spec) is complete: a field that it leaves out is to be absent; None: the object is.

    Labels and annotations are only added to: others have theirs on the object too.
    """

    name: str
    spec: dict[str, Any] | None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Outcome(NamedTuple):
    """What was done to an object (or, in check mode, would be)."""

    name: str
    action: str
    """C(created), C(updated), C(deleted), C(unchanged)."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.action != "unchanged"


class Runner:
    """Works through wanted objects of one cluster-scoped kind."""

    def __init__(self, client: Client, resource: Resource) -> None:
        self._client = client
        self._resource = resource

    def run(self, wanted: list[Wanted]) -> list[Outcome]:
        """Raises HeraldError; what was done before that stays done, and a rerun goes on from there."""
        if len(wanted) == 1:
            return [self._settle(wanted[0], self._client.get(self._resource, wanted[0].name))]
        live = {obj["metadata"]["name"]: obj for obj in self._client.list(self._resource)}
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            return list(workers.map(lambda want: self._settle(want, live.get(want.name)), wanted))

    def _settle(self, want: Wanted, live: dict[str, Any] | None) -> Outcome:
        step = self._absent if want.spec is None else self._present
        for _attempt in range(_TRIES - 1):
            try:
                return step(want, live)
            except ApiError as error:
                if not error.is_outrun:
                    raise
            live = self._client.get(self._resource, want.name)
        return step(want, live)

    def _present(self, want: Wanted, live: dict[str, Any] | None) -> Outcome:
        if live is None:
            body = self._target(
                want, {"apiVersion": self._resource.api_version, "kind": self._resource.kind}
            )
            return Outcome(want.name, "created", None, self._client.create(self._resource, body))
        if live["metadata"].get("deletionTimestamp"):
            raise HeraldError(
                "{0} {1}: wanted present, found it being deleted (waiting for its finalizers {2}); run this again when "
                "it is gone".format(
                    self._resource.kind, want.name, live["metadata"].get("finalizers")
                )
            )
        body = self._target(want, live)
        if body == live:
            return Outcome(want.name, "unchanged", live, live)
        return Outcome(want.name, "updated", live, self._client.replace(self._resource, body))

    def _absent(self, want: Wanted, live: dict[str, Any] | None) -> Outcome:
        if live is None:
            return Outcome(want.name, "unchanged", None, None)
        if live["metadata"].get("deletionTimestamp"):
            return Outcome(want.name, "unchanged", live, live)
        self._client.delete(self._resource, live)
        return Outcome(want.name, "deleted", live, None)

    @staticmethod
    def _target(want: Wanted, base: dict[str, Any]) -> dict[str, Any]:
        metadata = {**base.get("metadata", {}), "name": want.name}
        for key, values in (("labels", want.labels), ("annotations", want.annotations)):
            if values:
                metadata[key] = {**(metadata.get(key) or {}), **values}
        return {**base, "metadata": metadata, "spec": want.spec}


def await_each(
    subjects: list[tuple[str, T]],
    read: Callable[[T], dict[str, Any] | None],
    judge: Callable[[dict[str, Any] | None], str],
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[dict[str, Any] | None]:
    """Read each subject (a title, and what C(read) needs) until C(judge) has nothing to say against it.

    C(judge) returns what is still missing, in words, or nothing. C(timeout) is in seconds, for all together. Returns
    the objects as last read. Raises HeraldError with those words when the time has passed.
    """
    deadline = clock() + timeout
    states = []
    for title, subject in subjects:
        pause = 0.1
        obj = read(subject)
        missing = judge(obj)
        while missing:
            left = deadline - clock()
            if left <= 0:
                raise HeraldError(f"{title}: after {timeout:g} s {missing}")
            sleep(min(pause, left))
            pause = min(pause * 2, 1.0)
            obj = read(subject)
            missing = judge(obj)
        states.append(obj)
    return states


def gone(obj: dict[str, Any] | None) -> str:
    """A judge: the object is no more."""
    if obj is None:
        return ""
    return "it is still there, held by its finalizers {0}".format(obj["metadata"].get("finalizers"))


def has_condition(condition: str, status: str = "True") -> Callable[[dict[str, Any] | None], str]:
    """A judge: the condition has this status, said of the object's present generation."""

    def judge(obj: dict[str, Any] | None) -> str:
        if obj is None:
            return "it is gone"
        state = obj.get("status") or {}
        generation = obj["metadata"].get("generation")
        for found in state.get("conditions") or []:
            if found.get("type") != condition:
                continue
            seen = found.get("observedGeneration", state.get("observedGeneration", generation))
            if seen is not None and generation is not None and seen < generation:
                return (
                    f"its condition {condition} still speaks of generation {seen}, not {generation}"
                )
            if found.get("status") == status:
                return ""
            return "its condition {0} is {1}, wanted {2}: {3} ({4})".format(
                condition, found.get("status"), status, found.get("message"), found.get("reason")
            )
        return f"it has no condition {condition}; wanted {status} (is an agent running?)"

    return judge
