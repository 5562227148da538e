# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Names, tokens, nodes, diffs, leases: the small pure parts."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.baremetal.herald.plugins.module_utils import (
    _diff,
    _leases,
    _names,
    _node,
    _token,
)
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.modules import (
    agent_identities,
    agent_token,
    purge,
)
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import FakeApi, Object, say

# --- Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 200, 201, 253])
def test_names_leave_room_for_a_prefix(length: int) -> None:
    assert len(_names.service_account("n" * length)) <= 253 - len("presence-") + len("agent-")


def test_long_names_that_begin_alike_differ() -> None:
    assert _names.node_key("n" * 220 + "a") != _names.node_key("n" * 220 + "b")


# --- Tokens -----------------------------------------------------------------------------------------

SUBJECT = "system:serviceaccount:herald-system:agent-n1"


def token(**content: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return f"e30.{middle}.c2ln"


def test_claims() -> None:
    text = token(sub=SUBJECT, exp=5000, **{"kubernetes.io": {"serviceaccount": {"uid": "u"}}})
    assert _token.claims(text + "\n") == _token.Claims(SUBJECT, "u", 5000)


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "a.!!!.c", token(exp=1), "e30.W10.e30", "e30.ImEi.x"]
)
def test_what_is_no_token(text: str) -> None:
    assert _token.claims(text) is None


FOUND = {"subject": SUBJECT, "uid": "u", "expires": 10_000}
FAULTS = [
    pytest.param({}, "no readable token", id="none"),
    pytest.param(FOUND, "", id="good"),
    pytest.param({**FOUND, "expires": 0}, "", id="never ends"),
    pytest.param({**FOUND, "subject": "someone"}, "is for someone", id="another's"),
    pytest.param({**FOUND, "uid": "v"}, "earlier ServiceAccount", id="of an account made anew"),
    pytest.param({**FOUND, "expires": 1500}, "ends in 500 s", id="ends soon"),
    pytest.param({**FOUND, "expires": 900}, "ended 100 s ago", id="has ended"),
]


@pytest.mark.parametrize(("found", "words"), FAULTS)
def test_faults(found: dict[str, Any], words: str) -> None:
    said = _token.fault(found, SUBJECT, "u", now=1000, margin=600)
    assert bool(said) == bool(words)
    assert words in said


ACCOUNT = "/api/v1/namespaces/herald-system/serviceaccounts/agent-n1"
PARAMS = {
    "node_name": "n1",
    "namespace": "herald-system",
    "claims": {},
    "expiration_seconds": 3600,
    "renew_before": 60,
}


class TokenApi(FakeApi):
    """Gives tokens."""

    def _post(self, path: str, body: Object) -> Any:
        assert path == ACCOUNT + "/token"
        assert body["spec"] == {"expirationSeconds": 3600}
        return say(201, {"status": {"token": "secret"}})


def account() -> tuple[str, Object]:
    return ACCOUNT, {"kind": "ServiceAccount", "metadata": {"name": "agent-n1", "uid": "u"}}


def test_a_token_is_asked_for_where_there_is_none() -> None:
    result = agent_token.settle(Client(TokenApi(account())), PARAMS, now=1000)
    assert result == {
        "changed": True,
        "service_account": "agent-n1",
        "reason": "there is no readable token",
        "token": "secret",
    }


def test_a_token_that_will_do_is_kept() -> None:
    api = TokenApi(account())
    result = agent_token.settle(Client(api), {**PARAMS, "claims": FOUND}, now=1000)
    assert not result["changed"]
    assert "token" not in result
    assert api.writes == []


@pytest.mark.parametrize("there", [True, False])
def test_check_mode_asks_for_no_token(there: bool) -> None:
    api = TokenApi(*([account()] if there else []))
    result = agent_token.settle(Client(api, dry_run=True), PARAMS, now=1000)
    assert result["changed"]
    assert "token" not in result
    assert api.writes == []


def test_a_node_without_an_identity_is_said() -> None:
    with pytest.raises(HeraldError, match=r"run the role baremetal\.herald\.cluster"):
        agent_token.settle(Client(TokenApi()), PARAMS, now=1000)


# --- Nodes ------------------------------------------------------------------------------------------

