# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Options to specs, and what is refused before any request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.baremetal.herald.plugins.module_utils import _policy, _pool
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption, HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._kind_module import wanted_objects

CRDS = Path(__file__).parents[4] / "roles/cluster/files/crds"


def options(spec: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Module parameters as Ansible hands them over: every option there, defaults filled in."""
    return {name: given.get(name, option.get("default")) for name, option in spec.items()}


def pool(**given: Any) -> dict[str, Any]:
    return _pool.pool_spec(options(_pool.pool_options(), **given))


def policy(**given: Any) -> dict[str, Any]:
    return _policy.policy_spec(options(_policy.policy_options(), **given))


def block(
    cidr: str | None = None, start: str | None = None, stop: str | None = None
) -> dict[str, Any]:
    return {"cidr": cidr, "start": start, "stop": stop}


GOOD_BLOCKS = [
    block("192.0.2.0/24"),
    block("192.0.2.7/32"),
    block("2001:db8::/64"),
    block(start="192.0.2.1"),
    block(start="192.0.2.1", stop="192.0.2.1"),
    block(start="192.0.2.200", stop="192.0.3.1"),
    block(start="2001:db8::1", stop="2001:db8::ff"),
]


@pytest.mark.parametrize("given", GOOD_BLOCKS, ids=str)
@pytest.mark.parametrize("field", ["blocks", "exclude"])
def test_blocks_are_passed_on_as_written(field: str, given: dict[str, Any]) -> None:
    spec = pool(**{"blocks": [block("10.0.0.0/8")], field: [given]})
    assert spec[field] == [{key: value for key, value in given.items() if value is not None}]


BAD_BLOCKS = [
    (block(), "blocks[0]: wanted either cidr or start, found nothing"),
    (
        block("10.0.0.0/8", start="10.0.0.1"),
        "blocks[0]: wanted either cidr or start, found 'cidr and start'",
    ),
    (block(stop="10.0.0.1"), "blocks[0]: wanted either cidr or start, found 'stop'"),
    (block("10.0.0.0/8", stop="10.0.0.1"), "blocks[0].stop: wanted it together with start"),
    (block("banana"), "blocks[0].cidr: wanted a network such as 192.0.2.0/28"),
    (block("10.0.0.0"), "blocks[0].cidr: wanted a network"),
    (block("10.0.0.0/33"), "blocks[0].cidr: wanted a network"),
    (block("10.0.0.0/255.0.0.0"), "blocks[0].cidr: wanted a network"),
    (block("10.0.0.1/8"), "blocks[0].cidr: wanted 10.0.0.0/8, found '10.0.0.1/8"),
    (block("fe80::%eth0/64"), "blocks[0].cidr: wanted a network"),
    (block("::ffff:10.0.0.0/104"), "blocks[0].cidr: wanted a network"),
    (block(start="10.0.0"), "blocks[0].start: wanted an address"),
    (block(start="10.0.0.1", stop="x"), "blocks[0].stop: wanted an address"),
    (block(start="10.0.0.1", stop="fd00::1"), "blocks[0].stop: wanted an IPv4 address as start is"),
    (
        block(start="10.0.0.2", stop="10.0.0.1"),
        "blocks[0].stop: wanted an address that is not below start (10.0.0.2)",
    ),
    (
        block(start="fd00::2", stop="fd00::1"),
        "blocks[0].stop: wanted an address that is not below start (fd00::2)",
    ),
]


@pytest.mark.parametrize(
    ("given", "words"), BAD_BLOCKS, ids=[words for _given, words in BAD_BLOCKS]
)
def test_nonsense_blocks_are_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption) as raised:
        pool(blocks=[given])
    assert str(raised.value).startswith(words)


BAD_POOLS = [
    ({"blocks": None}, "blocks: wanted at least one"),
    ({"blocks": []}, "blocks: wanted at least one"),
    (
        {"blocks": [block("10.0.0.0/8")], "priority": -1},
        "priority: wanted a number from 0 to 65535",
    ),
    (
        {"blocks": [block("10.0.0.0/8")], "priority": 65536},
        "priority: wanted a number from 0 to 65535",
    ),
    (
        {
            "blocks": [block("10.0.0.0/8")],
            "service_selector": {
                "match_expressions": [{"key": "a", "operator": "In", "values": []}]
            },
        },
        "service_selector.match_expressions[0].values: wanted one or more with operator In",
    ),
    (
        {
            "blocks": [block("10.0.0.0/8")],
            "service_selector": {
                "match_expressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]
            },
        },
        "service_selector.match_expressions[0].values: wanted none with operator Exists",
    ),
]


@pytest.mark.parametrize(("given", "words"), BAD_POOLS, ids=[words for _given, words in BAD_POOLS])
def test_nonsense_pools_are_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption) as raised:
        pool(**given)
    assert str(raised.value).startswith(words)


BAD_POLICIES = [
    ({}, "load_balancer_ips: wanted it or external_ips (or both) to be true"),
    ({"external_ips": True, "interfaces": ["eth["]}, "interfaces[0]: wanted a regular expression"),
    (
        {"external_ips": True, "interfaces": ["a", "b" * 65]},
        "interfaces[1]: wanted an expression of 1 to 64",
    ),
    (
        {"external_ips": True, "preferred_nodes": [{"node_selector": {}, "weight": 0}]},
        "preferred_nodes[0].weight: wanted a number from 1 to 100",
    ),
    (
        {
            "external_ips": True,
            "node_selector": {
                "match_expressions": [{"key": "a", "operator": "NotIn", "values": None}]
            },
        },
        "node_selector.match_expressions[0].values: wanted one or more",
    ),
]


@pytest.mark.parametrize(
    ("given", "words"), BAD_POLICIES, ids=[words for _given, words in BAD_POLICIES]
)
def test_nonsense_policies_are_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption) as raised:
        policy(**given)
    assert str(raised.value).startswith(words)


def test_selectors_in_the_words_of_the_api() -> None:
    spec = policy(
        load_balancer_ips=True,
        service_selector={"match_labels": {"on": True, "n": 5}, "match_expressions": None},
        node_selector={
            "match_labels": None,
            "match_expressions": [
                {"key": "a", "operator": "In", "values": ["b"]},
                {"key": "c", "operator": "DoesNotExist", "values": None},
            ],
        },
        preferred_nodes=[{"node_selector": {"match_labels": {"a": "b"}}, "weight": 7}],
    )
    assert spec["serviceSelector"] == {"matchLabels": {"on": "true", "n": "5"}}
    assert spec["nodeSelector"] == {
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["b"]},
            {"key": "c", "operator": "DoesNotExist"},
        ]
    }
    assert spec["preferredNodes"] == [{"nodeSelector": {"matchLabels": {"a": "b"}}, "weight": 7}]


def crd_spec(name: str) -> dict[str, Any]:
    text = (CRDS / f"{name}.herald.dev.yaml").read_text()
    [version] = yaml.safe_load(text)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return found


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("loadbalancerippools", pool(blocks=[block("10.0.0.0/8")])),
        ("l2announcementpolicies", policy(external_ips=True)),
    ],
)
def test_what_the_api_defaults_is_always_said_and_alike(name: str, spec: dict[str, Any]) -> None:
    """Else a second run would see a difference where there is none."""
    for field, schema in crd_spec(name).items():
        if "default" in schema:
            assert field in spec
            if field != "externalIPs":
                assert spec[field] == schema["default"]


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("IPs" if word == "ips" else word.capitalize() for word in rest)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("loadbalancerippools", _pool.pool_options()),
        ("l2announcementpolicies", _policy.policy_options()),
    ],
)
def test_every_field_has_an_option_and_every_option_a_field(
    name: str, module: dict[str, Any]
) -> None:
    assert {camel(option) for option in module} == set(crd_spec(name))


def test_the_entry_of_a_list_is_named() -> None:
    item = {"labels": None, "annotations": None, **options(_pool.pool_options())}
    params = {
        "state": "present",
        "pools": [{**item, "name": "a", "blocks": [block("10.0.0.0/8")]}, {**item, "name": "b"}],
    }
    with pytest.raises(HeraldError, match=r"^pools\[1\]\.blocks: wanted at least one"):
        wanted_objects(params, "pools", _pool.pool_spec)


def test_a_name_given_twice_is_refused() -> None:
    params = {"state": "absent", "pools": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}
    with pytest.raises(HeraldError, match=r"^pools: wanted each name once, found 'a'"):
        wanted_objects(params, "pools", _pool.pool_spec)
