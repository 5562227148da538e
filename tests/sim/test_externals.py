# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""External addresses are announced by policy, and allocated to nobody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster

from herald.core.election.placement import order
from herald.core.model import IPAM_LEASE, Node, Policy, Selector, Service

OUTSIDE = "203.0.113.7"
ELSEWHERE = "203.0.113.8"
IN_POOL = "198.51.100.0"
EXTERNAL = Policy("external", "x", 1, 1, external_ips=True)


def cluster_of(*policies: Policy, nodes: int = 3) -> Cluster:
    cluster = Cluster(nodes)
    for policy in policies:
        cluster.api.put(policy)
    cluster.start()
    cluster.run_until(lambda: cluster.api.lease("ipam") is not None, 10)
    return cluster


def announcers(cluster: Cluster, text: str) -> list[str]:
    return cluster.answering().get(ip_address(text), [])


def announced(cluster: Cluster, name: str = "web") -> str:
    (found,) = (c for c in cluster.get(name).conditions if c.type == "herald.dev/Announced")
    return f"{found.status} {found.message}"


def types(cluster: Cluster, name: str = "web") -> list[str]:
    return sorted(condition.type for condition in cluster.get(name).conditions)


def test_one_node_announces_an_external_address_of_a_service_of_any_type() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    assert types(cluster) == ["herald.dev/Announced"]
    assert OUTSIDE in announced(cluster)
    assert cluster.get("web").ingress == ()
    lease = cluster.api.lease(f"vip-{OUTSIDE}")
    assert lease is not None
    assert lease.annotations["herald.dev/external"] == "default/web"
    assert "herald.dev/services" not in lease.annotations


def test_a_lost_node_is_replaced_and_a_new_allocator_changes_nothing() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(5)
    (holder,) = announcers(cluster, OUTSIDE)
    cluster.machines[holder].power_off()
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 4)
    cluster.run(5)
    was = cluster.allocator()
    (holder,) = announcers(cluster, OUTSIDE)
    lease = cluster.api.lease(f"vip-{OUTSIDE}")
    cluster.machines[was].kill()
    cluster.machines[was].start()
    for _ in range(200):
        cluster.run(0.05)
        assert announcers(cluster, OUTSIDE) == [holder]
    assert cluster.api.lease(f"vip-{OUTSIDE}") == lease


def refuse_services_of_every_type(cluster: Cluster) -> None:
    cluster.refuses_list = lambda machine, kind: kind is Service and machine.all_services


def test_while_services_of_every_type_are_not_listed_a_lost_node_is_replaced() -> None:
    cluster = cluster_of()
    cluster.service("web")
    cluster.service("other", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    refuse_services_of_every_type(cluster)
    cluster.api.put(EXTERNAL)
    cluster.run(1)
    (holder,) = announcers(cluster, IN_POOL)
    cluster.machines[holder].power_off()
    cluster.run_until(lambda: len(announcers(cluster, IN_POOL)) == 1, 4)
    cluster.run(20)
    assert announcers(cluster, OUTSIDE) == []
    cluster.refuses_list = lambda machine, kind: False
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)


@pytest.mark.parametrize("which", ["holder", "allocator", "all"])
def test_what_is_external_to_a_service_that_is_not_listed_yet_stays_as_it_is(which: str) -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    (holder,) = announcers(cluster, OUTSIDE)
    lease = cluster.api.lease(f"vip-{OUTSIDE}")
    refuse_services_of_every_type(cluster)
    names = {"holder": [holder], "allocator": [cluster.allocator()], "all": [*cluster.machines]}
    for name in names[which]:
        cluster.machines[name].kill()
        cluster.machines[name].start()
    for step in range(400):
        cluster.run(0.05)
        assert announcers(cluster, OUTSIDE) == [holder]
        if step == 200:
            cluster.refuses_list = lambda machine, kind: False
    assert cluster.api.lease(f"vip-{OUTSIDE}") == lease


def test_it_ends_with_the_policy_and_leaves_nothing() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    cluster.api.remove(Policy, "external")
    cluster.run(5)
    assert announcers(cluster, OUTSIDE) == []
    assert cluster.vip_leases() == set()
    assert types(cluster) == []


