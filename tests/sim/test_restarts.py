# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a process before this one left in the kernel (rule 7): goes on, goes, or is claimed anew, as the lease says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.sim.cluster import Cluster
from tests.sim.test_life_of_an_address import served_cluster

from herald.core.election.placement import EXCLUDE_LABEL
from herald.core.events import ConflictSeen
from herald.core.leases import EPOCH
from herald.core.model import MILLISECOND, SECOND, Node
from herald.core.settings import Settings

VIP = ip_address("198.51.100.0")
LEASE = f"vip-{VIP}"


def test_entries_of_a_lease_that_was_edited_meanwhile_go_before_another_claims_it() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    machine = cluster.machines[cluster.holder("web0")]
    machine.kill()
    cluster.edit(LEASE, {EPOCH: None})
    node = cluster.api.objects[Node, machine.name]
    cluster.api.put(replace(node, labels={EXCLUDE_LABEL: ""}))  # type: ignore[arg-type]
    machine.start()
    # Cluster.check raises if another node answers beside this one. Others wait for the D that its presence says: 10 s
    # once it holds nothing.
    cluster.run(15)
    assert cluster.served("web0")


def silenced_on_restart(cluster: Cluster) -> None:
    """The agent starts and has read its kernel; then, before it knows of any lease, a conflict silences an entry."""
    machine = cluster.machines[cluster.holder("web0")]
    machine.kill()
    cluster.run(0.05)
    machine.start()
    claim = max(e.claimed for k, e in machine.kernel.entries.items() if k.address == VIP)
    machine.kernel.silenced[VIP] = claim
    machine.post(ConflictSeen(VIP, bytes([2, 0, 0, 0, 0, 99]), 2, silenced=True))


def test_an_address_silenced_while_its_agent_starts_is_claimed_anew() -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss="Hold"))
    cluster.run(5)
    silenced_on_restart(cluster)
    assert not cluster.served("web0")
    cluster.run_until(lambda: cluster.served("web0"), 2)


def test_a_claim_anew_announces_before_it_answers() -> None:
    cluster, _ = served_cluster(settings=Settings(on_api_loss="Hold"))
    cluster.run(10)
    machine = cluster.machines[cluster.holder("web0")]
    machine.kernel.silenced[VIP] = max(e.claimed for e in machine.kernel.entries.values())
    machine.post(ConflictSeen(VIP, bytes([2, 0, 0, 0, 0, 99]), 2, silenced=True))
    machine.frames.clear()
    cluster.run(60 * MILLISECOND / 1e9)
    assert cluster.served("web0")
    # The burst begins 100 ms after the claim: this is the pair.
    assert [frame.address for frame in machine.frames] == [VIP]


def test_an_agent_that_cannot_look_where_it_is_attached_goes_on_with_what_it_has() -> None:
    """Somebody else holds the kernel's lock of networking configuration."""
    cluster, _ = served_cluster()
    cluster.run(5)
    machine = cluster.machines[cluster.holder("web0")]
    machine.attaching = 10 * SECOND
    machine.kill()
    cluster.run(0.05)
    machine.start()
    for _ in range(300):
        cluster.run(0.05)
        assert cluster.answering()[VIP] == [machine.name]


def test_an_agent_that_comes_after_its_deadline_claims_what_it_had_at_once() -> None:
    cluster, _ = served_cluster(nodes=1, gateway=True)
    cluster.run(5)
    (machine,) = cluster.machines.values()
    machine.kill()
    cluster.run(3)
    assert not cluster.served("web0")
    machine.start()
    cluster.run_until(lambda: cluster.served("web0"), 1)


def test_who_starts_after_a_fence_waits_for_no_more_than_the_lost_node_s_own_duration() -> None:
    """Whoever fenced it may not announce, and lives by five times as long. (The invariants say for how long.)"""
    cluster, _ = served_cluster(nodes=3)
    cluster.run(5)
    lost = cluster.holder("web0")
    bystander, late = (machine for machine in cluster.machines.values() if machine.name != lost)
    cluster.change_node(bystander.node, labels={EXCLUDE_LABEL: ""})
    late.stop()
    cluster.run(15)
    cluster.machines[lost].power_off()
    cluster.run_until(lambda: not cluster.api.lease(f"presence-{lost}").holder, 5)  # type: ignore[union-attr]
    late.start()
    cluster.run(15)
    assert cluster.served("web0")
