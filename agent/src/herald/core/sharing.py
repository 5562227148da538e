# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""When Services may have one address in common.

All rules hold for every pair on the address: the same sharing key; no port and protocol twice; the same
externalTrafficPolicy, and if it is Local the same selector (or a node would announce the address for one
Service and drop the other's traffic); across namespaces only where both consent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from herald.core.addresses import shown

if TYPE_CHECKING:
    from herald.core.model import Service
    from herald.core.requests import Request


def refusal(service: Service, request: Request, other: Service, others: Request) -> str:
    """The rule that keeps the two apart, for a message; empty if they may share. It is symmetric."""
    if not request.sharing_key or request.sharing_key != others.sharing_key:
        mine, theirs = shown(request.sharing_key), shown(others.sharing_key)
        return f"the same sharing key is wanted, found {mine} and {theirs}"
    if service.namespace != other.namespace:
        for asked, who in ((request, other), (others, service)):
            if not asked.shares_with & {"*", who.namespace}:
                return f"sharing-cross-namespace must name namespace {who.namespace} on both sides"
    taken = {(port.protocol, port.port) for port in other.ports}
    for port in service.ports:
        if (port.protocol, port.port) in taken:
            return f"port {port.port}/{port.protocol} is used by both"
    mine, theirs = service.external_traffic_policy, other.external_traffic_policy
    if mine != theirs:
        return f"the same externalTrafficPolicy is wanted, found {mine} and {theirs}"
    if mine == "Local" and dict(service.selector) != dict(other.selector):
        return "with externalTrafficPolicy Local the same selector is wanted, found another"
    return ""
