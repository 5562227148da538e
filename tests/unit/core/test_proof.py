# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a node that has just begun proves first, and what keeps a node from announcing that its own kernel knows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, ip_address

import pytest
from tests.unit.core.alone import (
    ETH0,
    PRESENCE_LEASE,
    VIP,
    VIP_LEASE,
    Alone,
    holding,
    joined,
    node,
    peer,
    service,
)

from herald.core.effects import Finish, Note, SetAttachments
from herald.core.events import ApiTimed, Changed, InterfacesSeen, Listed, ProxySeen, Stop
from herald.core.kernel import EntryKey
from herald.core.leases import Presence
from herald.core.model import MILLISECOND, SECOND, Endpoints, Interface, Node
from herald.core.settings import Settings

LO = Interface(1, "lo", b"", up=True, carrier=True, addresses=(IPv4Interface("127.0.0.1/8"),))
ETH1 = replace(
    ETH0,
    index=3,
    name="eth1",
    mac=bytes.fromhex("020000000011"),
    addresses=(IPv4Interface("203.0.113.1/24"),),
)
IPVS0 = Interface(
    9, "kube-ipvs0", bytes.fromhex("020000000009"), up=False, carrier=False, kind="dummy"
)


def said(alone: Alone) -> Presence:
    """What its presence says to the others."""
    alone.live(100 * MILLISECOND)
    return Presence(alone.store[PRESENCE_LEASE])


def gone_on(before: Alone, settings: Settings) -> Alone:
    """The next process on the same machine, which has renewed once."""
    after = Alone(
        settings,
        session=before.session,
        entries=before.entries,
        identity=replace(before.agent._presence._identity, nonce="nonce-2"),
    )
    after.now, after.store, after.version = before.now, before.store, before.version
    after.serve()
    return after


def test_a_node_with_nobody_to_ask_is_proven_as_soon_as_all_is_listed() -> None:
    alone = Alone()
    alone.post(Listed(Node, (node("n1"),)))
    alone.serve()
    assert said(alone).report.unproven != ""
    alone.learn()
    assert said(alone).report.unproven == ""


def test_a_node_asks_its_segment_first() -> None:
    alone = Alone()
    alone.neighbours = False
    alone.learn(peer("n2", 2))
    assert said(alone).report.unproven == "its segment is being asked"
    alone.live(SECOND)
    assert said(alone).report.unproven == "its segment is being asked"
    # Nobody answers: that is known after 1.5 s, and has a condition of its own.
    alone.live(SECOND)
    assert said(alone).report.unproven == ""
    assert said(alone).report.interfaces[0].heard is False


def test_a_node_without_carrier_has_proven_nothing() -> None:
    alone = Alone()
    alone.post(Listed(Node, (node("n1"),)))
    alone.serve()
    alone.post(InterfacesSeen((replace(ETH0, carrier=False),)))
    assert said(alone).report.unproven == "no device has carrier"


def test_a_node_waits_for_a_kube_proxy_that_is_not_healthy() -> None:
    alone = joined(settings=Settings(await_proxy=True))
    assert said(alone).report.unproven == "kube-proxy's health port has not been asked"
    alone.post(ProxySeen("port 10256 says 503"))
    assert said(alone).report.unproven == "kube-proxy is not healthy: port 10256 says 503"
    assert alone.agent.status(alone.now).problems == (
        "it has just begun and is given no address yet: kube-proxy is not healthy: port 10256 says 503",
    )
    alone.post(ProxySeen(""))
    assert said(alone).report.unproven == ""
    assert alone.agent.status(alone.now).problems == ()
    # What fails later is no reason to move everything.
    alone.post(ProxySeen("port 10256 says 503"))
    assert said(alone).report.unproven == ""


def test_a_node_waits_until_the_api_server_is_timed() -> None:
    alone = joined(settings=Settings(await_timing=True))
    assert said(alone).report.unproven == "the API server is being timed"
    alone.post(ApiTimed(3 * MILLISECOND))
    assert said(alone).report.unproven == ""


TOO_SLOW = ApiTimed(700 * MILLISECOND, Stop(75, "wanted 2800 at least"))


def test_a_node_that_has_just_begun_ends_where_the_api_server_is_too_slow() -> None:
    alone = joined(settings=Settings(await_timing=True))
    alone.post(TOO_SLOW)
    alone.live(SECOND)
    assert alone.effects(Finish) == [Finish(75, "wanted 2800 at least")]


