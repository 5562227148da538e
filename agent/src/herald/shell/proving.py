# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the decider cannot see by itself of a node that has just begun: kube-proxy's health, and whether the API
server is quick enough for the lease's duration.

Both are asked in threads of their own, so that a restart's first renewal waits for neither, and both end once
answered.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from herald.core.events import ApiTimed, ProxySeen, Stop
from herald.core.model import MILLISECOND, SECOND
from herald.shell.log import said_by

EVERY = 1.0
"""Seconds between two questions."""
HEALTH_LIMIT = 2.0
BOOT_GRACE = 30 * SECOND
"""So long after boot a closed port may be a kube-proxy that is yet to start."""
SAMPLES = 10
"""So many requests must all have been too slow."""
START = 60 * SECOND
"""Who has run for longer is not stopped for an API server that has become slow."""

log = logging.getLogger(__name__)


class Timer(Protocol):
    def once(self) -> int | None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class _Onlooker:
    """A thread that looks once a second until it has seen enough."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(HEALTH_LIMIT + EVERY)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and not self.look():
                self._stopping.wait(EVERY)
        finally:
            self.end()

    def look(self) -> bool:
        """Look once; True: that was enough."""
        raise NotImplementedError

    def end(self) -> None:
        """It has seen enough, or is to stop."""


class ProxyHealth(_Onlooker):
    """Asks kube-proxy's health port until it is well, or it is sure that there is none."""

    def __init__(
        self,
        port: int,
        post: Callable[[ProxySeen], None],
        clock: Callable[[], int],
        ask: Callable[[int], str | None] | None = None,
    ) -> None:
        """``clock``: nanoseconds since boot. ``ask``: for tests."""
        super().__init__("kube-proxy")
        self._port = port
        self._post = post
        self._clock = clock
        self._ask = ask or health
        self._said: str | None = None

    def look(self) -> bool:
        problem = self._ask(self._port)
        if problem is None:
            problem = (
                ""
                if self._clock() >= BOOT_GRACE
                else f"nothing listens on port {self._port}, {BOOT_GRACE // SECOND} s after boot"
                " that means that there is none"
            )
        if problem != self._said:
            self._said = problem
            self._post(ProxySeen(problem))
        return not problem


def health(port: int) -> str | None:
    """What kube-proxy's ``/healthz`` says: empty where it is well, None where nothing listens there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_LIMIT)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return f"port {port}: {said_by(error)}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"port {port} says {status}"


class ApiLatency(_Onlooker):
    """Times the API server until a request was quick enough, or all of ten were not.

    A renewal is due every quarter of the lease's duration, and must be answered before the next one is.
    """

    def __init__(
        self,
        duration: int,
        post: Callable[[ApiTimed], None],
        timer: Timer,
        clock: Callable[[], int],
        refused: int,
    ) -> None:
        """``duration``: of the lease, nanoseconds. ``refused``: the exit status where it is too short."""
        super().__init__("latency")
        self._duration = duration
        self._post = post
        self._timer = timer
        self._clock = clock
        self._refused = refused
        self._began = clock()
        self._slow: list[int] = []

    def stop(self) -> None:
        self._timer.abort()
        super().stop()

    def look(self) -> bool:
        took = self._timer.once()
        if took is None:
            return False
        self._slow.append(took)
        best = min(self._slow)
        late = self._clock() - self._began > START
        if best <= self._duration // 4 or late:
            log.info("api-timed", extra={"fields": {"best_ms": best // MILLISECOND}})
            self._post(ApiTimed(best))
            return True
        if len(self._slow) < SAMPLES:
            return False
        figures = (
            f"lease.duration_ms: wanted {-(-4 * best // MILLISECOND)} at least, found"
            f" {self._duration // MILLISECOND}: the API server took {best // MILLISECOND} ms for the quickest"
            f" of {SAMPLES} requests, and a renewal is due every quarter of the duration"
        )
        self._post(ApiTimed(best, Stop(self._refused, figures)))
        return True

    def end(self) -> None:
        self._timer.close()
