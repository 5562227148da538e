# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the decider hears of one kind, whatever the API server does: one script, one list of events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.kube.fakes import (
    FakeConnection,
    FakeTransport,
    Inbox,
    bookmark,
    endpoints,
    expired,
    fails,
    lease,
    lists,
    node,
    says,
    shows,
    watches,
)

from herald.core.events import (
    Changed,
    Event,
    KubeObject,
    Listed,
    Removed,
    WatchBroken,
    WatchResumed,
)
from herald.core.model import Endpoints, Lease, Node, Service
from herald.kube.client import matters
from herald.kube.kinds import Watched, watched
from herald.kube.reflector import Reflector
from herald.kube.times import Times
from herald.kube.transport import NoAnswer, Reply, Request, Silence

LEASES = watched(Lease, namespace="herald-system", duration=2_000_000_000, all_services=False)
GIVEN_UP = NoAnswer("connection reset")

Start = Callable[..., Reflector]


class Clock:
    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        self.now += 3_000_000_000
        return self.now


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def start(inbox: Inbox) -> Iterator[Start]:
    started: list[Reflector] = []

    def begin(transport: FakeTransport, kind: Watched = LEASES, **options: object) -> Reflector:
        options = {"clock": Clock(), "sleep": lambda stopping, seconds: None} | options
        started.append(Reflector(kind, transport, inbox, Times(), **options))  # type: ignore[arg-type]
        started[-1].start()
        return started[-1]

    yield begin
    for reflector in started:
        reflector.stop()
        assert reflector.join(5)


def told(events: list[Event]) -> list[str]:
    """Events in short: ``list a1 b2``, ``+a3``, ``-a``, ``broken``, ``resumed``."""
    return [short(event) for event in events]


def short(event: Event) -> str:
    match event:
        case Listed(_, objects):
            return " ".join(["list", *(named(each) for each in objects)])
        case Changed(value):
            return f"+{named(value)}"
        case Removed(_, key):
            return f"-{key}"
        case WatchBroken():
            return "broken"
        case WatchResumed():
            return "resumed"
    raise AssertionError(event)


def named(value: KubeObject) -> str:
    assert isinstance(value, Lease)
    return f"{value.name}{value.resource_version}"


def change(name: str, version: int) -> dict[str, object]:
    return shows("MODIFIED", lease(name, version))


STAYS = watches(stays=True)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([lists(version=1), STAYS], ["list"], id="nothing there"),
        pytest.param(
            [lists(lease("a", 1), lease("b", 2), version=3), STAYS], ["list a1 b2"], id="a list"
        ),
        pytest.param(
            [
                lists(lease("a", 1), version=9, more="x"),
                lists(lease("b", 2), version=9, more="y"),
                lists(lease("c", 3), version=9),
                STAYS,
            ],
            ["list a1 b2 c3"],
            id="a list of three pages is one list",
        ),
        pytest.param(
            [
                lists(version=1),
                watches(
                    shows("ADDED", lease("a", 2)),
                    change("a", 3),
                    shows("DELETED", lease("a", 4)),
                    stays=True,
                ),
            ],
            ["list", "+a2", "+a3", "-a"],
            id="added, modified, deleted",
        ),
        pytest.param(
            [lists(version=1), watches(bookmark(7)), watches(change("a", 8)), STAYS],
            ["list", "+a8"],
            id="an ordinary end is not told",
        ),
        pytest.param(
            [lists(version=1), watches(then=GIVEN_UP), STAYS],
            ["list", "broken", "resumed"],
            id="a reset breaks the watch, which goes on from there",
        ),
        pytest.param(
            [
                lists(version=1),
                watches(then=GIVEN_UP),
                fails(GIVEN_UP),
                says(500),
                says(429),
                says(401),
                says(403),
                fails(GIVEN_UP),
                watches(change("a", 2), stays=True),
            ],
            ["list", "broken", "resumed", "+a2"],
            id="broken is told once however often the attempts fail",
        ),
        pytest.param(
            [lists(version=1), watches(expired()), lists(lease("a", 5), version=6), STAYS],
            ["list", "broken", "list a5"],
            id="410 in the watch lists anew",
        ),
        pytest.param(
            [lists(version=1), says(410), lists(version=6), STAYS],
            ["list", "broken", "list"],
            id="410 instead of a watch lists anew",
        ),
        pytest.param(
            [lists(version=1, more="x"), says(410), lists(version=6), STAYS],
            ["broken", "list"],
            id="410 between two pages begins the list again",
        ),
        pytest.param(
            [lists(version=1), watches(then=Silence("timed out")), lists(version=6), STAYS],
            ["list", "broken", "list"],
            id="silence lists anew",
        ),
        pytest.param(
            [fails(GIVEN_UP), says(403), says(503), lists(version=1), STAYS],
            ["broken", "list"],
            id="a first list that fails is a broken watch too",
        ),
        pytest.param(
            [lists(version=1), watches(b"{", stays=True), lists(version=2), STAYS],
            ["list", "broken", "list"],
            id="a line that is no JSON lists anew",
        ),
        pytest.param(
            [lists(version=1), watches([1], stays=True), lists(version=2), STAYS],
            ["list", "broken", "list"],
            id="a line that is no event lists anew",
        ),
        pytest.param(
            [
                lists(version=1),
                watches(shows("SHRUG", lease("a")), stays=True),
                lists(version=2),
                STAYS,
            ],
            ["list", "broken", "list"],
            id="an unknown event lists anew",
        ),
        pytest.param(
            [says(200, b"<html>"), says(200, []), says(200, {}), lists(version=2), STAYS],
            ["broken", "list"],
            id="a list that is none is a failed attempt",
        ),
        pytest.param(
            [
                lists({"metadata": {"name": "x"}}, lease("a", 1), "nonsense", version=2),
                watches(
                    shows(
                        "MODIFIED", {"metadata": {"name": "a", "resourceVersion": "3"}, "spec": 7}
                    ),
                    change("b", 4),
                    stays=True,
                ),
            ],
            ["list a1", "-a", "+b4"],
            id="what cannot be read is as if it were not there",
        ),
    ],
)
def test_what_is_told(start: Start, inbox: Inbox, script, expected) -> None:
    start(FakeTransport(*script))
    assert told(inbox.take(len(expected))) == expected
    assert inbox.rest() == []


