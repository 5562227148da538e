# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who may announce an address, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address

import pytest

from herald.core.election.placement import (
    bounded,
    is_layer3,
    is_plumbing,
    order,
    prefer_ready,
    rank_of,
    weight,
    why_not_eligible,
)
from herald.core.leases import Presence, PresenceInterface, PresenceReport
from herald.core.model import Interface, Lease, Node, Policy, PreferredNodes, Selector, Taint

VIP = ip_address("198.51.100.1")
NODES = {f"n{i}": 1 for i in range(5)}
ADDRESSES = [f"198.51.100.{i}" for i in range(256)]


# --- order ----------------------------------------------------------------------------------------


def test_a_lost_node_moves_only_its_own_addresses() -> None:
    without = {name: 1 for name in NODES if name != "n2"}
    for address in ADDRESSES:
        before, after = order(address, NODES), order(address, without)
        assert after == tuple(name for name in before if name != "n2")


def test_addresses_spread_over_all_nodes() -> None:
    first = Counter(order(address, NODES)[0] for address in ADDRESSES)
    # 256 on 5 nodes: 51 each; five standard deviations are 32.
    assert all(abs(count - 51) < 32 for count in first.values())
    assert len(first) == 5


def test_a_preferred_node_gets_its_weight_in_addresses() -> None:
    first = Counter(order(address, {**NODES, "n0": 16})[0] for address in ADDRESSES)
    # 16 of 20 shares: 205 of 256.
    assert 170 < first["n0"] < 235


def test_rank_is_the_place_in_the_order() -> None:
    for address in ADDRESSES[:20]:
        ranking = order(address, NODES)
        assert [rank_of(name, address, list(NODES)) for name in ranking] == [0, 1, 2, 3, 4]


def test_no_node_gets_more_than_its_share_allows() -> None:
    load: dict[str, int] = dict.fromkeys(NODES, 0)
    for address in ADDRESSES:
        load[bounded(order(address, NODES), NODES, load, len(ADDRESSES))[0]] += 1
    assert max(load.values()) <= 65
    # 1.25 times 256 / 5 is 64.


# --- eligibility ----------------------------------------------------------------------------------

NODE = Node("n1", "uid", {}, {}, (), ready=True)
ETH0 = PresenceInterface(
    "eth0",
    "02:00:00:00:00:01",
    up=True,
    carrier=True,
    plumbing=False,
    addresses=(IPv4Interface("192.0.2.1/24"),),
    heard=True,
)
POLICY = Policy("all", "uid", 1, 1, load_balancer_ips=True)


def presence(*interfaces: PresenceInterface, draining: bool = False) -> Presence:
    found = Presence(Lease("presence-n1", holder="n1"))
    found.__dict__["report"] = PresenceReport("n1", "0.1.0", draining, interfaces)
    return found


@pytest.mark.parametrize(
    ("case", "node", "shown", "policy", "reason"),
    [
        ("sound", NODE, presence(ETH0), POLICY, ""),
        ("unknown", None, presence(ETH0), POLICY, "no Node of that name"),
        ("stopping", NODE, presence(ETH0, draining=True), POLICY, "draining"),
        (
            "drained by annotation",
            replace(NODE, annotations={"herald.dev/drain": "true"}),
            presence(ETH0),
            POLICY,
            "draining",
        ),
        (
            "excluded",
            replace(NODE, labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""}),
            presence(ETH0),
            POLICY,
            "label node.kubernetes.io/exclude-from-external-load-balancers",
        ),
        (
            "out of service",
            replace(
                NODE,
                taints=(Taint("node.kubernetes.io/out-of-service", "nodeshutdown", "NoExecute"),),
            ),
            presence(ETH0),
            POLICY,
            "taint out-of-service",
        ),
        (
            "not selected",
            NODE,
            presence(ETH0),
            replace(POLICY, node_selector=Selector({"rack": "b"})),
            "no policy selects it",
        ),
        (
            "no carrier",
            NODE,
            presence(replace(ETH0, carrier=False)),
            POLICY,
            "no usable interface that a policy names",
        ),
        (
            "named otherwise",
            NODE,
            presence(ETH0),
            replace(POLICY, interfaces=("^bond",)),
            "no usable interface that a policy names",
        ),
        (
            "an expression that does not compile selects nothing",
            NODE,
            presence(ETH0),
            replace(POLICY, interfaces=("(",)),
            "no usable interface that a policy names",
        ),
        (
            "plumbing unless named",
            NODE,
            presence(replace(ETH0, plumbing=True)),
            POLICY,
            "no usable interface that a policy names",
        ),
        (
            "plumbing that is named",
            NODE,
            presence(replace(ETH0, plumbing=True)),
            replace(POLICY, interfaces=("eth",)),
            "",
        ),
        (
            "its own address",
            NODE,
            presence(replace(ETH0, addresses=(IPv4Interface(f"{VIP}/32"),))),
            POLICY,
            "its own interface eth0 has the address",
        ),
    ],
)
def test_why_a_node_may_not_announce(
    case: str, node: Node | None, shown: Presence, policy: Policy, reason: str
) -> None:
    assert why_not_eligible(VIP, node, shown, frozenset(), [(policy,)], []) == reason, case


