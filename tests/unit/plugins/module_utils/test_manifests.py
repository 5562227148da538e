# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Manifests: applied, removed, waited for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Response
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, BadOption
from ansible_collections.baremetal.herald.plugins.module_utils._manifests import (
    Manifests,
    check,
    unready,
)
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import (
    FakeApi,
    Object,
    refusal,
    say,
)

KINDS = [
    {"name": "things", "kind": "Thing", "namespaced": True},
    {"name": "things/status", "kind": "Thing", "namespaced": True},
    {"name": "globals", "kind": "Global", "namespaced": False},
]
THING = "/apis/example.com/v1/namespaces/ns/things/a"


class Server(FakeApi):
    """Serves the kinds of one group, and knows which namespaces there are."""

    namespaces = ("ns",)

    def _get(self, path: str, body: object) -> Response:
        if path == "/apis/example.com/v1":
            return say(200, {"resources": KINDS})
        if path.startswith("/apis/other/"):
            return Response(404, {}, "404 page not found\n")
        return super()._get(path, body)

    def _patch(self, path: str, body: Object) -> Response:
        namespace = body["metadata"].get("namespace")
        if namespace and namespace not in self.namespaces:
            return refusal(404, "NotFound", "no namespace", name=namespace, kind="namespaces")
        return super()._patch(path, body)


def manifest(kind: str = "Thing", version: str = "example.com/v1", **fields: Any) -> Object:
    metadata = {"name": "a", **({"namespace": "ns"} if kind == "Thing" else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def test_apply_makes_changes_and_leaves() -> None:
    api = Server()
    manifests = Manifests(Client(api))
    assert manifests.apply(manifest(spec={"size": 1})).action == "created"
    assert manifests.apply(manifest(spec={"size": 1})).action == "unchanged"
    outcome = manifests.apply(manifest(spec={"size": 2}))
    assert outcome.action == "updated"
    assert outcome.before is not None
    assert outcome.before["spec"] == {"size": 1}
    assert api.objects[THING]["spec"] == {"size": 2}


def test_apply_says_whose_the_fields_become() -> None:
    api = Server()
    Manifests(Client(api), force=False).apply(manifest(kind="Global"))
    [(method, target)] = api.writes
    assert method == "PATCH"
    assert target.startswith("/apis/example.com/v1/globals/a?")
    assert "fieldManager=baremetal.herald" in target
    assert "force=false" in target


def test_what_stands_as_applied_is_not_applied_again() -> None:
    api = Server()
    api.put(THING, manifest(spec={"size": 1}))
    applied: Object = {
        "manager": "baremetal.herald",
        "operation": "Apply",
        "apiVersion": "example.com/v1",
    }
    applied["fieldsV1"] = {"f:spec": {"f:size": {}}}
    api.objects[THING]["metadata"]["managedFields"] = [applied]
    assert Manifests(Client(api)).apply(manifest(spec={"size": 1})).action == "unchanged"
    assert api.writes == []
    assert Manifests(Client(api)).apply(manifest(spec={"size": 2})).action == "updated"
    assert [write[0] for write in api.writes] == ["PATCH"]


def test_check_mode_foretells_what_needs_a_namespace_that_the_run_would_make() -> None:
    api = Server()
    api.namespaces = ()
    assert Manifests(Client(api, dry_run=True)).apply(manifest()).action == "created"
    with pytest.raises(ApiError, match="no namespace"):
        Manifests(Client(api)).apply(manifest())


@pytest.mark.parametrize("dry_run", [False, True])
def test_remove(dry_run: bool) -> None:
    api = Server((THING, manifest()))
    manifests = Manifests(Client(api, dry_run))
    assert manifests.remove(manifest()).action == "deleted"
    assert (THING in api.objects) == dry_run
    assert manifests.remove(manifest()).changed == dry_run


def test_remove_what_is_being_removed_or_of_a_kind_that_is_gone() -> None:
    ending = manifest()
    ending["metadata"]["deletionTimestamp"] = "now"
    manifests = Manifests(Client(Server((THING, ending))))
    assert manifests.remove(manifest()).action == "unchanged"
    other = manifest(version="other/v1")
    assert manifests.remove(other).action == "unchanged"
    assert manifests.read(other) is None


def test_remove_does_not_mind_what_it_looks_like_by_now() -> None:
    api = Server((THING, manifest(spec={"size": 1})))

    def rival(method: str, path: str) -> None:
        if method == "DELETE":
            kept = api.objects[THING]["metadata"]["uid"]
            api.put(THING, manifest(spec={"size": 9}))["metadata"]["uid"] = kept

    api.before = rival
    assert Manifests(Client(api)).remove(manifest()).action == "deleted"
    assert api.objects == {}


def test_a_namespaced_kind_needs_its_namespace() -> None:
    homeless = manifest()
    del homeless["metadata"]["namespace"]
    with pytest.raises(
        BadOption, match=r"Thing a: metadata\.namespace: wanted a namespace, found nothing"
    ):
        Manifests(Client(Server())).apply(homeless)


NONSENSE = [
    ({}, r"definitions\[0\]\.apiVersion: wanted a text, found nothing"),
    ({"apiVersion": "v1"}, r"definitions\[0\]\.kind: wanted a text"),
    ({"apiVersion": 1, "kind": "A"}, r"definitions\[0\]\.apiVersion: wanted a text, found 1"),
    ({"apiVersion": "v1", "kind": "A"}, r"definitions\[0\]\.metadata\.name: wanted a name"),
    ({"apiVersion": "v1", "kind": "A", "metadata": {}}, r"definitions\[0\]\.metadata\.name"),
]


@pytest.mark.parametrize(("given", "words"), NONSENSE)
def test_what_is_no_manifest(given: Object, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        check([given])


def crd(**statuses: str) -> Object:
    conditions = [
        {"type": name, "status": status, "message": "m"} for name, status in statuses.items()
    ]
    return {"kind": "CustomResourceDefinition", "status": {"conditions": conditions}}


READY = [
    pytest.param(None, "gone", id="none"),
    pytest.param({"kind": "Thing"}, "", id="any other kind"),
    pytest.param(crd(), "NamesAccepted", id="nothing said yet"),
    pytest.param(crd(NamesAccepted="False", Established="False"), "NamesAccepted", id="name taken"),
    pytest.param(crd(NamesAccepted="True"), "Established", id="not served yet"),
    pytest.param(crd(NamesAccepted="True", Established="True"), "", id="served"),
]


@pytest.mark.parametrize(("obj", "words"), READY)
def test_a_kind_is_waited_for(obj: Object | None, words: str) -> None:
    said = unready(obj)
    assert bool(said) == bool(words)
    assert words in said