def test_it_ends_with_the_service_and_with_the_wish() -> None:
    cluster = cluster_of(EXTERNAL)
    for name in ("web", "other"):
        cluster.service(name, type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    cluster.service("web", type="ClusterIP")
    cluster.run(3)
    assert len(announcers(cluster, OUTSIDE)) == 1
    assert types(cluster, "web") == []
    cluster.api.remove(Service, ("default", "other"))
    cluster.run(5)
    assert announcers(cluster, OUTSIDE) == []
    assert cluster.vip_leases() == set()


def test_nothing_is_announced_without_a_policy_for_it() -> None:
    cluster = cluster_of(replace(EXTERNAL, service_selector=Selector({"a": "b"})))
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run(5)
    assert cluster.vip_leases() == set()
    assert types(cluster) == []


def test_a_load_balancer_has_both_and_each_is_announced_by_its_policy() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: cluster.served("web") and len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    assert cluster.get("web").ingress == (IN_POOL,)
    assert IN_POOL in announced(cluster)
    assert OUTSIDE in announced(cluster)
    cluster.api.remove(Policy, "all")
    cluster.run(3)
    assert announcers(cluster, IN_POOL) == []
    assert len(announcers(cluster, OUTSIDE)) == 1


def test_an_external_address_in_a_pool_is_given_to_nobody_else() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("has", type="ClusterIP", external_ips=(IN_POOL,))
    cluster.run_until(lambda: len(announcers(cluster, IN_POOL)) == 1, 5)
    cluster.service("web")
    cluster.service("asks", annotations={"herald.dev/ips": IN_POOL})
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    assert cluster.get("web").ingress == ("198.51.100.1",)
    assert cluster.get("asks").ingress == ()
    (reason,) = (c for c in cluster.get("asks").conditions if c.type.endswith("Allocated"))
    assert (reason.reason, "default/has" in reason.message) == ("AddressTaken", True)
    assert len(announcers(cluster, IN_POOL)) == 1


def test_who_names_anothers_address_has_no_say_in_where_it_is_announced() -> None:
    """Or any user could take any Service off the wire, by an external address and a policy of no node."""
    cluster = cluster_of(replace(EXTERNAL, node_selector=Selector({"no": "node"})))
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    (holder,) = announcers(cluster, IN_POOL)
    cluster.service("thief", type="ClusterIP", external_ips=(IN_POOL,))
    for _ in range(100):
        cluster.run(0.05)
        assert announcers(cluster, IN_POOL) == [holder]
    assert cluster.get("web").ingress == (IN_POOL,)
    cluster.api.remove(Service, ("default", "web"))
    cluster.run(5)
    lease = cluster.api.lease(f"vip-{IN_POOL}")
    assert lease is not None
    assert lease.annotations["herald.dev/external"] == "default/thief"
    assert "herald.dev/services" not in lease.annotations


def test_its_own_external_address_may_be_given_to_a_service() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", external_ips=(IN_POOL,), annotations={"herald.dev/ips": IN_POOL})
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    lease = cluster.api.lease(f"vip-{IN_POOL}")
    assert lease is not None
    assert lease.annotations["herald.dev/services"] == "default/web"
    assert lease.annotations["herald.dev/pool"] == "pool"
    assert cluster.get("web").ingress == (IN_POOL,)


def test_services_of_another_load_balancer_are_left_to_it() -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", load_balancer_class="example.com/other", external_ips=(OUTSIDE,))
    cluster.run(5)
    assert cluster.vip_leases() == set()


@pytest.mark.parametrize("kind", ["ClusterIP", "LoadBalancer"])
def test_it_ends_where_the_service_stays_and_names_another_or_none(kind: str) -> None:
    cluster = cluster_of(EXTERNAL)
    cluster.service("web", type=kind, external_ips=(OUTSIDE,))
    cluster.run_until(lambda: len(announcers(cluster, OUTSIDE)) == 1, 5)
    cluster.run(3)
    for wanted in ((ELSEWHERE,), ()):
        cluster.api.put(replace(cluster.get("web"), external_ips=wanted))
        cluster.run(5)
        answering = {text for text in (OUTSIDE, ELSEWHERE) if announcers(cluster, text)}
        assert answering == set(wanted)
        assert {f"vip-{text}" for text in (OUTSIDE, ELSEWHERE)} & cluster.vip_leases() == {
            f"vip-{text}" for text in wanted
        }


@pytest.mark.parametrize("way", ["edited", "replaced"])
def test_of_another_type_it_loses_its_address_also_where_all_types_are_watched(way: str) -> None:
    """What has nothing for Herald any more is not watched even then."""
    cluster = cluster_of(EXTERNAL)
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    web = cluster.get("web")
    if way == "replaced":
        cluster.delete_service("web")
        web = replace(web, uid="svc-new", conditions=())
    cluster.api.writes.clear()
    cluster.api.put(replace(web, type="ClusterIP", ingress=()))
    cluster.run(20)
    assert cluster.vip_leases() == set()
    assert types(cluster) == []
    assert cluster.api.writes.count(("get", "default/web")) <= 2


@pytest.mark.parametrize("wanted", [(OUTSIDE,), (ELSEWHERE,)])
def test_what_the_allocator_s_watch_is_late_to_show_keeps_its_address(
    wanted: tuple[str, ...],
) -> None:
    cluster = cluster_of(replace(EXTERNAL, node_selector=Selector({"announces": "yes"})))
    nodes = {machine.node: machine for machine in cluster.machines.values()}
    cluster.run(3)
    before, heir, holder = (nodes[name] for name in order(IPAM_LEASE, dict.fromkeys(nodes, 1)))
    assert cluster.allocator() == before.node
    # Only the third may announce: what happens to the lease is no reason to look at it again.
    name = holder.node
    cluster.api.put(Node(name, f"node-{name}", {"announces": "yes"}, {}, (), ready=True))
    (watch,) = (watch for watch in heir.watches if watch.kind is Service)
    watch.hung = True
    cluster.service("web", type="ClusterIP", external_ips=(OUTSIDE,))
    cluster.run_until(lambda: announcers(cluster, OUTSIDE) == [holder.name], 5)
    before.power_off()
    cluster.run_until(lambda: cluster.allocator() == heir.node, 5)
    cluster.run(0.3)
    assert announcers(cluster, OUTSIDE) == [holder.name]
    cluster.api.put(replace(cluster.get("web"), external_ips=wanted))
    watch.hung = False
    heir.relist()
    cluster.run(10)
    for text in (OUTSIDE, ELSEWHERE):
        assert len(announcers(cluster, text)) == (text in wanted)
