# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Address management in a cluster where anything may happen, in any order, with its promises checked all the while.

People create, edit and delete Services and pools; VIP leases are lost; allocators restart; two of them work
at once, each with its own delayed view. A run begins with pools and Services that are served, and most of what
follows can be satisfied: promises about addresses in use say little where nobody has one. What a run came by
is counted (``reached``), so that a test can tell.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.unit.core import ipam_promises as promises
from tests.unit.core.ipam_promises import families, is_ours, may_share
from tests.unit.core.ipam_world import (
    Allocator,
    Cluster,
    key_of,
    pool,
    service,
    settle,
    wanted_conditions,
)

from herald.core.allocation.ipam import Decision, Record
from herald.core.model import Address, Service, ServiceKey, by_number

EXAMPLES = 120
STEPS = 40

Asks = dict[str, Any]
"""Of a Service or a pool: what `service` and `pool` are called with."""

NAMES = ("a", "b", "x/c", "x/d", "e")
POOLS = ("p", "q", "r")

# Every field of a Service and of a pool, with what may be asked for; what is usual stands there more often.
SERVICE: dict[str, st.SearchStrategy[Any]] = {
    "ips": st.sampled_from(
        ("",) * 8
        + ("192.0.2.1", "192.0.2.2", "192.0.2.3,2001:db8::3", "2001:db8::2", "192.0.2.5,192.0.2.2")
        + ("no",)
    ),
    "pool": st.sampled_from(("",) * 6 + ("p", "p", "q", "r")),
    "key": st.sampled_from(("", "k", "k", "k", "l")),
    "cross": st.sampled_from(("", "*", "*", "x", "default")),
    "families": st.sampled_from(("4", "4", "4", "6", "46", "64")),
    "policy": st.sampled_from(
        ("SingleStack",) * 3 + ("PreferDualStack",) * 2 + ("RequireDualStack",)
    ),
    "ports": st.sampled_from(("80", "443", "25", "80/UDP,443", "53")),
    "local": st.sampled_from((False, False, False, True)),
    "to": st.sampled_from(("app", "app", "app", "other")),
    "labels": st.sampled_from(({}, {"net": "1"})),
    "type": st.sampled_from(("LoadBalancer",) * 9 + ("ClusterIP",)),
    "lb_class": st.sampled_from((None,) * 4 + ("herald.dev/l2",) * 4 + ("example.com/other",)),
}
POOL: dict[str, st.SearchStrategy[Any]] = {
    "blocks": st.sampled_from(
        ("192.0.2.0/29,2001:db8::/125",) * 4
        + ("192.0.2.0/30", "192.0.2.2-192.0.2.5", "192.0.2.1", "192.0.2.3,2001:db8::3")
        + ("192.0.2.254-192.0.3.1,192.0.2.4/30", "2001:db8::/126", "2001:db8::2-2001:db8::5")
        + ("192.0.2.9-192.0.2.8",)
    ),
    "exclude": st.sampled_from(("",) * 4 + ("192.0.2.1", "192.0.2.2-192.0.2.4", "2001:db8::/127")),
    "select": st.sampled_from(
        ({},) * 4 + ({"net": "1"}, {"io.kubernetes.service.namespace": "x"}),
    ),
    "born": st.integers(0, 2),
    "priority": st.sampled_from((10, 100)),
    "first_last": st.booleans(),
    "avoid_buggy": st.booleans(),
    "auto": st.sampled_from((True, True, True, False)),
    "disabled": st.sampled_from((False, False, False, True)),
}

any_service = st.fixed_dictionaries(SERVICE)
any_pool = st.fixed_dictionaries(POOL)
plain = st.fixed_dictionaries(
    {
        "families": SERVICE["families"],
        "labels": SERVICE["labels"],
        "lb_class": st.sampled_from((None, "herald.dev/l2")),
    }
)
partners = st.builds(
    lambda ports, **asks: {"key": "k", "cross": "*", "ports": ports, **asks},
    SERVICE["ports"],
    families=st.sampled_from(("4", "4", "4", "46")),
    policy=st.sampled_from(("SingleStack", "PreferDualStack")),
    labels=SERVICE["labels"],
)
of_a_pool = plain.map(lambda asks: asks | {"pool": "p"})
satisfiable = plain | partners | of_a_pool
begun = st.one_of(
    st.lists(partners, min_size=3, max_size=5, unique_by=lambda asks: asks["ports"]),
    st.lists(satisfiable, min_size=3, max_size=5),
)
named = st.builds(
    lambda ips, asks: {"ips": ips, **asks},
    st.sampled_from(("192.0.2.0", "192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.5")),
    partners.map(lambda asks: asks | {"families": "4"}),
)
terms = {field: SERVICE[field] for field in ("key", "cross", "ports", "local", "to")}
sound_pool = st.fixed_dictionaries(
    {
        "blocks": st.sampled_from(
            ("192.0.2.0/29,2001:db8::/125",) * 2 + ("192.0.2.0/31,2001:db8::/127",)
        ),
        "born": POOL["born"],
    }
)


