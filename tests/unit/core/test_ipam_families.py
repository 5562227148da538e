# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Single and dual stack: the three policies, and families that come and go."""

from __future__ import annotations

from tests.unit.core.ipam_rules import BOTH, ONE, V4, V6, Case, check, gone, rows, then, unseen_rows
from tests.unit.core.ipam_world import pool, service

DUAL = [
    Case(
        "SingleStack: the first family",
        (BOTH, service("s", families="64")),
        {"s": "2001:db8:: Allocated"},
    ),
    Case(
        "PreferDualStack: both where both can be had, in the Service's order",
        (
            BOTH,
            service("a", families="46", policy="PreferDualStack"),
            service("b", families="64", policy="PreferDualStack"),
        ),
        {"a": "192.0.2.0,2001:db8:: Allocated", "b": "2001:db8::1,192.0.2.1 Allocated"},
    ),
    Case(
        "families may come from different pools",
        (V4, V6, service("s", families="46", policy="RequireDualStack")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
    ),
    Case(
        "PreferDualStack: what can be had",
        (V4, service("s", families="64", policy="PreferDualStack")),
        {"s": "192.0.2.0 Allocated"},
        says={"s": "no enabled pool has IPv6 addresses"},
    ),
    Case(
        "PreferDualStack: nothing can be had",
        (service("s", families="64", policy="PreferDualStack"),),
        {"s": "- NoPool"},
    ),
    Case(
        "PreferDualStack gains the second family later",
        (V4, service("s", families="64", policy="PreferDualStack")),
        {"s": "2001:db8::,192.0.2.0 Allocated"},
        (then(V6),),
    ),
    Case(
        "PreferDualStack gains the second family when an address is freed",
        (
            V4,
            pool("six", "2001:db8::1"),
            service("r", families="6"),
            service("s", families="46", policy="PreferDualStack"),
        ),
        {"s": "192.0.2.0,2001:db8::1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "RequireDualStack: none if not both",
        (V4, service("s", families="46", policy="RequireDualStack")),
        {"s": "- NoPool"},
        says={"s": "IPv6"},
    ),
    Case(
        "RequireDualStack: both once both can be had",
        (V4, service("s", families="46", policy="RequireDualStack")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
        (then(V6),),
    ),
    Case(
        "RequireDualStack tells all that it lacks, also what another took later",
        (ONE, service("a", families="46", policy="RequireDualStack")),
        {"a": "- NoPool", "b": "192.0.2.1 Allocated"},
        (then(service("b")),),
        says={"a": "no IPv4 address is free in pool one"},
    ),
    Case(
        "RequireDualStack does not hold back what it cannot use",
        (ONE, service("a", families="46", policy="RequireDualStack"), service("b")),
        {"a": "- NoPool", "b": "192.0.2.1 Allocated"},
    ),
    Case(
        "a family is added",
        (BOTH, service("s")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
        (then(service("s", families="46", policy="RequireDualStack")),),
    ),
    Case(
        "a family is added that cannot be had: what is held is kept",
        (V4, service("s")),
        {"s": "192.0.2.0 NoPool"},
        (then(service("s", families="46", policy="RequireDualStack")),),
    ),
    Case(
        "a family is removed",
        (BOTH, service("s", families="46", policy="PreferDualStack")),
        {"s": "192.0.2.0 Allocated", "t": "2001:db8:: Allocated"},
        (then(service("s")), then(service("t", families="6"))),
    ),
    Case(
        "one family by request, the other of any",
        (BOTH, service("s", families="46", policy="RequireDualStack", ips="192.0.2.7")),
        {"s": "192.0.2.7,2001:db8:: Allocated"},
    ),
    Case(
        "RequireDualStack with a wanted address that is taken: none",
        (
            BOTH,
            service("r", ips="192.0.2.7"),
            service("s", families="46", policy="RequireDualStack", ips="192.0.2.7"),
        ),
        {"s": "- AddressTaken"},
    ),
    Case(
        "family order of the Service, not of the request",
        (BOTH, service("s", families="46", policy="PreferDualStack", ips="2001:db8::7,192.0.2.7")),
        {"s": "192.0.2.7,2001:db8::7 Allocated"},
    ),
]


@rows(dual=DUAL)
def test_rule(case: Case) -> None:
    check(case)


@unseen_rows(dual=DUAL)
def test_rule_where_no_agent_saw_it_happen(case: Case) -> None:
    check(case)
