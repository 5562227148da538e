# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The things that Herald decides about, as small frozen values.

Of every Kubernetes object only the fields that a decision uses are kept, so that thousands of Services
cost megabytes, not hundreds. Strings that a user wrote (addresses, expressions) stay strings here: the
module that understands them refuses them with a condition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal, TypeAlias

from herald.core.alike import joined, once, parted

Address: TypeAlias = IPv4Address | IPv6Address
AddressOnLink: TypeAlias = IPv4Interface | IPv6Interface
Labels: TypeAlias = Mapping[str, str]
ServiceKey: TypeAlias = tuple[str, str]
"""Namespace and name."""
ServiceKeys: TypeAlias = tuple[ServiceKey, ...]
"""Of those that have an address: sorted, each once. (There is one for every address, and a set of one key takes 216
bytes.)"""

MILLISECOND = 1_000_000
SECOND = 1_000_000_000

LOAD_BALANCER_CLASS = "herald.dev/l2"
"""The ``loadBalancerClass`` of Services that are Herald's in any case."""
FINALIZER = "herald.dev/lease"
"""On Herald's leases: none goes before its holder has let go."""
PRESENCE_PREFIX = "presence-"
VIP_PREFIX = "vip-"
IPAM_LEASE = "ipam"

_KEY_MAX = 200
_KEY_HEAD = 183


def node_key(node: str) -> str:
    """The part of a Lease's or ServiceAccount's name that stands for a node.

    It is the node's name up to 200 characters, and its first 183 and a hash beyond: object names end at
    253 characters (RFC 1123 subdomain), as node names do, and a prefix must fit before it.
    """
    if len(node) <= _KEY_MAX:
        return node
    return (
        f"{node[:_KEY_HEAD]}-{hashlib.sha256(node.encode(errors='surrogatepass')).hexdigest()[:16]}"
    )


def presence_lease_name(node: str) -> str:
    return PRESENCE_PREFIX + node_key(node)


def by_number(address: Address) -> tuple[int, int]:
    """The key by which addresses are sorted: IPv4 before IPv6, then as numbers."""
    return address.version, int(address)


def vip_lease_name(address: Address) -> str:
    """``vip-192.0.2.7``, ``vip-2001-0db8-…`` (IPv6 exploded, since ``:`` is not allowed in a name)."""
    return VIP_PREFIX + address.exploded.replace(":", "-")


def vip_address(lease_name: str) -> Address | None:
    """The address that a Lease stands for; None for any other Lease, also for one that is misspelt."""
    if not lease_name.startswith(VIP_PREFIX):
        return None
    text = lease_name.removeprefix(VIP_PREFIX)
    try:
        address: Address = IPv4Address(text) if "." in text else IPv6Address(text.replace("-", ":"))
        return address if vip_lease_name(address) == lease_name else None
    except ValueError:
        return None


# --- Kubernetes objects, as far as decisions need them -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a label selector's ``matchExpressions``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A ``metav1.LabelSelector``; empty selects everything."""

    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A ``metav1.Condition`` without its times, which the writer adds."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


_Kind: TypeAlias = tuple[str, Literal["True", "False", "Unknown"], str]
"""A condition without its message."""


class Conditions(Collection[Condition]):
    """Those of one Service, made anew for whoever looks at them: as values of their own they would be a quarter of all
    that is kept of it. Their messages are one text; what else they say, many say alike."""

    __slots__ = ("_kinds", "_messages")

    def __init__(self, kinds: tuple[_Kind, ...], messages: str) -> None:
        self._kinds = kinds
        self._messages = messages

    def __iter__(self) -> Iterator[Condition]:
        for kind, message in zip(self._kinds, parted(self._messages), strict=True):
            yield Condition(*kind, message)

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, condition: object) -> bool:
        return condition in tuple(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Conditions):
            return (self._kinds, self._messages) == (other._kinds, other._messages)
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def conditions_once(conditions: tuple[Condition, ...]) -> Collection[Condition]:
    """The same conditions, in less memory."""
    messages = joined(tuple(condition.message for condition in conditions))
    if messages is None:
        return conditions
    return Conditions(once(tuple((c.type, c.status, c.reason) for c in conditions)), messages)


