# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What is sent for each thing that the decider wants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.services import service

from herald.core.effects import EmitEvent, PatchPolicy, PatchPool, PatchService
from herald.core.model import (
    Condition,
    Lease,
    Owner,
    PolicyStatus,
    PoolStatus,
)
from herald.kube import encode
from herald.kube.decode import decode_lease

NOW = "2026-01-01T00:00:00Z"
FULL = Lease(
    name="presence-n1",
    uid="u",
    resource_version=12,
    holder="n1",
    transitions=4,
    duration_seconds=2,
    labels={"l": "1"},
    annotations={"herald.dev/presence": "{", "other": "kept"},
    finalizers=("herald.dev/lease", "example.com/x"),
    owners=(Owner("n1", "nu"), Owner("a", "du", "apps/v1", "Deployment", True, False)),
    acquired="2025-01-01T00:00:00Z",
    strategy="OldestEmulationVersion",
    preferred_holder="n2",
)


@pytest.mark.parametrize(
    "lease",
    [
        FULL,
        replace(FULL, holder="", acquired=""),
        replace(
            FULL,
            owners=(),
            strategy="",
            preferred_holder="",
            labels={},
            annotations={},
            finalizers=(),
        ),
        replace(FULL, duration_seconds=0, transitions=0),
    ],
    ids=["full", "free", "bare", "no duration"],
)
def test_a_lease_that_is_written_loses_nothing(lease: Lease) -> None:
    assert decode_lease(encode.lease(lease, "herald-system", NOW)) == lease


def test_a_lease_to_update_names_the_very_object_and_version() -> None:
    json = encode.lease(FULL, "herald-system", NOW)
    assert isinstance(metadata := json["metadata"], dict)
    assert (metadata["uid"], metadata["resourceVersion"]) == ("u", "12")


def test_a_lease_to_update_is_kept_without_notes_of_who_set_what() -> None:
    json = encode.lease(FULL, "herald-system", NOW)
    assert isinstance(metadata := json["metadata"], dict)
    assert metadata["managedFields"] == [{}]


def test_a_lease_to_create_names_neither() -> None:
    json = encode.lease(Lease("vip-192.0.2.1"), "herald-system", NOW)
    assert json == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "vip-192.0.2.1", "namespace": "herald-system"},
        "spec": {"leaseTransitions": 0, "renewTime": NOW},
    }


def test_no_holder_is_no_field() -> None:
    json = encode.lease(replace(FULL, holder=""), "x", NOW)
    assert isinstance(spec := json["spec"], dict)
    assert {"holderIdentity", "acquireTime"} & set(spec) == set()


def test_a_delete_has_uid_and_version_as_preconditions() -> None:
    assert encode.delete_options(FULL)["preconditions"] == {"uid": "u", "resourceVersion": "12"}


# --- status -----------------------------------------------------------------------------------------------

ALLOCATED = Condition("herald.dev/Allocated", "True", "Allocated", "from pool a")
ANNOUNCED = Condition("herald.dev/Announced", "False", "NoPolicy", "no policy selects it")
SERVICE = service(namespace="shop", uid="u", resource_version=7, conditions=(ALLOCATED,))


def sent(condition: Condition, **more: object) -> dict[str, object]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
    } | more


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        (PatchService(1, SERVICE, None), {}),
        (
            PatchService(1, SERVICE, ("192.0.2.1", "fd00::1")),
            {
                "loadBalancer": {
                    "ingress": [
                        {"ip": "192.0.2.1", "ipMode": "VIP"},
                        {"ip": "fd00::1", "ipMode": "VIP"},
                    ]
                }
            },
        ),
        (PatchService(1, SERVICE, ()), {"loadBalancer": {"ingress": None}}),
        (
            PatchService(1, SERVICE, None, (ANNOUNCED,)),
            {"conditions": [sent(ANNOUNCED, lastTransitionTime=NOW)]},
        ),
        (
            PatchService(1, SERVICE, None, (replace(ALLOCATED, message="another"),)),
            {"conditions": [sent(replace(ALLOCATED, message="another"))]},
        ),
        (
            PatchService(1, SERVICE, None, (replace(ALLOCATED, status="False"),)),
            {"conditions": [sent(replace(ALLOCATED, status="False"), lastTransitionTime=NOW)]},
        ),
        (
            PatchService(1, SERVICE, None, (), ("herald.dev/Allocated",)),
            {"conditions": [{"$patch": "delete", "type": "herald.dev/Allocated"}]},
        ),
    ],
    ids=[
        "nothing",
        "addresses",
        "no addresses any more",
        "a new condition begins now",
        "the same status keeps its time",
        "another status begins now",
        "a condition dropped",
    ],
)
def test_a_service_patch_touches_only_what_it_says(patch, status) -> None:
    assert encode.service_status(patch, NOW) == {
        "metadata": {"uid": "u", "resourceVersion": "7"},
        "status": status,
    }


def test_a_service_patch_of_an_unknown_version_compares_the_uid_alone() -> None:
    patch = PatchService(1, replace(SERVICE, resource_version=0), None)
    assert encode.service_status(patch, NOW)["metadata"] == {"uid": "u"}


def test_a_pool_patch() -> None:
    ready = Condition("Ready", "True", "Ready", "m")
    patch = PatchPool(1, "a", 9, PoolStatus("16", "2", "14", 3, (ready,)))
    assert encode.pool_status(patch, {"Ready": NOW}) == {
        "metadata": {"resourceVersion": "9"},
        "status": {
            "ipsTotal": "16",
            "ipsUsed": "2",
            "ipsAvailable": "14",
            "observedGeneration": 3,
            "conditions": [sent(ready, lastTransitionTime=NOW, observedGeneration=3)],
        },
    }


def test_a_policy_patch() -> None:
    patch = PatchPolicy(1, "all", 9, PolicyStatus(2, 3, 4, ()))
    assert encode.policy_status(patch, {}) == {
        "metadata": {"resourceVersion": "9"},
        "status": {"services": 2, "nodes": 3, "observedGeneration": 4, "conditions": []},
    }


# --- events -----------------------------------------------------------------------------------------------


def test_an_event_is_about_its_service_and_says_who_tells() -> None:
    effect = EmitEvent(("shop", "web"), "u", "Warning", "NoPool", "no pool")
    json = encode.event(effect, "n1", name="abc", now=NOW)
    assert json["metadata"] == {"name": "web.abc", "namespace": "shop"}
    assert json["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": "shop",
        "name": "web",
        "uid": "u",
    }
    assert (json["type"], json["reason"], json["message"]) == ("Warning", "NoPool", "no pool")
    assert (json["reportingComponent"], json["reportingInstance"]) == ("herald.dev/agent", "n1")


@pytest.mark.parametrize("name", ["w", "w" * 63, "w" * 253])
def test_an_event_keeps_within_the_limits_of_names_and_messages(name: str) -> None:
    effect = EmitEvent(("shop", name), "u", "Normal", "Moved", "ä" * 5000)
    json = encode.event(effect, "n1", name="1234567890abcdef", now=NOW)
    assert isinstance(metadata := json["metadata"], dict)
    assert len(metadata["name"]) <= 253
    assert metadata["name"].endswith(".1234567890abcdef")
    assert isinstance(message := json["message"], str)
    assert len(message.encode()) == 1024
