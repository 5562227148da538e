# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Settles an epoch that nobody here knows: does the presence that a VIP lease names still live in it?

The order makes the proof: the VIP lease is read first, *then* the presence. If the two do not fit then, that epoch
is over, since no claim is made in an epoch that has ended.
"""

from __future__ import annotations

from herald.core.effects import LeaseRequest
from herald.core.election.lock import Lock
from herald.core.election.locks import Locks
from herald.core.election.observer import Observer
from herald.core.election.placement import jittered
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.leases import Epoch
from herald.core.model import MILLISECOND, Lease, presence_lease_name
from herald.core.outbox import Outbox

RETRY = 100 * MILLISECOND


class Verifier:
    def __init__(
        self, node: str, locks: Locks, observer: Observer, outbox: Outbox, duration: int
    ) -> None:
        """``duration``: nanoseconds; half of it is the time limit of a read."""
        self._node = node
        self._locks = locks
        self._observer = observer
        self._out = outbox
        self._duration = duration
        self._reads: dict[int, tuple[str, Epoch]] = {}

    def forget(self) -> None:
        self._reads.clear()

    def ask(self, lock: Lock, lease: Lease, now: int) -> None:
        """``lease`` was just read: read the presence of the node that it names, if it still names such an epoch."""
        if lock.holder is None or self._observer.lives(lock.holder):
            return
        number = self._out.new_id()
        self._reads[number] = lock.name, lock.holder
        lock.retry_at = now + self._duration
        name = presence_lease_name(lease.holder or "nobody")
        limit = now + self._duration // 2
        self._out.add(LeaseRequest(number, "get", Lease(name=name), limit))

    def answer(self, answer: Answer, now: int) -> bool:
        """Take the presence that was read; True if it was one of ours."""
        if answer.request not in self._reads:
            return False
        name, holder = self._reads.pop(answer.request)
        lock = self._locks.get(name)
        if lock is None:
            return True
        self._locks.recheck([name])
        outcome = answer.outcome
        if isinstance(outcome, Failed) or (isinstance(outcome, Refused) and outcome.status != 404):
            lock.retry_at = now + jittered(RETRY, f"{self._node} {answer.request}")
            return True
        lock.retry_at = now
        if isinstance(outcome, Done) and outcome.lease is not None:
            self._observer.seen(outcome.lease, now, skipped=True)
        if not self._observer.lives(holder):
            self._observer.mark_over(holder, now)
        return True
