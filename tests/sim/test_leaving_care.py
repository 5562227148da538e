# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A Service that Herald has to do with no more keeps nothing of Herald's, and everything of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster

from herald.core.allocation.ipam import ALLOCATED
from herald.core.model import Condition, Service, ServicePort, vip_lease_name

OTHERS = Condition("example.com/Checked", "True", "Checked", "by somebody else")


def served() -> Cluster:
    cluster = Cluster(2)
    cluster.service("web", conditions=(OTHERS,))
    cluster.start()
    cluster.run_until(lambda: cluster.served("web"), 15)
    cluster.run(3)
    assert len(cluster.get("web").conditions) == 3
    cluster.api.writes.clear()
    return cluster


def edit(cluster: Cluster, **fields: object) -> None:
    cluster.api.put(replace(cluster.get("web"), **fields))  # type: ignore[arg-type]


def patches_of(cluster: Cluster, service: Service) -> list[str]:
    return [text for verb, text in cluster.api.writes if verb == "patch" and service.uid in text]


def test_of_another_type_it_loses_herald_s_conditions_alone() -> None:
    """To who watches LoadBalancers alone it looks as if it were gone."""
    cluster = served()
    # The API server itself takes the addresses away.
    edit(cluster, type="ClusterIP", ingress=())
    cluster.run(3)
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()
    edit(cluster, type="LoadBalancer")
    cluster.run_until(lambda: cluster.served("web"), 5)


def test_of_another_class_it_loses_the_address_too() -> None:
    cluster = served()
    edit(cluster, load_balancer_class="example.com/other")
    cluster.run(3)
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.get("web").ingress == ()
    assert cluster.vip_leases() == set()


def test_of_another_class_it_loses_what_was_only_part_of_its_request_too() -> None:
    cluster = served()
    taken = cluster.get("web").ingress[0]
    wanted = f"198.51.100.8,{taken}"
    cluster.service("part", annotations={"herald.dev/ips": wanted}, conditions=(OTHERS,))
    cluster.run(3)
    part = cluster.get("part")
    assert part.ingress == ("198.51.100.8",)
    assert {c.type: c.status for c in part.conditions}[ALLOCATED] == "False"
    cluster.api.put(replace(part, load_balancer_class="example.com/other"))
    cluster.run(3)
    assert cluster.get("part").ingress == ()
    assert cluster.get("part").conditions == (OTHERS,)
    assert len(cluster.vip_leases()) == 1


def many() -> tuple[Cluster, str]:
    """One Service with more addresses than a condition names, and who allocates."""
    cluster = Cluster(3)
    wanted = ",".join(f"198.51.100.{number}" for number in range(1, 8))
    cluster.service("web", annotations={"herald.dev/ips": wanted}, conditions=(OTHERS,))
    cluster.start()
    cluster.run_until(lambda: cluster.served("web"), 15)
    cluster.run(3)
    assert len(cluster.get("web").ingress) == len(cluster.vip_leases()) == 7
    cluster.api.writes.clear()
    return cluster, cluster.allocator()


def test_of_another_class_it_loses_more_addresses_than_its_condition_names() -> None:
    cluster, _ = many()
    edit(cluster, load_balancer_class="example.com/other")
    cluster.run(3)
    assert cluster.get("web").ingress == ()
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()


def test_where_herald_is_the_default_no_more_it_loses_them_too() -> None:
    cluster, _ = many()
    for machine in cluster.machines.values():
        machine.kill()
    cluster.settings = replace(cluster.settings, default_class=False)
    cluster.start()
    cluster.run(20)
    assert cluster.get("web").ingress == ()
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()


@pytest.mark.parametrize(("verb", "of"), [("patch", "svc-web"), ("update", "vip-")])
def test_and_so_it_does_when_the_allocator_is_lost_meanwhile(verb: str, of: str) -> None:
    """Right after the first write to the Service, or to one of its leases."""
    cluster, before = many()
    edit(cluster, load_balancer_class="example.com/other")

    def written() -> bool:
        return any(verb == done and of in text for done, text in cluster.api.writes)

    cluster.run_until(written, 5)
    cluster.machines[before].power_off()
    cluster.run(20)
    assert cluster.allocator() != before
    assert cluster.get("web").ingress == ()
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()


