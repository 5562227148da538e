# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The nodes that could announce an address, from what was seen: placement's rules applied to the world.

Every node computes this from the same objects, so that all agree on the order without a word; where their views
differ for a moment, the claim's compare-and-swap decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from herald.core.alike import mapping_once
from herald.core.election.lock import Lock, Target
from herald.core.election.placement import (
    Placement,
    bounded,
    interfaces_for,
    is_drained,
    order,
    policies_for,
    prefer_ready,
    read_of_node,
    read_of_policy,
    weight,
    why_not_eligible,
    why_out_of_service,
)
from herald.core.election.segment import deaf
from herald.core.kernel import EntryFlags
from herald.core.leases import Presence, PresenceReport
from herald.core.model import Address, Interface, Node, Policy, Service, ServiceKey
from herald.core.world import World


def _upto(last: bool) -> tuple[bool, ...]:
    return (False, True) if last else (False,)


def _staying(holder: str | None, ranking: tuple[str, ...]) -> tuple[str, ...]:
    """Among nodes that are drained nothing moves: who holds it comes first."""
    return tuple(sorted(ranking, key=lambda name: name != holder))


class Candidates:
    def __init__(self, node: str, world: World, report: PresenceReport) -> None:
        self._node = node
        self._world = world
        self.own_report = report
        """What this node tells of itself now, ahead of what its presence says."""
        self.presences: dict[str, Presence] = {}
        """Nodes that are alive."""
        self.claiming: set[str] = set()
        """The leases that this node is claiming just now: the load that it will have."""
        self.addresses = 0
        """VIP leases in the whole cluster."""
        self.stopping = False
        """This node's agent was told to stop: it is no choice at all."""
        self.asked_in = 0
        """The newest resourceVersion in which another node said that it hears nobody on a segment that this one
        hears: it is out only once somebody has renewed since."""
        self._deaf: dict[str, frozenset[str]] = {}
        self._load: dict[str, int] = {}
        self._holders: dict[str, str] = {}

    def refresh(self, presences: dict[str, Presence], reported: Mapping[str, int]) -> bool:
        """Take the presences that are alive, this node's own with its present report; True if other interfaces are
        deaf than before.

        ``reported``: by node, the resourceVersion in which its report first stood.
        """
        self.presences = presences
        before, self._deaf = self._deaf, {}
        self.asked_in = 0
        for node, presence in presences.items():
            since = reported.get(node)
            if since is not None and any(i.heard is False for i in presence.report.interfaces):
                renewed = [
                    other.report
                    for name, other in presences.items()
                    if name != node and other.lease.resource_version > since
                ]
                self._deaf[node] = deaf(presence.report, renewed)
                if node != self._node and deaf(presence.report, [self.own_report]):
                    self.asked_in = max(self.asked_in, since)
        return self._deaf != before

    @property
    def in_doubt(self) -> bool:
        """Whether some interface hears nobody and is not deaf yet: the next renewal of another node may tell. (Once
        deaf it stays so, until its own node says something else.)"""
        return any(
            interface.heard is False and interface.name not in self._deaf.get(node, ())
            for node, presence in self.presences.items()
            for interface in presence.report.interfaces
        )

    def count_holder(self, name: str, holder: str) -> None:
        """Which node holds that VIP lease, or none, for the bound on each node's load."""
        old = self._holders.pop(name, "")
        if old:
            self._load[old] -= 1
        if holder:
            self._holders[name] = holder
            self._load[holder] = self._load.get(holder, 0) + 1

    @property
    def held(self) -> int:
        """VIP leases that some node holds."""
        return len(self._holders)

    @property
    def announcing(self) -> int:
        """Nodes that hold an address."""
        return sum(count > 0 for count in self._load.values())

    def place(self, lock: Lock) -> Placement:
        """The order of nodes for a lock, and why the others are out."""
        if lock.address is None:
            return self._place_allocator(lock)
        announced = self._announced(lock)
        if not announced:
            needed = any(key in self._world.services for key in lock.keys)
            reason = "no policy selects its Services" if needed else "no Service needs it"
            return Placement((), dict.fromkeys(self.presences, reason))
        policies_of_services = [policies for _, policies in announced]
        local = [s.key for s, _ in announced if s.external_traffic_policy == "Local"]
        nodes = self._world.nodes
        # What serves while it ends is better than nothing where there is no ready endpoint, and so is a node that is
        # drained, while its addresses have nowhere to go.
        why_not: dict[str, str] = {}
        in_need = any(is_drained(nodes[name]) for name in self.presences if name in nodes)
        for drained, ending in itertools.product(_upto(in_need), _upto(bool(local))):
            why_not = self._why_not(
                lock.address, policies_of_services, local, ending=ending, drained=drained
            )
            if not all(why_not.values()):
                break
        eligible, set_back = prefer_ready([n for n, why in why_not.items() if not why], nodes)
        why_not.update(dict.fromkeys(set_back, "NotReady"))
        all_policies = [policy for policies in policies_of_services for policy in policies]
        weights = {name: weight(nodes[name], all_policies) for name in eligible}
        load = dict(self._load)
        if (holder := self._holders.get(lock.name)) is not None:
            load[holder] -= 1
        load[self._node] = load.get(self._node, 0) + len(self.claiming - {lock.name})
        ranking = bounded(order(str(lock.address), weights), weights, load, self.addresses)
        if drained:
            ranking = _staying(holder, ranking)
        return Placement(ranking, mapping_once(why_not))

    def inputs(self) -> tuple[object, ...]:
        """What placement reads of policies, and of the Nodes that live: while it is the same, they change no
        address's order."""
        policies, nodes = self._world.policies, self._world.nodes
        return (
            {name: read_of_policy(policy) for name, policy in policies.items()},
            {
                name: read_of_node(nodes[name], policies.values())
                for name in self.presences
                if name in nodes
            },
        )

    def better_placed(self, lock: Lock) -> bool:
        """Whether another node comes first for a lock."""
        return self.place(lock).order[:1] not in ((), (self._node,))

    def follows(self, holder: str, lock: Lock) -> bool:
        """Whether this node is the best placed one but for the present holder."""
        rest = [name for name in self.place(lock).order if name != holder]
        return rest[:1] == [self._node]

    def _why_not(
        self,
        address: Address,
        policies_of_services: list[tuple[Policy, ...]],
        local: list[ServiceKey],
        *,
        ending: bool = False,
        drained: bool = False,
    ) -> dict[str, str]:
        """By node: why it may not announce an address, empty where it may. ``ending``: with endpoints that end;
        ``drained``: although it is drained."""
        endpoint_nodes = [self._world.endpoint_nodes(key, ending=ending) for key in local]
        return {
            name: why_not_eligible(
                address,
                self._world.nodes.get(name),
                presence,
                self._deaf.get(name, frozenset()),
                policies_of_services,
                endpoint_nodes,
                drained=self._in_need(name, drained=drained),
            )
            for name, presence in self.presences.items()
        }

    def _in_need(self, name: str, *, drained: bool) -> bool:
        return drained and not (self.stopping and name == self._node)

    def knows(self, lock: Lock) -> bool:
        """Whether all is known of the Services that say where a lock may be announced."""
        return not self._world.unknown(() if lock.services else lock.external)

    def _place_allocator(self, lock: Lock) -> Placement:
        why_not = self._why_not_allocate(drained=False)
        drained = all(why_not.values())
        if drained:
            why_not = self._why_not_allocate(drained=True)
        ranking = order(lock.name, {n: 1 for n, why in why_not.items() if not why})
        if drained and lock.holder is not None and lock.lease is not None:
            ranking = _staying(lock.lease.holder, ranking)
        return Placement(ranking, why_not)

    def _why_not_allocate(self, *, drained: bool) -> dict[str, str]:
        nodes = self._world.nodes
        return {
            name: why_out_of_service(node, presence, drained=self._in_need(name, drained=drained))
            if (node := nodes.get(name)) is not None
            else "no Node of that name"
            for name, presence in self.presences.items()
        }

    def targets(self, lock: Lock) -> Mapping[int, Target]:
        """How this node is to answer for a lock, by ifindex."""
        node = self._world.nodes.get(self._node)
        if node is None:
            return {}
        policies = [policy for _, policies in self._announced(lock) for policy in policies]
        ping = any(policy.answer_ping for policy in policies)
        flags = EntryFlags.ANSWER_PING if ping else EntryFlags.NONE
        deaf_here = self._deaf.get(self._node, frozenset())
        return {
            interface.index: Target(interface.mac, flags)
            for interface in self._interfaces(policies, node, deaf_here)
        }

    def _announced(self, lock: Lock) -> list[tuple[Service, tuple[Policy, ...]]]:
        """For which Services a policy has the address announced, and by which policies.

        Where it was given to Services it is theirs: who has it as an external one besides has no say.
        """
        found = []
        given, external = bool(lock.services), frozenset(lock.external)
        for key in lock.services or lock.external:
            service = self._world.services.get(key)
            if service is not None:
                policies = policies_for(
                    service,
                    self._world.policies.values(),
                    given=given,
                    external=key in external,
                )
                if policies:
                    found.append((service, policies))
        return found

    def segments(self, service: Service | None) -> frozenset[int]:
        """The devices on which this node would announce the Service (None: any), by policy."""
        node = self._world.nodes.get(self._node)
        policies = self._world.policies.values()
        if node is None:
            return frozenset()
        found = self._interfaces(
            policies_for(service, policies) if service else policies, node, frozenset()
        )
        return frozenset(interface.index for interface in found)

    def macs(self) -> frozenset[str]:
        """Of this node's devices, and of those that the others that live tell of."""
        own = {interface.mac.hex(":") for interface in self._world.interfaces.values()}
        reports = (presence.report for presence in self.presences.values())
        return frozenset(own.union(each.mac for report in reports for each in report.interfaces))

    def _interfaces(
        self, policies: Iterable[Policy], node: Node, deaf_on: frozenset[str]
    ) -> list[Interface]:
        names = interfaces_for(policies, node, self.own_report.interfaces, deaf_on)
        return [each for each in self._world.interfaces.values() if each.name in names]

    def describe(self, lock: Lock) -> str:
        """Where this node announces a lock, and why it does, for people."""
        where = ", ".join(
            f"{self._world.interfaces[index].name} ({target.mac.hex(':')})"
            for index, target in sorted(self.targets(lock).items())
        )
        place = f"{self._node} on {where}" if where else self._node
        return f"{place}, reason: {lock.reason}" if lock.reason else place