def test_a_local_service_needs_an_endpoint_on_the_node() -> None:
    reason = "externalTrafficPolicy is Local and it has no ready endpoint"
    shown = presence(ETH0)
    for nodes, expected in ((frozenset({"n1"}), ""), (frozenset({"n2"}), reason)):
        assert why_not_eligible(VIP, NODE, shown, frozenset(), [(POLICY,)], [nodes]) == expected


def test_a_deaf_interface_counts_only_without_segment_health() -> None:
    shown, deaf = presence(ETH0), frozenset({"eth0"})
    assert "nobody on the segment" in why_not_eligible(VIP, NODE, shown, deaf, [(POLICY,)], [])
    careless = replace(POLICY, segment_health=False)
    assert why_not_eligible(VIP, NODE, shown, deaf, [(careless,)], []) == ""


def test_a_shared_address_needs_every_service_on_it() -> None:
    other = replace(POLICY, node_selector=Selector({"rack": "b"}))
    assert why_not_eligible(VIP, NODE, presence(ETH0), frozenset(), [(POLICY,), (other,)], [])


@pytest.mark.parametrize(
    ("states", "eligible"),
    [
        ({"n1": True, "n2": False}, ["n1"]),
        ({"n1": None, "n2": False}, ["n1", "n2"]),
        ({"n1": True, "n2": None}, ["n1", "n2"]),
        ({"n1": False, "n2": False}, ["n1", "n2"]),
    ],
)
def test_not_ready_counts_only_where_another_is_ready(
    states: dict[str, bool | None], eligible: list[str]
) -> None:
    nodes = {name: replace(NODE, name=name, ready=ready) for name, ready in states.items()}
    assert prefer_ready(list(nodes), nodes)[0] == eligible


def test_the_weights_that_select_a_node_add_up() -> None:
    rack = replace(NODE, labels={"rack": "a"})
    preferred = (
        PreferredNodes(Selector({"rack": "a"}), 7),
        PreferredNodes(Selector({"rack": "b"}), 50),
        PreferredNodes(Selector(), 3),
    )
    policy = replace(POLICY, preferred_nodes=preferred)
    assert weight(rack, [policy]) == 10
    assert weight(rack, [policy, policy]) == 10
    assert weight(NODE, [policy]) == 3
    assert weight(NODE, [POLICY]) == 1


# --- devices --------------------------------------------------------------------------------------

DEVICE = Interface(2, "eth0", bytes([2, 0, 0, 0, 0, 1]), up=True, carrier=True)


@pytest.mark.parametrize(
    ("change", "layer3"),
    [
        ({}, True),
        ({"mac": b""}, False),
        ({"mac": bytes(6)}, False),
        ({"master": 7}, False),
        ({"kind": "veth"}, False),
        ({"kind": "veth", "addresses": (IPv4Interface("192.0.2.1/24"),)}, True),
        ({"kind": "bond"}, True),
        ({"kind": "dummy"}, False),
    ],
)
def test_a_layer_3_device_has_a_mac_and_no_master(change: dict[str, object], layer3: bool) -> None:
    assert is_layer3(replace(DEVICE, **change)) is layer3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "plumbing"),
    [
        ("eth0", "", False),
        ("br0", "bridge", False),
        ("bond0.7", "vlan", False),
        ("docker0", "bridge", True),
        ("br-0123456789ab", "bridge", True),
        ("cni0", "bridge", True),
        ("calic2d0", "veth", True),
        ("flannel.1", "vxlan", True),
        ("kube-ipvs0", "dummy", True),
        ("wg0", "wireguard", True),
    ],
)
def test_container_plumbing_is_known_by_name_and_kind(name: str, kind: str, plumbing: bool) -> None:
    assert is_plumbing(replace(DEVICE, name=name, kind=kind)) is plumbing
