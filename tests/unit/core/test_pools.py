# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the status of a pool says: exact counts, whether it gives, and with whom it is in conflict."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.counted import calls
from tests.unit.core.ipam_rules import World, gone, then
from tests.unit.core.ipam_world import key_of, pool, service

from herald.core.allocation.ipam import Ipam, Record
from herald.core.allocation.pools import VERSIONS, Pools
from herald.core.allocation.ranges import Range, Runs, union
from herald.core.model import Block, Condition, Pool, PoolStatus, Requirement, Selector
from herald.core.selectors import matches


@dataclass(frozen=True)
class Row:
    rule: str
    there_is: tuple[object, ...]
    counts: dict[str, str]
    """Pool to ``total used available``."""
    ready: dict[str, str] = field(default_factory=dict)
    """Pool to the reason of Ready, and words of its message."""
    conflict: dict[str, str] = field(default_factory=dict)
    """Pool to the message of Conflict; empty: none."""
    steps: tuple[object, ...] = ()


A = pool("a", "192.0.2.0/29", born=1)
THREE = tuple(
    service(name, ips=f"192.0.2.{number}") for name, number in (("x", 0), ("y", 1), ("z", 5))
)

SIX = tuple(pool(name, "192.0.2.1", born=number) for number, name in enumerate("abcdef"))