@pytest.mark.parametrize(("ingress", "hostname"), [(("203.0.113.9",), False), ((), True)])
def test_what_another_balancer_wrote_in_their_place_stays_and_holds_up_no_lease(
    ingress: tuple[str, ...], hostname: bool
) -> None:
    cluster, _ = many()
    edit(
        cluster,
        load_balancer_class="example.com/other",
        ingress=ingress,
        served_otherwise=hostname,
    )
    cluster.run(3)
    assert cluster.get("web").ingress == ingress
    assert cluster.get("web").served_otherwise is hostname
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()


def test_without_a_class_and_served_by_a_hostname_it_is_left_alone_until_it_asks() -> None:
    cluster = served()
    cluster.service("other", served_otherwise=True, conditions=(OTHERS,))
    cluster.run(3)
    other = cluster.get("other")
    assert (other.ingress, other.served_otherwise, other.conditions) == ((), True, (OTHERS,))
    cluster.api.put(replace(other, annotations={"herald.dev/pool": "pool"}))
    cluster.run_until(lambda: cluster.served("other"), 5)
    assert not cluster.get("other").served_otherwise


@pytest.mark.parametrize("ending", ["another type", "gone", "gone, and made anew"])
def test_what_no_agent_saw_is_made_good_by_the_next_one(ending: str) -> None:
    cluster = served()
    web = cluster.get("web")
    for machine in cluster.machines.values():
        machine.kill()
    if ending == "another type":
        edit(cluster, type="ClusterIP", ingress=())
    else:
        cluster.api.remove(Service, web.key)
    if ending == "gone, and made anew":
        anew = replace(web, uid="svc-new", type="ClusterIP", ingress=(), conditions=(OTHERS,))
        cluster.api.put(anew)
    cluster.start()
    cluster.run(20)
    assert cluster.vip_leases() == set()
    if ending != "gone":
        assert cluster.get("web").conditions == (OTHERS,)
        edit(cluster, type="LoadBalancer")
        cluster.run_until(lambda: cluster.served("web"), 5)


def test_one_that_is_gone_costs_one_read_and_its_namesake_is_left_alone() -> None:
    cluster = served()
    gone = cluster.get("web")
    cluster.api.remove(Service, gone.key)
    cluster.run(3)
    assert cluster.api.writes.count(("get", "default/web")) == 1
    assert patches_of(cluster, gone) == []
    cluster.api.put(replace(gone, uid="svc-new", ingress=(), conditions=(OTHERS,)))
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    assert len(cluster.get("web").conditions) == 3


def test_of_one_that_is_being_deleted_and_has_no_address_nothing_is_said() -> None:
    cluster = Cluster(1)
    cluster.service("web", deleting=True, conditions=(OTHERS,))
    cluster.start()
    cluster.run(5)
    assert cluster.get("web").conditions == (OTHERS,)
    assert not [event for machine in cluster.machines.values() for event in machine.told]


def unseen(cluster: Cluster, what: Callable[[], None]) -> None:
    """It happens while the watches are away; what they list when they are back is all that is ever told of it."""
    for machine in cluster.machines.values():
        machine.relist()
    what()


def test_of_another_type_while_the_watches_were_away_it_loses_them_too() -> None:
    cluster = served()
    unseen(cluster, lambda: edit(cluster, type="ClusterIP", ingress=()))
    cluster.run(3)
    assert cluster.get("web").conditions == (OTHERS,)
    assert cluster.vip_leases() == set()
    edit(cluster, type="LoadBalancer")
    cluster.run_until(lambda: cluster.served("web"), 5)


