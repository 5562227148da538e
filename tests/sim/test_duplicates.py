# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Before an address is first given the segment is asked whether somebody has it: the whole way, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster

from herald.core import effects as fx
from herald.core.allocation.inquiries import AT_ONCE, GAP, PROBES, Inquiries
from herald.core.model import SECOND, Block, Condition, Policy, Pool, Service, ServicePort
from herald.core.outbox import Outbox

MAC = bytes.fromhex("02005e000001")
FIRST, SECOND_ONE = "198.51.100.0", "198.51.100.1"
ASKED_AGAIN = 60


def cluster_of(*strangers: str, nodes: int = 2) -> Cluster:
    cluster = Cluster(nodes)
    cluster.strangers = dict.fromkeys(map(ip_address, strangers), MAC)
    cluster.start()
    cluster.run_until(lambda: cluster.api.lease("ipam") is not None, 10)
    return cluster


def allocated(cluster: Cluster, name: str = "web") -> Condition:
    (found,) = (c for c in cluster.get(name).conditions if c.type == "herald.dev/Allocated")
    return found


def told(cluster: Cluster, name: str = "web") -> Callable[[], bool]:
    return lambda: any(c.type == "herald.dev/Allocated" for c in cluster.get(name).conditions)


def probes_for(cluster: Cluster, text: str) -> Callable[[], int]:
    """Count the probes for an address, from now on."""
    count = [0]
    before = cluster.who_has

    def who_has(address: object, asker: object) -> bytes:
        count[0] += address == ip_address(text)
        return before(address, asker)  # type: ignore[arg-type]

    cluster.who_has = who_has  # type: ignore[method-assign, assignment]
    return lambda: count[0]


def test_an_address_that_somebody_answers_for_is_set_aside_and_another_is_tried() -> None:
    cluster = cluster_of(FIRST)
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    assert cluster.get("web").ingress == (SECOND_ONE,)
    assert allocated(cluster).reason == "Allocated"
    assert f"{FIRST} was left: {MAC.hex(':')} answers for it" in allocated(cluster).message
    lease = cluster.api.lease(f"vip-{FIRST}")
    assert lease is not None
    assert lease.annotations["herald.dev/conflict"] == MAC.hex(":")
    assert lease.holder == ""


def test_an_address_that_was_asked_for_is_not_replaced() -> None:
    cluster = cluster_of(FIRST)
    cluster.service("web", annotations={"herald.dev/ips": FIRST})
    cluster.run_until(told(cluster), 5)
    assert cluster.get("web").ingress == ()
    assert allocated(cluster).reason == "AddressConflict"
    assert MAC.hex(":") in allocated(cluster).message


def test_it_is_free_again_by_itself_when_the_stranger_is_gone() -> None:
    cluster = cluster_of(FIRST)
    cluster.service("web", annotations={"herald.dev/ips": FIRST})
    cluster.run_until(told(cluster), 5)
    cluster.run(3 * ASKED_AGAIN)
    assert allocated(cluster).reason == "AddressConflict"
    cluster.strangers.clear()
    cluster.run_until(lambda: cluster.served("web"), ASKED_AGAIN + 5)
    assert cluster.get("web").ingress == (FIRST,)
    assert allocated(cluster).message == f"{FIRST} of pool pool"


def test_the_next_allocator_knows_what_is_set_aside_and_writes_nothing_of_it() -> None:
    cluster = cluster_of(FIRST, nodes=3)
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(5)
    before, message = cluster.get("web"), allocated(cluster).message
    lease = cluster.api.lease(f"vip-{FIRST}")
    was = cluster.allocator()
    cluster.machines[was].power_off()
    cluster.run_until(lambda: cluster.allocator() not in ("", was), 10)
    asked = probes_for(cluster, FIRST)
    cluster.service("other")
    cluster.run_until(lambda: cluster.served("other", "web"), 10)
    assert cluster.get("other").ingress == ("198.51.100.2",)
    assert asked() == 0
    assert allocated(cluster).message == message
    assert cluster.get("web").ingress == before.ingress
    assert cluster.api.lease(f"vip-{FIRST}") == lease


def test_nobody_is_asked_about_an_address_that_is_in_use() -> None:
    """Neither at failover, nor by the next allocator, nor where a record is made again."""
    cluster = cluster_of(nodes=3)
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    asked = probes_for(cluster, FIRST)
    cluster.machines[cluster.holder("web")].power_off()
    cluster.run(5)
    assert cluster.served("web")
    was = cluster.allocator()
    cluster.machines[was].kill()
    cluster.run(15)
    assert cluster.served("web")
    assert cluster.allocator() != was
    assert asked() == 0


