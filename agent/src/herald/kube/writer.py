# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Carries out what the decider wants of the API server: Leases, status, events.

Every effect with an id is answered by exactly one Answer, in time or as Failed; ``sent`` is taken before the
request leaves. Presence requests have a thread and a connection of their own; everything else shares a few,
Leases before status before events. Nothing is retried here: what a failure means is the decider's to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote

from herald.core.effects import (
    EmitEvent,
    LeaseRequest,
    PatchPolicy,
    PatchPool,
    PatchService,
    ReadService,
)
from herald.core.events import Answer, Done, Event, Failed, Refused
from herald.core.model import Lease, Policy, Pool, ServiceKey
from herald.kube import encode
from herald.kube.clock import boottime, micro_time, second_time
from herald.kube.decode import decode_lease, decode_service
from herald.kube.kinds import POLICIES, POOLS, leases
from herald.kube.lanes import Deadlines, Job, Lanes
from herald.kube.pacer import EventPacer
from herald.kube.times import Times
from herald.kube.transport import (
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Json,
    Reply,
    Request,
    Transport,
    refusal,
)

KubeEffect: TypeAlias = (
    LeaseRequest | PatchService | ReadService | PatchPool | PatchPolicy | EmitEvent
)

LANES = 4
STATUS_LIMIT = 10_000_000_000
"""Nanoseconds for a request that has no deadline of its own: status and events."""
FIELD_MANAGER = "herald-agent"

_LEASE, _STATUS, _EVENT = range(3)
_CREATED = 201


