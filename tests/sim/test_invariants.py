# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves: each fails where its invariant does. (Most are shown by test_mutants.py.)"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from tests.sim.cluster import Cluster
from tests.sim.invariants import Violation
from tests.sim.test_life_of_an_address import served_cluster

from herald.core import effects as fx

ADDRESS = "198.51.100.9"


def test_one_address_of_two_services_is_a_violation() -> None:
    cluster = Cluster()
    cluster.service("web1", ingress=(ADDRESS,))
    with pytest.raises(Violation, match=r"is told .* whose lease does not say so"):
        cluster.invariants.written(cluster.get("web1"), None)
    cluster.service("web2", ingress=(ADDRESS,))
    with pytest.raises(Violation, match="is given to"):
        cluster.invariants.written(cluster.get("web2"), None)


def test_two_kernels_that_answer_are_a_violation() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    holder = cluster.machines[cluster.holder("web0")]
    other = next(machine for machine in cluster.machines.values() if machine is not holder)
    other.kernel.change(frozenset(), holder.kernel.entries)
    with pytest.raises(Violation, match="before its first frame"):
        cluster.kernel_changed(other, frozenset(holder.kernel.answers(holder.clock())))


def test_nobody_answering_for_longer_than_the_bound_is_a_violation() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    holder = cluster.machines[cluster.holder("web0")]
    # Its agent goes on, and knows nothing of it.
    holder.kernel.change(frozenset(holder.kernel.entries), {})
    with pytest.raises(Violation, match=r"no announcer for 2\.6"):
        cluster.run(5)


def test_a_presence_edited_by_hand_long_ago_excuses_nobody_answering_no_longer() -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    cluster.edit("presence-n3", {"edited": "by hand"})
    cluster.run(40)
    cluster.disturbed()
    holder = cluster.machines[cluster.holder("web0")]
    holder.kernel.change(frozenset(holder.kernel.entries), {})
    with pytest.raises(Violation, match="no announcer for"):
        cluster.run(5)


def test_a_fence_of_who_was_well_is_a_violation_though_it_was_alone_on_its_segment() -> None:
    cluster, _ = served_cluster(nodes=2)
    for number in range(1, 8):
        cluster.service(f"web{number}")
    cluster.run(3)
    first, second = cluster.machines.values()
    first.power_off()
    cluster.run(30)
    first.power_on()
    cluster.run(6)
    presence = cluster.api.lease(f"presence-{second.name}")
    assert presence is not None
    assert second.agent is not None
    # It does not claim at once what it had: the other does, as if it had been lost.
    second.agent._presence.past = deque(maxlen=0)
    cluster.execute(fx.LeaseRequest(0, "update", replace(presence, holder=""), 0))
    with pytest.raises(Violation, match=r"moved from .* for no reason .* was lost"):
        cluster.run(6)
