# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A station that is none of the cluster's claims a held address: it is told, answered, and forgotten."""

from __future__ import annotations

import pytest
from tests.sim.cluster import Cluster, Machine
from tests.sim.test_life_of_an_address import served_cluster

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.model import SECOND, Address, Condition

FOREIGN = bytes.fromhex("020000000909")


def scene(**options: object) -> tuple[Cluster, Machine, Address]:
    """A served address that has been announced for a while, its holder, and it."""
    cluster, _ = served_cluster(**options)
    cluster.run(10)
    machine = cluster.machines[cluster.holder("web0")]
    address = min(machine.kernel.answers(machine.clock()))
    return cluster, machine, address


def announced(cluster: Cluster) -> Condition:
    return next(c for c in cluster.get("web0").conditions if c.type == "herald.dev/Announced")


def claims(machine: Machine, address: Address, mac: bytes = FOREIGN) -> None:
    machine.post(ev.ConflictSeen(address, mac, 2))


def notes(machine: Machine, event: str) -> list[fx.Note]:
    return [note for _, note in machine.notes if note.event == event]


def defences(cluster: Cluster, machine: Machine, address: Address, seconds: int) -> list[float]:
    """When this address is announced in so many seconds of one claim each; seconds from now."""
    start, sent = cluster.now, []
    for _ in range(seconds * 10):
        before = len(machine.frames)
        claims(machine, address)
        cluster.run(0.1)
        sent += [(cluster.now - start) / SECOND] * (len(machine.frames) > before)
    return sent


def test_the_service_says_who_else_claims_its_address_until_a_minute_after() -> None:
    cluster, machine, address = scene()
    assert announced(cluster).reason == "Announced"

    claims(machine, address)
    cluster.run(1)

    condition = announced(cluster)
    assert (condition.status, condition.reason) == ("True", "AddressConflict")
    assert f"{address} is also claimed by 02:00:00:00:09:09 on eth0" in condition.message
    assert f"{address} by {machine.name}" in condition.message
    cluster.run(30)
    claims(machine, address)
    cluster.run(58)
    assert announced(cluster).reason == "AddressConflict"
    cluster.run(4)
    assert announced(cluster).reason == "Announced"
    assert len(notes(machine, "address conflict is over")) == 1


def test_a_storm_of_claims_is_told_once_by_event_log_and_condition() -> None:
    cluster, machine, address = scene()
    told: list[fx.Effect] = []
    machine.refuse = lambda effect: told.append(effect) or ""  # type: ignore[func-returns-value]

    for _ in range(50):
        claims(machine, address)
        cluster.run(0.1)

    events = [effect for effect in told if isinstance(effect, fx.EmitEvent)]
    assert [(event.type, event.reason) for event in events] == [("Warning", "AddressConflict")]
    assert "02:00:00:00:09:09 on eth0: answered by an announcement" in events[0].message
    assert sum(isinstance(effect, fx.PatchService) for effect in told) == 1
    assert len(notes(machine, "address conflict")) == 1


def test_it_is_answered_at_once_and_then_every_ten_seconds() -> None:
    """RFC 5227, 2.4: at most so often. The last word is ours, whenever the other has spoken."""
    cluster, machine, address = scene()

    sent = defences(cluster, machine, address, 25)

    assert sent == pytest.approx([0.1, 10.1, 20.1], abs=0.2)
    before = len(machine.frames)
    cluster.run(12)
    assert len(machine.frames) > before, "the claims since the last defence were left standing"
    before = len(machine.frames)
    cluster.run(12)
    assert len(machine.frames) == before


def test_another_claimant_is_news() -> None:
    cluster, machine, address = scene()
    claims(machine, address)
    claims(machine, address, bytes.fromhex("00005e00010a"))
    cluster.run(1)
    assert "00:00:5e:00:01:0a (VRRP or CARP, group 10)" in announced(cluster).message
    assert "02:00:00:00:09:09" in announced(cluster).message
    assert len(notes(machine, "address conflict")) == 2


def test_a_node_of_the_same_cluster_is_named() -> None:
    cluster, machine, address = scene()
    other = next(each for each in cluster.machines.values() if each is not machine)
    claims(machine, address, other.interface().mac)
    cluster.run(1)
    assert f"(node {other.name} of this cluster)" in announced(cluster).message


def test_who_claims_several_addresses_is_told_as_such() -> None:
    _, machine, _ = scene(services=8, nodes=2)
    held = sorted(machine.kernel.answers(machine.clock()))
    assert len(held) > 1
    for each in held:
        claims(machine, each)
    assert agent_conflicts(machine) == {str(each) for each in held}
    who = {told.claimed_by for told in machine.agent.status(machine.clock()).conflicts}  # type: ignore[union-attr]
    assert who == {"02:00:00:00:09:09 (claims several addresses: a proxy, or another cluster)"}


def agent_conflicts(machine: Machine) -> set[str]:
    assert machine.agent is not None
    return {told.address for told in machine.agent.status(machine.clock()).conflicts}


def test_claims_of_what_is_not_held_here_are_no_conflict() -> None:
    cluster, machine, address = scene()
    other = next(each for each in cluster.machines.values() if each is not machine)
    claims(other, address)
    assert agent_conflicts(other) == set()
    claims(machine, address)
    assert agent_conflicts(machine) == {str(address)}

    cluster.edit(f"presence-{machine.name}", {}, holder="")  # as if fenced
    cluster.run(1)

    assert agent_conflicts(machine) == set()
