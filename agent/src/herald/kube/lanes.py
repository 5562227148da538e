# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Threads that carry requests to the API server, and the promise that each job is settled exactly once, in time.

A job is settled by its answer or by its deadline, whichever comes first. The deadline is kept by a thread that
does nothing else, because the one that waits for the server may be anywhere (resolving a name, reading a body
that trickles). A thread whose job is over by deadline has its connection cut and serves no other job; the next
one gets a new thread and a new connection, so a late answer can reach nobody.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from herald.kube.clock import boottime
from herald.kube.transport import Connection, NoAnswer, Reply, Request, Transport

log = logging.getLogger(__name__)

STRAYS_MAX = 8
"""Threads that may be lost in a call after its deadline; beyond, jobs wait for one to come back."""


_LATE = "the API server did not answer in time; see whether it runs and this node reaches it"


@dataclass(slots=True, eq=False)
class Job:
    """``settle`` is called once: with the Reply, or with the reason why there is none."""

    request: Request
    deadline: int
    """Boottime nanoseconds."""
    settle: Callable[[Reply | str], None]
    rank: int = 0
    """Lower goes first."""
    lane: _Lane | None = None
    settled: bool = False


class Deadlines:
    """Calls ``expire`` for each job whose deadline has come. One thread for all lanes."""

    def __init__(self, clock: Callable[[], int] = boottime) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[int, int, Callable[[Job], None], Job]] = []
        self._count = itertools.count()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(2)

    def keep(self, job: Job, expire: Callable[[Job], None]) -> None:
        with self._changed:
            heapq.heappush(self._heap, (job.deadline, next(self._count), expire, job))
            if self._heap[0][3] is job:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (wait := self._wait()) != 0.0:
                    self._changed.wait(wait)
                if self._stopping:
                    return
                _, _, expire, job = heapq.heappop(self._heap)
            expire(job)

    def _wait(self) -> float | None:
        """Seconds until the next deadline of a job that is not settled yet; None without any."""
        while self._heap and self._heap[0][3].settled:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        # At least a millisecond, so that a clock that stands still makes no tight loop.
        left = self._heap[0][0] - self._clock()
        return max(left / 1e9, 0.001) if left > 0 else 0.0


class Lanes:
    """At most ``size`` jobs at a time, each with a thread and connection of its own, by rank, then in order."""

    def __init__(
        self,
        name: str,
        size: int,
        transport: Transport,
        deadlines: Deadlines,
        *,
        clock: Callable[[], int] = boottime,
    ) -> None:
        self._name = name
        self._size = size
        self._transport = transport
        self._deadlines = deadlines
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Job]] = []
        self._count = itertools.count()
        self._lanes: set[_Lane] = set()
        self._strays: set[_Lane] = set()
        self._idle = 0
        self._stopping = False

    def submit(self, job: Job) -> None:
        """Take over a job; never blocks. Nothing is settled any more once the lanes have been stopped."""
        with self._changed:
            if self._stopping:
                return
            heapq.heappush(self._waiting, (job.rank, next(self._count), job))
            self._man()
            self._changed.notify()
        self._deadlines.keep(job, self._expire)

    def stop(self, seconds: float) -> bool:
        """Cut everything; whether all threads have ended within so many seconds."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            lanes = [*self._lanes, *self._strays]
            self._changed.notify_all()
        for lane in lanes:
            lane.connection.abort()
        end = self._clock() + int(seconds * 1e9)
        for lane in lanes:
            lane.thread.join(max(0.0, (end - self._clock()) / 1e9))
        return not any(lane.thread.is_alive() for lane in lanes)

    def _man(self) -> None:
        """Start a thread if there is work for one more. The lock is held."""
        busy = len(self._lanes) - self._idle
        needed = min(self._size, busy + len(self._waiting))
        while len(self._lanes) < needed and len(self._strays) < STRAYS_MAX:
            lane = _Lane(self._transport.open())
            lane.thread = threading.Thread(
                target=self._serve, args=(lane,), name=self._name, daemon=True
            )
            try:
                lane.thread.start()
            except (
                RuntimeError
            ) as error:  # the unit's TasksMax: jobs wait for the threads there are
                log.error("no thread lane=%s reason=%s", self._name, error)
                return
            self._lanes.add(lane)
            self._idle += 1

    def _serve(self, lane: _Lane) -> None:
        try:
            while (job := self._next(lane)) is not None:
                outcome = self._carry_out(job, lane.connection)
                if not self._release(job):
                    break
                try:
                    job.settle(outcome)
                except Exception:  # a bug of ours must not end the thread
                    log.exception("answer not taken lane=%s", self._name)
        finally:
            lane.connection.close()
            with self._changed:
                self._strays.discard(lane)
                self._lanes.discard(lane)
                if not self._stopping:
                    self._man()

    def _next(self, lane: _Lane) -> Job | None:
        with self._changed:
            while not self._stopping:
                while self._waiting:
                    _, _, job = heapq.heappop(self._waiting)
                    if not job.settled:
                        job.lane = lane
                        self._idle -= 1
                        return job
                self._changed.wait()
            return None

    def _carry_out(self, job: Job, connection: Connection) -> Reply | str:
        try:
            reply = connection.call(job.request, job.deadline)
            return reply if self._clock() <= job.deadline else _LATE
        except NoAnswer as error:
            return str(error)
        except Exception as error:
            log.exception("request failed lane=%s path=%s", self._name, job.request.path)
            connection.close()
            return f"{type(error).__name__}: {error}"

    def _release(self, job: Job) -> bool:
        """Whether the job was still open, and the lane goes on; False for a lane that was given up."""
        with self._changed:
            if job.settled or self._stopping:
                return False
            job.settled = True
            job.lane = None
            self._idle += 1
            return True

    def _expire(self, job: Job) -> None:
        with self._changed:
            if job.settled or self._stopping:
                return
            job.settled = True
            lane, job.lane = job.lane, None
            if lane is not None:
                self._lanes.discard(lane)
                self._strays.add(lane)
                self._man()
        if lane is None:
            reason = "not sent before its deadline: all connections are busy"
        else:
            lane.connection.abort()
            reason = _LATE
        job.settle(reason)


@dataclass(slots=True, eq=False)
class _Lane:
    connection: Connection
    thread: threading.Thread = field(default_factory=threading.Thread)