def edits(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Asks]:
    """Other values for one or two of the fields."""
    one = st.one_of([st.fixed_dictionaries({name: values}) for name, values in fields.items()])
    return st.lists(one, min_size=1, max_size=2).map(
        lambda few: {name: value for each in few for name, value in each.items()}
    )


paces = st.sampled_from(("", "one works", "both work", "both work", "race", "race"))
"""What allocators do before anything else happens."""


def people(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule of what people do; often enough allocators have the time to follow."""

    def decorate(step: Callable[..., None]) -> Any:
        def then_wait(self: Model, pace: str, **values: Any) -> None:
            step(self, **values)
            self.wait(pace)

        then_wait.__name__ = step.__name__
        return rule(pace=paces, **drawn)(then_wait)

    return decorate


class Model(RuleBasedStateMachine):
    """Steps of people and of two allocators; checks at every step, and more of them whenever all is quiet."""

    reached: ClassVar[Counter[str]] = Counter()

    @initialize(
        pools=st.tuples(sound_pool) | st.tuples(sound_pool, any_pool),
        services=begun,
        looks=st.booleans(),
    )
    def begin(self, pools: tuple[Asks, ...], services: list[Asks], looks: bool) -> None:
        self.cluster = Watched(self)
        self.allocators = [Allocator(self.cluster), Allocator(self.cluster)]
        self.looks = looks
        """Whether the counts are asked for at every step, and not only after decisions."""
        self.services: dict[str, Asks] = {}
        self.pools: dict[str, Asks] = {}
        self.asked: set[ServiceKey] = set()
        """Services whose addresses may change until all is quiet."""
        self.disputes: set[tuple[ServiceKey, ServiceKey]] = set()
        """Who may not share what they both had, until all is quiet."""
        self.torn: set[Address] = set()
        """Addresses whose lease was lost, until all is quiet."""
        self.open: set[Address] = set()
        """Those of them that were not in use, or not known to be by everybody: anybody may get them."""
        for name, asks in zip(POOLS, pools, strict=False):
            self.put_pool(name, asks)
        for name, asks in zip(NAMES, services, strict=False):
            self.put_service(name, asks)
        self.both_work()

    # --- People ----------------------------------------------------------------------------------------

    def put_service(self, name: str, asks: Asks) -> None:
        self.services[name] = asks
        each = service(name, **asks)
        before = self.cluster.services.get(each.key)
        self.cluster.put(each)
        if before and promises.asks(before) != promises.asks(each):
            self.asked.add(each.key)
        if before is None or not is_ours(before):
            # Nobody can tell that it is not the one that was there before.
            self.dispute(each.key)
        else:
            self.dispute(each.key, seen=True)

    def dispute(self, edited: ServiceKey, *, seen: bool = False) -> None:
        """The Service may no longer share with some of those who have an address with it: it is the one
        to leave, if allocators saw its edit, and one of the two if not."""
        each = self.cluster.services.get(edited)
        if each is None or not is_ours(each):
            return
        for other in self.cluster.services.values():
            common = self.had(each) & self.had(other)
            if other is each or not common or not is_ours(other) or may_share(each, other):
                continue
            self.disputes.add((edited, other.key))
            self.asked.add(edited)
            self.reached["edited out of sharing, seen" if seen else "at odds otherwise"] += 1
            if not seen or common & self.torn:
                self.asked.add(other.key)

    def had(self, each: Service) -> set[Address]:
        """What a Service shows, or has a lease of."""
        leases = self.cluster.leases.values()
        return {record.address for record in leases if each.key in record.services}.union(
            map(promises.address_of, each.ingress)
        )

    @people(name=st.sampled_from(NAMES), asks=satisfiable)
    def ask(self, name: str, asks: Asks) -> None:
        self.put_service(name, asks)

    @people(name=st.sampled_from(NAMES), asks=any_service)
    def ask_for_anything(self, name: str, asks: Asks) -> None:
        self.put_service(name, asks)

    @people(name=st.sampled_from(NAMES), edit=edits(SERVICE))
    def edit_service(self, name: str, edit: Asks) -> None:
        self.put_service(name, self.services.get(name, {}) | edit)

    @people(name=st.sampled_from(NAMES), asks=named)
    def ask_by_name(self, name: str, asks: Asks) -> None:
        self.put_service(name, asks)

    @people(
        name=st.sampled_from(NAMES),
        edit=edits(terms),
    )
    def edit_terms(self, name: str, edit: Asks) -> None:
        if name in self.services:
            self.put_service(name, self.services[name] | edit)

    @people(name=st.sampled_from(NAMES), labels=SERVICE["labels"])
    def label(self, name: str, labels: dict[str, str]) -> None:
        self.put_service(name, self.services.get(name, {}) | {"labels": labels})

    @people(name=st.sampled_from(NAMES))
    def delete_service(self, name: str) -> None:
        if name in self.services:
            del self.services[name]
            self.asked.add(key_of(name))
            self.cluster.delete(name)

    def put_pool(self, name: str, asks: Asks) -> None:
        self.pools[name] = asks
        self.cluster.put(pool(name, **asks))

    @people(name=st.sampled_from(POOLS), asks=sound_pool | any_pool)
    def make_pool(self, name: str, asks: Asks) -> None:
        self.put_pool(name, asks)

    @people(name=st.sampled_from(POOLS), edit=edits(POOL))
    def edit_pool(self, name: str, edit: Asks) -> None:
        if name in self.pools:
            self.put_pool(name, self.pools[name] | edit)

    @people(name=st.sampled_from(NAMES), to=st.sampled_from(POOLS[1:]))
    def ask_for_a_pool_that_may_have_it(self, name: str, to: str) -> None:
        self.put_pool(to, {"blocks": "192.0.2.0/29,2001:db8::/125", "born": 2})
        self.put_service(name, self.services.get(name, {}) | {"pool": to, "ips": ""})

    @people(
        name=st.sampled_from(POOLS),
        blocks=st.sampled_from(("192.0.2.0/30,2001:db8::/126", "192.0.2.4/30,2001:db8::4/126")),
    )
    def halve_pool(self, name: str, blocks: str) -> None:
        if name in self.pools:
            self.put_pool(name, self.pools[name] | {"blocks": blocks})

    @people(name=st.sampled_from(POOLS))
    def delete_pool(self, name: str) -> None:
        if name in self.pools:
            del self.pools[name]
            self.cluster.delete(name)

    @people(which=st.integers(0, 7))
    def lose_lease(self, which: int) -> None:
        leases = sorted(self.cluster.leases, key=by_number)
        for address in leases[which % len(leases) :][:1] if leases else ():
            self.lose(address)

    @people()
    def lose_all_leases(self) -> None:
        for address in sorted(self.cluster.leases, key=by_number):
            self.lose(address)

    def lose(self, address: Address) -> None:
        users = [self.cluster.services.get(key) for key in self.cluster.leases[address].services]
        in_use = all(each and is_ours(each) and str(address) in each.ingress for each in users)
        if not in_use or any(each.unread or each.under_way for each in self.allocators):
            self.open.add(address)
        self.torn.add(address)
        self.cluster.lose_lease(address)

    def wait(self, pace: str) -> None:
        match pace:
            case "one works":
                settle(self.allocators[0])
            case "both work":
                self.both_work()
            case "race":
                self.race(0, len(NAMES))

    # --- Allocators ------------------------------------------------------------------------------------

    def one(self, which: int, busy: str = "") -> Allocator:
        """That one of the two; the other one if it has nothing of this to do."""
        first, second = self.allocators[which], self.allocators[1 - which]
        return second if busy and not getattr(first, busy) else first

    @precondition(lambda self: any(each.unread for each in self.allocators))
    @rule(which=st.integers(0, 1), steps=st.integers(1, 5))
    def hear(self, which: int, steps: int) -> None:
        each = self.one(which, "unread")
        for _ in range(min(steps, len(each.unread))):
            each.hear()

    @rule(which=st.integers(0, 1), steps=st.integers(1, 3))
    def decide(self, which: int, steps: int) -> None:
        each = self.one(which)
        for _ in range(steps):
            each.decide_next()
        self.check_counts(each)

    @precondition(lambda self: any(each.under_way for each in self.allocators))
    @rule(which=st.integers(0, 1))
    def send(self, which: int) -> None:
        self.one(which, "under_way").send_next()

    @precondition(lambda self: any(each.under_way for each in self.allocators))
    @rule(which=st.integers(0, 1))
    def answer(self, which: int) -> None:
        self.one(which, "under_way").hear_answer()

    @rule(which=st.integers(0, 1))
    def work(self, which: int) -> None:
        """All that this one can do at the moment; the other one stays as far behind as it is."""
        settle(self.allocators[which])

    @rule(which=st.integers(0, 1), steps=st.integers(1, 6))
    def race(self, which: int, steps: int) -> None:
        """Both know the same and decide at once; what they write is under way."""
        for each in (self.allocators[which], self.allocators[1 - which]):
            while each.unread:
                each.hear()
            for _ in range(steps):
                each.decide_next()

    @rule()
    def both_work(self) -> None:
        """In turns, until nothing is left to do."""
        for _ in range(10):
            for each in self.allocators:
                settle(each)
            if not any(each.unread for each in self.allocators):
                self.rest(self.allocators[0])
                return
        raise AssertionError("the two do not come to an end")

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        """What was sent and not carried out yet is lost."""
        self.cluster.allocators.remove(self.allocators[which])
        self.allocators[which] = Allocator(self.cluster)
        # The new one has not seen who edited himself out of the rules of sharing.
        self.asked.update(*self.disputes)

    @rule(which=st.integers(0, 1))
    def quiet(self, which: int) -> None:
        """The other one lost the lease ``ipam`` for good; this one works until nothing is left to do."""
        self.cluster.allocators.remove(self.allocators[1 - which])
        settle(self.allocators[which])
        self.allocators[1 - which] = Allocator(self.cluster)
        self.rest(self.allocators[which])

    def rest(self, allocator: Allocator) -> None:
        self.check_quiet(allocator)
        services = self.cluster.services
        self.asked = {key for key, each in services.items() if promises.is_waiting(each)}
        self.disputes.clear()
        self.torn.clear()
        self.open.clear()
        self.reached["quiet"] += 1
        reasons = {each.reason for service in services.values() for each in service.conditions}
        self.reached.update(f"quiet with {reason}" for reason in reasons)
        if any(len(record.services) > 1 for record in self.cluster.leases.values()):
            self.reached["quiet with a shared address"] += 1

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.quiet(0)

    # --- What must hold when an allocator does something -----------------------------------------------

    def check_release(self, giver: Allocator, key: ServiceKey, address: Address) -> None:
        """What is replaced on request is left only when what replaces it is recorded."""
        each, record = giver.read.get(key), giver.records[address]
        if not each or not is_ours(each) or str(address) not in each.ingress:
            return
        others = [giver.read[other] for other in record.services if other in giver.read]
        at_odds = any(
            is_ours(other) and not may_share(each, other) for other in others if other is not each
        )
        if at_odds or address.version not in families(each):
            return
        self.reached["replaced"] += 1
        assert any(
            other.version == address.version and key in instead.services
            for other, instead in giver.records.items()
            if other != address
        ), f"{key} is to lose {address} with nothing in its place"

    def was_given(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        self.dispute(key)
        self.reached["joined" if len(record.services) > 1 else "given"] += 1
        knew = self.cluster.knew[giver, record.address]
        others = [each for each in self.cluster.leases.values() if key in each.services]
        if any(
            each.address not in knew and each.address.version == record.address.version
            for each in others
            if each != record
        ):
            # Each of two allocators gave it one: it keeps the one that is in use for him who decides.
            self.asked.add(key)
            self.reached["given twice"] += 1

    def was_released(self, key: ServiceKey, address: Address) -> None:
        each = self.cluster.services.get(key)
        if each and is_ours(each) and str(address) in each.ingress and key not in self.asked:
            assert address in self.open, f"{key} lost the record of {address} without asking"

    def was_shown(self, before: Service, after: Service) -> None:
        lost = set(before.ingress) - set(after.ingress)
        assert (
            not lost
            or after.key in self.asked
            or all(promises.address_of(text) in self.open for text in lost)
        ), f"{after.key} lost {lost} without asking"

    # --- What must hold after every step ---------------------------------------------------------------

    def in_use(self) -> list[tuple[Service, Address]]:
        """The addresses that Services show which Herald serves, those aside that may change."""
        return [
            (each, address)
            for each in self.cluster.services.values()
            if is_ours(each) and each.conditions and each.key not in self.asked
            for address in map(promises.address_of, each.ingress)
            if address not in self.open
        ]

    @invariant()
    def no_address_twice(self) -> None:
        """Who shows one address shares it by the rules."""
        for (one, address), (other, same) in combinations(self.in_use(), 2):
            if address == same:
                self.reached["shared, checked"] += 1
                assert may_share(one, other), f"{one.key} and {other.key} show {address}"

    @invariant()
    def what_is_shown_is_recorded(self) -> None:
        for each, address in self.in_use():
            if address not in self.torn:
                self.reached["in use, checked"] += 1
                record = self.cluster.leases.get(address)
                has = record.services if record else ()
                assert each.key in has, f"{each.key} shows {address}, which is recorded for {has}"

    @invariant()
    def counts_are_exact(self) -> None:
        if self.looks:
            for allocator in self.allocators:
                self.check_counts(allocator)

    def check_counts(self, allocator: Allocator) -> None:
        for name, each in allocator.known_pools.items():
            status = allocator.ipam.pool_status(name)
            assert status is not None
            found = status.ips_total, status.ips_used, status.ips_available
            self.reached["counts, checked"] += status.ips_used != "0"
            assert found == promises.counts(allocator, each), each

    # --- What must hold when all is quiet --------------------------------------------------------------

    def check_quiet(self, allocator: Allocator) -> None:
        cluster = self.cluster
        plan = promises.layout(cluster.pools.values())
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
            shown = [promises.address_of(text) for text in each.ingress]
            assert set(shown) == mine
            versions = [address.version for address in shown]
            assert versions == sorted(versions, key=families(each).index), "family order"
            self.check_nothing_to_be_had(each, mine, plan)
        self.check_counts(allocator)
        self.check_fresh(allocator)

    def check_nothing_to_be_had(
        self, each: Service, mine: set[Address], plan: promises.Layout
    ) -> None:
        """Who asks for nothing special and lacks an address of a family could not be given one."""
        if not each.annotations.keys().isdisjoint((promises.IPS, promises.POOL)):
            return
        lacking = set(families(each)) - {address.version for address in mine}
        if each.ip_family_policy == "RequireDualStack":
            lacking = set() if mine else lacking
        free = {
            address.version
            for source in plan.pools
            for address in plan.usable[source.name]
            if address not in self.cluster.leases and promises.may_give(source, each, address, plan)
        }
        if each.ip_family_policy == "RequireDualStack":
            assert not lacking or not lacking <= free
        else:
            assert not lacking & free, f"{each.key} could have an address"

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
    """A cluster that has all that allocators do checked against what they knew, and what came of it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.knew: dict[tuple[Allocator, Address], set[Address]] = {}
        """Of a lease that is being written: the others that its giver knew to name the same Service."""

    def about_to_give(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        to = giver.read.get(key)
        assert to is not None, f"{record} for nobody"
        why = promises.refused(giver, record, to)
        assert not why, f"{record} for {to} {why}"
        known = giver.records | giver.expected
        self.knew[giver, record.address] = {
            address for address, each in known.items() if key in each.services
        }

    def give(self, record: Record, expected: Record | None) -> bool:
        accepted = super().give(record, expected)
        self.model.reached["refused, for another was faster"] += not accepted
        return accepted

    def was_given(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        self.model.was_given(giver, key, record)

    def about_to_release(self, giver: Allocator, key: ServiceKey, address: Address) -> None:
        self.model.check_release(giver, key, address)

    def was_released(self, key: ServiceKey, address: Address) -> None:
        self.model.was_released(key, address)

    def about_to_show(self, giver: Allocator, key: ServiceKey, decision: Decision) -> None:
        for address in decision.addresses:
            record = giver.records.get(address)
            has = record.services if record else ()
            assert key in has, f"{key} is to show {address}, which is recorded for {has}"

    def was_shown(self, before: Service, after: Service) -> None:
        self.model.was_shown(before, after)


def run(examples: int = EXAMPLES, *, surely: bool = True, shrink: bool = True) -> Counter[str]:
    """Have so many examples run, the same ones each time if ``surely``; what they came by."""
    reached: Counter[str] = Counter()
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    run_state_machine_as_test(
        type("Model", (Model,), {"reached": reached}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=surely,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return reached