GOOD = _node.Facts(
    kernel="6.1.0-18-amd64",
    bpffs=True,
    systemd=252,
    python_path="/usr/bin/python3",
    python=(3, 11),
    has_venv=True,
    has_bcc=True,
    has_headers=True,
)
OBSTACLES = [
    pytest.param({}, [], id="none"),
    pytest.param({"kernel": "5.8.0"}, [], id="the oldest kernel"),
    pytest.param({"kernel": "6.18.44-fc"}, [], id="a new kernel"),
    pytest.param(
        {"kernel": "5.7.19"}, ["kernel: wanted 5.8 or newer, found 5.7.19"], id="old kernel"
    ),
    pytest.param({"kernel": "4.19.0"}, ["kernel: wanted 5.8"], id="older kernel"),
    pytest.param({"bpffs": False}, ["/sys/fs/bpf: wanted"], id="no bpffs"),
    pytest.param({"has_ipvs": True, "arp_ignore": 1}, [], id="ipvs with strictARP"),
    pytest.param(
        {"has_ipvs": True, "arp_ignore": 0}, ["ipvs.strictARP true"], id="ipvs without strictARP"
    ),
    pytest.param({"has_ipvs": False, "arp_ignore": 0}, [], id="no ipvs, and no strictARP"),
    pytest.param({"systemd": 0}, ["systemd: wanted"], id="no systemd"),
    pytest.param(
        {"python": (3, 9)},
        ["herald_python: wanted Python 3.11 or newer at /usr/bin/python3, found 3.9"],
        id="old Python",
    ),
    pytest.param({"python": ()}, ["found none"], id="no Python"),
    pytest.param({"python": (3, 13)}, [], id="new Python"),
    pytest.param({"bpffs": False, "systemd": 0}, ["/sys/fs/bpf", "systemd"], id="all are named"),
]


@pytest.mark.parametrize(("facts", "words"), OBSTACLES)
def test_obstacles(facts: dict[str, Any], words: list[str]) -> None:
    said = _node.obstacles(GOOD._replace(**facts))
    assert len(said) == len(words)
    for text, word in zip(said, words):
        assert word in text


def test_missing() -> None:
    assert _node.missing(GOOD) == []
    bare = GOOD._replace(has_venv=False, has_bcc=False, has_headers=False)
    assert _node.missing(bare) == ["venv", "bcc", "headers"]


# --- Diffs ------------------------------------------------------------------------------------------


def test_a_diff_shows_what_people_wrote_and_no_bookkeeping() -> None:
    obj = {
        "kind": "Thing",
        "metadata": {
            "name": "a",
            "uid": "u",
            "resourceVersion": "5",
            "managedFields": [],
            "labels": {"x": "y"},
        },
        "spec": {"size": 1},
        "status": {"conditions": []},
    }
    entry = _diff.diff(None, obj)
    assert entry["before"] == {}
    assert entry["after"] == {
        "kind": "Thing",
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"size": 1},
    }
    assert entry["after_header"] == "Thing/a (after)"
    assert "status" in obj


# --- Leases, and their removal ------------------------------------------------------------------------

LEASES = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"


def lease(name: str, holder: str = "", **spec: Any) -> tuple[str, Object]:
    return f"{LEASES}/{name}", {
        "metadata": {
            "name": name,
            "finalizers": [_names.FINALIZER, "x/y"],
            "annotations": {"herald.dev/duration-ms": "2000"},
        },
        "spec": {**spec, **({"holderIdentity": holder} if holder else {})},
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vip-192.0.2.7", "192.0.2.7"),
        ("vip-2001-0db8-0000-0000-0000-0000-0000-0007", "2001:db8::7"),
        ("vip-nonsense", ""),
        ("presence-n1", ""),
    ],
)
def test_addresses(name: str, wanted: str) -> None:
    assert _leases.address(lease(name)[1]) == wanted


def service(*addresses: str, ours: bool = True) -> Object:
    types = ["herald.dev/Allocated", "other/Fine"] if ours else ["other/Fine"]
    return {
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "3"},
        "status": {
            "loadBalancer": {"ingress": [{"ip": item} for item in addresses]},
            "conditions": [{"type": item} for item in types],
        },
    }


def test_a_service_loses_what_herald_gave_it_and_nothing_else() -> None:
    patch = _leases.disowned(service("192.0.2.7", "192.0.2.8"), {"192.0.2.7"})
    assert patch == {
        "metadata": {"resourceVersion": "3"},
        "status": {
            "conditions": [{"$patch": "delete", "type": "herald.dev/Allocated"}],
            "loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]},
        },
    }
    assert _leases.disowned(service("192.0.2.8", ours=False), {"192.0.2.7"}) is None


def test_the_living_are_told_by_their_renewals() -> None:
    api = FakeApi(lease("presence-n1", "n1"), lease("presence-n2", "n2"), lease("presence-n3"))
    client = Client(api)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        api.put(*lease("presence-n1", "n1"))

    found = _leases.living(
        client, client.list(_leases.LEASES, "herald-system"), "herald-system", sleep
    )
    assert found == ["n1"]
    assert slept == [3.0]


