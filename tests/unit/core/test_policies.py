# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How many Services a policy selects is counted when that may have changed, and not for each of many changes."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.core.ipam_world import service

from herald.core.allocation.policies import COUNT_PACE, PolicyReports
from herald.core.model import SECOND, Policy, Selector, Service
from herald.core.world import World

POLICY = Policy("all", "p", 1, 1, load_balancer_ips=True)
PACE = 10 * COUNT_PACE


class Counting:
    """Ten Services, and how often they were counted."""

    def __init__(self) -> None:
        self.world = World()
        for number in range(10):
            self.world.put(service(f"s{number}"))
        self.asked = 0
        self.reports = PolicyReports(self.world, self._announces)

    def _announces(self, policy: Policy, _: Service) -> bool:
        self.asked += 1
        return not policy.service_selector.match_labels

    def count(self, now: int, policy: Policy = POLICY) -> int:
        return self.reports.status(policy, now).services

    @property
    def counts(self) -> int:
        return self.asked // len(self.world.services)


def test_without_a_change_they_are_counted_once() -> None:
    counting = Counting()
    assert [counting.count(now * SECOND) for now in range(100)] == [10] * 100
    assert counting.counts == 1


def test_a_change_is_counted_when_the_last_count_is_old_enough() -> None:
    counting = Counting()
    counting.count(SECOND)
    counting.world.remove(Service, ("default", "s0"))
    assert counting.count(SECOND + PACE // 2) == 10
    assert counting.count(SECOND + PACE) == 9
    counting.world.put(service("s0"))
    counting.world.put(service("s0"))
    assert counting.count(SECOND + 2 * PACE) == 10


def test_another_policy_of_that_name_is_counted_at_once() -> None:
    counting = Counting()
    counting.count(SECOND)
    narrow = replace(POLICY, generation=2, service_selector=Selector({"a": "b"}))
    assert counting.count(SECOND, narrow) == 0
    assert counting.count(SECOND, replace(narrow, uid="q", service_selector=Selector())) == 10
