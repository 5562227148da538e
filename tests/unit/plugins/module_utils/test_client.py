# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The API client: paths, what is sent again, and what errors say."""

from __future__ import annotations

import json

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils._client import (
    Client,
    Resource,
    Response,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, Unreachable
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import FakeApi, refusal, say

PODS = Resource("", "v1", "pods", "Pod", namespaced=True)
POOLS = Resource("herald.dev", "v1alpha1", "loadbalancerippools", "LoadBalancerIPPool")

PATHS = [
    (PODS.path(), "/api/v1/pods"),
    (PODS.path("a", "ns"), "/api/v1/namespaces/ns/pods/a"),
    (PODS.path("a", "ns", "status"), "/api/v1/namespaces/ns/pods/a/status"),
    (POOLS.path(), "/apis/herald.dev/v1alpha1/loadbalancerippools"),
    (POOLS.path("a/../b"), "/apis/herald.dev/v1alpha1/loadbalancerippools/a%2F..%2Fb"),
]


@pytest.mark.parametrize(("path", "wanted"), PATHS, ids=[wanted for _path, wanted in PATHS])
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


class Script:
    """Answers in order, and keeps what was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def send(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Response:
        self.asked.append(target)
        return self.answers.pop(0)


def test_a_list_is_read_in_pages() -> None:
    script = Script(
        say(200, {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "more"}}),
        say(200, {"items": [{"metadata": {"name": "b"}}], "metadata": {}}),
    )
    found = Client(script).list(POOLS)
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert {item["kind"] for item in found} == {"LoadBalancerIPPool"}
    assert "continue=more" in script.asked[1]


BUSY = [
    pytest.param({"retry_after": "3"}, [3.0], id="as it asks"),
    pytest.param({"retry_after": "9999"}, [10.0], id="but not for ever"),
    pytest.param({"retry_after": "Wed, 21 Oct"}, [0.5], id="a date counts as nothing"),
    pytest.param({}, [0.5], id="it does not say"),
]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("headers", "pauses"), BUSY)
def test_a_busy_server_is_asked_again(
    status: int, headers: dict[str, str], pauses: list[float]
) -> None:
    slept: list[float] = []
    script = Script(
        say(status, {"message": "busy"}, **headers), say(200, {"metadata": {"name": "a"}})
    )
    found = Client(script, sleep=slept.append).get(POOLS, "a")
    assert found == {"metadata": {"name": "a"}}
    assert slept == pauses


def test_a_server_that_stays_busy_is_given_up() -> None:
    slept: list[float] = []
    script = Script(*[say(429, {"message": "busy"})] * 10)
    with pytest.raises(ApiError, match="run this again when it can"):
        Client(script, sleep=slept.append).get(POOLS, "a")
    assert len(script.asked) == 4
    assert slept == [0.5, 1.0, 2.0]


def test_other_failures_are_not_sent_again() -> None:
    script = Script(say(500, {"message": "broken"}))
    with pytest.raises(ApiError, match="broken"):
        Client(script).get(POOLS, "a")
    assert len(script.asked) == 1


NO_GROUP = Response(404, {}, "404 page not found\n")

ERRORS = [
    pytest.param(
        refusal(401, "Unauthorized", "Unauthorized"),
        ["does not accept these credentials", "renew it, or name another kubeconfig"],
        id="401",
    ),
    pytest.param(
        refusal(403, "Forbidden", 'pools is forbidden: User "u" cannot create resource "pools"'),
        ["cannot create resource", "Grant this verb on this resource"],
        id="403",
    ),
    pytest.param(
        Response(404, {}, "404 page not found\n"),
        ["404 page not found", "does not serve it", "role baremetal.herald.cluster"],
        id="404 of a kind",
    ),
    pytest.param(refusal(409, "Conflict", "modified", name="a"), ["run this again"], id="409"),
    pytest.param(
        refusal(422, "Invalid", "spec.blocks: Required value", name="a"),
        ["spec.blocks: Required value", "422"],
        id="422",
    ),
    pytest.param(Response(500, {}, ""), ["could not serve the request"], id="500"),
    pytest.param(Response(200, {}, "<html>"), ["<html>"], id="no Kubernetes"),
    pytest.param(
        refusal(403, "Forbidden", "x", causes=[{"reason": "NamespaceTerminating"}]),
        ["when the namespace is gone"],
        id="a namespace that ends",
    ),
]


@pytest.mark.parametrize(("answer", "words"), ERRORS)
def test_errors_say_what_to_do(answer: Response, words: list[str]) -> None:
    with pytest.raises(ApiError) as raised:
        Client(Script(answer, NO_GROUP)).create(POOLS, {"metadata": {"name": "a"}})
    for word in words:
        assert word in str(raised.value)


def test_a_missing_object_is_none_and_a_missing_kind_an_error() -> None:
    assert Client(FakeApi()).get(POOLS, "a") is None
    with pytest.raises(ApiError):
        Client(Script(NO_GROUP, NO_GROUP)).get(POOLS, "a")


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (["v9", "v8"], "The API server serves herald.dev in v9, v8, wanted v1alpha1: install"),
        (["v1alpha1"], "The API server does not serve it: install"),
    ],
)
def test_another_version_of_the_kinds_is_said(served: list[str], words: str) -> None:
    group = say(200, {"versions": [{"version": version} for version in served]})
    script = Script(NO_GROUP, group)
    with pytest.raises(ApiError, match=words):
        Client(script).get(POOLS, "a")
    assert script.asked[1] == "/apis/herald.dev"


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "ca_cert"),
        ("Connection refused", "Look whether it runs"),
    ],
)
def test_unreachable(why: str, advice: str) -> None:
    text = str(Unreachable("https://a:1", why))
    assert "https://a:1" in text
    assert why in text
    assert advice in text


def test_writes_of_a_dry_run_say_so_and_reads_do_not() -> None:
    script = Script(*[say(200, {"metadata": {"name": "a"}})] * 2)
    client = Client(script, dry_run=True)
    client.create(POOLS, {"metadata": {"name": "a"}})
    client.get(POOLS, "a")
    assert "dryRun=All" in script.asked[0]
    assert "fieldValidation=Strict" in script.asked[0]
    assert "dryRun" not in script.asked[1]


def test_a_kind_is_asked_for_once() -> None:
    resources = [
        {"name": "pods", "kind": "Pod", "namespaced": True},
        {"name": "pods/status", "kind": "Pod", "namespaced": True},
    ]
    script = Script(say(200, {"resources": resources}))
    client = Client(script)
    assert client.kind("v1", "Pod") == client.kind("v1", "Pod") == PODS
    assert script.asked == ["/api/v1"]
    with pytest.raises(Exception, match="found Nonsense"):
        client.kind("v1", "Nonsense")


def test_bodies_are_json() -> None:
    sent: list[str | None] = []

    class Keep:
        def send(
            self, method: str, target: str, headers: dict[str, str], body: str | None
        ) -> Response:
            sent.append(body)
            assert headers["Content-Type"] == "application/json"
            return say(201, {})

    Client(Keep()).create(POOLS, {"metadata": {"name": "ä"}})
    assert sent[0] is not None
    assert json.loads(sent[0]) == {"metadata": {"name": "ä"}}
