# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What Services ask for: addresses, pools, in the words of Herald and of others; and what becomes of it."""

from __future__ import annotations

from tests.unit.core.ipam_rules import (
    BOTH,
    ONE,
    V4,
    V6,
    Case,
    check,
    gone,
    rows,
    then,
    unseen_rows,
    without_agent,
)
from tests.unit.core.ipam_world import pool, service

REQUESTS = [
    Case(
        "an address by annotation",
        (V4, service("s", ips="192.0.2.7")),
        {"s": "192.0.2.7 Allocated"},
    ),
    Case("an address by spec", (V4, service("s", lb_ip="192.0.2.7")), {"s": "192.0.2.7 Allocated"}),
    Case(
        "annotation and spec are joined",
        (V4, service("s", ips="192.0.2.7", lb_ip="192.0.2.5")),
        {"s": "192.0.2.7,192.0.2.5 Allocated"},
    ),
    Case(
        "several addresses, in the order asked",
        (V4, service("s", ips="192.0.2.7, 192.0.2.3,192.0.2.7,")),
        {"s": "192.0.2.7,192.0.2.3 Allocated"},
    ),
    Case(
        "IPv6 in every spelling is one address",
        (V6, service("s", families="6", ips="2001:DB8:0:0::A,2001:0db8::000a")),
        {"s": "2001:db8::a Allocated"},
    ),
    Case(
        "of several those that are free are given, the condition says what is missing",
        (V4, service("r", ips="192.0.2.3"), service("s", ips="192.0.2.7,192.0.2.3")),
        {"s": "192.0.2.7 AddressTaken"},
        says={"s": "192.0.2.3 is held by Service default/r"},
    ),
    Case(
        "what was missing is given when it is freed",
        (V4, service("r", ips="192.0.2.3"), service("s", ips="192.0.2.7,192.0.2.3")),
        {"s": "192.0.2.7,192.0.2.3 Allocated"},
        (gone("r"),),
    ),
    Case(
        "a pool by name",
        (V4, pool("q", "198.51.100.0/30"), service("s", pool="q")),
        {"s": "198.51.100.0 Allocated"},
    ),
    Case(
        "a pool that is not there",
        (V4, service("s", pool="q")),
        {"s": "- NoPool"},
        says={"s": "herald.dev/pool: wanted a pool, found none named 'q'"},
    ),
    Case(
        "a pool that is disabled",
        (pool("q", "192.0.2.1", disabled=True), service("s", pool="q")),
        {"s": "- NoPool"},
        says={"s": "which is disabled"},
    ),
    Case(
        "a pool whose selector refuses",
        (pool("q", "192.0.2.1", select={"x": "y"}), service("s", pool="q")),
        {"s": "- SelectorMismatch"},
        says={"s": "wanted pool q"},
    ),
    Case(
        "a pool that is full",
        (ONE, V4, service("r", ips="192.0.2.1"), service("s", pool="one")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "a pool without the family",
        (ONE, service("s", pool="one", families="6")),
        {"s": "- NoPool"},
    ),
    Case(
        "an address that the wanted pool does not have",
        (V4, pool("q", "198.51.100.0/30"), service("s", pool="q", ips="192.0.2.1")),
        {"s": "- InvalidRequest"},
        says={"s": "wanted pool 'q', found 192.0.2.1 in p"},
    ),
    Case(
        "an address outside every pool",
        (V4, service("s", ips="203.0.113.1")),
        {"s": "- NoPool"},
        says={"s": "203.0.113.1"},
    ),
    Case(
        "an address in a disabled pool",
        (pool("q", "192.0.2.1", disabled=True), service("s", ips="192.0.2.1")),
        {"s": "- NoPool"},
        says={"s": "pool q, which is disabled"},
    ),
    Case(
        "an address in a pool whose selector refuses",
        (pool("q", "192.0.2.1", select={"x": "y"}), service("s", ips="192.0.2.1")),
        {"s": "- SelectorMismatch"},
        says={"s": "pool q"},
    ),
    Case(
        "an address that is excluded",
        (pool("q", "192.0.2.0/30", exclude="192.0.2.1"), service("s", ips="192.0.2.1")),
        {"s": "- NoPool"},
        says={"s": "pool q excludes it"},
    ),
    Case(
        "an address that is reserved",
        (pool("q", "192.0.2.0/30", first_last=False), service("s", ips="192.0.2.0")),
        {"s": "- NoPool"},
        says={"s": "reserved in pool q"},
    ),
    Case(
        "a wanted address that is taken, and nothing else instead",
        (V4, service("r", ips="192.0.2.0"), service("s", ips="192.0.2.0")),
        {"s": "- AddressTaken"},
        says={"s": "192.0.2.0 is held by Service default/r"},
    ),
    Case(
        "200 wanted addresses",
        (pool("p", "192.0.2.0/24"), service("s", ips=",".join(f"192.0.2.{n}" for n in range(200)))),
        {"s": ",".join(f"192.0.2.{n}" for n in range(200)) + " Allocated"},
    ),
]

INVALID = [
    Case(
        f"a malformed request: {text}",
        (V4, service("s", ips=text)),
        {"s": "- InvalidRequest"},
        says={"s": "herald.dev/ips: wanted"},
    )
    for text in (
        "nonsense",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2",
        "192.0.2.1/32",
        "192.0.2.1-192.0.2.3",
        "0x7f.1",
        "3221225985",
        "１９２.0.2.1",
        "192.0.2.1%eth0",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "2001:db8::g",
        "192.0.2.1 192.0.2.2",
        ",",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "\ud800",
        "9" * 5000,
    )
] + [
    Case(
        "an address of a family that the Service does not have",
        (BOTH, service("s", ips="2001:db8::1")),
        {"s": "- InvalidRequest"},
        says={"s": "herald.dev/ips: wanted IPv4 (spec.ipFamilies), found 2001:db8::1"},
    ),
    Case(
        "a malformed spec.loadBalancerIP names the field",
        (V4, service("s", lb_ip="nonsense")),
        {"s": "- InvalidRequest"},
        says={"s": "spec.loadBalancerIP: wanted an IPv4 or IPv6 address, found 'nonsense'"},
    ),
    Case(
        "a request that becomes invalid keeps what is held",
        (V4, service("s", ips="192.0.2.7")),
        {"s": "192.0.2.7 InvalidRequest"},
        (then(service("s", ips="192.0.2.777")),),
    ),
]

CHANGES = [
    Case(
        "another address on request",
        (V4, service("s")),
        {"s": "192.0.2.9 Allocated"},
        (then(service("s", ips="192.0.2.9")),),
    ),
    Case(
        "a request that is withdrawn leaves the address",
        (V4, service("s", ips="192.0.2.9")),
        {"s": "192.0.2.9 Allocated"},
        (then(service("s")),),
    ),
    Case(
        "one of several that is asked for no more is left",
        (V4, service("s", ips="192.0.2.9,192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
        (then(service("s", ips="192.0.2.3")),),
    ),
    Case(
        "a change that cannot be met keeps what is held",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.0 AddressTaken"},
        (then(service("s", ips="192.0.2.9")),),
    ),
    Case(
        "a change that can be met in part keeps what is held, too",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.8,192.0.2.0 AddressTaken"},
        (then(service("s", ips="192.0.2.9,192.0.2.8")),),
    ),
    Case(
        "once all can be met the old one is left",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.9,192.0.2.8 Allocated"},
        (then(service("s", ips="192.0.2.9,192.0.2.8")), gone("r")),
    ),
    Case(
        "another pool on request",
        (V4, pool("q", "198.51.100.0/30"), service("s")),
        {"s": "198.51.100.0 Allocated"},
        (then(service("s", pool="q")),),
    ),
    Case(
        "another pool that is full: what is held is kept",
        (V4, pool("q", "198.51.100.1"), service("r", pool="q"), service("s")),
        {"s": "192.0.2.0 PoolExhausted"},
        (then(service("s", pool="q")),),
    ),
    Case(
        "naming the pool that one is in changes nothing",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("r"), then(service("s", pool="p"))),
    ),
    Case(
        "type changed: everything is left",
        (ONE, service("s"), service("t")),
        {"s": "untouched", "t": "192.0.2.1 Allocated"},
        (then(service("s", type="ClusterIP")),),
    ),
    Case(
        "class changed to another's",
        (ONE, service("s"), service("t")),
        {"s": "untouched", "t": "192.0.2.1 Allocated"},
        (then(service("s", lb_class="example.com/other")),),
    ),
    Case(
        "deleted and made again: asks like a new one",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("r", "s"), then(service("s"))),
        in_one_go=False,
    ),
    Case(
        "deleted while nobody allocates",
        (ONE, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (without_agent(gone("r")),),
    ),
    Case(
        "while it is being deleted it keeps what it holds and gets nothing new",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", ips="192.0.2.9", deleting=True)),),
    ),
    Case("born while being deleted", (V4, service("s", deleting=True)), {"s": "- untouched"}),
    Case(
        "deleted while it waits: there is nothing to be said any more",
        (V4, service("s", pool="q")),
        {"s": "- untouched"},
        (then(service("s", pool="q", deleting=True)),),
    ),
]

SHARE = {"ports": "443", "key": "web"}
ALIASES = (
    [
        Case(
            f"{name}",
            (V4, service("s", annotations={name: "192.0.2.7"})),
            {"s": "192.0.2.7 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/ips",
            "io.cilium/lb-ipam-ips",
            "metallb.io/loadBalancerIPs",
            "metallb.universe.tf/loadBalancerIPs",
        )
    ]
    + [
        Case(
            f"{name}",
            (V4, pool("q", "198.51.100.0/30"), service("s", annotations={name: "q"})),
            {"s": "198.51.100.0 Allocated"},
        )
        for name in ("metallb.io/address-pool", "metallb.universe.tf/address-pool")
    ]
    + [
        Case(
            f"{name}",
            (V4, service("a", key="web"), service("b", ports="443", annotations={name: "web"})),
            {"b": "192.0.2.0 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/sharing-key",
            "io.cilium/lb-ipam-sharing-key",
            "metallb.io/allow-shared-ip",
            "metallb.universe.tf/allow-shared-ip",
        )
    ]
    + [
        Case(
            f"{name}",
            (
                V4,
                service("x/a", key="web", cross="*"),
                service("y/b", **SHARE, annotations={name: "x"}),
            ),
            {"y/b": "192.0.2.0 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/sharing-cross-namespace",
            "io.cilium/lb-ipam-sharing-cross-namespace",
        )
    ]
    + [
        Case(
            "Herald's own annotation first",
            (
                V4,
                service(
                    "s", ips="192.0.2.3", annotations={"metallb.io/loadBalancerIPs": "192.0.2.7"}
                ),
            ),
            {"s": "192.0.2.3 Allocated"},
        ),
        Case(
            "a blank one is none",
            (
                V4,
                service(
                    "s",
                    annotations={"herald.dev/ips": " ", "metallb.io/loadBalancerIPs": "192.0.2.7"},
                ),
            ),
            {"s": "192.0.2.7 Allocated"},
        ),
        Case(
            "a malformed alias is named",
            (V4, service("s", annotations={"metallb.io/loadBalancerIPs": "x"})),
            {"s": "- InvalidRequest"},
            says={"s": "metallb.io/loadBalancerIPs: wanted"},
        ),
    ]
)


@rows(requests=REQUESTS, invalid=INVALID, changes=CHANGES, aliases=ALIASES)
def test_rule(case: Case) -> None:
    check(case)


@unseen_rows(requests=REQUESTS, invalid=INVALID, changes=CHANGES, aliases=ALIASES)
def test_rule_where_no_agent_saw_it_happen(case: Case) -> None:
    check(case)
