# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What an allocator says of policies: by the real decider, in a cluster of one node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.sim.cluster import Cluster

from herald.core.model import Policy, PreferredNodes, Requirement, Selector

SOUND = Policy("all", "p", 1, 1, load_balancer_ips=True)


@pytest.mark.parametrize(
    ("policy", "reason", "names"),
    [
        (SOUND, "Ready", ""),
        (replace(SOUND, interfaces=("eth", "(")), "InvalidExpression", "spec.interfaces[1]"),
        (
            replace(SOUND, node_selector=Selector({"rack": "b"})),
            "NoMatchingNode",
            "spec.nodeSelector",
        ),
        (replace(SOUND, interfaces=("^bond",)), "NoMatchingInterface", "spec.interfaces"),
        (
            replace(SOUND, service_selector=Selector({}, (Requirement("a", "Near", ("b",)),))),
            "InvalidSelector",
            "spec.serviceSelector",
        ),
        (
            replace(SOUND, preferred_nodes=(PreferredNodes(Selector({"a b": "c"}), 1),)),
            "InvalidSelector",
            "spec.preferredNodes[0].nodeSelector",
        ),
        (replace(SOUND, external_ips=True, load_balancer_ips=False), "Ready", ""),
    ],
)
def test_a_policy_says_what_is_wrong_with_it(policy: Policy, reason: str, names: str) -> None:
    cluster = Cluster(1)
    cluster.api.put(policy)
    cluster.service("web")
    cluster.start()
    cluster.run(5)
    found = cluster.api.objects[Policy, "all"]
    assert isinstance(found, Policy)
    assert found.status is not None
    (condition,) = found.status.conditions
    assert (condition.type, condition.reason) == ("Ready", reason)
    assert names in condition.message
    assert condition.status == ("True" if reason == "Ready" else "False")
