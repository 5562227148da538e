# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""When Services may have one address in common.

All rules hold for every pair on the address: the same sharing key; no port and protocol twice; the same
externalTrafficPolicy, and if it is Local the same selector (or a node would announce the address for one
Service and drop the other's traffic); across namespaces only where both consent.

Most Services of a group agree in everything but their ports. So a group is kept by terms and by ports, and a
newcomer is compared with the few different terms, not with every member.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from herald.core.allocation.addresses import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from herald.core.allocation.requests import Request
    from herald.core.model import Service, ServiceKey, ServicePort


class Terms(NamedTuple):
    """What the rules look at, ports aside."""

    sharing_key: str
    namespace: str
    shares_with: frozenset[str]
    policy: str
    selector: frozenset[tuple[str, str]]
    """Of Services whose externalTrafficPolicy is Local; it does not matter otherwise."""


class Refusal(NamedTuple):
    """Who is in the way, and by which rule."""

    key: ServiceKey
    rule: str


def terms_of(service: Service, request: Request) -> Terms:
    is_local = service.external_traffic_policy == "Local"
    return Terms(
        request.sharing_key,
        service.namespace,
        request.shares_with,
        service.external_traffic_policy,
        frozenset(service.selector.items() if is_local else ()),
    )


def broken_rule(one: Terms, other: Terms) -> str:
    """The rule that keeps two Services of these terms apart, for a message; empty: there is none."""
    if not one.sharing_key or one.sharing_key != other.sharing_key:
        keys = f"{shown(one.sharing_key)} and {shown(other.sharing_key)}"
        return f"the same sharing key is wanted, found {keys}"
    if one.namespace != other.namespace:
        for asked, namespace in ((one, other.namespace), (other, one.namespace)):
            if not asked.shares_with & {"*", namespace}:
                return f"sharing-cross-namespace must name namespace {namespace} on both sides"
    if one.policy != other.policy:
        return f"the same externalTrafficPolicy is wanted, found {one.policy} and {other.policy}"
    if one.selector != other.selector:
        return "with externalTrafficPolicy Local the same selector is wanted, found another"
    return ""


class Group:
    """The Services on one address."""

    __slots__ = ("_contested", "_members", "_ports", "_terms")

    def __init__(self) -> None:
        self._members: dict[ServiceKey, tuple[Terms, tuple[ServicePort, ...]]] = {}
        self._terms: dict[Terms, set[ServiceKey]] = {}
        self._ports: dict[ServicePort, set[ServiceKey]] = {}
        self._contested = 0
        """How many ports more than one member uses."""

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: ServiceKey) -> bool:
        return key in self._members

    def put(self, key: ServiceKey, terms: Terms, ports: tuple[ServicePort, ...]) -> None:
        self.drop(key)
        self._members[key] = terms, ports
        self._terms.setdefault(terms, set()).add(key)
        for port in set(ports):
            users = self._ports.setdefault(port, set())
            users.add(key)
            self._contested += len(users) == 2

    def drop(self, key: ServiceKey) -> None:
        if key not in self._members:
            return
        terms, ports = self._members.pop(key)
        self._terms[terms].discard(key)
        if not self._terms[terms]:
            del self._terms[terms]
        for port in set(ports):
            users = self._ports[port]
            users.discard(key)
            self._contested -= len(users) == 1
            if not users:
                del self._ports[port]

    def refusal(
        self, key: ServiceKey, terms: Terms, ports: Iterable[ServicePort]
    ) -> Refusal | None:
        """Who keeps the Service from joining: of several the first by name."""
        found = [
            Refusal(min(others), rule)
            for others_terms, keys in self._terms.items()
            if (rule := broken_rule(terms, others_terms)) and (others := keys - {key})
        ]
        found += (
            Refusal(min(others), f"port {port.port}/{port.protocol} is used by both")
            for port in ports
            if (others := self._ports.get(port, set()) - {key})
        )
        return min(found, default=None)

    @property
    def at_odds(self) -> bool:
        """Whether the rules fail for any two members."""
        return (
            self._contested > 0
            or any(broken_rule(one, other) for one, other in combinations(self._terms, 2))
            or any(len(keys) > 1 and broken_rule(each, each) for each, keys in self._terms.items())
        )

    def leavers(self, standing: Iterable[ServiceKey]) -> set[ServiceKey]:
        """The members who must leave so that the rules hold: of two the one that stands later."""
        staying, leaving = Group(), set()
        for key in standing:
            terms, ports = self._members[key]
            if staying.refusal(key, terms, ports):
                leaving.add(key)
            else:
                staying.put(key, terms, ports)
        return leaving
