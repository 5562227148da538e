# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""JSON from the API server to the decider's values: only the fields that a decision uses.

Total but for one exception: ``Undecodable``, which names the field. What a user wrote as free text (addresses,
expressions) stays text: the module that understands it refuses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Literal

from herald.core.alike import mapping_once, once, texts_once
from herald.core.events import Key, Kind, KubeObject
from herald.core.leases import compact
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
    conditions_once,
)
from herald.kube.fields import Fields, Undecodable

OURS = "herald.dev/"
SERVICE_ANNOTATIONS = (
    OURS,
    "lbipam.cilium.io/",
    "io.cilium/",
    "metallb.io/",
    "metallb.universe.tf/",
)
_SERVICE_NAME = "kubernetes.io/service-name"


def decode(kind: Kind, json: object) -> KubeObject:
    """The value of one object; Undecodable names the field that is not as the API documents it."""
    return _DECODERS[kind](_top(json))


def decode_lease(json: object) -> Lease:
    """As ``decode``, where it can be nothing else."""
    return _lease(_top(json))


def decode_service(json: object) -> Service:
    """As ``decode``, where it can be nothing else."""
    return _service(_top(json))


def key_of(kind: Kind, json: object) -> Key:
    """What the decider knows an object by; needs no more than its metadata."""
    metadata = _top(json).record("metadata")
    name = metadata.required("name")
    return (metadata.word("namespace"), name) if kind in (Service, Endpoints) else name


def _top(json: object) -> Fields:
    if not isinstance(json, dict):
        raise Undecodable(f"wanted an object, found {type(json).__name__}")
    return Fields(json)


def _service(json: Fields) -> Service:
    metadata, spec, status = json.record("metadata"), json.record("spec"), json.record("status")
    ingress = list(status.record("loadBalancer").records("ingress"))
    traffic_policy = spec.word("externalTrafficPolicy", "Cluster")
    selector = spec.labels("selector")
    return Service(
        namespace=sys.intern(metadata.required("namespace")),
        name=sys.intern(metadata.required("name")),
        uid=metadata.text("uid"),
        resource_version=metadata.resource_version(),
        labels=texts_once(metadata.labels("labels")),
        annotations=mapping_once(metadata.labels("annotations", SERVICE_ANNOTATIONS)),
        type=spec.word("type", "ClusterIP"),
        load_balancer_class=spec.word("loadBalancerClass") if "loadBalancerClass" in spec else None,
        load_balancer_ip=spec.text("loadBalancerIP"),
        ip_families=once(tuple(_families(spec))),
        ip_family_policy=spec.word("ipFamilyPolicy"),
        external_ips=spec.texts("externalIPs"),
        ports=once(
            tuple(
                ServicePort(port.word("protocol", "TCP"), port.number("port"))
                for port in spec.records("ports")
            )
        ),
        external_traffic_policy=traffic_policy,
        selector=mapping_once(selector if traffic_policy == "Local" else {}),
        ingress=tuple(each.text("ip") for each in ingress if "ip" in each),
        conditions=conditions_once(tuple(_conditions(status, OURS))),
        deleting="deletionTimestamp" in metadata,
        served_otherwise=any("ip" not in each for each in ingress),
        written=sys.intern(max(_writes(metadata), default="")),
    )


def _writes(metadata: Fields) -> Iterator[str]:
    """When each manager last wrote the object itself."""
    for entry in metadata.records("managedFields"):
        if "subresource" not in entry:
            yield entry.word("time")


def _families(spec: Fields) -> Iterator[Literal[4, 6]]:
    for family in spec.texts("ipFamilies"):
        if family == "IPv4":
            yield 4
        elif family == "IPv6":
            yield 6


def _endpoints(json: Fields) -> Endpoints:
    """Nodes with a ready endpoint, and those whose endpoints still serve while they end.

    kube-proxy sends to the latter where a node has no ready one (KEP-1669). A ``ready`` that is not set means
    ready, a ``serving`` that is not set the same as ready (EndpointConditions).
    """
    metadata = json.record("metadata")
    ready: set[str] = set()
    ending: set[str] = set()
    for endpoint in json.records("endpoints"):
        if not (node := endpoint.word("nodeName")):
            continue
        conditions = endpoint.record("conditions")
        is_ready = conditions.flag("ready", True)
        if is_ready:
            ready.add(node)
        elif conditions.flag("serving", is_ready) and conditions.flag("terminating", False):
            ending.add(node)
    return Endpoints(
        namespace=metadata.word("namespace"),
        name=metadata.required("name"),
        service_name=metadata.labels("labels").get(_SERVICE_NAME, ""),
        nodes=once(frozenset(ready)),
        ending=once(frozenset(ending - ready)),
    )


def _node(json: Fields) -> Node:
    metadata, spec, status = json.record("metadata"), json.record("spec"), json.record("status")
    ready: bool | None = None
    for condition in status.records("conditions"):
        if condition.text("type") == "Ready":
            ready = {"True": True, "False": False}.get(condition.text("status"))
    return Node(
        name=metadata.required("name"),
        uid=metadata.text("uid"),
        labels=metadata.labels("labels"),
        annotations=metadata.labels("annotations", (OURS,)),
        taints=tuple(
            Taint(taint.word("key"), taint.word("value"), taint.word("effect"))
            for taint in spec.records("taints")
        ),
        ready=ready,
    )


