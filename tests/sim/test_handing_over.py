# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A living holder may announce no longer: another does, nothing is lost on the way, and what moved it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster

from herald.core.election.election import RANK_STEP
from herald.core.election.placement import EXCLUDE_LABEL, OUT_OF_SERVICE_TAINT, order
from herald.core.leases import REASON
from herald.core.model import (
    SECOND,
    Endpoints,
    Node,
    Policy,
    PolicyStatus,
    PreferredNodes,
    Selector,
    ServicePort,
    Taint,
)
from herald.core.settings import Settings

VIP = ip_address("198.51.100.0")
LEASE = f"vip-{VIP}"
ANNOUNCES = {"announces": "yes"}


def cluster_of(
    nodes: int = 4, *, seed: int = 0, settings: Settings | None = None, **fields: object
) -> Cluster:
    """A Service is served."""
    cluster = Cluster(nodes, seed=seed, settings=settings)
    for name in cluster.machines:
        cluster.change_node(name, labels=ANNOUNCES)
    cluster.start()
    cluster.service("web", **fields)
    return cluster


def settled(cluster: Cluster, *names: str) -> str:
    """All is served and quiet; who announces the first."""
    cluster.run_until(lambda: cluster.served(*names), 15)
    cluster.run(5)
    return cluster.holder(names[0])


def unserved(cluster: Cluster, *names: str, seconds: float = 1) -> float:
    """Time passes; for how long of it one of them is not served, seconds."""
    steps = round(seconds * 1000)
    missed = 0
    for _ in range(steps):
        cluster.run(0.001)
        missed += not cluster.served(*names)
    return missed / 1000


def reason(cluster: Cluster) -> str:
    lease = cluster.api.lease(LEASE)
    assert lease is not None
    return lease.annotations[REASON]


def logged(cluster: Cluster, node: str, event: str) -> list[object]:
    """The reasons in a node's log, of that decision about the address."""
    return [
        note.fields["reason"]
        for _, note in cluster.machines[node].notes
        if note.event == event and {LEASE, str(VIP)} & set(map(str, note.fields.values()))
    ]


# --- lost eligibility --------------------------------------------------------------------------------------


def not_ready(cluster: Cluster, holder: str) -> None:
    cluster.change_node(holder, ready=False)


def not_selected(cluster: Cluster, holder: str) -> None:
    cluster.change_node(holder, labels={})
    cluster.change_policy(node_selector=Selector(ANNOUNCES))


def excluded(cluster: Cluster, holder: str) -> None:
    cluster.change_node(holder, labels={EXCLUDE_LABEL: ""})


def tainted(cluster: Cluster, holder: str) -> None:
    taint = Taint(OUT_OF_SERVICE_TAINT, "nodeshutdown", "NoExecute")
    cluster.change_node(holder, taints=(taint,))


def endpoints_leave(cluster: Cluster, holder: str) -> None:
    cluster.endpoints("web", *(name for name in cluster.machines if name != holder))


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (not_ready, "NotReady"),
        (not_selected, "no policy selects it"),
        (excluded, f"label {EXCLUDE_LABEL}"),
        (tainted, "taint out-of-service"),
        (endpoints_leave, "externalTrafficPolicy is Local and it has no ready endpoint"),
    ],
)
def test_who_may_announce_no_longer_hands_over_and_says_why(
    lose: Callable[[Cluster, str], None], why: str
) -> None:
    local = lose is endpoints_leave
    cluster = cluster_of(external_traffic_policy="Local" if local else "Cluster")
    cluster.endpoints("web", *cluster.machines)
    holder = settled(cluster, "web")
    lose(cluster, holder)
    assert 0 < unserved(cluster, "web") <= 0.2
    successor = cluster.holder("web")
    assert successor != holder
    assert reason(cluster) == f"{holder}: {why}"
    assert logged(cluster, holder, "release") == [why]
    assert logged(cluster, successor, "announce") == [f"{holder}: {why}"]
    assert cluster.told("web", "Announced")[-1].endswith(f"reason: {holder}: {why}")