@pytest.mark.parametrize("namesake", [False, True])
def test_gone_while_the_watches_were_away_it_costs_one_read(namesake: bool) -> None:
    cluster = served()
    gone = cluster.get("web")

    def replaced() -> None:
        cluster.api.remove(Service, gone.key)
        if namesake:
            cluster.api.put(replace(gone, uid="svc-new", type="ClusterIP", ingress=()))

    unseen(cluster, replaced)
    cluster.run(5)
    assert cluster.api.writes.count(("get", "default/web")) == 1
    assert patches_of(cluster, gone) == []
    # A namesake bears what Herald says only if somebody copied that.
    assert not namesake or cluster.get("web").conditions == (OTHERS,)


def test_what_the_allocator_s_watch_is_late_to_show_keeps_its_address() -> None:
    """The watch of Leases may be ahead of that of Services: by all that a hung stream holds back."""
    cluster = Cluster(2)
    cluster.service("first")
    cluster.start()
    cluster.run_until(lambda: cluster.served("first"), 15)
    cluster.run(3)
    before = cluster.machines[cluster.allocator()]
    (heir,) = (machine for machine in cluster.machines.values() if machine is not before)
    (watch,) = (watch for watch in heir.watches if watch.kind is Service)
    watch.hung = True
    cluster.service("web")
    cluster.run_until(lambda: bool(cluster.get("web").ingress), 5)
    web = cluster.get("web").ingress
    before.power_off()
    cluster.run_until(lambda: cluster.allocator() == heir.name, 5)
    assert ("default", "web") not in heir.agent._world.services  # type: ignore[union-attr]
    cluster.run(0.3)
    assert {vip_lease_name(ip_address(text)) for text in web} <= cluster.vip_leases()
    watch.mend()
    cluster.run_until(lambda: cluster.served("web"), 10)
    assert cluster.get("web").ingress == web


def test_an_alias_that_disagrees_is_told_once_whenever_it_comes() -> None:
    cluster = served()
    own = {"herald.dev/ips": cluster.get("web").ingress[0]}
    edit(cluster, annotations=own)
    cluster.run(2)
    assert not cluster.told("web", "Notice")
    edit(cluster, annotations={**own, "metallb.io/loadBalancerIPs": "198.51.100.7"})
    cluster.run(2)
    assert len(cluster.told("web", "Notice")) == 1
    both = {"herald.dev/pool": "pool", "metallb.io/address-pool": "other"}
    cluster.service("new", annotations=both)
    cluster.run(3)
    assert len(cluster.told("new", "Notice")) == 1
    lost = cluster.machines[cluster.allocator()]
    lost.power_off()
    cluster.run(10)
    assert cluster.allocator() != lost.node
    assert len(cluster.told("web", "Notice")) == len(cluster.told("new", "Notice")) == 1


@pytest.mark.parametrize("way", ["deleted", "another class"])
def test_who_shares_an_address_may_leave_it_at_one_time(way: str) -> None:
    cluster = Cluster(2)
    names = ("web0", "web1", "web2")
    for number, name in enumerate(names):
        ports = (ServicePort("TCP", 80 + number),)
        cluster.service(name, annotations={"herald.dev/sharing-key": "k"}, ports=ports)
    cluster.start()
    cluster.run_until(lambda: cluster.served(*names), 15)
    cluster.run(3)
    assert len(cluster.vip_leases()) == 1
    (taken,) = {cluster.get(name).ingress for name in names}
    cluster.service("next", annotations={"herald.dev/ips": taken[0]})
    cluster.run(2)
    assert cluster.get("next").ingress == ()
    for name in names:
        if way == "deleted":
            cluster.delete_service(name)
        else:
            web = replace(cluster.get(name), load_balancer_class="example.com/other")
            cluster.invariants.unneeded(ip_address(taken[0]))
            cluster.api.put(web)
    cluster.run_until(lambda: cluster.served("next"), 5)
    assert cluster.get("next").ingress == taken
    assert way == "deleted" or {cluster.get(name).ingress for name in names} == {()}
    cluster.delete_service("next")
    cluster.run(5)
    assert cluster.vip_leases() == set()
