# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A transport without a network, at the seam of ``herald.kube.transport``; and objects as the API server has them."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from herald.core.events import Event
from herald.kube.transport import NoAnswer, Reply, Request

Step = Callable[["FakeConnection", Request], Reply | Iterator[bytes]]


class FakeTransport:
    """Each request takes the next step of the script; without one it waits until it is aborted."""

    def __init__(self, *script: Step) -> None:
        self.script: queue.Queue[Step] = queue.Queue()
        for step in script:
            self.script.put(step)
        self.requests: queue.Queue[Request] = queue.Queue()
        self.opened: list[FakeConnection] = []

    def open(self) -> FakeConnection:
        self.opened.append(FakeConnection(self))
        return self.opened[-1]

    def then(self, *script: Step) -> None:
        for step in script:
            self.script.put(step)


class FakeConnection:
    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport
        self.aborted = threading.Event()
        self.closed = False
        self.deadlines: list[int] = []

    def call(self, request: Request, deadline: int) -> Reply:
        reply = self._step(request, deadline)
        assert isinstance(reply, Reply)
        return reply

    def stream(self, request: Request, deadline: int, silence: float) -> Reply | Iterator[bytes]:
        assert silence > 0
        return self._step(request, deadline)

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        self.closed = True

    def _step(self, request: Request, deadline: int) -> Reply | Iterator[bytes]:
        self.deadlines.append(deadline)
        self.transport.requests.put(request)
        while True:
            if self.aborted.is_set():
                raise NoAnswer("given up")
            try:
                step = self.transport.script.get(timeout=0.01)
            except queue.Empty:
                continue
            return step(self, request)


# --- steps ------------------------------------------------------------------------------------------------


def says(status: int, body: object = None, retry_after: float | None = None) -> Step:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda connection, request: Reply(1, status, content, retry_after)


def fails(error: Exception) -> Step:
    def step(connection: FakeConnection, request: Request) -> Reply:
        raise error

    return step


def lists(*items: dict[str, Any], version: int, more: str = "") -> Step:
    metadata = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
    return says(200, {"metadata": metadata, "items": list(items)})


def watches(*events: object, then: Exception | None = None, stays: bool = False) -> Step:
    """A watch that shows these events (or lines) and ends; with an error, or only when it is aborted."""

    def lines(connection: FakeConnection) -> Iterator[bytes]:
        for event in events:
            yield event if isinstance(event, bytes) else json.dumps(event).encode()
        if stays:
            connection.aborted.wait()
            raise NoAnswer("given up")
        if then is not None:
            raise then

    return lambda connection, request: lines(connection)


def shows(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


def bookmark(version: int) -> dict[str, Any]:
    return shows("BOOKMARK", {"kind": "Lease", "metadata": {"resourceVersion": str(version)}})


def expired() -> dict[str, Any]:
    status = {"kind": "Status", "code": 410, "message": "too old resource version", "metadata": {}}
    return shows("ERROR", status)


# --- events -----------------------------------------------------------------------------------------------


class Inbox:
    """Where events are posted, for a test to take them from."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Event] = queue.Queue()

    def __call__(self, event: Event) -> None:
        self._queue.put(event)

    def take(self, count: int) -> list[Event]:
        return [self._queue.get(timeout=5) for _ in range(count)]

    def rest(self) -> list[Event]:
        events: list[Event] = []
        while not self._queue.empty():
            events.append(self._queue.get_nowait())
        return events


# --- objects ----------------------------------------------------------------------------------------------


def metadata(name: str, version: int = 1, **more: object) -> dict[str, Any]:
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)} | more


def lease(name: str, version: int = 1, holder: str = "", **spec: object) -> dict[str, Any]:
    spec = {"leaseTransitions": 0, **({"holderIdentity": holder} if holder else {}), **spec}
    return {"metadata": metadata(name, version, namespace="herald-system"), "spec": spec}


def node(name: str, version: int = 1, **parts: object) -> dict[str, Any]:
    return {"metadata": metadata(name, version)} | parts


def endpoints(
    name: str, service: str, endpoints: Iterable[object] = (), version: int = 1
) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": metadata(name, version, namespace="default", labels=labels),
        "endpoints": list(endpoints),
    }