def test_where_the_successor_is_dead_the_next_one_takes_over_after_its_turn() -> None:
    cluster = cluster_of()
    holder = settled(cluster, "web")
    first, successor, second, _ = order(str(VIP), dict.fromkeys(cluster.machines, 1))
    assert holder == first
    cluster.machines[successor].power_off()
    cluster.drain(holder, drain=True)
    # Nobody knows yet that it is dead: it is waited for as long as a turn takes.
    turn = RANK_STEP / SECOND
    assert turn <= unserved(cluster, "web") <= turn + 0.1
    assert cluster.holder("web") == second


# --- a better placement ------------------------------------------------------------------------------------

HOLD_DOWN = 20


def patient_cluster() -> Cluster:
    return cluster_of(settings=Settings(on_api_loss="Withdraw", hold_down_ns=HOLD_DOWN * SECOND))


def moves_after_the_hold_down(cluster: Cluster, successor: str) -> None:
    """From now on nothing changes."""
    holder = cluster.holder("web")
    cluster.run(HOLD_DOWN - 1)
    assert cluster.holder("web") == holder
    assert 0 < unserved(cluster, "web", seconds=3) <= 0.2
    assert cluster.holder("web") == successor
    assert reason(cluster) == f"{holder}: better placed on {successor}"


def ready(cluster: Cluster, node: str) -> None:
    cluster.change_node(node, ready=True)


def included(cluster: Cluster, node: str) -> None:
    cluster.change_node(node, labels=ANNOUNCES)


def untainted(cluster: Cluster, node: str) -> None:
    cluster.change_node(node, taints=())


def all_selected(cluster: Cluster, _: str) -> None:
    cluster.change_policy(node_selector=Selector())


@pytest.mark.parametrize(
    ("lose", "regain"),
    [
        (not_ready, ready),
        (not_selected, included),
        (not_selected, all_selected),
        (excluded, included),
        (tainted, untainted),
    ],
)
def test_what_had_to_leave_comes_back_once_nothing_has_changed_for_the_hold_down(
    lose: Callable[[Cluster, str], None], regain: Callable[[Cluster, str], None]
) -> None:
    cluster = patient_cluster()
    holder = settled(cluster, "web")
    lose(cluster, holder)
    cluster.run(2 * HOLD_DOWN)
    assert cluster.holder("web") != holder
    regain(cluster, holder)
    moves_after_the_hold_down(cluster, holder)


def test_a_node_that_a_policy_comes_to_prefer_is_moved_to_after_the_hold_down() -> None:
    cluster = patient_cluster()
    settled(cluster, "web")
    cluster.run(2 * HOLD_DOWN)
    last = order(str(VIP), dict.fromkeys(cluster.machines, 1))[-1]
    cluster.change_node(last, labels={"preferred": "yes"})
    preferred = PreferredNodes(Selector({"preferred": "yes"}), 1_000_000)
    cluster.change_policy(preferred_nodes=(preferred,))
    moves_after_the_hold_down(cluster, last)


def test_what_placement_does_not_read_puts_no_move_off() -> None:
    cluster = patient_cluster()
    holder = settled(cluster, "web")
    not_ready(cluster, holder)
    cluster.run(2 * HOLD_DOWN)
    ready(cluster, holder)
    for second in range(HOLD_DOWN + 2):
        for each in list(cluster.api.objects.values()):
            if isinstance(each, Node):
                cluster.api.put(replace(each, labels={**ANNOUNCES, "seen": str(second)}))
            elif isinstance(each, Policy):
                said = PolicyStatus(1, 4, second, ())
                cluster.api.put(replace(each, answer_ping=second % 2 == 0, status=said))
        cluster.api.put(Node("without-agent", "uid", {}, {}, (), ready=second % 2 == 0))
        cluster.run(1)
    assert cluster.holder("web") == holder


# --- a shared address --------------------------------------------------------------------------------------

