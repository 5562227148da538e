# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes may announce an address, and in which order they should.

The order is weighted rendezvous hashing: every node computes the same order from the same names, a node that
goes moves only its own addresses, and they spread over all that stay. (Thaler and Ravishankar, "Using name-based
mappings to increase hit rates", 1998; the weighted form: -weight / ln(hash).)
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from herald.core.leases import Presence, PresenceInterface
from herald.core.model import Address, Interface, Node, Policy, Service
from herald.core.selectors import matches, service_labels

DRAIN_ANNOTATION = "herald.dev/drain"
"""``true``: the node hands its addresses over, and takes none, as long as another may have them."""
EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"

HEADROOM = 1.25
"""No node above this multiple of its fair share, while another has room."""

# Devices that container runtimes and CNIs make: never announced on unless a policy names them.
_PLUMBING_NAME = re.compile(
    r"(?:cni|docker|br-[0-9a-f]{12}$|virbr|lxdbr|podman|flannel|cali|tunl|lxc|cilium|weave|antrea|genev|vxlan"
    r"|kube-|nodelocaldns|dummy|ovn|ovs)"
)
_PLUMBING_KIND = frozenset(
    ("dummy", "vxlan", "geneve", "gre", "ipip", "sit", "tun", "wireguard", "ip6tnl", "ifb")
)

# Nobody is behind them; kube-proxy's kube-ipvs0 bears every load balancer's address.
_NO_WIRE = frozenset(("dummy", "ifb"))


@dataclass(frozen=True, slots=True)
class Placement:
    order: tuple[str, ...] = ()
    """Eligible nodes, best first."""
    why_not: Mapping[str, str] = field(default_factory=dict)
    """By node: why it is not eligible."""


# --- order ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _hash(subject: str, node: str) -> float:
    """Uniform in (0, 1), the same on every node."""
    digest = hashlib.blake2b(f"{subject}\0{node}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2.0**64


def order(subject: str, weights: Mapping[str, int]) -> tuple[str, ...]:
    """Nodes in the order of preference for ``subject`` (an address, or a Lease's name)."""
    return tuple(sorted(weights, key=lambda n: (weights[n] / math.log(_hash(subject, n)), n)))


def rank_of(node: str, subject: str, nodes: Collection[str]) -> int:
    """How many of ``nodes`` come before ``node`` in the order for ``subject``."""
    mine = (_hash(subject, node), node)
    return sum((_hash(subject, other), other) > mine for other in nodes if other != node)


def spread(subject: str, period: int) -> int:
    """A moment within ``period`` that differs from subject to subject and is always the same for one."""
    return int(_hash(subject, "") * period)


def jittered(pause: int, subject: str) -> int:
    """Up to twice a pause: who failed at one moment does not try again at one moment."""
    return pause + spread(subject, pause)


def bounded(
    ranking: tuple[str, ...], weights: Mapping[str, int], load: Mapping[str, int], total: int
) -> tuple[str, ...]:
    """``ranking`` with the nodes that are full behind those that have room.

    ``load`` counts the other addresses that each node holds or is about to. A node is full at 1.25 × its share
    (by weight) of the ``total`` of addresses.
    """
    sum_of_weights = sum(weights[node] for node in ranking)

    def full(node: str) -> bool:
        limit = math.ceil(HEADROOM * total * weights[node] / sum_of_weights)
        return load.get(node, 0) >= limit

    return tuple(sorted(ranking, key=full))


# --- eligibility ---------------------------------------------------------------------------------------


def is_plumbing(interface: Interface) -> bool:
    return interface.kind in _PLUMBING_KIND or bool(_PLUMBING_NAME.match(interface.name))


def is_layer3(interface: Interface) -> bool:
    """Whether addresses could be announced on it: a MAC, no master, and, for a pod's veth, an address."""
    if len(interface.mac) != 6 or not any(interface.mac) or interface.master:
        return False
    if interface.kind in _NO_WIRE:
        return False
    if interface.kind == "veth":
        return any(not address.is_link_local for address in interface.addresses)
    return True


@lru_cache(maxsize=1024)
def compiled(expression: str) -> re.Pattern[str] | None:
    """An interface expression; None where it does not compile (the policy's condition says so)."""
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError):
        return None


def announces_on(policy: Policy, interface: PresenceInterface) -> bool:
    """Whether a policy selects this interface (unanchored expressions, OR-ed)."""
    if not policy.interfaces:
        return not interface.plumbing
    return any(
        (pattern := compiled(expression)) is not None and pattern.search(interface.name)
        for expression in policy.interfaces
    )


def policies_for(
    service: Service, policies: Iterable[Policy], *, given: bool = True, external: bool = False
) -> tuple[Policy, ...]:
    """The policies that announce an address of this Service: one that it was given, an external one, or both."""
    labels = service_labels(service)
    return tuple(
        policy
        for policy in policies
        if (policy.load_balancer_ips and given) or (policy.external_ips and external)
        if matches(policy.service_selector, labels)
    )


def interfaces_for(
    policies: Iterable[Policy],
    node: Node,
    interfaces: Iterable[PresenceInterface],
    deaf: frozenset[str],
) -> dict[str, PresenceInterface]:
    """The usable interfaces of a node on which any of these policies announces, by name.

    ``deaf``: those on which it hears nobody; only a policy without segmentHealth announces there.
    """
    selecting = [p for p in policies if matches(p.node_selector, node.labels)]
    return {
        interface.name: interface
        for interface in interfaces
        if interface.usable
        and any(
            announces_on(policy, interface)
            for policy in selecting
            if interface.name not in deaf or not policy.segment_health
        )
    }


def why_not_eligible(
    address: Address,
    node: Node | None,
    presence: Presence,
    deaf: frozenset[str],
    policies_of_services: Iterable[tuple[Policy, ...]],
    endpoint_nodes: Iterable[frozenset[str]],
    *,
    drained: bool = False,
) -> str:
    """Why a live node may not announce an address; empty where it may.

    ``policies_of_services``: for each announced Service on the address, its policies.
    ``endpoint_nodes``: for each of them with ``externalTrafficPolicy: Local``, the nodes with an endpoint.
    ``drained``: a drained one may.
    """
    if node is None:
        return "no Node of that name"
    if reason := why_out_of_service(node, presence, drained=drained):
        return reason
    report = presence.report
    if report.unproven:
        return f"it has just begun: {report.unproven}"
    for policies in policies_of_services:
        if not any(matches(policy.node_selector, node.labels) for policy in policies):
            return "no policy selects it"
        if not interfaces_for(policies, node, report.interfaces, frozenset()):
            return _why_no_interface(policies, report.interfaces)
        if not interfaces_for(policies, node, report.interfaces, deaf):
            return f"nobody on the segment answers on {', '.join(sorted(deaf))}"
    if not all(node.name in nodes for nodes in endpoint_nodes):
        return "externalTrafficPolicy is Local and it has no ready endpoint"
    if report.ipvs and address.version == 4:
        return f"its own kernel answers: kube-proxy in ipvs mode needs strictARP ({report.ipvs})"
    for interface in report.interfaces:
        if any(on_link.ip == address for on_link in interface.addresses):
            return f"its own interface {interface.name} has the address"
    return ""


def _why_no_interface(policies: Iterable[Policy], interfaces: Iterable[PresenceInterface]) -> str:
    """Why none of a node's interfaces can announce; the responder's own reason where that is all."""
    for interface in interfaces:
        if interface.refused and any(announces_on(policy, interface) for policy in policies):
            return f"the responder cannot be attached to {interface.name}: {interface.refused}"
    return "no usable interface that a policy names"


def why_out_of_service(node: Node, presence: Presence, *, drained: bool = False) -> str:
    """Why a node may announce nothing at all; empty where it may. ``drained``: it may although it is drained."""
    if EXCLUDE_LABEL in node.labels:
        return f"label {EXCLUDE_LABEL}"
    if is_down(node):
        return "taint out-of-service"
    if is_drained(node):
        return "" if drained else "draining"
    # Its agent is stopping.
    return "draining" if presence.report.draining else ""


def is_drained(node: Node) -> bool:
    """By its annotation."""
    return node.annotations.get(DRAIN_ANNOTATION) == "true"


def is_down(node: Node) -> bool:
    """By the taint with which somebody says that it is shut down."""
    return any(taint.key == OUT_OF_SERVICE_TAINT for taint in node.taints)


def prefer_ready(names: Collection[str], nodes: Mapping[str, Node]) -> tuple[list[str], list[str]]:
    """Eligible nodes, and those set back because they are NotReady while another is Ready."""
    if not any(nodes[name].ready for name in names):
        return list(names), []
    ready = [name for name in names if nodes[name].ready is not False]
    return ready, [name for name in names if nodes[name].ready is False]


def weight(node: Node, policies: Iterable[Policy]) -> int:
    """1, or the sum of the weights of those ``preferredNodes`` terms that select the node."""
    return (
        sum(
            preferred.weight
            for policy in {policy.name: policy for policy in policies}.values()
            for preferred in policy.preferred_nodes
            if matches(preferred.selector, node.labels)
        )
        or 1
    )


# --- what all of that is read from ---------------------------------------------------------------------


def read_of_policy(policy: Policy) -> Policy:
    """A policy without what placement does not read of it."""
    return replace(
        policy,
        uid="",
        resource_version=0,
        generation=0,
        answer_ping=True,
        deleting=False,
        status=None,
    )


def read_of_node(node: Node, policies: Iterable[Policy]) -> tuple[object, ...]:
    """What placement reads of a Node: of its labels, only which selectors of these policies they match."""
    selectors = (
        selector
        for policy in policies
        for selector in (policy.node_selector, *(p.selector for p in policy.preferred_nodes))
    )
    return (
        node.ready,
        EXCLUDE_LABEL in node.labels,
        is_down(node),
        is_drained(node),
        *(matches(selector, node.labels) for selector in selectors),
    )
