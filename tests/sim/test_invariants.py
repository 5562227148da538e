# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves: each fails where its invariant does. (Most are shown by test_mutants.py.)"""

from __future__ import annotations

import pytest
from tests.sim.cluster import Cluster
from tests.sim.invariants import Violation
from tests.sim.test_life_of_an_address import served_cluster

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
