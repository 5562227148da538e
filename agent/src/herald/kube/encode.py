# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider's values to the JSON that the API server takes. Pure: what people read (times) is handed in."""

from __future__ import annotations

from collections.abc import Mapping

from herald.core.effects import EmitEvent, PatchPolicy, PatchPool, PatchService
from herald.core.model import Condition, Lease, Owner
from herald.kube.transport import Json

COMPONENT = "herald"
CONTROLLER = "herald.dev/agent"
_MESSAGE_MAX = 1024
"""Bytes of an Event's message, by core/v1 validation."""
_NAME_MAX = 253
_UNTRACKED: list[object] = [{}]
"""As ``managedFields``: forget them, and note none until somebody applies."""


def lease(value: Lease, namespace: str, now: str) -> Json:
    """A whole Lease, for create and update; ``now``: its ``renewTime``, and the ``acquireTime`` of a new holder.

    No holder is a ``holderIdentity`` that is absent; uid and resourceVersion are there where the value has them,
    so that an update can neither overwrite another's write nor create the Lease anew. An update also ends that the API
    server notes who set which field: agents alone write Leases, and the notes cost it a quarter of each write, and
    every agent half of what it reads.
    """
    metadata: dict[str, object] = {"name": value.name, "namespace": namespace}
    if value.uid:
        metadata["uid"] = value.uid
        metadata["managedFields"] = _UNTRACKED
    if value.resource_version:
        metadata["resourceVersion"] = str(value.resource_version)
    if value.labels:
        metadata["labels"] = dict(value.labels)
    if value.annotations:
        metadata["annotations"] = dict(value.annotations)
    if value.finalizers:
        metadata["finalizers"] = list(value.finalizers)
    if value.owners:
        metadata["ownerReferences"] = [_owner(each) for each in value.owners]
    spec: dict[str, object] = {"leaseTransitions": value.transitions, "renewTime": now}
    if value.holder:
        spec["holderIdentity"] = value.holder
        spec["acquireTime"] = value.acquired or now
    if value.duration_seconds:
        spec["leaseDurationSeconds"] = value.duration_seconds
    if value.strategy:
        spec["strategy"] = value.strategy
    if value.preferred_holder:
        spec["preferredHolder"] = value.preferred_holder
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    }


def _owner(value: Owner) -> Json:
    reference: dict[str, object] = {
        "apiVersion": value.api_version,
        "kind": value.kind,
        "name": value.name,
        "uid": value.uid,
    }
    if value.controller is not None:
        reference["controller"] = value.controller
    if value.block_owner_deletion is not None:
        reference["blockOwnerDeletion"] = value.block_owner_deletion
    return reference


def delete_options(value: Lease) -> Json:
    preconditions: dict[str, str] = {}
    if value.uid:
        preconditions["uid"] = value.uid
    if value.resource_version:
        preconditions["resourceVersion"] = str(value.resource_version)
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}


def service_status(patch: PatchService, now: str) -> Json:
    """A strategic merge patch of a Service's status.

    Conditions are merged by type, so others' stay; a condition whose status does not change keeps its
    transition time. The list of ingress addresses is replaced as a whole: so it is defined (atomic). The uid
    keeps it from another Service of that name.
    """
    before = {condition.type: condition.status for condition in patch.service.conditions}
    conditions: list[object] = [
        _condition(condition, now if before.get(condition.type) != condition.status else "")
        for condition in patch.conditions
    ]
    conditions += [{"$patch": "delete", "type": kind} for kind in patch.drop]
    status: dict[str, object] = {}
    if patch.ingress is not None:
        ingress = [{"ip": address, "ipMode": "VIP"} for address in patch.ingress]
        status["loadBalancer"] = {"ingress": ingress or None}
    if conditions:
        status["conditions"] = conditions
    metadata = {"uid": patch.service.uid}
    if patch.service.resource_version:
        metadata["resourceVersion"] = str(patch.service.resource_version)
    return {"metadata": metadata, "status": status}


def pool_status(patch: PatchPool, times: Mapping[str, str]) -> Json:
    """A merge patch of a pool's status, all of which is ours. ``times``: transition time by condition type."""
    return {
        "metadata": {"resourceVersion": str(patch.resource_version)},
        "status": {
            "ipsTotal": patch.status.ips_total,
            "ipsUsed": patch.status.ips_used,
            "ipsAvailable": patch.status.ips_available,
            "observedGeneration": patch.status.observed_generation,
            "conditions": _observed(
                patch.status.conditions, times, patch.status.observed_generation
            ),
        },
    }


def policy_status(patch: PatchPolicy, times: Mapping[str, str]) -> Json:
    """A merge patch of a policy's status, all of which is ours. ``times``: transition time by condition type."""
    return {
        "metadata": {"resourceVersion": str(patch.resource_version)},
        "status": {
            "services": patch.status.services,
            "nodes": patch.status.nodes,
            "observedGeneration": patch.status.observed_generation,
            "conditions": _observed(
                patch.status.conditions, times, patch.status.observed_generation
            ),
        },
    }


def event(effect: EmitEvent, node: str, *, name: str, now: str) -> Json:
    """A core/v1 Event about a Service."""
    namespace, service = effect.service
    message = effect.message.encode()[:_MESSAGE_MAX].decode("utf-8", "ignore")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{service[: _NAME_MAX - len(name) - 1]}.{name}",
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Service",
            "namespace": namespace,
            "name": service,
            "uid": effect.uid,
        },
        "type": effect.type,
        "reason": effect.reason,
        "message": message,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": CONTROLLER,
        "reportingInstance": node,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _observed(
    conditions: tuple[Condition, ...], times: Mapping[str, str], generation: int
) -> list[object]:
    return [
        {**_condition(condition, times[condition.type]), "observedGeneration": generation}
        for condition in conditions
    ]


def _condition(condition: Condition, since: str) -> dict[str, object]:
    json: dict[str, object] = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
    }
    if since:
        json["lastTransitionTime"] = since
    return json
