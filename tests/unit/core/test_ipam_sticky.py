# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What is never a reason to move, and whose Services are in Herald's care at all."""

from __future__ import annotations

from tests.unit.core.ipam_rules import (
    ONE,
    V4,
    V6,
    Case,
    check,
    gone,
    lease,
    lost_leases,
    restart,
    rows,
    stranger,
    stranger_left,
    then,
    unseen_rows,
    without_agent,
)
from tests.unit.core.ipam_world import key_of, pool, service

SEVEN = ",".join(f"192.0.2.{number}" for number in (7, 1, 2, 3, 4, 5, 6))

LATER = pool("q", "192.0.2.0/28,198.51.100.0/28", born=5)
SHRUNK = pool("q", "198.51.100.0/28", born=5)

STICKY = [
    Case(
        "restart",
        (V4, service("a"), service("b")),
        {"b": "192.0.2.1 Allocated"},
        (gone("a"), restart()),
    ),
    Case(
        "a better pool appears",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("a", "198.51.100.0/30", priority=0)),),
    ),
    Case(
        "the pool is shrunk",
        (V4, service("s", ips="192.0.2.9")),
        {"s": "192.0.2.9 Orphaned"},
        (then(pool("p", "192.0.2.0/29")),),
        says={"s": "192.0.2.9 of pool p, which no longer has it"},
    ),
    Case(
        "the pool excludes it",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (then(pool("p", "192.0.2.0/28", exclude="192.0.2.0")),),
    ),
    Case(
        "the pool is disabled",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("p", "192.0.2.0/28", disabled=True)),),
    ),
    Case(
        "the pool is deleted",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (gone("p"), restart()),
        says={"s": "192.0.2.0 of pool p, which is gone"},
    ),
    Case(
        "the pool is made again",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("p"), then(V4)),
    ),
    Case(
        "the pool is replaced by one of another name",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("p"), then(pool("q", "192.0.2.0/28"))),
    ),
    Case(
        "the pool becomes nonsense",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("p", "192.0.2.0/28", exclude="192.0.2.0-192.0.1.0")),),
    ),
    Case(
        "a label changes and the pool selects it no more",
        (pool("p", "192.0.2.0/28", select={"a": "b"}), V6, service("s", labels={"a": "b"})),
        {"s": "192.0.2.0 Orphaned"},
        (then(service("s", labels={"a": "c"})),),
        says={"s": "which no longer selects the Service"},
    ),
    Case(
        "a label changes and another pool selects it",
        (
            pool("p", "192.0.2.0/28", select={"a": "b"}),
            pool("q", "198.51.100.0/28", select={"a": "c"}),
            service("s", labels={"a": "b"}),
        ),
        {"s": "192.0.2.0 Orphaned"},
        (then(service("s", labels={"a": "c"})),),
    ),
    Case(
        "an older pool appears over it",
        (pool("p", "192.0.2.0/28", born=5), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("q", "192.0.2.0/28", born=1)),),
        says={"s": "192.0.2.0 of pool p"},
    ),
    Case(
        "leases lost: what Services hold in status wins",
        (V4, service("a"), service("b"), service("c")),
        {
            "a": "192.0.2.0 Allocated",
            "b": "192.0.2.1 Allocated",
            "c": "192.0.2.2 Allocated",
            "d": "192.0.2.3 Allocated",
        },
        (lost_leases("192.0.2.0,192.0.2.2"), then(service("d"))),
    ),
    Case(
        "leases lost while nobody allocates, and a newcomer that is decided before",
        (V4, service("z")),
        {"a": "192.0.2.1 Allocated", "z": "192.0.2.0 Allocated"},
        (without_agent(lost_leases("192.0.2.0"), then(service("a"))),),
    ),
    Case(
        "leases lost and the pool gone",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (without_agent(lost_leases("192.0.2.0"), gone("p")),),
        says={"s": "192.0.2.0 of pool p, which is gone"},
    ),
    Case(
        "leases lost and the pool gone, while something else is missing",
        (V4, service("r", ips="192.0.2.7"), service("s", ips="192.0.2.5,192.0.2.7")),
        {"s": "192.0.2.5 NoPool"},
        (without_agent(lost_leases("192.0.2.5"), gone("p")),),
    ),
    Case(
        "leases lost and the pool gone, of more addresses than the condition names",
        (V4, service("s", annotations={"metallb.io/loadBalancerIPs": SEVEN})),
        {"s": f"{SEVEN} Orphaned"},
        (without_agent(lost_leases(SEVEN), gone("p")),),
        says={"s": "; and 2 more"},
    ),
    Case(
        "a pool that was asked for and has the address already is shrunk",
        (V4, LATER, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", pool="q")), then(SHRUNK)),
        says={"s": "192.0.2.0 of pool q"},
        in_one_go=False,
    ),
    Case(
        "the same, and it is deleted, and the pool that gave the address too",
        (V4, LATER, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (then(service("s", pool="q")), gone("q"), then(SHRUNK), gone("p")),
        says={"s": "192.0.2.0 of pool q, which no longer has it"},
        in_one_go=False,
    ),
    Case(
        "the same, of two who share the address and ask for different pools",
        (
            V4,
            LATER,
            service("r", key="k", pool="p"),
            service("s", key="k", ports="443"),
        ),
        {"r": "192.0.2.0 Allocated", "s": "192.0.2.0 Allocated"},
        (
            then(service("s", key="k", ports="443", pool="q")),
            then(SHRUNK),
        ),
        says={"r": "192.0.2.0 of pool p", "s": "192.0.2.0 of pool q"},
        in_one_go=False,
    ),
    Case(
        "record lost, and the pool that was asked for shrunk",
        (V4, service("s", pool="p")),
        {"s": "192.0.2.0 Orphaned"},
        (then(pool("p", "192.0.2.8/29")), lost_leases("192.0.2.0")),
        says={"s": "of pool p, which no longer has it"},
    ),
    Case(
        "record lost, and another pool has the address now",
        (V4, service("s", pool="p")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("p", "192.0.2.8/29"), pool("q", "192.0.2.0/29")), lost_leases("192.0.2.0")),
        says={"s": "192.0.2.0 of pool p"},
    ),
    Case(
        "the status is wiped: the lease wins",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (
            gone("r"),
            without_agent(lambda world: world.cluster.services.update({key_of("s"): service("s")})),
        ),
    ),
]

