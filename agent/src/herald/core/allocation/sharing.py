# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""When Services may have one address in common.

All rules hold for every pair on the address: the same sharing key; no port and protocol twice; the same
externalTrafficPolicy, and if it is Local the same selector (or a node would announce the address for one
Service and drop the other's traffic); across namespaces only where both consent.

A group does not compare its members with each other: it counts what they ask for and to whom they consent, which
tells whether the rules hold, however many namespaces are on the address. Only to name who is in a newcomer's way are
its terms compared, with each different terms once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from herald.core.allocation.addresses import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from herald.core.allocation.requests import Request
    from herald.core.model import Service, ServiceKey, ServicePort


Common: TypeAlias = tuple[str, str, frozenset[tuple[str, str]]]
_ALL = frozenset({"*"})
SHARERS_MAX = 1500
"""So many Services share an address at most: its lease names them all, each with up to 128 characters, and the API
server takes no more than 256 KiB of annotations."""


class Terms(NamedTuple):
    """What the rules look at, ports aside."""

    sharing_key: str
    namespace: str
    shares_with: frozenset[str]
    policy: str
    selector: frozenset[tuple[str, str]]
    """Of Services whose externalTrafficPolicy is Local; it does not matter otherwise."""

    @property
    def common(self) -> Common:
        """What must be the same for all on an address."""
        return self.sharing_key, self.policy, self.selector

    @property
    def consents(self) -> frozenset[str]:
        """The namespaces whose Services may be on the address, ``*`` alone for all."""
        return _ALL if "*" in self.shares_with else self.shares_with | {self.namespace}


class Member(NamedTuple):
    """A Service on an address."""

    terms: Terms
    ports: tuple[ServicePort, ...]
    standing: tuple[int, str, int]
    """Of two that may not share the greater one leaves (ties: the greater name)."""


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

    __slots__ = (
        "_common",
        "_consents",
        "_contested",
        "_leaving",
        "_members",
        "_namespaces",
        "_ports",
        "_terms",
    )

    def __init__(self) -> None:
        self._members: dict[ServiceKey, Member] = {}
        self._terms: dict[Terms, set[ServiceKey]] = {}
        # How many of these terms have what must be common so, are of the namespace, consent to it.
        self._common: Counter[Common] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._consents: Counter[str] = Counter()
        self._ports: dict[ServicePort, set[ServiceKey]] = {}
        self._contested = 0
        """How many ports more than one member uses."""
        self._leaving: set[ServiceKey] | None = None
        """Who must leave; None: it was not worked out since the last change."""

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: ServiceKey) -> bool:
        return key in self._members

    @property
    def host(self) -> Terms | None:
        """Terms with whom whoever joins must agree, those that have been there longest; None: nobody is there, or
        nobody can join."""
        return None if self._full else next(iter(self._terms), None)

    @property
    def _full(self) -> bool:
        return len(self._members) >= SHARERS_MAX

    def ports(self, key: ServiceKey) -> frozenset[ServicePort]:
        """Those that the member uses."""
        return frozenset(self._members[key].ports)

    def users(self, port: ServicePort) -> int:
        return len(self._ports.get(port, ()))

    def put(self, key: ServiceKey, member: Member) -> None:
        self.drop(key)
        self._leaving = None
        self._members[key] = member
        keys = self._terms.setdefault(member.terms, set())
        if not keys:
            self._count(member.terms, 1)
        keys.add(key)
        for port in set(member.ports):
            users = self._ports.setdefault(port, set())
            users.add(key)
            self._contested += len(users) == 2

    def drop(self, key: ServiceKey) -> None:
        if key not in self._members:
            return
        self._leaving = None
        terms, ports, _ = self._members.pop(key)
        self._terms[terms].discard(key)
        if not self._terms[terms]:
            del self._terms[terms]
            self._count(terms, -1)
        for port in set(ports):
            users = self._ports[port]
            users.discard(key)
            self._contested -= len(users) == 1
            if not users:
                del self._ports[port]

    def _count(self, terms: Terms, difference: int) -> None:
        _add(self._common, terms.common, difference)
        _add(self._namespaces, terms.namespace, difference)
        for namespace in terms.consents:
            _add(self._consents, namespace, difference)

    def refusal(
        self, key: ServiceKey, terms: Terms, ports: Iterable[ServicePort]
    ) -> Refusal | None:
        """Who keeps the Service from joining: of several the first by name."""
        if key not in self._members and self._admits(terms, ports):
            rule = f"{SHARERS_MAX} Services share it, and no more can"
            return Refusal(min(self._members), rule) if self._full else None
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

    def _admits(self, terms: Terms, ports: Iterable[ServicePort]) -> bool:
        """Whether the rules hold between a newcomer and every member."""
        return not self._members or (
            bool(terms.sharing_key)
            and self._common.keys() == {terms.common}
            and ("*" in terms.shares_with or self._namespaces.keys() <= terms.consents)
            and self._all_consent_to((terms.namespace,))
            and self._ports.keys().isdisjoint(ports)
        )

    def _all_consent_to(self, namespaces: Iterable[str]) -> bool:
        choosy = len(self._terms) - self._consents["*"]
        return not choosy or all(self._consents[each] == choosy for each in namespaces)

    @property
    def at_odds(self) -> bool:
        """Whether the rules fail for any two members."""
        return len(self._members) > 1 and (
            self._contested > 0
            or len(self._common) > 1
            or any(not sharing_key for sharing_key, *_ in self._common)
            or not self._all_consent_to(self._namespaces)
        )

    def leavers(self) -> set[ServiceKey]:
        """The members who must leave so that the rules hold: of two the one that stands later."""
        if self._leaving is None:
            staying, self._leaving = Group(), set()
            members = self._members.items() if self.at_odds else ()
            for key, member in sorted(members, key=lambda each: (each[1].standing, each[0])):
                if staying._admits(member.terms, member.ports):
                    staying.put(key, member)
                else:
                    self._leaving.add(key)
        return self._leaving


_T = TypeVar("_T")


def _add(counter: Counter[_T], key: _T, difference: int) -> None:
    counter[key] += difference
    if not counter[key]:
        del counter[key]