@dataclass(frozen=True, slots=True)
class ServicePort:
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    uid: str
    resource_version: int
    labels: Labels
    annotations: Labels
    """Only those that address management reads: ours and the aliases of other load balancers."""
    type: str
    load_balancer_class: str | None
    load_balancer_ip: str
    ip_families: tuple[Literal[4, 6], ...]
    ip_family_policy: str
    external_ips: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    external_traffic_policy: str
    selector: Labels
    """Nobody looks at it unless externalTrafficPolicy is Local: it may be left out then."""
    ingress: tuple[str, ...]
    """``status.loadBalancer.ingress[].ip``."""
    conditions: Collection[Condition]
    """Only ``herald.dev/…``."""
    deleting: bool
    served_otherwise: bool = False
    """``status.loadBalancer.ingress`` has entries without an ``ip``, by hostname: they are another load balancer's."""
    written: str = ""
    """When anything but its status was last written (``managedFields``), RFC 3339 in UTC: sorts as text; empty: nobody
    says."""
    key: ServiceKey = field(init=False, repr=False, compare=False)
    """Kept, not made each time: it is the key of every table of Services."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.namespace, self.name))

    def is_watched(self, *, all_types: bool) -> bool:
        """Whether agents are told of it: of type LoadBalancer, or, where Services of every type are watched, one that
        may have an address to announce, or of which Herald says something."""
        others = all_types and (self.external_ips or self.conditions)
        return self.type == "LoadBalancer" or bool(others)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """One EndpointSlice: the nodes that have an endpoint of the Service which traffic may go to."""

    namespace: str
    name: str
    service_name: str
    """Empty: it names none."""
    nodes: frozenset[str]
    """With a ready endpoint."""
    ending: frozenset[str] = frozenset()
    """With endpoints that still serve while they end, and no ready one."""

    @property
    def key(self) -> ServiceKey:
        """Namespace and name of the slice."""
        return self.namespace, self.name

    @property
    def service(self) -> ServiceKey:
        return self.namespace, self.service_name


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    uid: str
    labels: Labels
    annotations: Labels
    """Only ``herald.dev/…``."""
    taints: tuple[Taint, ...]
    ready: bool | None
    """None: nobody says (no Ready condition, or Unknown)."""

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses of a pool as written: ``cidr``, or ``start`` with optional ``stop``."""

    cidr: str = ""
    start: str = ""
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A LoadBalancerIPPool."""

    name: str
    uid: str
    resource_version: int
    generation: int
    created: str
    """``creationTimestamp``, RFC 3339 in UTC: sorts by age as text."""
    blocks: tuple[Block, ...]
    exclude: tuple[Block, ...] = ()
    service_selector: Selector = Selector()
    allow_first_last_ips: bool = True
    avoid_buggy_ips: bool = False
    auto_assign: bool = True
    priority: int = 100
    disabled: bool = False
    deleting: bool = False
    status: PoolStatus | None = None

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Counts are decimal strings: an IPv6 pool has more addresses than an int64 counts."""

    ips_total: str
    ips_used: str
    ips_available: str
    observed_generation: int
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class PreferredNodes:
    selector: Selector
    weight: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A L2AnnouncementPolicy."""

    name: str
    uid: str
    resource_version: int
    generation: int
    service_selector: Selector = Selector()
    node_selector: Selector = Selector()
    interfaces: tuple[str, ...] = ()
    load_balancer_ips: bool = False
    external_ips: bool = False
    preferred_nodes: tuple[PreferredNodes, ...] = ()
    answer_ping: bool = True
    segment_health: bool = True
    deleting: bool = False
    status: PolicyStatus | None = None

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    services: int
    nodes: int
    observed_generation: int
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """One of an object's ``ownerReferences``; by default a Node's, with which its presence goes."""

    name: str
    uid: str
    api_version: str = "v1"
    kind: str = "Node"
    controller: bool | None = None
    """None, here and below: it is not said."""
    block_owner_deletion: bool | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A ``coordination.k8s.io/v1`` Lease of our namespace, complete: a PUT of it loses nothing.

    Its times are for people, and no decision reads them: the writer stamps ``renewTime``, and ``acquireTime`` where
    ``acquired`` is empty.
    """

    name: str
    uid: str = ""
    resource_version: int = 0
    holder: str = ""
    transitions: int = 0
    duration_seconds: int = 0
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    acquired: str = ""
    """Since when ``holder`` holds; empty: from this write on, or nobody said."""
    strategy: str = ""
    """Others' alone, as what follows: kept as it is."""
    preferred_holder: str = ""

    @property
    def key(self) -> str:
        return self.name

    def with_holder(self, node: str) -> Lease:
        """Held by this node: since now, unless it was before."""
        return replace(self, holder=node, acquired=self.acquired if node == self.holder else "")

    def is_before(self, known: Lease) -> bool:
        """Whether it is an earlier state of the same object."""
        return self.uid == known.uid and self.resource_version < known.resource_version

    def contradicts(self, known: Lease) -> bool:
        """Whether what was read after ``known`` can only be there because time ran backwards in between: an earlier
        state of the same object, or another one in the same version."""
        same = self.uid == known.uid and self.resource_version == known.resource_version
        return self.is_before(known) or (same and self != known)


# --- This node -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interface:
    """A network device of this node, from netlink."""

    index: int
    name: str
    mac: bytes
    """Six bytes; empty where the device has none (tun, wireguard)."""
    up: bool
    """Administratively up (IFF_UP)."""
    carrier: bool
    """IFF_LOWER_UP."""
    kind: str = ""
    """IFLA_INFO_KIND: ``veth``, ``bridge``, ``vlan``, …; empty for a physical device."""
    master: int = 0
    """Index of the bridge or bond that it is a member of; 0 for none."""
    addresses: tuple[AddressOnLink, ...] = ()
    gateways: tuple[Address, ...] = ()
    """Next hops of the default routes that leave by it."""

    @property
    def key(self) -> int:
        return self.index

    @property
    def has_wire(self) -> bool:
        return self.up and self.carrier


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs this agent.

    ``machine`` is machine-id and boot-id hashed: an agent goes on in an epoch only on the same machine
    and boot. ``nonce`` is the process's own, so that a second process is told apart.
    """

    node: str
    machine: str
    nonce: str
    version: str
