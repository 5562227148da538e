# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Address management against a model of itself: anything may happen, in any order.

People create, edit and delete Services and pools; VIP leases are lost; allocators restart; two of them work
at once, each with its own delayed view. What must hold is told without the code under test: pools are small
and are listed address by address.
"""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import combinations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.core.ipam_world import Allocator, Cluster, pool, service, settle, wanted_conditions

from herald.core import selectors
from herald.core.allocation.ipam import Ipam, Record
from herald.core.model import Address, Pool, Service, ServiceKey

NAMES = ("a", "b", "x/c", "x/d", "e")
BLOCKS = (
    "192.0.2.0/30",
    "192.0.2.2-192.0.2.5",
    "192.0.2.254-192.0.3.1",
    "192.0.2.1",
    "2001:db8::/126",
    "2001:db8::2-2001:db8::5",
    "192.0.2.3,2001:db8::3",
    "192.0.2.9-192.0.2.8",
)
WANTED = (
    "",
    "",
    "",
    "192.0.2.1",
    "192.0.2.3,2001:db8::3",
    "2001:db8::2",
    "192.0.2.254,192.0.2.2",
    "no",
)

pools = st.builds(
    pool,
    st.sampled_from(("p", "q", "r")),
    st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=2).map(",".join),
    exclude=st.sampled_from(("", "", "192.0.2.1", "192.0.2.2-192.0.2.4", "2001:db8::/127")),
    select=st.sampled_from(({}, {}, {"net": "1"}, {"io.kubernetes.service.namespace": "x"})),
    born=st.integers(0, 2),
    priority=st.sampled_from((10, 100)),
    first_last=st.booleans(),
    avoid_buggy=st.booleans(),
    auto=st.sampled_from((True, True, False)),
    disabled=st.sampled_from((False, False, True)),
)
services = st.builds(
    service,
    st.sampled_from(NAMES),
    ips=st.sampled_from(WANTED),
    pool=st.sampled_from(("", "", "p", "q")),
    key=st.sampled_from(("", "k")),
    cross=st.sampled_from(("", "*")),
    families=st.sampled_from(("4", "6", "46", "64")),
    policy=st.sampled_from(("SingleStack", "PreferDualStack", "RequireDualStack")),
    ports=st.sampled_from(("80", "443", "80/UDP,443")),
    local=st.booleans(),
    to=st.sampled_from(("app", "other")),
    labels=st.sampled_from(({}, {"net": "1"})),
    type=st.sampled_from(("LoadBalancer",) * 5 + ("ClusterIP",)),
    lb_class=st.sampled_from((None, None, "herald.dev/l2", "example.com/other")),
)


# --- What must hold, told the slow way -----------------------------------------------------------------


def listed(each: Pool, blocks: str = "blocks") -> list[Address]:
    """All addresses of a pool's blocks, in their order."""
    found: list[Address] = []
    for block in getattr(each, blocks):
        if block.cidr:
            network = ip_network(block.cidr)
            found += (
                list(map(ip_address, range(int(network[0]), int(network[-1]) + 1)))
                if (network.version == 4)
                else [
                    type(network[0])(number)
                    for number in range(int(network[0]), int(network[-1]) + 1)
                ]
            )
        else:
            start, stop = ip_address(block.start), ip_address(block.stop or block.start)
            found += [type(start)(number) for number in range(int(start), int(stop) + 1)]
    return list(dict.fromkeys(found))


def is_sound(each: Pool) -> bool:
    return all(
        int(ip_address(block.stop)) >= int(ip_address(block.start))
        for block in (*each.blocks, *each.exclude)
        if block.stop
    )


def claimed(each: Pool) -> set[Address]:
    return set(listed(each)) - set(listed(each, "exclude")) if is_sound(each) else set()


def owner(address: Address, all_pools: list[Pool]) -> Pool | None:
    claimants = [each for each in all_pools if address in claimed(each)]
    return min(claimants, key=lambda each: (each.created, each.name), default=None)


def usable(each: Pool, all_pools: list[Pool]) -> list[Address]:
    """What the pool can ever give."""
    found: list[Address] = []
    for block in each.blocks:
        inside = listed(replace(each, blocks=(block,)))
        if block.cidr and not each.allow_first_last_ips and len(inside) > 2:
            inside = inside[1:-1]
        found += inside
    return [
        address
        for address in dict.fromkeys(found)
        if address in claimed(each)
        and owner(address, all_pools) is each
        and not (each.avoid_buggy_ips and address.version == 4 and int(address) & 255 in (0, 255))
    ]