ROWS = [
    Row("an unused pool", (A,), {"a": "8 0 8"}, {"a": "Ready "}, {"a": ""}),
    Row("used addresses", (A, *THREE), {"a": "8 3 5"}),
    Row(
        "an address that is shared is one",
        (A, service("x", key="k"), service("y", key="k", ports="1")),
        {"a": "8 1 7"},
    ),
    Row(
        "both families",
        (
            pool("a", "192.0.2.0/30, 2001:db8::/126"),
            service("x", families="46", policy="RequireDualStack"),
        ),
        {"a": "8 2 6"},
    ),
    Row(
        "a union of blocks",
        (pool("a", "192.0.2.0/30, 192.0.2.2-192.0.2.5, 192.0.2.5"),),
        {"a": "6 0 6"},
    ),
    Row("more than an int64 counts", (pool("a", "fd00::/28"),), {"a": f"{2**100} 0 {2**100}"}),
    Row("excluded", (pool("a", "192.0.2.0/29", exclude="192.0.2.2/31"),), {"a": "6 0 6"}),
    Row("reserved", (pool("a", "192.0.2.0/29, 192.0.2.64/31", first_last=False),), {"a": "8 0 8"}),
    Row("buggy", (pool("a", "192.0.2.0/23", avoid_buggy=True),), {"a": "508 0 508"}),
    Row(
        "disabled changes no count",
        (A, *THREE),
        {"a": "8 3 5"},
        {"a": "Disabled no new addresses"},
        steps=(then(replace(A, disabled=True)),),
    ),
    Row(
        "shrunk: used counts addresses of the current blocks",
        (A, *THREE),
        {"a": "4 2 2"},
        steps=(then(pool("a", "192.0.2.0/30", born=1)),),
    ),
    Row(
        "a used address that is excluded is still in the blocks",
        (A, *THREE),
        {"a": "6 3 4"},
        steps=(then(pool("a", "192.0.2.0/29", exclude="192.0.2.0, 192.0.2.2", born=1)),),
    ),
    Row("freed", (A, *THREE), {"a": "8 1 7"}, steps=(gone("x", "z"),)),
    Row(
        "what another implementation's Service shows is not available",
        (A, service("x", lb_class="example.com/other", shows="192.0.2.1")),
        {"a": "8 0 7"},
    ),
    Row(
        "made again: what was given is counted",
        (A, *THREE),
        {"a": "8 3 5"},
        steps=(gone("a"), then(A)),
    ),
    Row(
        "an overlap is the older pool's; both say so",
        (A, pool("b", "192.0.2.6-192.0.2.9", born=2), *THREE),
        {"a": "8 3 5", "b": "2 0 2"},
        {"b": "Ready "},
        {
            "a": "192.0.2.6 to 192.0.2.7: not given by the younger pool b",
            "b": "192.0.2.6 to 192.0.2.7: left to the older pool a",
        },
    ),
    Row(
        "at equal age the greater name stops",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.1")),
        {"a": "1 0 1", "b": "0 0 0"},
        conflict={
            "a": "192.0.2.1: not given by the younger pool b",
            "b": "192.0.2.1: left to the older pool a",
        },
    ),
    Row(
        "three pools over one address",
        (pool("c", "192.0.2.1"), pool("b", "192.0.2.1"), pool("a", "192.0.2.1")),
        {"a": "1 0 1", "b": "0 0 0", "c": "0 0 0"},
        conflict={
            "a": "192.0.2.1: not given by the younger pool b; 192.0.2.1: not given by the younger pool c",
            "c": "192.0.2.1: left to the older pool a",
        },
    ),
    Row(
        "six pools over one address: the owner names a few",
        SIX,
        {"a": "1 0 1", "f": "0 0 0"},
        conflict={
            "a": "192.0.2.1: not given by the younger pool b; 192.0.2.1: not given by the younger pool c;"
            " 192.0.2.1: not given by the younger pool d; and more",
            **dict.fromkeys("bcdef", "192.0.2.1: left to the older pool a"),
        },
    ),
    Row(
        "seven pools over one address, the oldest of which goes",
        (*SIX, pool("g", "192.0.2.1", born=7)),
        {"b": "1 0 1", "g": "0 0 0"},
        conflict={
            "b": "192.0.2.1: not given by the younger pool c; 192.0.2.1: not given by the younger pool d;"
            " 192.0.2.1: not given by the younger pool e; and more",
            **dict.fromkeys("cdefg", "192.0.2.1: left to the older pool b"),
        },
        steps=(gone("a"),),
    ),
    Row(
        "what a pool that is gone has parted is one overlap again",
        (A, pool("b", "192.0.2.2/31", born=2), pool("c", "192.0.2.0/29", born=3)),
        {"a": "8 0 8", "c": "0 0 0"},
        conflict={
            "a": "192.0.2.0 to 192.0.2.7: not given by the younger pool c",
            "c": "192.0.2.0 to 192.0.2.7: left to the older pool a",
        },
        steps=(gone("b"),),
    ),
    Row(
        "what the younger gave before stays, and is used of both",
        (pool("b", "192.0.2.0/30", born=5), service("x")),
        {"a": "4 1 3", "b": "0 1 0"},
        steps=(then(pool("a", "192.0.2.0/30", born=1)),),
    ),
    Row(
        "what the younger gave before is freed of both",
        (pool("b", "192.0.2.0/30", born=5), service("x")),
        {"a": "4 0 4", "b": "0 0 0"},
        steps=(then(pool("a", "192.0.2.0/30", born=1)), gone("x")),
    ),
    Row(
        "buggy addresses, from now on",
        (pool("a", "192.0.2.0/23", born=1), service("x")),
        {"a": "508 1 508"},
        steps=(then(pool("a", "192.0.2.0/23", born=1, avoid_buggy=True)),),
    ),
    Row(
        "a conflict heals",
        (A, pool("b", "192.0.2.6-192.0.2.9", born=2)),
        {"b": "4 0 4"},
        conflict={"b": ""},
        steps=(then(pool("a", "192.0.2.0/30", born=1)),),
    ),
    Row(
        "excludes do not conflict",
        (pool("a", "192.0.2.0/30", exclude="192.0.2.2/31"), pool("b", "192.0.2.2/31")),
        {"a": "2 0 2", "b": "2 0 2"},
        conflict={"a": "", "b": ""},
    ),
    Row(
        "a disabled pool keeps its overlap",
        (replace(A, disabled=True), pool("b", "192.0.2.0/29", born=2)),
        {"b": "0 0 0"},
    ),
    Row(
        "a reversed IPv6 range",
        (pool("a", "2001:db8::9-2001:db8::1"),),
        {"a": "0 0 0"},
        {"a": "InvalidSpec blocks[0].stop: wanted 2001:db8::9 or above, found 2001:db8::1"},
    ),
    Row(
        "a bad exclude stops the whole pool; what was given is still counted",
        (A, *THREE),
        {"a": "0 3 0"},
        {"a": "InvalidSpec exclude[1].start: wanted an IPv4 or IPv6 address, found 'x'"},
        steps=(then(pool("a", "192.0.2.0/29", exclude="192.0.2.7, x", born=1)),),
    ),
    Row(
        "a bad selector",
        (replace(A, service_selector=Selector({}, (Requirement("a", "Near", ("b",)),))),),
        {"a": "0 0 0"},
        {"a": "InvalidSpec serviceSelector.matchExpressions[0].operator: wanted In"},
    ),
    Row("no blocks", (replace(A, blocks=()),), {"a": "0 0 0"}, {"a": "NoAddresses blocks"}),
    Row(
        "all excluded",
        (pool("a", "192.0.2.0/30", exclude="192.0.2.0/24"),),
        {"a": "0 0 0"},
        {"a": "NoAddresses"},
    ),
    Row(
        "all left to an older pool",
        (A, pool("b", "192.0.2.0/30", born=2)),
        {"a": "8 0 8", "b": "0 0 0"},
        {"a": "Ready ", "b": "NoAddresses blocks: nothing is left to give"},
    ),
    Row(
        "neither cidr nor start",
        (replace(A, blocks=(Block(),)),),
        {"a": "0 0 0"},
        {"a": "InvalidSpec blocks[0].wanted"},
    ),
]


