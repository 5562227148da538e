# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A Service that has an address says why nobody announces it."""

from __future__ import annotations

from dataclasses import replace

from tests.sim.cluster import Cluster

from herald.core.election.placement import EXCLUDE_LABEL
from herald.core.model import Node, Policy, Selector
from herald.core.status import ANNOUNCED


def announced(cluster: Cluster) -> tuple[str, str, str]:
    (found,) = (c for c in cluster.get("web").conditions if c.type == ANNOUNCED)
    return found.status, found.reason, found.message


def served(nodes: int) -> Cluster:
    cluster = Cluster(nodes)
    cluster.service("web")
    cluster.start()
    cluster.run_until(lambda: cluster.served("web"), 15)
    cluster.run(3)
    assert announced(cluster)[:2] == ("True", "Announced")
    return cluster


def exclude(cluster: Cluster, name: str) -> None:
    node = cluster.api.objects[Node, name]
    assert isinstance(node, Node)
    cluster.api.put(replace(node, labels={EXCLUDE_LABEL: ""}))


def test_no_policy() -> None:
    cluster = served(2)
    policy = cluster.api.objects[Policy, "all"]
    cluster.api.remove(Policy, "all")
    cluster.run(3)
    assert announced(cluster) == (
        "False",
        "NoPolicy",
        "no L2AnnouncementPolicy selects this Service",
    )
    assert cluster.told("web", "NoPolicy")
    cluster.api.put(policy)
    cluster.run(3)
    assert announced(cluster)[:2] == ("True", "Announced")


def test_each_node_says_why_not() -> None:
    cluster = served(3)
    policy = cluster.api.objects[Policy, "all"]
    assert isinstance(policy, Policy)
    cluster.api.put(replace(policy, generation=2, interfaces=("^bond",)))
    exclude(cluster, "n1")
    cluster.run(3)
    no_interface = "no usable interface that a policy names"
    assert announced(cluster) == (
        "False",
        "NoEligibleNode",
        f"n1: label {EXCLUDE_LABEL}; n2: {no_interface}; n3: {no_interface}",
    )
    assert cluster.told("web", "NoEligibleNode")


def test_of_many_nodes_the_first_few_are_named() -> None:
    cluster = served(8)
    policy = cluster.api.objects[Policy, "all"]
    assert isinstance(policy, Policy)
    cluster.api.put(replace(policy, generation=2, interfaces=("^bond",)))
    cluster.run(3)
    message = announced(cluster)[2]
    assert message.startswith("n1: no usable interface")
    assert message.endswith("; n5: no usable interface that a policy names, and 3 more")


def test_who_held_it_is_dead_and_nobody_else_may() -> None:
    cluster = served(3)
    holder = cluster.holder("web")
    policy = cluster.api.objects[Policy, "all"]
    assert isinstance(policy, Policy)
    named = Selector({"kubernetes.io/hostname": holder})
    for name in cluster.machines:
        node = cluster.api.objects[Node, name]
        assert isinstance(node, Node)
        cluster.api.put(replace(node, labels={"kubernetes.io/hostname": name}))
    cluster.api.put(replace(policy, generation=2, node_selector=named))
    cluster.run(3)
    assert cluster.holder("web") == holder
    cluster.machines[holder].power_off()
    cluster.run(8)
    assert announced(cluster)[:2] == ("False", "NoEligibleNode")
    for machine in cluster.machines.values():
        if machine.agent is not None:
            status = machine.agent.status(machine.clock())
            assert (status.addresses, status.announced) == (1, 0)
    cluster.machines[holder].power_on()
    cluster.run(20)
    assert announced(cluster)[:2] == ("True", "Announced")
