# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""All of it together, against a server that holds Leases as an API server does."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.kube.fakes import Inbox
from tests.unit.kube.servers import ApiServer, Exchange

from herald.core.effects import LeaseRequest
from herald.core.events import (
    Answer,
    Changed,
    Done,
    Event,
    Failed,
    Listed,
    Refused,
    Removed,
    WatchBroken,
    WatchResumed,
)
from herald.core.model import Lease, Node
from herald.kube.client import KubeClient, KubeConfig
from herald.kube.clock import boottime
from herald.kube.https import Https, HttpsConnection


class Leases:
    """A handler for ``ApiServer``: creates, updates by CAS, deletes, lists and watches Leases."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 1
        self.items: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.begin = 1
        """The oldest version that a watch may start from."""
        self.cut = 0
        """Raised to reset all watches that are open."""
        self.refuse: int | None = None
        self.watching = 0

    def __call__(self, exchange: Exchange) -> None:
        if self.refuse is not None:
            exchange.reply(self.refuse, {"message": "refused"})
            return
        path = urlsplit(exchange.path)
        query = {name: values[0] for name, values in parse_qs(path.query).items()}
        name = path.path.partition("/leases")[2].lstrip("/")
        body = json.loads(exchange.body) if exchange.body else {}
        match exchange.method:
            case "GET" if "watch" in query:
                self.watch(exchange, int(query["resourceVersion"]))
            case "GET" if name:
                self.answer(exchange, 200 if name in self.items else 404, name)
            case "GET":
                with self.changed:
                    metadata = {"resourceVersion": str(self.version)}
                    exchange.reply(200, {"metadata": metadata, "items": [*self.items.values()]})
            case "POST":
                self.create(exchange, body)
            case "PUT":
                self.update(exchange, name, body)

    def answer(self, exchange: Exchange, status: int, name: str) -> None:
        exchange.reply(status, self.items.get(name, {"message": f"status {status}"}))

    def create(self, exchange: Exchange, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        if name in self.items:
            exchange.reply(409, {"message": "already exists"})
            return
        body["metadata"]["uid"] = f"uid-{self.version}"
        self.put("ADDED", name, body)
        self.answer(exchange, 201, name)

    def update(self, exchange: Exchange, name: str, body: dict[str, Any]) -> None:
        if name not in self.items:
            exchange.reply(404, {"message": "not found"})
        elif any(
            body["metadata"].get(key) != self.items[name]["metadata"][key]
            for key in ("uid", "resourceVersion")
        ):
            exchange.reply(409, {"message": "modified"})
        else:
            self.put("MODIFIED", name, body)
            self.answer(exchange, 200, name)

    def put(self, kind: str, name: str, body: dict[str, Any]) -> None:
        with self.changed:
            self.version += 1
            body["metadata"]["resourceVersion"] = str(self.version)
            self.items[name] = body
            self.history.append({"type": kind, "object": json.loads(json.dumps(body))})
            self.changed.notify_all()

    def remove(self, name: str) -> None:
        with self.changed:
            self.version += 1
            item = self.items.pop(name)
            item["metadata"]["resourceVersion"] = str(self.version)
            self.history.append({"type": "DELETED", "object": item})
            self.changed.notify_all()

    def reset_watches(self, count: int = 1, *, refuse: int | None = None) -> None:
        """Once so many are open; and refuse everything from then on."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.watching >= count, 5)
            self.refuse = refuse
            self.cut += 1
            self.changed.notify_all()

    def watch(self, exchange: Exchange, since: int) -> None:
        if since < self.begin:
            exchange.reply(410, {"message": "too old resource version"})
            return
        exchange.begin_chunks()
        with self.changed:
            cut = self.cut
            self.watching += 1
            self.changed.notify_all()
        while not exchange.closing.is_set():
            with self.changed:
                fresh = [
                    event
                    for event in self.history
                    if int(event["object"]["metadata"]["resourceVersion"]) > since
                ]
                if self.cut != cut:
                    self.watching -= 1
                    exchange.reset()
                    return
                if not fresh:
                    self.changed.wait(0.05)
                    continue
            for event in fresh:
                since = int(event["object"]["metadata"]["resourceVersion"])
                exchange.chunk(json.dumps(event).encode() + b"\n")


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def config(tmp_path: Path, ca_file: Path, serve: Callable[..., ApiServer], leases) -> KubeConfig:
    (tmp_path / "token").write_text("static")
    return KubeConfig("n1", (serve(leases).url,), ca_file, tmp_path / "token")


@pytest.fixture
def client(config: KubeConfig, inbox: Inbox) -> Iterator[KubeClient]:
    client = KubeClient(config, inbox)
    yield client
    assert client.stop()


def ask(client: KubeClient, inbox: Inbox, verb: Any, lease: Lease, **more: Any) -> Any:
    """The outcome of one request, and what else was told meanwhile."""
    client.submit(LeaseRequest(1, verb, lease, boottime() + 5_000_000_000, **more))
    others: list[Event] = []
    while not isinstance(event := inbox.take(1)[0], Answer):
        others.append(event)
    return event.outcome, others