def status_of(world: World, name: str) -> PoolStatus:
    status = world.allocator.ipam.pool_status(name)
    assert status is not None
    return status


def condition(status: PoolStatus, kind: str) -> Condition:
    (found,) = (each for each in status.conditions if each.type == kind)
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row.rule for row in ROWS])
def test_status(row: Row) -> None:
    world = World(default_class=True, adopt=())
    world.put(*row.there_is)
    world.settle()
    for step in row.steps:
        step(world)
        world.settle()
    for _ in ("as it came about", "after a restart"):
        for name, counts in row.counts.items():
            status = status_of(world, name)
            assert f"{status.ips_total} {status.ips_used} {status.ips_available}" == counts
        for name, text in row.ready.items():
            reason, _, words = text.partition(" ")
            found = condition(status_of(world, name), "Ready")
            assert found.reason == reason
            assert words in found.message
            assert found.status == ("True" if reason in ("Ready", "Disabled") else "False")
        for name, message in row.conflict.items():
            found = condition(status_of(world, name), "Conflict")
            assert (found.status, found.message) == ("True" if message else "False", message)
        world.restart()
        world.settle()


def test_observed_generation_and_news_of_pools() -> None:
    """Only a pool whose status may have changed is named; one that is gone never."""
    world = World(default_class=True, adopt=())
    world.put(A, pool("b", "198.51.100.0/30"))
    world.settle()
    ipam = world.allocator.ipam
    assert sorted(ipam.dirty_pools()) == ["a", "b"]
    assert list(ipam.dirty_pools()) == []
    world.put(service("x"))
    world.settle()
    assert list(ipam.dirty_pools()) == ["a"]
    world.put(replace(A, generation=7, priority=1))
    world.settle()
    assert list(ipam.dirty_pools()) == ["a"]
    assert status_of(world, "a").observed_generation == 7
    world.put(replace(A, generation=7, priority=1, resource_version=99))
    world.settle()
    assert list(ipam.dirty_pools()) == []
    gone("a")(world)
    world.settle()
    assert list(ipam.dirty_pools()) == []
    assert ipam.pool_status("a") is None


def test_thousands_of_pools_over_each_other() -> None:
    """Half of every pool is the one's before it; each says with whom it is in conflict, in few words."""
    world = World(default_class=True, adopt=())
    world.put(*(a_pool_of_many(number) for number in range(5000)))
    world.put(service("x", ips="10.0.19.138"))
    world.settle()
    status = status_of(world, "p02500")
    assert (status.ips_total, status.ips_used) == ("2", "1")
    assert "left to the older pool p02499" in condition(status, "Conflict").message
    assert "not given by the younger pool p02501" in condition(status, "Conflict").message


def a_pool_of_many(number: int) -> Pool:
    start = number * 2
    text = f"10.{start >> 16}.{start >> 8 & 255}.{start & 255}"
    end = start + 3
    return pool(f"p{number:05}", f"{text}-10.{end >> 16}.{end >> 8 & 255}.{end & 255}")


def test_both_sides_of_a_conflict_are_news() -> None:
    world = World(default_class=True, adopt=())
    world.put(A)
    world.settle()
    ipam = world.allocator.ipam
    list(ipam.dirty_pools())
    world.put(pool("b", "192.0.2.6-192.0.2.9", born=2))
    world.settle()
    assert sorted(ipam.dirty_pools()) == ["a", "b"]
    gone("b")(world)
    world.settle()
    assert list(ipam.dirty_pools()) == ["a"]