def test_nobody_is_asked_where_this_node_would_not_announce() -> None:
    cluster = cluster_of(FIRST)
    cluster.api.remove(Policy, "all")
    asked = probes_for(cluster, FIRST)
    cluster.service("web")
    cluster.run_until(lambda: bool(cluster.get("web").ingress), 5)
    assert cluster.get("web").ingress == (FIRST,)
    assert asked() == 0


def test_an_address_of_a_node_is_not_given_either_not_even_the_allocators_own() -> None:
    cluster = cluster_of()
    for number in (1, 2):
        cluster.service(f"web{number}", annotations={"herald.dev/ips": f"192.0.2.{number}"})
    cluster.api.put(Pool("own", "o", 1, 1, "2026-01-02T00:00:00Z", (Block(cidr="192.0.2.0/30"),)))
    cluster.run(5)
    for number in (1, 2):
        assert allocated(cluster, f"web{number}").reason == "AddressConflict"
        assert cluster.machines[f"n{number}"].interface().mac.hex(":") in (
            allocated(cluster, f"web{number}").message
        )


def test_a_router_that_answers_for_everything_does_not_empty_the_pool() -> None:
    cluster = cluster_of(*(f"198.51.100.{number}" for number in range(256)))
    cluster.service("web")
    cluster.run_until(told(cluster), 120)
    assert allocated(cluster).reason == "AddressConflict"
    assert "proxy ARP" in allocated(cluster).message
    assert len(cluster.vip_leases(aside=True)) == 64
    assert cluster.vip_leases() == set()
    cluster.strangers.clear()
    cluster.run_until(lambda: cluster.served("web"), ASKED_AGAIN + 10)


def test_a_service_that_goes_while_its_address_is_asked_about_leaves_nothing() -> None:
    cluster = cluster_of()
    cluster.service("web")
    cluster.run(0.3)
    cluster.api.remove(Service, ("default", "web"))
    cluster.run(5)
    assert cluster.vip_leases() | cluster.vip_leases(aside=True) == set()


def test_partners_are_asked_for_once() -> None:
    cluster = cluster_of()
    asked = probes_for(cluster, FIRST)
    for port in range(5):
        cluster.service(
            f"web{port}",
            annotations={"herald.dev/sharing-key": "k"},
            ports=(ServicePort("TCP", port + 1),),
        )
    cluster.run_until(lambda: cluster.served(*(f"web{port}" for port in range(5))), 5)
    assert {cluster.get(f"web{port}").ingress for port in range(5)} == {(FIRST,)}
    assert asked() == PROBES


# --- The questions themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "nobody"), [(FIRST, "0.0.0.0"), ("2001:db8::1", "::")])
def test_three_probes_from_nobody_and_then_silence_means_free(text: str, nobody: str) -> None:
    out = Outbox()
    inquiries = Inquiries(out)
    address = ip_address(text)
    inquiries.ask(address, {2: MAC, 3: MAC})
    for number in range(PROBES):
        assert inquiries.verdicts(SECOND + number * GAP) == []
        assert inquiries.verdicts(SECOND + number * GAP + 1) == []
        (effect,) = out.drain()
        wanted = [fx.Probe(index, MAC, ip_address(nobody), address) for index in (2, 3)]
        assert effect == fx.SendProbes(tuple(wanted))
    assert inquiries.next_deadline() == SECOND + PROBES * GAP
    assert inquiries.verdicts(SECOND + PROBES * GAP) == [(address, None)]
    assert inquiries.next_deadline() is None
    assert out.drain() == []


def test_an_answer_ends_it_at_once_and_one_that_nobody_asked_for_is_nothing() -> None:
    inquiries = Inquiries(Outbox())
    address = ip_address(FIRST)
    inquiries.ask(address, {2: MAC})
    inquiries.heard(address, MAC)
    assert inquiries.verdicts(SECOND) == []
    inquiries.heard(ip_address(SECOND_ONE), MAC)
    inquiries.heard(address, MAC)
    inquiries.heard(address, b"later")
    assert inquiries.verdicts(SECOND + 1) == [(address, MAC)]
    assert inquiries.verdicts(10 * SECOND) == []


def test_a_burst_is_asked_about_in_turns() -> None:
    out = Outbox()
    inquiries = Inquiries(out)
    many = [ip_address("10.0.0.0") + number for number in range(2 * AT_ONCE + 1)]
    for address in many:
        inquiries.ask(address, {2: MAC})
    now, found, most = SECOND, [], 0
    while (due := inquiries.next_deadline()) is not None:
        now = max(now, due)
        found += [address for address, _ in inquiries.verdicts(now)]
        most = max(
            most, sum(len(each.probes) for each in out.drain() if isinstance(each, fx.SendProbes))
        )
    assert found == many
    assert most == AT_ONCE
    assert now - SECOND == 3 * PROBES * GAP