def queries(transport: FakeTransport, count: int) -> list[dict[str, str]]:
    taken = [transport.requests.get(timeout=5) for _ in range(count)]
    return [
        {name: values[0] for name, values in parse_qs(urlsplit(each.path).query).items()}
        for each in taken
    ]


def test_a_list_is_paged_and_a_watch_begins_where_it_ended(start: Start) -> None:
    transport = FakeTransport(lists(version=7, more="page-2"), lists(version=7), STAYS)
    start(transport)
    first, second, watch = queries(transport, 3)
    assert first == {"limit": "200", "timeout": "2s"}
    assert second == first | {"continue": "page-2"}
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"]) == ("7", "true")


@pytest.mark.parametrize(
    ("event", "version"),
    [(bookmark(12), "12"), (change("a", 13), "13")],
    ids=["bookmark", "change"],
)
def test_a_watch_goes_on_from_what_it_has_seen(start: Start, event, version) -> None:
    transport = FakeTransport(lists(version=7), watches(event), STAYS)
    start(transport)
    assert queries(transport, 3)[-1]["resourceVersion"] == version


def test_services_are_selected_by_type_unless_all_are_wanted(start: Start) -> None:
    for everything, selector in ((False, "spec.type=LoadBalancer"), (True, None)):
        transport = FakeTransport(lists(version=1), STAYS)
        start(transport, watched(Service, namespace="x", duration=1, all_services=everything))
        assert [each.get("fieldSelector") for each in queries(transport, 2)] == [selector] * 2


def test_external_addresses_have_services_of_every_type_watched_of_those_that_matter(
    start: Start, inbox: Inbox
) -> None:
    spec = {"clusterIP": "10.0.0.1"}

    def service(name: str, version: int, kind: str, *external: str) -> dict[str, object]:
        return {
            "metadata": {
                "namespace": "x",
                "name": name,
                "uid": name,
                "resourceVersion": str(version),
            },
            "spec": {**spec, "type": kind, "externalIPs": list(external)},
        }

    narrow = watched(Service, namespace="x", duration=1, all_services=False)
    wide = watched(Service, namespace="x", duration=1, all_services=True)
    balancer = service("lb", 1, "LoadBalancer")
    plain, external = service("plain", 1, "ClusterIP"), service("ext", 1, "ClusterIP", "192.0.2.7")
    transport = FakeTransport(lists(balancer, version=3), STAYS)
    reflector = start(transport, narrow)
    (listed,) = inbox.take(1)
    assert isinstance(listed, Listed)
    assert listed.narrowed
    queries(transport, 2)
    no_more = {"type": "MODIFIED", "object": service("ext", 5, "ClusterIP")}
    transport.then(lists(balancer, plain, external, version=4), watches(no_more), STAYS)
    reflector.watch_instead(wide, matters)
    listed, removed = inbox.take(2)
    assert isinstance(listed, Listed)
    assert not listed.narrowed
    assert [each.key for each in listed.objects] == [("x", "lb"), ("x", "ext")]
    assert removed == Removed(Service, ("x", "ext"))
    assert inbox.rest() == []
    assert [each.get("fieldSelector") for each in queries(transport, 3)] == [None] * 3