def test_purge_removes_leases_with_their_finalizer_and_leaves_others() -> None:
    api = FakeApi(lease("presence-n1"), lease("vip-192.0.2.7"), lease("ipam"), lease("somebody"))
    result = purge.purge(Client(api), "herald-system")
    gone = ["ipam", "presence-n1", "vip-192.0.2.7"]
    assert result == {"leases": gone, "services": [], "nodes": []}
    assert list(api.objects) == [f"{LEASES}/somebody"]
    nothing = {"leases": [], "services": [], "nodes": []}
    assert purge.purge(Client(api), "herald-system") == nothing


def test_purge_asks_for_services_of_every_type_since_external_addresses_are_of_any() -> None:
    api = FakeApi()
    purge.purge(Client(api), "herald-system")
    [asked] = [target for _method, target in api.requests if "/services" in target]
    assert "Selector" not in asked


def test_purge_takes_the_mark_from_drained_nodes() -> None:
    notes = {"n1": {"herald.dev/drain": "true", "a": "b"}, "n2": {"a": "b"}, "n3": None}
    api = FakeApi(
        *(
            (f"/api/v1/nodes/{name}", {"metadata": {"name": name, "annotations": found}})
            for name, found in notes.items()
        )
    )
    assert purge.purge(Client(api), "herald-system")["nodes"] == ["n1"]
    [(method, target)] = api.writes
    assert (method, target.partition("?")[0]) == ("PATCH", "/api/v1/nodes/n1")


# --- Identities of nodes that left ------------------------------------------------------------------

IDENTITY_PATHS = (
    "/api/v1/namespaces/herald-system/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/herald-system/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/herald-system/rolebindings",
)


def identity_objects(*nodes: str) -> list[tuple[str, Object]]:
    return [
        (f"{path}/agent-{node}", {"metadata": {"name": f"agent-{node}"}})
        for node in nodes
        for path in IDENTITY_PATHS
    ]


def test_identities_of_other_nodes_go_and_those_of_the_named_stay() -> None:
    api = FakeApi(*identity_objects("n1", "n2"), lease("presence-n1", "n1"), lease("presence-n2"))
    result = agent_identities.prune(Client(api), {"n1"}, "herald-system")
    assert result == {"removed": ["agent-n2"], "living": []}
    left = {path for path in api.objects if "/agent-" in path}
    assert left == {path for path, _object in identity_objects("n1")}
    again = agent_identities.prune(Client(api), {"n1"}, "herald-system")
    assert again == {"removed": [], "living": []}


def test_an_identity_whose_agent_lives_is_kept_and_named() -> None:
    api = FakeApi(*identity_objects("n2", "n3"), lease("presence-n2", "n2"), lease("presence-n3"))

    def renewed_meanwhile(_seconds: float) -> None:
        api.put(*lease("presence-n2", "n2"))

    result = agent_identities.prune(Client(api), {"n1"}, "herald-system", renewed_meanwhile)
    assert result == {"removed": ["agent-n3"], "living": ["agent-n2"]}
    assert {path for path in api.objects if "/agent-" in path} == {
        path for path, _object in identity_objects("n2")
    }


@pytest.mark.parametrize(
    ("dry", "removed", "living"),
    [(False, ["agent-n3"], ["agent-n2"]), (True, ["agent-n2", "agent-n3"], [])],
)
def test_identities_of_the_named_go_unless_their_agents_live_which_a_dry_run_takes_for_stopped(
    dry: bool, removed: list[str], living: list[str]
) -> None:
    objects = identity_objects("n1", "n2", "n3")
    api = FakeApi(*objects, lease("presence-n1", "n1"), lease("presence-n2", "n2"))

    def renewed_meanwhile(_seconds: float) -> None:
        api.put(*lease("presence-n2", "n2"))

    result = agent_identities.prune(
        Client(api, dry_run=dry), {"n2", "n3"}, "herald-system", renewed_meanwhile, absent=True
    )
    assert result == {"removed": removed, "living": living}
    left = {path for path in api.objects if "/agent-" in path}
    kept = objects if dry else identity_objects("n1", "n2")
    assert left == {path for path, _object in kept}


# --- What they show of it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "options", "before"),
    [
        (purge, {}, {"leases": ["presence-n2"], "services": [], "nodes": []}),
        (agent_identities, {"nodes": ["n1"]}, {"identities": ["agent-n2"]}),
    ],
)
def test_what_is_removed_is_a_diff(
    module: Any,
    options: dict[str, Any],
    before: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    after: dict[str, list[str]] = {what: [] for what in before}
    api = FakeApi(*identity_objects("n1", "n2"), lease("presence-n2"))
    monkeypatch.setattr(module, "connect", lambda _: Client(api))
    for shown in (before, after):
        with patch_module_args(options), contextlib.suppress(SystemExit):
            module.main()
        result = json.loads(capsys.readouterr().out)
        assert result["diff"] == {"before": shown, "after": after}
        assert result["changed"] == any(shown.values())