def test_everybody_in_a_conflict_is_told_when_its_oldest_goes() -> None:
    world = World(default_class=True, adopt=())
    world.put(*SIX, pool("g", "192.0.2.1", born=7), pool("z", "192.0.2.2"))
    world.settle()
    ipam = world.allocator.ipam
    list(ipam.dirty_pools())
    gone("a")(world)
    world.settle()
    assert sorted(ipam.dirty_pools()) == list("bcdefg")


# --- Laid out bit by bit ---------------------------------------------------------------------------------

BLOCKS = (
    "192.0.2.0/29",
    "192.0.2.0/30",
    "192.0.2.4/30",
    "192.0.2.2-192.0.2.5",
    "192.0.2.1, 192.0.2.3, 192.0.2.6",
    "192.0.2.0, 192.0.2.7",
    "2001:db8::/126, 192.0.2.7",
    "2001:db8::2-2001:db8::5",
    "192.0.2.9-192.0.2.1",
)
SOME = [
    ip_address(f"{network}{number}")
    for network in ("192.0.2.", "2001:db8::")
    for number in range(9)
]
pools = st.builds(
    pool,
    st.sampled_from("abcdefg"),
    st.sampled_from(BLOCKS),
    exclude=st.sampled_from(("", "", "", "192.0.2.1", "192.0.2.3-192.0.2.4")),
    select=st.sampled_from(({}, {}, {"net": "1"}, {"net": "2"})),
    expressions=st.sampled_from(
        (
            (),
            (),
            (Requirement("net", "In", ("1", "2")),),
            (Requirement("net", "Exists"),),
            (Requirement("net", "NotIn", ("3",)),),
        )
    ),
    auto=st.sampled_from((True, True, False)),
    born=st.integers(0, 2),
    priority=st.sampled_from((10, 100)),
    first_last=st.sampled_from((True, True, False)),
    disabled=st.sampled_from((False, False, True)),
)
changes = st.lists(pools | pools | st.sampled_from("abcdefg"), min_size=1, max_size=3)


def said_of(pools: Pools) -> dict[str, object]:
    return {
        plan.name: (
            plan.pool,
            plan.owned,
            [(line.parts, line.taken) for line in plan.lines.values()],
            pools.overlaps(plan.name),
        )
        for plan in pools
    }


WORN: tuple[dict[str, str], ...] = (
    {},
    {"a": "b"},
    {"net": "1"},
    {"net": "2", "a": "b"},
    {"net": "3"},
)


def asked_of(pools: Pools) -> list[list[str]]:
    """Whom it has for each address, and for the labels that Services wear."""
    claimants = [pools.claimants(address) for address in SOME]
    choices = [pools.choice(labels, version).plans for labels in WORN for version in VERSIONS]
    return [
        *([plan.name for plan in plans] for plans in (*claimants, *choices)),
        *(names for version in VERSIONS for names in pools.of_family(version)),
        [plan.name if plan else "" for plan in map(pools.withholding, SOME)],
    ]


def told_slowly(pools: Pools) -> list[list[str]]:
    """The same by a walk through all pools, but for who claims an address."""
    in_order = sorted(pools, key=lambda plan: (plan.pool.priority, plan.name))
    by_name = sorted(pools, key=lambda plan: plan.name)
    giving = {
        (version, auto): [
            plan
            for plan in in_order
            if plan.giving and plan.usable[version] and plan.pool.auto_assign == auto
        ]
        for version in VERSIONS
        for auto in (True, False)
    }
    return [
        *(
            [
                plan.name
                for plan in giving[version, True]
                if matches(plan.pool.service_selector, labels)
            ]
            for labels in WORN
            for version in VERSIONS
        ),
        *(
            sorted(plan.name for plan in giving[version, auto])
            for version in VERSIONS
            for auto in (True, False)
        ),
        [
            next(
                (
                    plan.name
                    for plan in by_name
                    if int(address) in plan.blocks[address.version]
                    and int(address) not in plan.claims[address.version]
                ),
                "",
            )
            for address in SOME
        ],
    ]


