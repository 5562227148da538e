# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Which address is given, by all that a pool says, and which reason is told where none is."""

from __future__ import annotations

from tests.unit.core.ipam_rules import ONE, V4, V6, Case, check, gone, rows, then, unseen_rows
from tests.unit.core.ipam_world import pool, service

from herald.core.model import Requirement

TINY = pool("tiny", "192.0.2.1-192.0.2.2")

CHOICE = [
    Case("the lowest free address", (V4, service("s")), {"s": "192.0.2.0 Allocated"}),
    Case(
        "one after the other",
        (V4, service("a"), service("b"), service("c")),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.2 Allocated"},
    ),
    Case(
        "lower priority first",
        (pool("a", "192.0.2.1", priority=200), pool("b", "192.0.2.2", priority=10), service("s")),
        {"s": "192.0.2.2 Allocated"},
    ),
    Case(
        "equal priority: by name",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.2"), service("s")),
        {"s": "192.0.2.2 Allocated"},
        says={"s": "192.0.2.2 of pool a"},
    ),
    Case(
        "blocks in the order of the pool, not of the addresses",
        (pool("p", "198.51.100.7, 192.0.2.0/30"), service("a"), service("b")),
        {"a": "198.51.100.7 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "blocks that overlap inside one pool are a union",
        (pool("p", "192.0.2.2/31, 192.0.2.0/30"), *(service(name) for name in "abcde")),
        {
            "a": "192.0.2.2 Allocated",
            "b": "192.0.2.3 Allocated",
            "c": "192.0.2.0 Allocated",
            "d": "192.0.2.1 Allocated",
            "e": "- PoolExhausted",
        },
    ),
    Case(
        "the next pool when the first is full",
        (pool("a", "192.0.2.1"), pool("b", "198.51.100.1"), service("x"), service("y")),
        {"x": "192.0.2.1 Allocated", "y": "198.51.100.1 Allocated"},
    ),
    Case(
        "an address that was freed is given again",
        (TINY, service("a"), service("b")),
        {"b": "192.0.2.2 Allocated", "c": "192.0.2.1 Allocated"},
        (gone("a"), then(service("c"))),
    ),
    Case(
        "who waits for an address gets the one that is freed",
        (ONE, service("a"), service("b")),
        {"b": "192.0.2.1 Allocated"},
        (gone("a"),),
    ),
    Case(
        "of those who wait one gets it, the others wait on",
        (ONE, service("a"), service("b"), service("c")),
        {"b": "192.0.2.1 Allocated", "c": "- PoolExhausted"},
        (gone("a"),),
    ),
    Case(
        "who names an address comes before who takes any",
        (ONE, service("a"), service("b", ips="192.0.2.1")),
        {"a": "- PoolExhausted", "b": "192.0.2.1 Allocated"},
    ),
]

FIELDS = [
    Case(
        "excluded addresses are not given",
        (
            pool("p", "192.0.2.0/29", exclude="192.0.2.0-192.0.2.4, 192.0.2.6/31"),
            service("a"),
            service("b"),
        ),
        {"a": "192.0.2.5 Allocated", "b": "- PoolExhausted"},
    ),
    Case(
        "allowFirstLastIPs: false reserves the ends of a network",
        (pool("p", "192.0.2.0/30", first_last=False), *(service(name) for name in "abc")),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.2 Allocated", "c": "- PoolExhausted"},
    ),
    Case(
        "allowFirstLastIPs: false exempts ranges",
        (pool("p", "192.0.2.0-192.0.2.3", first_last=False), service("a")),
        {"a": "192.0.2.0 Allocated"},
    ),
    Case(
        "allowFirstLastIPs: false exempts /31 and /32",
        (
            pool("p", "192.0.2.0/31,192.0.2.8/32", first_last=False),
            *(service(name) for name in "abc"),
        ),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.8 Allocated"},
    ),
    Case(
        "allowFirstLastIPs: false exempts /127 and /128, not /126",
        (
            pool("p", "2001:db8::/126,2001:db8::8/127,2001:db8::a/128", first_last=False),
            *(service(name, families="6") for name in "abcdef"),
        ),
        {
            "a": "2001:db8::1 Allocated",
            "b": "2001:db8::2 Allocated",
            "c": "2001:db8::8 Allocated",
            "d": "2001:db8::9 Allocated",
            "e": "2001:db8::a Allocated",
            "f": "- PoolExhausted",
        },
    ),
    Case(
        "avoidBuggyIPs skips .0 and .255",
        (pool("p", "192.0.2.254-192.0.3.1", avoid_buggy=True), *(service(name) for name in "abc")),
        {"a": "192.0.2.254 Allocated", "b": "192.0.3.1 Allocated", "c": "- PoolExhausted"},
    ),
    Case(
        "avoidBuggyIPs is about IPv4",
        (pool("p", "2001:db8::/126", avoid_buggy=True), service("a", families="6")),
        {"a": "2001:db8:: Allocated"},
    ),
    Case(
        "autoAssign: false gives only on request",
        (
            pool("p", "192.0.2.0/30", auto=False),
            service("a"),
            service("b", pool="p"),
            service("c", ips="192.0.2.3"),
        ),
        {"a": "- NoPool", "b": "192.0.2.0 Allocated", "c": "192.0.2.3 Allocated"},
        says={"a": "autoAssign: false in pool p"},
    ),
    Case(
        "a disabled pool gives nothing",
        (pool("p", "192.0.2.0/30", disabled=True), service("a")),
        {"a": "- NoPool"},
    ),
    Case(
        "a disabled pool's addresses stay, and it gives again when enabled",
        (ONE, service("a")),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.2 Allocated"},
        (
            then(pool("one", "192.0.2.1-192.0.2.2", disabled=True), service("b")),
            then(pool("one", "192.0.2.1-192.0.2.2")),
        ),
    ),
    Case(
        "a pool is for the Services that it selects",
        (
            pool("p", "192.0.2.0/30", select={"net": "public"}),
            service("a"),
            service("b", labels={"net": "public"}),
        ),
        {"a": "- SelectorMismatch", "b": "192.0.2.0 Allocated"},
        says={"a": "of pool p"},
    ),
    Case(
        "pseudo-labels select by namespace and win over a label of that name",
        (
            pool("p", "192.0.2.0/30", select={"io.kubernetes.service.namespace": "shop"}),
            service("shop/a"),
            service("b", labels={"io.kubernetes.service.namespace": "shop"}),
        ),
        {"shop/a": "192.0.2.0 Allocated", "b": "- SelectorMismatch"},
    ),
    Case(
        "expressions select",
        (
            pool(
                "p",
                "192.0.2.0/30",
                expressions=(Requirement("io.kubernetes.service.name", "In", ("a", "b")),),
            ),
            pool(
                "q",
                "198.51.100.0/30",
                expressions=(Requirement("tier", "DoesNotExist"),),
                priority=200,
            ),
            *(service(name) for name in "abc"),
            service("d", labels={"tier": "x"}),
        ),
        {
            "a": "192.0.2.0 Allocated",
            "b": "192.0.2.1 Allocated",
            "c": "198.51.100.0 Allocated",
            "d": "- SelectorMismatch",
        },
    ),
    Case(
        "a pool of 2^100 addresses",
        (pool("p", "fd00::/28"), service("a", families="6")),
        {"a": "fd00:: Allocated"},
    ),
]

REASONS = [
    Case("no pool at all", (service("s"),), {"s": "- NoPool"}),
    Case("no pool of the family", (V6, service("s")), {"s": "- NoPool"}, says={"s": "IPv4"}),
    Case(
        "an enabled pool that does not select counts, a disabled one that does select does not",
        (
            pool("a", "192.0.2.0/30", disabled=True),
            pool("b", "198.51.100.0/30", select={"x": "y"}),
            service("s"),
        ),
        {"s": "- SelectorMismatch"},
    ),
    Case(
        "full pools that select come before others that do not",
        (ONE, pool("b", "198.51.100.0/30", select={"x": "y"}), service("r"), service("s")),
        {"s": "- PoolExhausted"},
        says={"s": "in pool one"},
    ),
    Case(
        "a pool that appears heals at once",
        (service("s"),),
        {"s": "192.0.2.0 Allocated"},
        (then(V4),),
    ),
    Case(
        "a pool that was not understood gives nothing, until it is",
        (pool("p", "192.0.2.9-192.0.2.1"), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(V4),),
    ),
    Case(
        "half an understanding gives nothing either",
        (
            pool("p", "192.0.2.0/30", exclude="192.0.2.0/33"),
            service("s"),
            service("t", ips="192.0.2.1"),
        ),
        {"s": "- NoPool", "t": "- NoPool"},
        says={"t": "exclude[0].cidr: wanted a network"},
    ),
]

CONFLICTS = [
    Case(
        "the younger of two overlapping pools stops for the overlap only",
        (
            pool("a", "192.0.2.0-192.0.2.3", born=2),
            pool("b", "192.0.2.2-192.0.2.9", born=1, priority=200),
            *(service(name) for name in "xyz"),
        ),
        {"x": "192.0.2.0 Allocated", "y": "192.0.2.1 Allocated", "z": "192.0.2.2 Allocated"},
        says={"z": "of pool b"},
    ),
    Case(
        "at equal age the greater name stops",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.1", select={"a": "b"}), service("s")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "it heals when the older pool goes",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.1", select={"a": "b"}), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("a"),),
    ),
    Case(
        "any of the pools over an address stands behind it when the one that gave it is gone",
        (pool("z", "192.0.2.1", born=9), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (
            then(*(pool(name, "192.0.2.1", select={"a": "b"}) for name in "abcde")),
            then(pool("f", "192.0.2.1", born=8)),
            gone("z"),
        ),
        says={"s": "192.0.2.1 of pool z"},
    ),
    Case(
        "excludes do not conflict",
        (
            pool("a", "192.0.2.0/30", exclude="192.0.2.1", select={"a": "b"}),
            pool("b", "192.0.2.1"),
            service("s"),
        ),
        {"s": "192.0.2.1 Allocated"},
        says={"s": "of pool b"},
    ),
    Case(
        "a wanted address in an overlap is the older pool's to give",
        (
            pool("a", "192.0.2.1", select={"a": "b"}),
            pool("b", "192.0.2.1"),
            service("s", ips="192.0.2.1"),
        ),
        {"s": "- SelectorMismatch"},
        says={"s": "pool a"},
    ),
]


@rows(choice=CHOICE, fields=FIELDS, reasons=REASONS, conflicts=CONFLICTS)
def test_rule(case: Case) -> None:
    check(case)


@unseen_rows(choice=CHOICE, fields=FIELDS, reasons=REASONS, conflicts=CONFLICTS)
def test_rule_where_no_agent_saw_it_happen(case: Case) -> None:
    check(case)
