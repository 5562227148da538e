# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Before an address is first given the segment is asked whether somebody has it: the whole way, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.sim.cluster import Cluster

from herald.core import effects as fx
from herald.core.allocation.inquiries import AT_ONCE, LIMIT, Inquiries
from herald.core.events import AddressProbed, InterfacesSeen
from herald.core.model import (
    SECOND,
    Block,
    Condition,
    Interface,
    Policy,
    Pool,
    Service,
    ServicePort,
)
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
    asked_for = "asked for by herald.dev/ips"
    assert allocated(cluster).message == f"{FIRST} of pool pool, {asked_for}"


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
    probes = probes_for(cluster, FIRST)
    cluster.service("other")
    cluster.run_until(lambda: cluster.served("other", "web"), 10)
    assert cluster.get("other").ingress == ("198.51.100.2",)
    assert probes() == 0
    assert allocated(cluster).message == message
    assert cluster.get("web").ingress == before.ingress
    assert cluster.api.lease(f"vip-{FIRST}") == lease


def test_nobody_is_asked_about_an_address_that_is_in_use() -> None:
    """Neither at failover, nor by the next allocator, nor where a record is made again."""
    cluster = cluster_of(nodes=3)
    cluster.service("web")
    cluster.run_until(lambda: cluster.served("web"), 5)
    cluster.run(3)
    probes = probes_for(cluster, FIRST)
    cluster.machines[cluster.holder("web")].power_off()
    cluster.run(5)
    assert cluster.served("web")
    was = cluster.allocator()
    cluster.machines[was].kill()
    cluster.run(15)
    assert cluster.served("web")
    assert cluster.allocator() != was
    assert probes() == 0


def test_nobody_is_asked_where_this_node_would_not_announce() -> None:
    cluster = cluster_of(FIRST)
    cluster.api.remove(Policy, "all")
    cluster.run(0.1)
    probes = probes_for(cluster, FIRST)
    cluster.service("web")
    cluster.run_until(lambda: bool(cluster.get("web").ingress), 5)
    assert cluster.get("web").ingress == (FIRST,)
    assert probes() == 0


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
    cluster.run_until(told(cluster), 60)
    assert allocated(cluster).reason == "AddressConflict"
    assert "proxy ARP" in allocated(cluster).message
    assert len(cluster.vip_leases(aside=True)) == 64
    assert cluster.vip_leases() == set()
    cluster.strangers.clear()
    cluster.run_until(lambda: cluster.served("web"), ASKED_AGAIN + 10)


@pytest.mark.parametrize("where", ["on another node", "on another device of the node"])
def test_that_the_cluster_itself_asks_for_an_address_is_no_claim(where: str) -> None:
    cluster = cluster_of()
    cluster.run(3)
    machine = cluster.machines[cluster.allocator()]
    if where == "on another node":
        (other,) = (each for each in cluster.machines.values() if each is not machine)
        mac = other.interface().mac
    else:
        mac = bytes([2, 0, 0, 1, 0, 0])
        eth1 = Interface(3, "eth1", mac, up=True, carrier=True)
        machine.post(InterfacesSeen((machine.interface(), eth1)))
    cluster.askers = {ip_address(FIRST): mac, ip_address(SECOND_ONE): MAC}
    for name in ("web", "other"):
        cluster.service(name)
    cluster.run_until(lambda: cluster.served("web", "other"), 10)
    assert cluster.vip_leases(aside=True) == {f"vip-{SECOND_ONE}"}


def test_a_service_that_goes_while_its_address_is_asked_about_leaves_nothing() -> None:
    cluster = cluster_of()
    cluster.service("web")
    cluster.run(0.3)
    cluster.api.remove(Service, ("default", "web"))
    cluster.run(5)
    assert cluster.vip_leases() | cluster.vip_leases(aside=True) == set()


