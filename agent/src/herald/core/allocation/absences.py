# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Is a Service that no watch shows really gone? Asked before it loses what it was given.

The watch of Services may be behind that of Leases, for as long as a stream can hang before that is noticed: that a
Lease names a Service which is not to be seen proves nothing to an allocator that has just begun. So the API server
is asked for it by name, without a resourceVersion (a read that decides).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

from herald.core.effects import ReadService
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.model import SECOND, Service, ServiceKey
from herald.core.outbox import Outbox

AT_ONCE = 16
"""Services that are asked about at the same time."""
AGAIN = 2 * SECOND
"""Until the next question about a Service that is there and not to be seen, or of which no answer came."""
BELIEVED = 10 * SECOND
"""So long an answer is gone by."""
_NOT_FOUND = 404


class Absences:
    """Which Services are being asked about, and which of them are gone."""

    def __init__(self, outbox: Outbox, watched: Callable[[Service], bool]) -> None:
        """``watched``: whether the watch, too, would show a Service of its type, sooner or later."""
        self._out = outbox
        self._watched = watched
        self._waiting: dict[ServiceKey, None] = {}
        """To be asked about as soon as there is room."""
        self._later: dict[ServiceKey, int] = {}
        """Until when each has to wait for that, the next one first."""
        self._asked: dict[int, ServiceKey] = {}
        self._gone: dict[ServiceKey, int] = {}
        """Until when that is gone by, the next one first."""
        self._verdicts: list[tuple[ServiceKey, Service | None]] = []
        self._refused = 0
        """The status by which the API server refuses to show Services, as it was told; 0: it does not."""

    def doubt(self, key: ServiceKey) -> None:
        """Ask about it, unless that is known or under way."""
        if not (key in self._gone or key in self._later or key in self._asked.values()):
            self._waiting[key] = None

    def sure(self, keys: Iterable[ServiceKey]) -> bool:
        """Whether all of these, which the watch does not show, are gone; the others are asked about."""
        doubtful = [key for key in keys if key not in self._gone]
        for key in doubtful:
            self.doubt(key)
        return not doubtful

    def seen(self, key: ServiceKey) -> None:
        """The watch shows it: whatever is still answered is of before."""
        for known in (self._waiting, self._later, self._gone):
            known.pop(key, None)
        self._asked = {number: each for number, each in self._asked.items() if each != key}

    def clear(self) -> None:
        for known in (self._waiting, self._later, self._asked, self._gone, self._verdicts):
            known.clear()
        self._refused = 0

    def answer(self, answer: Answer, now: int) -> bool:
        key = self._asked.pop(answer.request, None)
        if key is None:
            return False
        match answer.outcome:
            case Done(service=Service() as service) if not self._watched(service):
                self._settle(key, service, now)
            case Refused(status=status) if status == _NOT_FOUND:
                self._settle(key, None, now)
            case outcome:
                self._later[key] = now + AGAIN
                self._tell(outcome)
        return True

    def next_deadline(self) -> int | None:
        if self._verdicts:
            return 0
        if len(self._asked) == AT_ONCE:
            return None
        return 0 if self._waiting else next(iter(self._later.values()), None)

    def verdicts(self, now: int) -> list[tuple[ServiceKey, Service | None]]:
        """Ask what is to be asked. Those found to be gone since the last call, each as it is now, where only its type
        is another."""
        for key in _until(self._gone, now):
            del self._gone[key]
        for key in _until(self._later, now):
            del self._later[key]
            self._waiting[key] = None
        while self._waiting and len(self._asked) < AT_ONCE:
            key = next(iter(self._waiting))
            del self._waiting[key]
            number = self._out.new_id()
            self._asked[number] = key
            self._out.add(ReadService(number, key))
        found, self._verdicts = self._verdicts, []
        return found

    def _settle(self, key: ServiceKey, service: Service | None, now: int) -> None:
        self._refused = 0
        self._gone.pop(key, None)
        self._gone[key] = now + BELIEVED
        self._verdicts.append((key, service))

    def _tell(self, outcome: Done | Refused | Failed) -> None:
        """Once, what keeps addresses from being freed until somebody does something about it."""
        if isinstance(outcome, Refused) and outcome.status != self._refused:
            self._refused = outcome.status
            self._out.note("services not read", level="warning", reason=outcome.reason)


def _until(times: dict[ServiceKey, int], now: int) -> list[ServiceKey]:
    return list(takewhile(lambda key: times[key] <= now, times))
