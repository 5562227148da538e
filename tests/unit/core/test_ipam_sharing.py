# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who may share an address, who is refused, and who leaves."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.counted import calls
from tests.unit.core.ipam_rules import (
    BOTH,
    ONE,
    V4,
    Case,
    check,
    gone,
    lost_leases,
    rows,
    status_written,
    then,
    unseen_rows,
    without_agent,
)
from tests.unit.core.ipam_world import pool, service

from herald.core.allocation import sharing
from herald.core.allocation.ipam import Ipam
from herald.core.allocation.sharing import SHARERS_MAX, Group, Member, Terms, broken_rule
from herald.core.leases import services_text
from herald.core.model import Service, ServiceKey, ServicePort

SHARE = {"ports": "443", "key": "web"}
ANCHOR = service("a", key="web", ips="192.0.2.0")
SHARING = [
    Case(
        "the same key and other ports: the address of the key is joined",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "the same port by another protocol is another port",
        (V4, service("a", key="web", ports="53/TCP"), service("b", key="web", ports="53/UDP")),
        {"b": "192.0.2.0 Allocated"},
    ),
    Case(
        "the same port: one of its own",
        (V4, service("a", key="web"), service("b", key="web", ports="443,80")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "another key: one of its own",
        (V4, service("a", key="web"), service("b", key="mail", ports="25")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "another externalTrafficPolicy: one of its own",
        (V4, service("a", key="web"), service("b", **SHARE, local=True)),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "Local with the same selector",
        (V4, service("a", key="web", local=True), service("b", **SHARE, local=True)),
        {"b": "192.0.2.0 Allocated"},
    ),
    Case(
        "Local with another selector: one of its own",
        (V4, service("a", key="web", local=True), service("b", **SHARE, local=True, to="other")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "across namespaces only if both consent",
        (V4, service("x/a", key="web", cross="y"), service("y/b", **SHARE)),
        {"y/b": "192.0.2.1 Allocated"},
    ),
    Case(
        "across namespaces with consent by name and by star",
        (V4, service("x/a", key="web", cross="z, y"), service("y/b", **SHARE, cross="*")),
        {"y/b": "192.0.2.0 Allocated"},
    ),
    Case(
        "a wanted address that is taken by one without a key",
        (V4, service("a", ips="192.0.2.0"), service("b", **SHARE, ips="192.0.2.0")),
        {"b": "- SharingRefused"},
        says={"b": "the same sharing key is wanted, found 'web' and ''"},
    ),
    Case(
        "a wanted address with the same port",
        (V4, ANCHOR, service("b", key="web", ips="192.0.2.0")),
        {"b": "- SharingRefused"},
        says={"b": "port 80/TCP is used by both"},
    ),
    Case(
        "a wanted address with another policy",
        (V4, ANCHOR, service("b", **SHARE, ips="192.0.2.0", local=True)),
        {"b": "- SharingRefused"},
        says={"b": "the same externalTrafficPolicy is wanted, found Local and Cluster"},
    ),
    Case(
        "a wanted address with Local and another selector",
        (
            V4,
            service("a", key="web", ips="192.0.2.0", local=True),
            service("b", **SHARE, ips="192.0.2.0", local=True, to="other"),
        ),
        {"b": "- SharingRefused"},
        says={"b": "with externalTrafficPolicy Local the same selector is wanted, found another"},
    ),
    Case(
        "a wanted address without consent",
        (
            V4,
            service("x/a", key="web", ips="192.0.2.0"),
            service("y/b", **SHARE, ips="192.0.2.0", cross="x"),
        ),
        {"y/b": "- SharingRefused"},
        says={"y/b": "sharing-cross-namespace must name namespace y"},
    ),
    Case(
        "a wanted address with a key, and all rules hold",
        (V4, service("a", key="web", ips="192.0.2.7"), service("b", **SHARE, ips="192.0.2.7")),
        {"b": "192.0.2.7 Allocated"},
    ),
    Case(
        "the newcomer is refused by any of the partners",
        (
            V4,
            ANCHOR,
            service("b", **SHARE, ips="192.0.2.0"),
            service("c", **SHARE, ips="192.0.2.0"),
        ),
        {"b": "192.0.2.0 Allocated", "c": "- SharingRefused"},
    ),
    Case(
        "a refused newcomer gets in when the partner in its way is gone",
        (
            V4,
            ANCHOR,
            service("b", **SHARE, ips="192.0.2.0"),
            service("c", **SHARE, ips="192.0.2.0"),
        ),
        {"a": "192.0.2.0 Allocated", "c": "192.0.2.0 Allocated"},
        (gone("b"),),
    ),
    Case(
        "a refused newcomer gets in when the partner in its way edits its port",
        (V4, ANCHOR, service("c", key="web", ips="192.0.2.0")),
        {"a": "192.0.2.0 Allocated", "c": "192.0.2.0 Allocated"},
        (then(service("a", key="web", ports="8080", ips="192.0.2.0")),),
    ),
    Case(
        "who edits its ports into a partner's leaves; the partner stays",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (then(service("a", key="web", ports="443")),),
    ),
    Case(
        "who edits its key leaves",
        (V4, service("a", key="web"), service("b", **SHARE), service("c", key="web", ports="25")),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.0 Allocated"},
        (then(service("b", key="mail", ports="443")),),
    ),
    Case(
        "who edits its policy leaves",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (then(service("a", key="web", local=True)),),
    ),
    Case(
        "who edits its selector leaves, with Local",
        (V4, service("a", key="web", local=True), service("b", **SHARE, local=True)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (then(service("a", key="web", local=True, to="other")),),
    ),
    Case(
        "who withdraws consent leaves",
        (V4, service("x/a", key="web", cross="y"), service("y/b", **SHARE, cross="x")),
        {"x/a": "192.0.2.1 Allocated", "y/b": "192.0.2.0 Allocated"},
        (then(service("x/a", key="web")),),
    ),
    Case(
        "who leaves a wanted address says why",
        (V4, service("a", key="web", ips="192.0.2.7"), service("b", **SHARE, ips="192.0.2.7")),
        {"a": "- SharingRefused", "b": "192.0.2.7 Allocated"},
        (then(service("a", key="web", ports="443", ips="192.0.2.7")),),
        says={"a": "port 443/TCP is used by both"},
    ),
    Case(
        "who must leave and finds nothing else is without",
        (ONE, service("a", key="web"), service("b", **SHARE)),
        {"a": "- PoolExhausted", "b": "192.0.2.1 Allocated"},
        (then(service("a", key="web", ports="443")),),
    ),
    Case(
        "an edit that nobody saw: who was written last leaves",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (without_agent(then(service("a", key="web", ports="443"))),),
    ),
    Case(
        "an edit that nobody saw, and the partner's status was written since: who was edited leaves",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (
            without_agent(
                then(service("a", key="web", ports="443")), status_written("a"), status_written("b")
            ),
        ),
    ),
    Case(
        "a partner that is deleted frees nothing while others are there",
        (ONE, service("a", key="web"), service("b", **SHARE), service("c")),
        {"b": "192.0.2.1 Allocated", "c": "- PoolExhausted"},
        (gone("a"),),
    ),
    Case(
        "the last partner frees the address",
        (ONE, service("a", key="web"), service("b", **SHARE), service("c")),
        {"c": "192.0.2.1 Allocated"},
        (gone("a"), gone("b")),
    ),
    Case(
        "no address is joined that the pool would not give the Service",
        (
            pool("p", "192.0.2.0/28", select={"a": "b"}),
            pool("q", "198.51.100.0/28"),
            service("a", key="web", labels={"a": "b"}),
            service("b", **SHARE),
        ),
        {"a": "192.0.2.0 Allocated", "b": "198.51.100.0 Allocated"},
    ),
    Case(
        "nor one of a pool that gives only on request",
        (
            pool("p", "192.0.2.0/28", auto=False),
            service("a", key="web", pool="p"),
            service("b", **SHARE),
            service("c", key="web", ports="25", pool="p"),
        ),
        {"a": "192.0.2.0 Allocated", "b": "- NoPool", "c": "192.0.2.0 Allocated"},
    ),
    Case(
        "nor one that has been reserved since",
        (V4, service("a", key="web")),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated"},
        (then(pool("p", "192.0.2.0/28", first_last=False)), then(service("b", **SHARE))),
    ),
    Case(
        "a full pool is no hindrance to joining",
        (ONE, service("a", key="web"), service("b", **SHARE)),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "who waits joins when the partner in its way is gone",
        (ONE, service("a", key="web"), service("b", **SHARE), service("c", **SHARE)),
        {"a": "192.0.2.1 Allocated", "c": "192.0.2.1 Allocated"},
        (gone("b"),),
    ),
    Case(
        "who waits joins when the partner in its way edits its port",
        (ONE, service("a", key="web"), service("c", key="web")),
        {"a": "192.0.2.1 Allocated", "c": "192.0.2.1 Allocated"},
        (then(service("a", key="web", ports="8080")),),
    ),
    Case(
        "who holds the only address takes up the key of one who waits",
        (ONE, service("a"), service("c", **SHARE)),
        {"a": "192.0.2.1 Allocated", "c": "192.0.2.1 Allocated"},
        (then(service("a", key="web")),),
    ),
    Case(
        "who waits joins a partner that appears",
        (ONE, service("r"), service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "both families are shared",
        (
            BOTH,
            service("a", key="web", families="46", policy="RequireDualStack"),
            service("b", **SHARE, families="64", policy="RequireDualStack"),
        ),
        {"b": "2001:db8::,192.0.2.0 Allocated"},
    ),
    Case(
        "leases lost: partners get theirs back",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.0 Allocated"},
        (lost_leases("192.0.2.0"),),
    ),
]


@rows(sharing=SHARING)
def test_rule(case: Case) -> None:
    check(case)


@unseen_rows(sharing=SHARING)
def test_rule_where_no_agent_saw_it_happen(case: Case) -> None:
    check(case)


THREE = tuple(service(name, key="web", ports=port) for name, port in ("a1", "b2", "c3"))
FOURTH = {"key": "web", "ports": "4"}
CROWDED = [
    Case(
        "who comes too late for an address gets another",
        (V4, *THREE, service("d", **FOURTH)),
        {"c": "192.0.2.0 Allocated", "d": "192.0.2.1 Allocated"},
    ),
    Case(
        "who comes too late for a wanted one waits",
        (V4, *THREE),
        {"d": "- SharingRefused"},
        (then(service("d", **FOURTH, ips="192.0.2.0")),),
        says={"d": "192.0.2.0 is held by Service default/a: 3 Services share it, and no more can"},
    ),
    Case(
        "until one of them is gone",
        (ONE, *THREE, service("d", **FOURTH)),
        {"d": "192.0.2.1 Allocated"},
        (gone("b"),),
    ),
]


@rows(crowded=CROWDED)
def test_a_lease_can_name_only_so_many(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARERS_MAX", 3)
    check(case)


def test_a_lease_that_names_as_many_as_share_an_address_is_within_the_api_server_s_limits() -> None:
    key = "n" * 63, "s" * 63
    assert len(services_text([key] * SHARERS_MAX)) < 200 * 1024 < 256 * 1024


# --- The rules, told the slow way ----------------------------------------------------------------------

members = st.builds(
    lambda key, namespace, cross, policy, to, ports, standing: Member(
        Terms(key, namespace, cross, policy, frozenset({("app", to)} if to else ())),
        tuple(ServicePort("TCP", port) for port in ports),
        (0, "", standing),
    ),
    st.sampled_from(("k", "k", "k", "k", "l", "")),
    st.sampled_from("xyz"),
    st.sampled_from(tuple(map(frozenset, ("", "*", "*", "*", "xyz", "xyz", "xy", "z", "*z")))),
    st.sampled_from(("Cluster", "Cluster", "Cluster", "Local")),
    st.sampled_from(("", "", "", "web")),
    st.lists(st.integers(1, 40), max_size=3),
    st.integers(0, 3),
)


def pairs_at_odds(there: dict[ServiceKey, Member]) -> bool:
    return any(
        bool(broken_rule(one.terms, other.terms)) or bool({*one.ports} & {*other.ports})
        for one, other in combinations(there.values(), 2)
    )


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | members), max_size=12))
def test_what_a_group_has_counted_is_what_all_pairs_say(
    changes: list[tuple[str, Member | None]],
) -> None:
    group, there = Group(), dict[ServiceKey, Member]()
    for name, member in changes:
        key = (name, name)
        there.pop(key, None)
        if member is None:
            group.drop(key)
        else:
            refusal = group.refusal(key, member.terms, member.ports)
            refused = any(pairs_at_odds({key: member, other: there[other]}) for other in there)
            assert (refusal is not None) == refused
            there[key] = member
            group.put(key, member)
        assert group.at_odds == pairs_at_odds(there)
        staying = dict[ServiceKey, Member]()
        for each in sorted(there, key=lambda each: (there[each].standing, each)):
            if not any(pairs_at_odds({each: there[each], one: staying[one]}) for one in staying):
                staying[each] = there[each]
        assert group.leavers() == there.keys() - staying.keys()


# --- What sharing costs ----------------------------------------------------------------------------------


def sharers(count: int, cross: str) -> Ipam:
    """So many, each of a namespace of its own, on one address."""
    ipam = Ipam(True, ())
    ipam.put_pool(V4)
    for number in range(count):
        ipam.put_service(sharer(number, cross, number + 1))
    for key in ipam.dirty():
        for record in ipam.decide(key).give:
            ipam.put_record(record)
    assert len(ipam.decide(("n0", "s")).addresses) == 1
    assert ipam.pool_status("p").ips_used == "1"
    return ipam


def sharer(number: int, cross: str, port: int) -> Service:
    return service(f"n{number}/s", key="web", cross=cross, ports=str(port))


@pytest.mark.parametrize("cross", ["*", ",".join(f"n{number}" for number in range(400))])
def test_an_edit_costs_no_look_at_every_pair_of_sharers(cross: str) -> None:
    few, many = (sharers(count, cross) for count in (50, 400))

    def edited(ipam: Ipam, port: int) -> int:
        def edit() -> None:
            ipam.put_service(sharer(7, cross, port))
            assert [len(ipam.decide(key).release) for key in ipam.dirty()] == [0]

        return calls(edit)

    assert edited(many, 999) < 3 * edited(few, 999)


def test_a_quarrel_is_settled_once_for_all_sharers() -> None:
    few, many = (sharers(count, "*") for count in (50, 400))

    def quarrel(ipam: Ipam) -> int:
        ipam.put_service(sharer(7, "", 8))
        return calls(
            lambda: left.update(each for each in ipam.dirty() if ipam.decide(each).release)
        )

    left: set[ServiceKey] = set()
    assert quarrel(many) < 12 * quarrel(few)
    assert left == {("n7", "s")}


APART = {
    "by a port": lambda number: service(f"s{number}", key="web"),
    "by the selector, with Local": lambda number: service(
        f"s{number}", key="web", ports=str(number + 1), local=True, to=f"app-{number}"
    ),
    "by a namespace that does not consent": lambda number: service(
        f"n{number}/s", key="web", ports=str(number + 1)
    ),
}


@pytest.mark.parametrize("rule", APART)
def test_addresses_of_a_key_that_cannot_be_joined_are_not_looked_at(rule: str) -> None:
    def kept_apart(count: int) -> int:
        """What the last ten of so many cost."""
        ipam = Ipam(True, ())
        ipam.put_pool(pool("p", "10.0.0.0/16"))

        def add(first: int, last: int) -> None:
            for number in range(first, last):
                ipam.put_service(APART[rule](number))
            for key in ipam.dirty():
                for record in ipam.decide(key).give:
                    ipam.put_record(record)

        add(0, count - 10)
        cost = calls(lambda: add(count - 10, count))
        assert ipam.pool_status("p").ips_used == str(count)
        return cost

    assert kept_apart(800) < 1.5 * kept_apart(50)