def may_give(each: Pool, to: Service, address: Address, all_pools: list[Pool]) -> bool:
    named = to.annotations.get("herald.dev/pool")
    wanted = to.annotations.get("herald.dev/ips", "").split(",")
    return (
        not each.disabled
        and (each.auto_assign or named == each.name or str(address) in wanted)
        and selectors.matches(each.service_selector, selectors.service_labels(to))
        and address in usable(each, all_pools)
    )


def may_share(one: Service, other: Service) -> bool:
    key = "herald.dev/sharing-key"
    return (
        bool(one.annotations.get(key))
        and one.annotations.get(key) == other.annotations.get(key)
        and not set(one.ports) & set(other.ports)
        and one.external_traffic_policy == other.external_traffic_policy
        and (one.external_traffic_policy == "Cluster" or one.selector == other.selector)
        and (
            one.namespace == other.namespace
            or all(
                each.annotations.get("herald.dev/sharing-cross-namespace") for each in (one, other)
            )
        )
    )


def is_ours(each: Service) -> bool:
    return each.type == "LoadBalancer" and each.load_balancer_class in (None, "herald.dev/l2")


def is_unmet(each: Service) -> bool:
    return any(condition.status == "False" for condition in each.conditions)


def families(each: Service) -> list[int]:
    first = each.ip_families[0]
    match each.ip_family_policy:
        case "RequireDualStack":
            return [first, 10 - first]
        case "PreferDualStack":
            return list(each.ip_families)
        case _:
            return [first]


