# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.kube import fakes

from herald.core.model import Condition, Node, Policy, Pool
from herald.kube.times import Times

THEN, NOW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


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
    assert times._since == {}
