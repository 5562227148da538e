# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""JSON as API servers send it, and the values that the decider gets. Then the same, broken in every way."""

from __future__ import annotations

import contextlib
import copy
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herald.core.events import Kind
from herald.core.model import (
    Block,
    Condition,
    Endpoints,
    Lease,
    Node,
    Owner,
    Policy,
    PolicyStatus,
    Pool,
    PoolStatus,
    PreferredNodes,
    Requirement,
    Selector,
    Service,
    ServicePort,
    Taint,
)
from herald.kube.decode import decode, decode_lease, key_of
from herald.kube.fields import Undecodable

SERVICE: dict[str, Any] = {
    "metadata": {
        "namespace": "shop",
        "name": "web",
        "uid": "u1",
        "resourceVersion": "7",
        "labels": {"app": "web"},
        "annotations": {
            "herald.dev/ips": "192.0.2.7",
            "lbipam.cilium.io/sharing-key": "k",
            "io.cilium/lb-ipam-ips": "192.0.2.8",
            "metallb.io/address-pool": "p",
            "metallb.universe.tf/address-pool": "p",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "example.com/herald.dev/ips": "no",
        },
        "managedFields": [
            {"manager": "helm", "time": "2026-01-01T00:00:09Z"},
            {"manager": "kubectl", "time": "2026-01-01T00:00:10Z"},
            {"manager": "herald-agent", "time": "2026-01-01T00:00:11Z", "subresource": "status"},
            {"manager": "nobody"},
        ],
    },
    "spec": {
        "type": "LoadBalancer",
        "loadBalancerClass": "herald.dev/l2",
        "loadBalancerIP": "192.0.2.7",
        "ipFamilies": ["IPv6", "IPv4"],
        "ipFamilyPolicy": "PreferDualStack",
        "externalIPs": ["198.51.100.1"],
        "ports": [
            {
                "name": "http",
                "protocol": "TCP",
                "port": 80,
                "targetPort": "http",
                "nodePort": 30080,
            },
            {"port": 53, "protocol": "UDP"},
            {"port": 443},
        ],
        "externalTrafficPolicy": "Local",
        "selector": {"app": "web"},
    },
    "status": {
        "loadBalancer": {
            "ingress": [{"ip": "192.0.2.7", "ipMode": "VIP"}, {"hostname": "x.example"}]
        },
        "conditions": [
            {
                "type": "herald.dev/Allocated",
                "status": "True",
                "reason": "Allocated",
                "message": "m",
            },
            {"type": "example.com/Other", "status": "False"},
        ],
    },
}

NODE: dict[str, Any] = {
    "metadata": {
        "name": "n1",
        "uid": "u",
        "labels": {"zone": "a"},
        "annotations": {"herald.dev/drain": "true", "node.alpha.kubernetes.io/ttl": "0"},
    },
    "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
    "status": {
        "conditions": [
            {"type": "DiskPressure", "status": "False"},
            {"type": "Ready", "status": "True"},
        ]
    },
}

POOL: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "uid": "u",
        "resourceVersion": "9",
        "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
    },
    "spec": {
        "blocks": [
            {"cidr": "192.0.2.0/28"},
            {"start": "fd00::1", "stop": "fd00::9"},
            {"start": "fd00::f"},
        ],
        "exclude": [{"cidr": "192.0.2.3/32"}],
        "serviceSelector": {
            "matchLabels": {"a": "b"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["d", "e"]},
                {"key": "f", "operator": "Exists"},
            ],
        },
        "allowFirstLastIPs": False,
        "avoidBuggyIPs": True,
        "autoAssign": False,
        "priority": 7,
        "disabled": True,
    },
    "status": {
        "ipsTotal": "20",
        "ipsUsed": "1",
        "ipsAvailable": "19",
        "observedGeneration": 2,
        "conditions": [{"type": "Ready", "status": "Unknown", "reason": "R", "message": "m"}],
    },
}

POLICY: dict[str, Any] = {
    "metadata": {"name": "all", "uid": "u", "resourceVersion": "3", "generation": 1},
    "spec": {
        "serviceSelector": {"matchLabels": {"a": "b"}},
        "nodeSelector": {"matchLabels": {"c": "d"}},
        "interfaces": ["^eth[0-9]$"],
        "loadBalancerIPs": True,
        "externalIPs": True,
        "preferredNodes": [{"weight": 10, "nodeSelector": {"matchLabels": {"e": "f"}}}],
        "answerPing": False,
        "segmentHealth": False,
    },
    "status": {"services": 1, "nodes": 2, "observedGeneration": 1},
}