def _pool(json: Fields) -> Pool:
    metadata, spec = json.record("metadata"), json.record("spec")
    return Pool(
        name=metadata.required("name"),
        uid=metadata.text("uid"),
        resource_version=metadata.resource_version(),
        generation=metadata.number("generation"),
        created=metadata.text("creationTimestamp"),
        blocks=tuple(_blocks(spec, "blocks")),
        exclude=tuple(_blocks(spec, "exclude")),
        service_selector=_selector(spec, "serviceSelector"),
        allow_first_last_ips=spec.flag("allowFirstLastIPs", True),
        avoid_buggy_ips=spec.flag("avoidBuggyIPs", False),
        auto_assign=spec.flag("autoAssign", True),
        priority=spec.number("priority", 100),
        disabled=spec.flag("disabled", False),
        deleting="deletionTimestamp" in metadata,
        status=_pool_status(json.record("status")) if "status" in json else None,
    )


def _blocks(spec: Fields, name: str) -> Iterator[Block]:
    for block in spec.records(name):
        yield Block(block.text("cidr"), block.text("start"), block.text("stop"))


def _pool_status(status: Fields) -> PoolStatus:
    return PoolStatus(
        ips_total=status.text("ipsTotal"),
        ips_used=status.text("ipsUsed"),
        ips_available=status.text("ipsAvailable"),
        observed_generation=status.number("observedGeneration"),
        conditions=tuple(_conditions(status)),
    )


def _policy(json: Fields) -> Policy:
    metadata, spec = json.record("metadata"), json.record("spec")
    return Policy(
        name=metadata.required("name"),
        uid=metadata.text("uid"),
        resource_version=metadata.resource_version(),
        generation=metadata.number("generation"),
        service_selector=_selector(spec, "serviceSelector"),
        node_selector=_selector(spec, "nodeSelector"),
        interfaces=spec.texts("interfaces"),
        load_balancer_ips=spec.flag("loadBalancerIPs", False),
        external_ips=spec.flag("externalIPs", False),
        preferred_nodes=tuple(
            PreferredNodes(
                _selector(preferred, "nodeSelector"), preferred.number_within("weight", 1, 100)
            )
            for preferred in spec.records("preferredNodes")
        ),
        answer_ping=spec.flag("answerPing", True),
        segment_health=spec.flag("segmentHealth", True),
        deleting="deletionTimestamp" in metadata,
        status=_policy_status(json.record("status")) if "status" in json else None,
    )


def _policy_status(status: Fields) -> PolicyStatus:
    return PolicyStatus(
        services=status.number("services"),
        nodes=status.number("nodes"),
        observed_generation=status.number("observedGeneration"),
        conditions=tuple(_conditions(status)),
    )


def _selector(parent: Fields, name: str) -> Selector:
    selector = parent.record(name)
    return Selector(
        match_labels=selector.labels("matchLabels"),
        match_expressions=tuple(
            Requirement(each.word("key"), each.word("operator"), each.texts("values"))
            for each in selector.records("matchExpressions")
        ),
    )


def _conditions(status: Fields, prefix: str = "") -> Iterator[Condition]:
    for condition in status.records("conditions"):
        if (kind := condition.word("type")).startswith(prefix):
            yield Condition(
                type=kind,
                status=_STATUSES.get(condition.text("status"), "Unknown"),
                reason=condition.word("reason"),
                message=condition.text("message"),
            )


def _lease(json: Fields) -> Lease:
    metadata, spec = json.record("metadata"), json.record("spec")
    return Lease(
        name=metadata.required("name"),
        uid=metadata.text("uid"),
        resource_version=metadata.resource_version(),
        holder=spec.word("holderIdentity"),
        transitions=spec.number("leaseTransitions"),
        duration_seconds=spec.number("leaseDurationSeconds"),
        labels=mapping_once(metadata.labels("labels")),
        annotations=compact(metadata.labels("annotations")),
        finalizers=once(metadata.texts("finalizers")),
        owners=tuple(_owner(each) for each in metadata.records("ownerReferences")),
        deleting="deletionTimestamp" in metadata,
        acquired=spec.text("acquireTime"),
        strategy=spec.word("strategy"),
        preferred_holder=spec.word("preferredHolder"),
    )


def _owner(json: Fields) -> Owner:
    return Owner(
        name=json.word("name"),
        uid=json.text("uid"),
        api_version=json.word("apiVersion"),
        kind=json.word("kind"),
        controller=json.flag_said("controller"),
        block_owner_deletion=json.flag_said("blockOwnerDeletion"),
    )


_STATUSES: dict[str, Literal["True", "False", "Unknown"]] = {"True": "True", "False": "False"}

_DECODERS: dict[Kind, Callable[[Fields], KubeObject]] = {
    Service: _service,
    Endpoints: _endpoints,
    Node: _node,
    Pool: _pool,
    Policy: _policy,
    Lease: _lease,
}