def test_partners_are_asked_for_once() -> None:
    cluster = cluster_of()
    probes = probes_for(cluster, FIRST)
    for port in range(5):
        cluster.service(
            f"web{port}",
            annotations={"herald.dev/sharing-key": "k"},
            ports=(ServicePort("TCP", port + 1),),
        )
    cluster.run_until(lambda: cluster.served(*(f"web{port}" for port in range(5))), 5)
    assert {cluster.get(f"web{port}").ingress for port in range(5)} == {(FIRST,)}
    assert probes() == 1


# --- The questions themselves --------------------------------------------------------------------------

ADDRESS = ip_address(FIRST)
KIN = frozenset(["02:00:00:00:00:0a"])


def asked(out: Outbox) -> list[tuple[int, int]]:
    """Ids and devices of the questions that were just put."""
    return [(each.id, each.ifindex) for each in out.drain() if isinstance(each, fx.ProbeAddress)]


def test_every_segment_is_asked_and_silence_on_all_means_free() -> None:
    out = Outbox()
    inquiries = Inquiries(out, lambda: KIN)
    inquiries.ask(ADDRESS, {3, 2})
    assert inquiries.next_deadline() == 0
    assert inquiries.verdicts(SECOND) == []
    (one, two), devices = zip(*asked(out), strict=True)
    assert devices == (2, 3)
    inquiries.answer(AddressProbed(one, None))
    assert inquiries.verdicts(SECOND) == []
    inquiries.answer(AddressProbed(two, None, "Network is down"))
    assert [each.event for each in out.drain() if isinstance(each, fx.Note)] == [
        "segment not asked"
    ]
    assert inquiries.verdicts(SECOND) == [(ADDRESS, None)]
    assert inquiries.next_deadline() is None


def test_one_answer_settles_it_and_what_comes_later_is_nothing() -> None:
    out = Outbox()
    inquiries = Inquiries(out, lambda: KIN)
    inquiries.ask(ADDRESS, {2, 3})
    inquiries.verdicts(SECOND)
    (one, _), (two, _) = asked(out)
    inquiries.answer(AddressProbed(two, MAC))
    inquiries.answer(AddressProbed(one, b"later"))
    inquiries.answer(AddressProbed(77, MAC))
    assert inquiries.verdicts(SECOND) == [(ADDRESS, MAC)]
    assert inquiries.verdicts(SECOND) == []


def test_an_answer_that_never_comes_is_not_waited_for_for_ever() -> None:
    inquiries = Inquiries(Outbox(), lambda: KIN)
    inquiries.ask(ADDRESS, {2})
    assert inquiries.verdicts(SECOND) == []
    due = inquiries.next_deadline()
    assert due == SECOND + LIMIT
    assert inquiries.verdicts(due - 1) == []
    assert inquiries.verdicts(due) == [(ADDRESS, None)]


def test_questions_that_are_forgotten_are_called_off() -> None:
    out = Outbox()
    inquiries = Inquiries(out, lambda: KIN)
    inquiries.clear()
    assert out.drain() == []
    inquiries.ask(ADDRESS, {2, 3})
    inquiries.verdicts(SECOND)
    numbers = frozenset(number for number, _ in asked(out))
    inquiries.clear()
    assert out.drain() == [fx.CancelProbes(numbers)]
    for number in numbers:
        inquiries.answer(AddressProbed(number, MAC))
    assert inquiries.verdicts(SECOND) == []


def test_a_burst_is_asked_about_in_turns() -> None:
    out = Outbox()
    inquiries = Inquiries(out, lambda: KIN)
    many = [ip_address("10.0.0.0") + number for number in range(2 * AT_ONCE + 1)]
    for address in many:
        inquiries.ask(address, {2})
    found, turns = [], []
    while inquiries.next_deadline() is not None:
        found += [address for address, _ in inquiries.verdicts(SECOND)]
        turns.append(asked(out))
        for number, _ in turns[-1]:
            inquiries.answer(AddressProbed(number, None))
    assert found == many
    assert [len(turn) for turn in turns] == [AT_ONCE, AT_ONCE, 1, 0]