@settings(deadline=None)
@given(st.lists(changes, max_size=6))
def test_what_is_laid_out_bit_by_bit_is_what_is_laid_out_at_once(
    rounds: list[list[Pool | str]],
) -> None:
    """And every pool is told of which anything is said that was not said before."""
    taken = {4: union([Range(int(SOME[2]), int(SOME[4]))]), 6: Runs()}
    grown, there, before = Pools(), dict[str, Pool](), dict[str, object]()
    for each in rounds:
        for change in each:
            if isinstance(change, Pool):
                grown.put(change)
                there[change.name] = change
            else:
                grown.drop(change)
                there.pop(change, None)
        told = grown.lay_out(taken)
        fresh = Pools()
        for spec in there.values():
            fresh.put(spec)
        fresh.lay_out(taken)
        after = deepcopy(said_of(grown))
        assert after == said_of(fresh)
        assert asked_of(grown) == asked_of(fresh)
        assert asked_of(grown)[len(SOME) :] == told_slowly(grown)
        news = {name for name in before.keys() | after if before.get(name) != after.get(name)}
        assert news <= told
        before = after


def test_one_more_of_thousands_of_pools_costs_what_its_neighbours_cost() -> None:
    """They come over the watch one by one, and somebody is decided after each."""
    ipam = Ipam(True, ())
    ipam.put_service(service("x", ips="10.0.0.1"))

    def put(first: int, last: int) -> None:
        for number in range(first, last):
            ipam.put_pool(a_pool_of_many(number))
            assert len(ipam.decide(key_of("x")).give) == 1
            assert f"p{number:05}" in ipam.dirty_pools()

    few = calls(lambda: put(0, 200))
    put(200, 1800)
    many = calls(lambda: put(1800, 2000))
    assert many < 2 * few


def test_a_pool_that_changes_has_nobody_asked_who_has_an_address_of_another() -> None:
    few, many = (Ipam(True, ()) for _ in range(2))
    for ipam, count in ((few, 10), (many, 1000)):
        ipam.put_pool(pool("p", "10.0.0.0/16"))
        for number in range(count):
            ipam.put_record(Record(ip_address("10.0.0.0") + number, "p", (key_of(f"s{number}"),)))
        list(ipam.dirty())

    def change(ipam: Ipam) -> None:
        ipam.put_pool(pool("q", "192.0.2.0/24"))
        assert list(ipam.dirty()) == []

    assert calls(lambda: change(many)) < 2 * calls(lambda: change(few))


# --- What a Service costs where there are thousands of pools ----------------------------------------------


def one_each(number: int, **asks: object) -> Pool:
    return pool(f"p{number:05}", f"10.{number >> 8}.{number & 255}.1", **asks)


OF_MANY = {
    "selected by a label": (
        lambda number: one_each(number, select={"pool": f"p{number}"}),
        lambda number: service(f"s{number}", labels={"pool": f"p{number}"}),
        "Allocated",
    ),
    "selected by a label that must be there": (
        lambda number: one_each(
            number, expressions=(Requirement(f"p{number}", "Exists"),), priority=1000 - number
        ),
        lambda number: service(f"s{number}", labels={f"p{number}": ""}),
        "Allocated",
    ),
    "selected by none": (
        lambda number: one_each(number, select={"pool": f"p{number}"}),
        lambda number: service(f"s{number}"),
        "SelectorMismatch",
    ),
    "the last one has an address": (
        lambda number: one_each(number),
        lambda number: service(f"s{number}"),
        "Allocated",
    ),
    "given on request only": (
        lambda number: one_each(number, auto=False),
        lambda number: service(f"s{number}"),
        "NoPool",
    ),
    "outside them all": (
        lambda number: one_each(number),
        lambda number: service(f"s{number}", ips=f"192.0.2.{number}"),
        "NoPool",
    ),
    "what each excludes": (
        lambda number: one_each(number, exclude=f"10.{number >> 8}.{number & 255}.1"),
        lambda number: service(f"s{number}", ips=f"10.0.{number}.1"),
        "NoPool",
    ),
}


@pytest.mark.parametrize("case", OF_MANY)
def test_a_service_costs_no_walk_through_all_pools(case: str) -> None:
    make_pool, make_service, reason = OF_MANY[case]

    def ten(pools: int) -> int:
        """What ten Services cost, once others came before them."""
        ipam = Ipam(True, ())
        for number in range(pools):
            ipam.put_pool(make_pool(number))

        def add(first: int, last: int) -> None:
            for number in range(first, last):
                ipam.put_service(make_service(number))
            for key in ipam.dirty():
                for record in ipam.decide(key).give:
                    ipam.put_record(record)
                assert ipam.decide(key).condition.reason == reason

        add(0, 10)
        return calls(lambda: add(10, 20))

    assert ten(1000) < 1.5 * ten(50)


