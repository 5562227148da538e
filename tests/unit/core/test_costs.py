# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What changes nothing costs nothing: how often is decided, counted."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.core.alone import Alone, holding, peer

from herald.core.leases import PRESENCE, Presence
from herald.core.model import SECOND, Lease


class Decisions:
    """Counts the decisions about locks."""

    def __init__(self, alone: Alone) -> None:
        self.count = 0
        election = alone.agent._election
        decide = election._decide

        def counted(*arguments: object) -> None:
            self.count += 1
            decide(*arguments)  # type: ignore[arg-type]

        election._decide = counted  # type: ignore[method-assign]


def hears_nobody(lease: Lease) -> Lease:
    report = Presence(lease).report
    deaf = replace(report, interfaces=tuple(replace(i, heard=False) for i in report.interfaces))
    return replace(lease, annotations={**lease.annotations, PRESENCE: deaf.encode()})


def renew(alone: Alone, *nodes: str) -> None:
    """The watch shows that they have, and say what they said."""
    for name in nodes:
        alone.show(alone.store[f"presence-{name}"])


def test_a_neighbour_that_stays_deaf_costs_no_decision_when_anybody_renews() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.show(hears_nobody(peer("n2", 2)))
    renew(alone, "n1", "n3")
    decisions = Decisions(alone)
    renew(alone, "n2", "n3", "n2", "n3")
    alone.live(2 * SECOND)
    renew(alone, "n1", "n2", "n3")
    assert decisions.count == 0
    assert alone.held


def test_who_hears_nobody_is_deaf_with_the_first_renewal_of_another_who_does() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.show(hears_nobody(peer("n2", 2)))
    decisions = Decisions(alone)
    renew(alone, "n2")
    assert decisions.count == 0
    renew(alone, "n3")
    assert decisions.count > 0
    (lock,) = alone.agent._locks.held()
    assert lock.placement.why_not["n2"] == "nobody on the segment answers on eth0"


def test_where_nobody_hears_anybody_nobody_is_deaf_and_renewals_cost_nothing() -> None:
    alone = holding(peer("n2", 2), peer("n3", 3))
    alone.neighbours = False
    alone.show(hears_nobody(peer("n2", 2)))
    alone.show(hears_nobody(peer("n3", 3)))
    alone.live(3 * SECOND)
    renew(alone, "n1")
    decisions = Decisions(alone)
    renew(alone, "n2", "n3", "n1")
    assert decisions.count == 0
    assert alone.held
