# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Effects become requests, and every request one answer: in time, or as Failed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.kube import fakes
from tests.unit.kube.fakes import FakeConnection, FakeTransport, Inbox, says
from tests.unit.kube.test_encode import ALLOCATED, SERVICE

from herald.core.effects import (
    EmitEvent,
    LeaseRequest,
    PatchPolicy,
    PatchPool,
    PatchService,
    ReadService,
)
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.model import Condition, Lease, PolicyStatus, Pool, PoolStatus
from herald.kube.clock import boottime
from herald.kube.lanes import STRAYS_MAX
from herald.kube.times import Times
from herald.kube.transport import NoAnswer, Reply, Request
from herald.kube.writer import LANES, Writer

PRESENCE = Lease("presence-n1", uid="u", resource_version=3, holder="n1")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"

SHOWN = {"metadata": {"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "7"}}

WriterTo = Callable[..., Writer]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def writer_to(inbox: Inbox) -> Iterator[WriterTo]:
    writers: list[Writer] = []

    def start(transport: FakeTransport, **options: Any) -> Writer:
        options = {
            "times": Times(),
            "namespace": "herald-system",
            "node": "n1",
            "wrote": lambda version: None,
        } | options
        writers.append(Writer(transport, inbox, **options))
        writers[-1].start()
        return writers[-1]

    yield start
    for writer in writers:
        assert writer.stop(5)


def soon(seconds: float = 5.0) -> int:
    return boottime() + int(seconds * 1e9)


def ask(verb: Any, lease: Lease = PRESENCE, number: int = 1, **more: Any) -> LeaseRequest:
    return LeaseRequest(number, verb, lease, **({"deadline": soon()} | more))


def answered(inbox: Inbox) -> Done | Refused | Failed:
    (answer,) = inbox.take(1)
    assert isinstance(answer, Answer)
    assert answer.request == 1
    return answer.outcome


def sent(transport: FakeTransport) -> tuple[str, str, dict[str, str], Any]:
    request: Request = transport.requests.get(timeout=5)
    parts = urlsplit(request.path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return request.method, parts.path, query, json.loads(request.body) if request.body else None


# --- Leases: what leaves ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "method", "path", "has_body"),
    [
        ("get", "GET", f"{LEASES}/presence-n1", False),
        ("create", "POST", LEASES, True),
        ("update", "PUT", f"{LEASES}/presence-n1", True),
        ("delete", "DELETE", f"{LEASES}/presence-n1", True),
    ],
)
@pytest.mark.parametrize("own_connection", [False, True])
def test_a_lease_request(writer_to, verb, method, path, has_body, own_connection) -> None:
    transport = FakeTransport(says(500))
    writer_to(transport).submit(ask(verb, own_connection=own_connection))
    seen_method, seen_path, query, body = sent(transport)
    assert (seen_method, seen_path, body is not None) == (method, path, has_body)
    assert "resourceVersion" not in query  # a read that decides
    assert 0 < int(query["timeout"].removesuffix("ms")) <= 5000


def test_an_update_carries_uid_and_version(writer_to) -> None:
    transport = FakeTransport(says(500))
    writer_to(transport).submit(ask("update"))
    _, _, _, body = sent(transport)
    assert (body["metadata"]["uid"], body["metadata"]["resourceVersion"]) == ("u", "3")


def owner(name: str, uid: str, version: str = "v1", kind: str = "Node", **more: bool) -> Any:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, **more}


@pytest.mark.parametrize(
    ("metadata", "spec"),
    [
        pytest.param({}, {"leaseDurationSeconds": 2, "leaseTransitions": 3}, id="held"),
        pytest.param({}, {"acquireTime": "2026-01-01T00:00:00.000000Z"}, id="since when"),
        pytest.param({"labels": {"a": ""}, "annotations": {"b": ""}}, {}, id="empty texts"),
        pytest.param({"finalizers": ["a.example/b"]}, {}, id="another's finalizer"),
        pytest.param({}, {"strategy": "OldestEmulationVersion"}, id="a strategy"),
        pytest.param({}, {"strategy": "a", "preferredHolder": "n2"}, id="a preferred holder"),
        pytest.param({"ownerReferences": [owner("n1", "u")]}, {}, id="its node"),
        pytest.param(
            {"ownerReferences": [owner("n2", "v"), owner("n1", "u")]}, {}, id="two nodes, unsorted"
        ),
        pytest.param(
            {"ownerReferences": [owner("a", "w", "apps/v1", "Deployment")]}, {}, id="another kind"
        ),
        pytest.param(
            {
                "ownerReferences": [
                    owner("n1", "u", controller=True, blockOwnerDeletion=False),
                    owner("n2", "v", controller=False, blockOwnerDeletion=True),
                ]
            },
            {},
            id="flags of an owner",
        ),
    ],
)
def test_an_update_carries_all_that_was_read(writer_to, inbox, metadata, spec) -> None:
    """Also what no agent writes: a PUT that lost it would be a change of it, which admission lets no other make."""
    read = fakes.lease(
        "presence-n1", 4, "n1", **{"acquireTime": "2026-01-02T00:00:00.000000Z"} | spec
    )
    read["metadata"] |= metadata
    transport = FakeTransport(says(200, read), says(500))
    writer = writer_to(transport)
    writer.submit(ask("get"))
    outcome = answered(inbox)
    assert isinstance(outcome, Done)
    assert outcome.lease is not None
    writer.submit(ask("update", outcome.lease))
    answered(inbox)
    _, (_, _, _, body) = sent(transport), sent(transport)
    del body["spec"]["renewTime"], body["metadata"]["managedFields"]
    assert (body["metadata"], body["spec"]) == (read["metadata"], read["spec"])


# --- Leases: what comes back ------------------------------------------------------------------------------

HELD = fakes.lease("presence-n1", 4, "n1")


@pytest.mark.parametrize("verb", ["get", "create", "update"])
@pytest.mark.parametrize(("status", "created"), [(200, False), (201, True)])
def test_success_brings_the_lease_and_tells_whether_it_is_new(
    writer_to, inbox, verb, status, created
) -> None:
    writer_to(FakeTransport(says(status, HELD))).submit(ask(verb))
    outcome = answered(inbox)
    assert isinstance(outcome, Done)
    assert outcome.created is created
    assert outcome.lease is not None
    assert (outcome.lease.resource_version, outcome.lease.holder) == (4, "n1")


def test_a_delete_brings_the_lease_as_it_waits_for_its_finalizer(writer_to, inbox) -> None:
    writer_to(FakeTransport(says(200, HELD))).submit(ask("delete"))
    outcome = answered(inbox)
    assert isinstance(outcome, Done)
    assert outcome.lease is not None
    assert outcome.lease.resource_version == 4


def test_a_delete_that_no_finalizer_holds_up_brings_none(writer_to, inbox) -> None:
    body = {"kind": "Status", "status": "Success"}
    writer_to(FakeTransport(says(200, body))).submit(ask("delete"))
    assert answered(inbox) == Done()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
def test_a_refusal_is_an_answer(writer_to, inbox, status) -> None:
    writer_to(FakeTransport(says(status, {"message": "because"}))).submit(ask("update"))
    assert answered(inbox) == Refused(status, f"{status} because")


def test_a_refused_token_says_what_to_do(writer_to, inbox) -> None:
    writer_to(FakeTransport(says(401, {"message": "because"}))).submit(ask("update"))
    outcome = answered(inbox)
    assert isinstance(outcome, Refused)
    assert outcome.status == 401
    assert "run the role baremetal.herald.agent" in outcome.reason


def no_answer(connection: FakeConnection, request: Request) -> Reply:
    raise NoAnswer("connection reset")


def bug(connection: FakeConnection, request: Request) -> Reply:
    raise KeyError("a bug")


@pytest.mark.parametrize(
    "step",
    [
        no_answer,
        bug,
        says(429),
        says(500),
        says(502, b"<html>"),
        says(503),
        says(504),
        says(301),
        says(408),
        says(200, b"<html>"),
        says(200, []),
        says(200, b"[" * 100_000),
        says(500, b"[" * 100_000),
        says(200, {"metadata": {}}),
    ],
)
def test_whatever_else_happens_is_failed(writer_to, inbox, step) -> None:
    writer_to(FakeTransport(step)).submit(ask("update"))
    assert isinstance(answered(inbox), Failed)
    assert inbox.rest() == []


def test_the_moment_of_sending_is_the_transports(writer_to, inbox) -> None:
    writer_to(FakeTransport(says(409))).submit(ask("update"))
    (answer,) = inbox.take(1)
    assert isinstance(answer, Answer)
    assert answer.sent == 1  # what the fake replies carry


@pytest.mark.parametrize(("verb", "heard"), [("get", []), ("create", [4]), ("update", [4])])
def test_what_was_written_is_passed_on(writer_to, inbox, verb, heard) -> None:
    versions: list[int] = []
    writer_to(FakeTransport(says(200, HELD)), wrote=versions.append).submit(ask(verb))
    answered(inbox)
    assert versions == heard


# --- deadlines --------------------------------------------------------------------------------------------


class Stuck:
    """A call that comes back only when it is let, whatever happens to its connection."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def __call__(self, connection: FakeConnection, request: Request) -> Reply:
        assert self.let.wait(10)
        return Reply(1, 200, json.dumps(HELD).encode())


@pytest.mark.parametrize("own_connection", [False, True])
def test_a_request_is_given_up_at_its_deadline_and_a_late_answer_is_nobodys(
    writer_to, inbox, own_connection
) -> None:
    stuck = Stuck()
    transport = FakeTransport(stuck, says(200, HELD))
    writer = writer_to(transport)
    deadline = soon(0.2)
    writer.submit(ask("update", deadline=deadline, own_connection=own_connection))
    outcome = answered(inbox)
    assert boottime() >= deadline
    assert outcome == Failed(
        "the API server did not answer in time; see whether it runs and this node reaches it"
    )
    # The next one waits for nothing: another thread, another connection.
    writer.submit(ask("update", own_connection=own_connection))
    assert isinstance(answered(inbox), Done)
    stuck.let.set()
    assert writer.stop(5)
    assert inbox.rest() == []
    assert transport.opened[0].aborted.is_set()
    assert transport.opened[0].closed
    assert transport.opened[1] is not transport.opened[0]


def test_an_answer_that_came_too_late_is_none_even_if_nobody_noticed(writer_to, inbox) -> None:
    now = [100]

    def slow(connection: FakeConnection, request: Request) -> Reply:
        now[0] = 301
        return Reply(100, 200, json.dumps(HELD).encode())

    writer = writer_to(FakeTransport(slow), clock=lambda: now[0])
    writer.submit(ask("update", deadline=300))
    assert answered(inbox) == Failed(
        "the API server did not answer in time; see whether it runs and this node reaches it"
    )


def test_requests_that_find_all_connections_busy_fail_at_their_deadline_unsent(
    writer_to, inbox
) -> None:
    stuck = [Stuck() for _ in range(LANES)]
    transport = FakeTransport(*stuck)
    writer = writer_to(transport)
    for number in range(LANES):
        writer.submit(ask("get", number=number + 2))
    for _ in range(LANES):
        transport.requests.get(timeout=5)
    writer.submit(ask("get", deadline=soon(0.1)))
    assert answered(inbox) == Failed("not sent before its deadline: all connections are busy")
    for each in stuck:
        each.let.set()
    inbox.take(LANES)
    assert transport.requests.empty()


def test_renewals_wait_behind_nothing(writer_to, inbox) -> None:
    stuck = [Stuck() for _ in range(LANES)]
    transport = FakeTransport(*stuck)
    writer = writer_to(transport)
    for number in range(LANES):
        writer.submit(ask("get", number=number + 2))
    for _ in range(LANES):
        transport.requests.get(timeout=5)
    transport.then(says(200, HELD))
    writer.submit(ask("update", own_connection=True))
    assert isinstance(answered(inbox), Done)
    for each in stuck:
        each.let.set()
    inbox.take(LANES)


def test_threads_lost_in_calls_are_bounded(writer_to, inbox) -> None:
    stuck = [Stuck() for _ in range(STRAYS_MAX)]
    transport = FakeTransport(*stuck)
    writer = writer_to(transport)
    for _ in range(STRAYS_MAX + 3):
        writer.submit(ask("update", deadline=soon(0.02), own_connection=True))
        assert isinstance(answered(inbox), Failed)
    assert len(transport.opened) == STRAYS_MAX
    for each in stuck:
        each.let.set()
    transport.then(says(200, HELD))
    writer.submit(ask("update", own_connection=True))
    assert isinstance(answered(inbox), Done)


def test_each_of_many_requests_is_answered_exactly_once(writer_to, inbox) -> None:
    def either(connection: FakeConnection, request: Request) -> Reply:
        if "-3" in request.path:
            connection.aborted.wait(10)
            raise NoAnswer("given up")
        return Reply(1, 200, json.dumps(HELD).encode())

    count = 200
    writer = writer_to(FakeTransport(*[either] * count))
    for number in range(count):
        lease = Lease(f"vip-{number % 10}")
        late = number % 10 == 3
        writer.submit(ask("get", lease, number, deadline=soon(0.05 if late else 10)))
    answers = [each for each in inbox.take(count) if isinstance(each, Answer)]
    assert sorted(answer.request for answer in answers) == list(range(count))
    for answer in answers:
        assert isinstance(answer.outcome, Failed if answer.request % 10 == 3 else Done)
    assert writer.stop(5)
    assert inbox.rest() == []


def test_leases_go_before_status_and_status_before_events(writer_to, inbox) -> None:
    stuck = [Stuck() for _ in range(LANES)]
    transport = FakeTransport(*stuck)
    writer = writer_to(transport)
    for number in range(LANES):
        writer.submit(ask("get", number=number + 10))
    for _ in range(LANES):
        transport.requests.get(timeout=5)
    writer.submit(EmitEvent(("shop", "web"), "u", "Normal", "Moved", "m"))
    writer.submit(PatchService(2, SERVICE, ()))
    writer.submit(ask("get", number=3))
    transport.then(says(200, HELD))
    stuck[0].let.set()
    first = transport.requests.get(timeout=5)
    transport.then(says(200, {}), says(201, {}))
    paths = [first.path, *(transport.requests.get(timeout=5).path for _ in range(2))]
    assert ["leases" in paths[0], "status" in paths[1], "events" in paths[2]] == [True] * 3
    for each in stuck[1:]:
        each.let.set()
    inbox.take(LANES + 2)


# --- status and events ------------------------------------------------------------------------------------

PATCHES = [
    (
        PatchService(1, SERVICE, ("192.0.2.1",), (ALLOCATED,)),
        "/api/v1/namespaces/shop/services/web/status",
        "application/strategic-merge-patch+json",
    ),
    (
        PatchPool(1, "a", 3, PoolStatus("1", "0", "1", 1, ())),
        "/apis/herald.dev/v1alpha1/loadbalancerippools/a/status",
        "application/merge-patch+json",
    ),
    (
        PatchPolicy(1, "b", 3, PolicyStatus(1, 0, 1, ())),
        "/apis/herald.dev/v1alpha1/l2announcementpolicies/b/status",
        "application/merge-patch+json",
    ),
]


@pytest.mark.parametrize(("patch", "path", "content_type"), PATCHES)
def test_a_status_is_patched_where_it_stands(writer_to, inbox, patch, path, content_type) -> None:
    transport = FakeTransport(says(200, {}))
    writer_to(transport).submit(patch)
    request = transport.requests.get(timeout=5)
    assert (request.method, urlsplit(request.path).path) == ("PATCH", path)
    assert request.content_type == content_type
    assert "resourceVersion" in json.loads(request.body)["metadata"]
    assert answered(inbox) == Done()


@pytest.mark.parametrize(("patch", "path", "content_type"), PATCHES)
def test_a_conflict_of_status_is_told(writer_to, inbox, patch, path, content_type) -> None:
    writer_to(FakeTransport(says(409, {"message": "modified"}))).submit(patch)
    assert answered(inbox) == Refused(409, "409 modified")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (says(200, {**SHOWN, "spec": {"type": "ClusterIP"}}), "ClusterIP"),
        (says(404, {"message": "not found"}), Refused(404, "404 not found")),
        (says(500, {"message": "etcd"}), Failed("500 etcd")),
        (
            says(200, {"metadata": 3}),
            Failed("200, but no Service: metadata: wanted an object, found 3"),
        ),
        (says(200, ["x"]), Failed("200, but no Service: wanted an object, found list")),
    ],
)
def test_a_service_is_read_as_it_is_now(writer_to, inbox, reply, outcome) -> None:
    transport = FakeTransport(reply)
    writer_to(transport).submit(ReadService(1, ("shop", "web")))
    request = transport.requests.get(timeout=5)
    assert (request.method, urlsplit(request.path).path) == (
        "GET",
        "/api/v1/namespaces/shop/services/web",
    )
    # A resourceVersion would let the API server answer from what it remembers.
    assert parse_qs(urlsplit(request.path).query).keys() == {"timeout"}
    found = answered(inbox)
    if isinstance(outcome, str):
        assert isinstance(found, Done)
        assert found.service is not None
        found = found.service.type
    assert found == outcome


def test_a_service_that_is_too_deep_to_be_read_is_failed(writer_to, inbox) -> None:
    writer_to(FakeTransport(says(200, b"[" * 100_000))).submit(ReadService(1, ("shop", "web")))
    assert isinstance(answered(inbox), Failed)


def test_an_event_is_told_once_and_answers_nobody(writer_to, inbox) -> None:
    transport = FakeTransport(says(403), says(201))
    writer = writer_to(transport)
    event = EmitEvent(("shop", "web"), "u", "Normal", "Moved", "m")
    writer.submit(event)
    writer.submit(event)
    writer.submit(replace(event, message="another"))
    messages = {sent(transport)[3]["message"] for _ in range(2)}
    assert messages == {"m", "another"}
    assert writer.stop(5)
    assert transport.requests.empty()
    assert inbox.rest() == []


# --- times for people -------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", ["2026", "0001", "9999"], ids=["past", "long past", "to come"])
def test_acquire_time_begins_with_a_holder_and_stays_with_it(writer_to, inbox, year) -> None:
    """Also where the clock of whoever wrote it was years off."""
    since = f"{year}-01-01T00:00:00.000000Z"
    transport = FakeTransport(says(409), says(409), says(409))
    writer = writer_to(transport)
    stamps = []
    for holder, acquired in (("n1", since), ("n2", ""), ("", since)):
        writer.submit(ask("update", replace(PRESENCE, holder=holder, acquired=acquired)))
        answered(inbox)
        stamps.append(sent(transport)[3]["spec"])
    same, other, none = stamps
    assert same["acquireTime"] == since
    assert other["acquireTime"] == other["renewTime"] != same["acquireTime"]
    assert "acquireTime" not in none
    assert same["renewTime"] > "2026-01-01"


def test_acquire_time_is_that_of_the_version_that_is_changed(writer_to, inbox) -> None:
    """Whatever was heard since of an earlier one: a read that was overtaken, a late watch."""
    first, then = (f"2026-01-01T00:00:0{second}.000000Z" for second in (0, 1))
    newer = fakes.lease("vip-192.0.2.1", 5, "n2", acquireTime=then)
    older = fakes.lease("vip-192.0.2.1", 4, "n1", acquireTime=first)
    transport = FakeTransport(says(200, newer), says(200, older), says(500))
    writer = writer_to(transport)
    read = []
    for _ in range(2):
        writer.submit(ask("get", Lease("vip-192.0.2.1")))
        outcome = answered(inbox)
        assert isinstance(outcome, Done)
        assert outcome.lease is not None
        read.append(outcome.lease)
    assert [(each.holder, each.resource_version) for each in read] == [("n2", 5), ("n1", 4)]
    writer.submit(ask("update", replace(read[0], annotations={"herald.dev/services": "a/b"})))
    answered(inbox)
    *_, (_, _, _, body) = [sent(transport) for _ in range(3)]
    assert (body["spec"]["holderIdentity"], body["spec"]["acquireTime"]) == ("n2", then)


def test_a_condition_keeps_its_time_while_its_status_stays(writer_to, inbox) -> None:
    times = Times()
    before = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    times.seen(Pool, {"metadata": fakes.metadata("a"), "status": {"conditions": [before]}})
    transport = FakeTransport(says(200), says(200))
    writer = writer_to(transport, times=times)
    stamps = []
    for status in ("True", "False"):
        condition = Condition("Ready", status, "R", "m")  # type: ignore[arg-type]
        writer.submit(PatchPool(1, "a", 3, PoolStatus("1", "0", "1", 1, (condition,))))
        answered(inbox)
        stamps.append(sent(transport)[3]["status"]["conditions"][0]["lastTransitionTime"])
    assert stamps[0] == "2026-01-01T00:00:00Z" < stamps[1]


# --- the end ----------------------------------------------------------------------------------------------


def test_nothing_is_answered_once_it_was_stopped(writer_to, inbox) -> None:
    transport = FakeTransport()
    writer = writer_to(transport)
    for number in range(3):
        writer.submit(ask("get", number=number, own_connection=number == 0))
    for _ in range(3):
        transport.requests.get(timeout=5)
    assert writer.stop(5)
    writer.submit(ask("get"))
    assert inbox.rest() == []
    assert all(connection.closed for connection in transport.opened)
