# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves: each fails where its invariant does. (Most are shown by test_mutants.py.)"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster
from tests.sim.invariants import Violation
from tests.sim.test_life_of_an_address import served_cluster

from herald.core import effects as fx
from herald.core.leases import REASON

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


@pytest.mark.parametrize("lease", ["ipam", "presence-n3"])
def test_an_edit_of_a_lease_that_is_no_addresss_excuses_nobody_answering_at_all(lease: str) -> None:
    cluster, _ = served_cluster()
    cluster.run(3)
    cluster.edit(lease, {"edited": "by hand"})
    holder = cluster.machines[cluster.holder("web0")]
    holder.kernel.change(frozenset(holder.kernel.entries), {})
    with pytest.raises(Violation, match=r"no announcer for 2\.6"):
        cluster.run(5)


def test_an_edit_of_an_addresss_lease_excuses_nobody_answering_for_a_long_d_and_two_seconds() -> (
    None
):
    cluster, _ = served_cluster(nodes=2)
    for number in range(1, 8):
        cluster.service(f"web{number}")
    # Nobody holds nothing, and says the D of who does.
    cluster.run(15)
    text = cluster.get("web0").ingress[0]
    cluster.edit(f"vip-{text}", {"edited": "by hand"})
    holder = cluster.machines[cluster.holder("web0")]
    entries = frozenset(key for key in holder.kernel.entries if key.address == ip_address(text))
    holder.kernel.change(entries, {})
    with pytest.raises(Violation, match=r"no announcer for 4\.6"):
        cluster.run(10)


@pytest.mark.parametrize("how", ["NotReady", "drained"])
def test_the_last_node_is_to_announce_though_it_is_set_back(how: str) -> None:
    cluster, _ = served_cluster(nodes=2)
    last, other = cluster.machines.values()
    other.power_off()
    if how == "NotReady":
        cluster.change_node(last.node, ready=False)
    else:
        cluster.drain(last.node, drain=True)
    cluster.run(15)
    assert cluster.holder("web0") == last.name
    last.kernel.change(frozenset(last.kernel.entries), {})
    with pytest.raises(Violation, match="no announcer for"):
        cluster.run(5)


@pytest.mark.parametrize(
    "fields", [{"ready": None}, {"labels": {"preferred": "yes"}}, {"ready": True}]
)
def test_a_node_that_something_else_is_said_of_excuses_no_move_away(
    fields: dict[str, object],
) -> None:
    cluster, _ = served_cluster()
    cluster.run(15)
    lease = cluster.api.lease(f"vip-{cluster.get('web0').ingress[0]}")
    assert lease is not None
    cluster.change_node(lease.holder, **fields)
    other = next(name for name in cluster.machines if name != lease.holder)
    reason = {REASON: f"{lease.holder}: NotReady"}
    moved = replace(lease, holder=other, annotations={**lease.annotations, **reason})
    with pytest.raises(Violation, match="for no reason"):
        cluster.execute(fx.LeaseRequest(0, "update", moved, 0))


def test_an_agent_that_ends_untold_is_a_violation() -> None:
    cluster, _ = served_cluster()
    machine = next(iter(cluster.machines.values()))
    with pytest.raises(Violation, match="nobody told it to"):
        cluster.invariants.ended(machine)
    machine.stop()
    cluster.run(5)
    assert machine.finished is not None


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
