# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a policy's status says: how many Services and nodes it selects, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from herald.core.allocation.addresses import shown
from herald.core.election.placement import announces_on, compiled
from herald.core.leases import Presence
from herald.core.model import Condition, Policy, PolicyStatus, Service
from herald.core.selectors import matches, problems
from herald.core.world import World

COUNT_PACE = 200_000
"""Nanoseconds for each Service between two counts of those that a policy selects: 20 s with 100,000 Services, so that
counting them takes a hundredth of the time."""


@dataclass(frozen=True, slots=True)
class _Count:
    of: tuple[str, int, int]
    """The policy's uid and generation, and the change of Services: of what it is the count."""
    at: int
    services: int


class PolicyReports:
    def __init__(self, world: World, announces: Callable[[Policy, Service], bool]) -> None:
        """``announces``: whether a policy has any address of a Service announced."""
        self._world = world
        self._announces = announces
        self._counts: dict[str, _Count] = {}

    def status(self, policy: Policy, now: int) -> PolicyStatus:
        nodes = [n for n in self._world.nodes.values() if matches(policy.node_selector, n.labels)]
        return PolicyStatus(
            services=self._count(policy, now),
            nodes=len(nodes),
            observed_generation=policy.generation,
            conditions=(self._ready(policy, {node.name for node in nodes}),),
        )

    def _count(self, policy: Policy, now: int) -> int:
        services = self._world.services
        of = policy.uid, policy.generation, self._world.changes[Service]
        last = self._counts.get(policy.name)
        same = last is not None and last.of[:2] == of[:2]
        if last and same and (last.of == of or now < last.at + COUNT_PACE * len(services)):
            return last.services
        found = sum(self._announces(policy, service) for service in services.values())
        self._counts[policy.name] = _Count(of, now, found)
        return found

    def _ready(self, policy: Policy, nodes: set[str]) -> Condition:
        def not_ready(reason: str, message: str) -> Condition:
            return Condition("Ready", "False", reason, message)

        for index, expression in enumerate(policy.interfaces):
            if compiled(expression) is None:
                return not_ready(
                    "InvalidExpression",
                    f"spec.interfaces[{index}]: wanted a regular expression, found {shown(expression)}",
                )
        preferred = (
            (f"preferredNodes[{index}].nodeSelector", each.selector)
            for index, each in enumerate(policy.preferred_nodes)
        )
        for field, selector in (
            ("serviceSelector", policy.service_selector),
            ("nodeSelector", policy.node_selector),
            *preferred,
        ):
            if found := problems(selector):
                return not_ready("InvalidSelector", f"spec.{field}: {found[0]}")
        if not nodes:
            return not_ready("NoMatchingNode", "spec.nodeSelector selects no Node")
        if not any(self._has_interface(policy, p) for p in self._presences(nodes)):
            return not_ready(
                "NoMatchingInterface",
                "spec.interfaces names no usable interface of any selected node that runs an agent",
            )
        return Condition("Ready", "True", "Ready", "services are announced by this policy")

    def _presences(self, nodes: set[str]) -> list[Presence]:
        return [
            presence
            for lease in self._world.leases.values()
            if lease.name.startswith("presence-")
            and (presence := Presence(lease)).alive
            and presence.node in nodes
        ]

    def _has_interface(self, policy: Policy, presence: Presence) -> bool:
        return any(
            interface.usable and announces_on(policy, interface)
            for interface in presence.report.interfaces
        )
