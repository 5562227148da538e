# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""External addresses: announced where a policy with ``externalIPs`` selects the Service, allocated never.

A user writes them into ``spec.externalIPs``, of a Service of any type; kube-proxy serves them on every node. Herald
makes a VIP lease of each, like those of addresses that it gives, so that one node announces it; the annotation
``herald.dev/external`` names the Services. Nobody vouches for these addresses, so nobody is asked about them either.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from itertools import chain, islice

from herald.core.allocation.addresses import Malformed, parse_address
from herald.core.election.placement import policies_for
from herald.core.model import Address, Policy, Service, ServiceKey, ServiceKeys

NAMED_MAX = 500
"""So many Services the lease of an external address names at most: beside as many as can share it (``SHARERS_MAX``),
each with up to 128 characters, the API server takes no more."""


def external_addresses(
    service: Service, policies: Iterable[Policy]
) -> tuple[frozenset[Address], tuple[str, ...]]:
    """Those of the Service that a policy has announced; and what of them is no address that could be, as ``field:
    wanted …, found …``. (The API server refuses most of that, but not leading zeros.)"""
    if service.deleting or not service.external_ips:
        return frozenset(), ()
    if not policies_for(service, policies, given=False, external=True):
        return frozenset(), ()
    addresses, problems = set[Address](), list[str]()
    for index, text in enumerate(service.external_ips):
        found = parse_address(text)
        if isinstance(found, Malformed):
            problems.append(f"spec.externalIPs[{index}]: {found.why}")
        else:
            addresses.add(found)
    return frozenset(addresses), tuple(problems)


class Externals:
    """Which external addresses are to be announced, and for which Services."""

    def __init__(self) -> None:
        self._addresses: dict[ServiceKey, frozenset[Address]] = {}
        self._services: dict[Address, list[ServiceKey]] = {}
        """In the order of names."""

    def put(self, key: ServiceKey, addresses: Collection[Address]) -> frozenset[Address]:
        """What the Service wants announced from now on; the addresses of which that is news."""
        old, new = self.of(key), frozenset(addresses)
        for address in old - new:
            keys = self._services[address]
            del keys[bisect_left(keys, key)]
            if not keys:
                del self._services[address]
        for address in new - old:
            insort(self._services.setdefault(address, []), key)
        if new:
            self._addresses[key] = new
        else:
            self._addresses.pop(key, None)
        return old ^ new

    def of(self, key: ServiceKey) -> frozenset[Address]:
        return self._addresses.get(key, frozenset())

    def has(self, address: Address) -> bool:
        """Whether it is to be announced for any Service."""
        return address in self._services

    def named(self, address: Address, before: ServiceKeys) -> ServiceKeys:
        """The Services that its lease is to name: of those that it named before whoever is still there, so that nobody
        loses a say to who comes later; then others by name, up to NAMED_MAX."""
        staying = dict.fromkeys(key for key in before if address in self.of(key))
        others = (key for key in self._services.get(address, ()) if key not in staying)
        return tuple(sorted(islice(chain(staying, others), NAMED_MAX)))
