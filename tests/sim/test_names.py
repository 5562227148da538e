# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes that are renamed, removed, replaced under the same name, or started twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.sim.cluster import Cluster
from tests.sim.disasters import MODES, Mode
from tests.sim.machine import Machine
from tests.sim.test_life_of_an_address import served_cluster

from herald.core import effects as fx
from herald.core.model import Node
from herald.core.settings import Settings


def presences(cluster: Cluster) -> set[str]:
    return {lease.name for lease in cluster.presences()}


def notes(machine: Machine, event: str) -> list[fx.Note]:
    return [note for _, note in machine.notes if note.event == event]


def test_a_second_machine_of_one_name_keeps_out_and_says_so() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cluster.holder("web0")
    second = cluster.add_machine("clone", node=holder)
    second.start()
    for _ in range(100):
        cluster.run(0.1)
        assert cluster.holder("web0") == holder
    assert cluster.machines[holder].finished is None
    assert second.kernel.entries == {}
    assert len(notes(second, "another machine or boot lives under this node's name")) == 1
    assert second.agent is not None
    (problem,) = second.agent.status(second.clock()).problems
    assert "belongs to another machine" in problem


def test_a_second_machine_takes_the_name_over_when_the_first_is_gone() -> None:
    cluster, _ = served_cluster(nodes=2)
    cluster.run(5)
    first = cluster.machines[cluster.holder("web0")]
    second = cluster.add_machine("clone", node=first.node)
    second.start()
    cluster.run(3)
    first.power_off()
    cluster.run_until(lambda: cluster.served("web0"), 5)
    cluster.run_until(second.may_announce, 15)
    first.power_on()
    cluster.run(10)
    assert cluster.served("web0")
    assert not first.may_announce()
    assert len(notes(first, "another machine or boot lives under this node's name")) == 1


@pytest.mark.parametrize("lose", ["freeze", "pause", "cut"])
@pytest.mark.parametrize("mode", MODES)
def test_a_machine_whose_name_was_taken_over_meanwhile_stays_silent(mode: Mode, lose: str) -> None:
    cluster, _ = served_cluster(nodes=2, settings=Settings(on_api_loss=mode))
    cluster.run(5)
    first = cluster.machines[cluster.holder("web0")]
    second = cluster.add_machine("clone", node=first.node)
    second.start()
    cluster.run(3)
    getattr(first, lose)()
    cluster.run_until(second.may_announce, 15)
    getattr(first, {"freeze": "thaw", "pause": "resume", "cut": "join"}[lose])()
    cluster.run(20)
    assert cluster.served("web0")
    assert second.may_announce()
    assert (first.kernel.entries, first.kernel.session.deadline) == ({}, 0)


def test_a_node_replaced_under_the_same_name_leaves_nothing_behind() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    old = cluster.machines[cluster.holder("web0")]
    presence = cluster.api.lease(f"presence-{old.node}")
    assert presence is not None
    old.power_off()
    cluster.delete_node(old.node)
    cluster.run_until(lambda: cluster.served("web0"), 5)
    cluster.run(5)
    assert f"presence-{old.node}" not in presences(cluster)

    node = Node(old.node, "another-uid", {}, {}, (), ready=True)
    cluster.api.put(node)
    new = cluster.add_machine("new", node=old.node)
    new.start()
    cluster.run_until(new.may_announce, 15)
    cluster.run(3)
    renewed = cluster.api.lease(f"presence-{old.node}")
    assert renewed is not None
    assert renewed.uid != presence.uid
    assert [owner.uid for owner in renewed.owners] == ["another-uid"]
    assert cluster.served("web0")


def test_a_node_that_is_renamed_is_another_and_the_old_name_is_collected() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    machine = cluster.machines[cluster.holder("web0")]
    machine.power_off()
    old, machine.node = machine.node, "renamed"
    cluster.api.put(Node("renamed", "renamed-uid", {}, {}, (), ready=True))
    machine.power_on()
    cluster.delete_node(old)
    cluster.run_until(lambda: cluster.served("web0"), 5)
    cluster.run(10)
    assert presences(cluster) == {f"presence-{each.node}" for each in cluster.machines.values()}
    assert machine.may_announce()


def test_a_node_whose_node_object_is_gone_hands_over_what_it_holds() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    holder = cluster.holder("web0")
    known = cluster.api.objects[Node, holder]
    cluster.delete_node(holder)
    cluster.run(5)
    assert cluster.served("web0")
    assert cluster.holder("web0") != holder
    assert isinstance(known, Node)
    cluster.api.put(replace(known, uid="made-anew"))
    cluster.run(5)
    assert cluster.machines[holder].may_announce()


def test_a_node_that_is_removed_while_its_agent_runs_leaves_nothing_behind() -> None:
    cluster, _ = served_cluster()
    cluster.run(5)
    removed = cluster.machines[cluster.holder("web0")]
    cluster.delete_node(removed.node)
    cluster.run(5)
    assert cluster.served("web0")
    assert removed.agent is not None
    (problem,) = removed.agent.status(removed.clock()).problems
    assert problem == f"there is no Node named {removed.node}"
    removed.power_off()
    cluster.run(15)
    assert f"presence-{removed.node}" not in presences(cluster)


def test_a_node_that_is_renamed_within_one_boot_leaves_nothing_of_the_old_name() -> None:
    """Its kernel still has entries and a deadline when the agent begins under the other name."""
    cluster, _ = served_cluster()
    cluster.run(5)
    machine = cluster.machines[cluster.holder("web0")]
    machine.kill()
    old, machine.node = machine.node, "renamed"
    cluster.api.put(Node("renamed", "renamed-uid", {}, {}, (), ready=True))
    cluster.delete_node(old)
    cluster.run(0.5)
    assert machine.kernel.entries
    machine.start()
    cluster.run_until(machine.may_announce, 15)
    cluster.run(10)
    assert cluster.served("web0")
    assert presences(cluster) == {f"presence-{each.node}" for each in cluster.machines.values()}