def test_a_lease_lives(client: KubeClient, inbox: Inbox, leases: Leases) -> None:
    client.start([Lease])
    assert inbox.take(1) == [Listed(Lease, ())]
    client.submit(
        LeaseRequest(
            1, "create", Lease("presence-n1", holder="n1"), boottime() + 5_000_000_000, True
        )
    )
    events = inbox.take(2)
    (answer,) = [each for each in events if isinstance(each, Answer)]
    (changed,) = [each for each in events if isinstance(each, Changed)]
    assert isinstance(answer.outcome, Done)
    assert answer.outcome.created
    assert answer.outcome.lease == changed.object
    lease = answer.outcome.lease
    assert lease is not None
    outcome, _ = ask(client, inbox, "update", lease, own_connection=True)
    assert isinstance(outcome, Done)
    outcome, _ = ask(client, inbox, "update", lease)
    assert outcome == Refused(409, "409 modified")
    leases.remove("presence-n1")
    outcome, others = ask(client, inbox, "update", lease)
    assert outcome == Refused(404, "404 not found")
    while not any(isinstance(each, Removed) and each.key == "presence-n1" for each in others):
        others += inbox.take(1)


def test_requests_can_be_made_before_anything_is_listed(client, inbox, leases) -> None:
    client.start()
    outcome, others = ask(client, inbox, "get", Lease("presence-n1"), own_connection=True)
    assert (outcome, others) == (Refused(404, "404 status 404"), [])
    client.start([Lease])
    assert inbox.take(1) == [Listed(Lease, ())]


def test_a_reset_watch_goes_on_where_it_was(client, inbox, leases) -> None:
    client.start([Lease])
    inbox.take(1)
    leases.reset_watches()
    broken, resumed = inbox.take(2)
    assert isinstance(broken, WatchBroken)
    assert resumed == WatchResumed(Lease)
    _, others = ask(client, inbox, "create", Lease("vip-192.0.2.1"))
    while not others:
        others += inbox.take(1)
    assert [type(each) for each in others] == [Changed]


def test_a_watch_that_cannot_go_on_lists_anew(client, inbox, leases) -> None:
    client.start([Lease])
    inbox.take(1)
    leases.put("ADDED", "vip-192.0.2.1", {"metadata": {"name": "vip-192.0.2.1", "uid": "u"}})
    inbox.take(1)
    leases.begin = 100
    leases.version = 100
    leases.reset_watches()
    broken, listed = inbox.take(2)
    assert isinstance(broken, WatchBroken)
    assert isinstance(listed, Listed)
    assert [each.key for each in listed.objects] == ["vip-192.0.2.1"]


def test_an_outage_is_told_once_and_ends_by_itself(client, inbox, leases) -> None:
    client.start([Lease, Node])
    inbox.take(2)
    leases.reset_watches(2, refuse=503)
    kinds = {event.kind for event in inbox.take(2) if isinstance(event, WatchBroken)}
    assert kinds == {Lease, Node}
    outcome, others = ask(client, inbox, "update", Lease("presence-n1", uid="u"))
    assert isinstance(outcome, Failed)
    assert others == []
    leases.refuse = None
    assert {event.kind for event in inbox.take(2) if isinstance(event, WatchResumed)} == {
        Lease,
        Node,
    }


def test_a_second_server_takes_over(config, serve, leases, inbox) -> None:
    first, second = serve(leases), serve(leases)
    servers = (first.url, second.url)
    # An agent begins with the server that its name says; find one that begins with the first.
    node = next(name for name in map(str, range(100)) if zlib.crc32(name.encode()) % 2 == 0)
    client = KubeClient(replace(config, node=node, servers=servers), inbox)
    client.start([Lease])
    try:
        inbox.take(1)
        outcome, _ = ask(client, inbox, "create", Lease("presence-n1"), own_connection=True)
        assert isinstance(outcome, Done)
        assert second.connections == 0
        first.close()
        outcome, _ = ask(client, inbox, "get", Lease("presence-n1"), own_connection=True)
        if isinstance(outcome, Failed):  # its connection broke while the request was on its way
            outcome, _ = ask(client, inbox, "get", Lease("presence-n1"), own_connection=True)
        assert isinstance(outcome, Done)
        leases.put("ADDED", "vip-192.0.2.1", {"metadata": {"name": "vip-192.0.2.1", "uid": "u"}})
        # What was written above may be told first.
        while not (
            isinstance(event := inbox.take(1)[0], Changed) and event.object.key != "presence-n1"
        ):
            pass
        assert event.object.key == "vip-192.0.2.1"
    finally:
        assert client.stop()


def test_no_connection_is_left_open(config: KubeConfig, inbox: Inbox) -> None:
    transport = Counting(Https(config.servers, config.ca_file, lambda: "t", user_agent="test"))
    client = KubeClient(config, inbox, transport=transport)
    client.start([Lease, Node])
    inbox.take(2)
    ask(client, inbox, "create", Lease("presence-n1"), own_connection=True)
    ask(client, inbox, "get", Lease("presence-n1"))
    opened = [each for each in transport.opened if each._http is not None]
    assert len(opened) == 4
    assert client.stop()
    assert [each for each in transport.opened if each._http or each._handle] == []


class Counting:
    """A transport that remembers the connections it opened."""

    def __init__(self, transport: Https) -> None:
        self.transport = transport
        self.opened: list[HttpsConnection] = []

    def open(self) -> HttpsConnection:
        self.opened.append(self.transport.open())
        return self.opened[-1]


def test_it_may_be_stopped_before_it_was_started(config: KubeConfig, inbox: Inbox) -> None:
    assert KubeClient(config, inbox).stop()