LEASE: dict[str, Any] = {
    "metadata": {
        "name": "presence-n1",
        "namespace": "herald-system",
        "uid": "u",
        "resourceVersion": "12",
        "labels": {"l": "1"},
        "annotations": {"herald.dev/presence": "{", "other": "kept"},
        "finalizers": ["herald.dev/lease", "example.com/x"],
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": "d",
                "uid": "du",
                "controller": True,
                "blockOwnerDeletion": False,
            },
            {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "nu"},
        ],
        "deletionTimestamp": "2026-01-02T00:00:00Z",
    },
    "spec": {
        "holderIdentity": "n1",
        "leaseDurationSeconds": 2,
        "leaseTransitions": 4,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:01.000000Z",
        "strategy": "OldestEmulationVersion",
        "preferredHolder": "n2",
    },
}

SLICE: dict[str, Any] = {
    "metadata": {
        "name": "web-x",
        "namespace": "shop",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "endpoints": [{"nodeName": "n1", "addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
}

EXAMPLES: list[tuple[Kind, dict[str, Any], object]] = [
    (
        Service,
        SERVICE,
        Service(
            namespace="shop",
            name="web",
            uid="u1",
            resource_version=7,
            labels={"app": "web"},
            annotations={
                "herald.dev/ips": "192.0.2.7",
                "lbipam.cilium.io/sharing-key": "k",
                "io.cilium/lb-ipam-ips": "192.0.2.8",
                "metallb.io/address-pool": "p",
                "metallb.universe.tf/address-pool": "p",
            },
            type="LoadBalancer",
            load_balancer_class="herald.dev/l2",
            load_balancer_ip="192.0.2.7",
            ip_families=(6, 4),
            ip_family_policy="PreferDualStack",
            external_ips=("198.51.100.1",),
            ports=(ServicePort("TCP", 80), ServicePort("UDP", 53), ServicePort("TCP", 443)),
            external_traffic_policy="Local",
            selector={"app": "web"},
            ingress=("192.0.2.7",),
            conditions=(Condition("herald.dev/Allocated", "True", "Allocated", "m"),),
            deleting=False,
            served_otherwise=True,
            written="2026-01-01T00:00:10Z",
        ),
    ),
    (
        Node,
        NODE,
        Node(
            "n1",
            "u",
            {"zone": "a"},
            {"herald.dev/drain": "true"},
            (Taint("k", "", "NoSchedule"),),
            True,
        ),
    ),
    (
        Pool,
        POOL,
        Pool(
            name="p",
            uid="u",
            resource_version=9,
            generation=2,
            created="2026-01-01T00:00:00Z",
            blocks=(Block("192.0.2.0/28"), Block("", "fd00::1", "fd00::9"), Block("", "fd00::f")),
            exclude=(Block("192.0.2.3/32"),),
            service_selector=Selector(
                {"a": "b"}, (Requirement("c", "In", ("d", "e")), Requirement("f", "Exists"))
            ),
            allow_first_last_ips=False,
            avoid_buggy_ips=True,
            auto_assign=False,
            priority=7,
            disabled=True,
            deleting=True,
            status=PoolStatus("20", "1", "19", 2, (Condition("Ready", "Unknown", "R", "m"),)),
        ),
    ),
    (
        Policy,
        POLICY,
        Policy(
            name="all",
            uid="u",
            resource_version=3,
            generation=1,
            service_selector=Selector({"a": "b"}),
            node_selector=Selector({"c": "d"}),
            interfaces=("^eth[0-9]$",),
            load_balancer_ips=True,
            external_ips=True,
            preferred_nodes=(PreferredNodes(Selector({"e": "f"}), 10),),
            answer_ping=False,
            segment_health=False,
            status=PolicyStatus(1, 2, 1, ()),
        ),
    ),
    (
        Lease,
        LEASE,
        Lease(
            name="presence-n1",
            uid="u",
            resource_version=12,
            holder="n1",
            transitions=4,
            duration_seconds=2,
            labels={"l": "1"},
            annotations={"herald.dev/presence": "{", "other": "kept"},
            finalizers=("herald.dev/lease", "example.com/x"),
            owners=(Owner("d", "du", "apps/v1", "Deployment", True, False), Owner("n1", "nu")),
            deleting=True,
            acquired="2026-01-01T00:00:00.000000Z",
            strategy="OldestEmulationVersion",
            preferred_holder="n2",
        ),
    ),
    (Endpoints, SLICE, Endpoints("shop", "web-x", "web", frozenset({"n1"}))),
]
KINDS = [kind for kind, _, _ in EXAMPLES]
by_kind = pytest.mark.parametrize(
    ("kind", "json", "value"), EXAMPLES, ids=[k.__name__ for k in KINDS]
)


@by_kind
def test_what_an_object_says(kind: Kind, json: dict[str, Any], value: object) -> None:
    assert decode(kind, json) == value


@by_kind
def test_its_key_is_that_of_the_value(kind: Kind, json: dict[str, Any], value: Any) -> None:
    assert key_of(kind, json) == value.key


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Pool, Pool("x", "", 1, 0, "", ())),
        (Policy, Policy("x", "", 1, 0)),
        (Lease, Lease("x", resource_version=1)),
        (Node, Node("x", "", {}, {}, (), None)),
        (Endpoints, Endpoints("", "x", "", frozenset())),
    ],
)
@pytest.mark.parametrize("rest", [{}, {"spec": None, "status": None}, {"spec": {}}])
def test_what_is_absent_has_its_default(kind, expected, rest) -> None:
    assert decode(kind, {"metadata": {"name": "x", "resourceVersion": "1"}} | rest) == expected


