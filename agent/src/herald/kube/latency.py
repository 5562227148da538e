# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How long the API server takes: reads of one Lease that etcd's quorum answers, timed one after the other."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from herald.kube.kinds import leases
from herald.kube.transport import NoAnswer, Request, Transport

LIMIT = 10 * 1_000_000_000
"""Nanoseconds after which a request counts as not answered."""
_READ = (200, 404)


class LatencyTimer:
    """For one thread; ``abort`` is for any."""

    def __init__(
        self, transport: Transport, namespace: str, lease: str, clock: Callable[[], int]
    ) -> None:
        self._connection = transport.open()
        # Without resourceVersion: not from the API server's memory.
        self._request = Request("GET", f"{leases(namespace)}/{quote(lease)}?timeout=10s")
        self._clock = clock

    def once(self) -> int | None:
        """Nanoseconds from before a request to its answer; None where there was none, or not from the store."""
        try:
            reply = self._connection.call(self._request, self._clock() + LIMIT)
        except NoAnswer:
            return None
        return self._clock() - reply.sent if reply.status in _READ else None

    def abort(self) -> None:
        """What is under way ends at once."""
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()
