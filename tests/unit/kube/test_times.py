# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from tests.unit.kube import fakes

from herald.core.model import Condition, Lease, Node, Policy, Pool
from herald.kube.times import Times

THEN, NOW = "2026-01-01T00:00:00.000000Z", "2026-06-01T00:00:00.000000Z"


def seen(holder: str = "n1", since: object = THEN) -> Times:
    times = Times()
    times.seen(Lease, fakes.lease("vip-192.0.2.1", 3, holder, acquireTime=since))
    return times


@pytest.mark.parametrize(
    ("times", "holder", "acquired"),
    [
        (seen(), "n1", THEN),
        (seen(), "n2", NOW),
        (seen(), "", ""),
        (seen(since=None), "n1", NOW),
        (seen(since=7), "n1", NOW),
        (Times(), "n1", NOW),
    ],
    ids=["the same", "another", "none", "no time", "no text", "never seen"],
)
def test_since_when_a_holder_holds(times, holder, acquired) -> None:
    assert times.acquired(Lease("vip-192.0.2.1", holder=holder), NOW) == acquired


@pytest.mark.parametrize("forget", ["gone", "only", "released"])
def test_what_is_no_more_is_forgotten(forget: str) -> None:
    times = seen()
    match forget:
        case "gone":
            times.gone(Lease, "vip-192.0.2.1")
        case "only":
            times.only(Lease, {"vip-192.0.2.2"})
        case "released":
            times.seen(Lease, fakes.lease("vip-192.0.2.1", 4))
    assert times._acquired == {}


def test_pools_and_policies_of_one_name_are_two_things() -> None:
    times = Times()
    for kind, status in ((Pool, "True"), (Policy, "False")):
        condition = {"type": "Ready", "status": status, "lastTransitionTime": THEN}
        times.seen(kind, {"metadata": fakes.metadata("a"), "status": {"conditions": [condition]}})
    ready = [Condition("Ready", "True", "R", "m")]
    assert times.since(Pool, "a", ready, NOW) == {"Ready": THEN}
    assert times.since(Policy, "a", ready, NOW) == {"Ready": NOW}
    times.only(Policy, set())
    assert times.since(Pool, "a", ready, NOW) == {"Ready": THEN}
    times.gone(Pool, "a")
    assert times._since == {}


def test_of_other_kinds_nothing_is_kept() -> None:
    times = Times()
    times.seen(Node, fakes.node("n1"))
    assert (times._acquired, times._since) == ({}, {})