def test_no_class_and_an_empty_spec_are_a_cluster_ip_service() -> None:
    service = decode(Service, {"metadata": {"name": "x", "namespace": "y", "resourceVersion": "1"}})
    assert isinstance(service, Service)
    assert (service.type, service.load_balancer_class) == ("ClusterIP", None)


@pytest.mark.parametrize(("policy", "kept"), [("Local", {"app": "web"}), ("Cluster", {})])
def test_a_selector_is_kept_only_where_somebody_looks_at_it(policy, kept) -> None:
    service = decode(
        Service, SERVICE | {"spec": SERVICE["spec"] | {"externalTrafficPolicy": policy}}
    )
    assert isinstance(service, Service)
    assert service.selector == kept


@pytest.mark.parametrize(
    ("status", "ready"), [("True", True), ("False", False), ("Unknown", None), ("", None)]
)
def test_a_node_is_ready_or_not_or_nobody_says(status, ready) -> None:
    json = NODE | {"status": {"conditions": [{"type": "Ready", "status": status}]}}
    node = decode(Node, json)
    assert isinstance(node, Node)
    assert node.ready is ready


@pytest.mark.parametrize("year", ["0001", "2025", "2027", "9999"])
@pytest.mark.parametrize("time", ["renewTime", "acquireTime"])
def test_whoever_writes_a_lease_with_a_clock_that_is_years_off_is_read_as_any_other(
    time: str, year: str
) -> None:
    stamped = {**LEASE["spec"], time: (stamp := f"{year}-01-01T00:00:00.000000Z")}
    read, usual = decode_lease(LEASE | {"spec": stamped}), decode_lease(LEASE)
    assert read.acquired == (stamp if time == "acquireTime" else usual.acquired)
    assert replace(read, acquired=usual.acquired) == usual


def endpoint(node: str | None, **conditions: bool | None) -> dict[str, Any]:
    return {"conditions": conditions} | ({"nodeName": node} if node else {})


