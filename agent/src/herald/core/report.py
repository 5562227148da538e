# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the agent tells a person about itself."""

from __future__ import annotations

from dataclasses import dataclass

from herald.core.election.conflicts import ConflictTold
from herald.core.events import Kind
from herald.core.model import Endpoints, Lease, Node, Policy, Pool, Service
from herald.core.world import World


@dataclass(frozen=True, slots=True)
class HeldAddress:
    address: str
    interfaces: tuple[str, ...]
    held_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    node: str
    phase: str
    epoch: str
    valid_for_ms: int
    held: tuple[HeldAddress, ...]
    allocator: bool
    api_ok: bool
    draining: bool
    conflicts: tuple[ConflictTold, ...]
    addresses: int
    """Addresses in the whole cluster: VIP leases."""
    announced: int
    """Those of them that some node holds."""
    live_nodes: int
    other_versions: tuple[str, ...]
    """Nodes whose agent is of another version than this one, each with it."""
    problems: tuple[str, ...]
    """One line for each thing that is not as it should be; none: healthy."""


_KIND_NAMES: dict[Kind, str] = {
    Service: "Services",
    Endpoints: "EndpointSlices",
    Node: "Nodes",
    Pool: "LoadBalancerIPPools",
    Policy: "L2AnnouncementPolicies",
    Lease: "Leases",
}


def missing(world: World) -> str:
    """What decisions still wait for, for people; empty: nothing."""
    names = [name for kind, name in _KIND_NAMES.items() if kind not in world.listed]
    if world.others_unlisted and Service in world.listed:
        names.append("Services of every type")
    return ", ".join(names + ([] if world.knows_devices else ["this node's interfaces"]))
