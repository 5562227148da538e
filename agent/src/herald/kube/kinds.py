# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Where each kind is found, and how patient its watch is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from herald.core.events import Kind
from herald.core.model import Endpoints, Lease, Node, Policy, Pool, Service

HERALD_API = "/apis/herald.dev/v1alpha1"
POOLS = f"{HERALD_API}/loadbalancerippools"
POLICIES = f"{HERALD_API}/l2announcementpolicies"
SERVICES_OF_TYPE = "spec.type=LoadBalancer"

BOOKMARK_SILENCE = 150.0
"""Seconds. The API server sends a bookmark about once a minute; two may be missed."""
LEASE_SILENCE_MIN = 5.0
LEASE_SILENCE_FACTOR = 5
"""A node that holds nothing renews every 5/4 D, each renewal comes back in the Lease watch: 5 D without a line
is four renewals missed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One collection that is listed and watched."""

    kind: Kind
    path: str
    silence: float = BOOKMARK_SILENCE
    """Seconds without a byte after which the watch counts as broken."""
    selector: str = ""
    """A fieldSelector."""
    retry_first: float = 0.2
    retry_most: float = 5.0
    """Seconds between attempts: the first, doubling up to the last."""
    patience: float = 5.0
    """Seconds for the beginning of a watch and for one page of a list."""


def leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"


def watched(kind: Kind, *, namespace: str, duration: int, all_services: bool) -> Watched:
    """``duration``: nanoseconds of D. The Lease watch is the one that failover waits for: it retries fast."""
    if kind is Lease:
        silence = max(LEASE_SILENCE_MIN, LEASE_SILENCE_FACTOR * duration / 1e9)
        return Watched(
            kind, leases(namespace), silence, retry_first=0.05, retry_most=0.5, patience=2.0
        )
    if kind is Service:
        selector = "" if all_services else SERVICES_OF_TYPE
        return Watched(kind, "/api/v1/services", selector=selector)
    if kind is Endpoints:
        return Watched(kind, "/apis/discovery.k8s.io/v1/endpointslices")
    return Watched(kind, {Node: "/api/v1/nodes", Pool: POOLS, Policy: POLICIES}[kind])
