# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a node's token can do and cannot: RBAC and admission rules, asked of the real API server.

The rules for Leases are tried in a namespace of the test's own, where no agent interferes: admission rules are for
whatever an identity of herald-system writes, wherever it may write.
"""

from __future__ import annotations

import copy
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from herald_lab import network
from herald_lab.api import MERGE
from herald_lab.layout import API_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = pytest.mark.lab

SPACE = "herald-admission-test"
HERALD = "herald-system"
LONG = "n" * 190 + ".example.com-with-a-very-long-name"  # more than 200 characters
ME, OTHER = "admission-a", "admission-b"
FINALIZER = "herald.dev/lease"
THEN, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}

Object = dict[str, Any]

WEB: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
}
CONDITION = {
    "type": "herald.dev/Test",
    "status": "True",
    "reason": "Test",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
NO_AGENT = "wanted the ServiceAccount of an agent"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Object

    @property
    def words(self) -> str:
        return str(self.body.get("message", self.body))


class Bearer:
    """Requests with a token and nothing else."""

    def __init__(self, lab: Lab, token: str) -> None:
        self._netns = lab.api._lab.netns
        self._tls = ssl.create_default_context(cafile=str(lab.api._lab.pki / "ca.crt"))
        self._token = token

    def __call__(self, method: str, path: str, body: Object | None = None, **more: str) -> Answer:
        """One request, with more headers."""
        kinds = {"PATCH": "application/strategic-merge-patch+json"}
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": kinds.get(method, "application/json"),
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        connection = http.client.HTTPSConnection(
            "127.0.0.1", API_PORT, context=self._tls, timeout=30
        )
        try:
            with network.entered(self._netns):
                connection.connect()
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, json.loads(answer.read()))
        finally:
            connection.close()


def key_of(node: str) -> str:
    from ansible_collections.baremetal.herald.plugins.module_utils._names import node_key

    return node_key(node)


def leases(name: str = "", namespace: str = SPACE) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{path}/{name}" if name else path


def lease(name: str, holder: str = "", **metadata: Any) -> Object:
    spec: Object = {"leaseDurationSeconds": 2, "leaseTransitions": 3}
    if holder:
        spec |= {"holderIdentity": holder, "acquireTime": THEN}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": SPACE,
            "annotations": {"herald.dev/epoch": "u/3", "herald.dev/services": "a/b"},
            "finalizers": [FINALIZER],
            **metadata,
        },
        "spec": spec,
    }


def identity(lab: Lab, node: str) -> str:
    """A ServiceAccount as the role cluster makes it, and a token of it."""
    name = f"agent-{key_of(node)}"
    lab.api.apply(
        f"/api/v1/namespaces/{HERALD}/serviceaccounts/{name}",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
    )
    rule = {
        "apiGroups": [""],
        "resources": ["serviceaccounts/token"],
        "resourceNames": [name],
        "verbs": ["create"],
    }
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{HERALD}"
    group = "rbac.authorization.k8s.io"
    lab.api.apply(
        f"{rbac}/roles/{name}",
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [rule],
        },
    )
    lab.api.apply(
        f"{rbac}/rolebindings/{name}",
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": HERALD}],
        },
    )
    return token_of(lab, name)


def token_of(lab: Lab, account: str) -> str:
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    answer = lab.api.request(
        "POST", f"/api/v1/namespaces/{HERALD}/serviceaccounts/{account}/token", request
    )
    token: str = answer["status"]["token"]
    return token


@pytest.fixture(scope="module")
def agents(herald: Lab, wait_for: Callable[..., None]) -> Iterator[dict[str, Bearer]]:
    """Identities of three nodes that are not there, and leave to write Leases in a namespace apart."""
    api = herald.api
    api.apply(
        f"/api/v1/namespaces/{SPACE}",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
    )
    group = "rbac.authorization.k8s.io"
    rules = [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "create", "update", "delete"],
        }
    ]
    api.apply(
        f"/apis/{group}/v1/namespaces/{SPACE}/roles/leases",
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": {"name": "leases"},
            "rules": rules,
        },
    )
    api.apply(
        f"/apis/{group}/v1/namespaces/{SPACE}/rolebindings/leases",
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "leases"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "leases"},
            "subjects": [
                {"apiGroup": group, "kind": "Group", "name": f"system:serviceaccounts:{HERALD}"}
            ],
        },
    )
    found = {node: Bearer(herald, identity(herald, node)) for node in (ME, OTHER, LONG)}

    def enforced() -> bool:
        return found[ME]("POST", leases() + "?dryRun=All", lease("presence-nobody")).status == 422

    wait_for("the admission rules to be enforced", enforced)
    try:
        yield found
    finally:
        for item in api.request("GET", leases())["items"]:
            item["metadata"]["finalizers"] = []
            api.request("PUT", leases(item["metadata"]["name"]), item)
        api.delete(f"/api/v1/namespaces/{SPACE}")
        for node in found:
            name = f"agent-{key_of(node)}"
            rbac = f"/apis/{group}/v1/namespaces/{HERALD}"
            for path in (
                f"{rbac}/rolebindings/{name}",
                f"{rbac}/roles/{name}",
                f"/api/v1/namespaces/{HERALD}/serviceaccounts/{name}",
            ):
                api.delete(path)


@pytest.fixture
def there(herald: Lab, agents: dict[str, Bearer]) -> Iterator[Callable[..., Object]]:
    """Makes a Lease as the operator, whom no rule binds; removes it after."""
    made: list[str] = []

    def make(body: Object) -> Object:
        made.append(body["metadata"]["name"])
        return herald.api.request("POST", leases(), body)

    yield make
    for name in made:
        found = herald.api.get(leases(name))
        if found is not None:
            found["metadata"]["finalizers"] = []
            herald.api.request("PUT", leases(name), found)
            herald.api.delete(leases(name))


def change(obj: Object, **fields: Any) -> Object:
    """A copy with dotted fields set, or removed where the value is None."""
    changed = copy.deepcopy(obj)
    for path, value in fields.items():
        *parents, last = path.split("__")
        inner = changed
        for parent in parents:
            inner = inner[parent]
        if value is None:
            inner.pop(last, None)
        else:
            inner[last] = value
    return changed


CREATE = [
    # who, name, holder, what the refusal names (nothing: it is let through)
    pytest.param(ME, f"presence-{ME}", ME, "", id="own presence, held"),
    pytest.param(ME, f"presence-{ME}", "", "", id="own presence, not held"),
    pytest.param(ME, f"presence-{ME}", OTHER, "spec.holderIdentity", id="own presence for another"),
    pytest.param(ME, f"presence-{OTHER}", OTHER, "metadata.name", id="another's presence"),
    pytest.param(ME, f"presence-{OTHER}", "", "metadata.name", id="another's presence, not held"),
    pytest.param(ME, "vip-192.0.2.1", "", "", id="an address given"),
    pytest.param(ME, "vip-192.0.2.1", ME, "", id="an address claimed for oneself"),
    pytest.param(ME, "vip-192.0.2.1", OTHER, "spec.holderIdentity", id="an address for another"),
    pytest.param(ME, "ipam", ME, "", id="the allocator's lease"),
    pytest.param(ME, "something", ME, "metadata.name", id="any other lease"),
    pytest.param(LONG, f"presence-{key_of(LONG)}", LONG, "", id="a long name's presence"),
    pytest.param(
        LONG, f"presence-{key_of(LONG)}", ME, "spec.holderIdentity", id="a long name lies"
    ),
    pytest.param(ME, "vip-192.0.2.1", LONG, "spec.holderIdentity", id="for a long name"),
]


@pytest.mark.parametrize(("who", "name", "holder", "refused"), CREATE)
def test_create(agents: dict[str, Bearer], who: str, name: str, holder: str, refused: str) -> None:
    answer = agents[who]("POST", leases() + "?dryRun=All", lease(name, holder))
    judge(answer, 201, refused)


UPDATE = [
    # name, holder before, changes, what the refusal to ME names
    pytest.param(
        f"presence-{ME}", ME, {"spec__renewTime": "2026-01-01T00:00:00.000000Z"}, "", id="renewal"
    ),
    pytest.param(
        f"presence-{ME}", ME, {"spec__leaseTransitions": 4}, "", id="own presence, new epoch"
    ),
    pytest.param(f"presence-{ME}", ME, {"spec__holderIdentity": None}, "", id="own release"),
    pytest.param(
        f"presence-{ME}",
        ME,
        {"spec__holderIdentity": OTHER},
        "spec.holderIdentity",
        id="own presence given to another",
    ),
    pytest.param(f"presence-{OTHER}", OTHER, {"spec__holderIdentity": None}, "", id="fence"),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "spec__renewTime": "2026-01-01T00:00:00.000000Z"},
        "",
        id="fence that stamps the time",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__renewTime": "2026-01-01T00:00:00.000000Z"},
        "fence",
        id="another's renewal",
    ),
    pytest.param(
        f"presence-{OTHER}", OTHER, {"spec__holderIdentity": ME}, "fence", id="take a presence"
    ),
    pytest.param(
        f"presence-{OTHER}", "", {"spec__holderIdentity": ME}, "fence", id="take a free presence"
    ),
    pytest.param(
        f"presence-{OTHER}", "", {"spec__holderIdentity": OTHER}, "fence", id="revive another"
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "spec__leaseTransitions": 4},
        "fence",
        id="fence that changes the epoch",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "spec__leaseDurationSeconds": 9},
        "fence",
        id="fence that changes the duration",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "metadata__annotations": {"herald.dev/presence": "{}"}},
        "fence",
        id="fence that changes the report",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "metadata__labels": {"a": "b"}},
        "fence",
        id="fence that changes labels",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {
            "spec__holderIdentity": None,
            "metadata__ownerReferences": [OWNER],
        },
        "fence",
        id="fence that changes the owner",
    ),
    pytest.param(
        f"presence-{OTHER}",
        OTHER,
        {"spec__holderIdentity": None, "metadata__finalizers": []},
        "metadata.finalizers",
        id="fence that lets go what nobody deleted",
    ),
    pytest.param(
        f"presence-{OTHER}", "", {"metadata__labels": None}, "cleared already", id="fence again"
    ),
    pytest.param("vip-192.0.2.2", "", {"spec__holderIdentity": ME}, "", id="claim a free address"),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {
            "spec__holderIdentity": ME,
            "spec__acquireTime": LATER,
            "metadata__annotations": {"herald.dev/epoch": "v/1"},
        },
        "",
        id="claim a held address (the holder's epoch may be over)",
    ),
    pytest.param(
        "vip-192.0.2.2",
        "",
        {"spec__holderIdentity": OTHER},
        "spec.holderIdentity",
        id="claim for another",
    ),
    pytest.param("vip-192.0.2.2", ME, {"spec__holderIdentity": None}, "", id="release"),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"spec__holderIdentity": None},
        "released by its holder",
        id="release another's",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"metadata__annotations": {"herald.dev/epoch": "u/3", "herald.dev/services": "c/d"}},
        "",
        id="say what another's address is for",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"metadata__annotations": {"herald.dev/epoch": "v/9", "herald.dev/services": "a/b"}},
        "herald.dev/epoch",
        id="change another's epoch",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"spec__leaseTransitions": 9},
        "another change",
        id="count another's holders",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"spec__leaseDurationSeconds": 9},
        "another change",
        id="change another's duration",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"metadata__ownerReferences": [OWNER]},
        "another change",
        id="change the owner of another's",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"spec__acquireTime": LATER},
        "another change",
        id="say since when another holds",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"spec__acquireTime": None},
        "another change",
        id="forget since when another holds",
    ),
    pytest.param(
        "vip-192.0.2.2",
        "",
        {"spec__acquireTime": LATER},
        "another change",
        id="say since when nobody holds",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"metadata__finalizers": []},
        "metadata.finalizers",
        id="let go what nobody deleted",
    ),
    pytest.param(
        "vip-192.0.2.2",
        OTHER,
        {"metadata__finalizers": [FINALIZER, "a.example/b"]},
        "metadata.finalizers",
        id="hold on to another's",
    ),
    pytest.param(
        "vip-192.0.2.2",
        ME,
        {"metadata__finalizers": [FINALIZER, "a.example/b"]},
        "metadata.finalizers",
        id="hold on to one's own",
    ),
    pytest.param(
        "ipam",
        OTHER,
        {"spec__holderIdentity": None},
        "released by its holder",
        id="depose the allocator",
    ),
]


@pytest.mark.parametrize(("name", "holder", "changes", "refused"), UPDATE)
def test_update(
    agents: dict[str, Bearer],
    there: Callable[..., Object],
    name: str,
    holder: str,
    changes: dict[str, Any],
    refused: str,
) -> None:
    found = there(lease(name, holder))
    answer = agents[ME]("PUT", leases(name), change(found, **changes))
    judge(answer, 200, refused)


BY_HAND = [
    # name, what somebody made of a lease of OTHER with kubectl, what ME makes of it, what the refusal names
    pytest.param(
        "vip-192.0.2.5",
        {"spec__acquireTime": None},
        {"spec__acquireTime": LATER},
        "",
        id="say since when another holds, which nothing did",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"spec__holderIdentity": None},
        {"spec__acquireTime": None},
        "",
        id="forget since when nobody holds",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"metadata__finalizers": []},
        {"spec__holderIdentity": ME, "metadata__finalizers": [FINALIZER]},
        "",
        id="claim, and hold on to what is claimed",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"metadata__finalizers": []},
        {"metadata__finalizers": [FINALIZER]},
        "metadata.finalizers",
        id="hold on to what another holds",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"spec__leaseTransitions": None},
        {"spec__leaseTransitions": 0},
        "",
        id="count none of another's holders, where nothing did",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"spec__leaseTransitions": 0},
        {"spec__leaseTransitions": None},
        "",
        id="count another's holders no more, of which there were none",
    ),
    pytest.param(
        "vip-192.0.2.5",
        {"spec__leaseTransitions": None},
        {"spec__leaseTransitions": 1},
        "another change",
        id="count another's holders, where nothing did",
    ),
    pytest.param(
        f"presence-{OTHER}",
        {"spec__leaseTransitions": None},
        {"spec__holderIdentity": None, "spec__leaseTransitions": 0},
        "",
        id="fence that says the first epoch, where nothing did",
    ),
    pytest.param(
        f"presence-{OTHER}",
        {"spec__leaseTransitions": None},
        {"spec__holderIdentity": None, "spec__leaseTransitions": 1},
        "fence",
        id="fence that says another epoch, where nothing did",
    ),
    pytest.param(
        f"presence-{OTHER}",
        {"spec__leaseDurationSeconds": None},
        {"spec__holderIdentity": None},
        "",
        id="fence of what says no duration",
    ),
]


@pytest.mark.parametrize(("name", "hand", "changes", "refused"), BY_HAND)
def test_update_of_what_was_edited_by_hand(
    agents: dict[str, Bearer],
    there: Callable[..., Object],
    name: str,
    hand: dict[str, Any],
    changes: dict[str, Any],
    refused: str,
) -> None:
    found = there(change(lease(name, OTHER), **hand))
    judge(agents[ME]("PUT", leases(name), change(found, **changes)), 200, refused)


@pytest.mark.parametrize(
    ("name", "changes", "refused"),
    [
        pytest.param(f"presence-{OTHER}", {"spec__holderIdentity": None}, "fence", id="fence"),
        pytest.param(
            "vip-192.0.2.5",
            {"metadata__annotations": {"herald.dev/epoch": "u/3", "herald.dev/services": "c/d"}},
            "another change",
            id="say what another's address is for",
        ),
    ],
)
def test_nobody_drops_an_owner_of_anothers(
    herald: Lab,
    agents: dict[str, Bearer],
    there: Callable[..., Object],
    name: str,
    changes: dict[str, Any],
    refused: str,
) -> None:
    """(An owner that is there, or the garbage collector would take the lease.)"""
    space = herald.api.get(f"/api/v1/namespaces/{SPACE}")
    assert space is not None
    owner = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "name": SPACE,
        "uid": space["metadata"]["uid"],
        "blockOwnerDeletion": False,
    }
    found = there(lease(name, OTHER, ownerReferences=[owner]))
    less = {key: value for key, value in owner.items() if key != "blockOwnerDeletion"}
    for owners in (None, [less]):
        changed = change(found, **changes, metadata__ownerReferences=owners)
        judge(agents[ME]("PUT", leases(name), changed), 200, refused)
    judge(agents[ME]("PUT", leases(name), change(found, **changes)), 200, "")


DELETE = [
    pytest.param(f"presence-{ME}", ME, "", id="own presence"),
    pytest.param(f"presence-{OTHER}", OTHER, "metadata.name", id="another's presence"),
    pytest.param("vip-192.0.2.3", "", "", id="an address that nobody holds"),
    pytest.param("vip-192.0.2.3", OTHER, "", id="an address that another holds (a request to it)"),
]


@pytest.mark.parametrize(("name", "holder", "refused"), DELETE)
def test_delete(
    agents: dict[str, Bearer],
    there: Callable[..., Object],
    name: str,
    holder: str,
    refused: str,
) -> None:
    there(lease(name, holder))
    judge(agents[ME]("DELETE", leases(name)), 200, refused)


@pytest.mark.parametrize("name", [f"presence-{OTHER}", "vip-192.0.2.4"])
def test_others_finish_a_deletion(
    herald: Lab, agents: dict[str, Bearer], there: Callable[..., Object], name: str
) -> None:
    there(lease(name, ""))
    herald.api.delete(leases(name))
    found = herald.api.get(leases(name))
    assert found is not None
    assert found["metadata"]["deletionTimestamp"]
    judge(agents[ME]("PUT", leases(name), change(found, metadata__finalizers=[])), 200, "")
    assert herald.api.get(leases(name)) is None


def test_others_let_go_nothing_but_what_is_heralds(
    herald: Lab, agents: dict[str, Bearer], there: Callable[..., Object]
) -> None:
    name = "vip-192.0.2.4"
    there(lease(name, OTHER, finalizers=[FINALIZER, "a.example/b"]))
    herald.api.delete(leases(name))
    found = herald.api.get(leases(name))
    assert found is not None
    without = [change(found, metadata__finalizers=kept) for kept in ([], ["a.example/b"])]
    judge(agents[ME]("PUT", leases(name), without[0]), 200, "metadata.finalizers")
    judge(agents[ME]("PUT", leases(name), without[1]), 200, "")


def test_others_do_not_finish_the_deletion_of_a_living_presence(
    herald: Lab, agents: dict[str, Bearer], there: Callable[..., Object]
) -> None:
    name = f"presence-{OTHER}"
    there(lease(name, OTHER))
    herald.api.delete(leases(name))
    found = herald.api.get(leases(name))
    assert found is not None
    judge(agents[ME]("PUT", leases(name), change(found, metadata__finalizers=[])), 200, "fence")


TOKENS = [
    pytest.param(ME, 3600, 201, "", id="own"),
    pytest.param(OTHER, 3600, 403, "cannot create resource", id="another's"),
    pytest.param(ME, 100_000, 422, "spec.expirationSeconds", id="own, for longer than a day"),
]


@pytest.mark.parametrize(("of", "seconds", "status", "words"), TOKENS)
def test_tokens(agents: dict[str, Bearer], of: str, seconds: int, status: int, words: str) -> None:
    answer = agents[ME](
        "POST",
        f"/api/v1/namespaces/{HERALD}/serviceaccounts/agent-{of}/token",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        },
    )
    assert (answer.status, words in answer.words) == (status, True), answer.words


def test_nobody_is_given_anothers_token_though_rbac_should_let_it(
    herald: Lab, agents: dict[str, Bearer]
) -> None:
    group = "rbac.authorization.k8s.io"
    rbac = f"/apis/{group}/v1/namespaces/{HERALD}"
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "too-much"}}
    herald.api.apply(f"{rbac}/roles/too-much", {**role, "rules": [rule]})
    try:
        herald.api.apply(
            f"{rbac}/rolebindings/too-much",
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "too-much"},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "too-much"},
                "subjects": [
                    {"kind": "ServiceAccount", "name": f"agent-{ME}", "namespace": HERALD}
                ],
            },
        )
        answer = agents[ME](
            "POST",
            f"/api/v1/namespaces/{HERALD}/serviceaccounts/agent-{OTHER}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        judge(answer, 201, f"wanted a token for agent-{ME}")
    finally:
        herald.api.delete(f"{rbac}/rolebindings/too-much")
        herald.api.delete(f"{rbac}/roles/too-much")


def test_nobody_acts_as_another(agents: dict[str, Bearer]) -> None:
    other = f"system:serviceaccount:{HERALD}:agent-{OTHER}"
    answer = agents[ME]("GET", "/api/v1/nodes", Impersonate_User=other)
    assert answer.status == 403
    assert "cannot impersonate" in answer.words


def test_leases_outside_the_namespace_are_closed(agents: dict[str, Bearer]) -> None:
    for namespace in ("kube-system", "default", "kube-node-lease"):
        answer = agents[ME]("POST", leases(namespace=namespace), lease(f"presence-{ME}", ME))
        assert answer.status in (400, 403), answer.words


CLOSED = [
    ("GET", "/api/v1/secrets"),
    ("GET", f"/api/v1/namespaces/{HERALD}/secrets"),
    ("GET", "/api/v1/pods"),
    ("GET", "/api/v1/configmaps"),
    ("DELETE", "/api/v1/nodes/n1"),
    ("DELETE", leases(namespace=HERALD)),
    ("DELETE", "/apis/herald.dev/v1alpha1/loadbalancerippools"),
    ("POST", "/apis/herald.dev/v1alpha1/loadbalancerippools"),
    ("PATCH", "/apis/herald.dev/v1alpha1/loadbalancerippools/any"),
    ("PATCH", "/apis/herald.dev/v1alpha1/l2announcementpolicies/any"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED, ids=[" ".join(item) for item in CLOSED])
def test_closed(agents: dict[str, Bearer], method: str, path: str) -> None:
    answer = agents[ME](method, path, {} if method == "POST" else None)
    assert answer.status == 403, answer.words


OPEN = [
    "/api/v1/services",
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/herald.dev/v1alpha1/loadbalancerippools",
    "/apis/herald.dev/v1alpha1/l2announcementpolicies",
    leases(namespace=HERALD),
]


@pytest.mark.parametrize("path", OPEN)
def test_open(agents: dict[str, Bearer], path: str) -> None:
    answer = agents[ME]("GET", path)
    assert answer.status == 200, answer.words


def test_a_service_is_changed_in_its_status_only(herald: Lab, agents: dict[str, Bearer]) -> None:
    path = f"/api/v1/namespaces/{SPACE}/services/web"
    herald.api.apply(path, WEB)
    agent = agents[ME]
    judge(agent("PATCH", f"{path}/status", {"status": {"conditions": [CONDITION]}}), 200, "")
    labels = {"metadata": {"labels": {"a": "b"}}}
    judge(agent("PATCH", f"{path}/status", labels), 200, "agents write status only")
    assert agent("PATCH", path, labels).status == 403


OURS = {
    "loadbalancerippools": {"blocks": [{"cidr": "192.0.2.0/24"}], "disabled": True},
    "l2announcementpolicies": {"externalIPs": True, "nodeSelector": {"matchLabels": {"a": "b"}}},
}


@pytest.fixture(params=OURS)
def ours(herald: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[str, Object]]:
    """A pool, or a policy, that concerns nobody: its path, and what it is."""
    path = f"/apis/herald.dev/v1alpha1/{request.param}/admission"
    kinds = {"loadbalancerippools": "LoadBalancerIPPool"}
    body = {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": kinds.get(request.param, "L2AnnouncementPolicy"),
        "metadata": {"name": "admission"},
        "spec": OURS[request.param],
    }
    try:
        yield path, herald.api.apply(path, body)
    finally:
        herald.api.delete(path)


def test_a_pool_or_policy_is_changed_in_its_status_only(
    agents: dict[str, Bearer], ours: tuple[str, Object]
) -> None:
    """Of a kind of our own the API server itself keeps all else. The agents that run write the status, too: so that
    nothing of it stays."""
    path, before = ours
    told = {**CONDITION, "observedGeneration": 1}
    patch = {
        "metadata": {"labels": {"a": "b"}, "finalizers": ["a.example/b"]},
        "spec": {"disabled": False, "externalIPs": False},
        "status": {"conditions": [told]},
    }
    answer = agents[ME]("PATCH", f"{path}/status?dryRun=All", patch, Content_Type=MERGE)
    judge(answer, 200, "")
    assert answer.body["status"]["conditions"] == [told]
    assert answer.body["spec"] == before["spec"]
    assert {"labels", "finalizers"} & set(answer.body["metadata"]) == set()
    for method in ("PATCH", "DELETE"):
        assert agents[ME](method, path, {}, Content_Type=MERGE).status == 403


# --- events: of one kind in two groups --------------------------------------------------------

CORE, EVENTS = "/api/v1", "/apis/events.k8s.io/v1"
AGENT = "herald.dev/agent"


def events(group: str, name: str = "") -> str:
    path = f"{group}/namespaces/{SPACE}/events"
    return f"{path}/{name}" if name else path


def event(group: str, component: str, instance: str, name: str = "test") -> Object:
    about = {"kind": "Service", "namespace": SPACE, "name": "web"}
    common = {
        "kind": "Event",
        "metadata": {"name": name, "namespace": SPACE},
        "reason": "Test",
        "type": "Normal",
        "reportingInstance": instance,
    }
    if group == CORE:
        more = {"involvedObject": about, "message": "test", "reportingComponent": component}
        return {**common, **more, "apiVersion": "v1"}
    return {
        **common,
        "apiVersion": "events.k8s.io/v1",
        "regarding": about,
        "note": "test",
        "action": "Test",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": component,
    }


@pytest.mark.parametrize(
    ("component", "instance", "refused"),
    [
        pytest.param(AGENT, ME, "", id="own"),
        pytest.param(AGENT, OTHER, "reportingInstance", id="another's name"),
        pytest.param("kubelet", ME, "reportingInstance", id="another component's name"),
    ],
)
@pytest.mark.parametrize("group", [CORE, EVENTS])
def test_events_bear_their_node(
    agents: dict[str, Bearer], group: str, component: str, instance: str, refused: str
) -> None:
    body = event(group, component, instance)
    judge(agents[ME]("POST", events(group) + "?dryRun=All", body), 201, refused)


MINE = {"reportingComponent": AGENT, "reportingInstance": ME}


@pytest.mark.parametrize(
    ("group", "component", "instance", "patch", "refused"),
    [
        pytest.param(CORE, AGENT, ME, {"message": "more"}, "", id="own"),
        pytest.param(
            CORE, AGENT, OTHER, {"message": "more"}, "reportingInstance", id="another node's"
        ),
        pytest.param(CORE, AGENT, OTHER, MINE, "one to change", id="another node's, for one's own"),
        pytest.param(
            CORE, "kubelet", ME, MINE, "one to change", id="another component's, for one's own"
        ),
        pytest.param(
            CORE, AGENT, ME, {"reportingInstance": OTHER}, "reportingInstance", id="own, given away"
        ),
        # All that the API server itself lets anybody change in this group.
        pytest.param(
            EVENTS,
            AGENT,
            OTHER,
            {"metadata": {"labels": {"a": "b"}}},
            "reportingInstance",
            id="another node's, in the other group",
        ),
    ],
)
def test_events_are_changed_by_their_node_only(
    herald: Lab,
    agents: dict[str, Bearer],
    group: str,
    component: str,
    instance: str,
    patch: Object,
    refused: str,
) -> None:
    herald.api.request("POST", events(CORE), event(CORE, component, instance, "changed"))
    try:
        judge(agents[ME]("PATCH", events(group, "changed"), patch), 200, refused)
    finally:
        herald.api.delete(events(CORE, "changed"))


# --- an identity of Herald's namespace that is no agent ---------------------------------------


@pytest.fixture(scope="module")
def stranger(herald: Lab, agents: dict[str, Bearer]) -> Bearer:
    """What a pod in Herald's namespace would be."""
    return Bearer(herald, token_of(herald, "default"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(leases(), lease("presence-default", "default"), id="presence"),
        pytest.param(leases(), lease("vip-192.0.2.1", "default"), id="address"),
        pytest.param(events(CORE), event(CORE, AGENT, "default"), id="event"),
        pytest.param(events(CORE), event(CORE, AGENT, ""), id="event of nobody"),
    ],
)
def test_who_is_no_agent_writes_nothing(stranger: Bearer, path: str, body: Object) -> None:
    judge(stranger("POST", path + "?dryRun=All", body), 201, NO_AGENT)


def test_who_is_no_agent_changes_no_service(herald: Lab, stranger: Bearer) -> None:
    path = f"/api/v1/namespaces/{SPACE}/services/web"
    herald.api.apply(path, WEB)
    patch = {"status": {"conditions": [CONDITION]}}
    judge(stranger("PATCH", f"{path}/status", patch), 200, NO_AGENT)


def test_who_is_no_agent_changes_no_pool_and_no_policy(
    stranger: Bearer, ours: tuple[str, Object]
) -> None:
    path, _ = ours
    patch = {"status": {"conditions": [CONDITION]}}
    judge(stranger("PATCH", f"{path}/status", patch, Content_Type=MERGE), 200, NO_AGENT)


def judge(answer: Answer, status: int, refused: str) -> None:
    """Let through with this status, or refused by a rule whose message has these words."""
    if not refused:
        assert answer.status == status, answer.words
        return
    assert answer.status == 422, answer.words
    assert "ValidatingAdmissionPolicy" in answer.words
    assert refused in answer.words