SHARE = {"herald.dev/sharing-key": "k"}
PARTNER = {"annotations": SHARE, "ports": (ServicePort("TCP", 443),)}


def test_who_share_an_address_move_as_one_and_are_both_told() -> None:
    cluster = cluster_of(annotations=SHARE)
    cluster.service("partner", **PARTNER)
    lost = settled(cluster, "web", "partner")
    assert cluster.get("web").ingress == cluster.get("partner").ingress == (str(VIP),)
    cluster.machines[lost].power_off()
    cluster.run_until(lambda: cluster.served("web", "partner"), 3)
    cluster.run(1)
    holder = cluster.holder("web")
    assert holder != lost
    for name in ("web", "partner"):
        assert cluster.get(name).ingress == (str(VIP),)
        said = {c.type: c.message for c in cluster.get(name).conditions}["herald.dev/Announced"]
        for words in (said, cluster.told(name, "Announced")[-1]):
            assert f"{holder} on eth0" in words
            assert words.endswith(f"reason: {lost} was lost")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("editor", "port"), [("web", 443), ("partner", 80)])
def test_who_edits_itself_out_of_a_shared_address_while_no_agent_runs_leaves_it(
    editor: str, port: int, seed: int
) -> None:
    """Whichever of the two has its status written first when an agent announces the address again."""
    cluster = cluster_of(seed=seed, annotations=SHARE)
    cluster.service("partner", **PARTNER)
    settled(cluster, "web", "partner")
    for machine in cluster.machines.values():
        machine.power_off()
    cluster.run(0.05 * seed)
    ports = (ServicePort("TCP", port),)
    cluster.api.put(replace(cluster.get(editor), ports=ports))
    cluster.run(3)
    for machine in cluster.machines.values():
        machine.power_on()
    cluster.run(10)
    stays = "partner" if editor == "web" else "web"
    assert cluster.get(stays).ingress == (str(VIP),)
    assert cluster.get(editor).ingress not in ((), (str(VIP),))


def test_a_shared_address_goes_where_all_who_share_it_have_an_endpoint() -> None:
    cluster = cluster_of(annotations=SHARE, external_traffic_policy="Local")
    cluster.service("partner", **PARTNER, external_traffic_policy="Local")
    cluster.endpoints("web", "n1", "n2")
    cluster.endpoints("partner", "n2", "n3")
    assert settled(cluster, "web", "partner") == "n2"
    assert cluster.get("web").ingress == cluster.get("partner").ingress
    cluster.endpoints("partner", "n1", "n3")
    cluster.run(1)
    assert cluster.holder("web") == "n1"


def test_who_becomes_local_shares_no_longer_and_is_announced_where_its_endpoints_are() -> None:
    cluster = cluster_of(annotations=SHARE)
    cluster.service("partner", **PARTNER)
    holder = settled(cluster, "web", "partner")
    elsewhere = next(name for name in cluster.machines if name != holder)
    cluster.endpoints("partner", elsewhere)
    cluster.traffic_policy("partner", "Local")
    cluster.run(3)
    assert cluster.get("web").ingress == (str(VIP),)
    assert cluster.holder("web") == holder
    assert cluster.get("partner").ingress != (str(VIP),)
    assert cluster.served("partner")
    assert cluster.holder("partner") == elsewhere


def test_a_drained_node_serves_its_last_endpoints_to_their_end() -> None:
    """`kubectl drain` behind Herald's own: the pods end where the address has nowhere to go."""
    cluster = cluster_of(external_traffic_policy="Local")
    cluster.endpoints("web", "n1")
    assert settled(cluster, "web") == "n1"
    cluster.drain("n1", drain=True)
    place = Endpoints("default", "web-slice", "web", frozenset(("n1",)))
    ending = replace(place, nodes=frozenset(), ending=place.nodes)
    for now in (place, ending):
        cluster.api.put(now)
        cluster.run(5)
        assert cluster.holder("web") == "n1"
    cluster.api.put(replace(ending, ending=frozenset()))
    cluster.run(2)
    assert not cluster.answering()