def test_an_agent_that_goes_on_in_its_epoch_does_not_end_for_a_slow_api_server() -> None:
    after = gone_on(holding(), Settings(on_api_loss="Withdraw", await_timing=True))
    # Before anything but its first renewal: it has not even seen its devices.
    after.post(TOO_SLOW)
    after.learn(services=(service(),))
    after.live(2 * SECOND)
    assert after.held
    assert said(after).report.draining is False
    assert not after.effects(Finish)
    (note,) = [note for note in after.effects(Note) if note.event == "api slow"]
    assert note.fields["reason"] == "wanted 2800 at least"


def test_who_goes_on_in_the_epoch_of_an_agent_that_had_proven_nothing_ends_all_the_same() -> None:
    settings = Settings(on_api_loss="Withdraw", await_timing=True)
    after = gone_on(joined(settings=settings), settings)
    after.post(TOO_SLOW)
    after.learn()
    after.live(SECOND)
    assert after.effects(Finish) == [Finish(75, "wanted 2800 at least")]


def test_an_unproven_node_is_given_nothing_and_the_condition_says_why() -> None:
    alone = joined(settings=Settings(await_proxy=True))
    alone.post(ProxySeen("port 10256 says 503"))
    alone.post(Changed(service()), Changed(alone.given()))
    alone.live(SECOND)
    assert not alone.held
    lock = alone.agent._locks.get(VIP_LEASE)
    assert lock is not None
    assert lock.placement.why_not["n1"] == (
        "it has just begun: kube-proxy is not healthy: port 10256 says 503"
    )
    alone.post(ProxySeen(""))
    alone.live(SECOND)
    assert alone.held


def test_an_agent_that_goes_on_in_its_epoch_has_nothing_to_prove() -> None:
    before = holding()
    after = gone_on(before, Settings(on_api_loss="Withdraw", await_proxy=True))
    after.learn(services=(service(),))
    assert said(after).report.unproven == ""
    assert after.entries == before.entries


# --- the responder ---------------------------------------------------------------------------------------


def test_an_interface_that_the_responder_cannot_be_attached_to_announces_nothing() -> None:
    alone = holding()
    alone.post(alone.attached({2: "EBUSY"}))
    alone.live(SECOND)
    assert not alone.held
    assert said(alone).report.interfaces[0].refused == "EBUSY"
    lease = alone.store[VIP_LEASE]
    assert lease.holder == ""
    assert (
        "the responder cannot be attached to eth0: EBUSY" in lease.annotations["herald.dev/reason"]
    )


def test_it_announces_again_once_it_is_attached() -> None:
    alone = holding()
    alone.post(alone.attached({2: "EBUSY"}))
    alone.live(SECOND)
    alone.post(alone.attached())
    alone.live(6 * SECOND)
    assert alone.held


def waits(alone: Alone) -> None:
    """Whoever attaches the responder waits for the kernel's lock."""
    alone.keeps_back = lambda effect: isinstance(effect, SetAttachments)


def test_a_node_is_given_nothing_before_it_is_known_where_it_can_answer() -> None:
    alone = Alone()
    waits(alone)
    alone.learn(services=(service(),))
    alone.post(Changed(alone.given()))
    alone.live(3 * SECOND)
    assert not alone.held
    assert said(alone).report.unproven == "its devices have not been seen"
    assert alone.agent.status(alone.now).problems == ("not listed yet: this node's interfaces",)
    alone.confirm()
    alone.live(SECOND)
    assert alone.held


def test_a_device_is_announced_on_once_it_bears_the_responder() -> None:
    alone = holding()
    waits(alone)
    alone.post(InterfacesSeen((ETH0, ETH1)))
    alone.live(SECOND)
    assert set(alone.entries) == {EntryKey(VIP, 2)}
    assert said(alone).report.interfaces[1].refused == "its turn has not come"
    alone.confirm()
    alone.live(SECOND)
    assert set(alone.entries) == {EntryKey(VIP, 2), EntryKey(VIP, 3)}


def test_an_agent_that_goes_on_in_its_epoch_goes_on_while_that_is_not_known() -> None:
    before = holding()
    after = gone_on(before, Settings(on_api_loss="Withdraw"))
    waits(after)
    after.learn(services=(service(),))
    after.live(5 * SECOND)
    assert after.entries == before.entries
    assert said(after).report == said(before).report
    after.confirm()
    after.live(SECOND)
    assert after.entries == before.entries


