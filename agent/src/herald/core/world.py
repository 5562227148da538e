# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the watches and the netlink monitor have shown: the facts that decisions start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from herald.core.events import (
    InterfacesSeen,
    Key,
    Kind,
    KubeObject,
    Listed,
)
from herald.core.model import (
    Endpoints,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
    ServiceKey,
)
from herald.core.slices import Slices

KINDS: tuple[Kind, ...] = (Service, Endpoints, Node, Pool, Policy, Lease)


@dataclass(slots=True)
class World:
    services: dict[ServiceKey, Service] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    interfaces: Mapping[int, Interface] = field(default_factory=dict)
    """By ifindex; another object where anything has changed."""
    looked: bool = False
    """The node's interfaces were seen: until then their absence means nothing."""
    arp_ignore: bool = False
    """The kernel answers for an IPv4 address only on the device that bears it."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """By ifindex: why the responder could not be attached."""
    attached: frozenset[int] | None = None
    """The devices that bear the responder; None: nobody has looked yet."""
    proxy_problem: str | None = None
    """What kube-proxy's health port said; empty: healthy, or there is none; None: not asked yet."""
    api_timed: bool = False
    """The API server was timed, and is no reason for this agent to end."""
    listed: set[Kind] = field(default_factory=set)
    """Kinds of which a complete list has been seen; decisions about absence need all of them."""
    others_unlisted: bool = False
    """A policy needs Services of other types than LoadBalancer, and they are not listed yet: nothing follows from
    their absence, and no less from all else that is listed."""
    changes: Counter[Kind] = field(default_factory=Counter)
    """By kind: how many changes there were."""
    _slices: Slices = field(default_factory=Slices)

    @property
    def knows_devices(self) -> bool:
        """Whether this node's interfaces, and which of them bear the responder, are known."""
        return self.looked and self.attached is not None

    @property
    def complete(self) -> bool:
        return self.knows_devices and len(self.listed) == len(KINDS)

    @property
    def all_types(self) -> bool:
        """Whether Services of every type are wanted, as external addresses need it."""
        return any(policy.external_ips for policy in self.policies.values())

    def look(self, event: InterfacesSeen) -> bool:
        """Take this node's interfaces; True if they differ from what was known."""
        found = {interface.index: interface for interface in event.interfaces}
        changed = not self.looked or found != self.interfaces
        self.interfaces = found if changed else self.interfaces
        self.looked, self.arp_ignore = True, event.arp_ignore
        return changed

    def endpoint_nodes(self, service: ServiceKey, *, ending: bool) -> frozenset[str]:
        """Nodes with a ready endpoint of this Service; ``ending``: also those where one serves while it ends."""
        return self._slices.nodes(service, ending=ending)

    def unknown(self, services: Iterable[ServiceKey]) -> bool:
        """Whether one of these Services, of any type, may only be not listed yet."""
        return self.others_unlisted and any(key not in self.services for key in services)

    def replace(self, event: Listed) -> Iterable[KubeObject | tuple[Kind, Key]]:
        """Take a list; yields what is new or different, and (kind, key) of what is gone."""
        gone = dict.fromkeys(self._keys(event.kind))
        for obj in event.objects:
            gone.pop(obj.key, None)
        for key in gone:
            if self.remove(event.kind, key):
                yield event.kind, key
        for obj in event.objects:
            if self.put(obj):
                yield obj
        self.listed.add(event.kind)

    def put(self, obj: KubeObject) -> bool:
        """Take an object; True if it differs from what was known."""
        if isinstance(obj, Endpoints):
            return self._slices.put(obj)
        table = self._table(type(obj))
        if table.get(obj.key) == obj:
            return False
        table[obj.key] = obj
        self.changes[type(obj)] += 1
        return True

    def remove(self, kind: Kind, key: Key) -> bool:
        if kind is Endpoints and isinstance(key, tuple):
            return self._slices.drop(key)
        gone = self._table(kind).pop(key, None) is not None
        self.changes[kind] += gone
        return gone

    def slice_service(self, key: Key) -> ServiceKey | None:
        known = self._slices.get(key) if isinstance(key, tuple) else None
        return known.service if known is not None else None

    def _keys(self, kind: Kind) -> Iterable[Key]:
        return self._slices if kind is Endpoints else self._table(kind)

    def _table(self, kind: Kind) -> dict[Key, KubeObject]:
        tables: dict[Kind, dict[Key, KubeObject]] = {
            Service: self.services,  # type: ignore[dict-item]
            Node: self.nodes,  # type: ignore[dict-item]
            Pool: self.pools,  # type: ignore[dict-item]
            Policy: self.policies,  # type: ignore[dict-item]
            Lease: self.leases,  # type: ignore[dict-item]
        }
        return tables[kind]