def test_a_list_says_when_it_was_asked_for(start: Start, inbox: Inbox) -> None:
    now = [5]
    page = lists(lease("a", 1), version=3)

    def slow(connection: FakeConnection, request: Request) -> Reply | Iterator[bytes]:
        now[0] = 9
        return page(connection, request)

    start(FakeTransport(slow, STAYS), clock=lambda: now[0])
    (listed,) = inbox.take(1)
    assert isinstance(listed, Listed)
    assert listed.asked == 5


def test_the_reason_of_a_broken_watch_is_told(start: Start, inbox: Inbox) -> None:
    start(FakeTransport(says(403, {"message": 'leases is forbidden: User "x"'})))
    (broken,) = inbox.take(1)
    assert broken == WatchBroken(Lease, '403 leases is forbidden: User "x"')


def test_a_change_of_mind_about_what_is_wanted_lists_anew_and_breaks_nothing(
    start: Start, inbox: Inbox
) -> None:
    wanted = {"a"}
    slices = [endpoints(f"{name}-1", name, version=2) for name in "ab"]
    kind = watched(Endpoints, namespace="x", duration=1, all_services=False)
    transport = FakeTransport(lists(*slices, version=3), STAYS)
    reflector = start(
        transport,
        kind,
        wanted=lambda each: isinstance(each, Endpoints) and each.service[1] in wanted,
    )
    (listed,) = inbox.take(1)
    assert isinstance(listed, Listed)
    assert listed.objects == (Endpoints("default", "a-1", "a", frozenset()),)
    queries(transport, 2)
    wanted |= {"b"}
    transport.then(lists(*slices, version=4), STAYS)
    reflector.refresh()
    (listed,) = inbox.take(1)
    assert isinstance(listed, Listed)
    assert [each.key for each in listed.objects] == [("default", "a-1"), ("default", "b-1")]
    assert inbox.rest() == []


def test_the_unwanted_is_told_of_only_where_the_decider_has_it(start: Start, inbox: Inbox) -> None:
    wanted = {"a"}
    taken = threading.Event()

    def watch(connection, request):
        yield_from = watches(
            shows("ADDED", endpoints("b-1", "b", version=3)),
            shows("MODIFIED", endpoints("a-1", "a", version=4)),
        )
        yield from yield_from(connection, request)
        taken.wait(5)
        wanted.clear()
        yield from watches(shows("MODIFIED", endpoints("a-1", "a", version=5)), stays=True)(
            connection, request
        )

    kind = watched(Endpoints, namespace="x", duration=1, all_services=False)
    start(
        FakeTransport(lists(version=1), watch),
        kind,
        wanted=lambda each: isinstance(each, Endpoints) and each.service[1] in wanted,
    )
    _, changed = inbox.take(2)
    assert isinstance(changed, Changed)
    assert changed.object.key == ("default", "a-1")
    taken.set()
    assert inbox.take(1) == [Removed(Endpoints, ("default", "a-1"))]


# --- this agent's own writes ------------------------------------------------------------------------------


def test_a_write_that_the_watch_does_not_show_breaks_it(start: Start, inbox: Inbox) -> None:
    transport = FakeTransport(lists(version=1), STAYS)
    reflector = start(transport)
    queries(transport, 2)
    reflector.wrote(5)
    transport.then(lists(lease("a", 5), version=5), STAYS)
    reflector.wrote(6)  # by the test's clock more than two seconds later
    assert told(inbox.take(3)) == ["list", "broken", "list a5"]


def test_writes_that_the_watch_shows_are_as_they_should_be(start: Start, inbox: Inbox) -> None:
    shown = threading.Event()

    def watch(connection, request):
        for version in range(2, 6):
            shown.wait(5)
            shown.clear()
            yield from watches(change("a", version))(connection, request)
        connection.aborted.wait()
        raise NoAnswer("given up")

    transport = FakeTransport(lists(version=1), watch)
    reflector = start(transport)
    queries(transport, 2)
    inbox.take(1)
    for version in range(2, 6):
        reflector.wrote(version)
        shown.set()
        assert told(inbox.take(1)) == [f"+a{version}"]


