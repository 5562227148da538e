# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Many addresses and many nodes: what the loss of one costs, and what the API server has to bear."""

from __future__ import annotations

import os
from collections import Counter
from ipaddress import IPv4Address

import pytest
from tests.sim.cluster import Cluster

from herald.core.leases import POOL, SERVICES, new_vip_lease
from herald.core.model import SECOND, vip_lease_name

FIRST = IPv4Address("198.18.0.1")
NODES = int(os.environ.get("HERALD_NODES", "100"))


def given(cluster: Cluster, count: int) -> list[str]:
    """Services that an allocator has given an address each; nobody announces them yet."""
    names = [f"web{number}" for number in range(count)]
    for number, name in enumerate(names):
        address = FIRST + number
        whose = {SERVICES: f"default/{name}", POOL: "pool"}
        cluster.api.put(new_vip_lease(vip_lease_name(address), whose))
        cluster.service(name, ingress=(str(address),))
    return names


def fenced(cluster: Cluster, node: str) -> bool:
    presence = cluster.api.lease(f"presence-{node}")
    return presence is not None and not presence.holder


def test_a_thousand_addresses_of_a_lost_node_are_announced_within_2_s_of_the_fence() -> None:
    cluster = Cluster(6, pool="198.18.0.0/16")
    names = given(cluster, 1000)
    lost, *others = cluster.machines.values()
    lost.start()
    cluster.run_until(lambda: cluster.served(*names), 10)
    for machine in others:
        machine.start()
    cluster.run(4)
    assert {holder for (holder,) in cluster.answering().values()} == {lost.name}

    lost.power_off()
    cluster.run_until(lambda: fenced(cluster, lost.name), 3)
    assert cluster.run_until(lambda: cluster.served(*names), 5) <= 2.0

    cluster.run(1)
    shares = Counter(holder for (holder,) in cluster.answering().values())
    assert sum(shares.values()) == 1000
    assert max(shares.values()) <= 1.25 * 1000 / len(others), shares
    print(f"\n1,000 addresses on {len(others)} nodes: {sorted(shares.values())}")


def requests_a_second(addresses: int) -> float:
    cluster = Cluster(10, pool="198.18.0.0/16")
    names = given(cluster, addresses)
    cluster.start()
    cluster.run_until(lambda: cluster.served(*names), 20)
    cluster.run(12)
    holders = {holder for (holder,) in cluster.answering().values()}
    cluster.api.writes.clear()
    cluster.run(20)
    rate = len(cluster.api.writes) / 20
    print(f"\n{addresses} addresses on {len(holders)} of 10 nodes: {rate} requests a second")
    return rate


def test_the_api_server_bears_no_more_for_a_thousand_addresses_than_for_ten() -> None:
    few, many = requests_a_second(10), requests_a_second(1000)
    assert many <= 25
    # Ten addresses may leave some nodes idle, which renew less often.
    assert few <= many <= 10 * 2 + 1


@pytest.mark.timeout(NODES * NODES // 10)  # what all hear of all
def test_many_nodes_live_within_the_budget_and_lose_one() -> None:
    cluster = Cluster(NODES, pool="198.18.0.0/16")
    cluster.start()
    cluster.run(4)
    names = given(cluster, NODES * 3 // 2)
    longest = NODES / 5  # seconds: what D is stretched to, and much more
    cluster.run_until(lambda: cluster.served(*names), longest)
    cluster.run(10)
    announcing = {holder for (holder,) in cluster.answering().values()}
    assert len(announcing) > NODES / 2
    cluster.api.writes.clear()
    cluster.run(4)
    # 50 renewals a second in all, whatever the number of nodes; D is stretched for it.
    assert len(cluster.api.writes) / 4 <= 50 * 1.1

    lost = cluster.machines[cluster.holder("web0")]
    stretched = 4 * len(announcing) * SECOND // cluster.settings.renew_budget
    assert stretched > 2 * cluster.settings.duration_ns
    lost.power_off()
    # Liveness is asserted all the while, by the stretched D.
    taken = cluster.run_until(lambda: cluster.served(*names), longest)
    assert taken * SECOND > cluster.settings.duration_ns
    print(
        f"\n{len(announcing)} of {NODES} nodes announce; one lost: served again after {taken:.1f} s"
    )