class Writer:
    def __init__(
        self,
        transport: Transport,
        post: Callable[[Event], None],
        times: Times,
        *,
        namespace: str,
        node: str,
        wrote: Callable[[int], None],
        clock: Callable[[], int] = boottime,
    ) -> None:
        """``wrote`` hears the resourceVersion of every Lease that was written."""
        self._post = post
        self._times = times
        self._leases = leases(namespace)
        self._namespace = namespace
        self._node = node
        self._wrote = wrote
        self._clock = clock
        self._pacer = EventPacer(clock)
        self._deadlines = Deadlines(clock)
        self._presence = Lanes("presence", 1, transport, self._deadlines, clock=clock)
        self._others = Lanes("writer", LANES, transport, self._deadlines, clock=clock)

        self.started = False

    def start(self) -> None:
        self.started = True
        self._deadlines.start()

    def stop(self, seconds: float = 2.0) -> bool:
        """Cut what is under way and answer nothing from here on; whether all threads have ended in time."""
        presence = self._presence.stop(seconds)
        others = self._others.stop(seconds)
        self._deadlines.stop()
        return presence and others

    def submit(self, effect: KubeEffect) -> None:
        """Begin to carry out an effect. Never blocks, never raises."""
        match effect:
            case LeaseRequest():
                self._lease(effect)
            case PatchService():
                path = f"{_service(effect.service.key)}/status"
                patch = encode.service_status(effect, second_time())
                self._patch(effect.id, path, STRATEGIC_PATCH, patch)
            case ReadService():
                self._read_service(effect)
            case PatchPool():
                times = self._times.since(
                    Pool, effect.name, effect.status.conditions, second_time()
                )
                path = f"{POOLS}/{quote(effect.name)}/status"
                self._patch(effect.id, path, MERGE_PATCH, encode.pool_status(effect, times))
            case PatchPolicy():
                times = self._times.since(
                    Policy, effect.name, effect.status.conditions, second_time()
                )
                path = f"{POLICIES}/{quote(effect.name)}/status"
                self._patch(effect.id, path, MERGE_PATCH, encode.policy_status(effect, times))
            case EmitEvent():
                self._event(effect)

    # --- Leases -----------------------------------------------------------------------------------------

    def _lease(self, effect: LeaseRequest) -> None:
        lanes = self._presence if effect.own_connection else self._others
        settle = self._answering(effect.id, self._lease_done(effect))
        lanes.submit(Job(self._lease_request(effect), effect.deadline, settle, _LEASE))

    def _lease_request(self, effect: LeaseRequest) -> Request:
        lease = effect.lease
        limit = self._limit(effect.deadline)
        one = f"{self._leases}/{quote(lease.name)}?timeout={limit}"
        match effect.verb:
            case "get":
                return Request("GET", one)
            case "delete":
                return Request("DELETE", one, _bytes(encode.delete_options(lease)))
            case "create":
                path = f"{self._leases}?timeout={limit}&fieldManager={FIELD_MANAGER}"
                return Request("POST", path, self._lease_body(lease))
            case "update":
                return Request(
                    "PUT", f"{one}&fieldManager={FIELD_MANAGER}", self._lease_body(lease)
                )

    def _lease_body(self, lease: Lease) -> bytes:
        return _bytes(encode.lease(lease, self._namespace, micro_time()))

    def _lease_done(self, effect: LeaseRequest) -> Callable[[Reply], Done | Failed]:
        def done(reply: Reply) -> Done | Failed:
            try:
                item = json.loads(reply.body)
                if effect.verb == "delete" and item.get("kind") == "Status":
                    return Done()
                lease = decode_lease(item)
            except (AttributeError, ValueError, RecursionError) as error:
                return Failed(f"{reply.status}, but no Lease: {error}")
            if effect.verb != "get":
                self._wrote(lease.resource_version)
            return Done(lease, created=reply.status == _CREATED)

        return done

    # --- Services, status and events ------------------------------------------------------------------------------

    def _read_service(self, effect: ReadService) -> None:
        deadline = self._clock() + STATUS_LIMIT
        path = f"{_service(effect.service)}?timeout={self._limit(deadline)}"
        settle = self._answering(effect.id, _service_read)
        self._others.submit(Job(Request("GET", path), deadline, settle, _STATUS))

    def _patch(self, number: int, path: str, content_type: str, body: Json) -> None:
        deadline = self._clock() + STATUS_LIMIT
        path += f"?timeout={self._limit(deadline)}&fieldManager={FIELD_MANAGER}"
        request = Request("PATCH", path, _bytes(body), content_type)
        settle = self._answering(number, lambda _: Done())
        self._others.submit(Job(request, deadline, settle, _STATUS))

    def _event(self, effect: EmitEvent) -> None:
        if not self._pacer.admit(effect):
            return
        deadline = self._clock() + STATUS_LIMIT
        namespace, _ = effect.service
        path = f"/api/v1/namespaces/{quote(namespace)}/events?timeout={self._limit(deadline)}"
        event = encode.event(effect, self._node, name=self._pacer.name(), now=second_time())
        request = Request("POST", path, _bytes(event))
        self._others.submit(Job(request, deadline, self._pacer.sent, _EVENT))

    # --- Answers ----------------------------------------------------------------------------------------

    def _answering(
        self, number: int, done: Callable[[Reply], Done | Failed]
    ) -> Callable[[Reply | str], None]:
        begun = self._clock()

        def settle(reply: Reply | str) -> None:
            outcome: Done | Refused | Failed
            if isinstance(reply, str):
                outcome = Failed(reply)
            else:
                outcome = refusal(reply) or done(reply)
            sent = reply.sent if isinstance(reply, Reply) else begun
            self._post(Answer(number, sent, outcome))

        return settle

    def _limit(self, deadline: int) -> str:
        """What is left until the deadline, as the API server's ``timeout=`` takes it."""
        return f"{max(1, (deadline - self._clock()) // 1_000_000)}ms"


def _service(key: ServiceKey) -> str:
    namespace, name = key
    return f"/api/v1/namespaces/{quote(namespace)}/services/{quote(name)}"


def _service_read(reply: Reply) -> Done | Failed:
    try:
        return Done(service=decode_service(json.loads(reply.body)))
    except (ValueError, RecursionError) as error:
        return Failed(f"{reply.status}, but no Service: {error}")


def _bytes(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