class Model(RuleBasedStateMachine):
    """Steps of people and of two allocators; checks at every write and whenever all is quiet."""

    @initialize()
    def begin(self) -> None:
        self.cluster = Watched(self)
        self.cluster.on_show = self.check_sticky
        self.allocators = [Allocator(self.cluster), Allocator(self.cluster)]
        self.asked: set[ServiceKey] = set()
        """Services that were edited and not served yet: their addresses may change."""

    # --- People ----------------------------------------------------------------------------------------

    @rule(each=services)
    def put_service(self, each: Service) -> None:
        self.asked.add(each.key)
        self.asked |= self.partners(each)
        self.cluster.put(each)
        self.asked |= self.partners(each)

    @precondition(lambda self: self.cluster.services)
    @rule(data=st.data())
    def delete_service(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.cluster.services)))
        self.asked.add(key)
        self.cluster.delete("/".join(key))

    @rule(each=pools)
    def put_pool(self, each: Pool) -> None:
        self.cluster.put(each)

    @precondition(lambda self: self.cluster.pools)
    @rule(data=st.data())
    def delete_pool(self, data: st.DataObject) -> None:
        self.cluster.delete(data.draw(st.sampled_from(sorted(self.cluster.pools))))

    @precondition(lambda self: self.cluster.leases)
    @rule(data=st.data())
    def lose_lease(self, data: st.DataObject) -> None:
        order = sorted(self.cluster.leases, key=lambda address: (address.version, int(address)))
        self.cluster.lose_lease(data.draw(st.sampled_from(order)))

    # --- Allocators ------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), steps=st.integers(1, 5))
    def hear(self, which: int, steps: int) -> None:
        for _ in range(min(steps, len(self.allocators[which].unread))):
            self.allocators[which].hear()

    @rule(which=st.integers(0, 1), steps=st.integers(1, 3))
    def decide(self, which: int, steps: int) -> None:
        for _ in range(steps):
            self.allocators[which].decide_next()

    @rule(which=st.integers(0, 1))
    def send(self, which: int) -> None:
        self.allocators[which].send_next()

    @rule(which=st.integers(0, 1))
    def answer(self, which: int) -> None:
        if self.allocators[which].under_way:
            self.allocators[which].hear_answer()

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        """What was sent and not carried out yet is lost."""
        self.cluster.allocators.remove(self.allocators[which])
        self.allocators[which] = Allocator(self.cluster)

    @rule(which=st.integers(0, 1))
    def quiet(self, which: int) -> None:
        """The other one lost the lease ``ipam`` for good; this one works until nothing is left to do."""
        other = self.allocators[1 - which]
        self.cluster.allocators.remove(other)
        settle(self.allocators[which])
        self.check_quiet(self.allocators[which])
        self.allocators[1 - which] = Allocator(self.cluster)
        self.asked = {key for key, each in self.cluster.services.items() if is_unmet(each)}

    # --- What must hold --------------------------------------------------------------------------------

    def partners(self, each: Service) -> set[ServiceKey]:
        """Who edits what sharing depends on may, unseen, look like a partner that did."""
        if not each.annotations.get("herald.dev/sharing-key"):
            return set()
        return {
            key
            for record in self.cluster.leases.values()
            if each.key in record.services
            for key in record.services
        }

    def check_given(self, allocator_pools: list[Pool], record: Record, to: Service) -> None:
        """A new address comes from a pool that gives it."""
        if str(record.address) in to.ingress:
            return  # given before; the record is made again
        source = owner(record.address, allocator_pools)
        assert source is not None, f"{record.address} is in no pool"
        assert may_give(source, to, record.address, allocator_pools), f"{record} for {to}"

    def check_sticky(
        self, key: ServiceKey, before: tuple[str, ...], after: tuple[str, ...]
    ) -> None:
        lost = set(before) - set(after)
        assert not lost or key in self.asked, f"{key} lost {lost} without asking"

    @invariant()
    def no_address_twice(self) -> None:
        """Who shows one address shares it by the rules, or has edited what they depend on."""
        for one, other in combinations(self.cluster.services.values(), 2):
            if is_ours(one) and is_ours(other) and set(one.ingress) & set(other.ingress):
                assert may_share(one, other) or self.asked & {one.key, other.key}

    def check_quiet(self, allocator: Allocator) -> None:
        cluster = self.cluster
        all_pools = list(cluster.pools.values())
        held: dict[ServiceKey, set[Address]] = {}
        for record in cluster.leases.values():
            assert record.services, f"nobody has {record.address}"
            for key in record.services:
                held.setdefault(key, set()).add(record.address)
            for one, other in combinations(record.services, 2):
                assert may_share(cluster.services[one], cluster.services[other])
        for key, addresses in held.items():
            assert is_ours(cluster.services[key]), f"{key} has {addresses}"
        for key, each in cluster.services.items():
            if not is_ours(each):
                assert not each.conditions
                continue
            mine = held.get(key, set())
            if not each.conditions:
                # It shows what another load balancer gave it (or Herald, before it left Herald's care).
                assert each.ingress
                assert not mine
                assert not each.load_balancer_class
                continue
            assert set(map(ip_address, each.ingress)) == mine
            versions = [address.version for address in map(ip_address, each.ingress)]
            assert versions == sorted(versions, key=families(each).index), "family order"
            self.check_nothing_to_be_had(each, mine, all_pools)
        self.check_counts(allocator.ipam, all_pools)
        self.check_fresh(allocator)

    def check_nothing_to_be_had(
        self, each: Service, mine: set[Address], all_pools: list[Pool]
    ) -> None:
        """Who asks for nothing special and lacks an address of a family could not be given one."""
        if each.annotations.keys() & {"herald.dev/ips", "herald.dev/pool"}:
            return
        lacking = set(families(each)) - {address.version for address in mine}
        if each.ip_family_policy == "RequireDualStack":
            lacking = set() if mine else lacking
        free = {
            address.version
            for source in all_pools
            for address in usable(source, all_pools)
            if address not in self.cluster.leases and may_give(source, each, address, all_pools)
        }
        if each.ip_family_policy == "RequireDualStack":
            assert not lacking or not lacking <= free
        else:
            assert not lacking & free, f"{each.key} could have an address"

    def check_counts(self, ipam: Ipam, all_pools: list[Pool]) -> None:
        leases = self.cluster.leases
        for each in all_pools:
            status = ipam.pool_status(each.name)
            assert status is not None
            total = usable(each, all_pools)
            valid = replace(
                each, blocks=tuple(b for b in each.blocks if is_sound(replace(each, blocks=(b,))))
            )
            used = {
                address
                for address, record in leases.items()
                if (address in claimed(each) and owner(address, all_pools) is each)
                or (record.pool == each.name and address in listed(valid))
            }
            shown = {
                ip_address(text)
                for other in self.cluster.services.values()
                for text in other.ingress
            }
            free = set(total) - leases.keys() - shown
            found = (status.ips_total, status.ips_used, status.ips_available)
            assert found == (str(len(total)), str(len(used)), str(len(free))), each

    def check_fresh(self, allocator: Allocator) -> None:
        """An allocator that starts now decides just what this one has written."""
        fresh = Allocator(self.cluster)
        self.cluster.allocators.remove(fresh)
        for key, each in self.cluster.services.items():
            decision = fresh.ipam.decide(key)
            assert not decision.give, f"{key}: {decision}"
            assert not decision.release, f"{key}: {decision}"
            assert wanted_conditions(decision) == each.conditions
            assert decision == allocator.ipam.decide(key)
        assert not any(map(fresh.ipam.is_orphan, self.cluster.leases))
        for name in self.cluster.pools:
            assert fresh.ipam.pool_status(name) == allocator.ipam.pool_status(name)


class Watched(Cluster):
    """A cluster that has every new record checked against the pools that its giver knew."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def about_to_give(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        to = giver.read.get(key)
        assert to is not None, f"{record} for nobody"
        self.model.check_given(list(giver.known_pools.values()), record, to)


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=int(os.environ.get("HERALD_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