CARE = [
    Case(
        "Herald's class",
        (V4, service("s", lb_class="herald.dev/l2")),
        {"s": "192.0.2.0 Allocated"},
        default_class=False,
    ),
    Case(
        "no class, and Herald is not the default",
        (V4, service("s")),
        {"s": "untouched"},
        default_class=False,
    ),
    Case(
        "another's class",
        (V4, service("s", lb_class="example.com/other", shows="192.0.2.3")),
        {"s": "192.0.2.3 untouched"},
    ),
    Case("not a LoadBalancer", (V4, service("s", type="NodePort")), {"s": "untouched"}),
    Case(
        "an adopted class keeps what the other gave",
        (V4, service("s", lb_class="example.com/other", shows="192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
        adopt=("example.com/other",),
    ),
    Case(
        "an adopted class keeps what is in no pool",
        (V4, service("s", lb_class="example.com/other", shows="203.0.113.3")),
        {"s": "203.0.113.3 Orphaned"},
        adopt=("example.com/other",),
    ),
    Case(
        "what another implementation's Service shows is not given",
        (
            ONE,
            service("r", lb_class="example.com/other", shows="192.0.2.1"),
            service("s"),
            service("t", ips="192.0.2.1"),
        ),
        {"r": "192.0.2.1 untouched", "s": "- PoolExhausted", "t": "- AddressTaken"},
        says={"t": "held by Service default/r"},
    ),
    Case(
        "what another implementation gives up can be given",
        (ONE, service("r", lb_class="example.com/other", shows="192.0.2.1"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "an external IP of a Service is not given to another",
        (ONE, service("r", type="ClusterIP", external="192.0.2.1"), service("s")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "without a class, served by somebody else, in none of the pools: hands off",
        (V4, service("s", shows="203.0.113.3")),
        {"s": "203.0.113.3 untouched"},
    ),
    Case(
        "without a class, served by somebody else, in a pool: hands off all the same",
        (V4, service("s", shows="192.0.2.3")),
        {"s": "192.0.2.3 untouched"},
    ),
    Case(
        "without a class, showing what another implementation's Service shows: hands off",
        (
            V4,
            service("s", shows="192.0.2.3"),
            service("z", lb_class="x.example/y", shows="192.0.2.3"),
        ),
        {"s": "192.0.2.3 untouched", "z": "192.0.2.3 untouched"},
    ),
    Case(
        "hands off ends when Herald is asked for what it has: it keeps that",
        (V4, service("s", shows="192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
        (then(service("s", ips="192.0.2.3")),),
    ),
    Case(
        "hands off does not end when a pool for it appears",
        (service("s", shows="192.0.2.3"),),
        {"s": "192.0.2.3 untouched"},
        (then(V4),),
    ),
    Case(
        "hands off ends when Herald is asked",
        (V4, service("s", shows="203.0.113.3")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", pool="p")),),
    ),
    Case(
        "without a class, served by somebody else by a hostname: hands off",
        (V4, service("s", hostname=True, annotations={"metallb.io/address-pool": "p"})),
        {"s": "- untouched"},
    ),
    Case(
        "hands off what is served by a hostname ends when Herald is asked",
        (V4, service("s", hostname=True)),
        {"s": "192.0.2.3 Allocated"},
        (then(service("s", ips="192.0.2.3")),),
    ),
    Case(
        "and when the hostname goes",
        (V4, service("s", hostname=True)),
        {"s": "192.0.2.0 Allocated"},
        (gone("s"), then(service("s"))),
    ),
    Case(
        "Herald's class, served by a hostname once",
        (V4, service("s", hostname=True, lb_class="herald.dev/l2")),
        {"s": "192.0.2.0 Allocated"},
    ),
    Case(
        "another balancer's hostname in the place of what Herald gave, after it lost the leases",
        (V4, service("s")),
        {"s": "- untouched"},
        (
            without_agent(
                lost_leases("192.0.2.0"), gone("s"), then(service("s", hostname=True, ours=True))
            ),
        ),
    ),
    Case(
        "two show what somebody else gave them: hands off both",
        (V4, service("a", shows="192.0.2.3"), service("b", shows="192.0.2.3")),
        {"a": "192.0.2.3 untouched", "b": "192.0.2.3 untouched"},
    ),
    Case(
        "two show one address of Herald's, without leases: the first by name keeps it",
        (
            V4,
            service("a", shows="192.0.2.3", ours=True),
            service("b", shows="192.0.2.3", ours=True),
        ),
        {"a": "192.0.2.3 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "a lease wins over another's status",
        (V4,),
        {"a": "192.0.2.3 Allocated", "b": "192.0.2.0 Allocated"},
        (
            without_agent(
                lease("192.0.2.3", "p", "a"),
                then(service("a"), service("b", shows="192.0.2.3", ours=True)),
            ),
        ),
    ),
    Case(
        "leaving Herald's care and coming back",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", type="ClusterIP")), then(service("s"))),
    ),
]

STRANGERS = [
    Case(
        "an address in use stays",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (stranger("192.0.2.0"),),
    ),
    Case(
        "a wanted address that somebody answers for",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated", "t": "- AddressConflict"},
        (stranger("192.0.2.7"), then(service("t", ips="192.0.2.7"))),
        says={"t": "192.0.2.7 is answered for by 02:00:5e:00:00:01"},
    ),
    Case(
        "it is given once it is clear",
        (V4,),
        {"t": "192.0.2.7 Allocated"},
        (stranger("192.0.2.7"), then(service("t", ips="192.0.2.7")), stranger_left("192.0.2.7")),
    ),
    Case(
        "none is given that is set aside",
        (ONE,),
        {"t": "- PoolExhausted"},
        (stranger("192.0.2.1"), then(service("t"))),
    ),
]


@rows(sticky=STICKY, care=CARE, strangers=STRANGERS)
def test_rule(case: Case) -> None:
    check(case)


@unseen_rows(sticky=STICKY, care=CARE)
def test_rule_where_no_agent_saw_it_happen(case: Case) -> None:
    """Strangers are left out: this harness does not keep what was found out about them."""
    check(case)