def test_of_pools_that_withhold_an_address_only_the_first_is_looked_at() -> None:
    """One of them may have a block that spans those of all others."""
    laid = Pools()
    laid.put(pool("z", "10.0.0.0/8, banana"))
    laid.put(pool("a", "10.0.0.0/16, banana"))
    for number in range(300):
        laid.put(one_each(number, exclude=f"10.{number >> 8}.{number & 255}.1"))
    laid.lay_out({4: Runs(), 6: Runs()})
    found = [laid.withholding(ip_address(text)) for text in ("10.0.7.1", "10.1.7.1", "10.1.7.2")]
    assert [plan and plan.name for plan in found] == ["a", "p00263", "z"]
    assert all(one.last < other.first for one, other in pairwise(laid._withheld[4]._parts))


def test_who_joins_a_partner_costs_no_look_at_each_address_of_the_key() -> None:
    def joins(count: int) -> int:
        """On the first no port is left, the others do not lie side by side."""
        ipam = Ipam(True, ())
        ipam.put_pool(pool("p", "10.0.0.0/16"))
        for number in range(count):
            address = f"10.0.{number >> 7}.{2 * (number & 127)}"
            ipam.put_service(service(f"s{number:05}", key="k", ips=address))
        ipam.put_service(service("x", key="k", ports="443"))
        work_off(ipam)
        ipam.put_service(service("y", key="k", ports="443"))
        cost = calls(lambda: work_off(ipam))
        assert ipam.decide(key_of("y")).addresses == (ip_address("10.0.0.2"),)
        return cost

    assert joins(1000) < 1.5 * joins(50)


def test_of_what_pools_give_to_whom_the_oldest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("herald.core.allocation.pools._REMEMBERED", 9)
    laid = Pools()
    for number in range(4):
        laid.put(one_each(number, select={"pool": f"p{number}"}))
    laid.put(one_each(9))
    laid.lay_out({4: Runs(), 6: Runs()})
    asked = [laid.choice({"pool": f"p{number}"}, 4) for number in range(3)]
    assert laid.choice({"pool": "p0"}, 4) is asked[0]
    laid.choice({"pool": "p3"}, 4)
    assert laid.choice({"pool": "p0"}, 4) is asked[0]
    assert laid.choice({"pool": "p2"}, 4) is asked[2]
    assert laid.choice({"pool": "p1"}, 4) is not asked[1]


def full(count: int) -> Ipam:
    """So many pools of one address, and as many Services that wait as there are that have one."""
    ipam = Ipam(True, ())
    for number in range(count):
        ipam.put_pool(one_each(number))
    for number in range(2 * count):
        ipam.put_service(service(f"s{number:05}"))
    work_off(ipam)
    return ipam


def work_off(ipam: Ipam) -> list[str]:
    """Whoever is to be decided; who was given an address."""
    given = []
    for key in ipam.dirty():
        for record in ipam.decide(key).give:
            ipam.put_record(record)
            given.append(key[1])
    return given


def test_who_waits_for_all_pools_costs_no_walk_through_them() -> None:
    def one_more(ipam: Ipam) -> int:
        ipam.put_service(service("z"))
        cost = calls(lambda: work_off(ipam))
        assert ipam.decide(key_of("z")).condition.reason == "PoolExhausted"
        return cost

    assert one_more(full(1000)) < 1.5 * one_more(full(50))


def test_the_pools_that_somebody_waits_for_are_the_same_object_after_a_change_of_another() -> None:
    """Else each who waits would have all of them compared."""
    ipam = full(20)
    (before,) = ipam._hungry
    for number in range(3):
        ipam.put_pool(pool("z", f"192.0.2.{number}", select={"pool": "z"}))
        work_off(ipam)
        assert ipam._book.pools.choice({}, 4).lines is before


def test_an_address_that_is_freed_costs_no_walk_through_all_who_wait() -> None:
    """It goes to the first of them."""

    def freed(ipam: Ipam, count: int) -> int:
        (address,) = ipam.decide(key_of("s00007")).addresses
        ipam.drop_service(key_of("s00007"))
        assert work_off(ipam) == []
        ipam.drop_record(address)
        given: list[str] = []
        cost = calls(lambda: given.extend(work_off(ipam)))
        assert given == [f"s{count:05}"]
        assert ipam.decide(key_of(given[0])).addresses == (address,)
        return cost

    assert freed(full(1000), 1000) < 1.5 * freed(full(50), 50)