READY = {"ready": True, "serving": True, "terminating": False}
ENDING = {"ready": False, "serving": True, "terminating": True}
ENDED = {"ready": False, "serving": False, "terminating": True}
FAILING = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("endpoints", "nodes", "ending"),
    [
        ([], "", ""),
        ([endpoint("n1", **READY), endpoint("n2", **READY), endpoint("n1", **READY)], "n1 n2", ""),
        ([endpoint("n1", **READY), endpoint("n2", **ENDING)], "n1", "n2"),
        ([endpoint("n1", **READY), endpoint("n1", **ENDING)], "n1", ""),
        ([endpoint("n1", **FAILING), endpoint("n2", **ENDING)], "", "n2"),
        ([endpoint("n1", **ENDED), endpoint("n2", **FAILING)], "", ""),
        ([endpoint("n1")], "n1", ""),
        ([endpoint("n1", ready=None)], "n1", ""),
        ([endpoint("n1", ready=False)], "", ""),
        ([endpoint("n1", ready=False, terminating=True)], "", ""),
        ([endpoint(None, **READY)], "", ""),
        (None, "", ""),
    ],
    ids=[
        "none",
        "ready",
        "ready and ending",
        "ready before ending on one node",
        "only ending ones serve",
        "nobody serves",
        "no conditions are ready",
        "ready not set is ready",
        "not ready",
        "serving not set follows ready",
        "without node",
        "null",
    ],
)
def test_the_nodes_that_traffic_may_go_to(endpoints, nodes, ending) -> None:
    value = decode(Endpoints, SLICE | {"endpoints": endpoints})
    assert isinstance(value, Endpoints)
    assert (value.nodes, value.ending) == (set(nodes.split()), set(ending.split()))


# --- broken objects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "found", "wanted"),
    [
        (Pool, "spec", 7, "an object"),
        (Pool, "spec.blocks", {}, "a list"),
        (Pool, "spec.blocks[0]", "x", "an object"),
        (Pool, "spec.blocks[0].cidr", 8, "a string"),
        (Pool, "spec.priority", True, "an integer"),
        (Pool, "spec.priority", 1.5, "an integer"),
        (Pool, "spec.disabled", "no", "true or false"),
        (Pool, "spec.serviceSelector.matchLabels[a]", 1, "a string"),
        (Pool, "spec.serviceSelector.matchExpressions[0].values[1]", 1, "a string"),
        (Pool, "metadata.name", "", "a string that is not empty"),
        (Pool, "metadata.resourceVersion", "x1", "a decimal number"),
        (Pool, "metadata.resourceVersion", "٣", "a decimal number"),
        (Lease, "spec.leaseTransitions", "4", "an integer"),
        (Lease, "metadata.annotations", [], "an object"),
        (Service, "spec.ports[0].port", "http", "an integer"),
        (Endpoints, "endpoints[0].conditions.ready", "yes", "true or false"),
        (Policy, "spec.interfaces", "eth0", "a list"),
        (Policy, "spec.preferredNodes[0].weight", -1, "1 to 100"),
        (Policy, "spec.preferredNodes[0].weight", 10**40, "1 to 100"),
        (Node, "metadata.name", 5, "a string"),
    ],
)
def test_a_complaint_names_field_wanted_and_found(kind, path, found, wanted) -> None:
    json = copy.deepcopy({each: example for each, example, _ in EXAMPLES}[kind])
    *parents, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]
    place: Any = json
    for part in parents:
        place = place[part]
    place[last] = found
    with pytest.raises(Undecodable) as complaint:
        decode(kind, json)
    assert str(complaint.value) == f"{path}: wanted {wanted}, found {found!r}"


def test_a_complaint_is_short() -> None:
    with pytest.raises(Undecodable, match=f"found '{'x' * 59}…$"):
        decode(Node, NODE | {"spec": {"taints": "x" * 1000}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(json: Any) -> list[list[Any]]:
    """The paths of all values inside a JSON document."""
    inner = (
        json.items()
        if isinstance(json, dict)
        else enumerate(json)
        if isinstance(json, list)
        else ()
    )
    return [[]] + [[name, *rest] for name, value in inner for rest in places(value)]


@given(st.sampled_from(EXAMPLES), st.data(), JSON)
def test_garbage_anywhere_is_a_value_or_a_complaint_and_nothing_else(
    example, data, garbage
) -> None:
    kind, json, _ = example
    json = copy.deepcopy(json)
    *parents, last = data.draw(st.sampled_from(places(json)[1:]))
    place = json
    for part in parents:
        place = place[part]
    place[last] = garbage
    with contextlib.suppress(Undecodable):
        assert type(decode(kind, json)) is kind


@given(st.sampled_from(KINDS), JSON)
def test_garbage_instead_of_an_object(kind, garbage) -> None:
    for function in (decode, key_of):
        with pytest.raises(Undecodable):
            function(kind, garbage)
