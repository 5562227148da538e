# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What Services ask for: whatever stands in their annotations, there is an answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.ipam_world import pool, service

from herald.core.allocation.addresses import shown
from herald.core.allocation.ipam import Ipam
from herald.core.allocation.requests import ANNOTATIONS, SHARING_CROSS_NAMESPACE, parse_request
from herald.core.model import Block, Condition, Requirement, Selector


def test_own_annotation_first_and_an_alias_that_differs_is_noted() -> None:
    annotations = {"metallb.io/address-pool": "b", "metallb.universe.tf/address-pool": "a"}
    request = parse_request(service("s", pool="a", annotations=annotations))
    assert request.pool == "a"
    assert request.notes == (
        "herald.dev/pool is 'a' and metallb.io/address-pool is 'b': herald.dev/pool is followed",
    )


@pytest.mark.parametrize("name", ["Not A Namespace!", "-a", "a" * 64, "a.b"])
def test_a_namespace_that_cannot_be_is_told(name: str) -> None:
    named = f"*, team-a, {name}"
    annotations = {"metallb.io/allow-shared-ip": "k", SHARING_CROSS_NAMESPACE: named}
    request = parse_request(service("s", annotations=annotations))
    assert request.problems == (
        f"{SHARING_CROSS_NAMESPACE}: wanted names of namespaces or *, found {shown(name)}",
    )


def test_who_asks_for_nothing_costs_nothing() -> None:
    assert parse_request(service("a")) is parse_request(service("b", labels={"x": "y"}))


text = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="0123456789abcdef.:,/% *", max_size=40),
    st.lists(st.ip_addresses().map(str), max_size=4).map(",".join),
)
names = st.text(min_size=1, max_size=253)
labels = st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=2)
services = st.builds(
    lambda base, **fields: replace(base, **fields),
    st.builds(service, st.sampled_from(("s", "t", "x/u"))),
    annotations=st.dictionaries(st.sampled_from(sorted(ANNOTATIONS)), text, max_size=5),
    load_balancer_ip=text,
    load_balancer_class=st.sampled_from((None, "", "herald.dev/l2", "x")),
    ip_families=st.lists(st.sampled_from((4, 6)), max_size=3).map(tuple),
    ip_family_policy=st.text(max_size=5) | st.sampled_from(("RequireDualStack", "PreferDualStack")),
    external_ips=st.lists(text, max_size=2).map(tuple),
    ingress=st.lists(text, max_size=3).map(tuple),
    conditions=st.lists(
        st.builds(
            Condition,
            st.just("herald.dev/Allocated"),
            st.sampled_from(("True", "False")),
            text,
            text,
        ),
        max_size=1,
    ).map(tuple),
    labels=labels,
    selector=labels,
    deleting=st.booleans(),
)
blocks = st.lists(
    st.builds(Block, text, text, text) | st.just(Block(cidr="192.0.2.0/30")), max_size=3
).map(tuple)
pools = st.builds(
    lambda base, **fields: replace(base, **fields),
    st.builds(pool, st.sampled_from(("p", "q")), st.just("")),
    blocks=blocks,
    exclude=blocks,
    created=st.text(max_size=5),
    priority=st.integers(),
    service_selector=st.builds(
        Selector,
        labels,
        st.lists(st.builds(Requirement, st.text(max_size=5), st.text(max_size=5)), max_size=1).map(
            tuple
        ),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(services | pools, max_size=4))
def test_nothing_that_anybody_writes_ends_the_loop(objects: list[object]) -> None:
    ipam = Ipam(True, ("x",))
    for each in objects:
        if hasattr(each, "blocks"):
            ipam.put_pool(each)
            ipam.pool_status(each.name)
        else:
            ipam.put_service(each)
        for key in ipam.dirty():
            decision = ipam.decide(key)
            for record in decision.give:
                ipam.put_record(record)
            if decision.condition:
                assert decision.condition.message.isascii()
                assert len(decision.condition.message) <= 2048
