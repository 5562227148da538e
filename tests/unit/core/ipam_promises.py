# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What address management promises, told the slow way and without the code under test.

Pools are small and are listed address by address; sharing is a question about two Services.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from ipaddress import ip_address, ip_network

from tests.unit.core.ipam_world import Allocator

from herald.core import selectors
from herald.core.allocation.ipam import Record
from herald.core.model import Address, Block, Pool, Service

IPS, POOL = "herald.dev/ips", "herald.dev/pool"
KEY, CROSS = "herald.dev/sharing-key", "herald.dev/sharing-cross-namespace"


address_of = cache(ip_address)


# --- Pools ---------------------------------------------------------------------------------------------


@cache
def listed(blocks: tuple[Block, ...]) -> tuple[Address, ...]:
    """All addresses of the blocks, in their order."""
    found: list[Address] = []
    for block in blocks:
        if block.cidr:
            network = ip_network(block.cidr)
            first, last = network[0], network[-1]
        else:
            first, last = ip_address(block.start), ip_address(block.stop or block.start)
        found += [type(first)(number) for number in range(int(first), int(last) + 1)]
    return tuple(dict.fromkeys(found))


def is_sound(blocks: Iterable[Block]) -> bool:
    return all(
        int(ip_address(block.stop)) >= int(ip_address(block.start))
        for block in blocks
        if block.stop
    )


def sound_blocks(each: Pool) -> tuple[Address, ...]:
    """What its blocks hold, those aside that cannot be understood."""
    return listed(tuple(block for block in each.blocks if is_sound((block,))))


def claimed(each: Pool) -> frozenset[Address]:
    return _claimed(each.blocks, each.exclude)


@cache
def _claimed(blocks: tuple[Block, ...], exclude: tuple[Block, ...]) -> frozenset[Address]:
    if not is_sound((*blocks, *exclude)):
        return frozenset()
    return frozenset(listed(blocks)) - frozenset(listed(exclude))


class Layout:
    """Pools together: whose each address is, and what each can ever give."""

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self.pools = pools
        self.owner: dict[Address, Pool] = {}
        """The oldest of those that claim it."""
        for each in sorted(pools, key=lambda each: (each.created, each.name)):
            for address in claimed(each):
                self.owner.setdefault(address, each)
        self.usable = {each.name: self._usable(each) for each in pools}

    def _usable(self, each: Pool) -> dict[Address, None]:
        found: list[Address] = []
        for block in each.blocks if claimed(each) else ():
            inside = listed((block,))
            keeps_ends = each.allow_first_last_ips or not block.cidr or len(inside) <= 2
            found += inside if keeps_ends else inside[1:-1]
        return {
            address: None
            for address in found
            if self.owner.get(address) is each
            and not (
                each.avoid_buggy_ips and address.version == 4 and int(address) & 255 in (0, 255)
            )
        }


_layouts: dict[tuple[int, ...], Layout] = {}


def layout(pools: Iterable[Pool]) -> Layout:
    every = tuple(pools)
    key = tuple(map(id, every))
    if key not in _layouts:
        if len(_layouts) > 1000:
            _layouts.clear()
        _layouts[key] = Layout(every)  # which keeps the pools, and so their ids
    return _layouts[key]


def may_give(each: Pool, to: Service, address: Address, plan: Layout) -> bool:
    named = to.annotations.get(POOL)
    wanted = to.annotations.get(IPS, "").split(",")
    return (
        not each.disabled
        and (each.auto_assign or named == each.name or str(address) in wanted)
        and named in (None, each.name)
        and selectors.matches(each.service_selector, selectors.service_labels(to))
        and address in plan.usable[each.name]
    )


# --- Services ------------------------------------------------------------------------------------------


def is_ours(each: Service) -> bool:
    return each.type == "LoadBalancer" and each.load_balancer_class in (None, "herald.dev/l2")


def may_share(one: Service, other: Service) -> bool:
    return (
        bool(one.annotations.get(KEY))
        and one.annotations.get(KEY) == other.annotations.get(KEY)
        and not set(one.ports) & set(other.ports)
        and one.external_traffic_policy == other.external_traffic_policy
        and (one.external_traffic_policy == "Cluster" or one.selector == other.selector)
        and _consents(one, other)
        and _consents(other, one)
    )


def _consents(one: Service, other: Service) -> bool:
    named = one.annotations.get(CROSS, "").split(",")
    return one.namespace == other.namespace or "*" in named or other.namespace in named


def families(each: Service) -> list[int]:
    first = each.ip_families[0]
    match each.ip_family_policy:
        case "RequireDualStack":
            return [first, 10 - first]
        case "PreferDualStack":
            return list(each.ip_families)
        case _:
            return [first]


def asks(each: Service) -> tuple[object, ...]:
    """What it asks for, for itself alone: an edit of this is a request for another address."""
    return (
        is_ours(each),
        each.annotations.get(IPS),
        each.annotations.get(POOL),
        families(each),
        each.ip_family_policy == "RequireDualStack",
    )


def is_waiting(each: Service) -> bool:
    """Whether it may have another address yet: it asks for one that it could not have."""
    unmet = any(condition.status == "False" for condition in each.conditions)
    return unmet and not each.annotations.keys().isdisjoint((IPS, POOL))


def told_of(each: Service, address: Address) -> str:
    """The pool that gave it the address, by its condition."""
    for text in (word for told in each.conditions for word in told.message.split("; ")):
        before, said, after = text.removeprefix("held: ").partition(" of pool ")
        if said and before == str(address):
            return after.split(",")[0]
    return ""


# --- What an allocator must think ----------------------------------------------------------------------


def counts(allocator: Allocator, each: Pool) -> tuple[str, str, str]:
    """Of the pool: how many addresses can be given, are, and are left, by what the allocator was told."""
    plan = layout(allocator.known_pools.values())
    records = allocator.records | allocator.expected
    total = plan.usable[each.name]
    used = [
        address
        for address, record in records.items()
        if plan.owner.get(address) is each
        or (record.pool == each.name and address in sound_blocks(each))
    ]
    shown = {text for service in allocator.read.values() for text in service.ingress}
    free = [each for each in total if each not in records and str(each) not in shown]
    return str(len(total)), str(len(used)), str(len(free))


def refused(allocator: Allocator, record: Record, to: Service) -> str:
    """Why the allocator, by what it was told, must not give this to the Service; empty: it may."""
    plan = layout(allocator.known_pools.values())
    before = allocator.records.get(record.address)
    source = plan.owner.get(record.address)
    if str(record.address) not in to.ingress:  # else it was given before
        if source is None:
            return "is in no pool"
        if not may_give(source, to, record.address, plan):
            return f"is not given by pool {source.name}"
        for other in allocator.read.values():
            if before is None and str(record.address) in other.ingress:
                return f"is shown by {other.key}"
    for key in record.services:
        other = allocator.read.get(key)
        if other and other is not to and is_ours(other) and not may_share(to, other):
            return f"is not to be shared with {key}"
    if before and set(before.services) != set(record.services) - {to.key}:
        return f"had {before.services}"
    if before:
        expected = before.pool
    elif str(record.address) in to.ingress and (told := told_of(to, record.address)):
        expected = told
    else:
        expected = source.name if source else ""
    return "" if record.pool == expected else f"is not of pool {record.pool}"
