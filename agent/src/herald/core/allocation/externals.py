# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""External addresses: announced where a policy with ``externalIPs`` selects the Service, allocated never.

A user writes them into ``spec.externalIPs``, of a Service of any type; kube-proxy serves them on every node. Herald
makes a VIP lease of each, like those of addresses that it gives, so that one node announces it; the annotation
``herald.dev/external`` names the Services. Nobody vouches for these addresses, so nobody is asked about them either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from herald.core.allocation.addresses import Malformed, parse_address
from herald.core.election.placement import policies_for
from herald.core.model import Address, Policy, Service, ServiceKey, ServiceKeys


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
        self._services: dict[Address, ServiceKeys] = {}

    def put(self, key: ServiceKey, addresses: Collection[Address]) -> frozenset[Address]:
        """What the Service wants announced from now on; the addresses of which that is news."""
        old, new = self.of(key), frozenset(addresses)
        for address in old - new:
            rest = tuple(each for each in self.services(address) if each != key)
            if rest:
                self._services[address] = rest
            else:
                del self._services[address]
        for address in new - old:
            self._services[address] = tuple(sorted((*self.services(address), key)))
        if new:
            self._addresses[key] = new
        else:
            self._addresses.pop(key, None)
        return old ^ new

    def of(self, key: ServiceKey) -> frozenset[Address]:
        return self._addresses.get(key, frozenset())

    def services(self, address: Address) -> ServiceKeys:
        return self._services.get(address, ())