def test_a_list_of_an_older_etcd_has_writes_awaited_from_there(start: Start, inbox: Inbox) -> None:
    transport = FakeTransport(lists(version=100), STAYS)
    reflector = start(transport)
    queries(transport, 2)
    transport.then(lists(version=4), STAYS)
    reflector.refresh()
    queries(transport, 2)
    reflector.wrote(5)
    transport.then(lists(lease("a", 5), version=5), STAYS)
    reflector.wrote(6)
    assert told(inbox.take(4)) == ["list", "list", "broken", "list a5"]


# --- patience ---------------------------------------------------------------------------------------------


class Sleeps:
    """Notes each pause instead of making it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, stopping: threading.Event, seconds: float) -> None:
        self.seconds.append(seconds)


def test_attempts_are_further_and_further_apart(start: Start, inbox: Inbox) -> None:
    sleeps = Sleeps()
    kind = replace(LEASES, retry_first=1.0, retry_most=5.0)
    broken_later = watches(bookmark(2), then=GIVEN_UP)
    transport = FakeTransport(*[says(500)] * 5, lists(version=1), broken_later, STAYS)
    start(transport, kind, sleep=sleeps, jitter=lambda low, high: high)
    assert told(inbox.take(4)) == ["broken", "list", "broken", "resumed"]
    assert sleeps.seconds == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]


def test_attempts_are_jittered(start: Start, inbox: Inbox) -> None:
    sleeps = Sleeps()
    kind = replace(LEASES, retry_first=1.0, retry_most=5.0)
    transport = FakeTransport(says(500), lists(version=1), STAYS)
    start(transport, kind, sleep=sleeps, jitter=lambda low, high: low)
    inbox.take(2)
    assert sleeps.seconds == [0.5]


def test_a_watch_that_ends_at_once_is_not_begun_again_in_a_loop(start: Start, inbox: Inbox) -> None:
    sleeps = Sleeps()
    transport = FakeTransport(lists(version=1), watches(), watches(), watches(), STAYS)
    kind = replace(LEASES, retry_first=1.0, retry_most=5.0)
    start(transport, kind, sleep=sleeps, jitter=lambda low, high: high, clock=lambda: 1)
    queries(transport, 5)
    assert sleeps.seconds == [1.0, 2.0, 4.0]
    assert told(inbox.rest()) == ["list"]


@pytest.mark.parametrize(("asked", "given"), [(3.0, 3.0), (3600.0, 10.0), (None, 0.05)])
def test_the_server_is_given_the_time_that_it_asks_for_within_reason(
    start: Start, inbox: Inbox, asked, given
) -> None:
    sleeps = Sleeps()
    transport = FakeTransport(says(429, retry_after=asked), lists(version=1), STAYS)
    start(transport, sleep=sleeps, jitter=lambda low, high: high)
    inbox.take(2)
    assert sleeps.seconds == [given]


def test_the_lease_watch_is_less_patient_than_the_others() -> None:
    others = watched(Node, namespace="x", duration=1, all_services=False)
    assert LEASES.retry_most < others.retry_most
    assert LEASES.silence == 10.0
    assert others.silence > 120  # two bookmarks


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [[], [lists(version=1)], [lists(version=1), STAYS], [says(429, retry_after=60.0)]],
    ids=["listing", "beginning a watch", "watching", "pausing"],
)
def test_it_stops_at_once_wherever_it_is(inbox: Inbox, script) -> None:
    transport = FakeTransport(*script)
    reflector = Reflector(LEASES, transport, inbox, Times())
    reflector.start()
    queries(transport, max(1, len(script)))
    reflector.stop()
    assert reflector.join(5)
    assert all(connection.closed for connection in transport.opened)


def test_nothing_is_told_once_it_was_stopped(inbox: Inbox) -> None:
    reading = threading.Event()

    def watch(connection, request):
        reading.set()
        connection.aborted.wait()
        yield from watches(change("a", 2))(connection, request)

    reflector = Reflector(LEASES, FakeTransport(lists(version=1), watch), inbox, Times())
    reflector.start()
    assert reading.wait(5)
    reflector.stop()
    assert reflector.join(5)
    assert told(inbox.rest()) == ["list"]


def test_a_node_is_told_as_a_node(start: Start, inbox: Inbox) -> None:
    kind = watched(Node, namespace="x", duration=1, all_services=False)
    start(FakeTransport(lists(node("n1"), version=1), STAYS), kind)
    (listed,) = inbox.take(1)
    assert isinstance(listed, Listed)
    assert [each.key for each in listed.objects] == ["n1"]