def test_what_became_of_an_older_wish_is_no_news() -> None:
    alone = holding()
    older = replace(alone.attached(), attached=frozenset(), refused={2: "EBUSY"})
    alone.post(InterfacesSeen((ETH0, ETH1)))
    alone.post(older)
    alone.live(SECOND)
    assert alone.held
    assert said(alone).report.interfaces[0].refused == ""


# --- its own kernel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "arp_ignore", "reason"),
    [
        ((ETH0, LO), False, ""),
        ((ETH0, IPVS0), True, ""),
        ((ETH0, IPVS0), False, "kube-proxy in ipvs mode needs strictARP (kube-ipvs0)"),
        (
            (ETH0, replace(LO, addresses=(IPv4Interface(f"{VIP}/32"),))),
            False,
            "its own interface lo has the address",
        ),
        ((ETH0, replace(LO, addresses=(IPv4Interface(f"{VIP}/32"),))), True, ""),
        (
            (replace(ETH0, addresses=(*ETH0.addresses, IPv4Interface(f"{VIP}/32"))),),
            True,
            "its own interface eth0 has the address",
        ),
    ],
    ids=["plain", "strictARP", "ipvs", "on lo", "on lo, ignored", "on eth0"],
)
def test_an_address_that_the_nodes_own_kernel_answers_for(
    devices: tuple[Interface, ...], arp_ignore: bool, reason: str
) -> None:
    alone = holding()
    alone.post(InterfacesSeen(devices, arp_ignore))
    alone.live(SECOND)
    assert alone.held is (reason == "")
    assert reason in alone.store[VIP_LEASE].annotations["herald.dev/reason"]


def test_the_addresses_of_kube_ipvs0_are_not_told_one_by_one() -> None:
    alone = joined()
    many = tuple(IPv4Interface((ip_address("10.96.0.0") + i, 32)) for i in range(5000))
    alone.post(InterfacesSeen((ETH0, replace(IPVS0, addresses=many))))
    assert len(said(alone).lease.annotations["herald.dev/presence"]) < 1000
    assert said(alone).report.ipvs == "kube-ipvs0"


# --- told to stop ----------------------------------------------------------------------------------------


def test_a_reason_not_to_run_is_the_exit_status_and_what_people_read() -> None:
    alone = holding()
    alone.post(Stop(78, "lease.duration_ms: wanted 4000 at least, found 2000"))
    alone.live(SECOND)
    assert not alone.entries
    assert alone.store[PRESENCE_LEASE].holder == ""
    finish = alone.done[-1]
    assert (finish.status, finish.reason[:17]) == (78, "lease.duration_ms")  # type: ignore[attr-defined]


# --- externalTrafficPolicy: Local --------------------------------------------------------------------------


def local(*slices: Endpoints) -> Alone:
    alone = joined(peer("n2", 2))
    alone.post(Changed(service(external_traffic_policy="Local")), Changed(alone.given()))
    alone.post(*map(Changed, slices))
    alone.live(SECOND)
    return alone


def ends(name: str, ready: str = "", ending: str = "") -> Endpoints:
    return Endpoints("default", name, "web", frozenset(ready.split()), frozenset(ending.split()))


@pytest.mark.parametrize(
    ("slices", "held"),
    [
        ([], False),
        ([ends("a", ready="n1")], True),
        ([ends("a", ready="n2")], False),
        ([ends("a", ready="n2"), ends("b", ready="n1")], True),
        ([ends("a", ending="n1")], True),
        ([ends("a", ending="n1"), ends("b", ready="n2")], False),
        # No agent lives on n3: its endpoint helps nobody here.
        ([ends("a", ending="n1"), ends("b", ready="n3")], True),
    ],
    ids=[
        "none",
        "here",
        "there",
        "both",
        "only ending",
        "ending, ready there",
        "ready where nobody can",
    ],
)
def test_a_local_service_is_announced_where_its_traffic_is_served(
    slices: list[Endpoints], held: bool
) -> None:
    assert local(*slices).held is held


def test_a_local_service_moves_once_its_endpoint_ends_and_another_is_ready() -> None:
    alone = local(ends("a", ready="n1"))
    assert alone.held
    alone.post(Changed(ends("a", ending="n1", ready="n2")))
    alone.live(100 * MILLISECOND)
    assert not alone.held
    reason = alone.store[VIP_LEASE].annotations["herald.dev/reason"]
    assert reason == "n1: externalTrafficPolicy is Local and it has no ready endpoint"
