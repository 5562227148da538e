# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What an allocator makes of external addresses: whom their leases name, and what of them it tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.core.alone import VIP, VIP_LEASE, Alone, joined, peer, service

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.allocation import externals
from herald.core.allocation.externals import Externals
from herald.core.allocation.sharing import SHARERS_MAX
from herald.core.leases import (
    EPOCH,
    EXTERNAL,
    POOL,
    REASON,
    SERVICES,
    Presence,
    external_to,
    services_text,
)
from herald.core.model import IPAM_LEASE, SECOND, Lease, Policy, Service


def allocating(*others: Lease) -> Alone:
    """An allocator, a policy that has external addresses announced, and Services of all types are listed."""
    alone = joined(*others, allocates=True)
    alone.post(ev.Changed(Policy("all", "p", 2, 2, load_balancer_ips=True, external_ips=True)))
    alone.post(ev.Listed(Service, ()))
    alone.live(SECOND)
    return alone


def external(name: str) -> Service:
    return service(
        name=name, uid=f"uid-{name}", type="ClusterIP", ingress=(), external_ips=(str(VIP),)
    )


def test_a_lease_that_names_as_many_as_it_can_is_within_the_api_server_s_limits() -> None:
    """Else it would be refused for ever, and with it whatever else is to be written of the address."""
    wanted = Externals()
    for number in range(3000):
        wanted.put(("n" * 63, f"{number:063}"), {VIP})
    annotations = {
        SERVICES: services_text([("n" * 63, "s" * 63)] * SHARERS_MAX),
        EXTERNAL: services_text(wanted.named(VIP, ())),
        POOL: "p" * 253,
        EPOCH: f"{'u' * 36}/{2**31}",
        REASON: "node " + "n" * 253,
    }
    size = sum(map(len, (*annotations, *annotations.values())))
    assert size < 253 * 1024 < 256 * 1024


def test_whom_a_lease_names_stays_and_the_next_by_name_follows_who_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has another's say taken away by naming the address, too."""
    monkeypatch.setattr(externals, "NAMED_MAX", 2)
    alone = allocating()

    def named(*changes: ev.Event) -> list[str]:
        alone.post(*changes)
        alone.live(5 * SECOND)
        return [name for _, name in external_to(alone.store[VIP_LEASE])]

    assert named(ev.Changed(external("d"))) == ["d"]
    assert named(ev.Changed(external("c"))) == ["c", "d"]
    alone.done.clear()
    assert named(ev.Changed(external("b")), ev.Changed(external("a"))) == ["c", "d"]
    assert not [each for each in alone.effects(fx.LeaseRequest) if each.lease.name == VIP_LEASE]
    assert named(ev.Removed(Service, ("default", "c"))) == ["a", "d"]
    left = replace(external("d"), resource_version=6, external_ips=())
    assert named(ev.Changed(left)) == ["a", "b"]


def test_a_lease_that_names_more_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent of before wrote it, or somebody by hand."""
    alone = allocating()
    alone.post(*(ev.Changed(external(name)) for name in "abc"))
    alone.live(SECOND)
    assert len(external_to(alone.store[VIP_LEASE])) == 3
    monkeypatch.setattr(externals, "NAMED_MAX", 2)
    alone.post(ev.Changed(external("d")))
    alone.live(SECOND)
    assert external_to(alone.store[VIP_LEASE]) == (("default", "a"), ("default", "b"))


def test_what_of_them_is_no_address_is_not_told_again_by_the_next_allocator() -> None:
    """Of a Service of any type, as far as its lease or condition says that one before knew it."""
    other = peer("n2", 2, duration=5 * SECOND)
    alone = allocating(other)
    odd = [
        replace(external(name), external_ips=(text, "010.0.0.1"), type=kind)
        for name, kind, text in (("a", "ClusterIP", str(VIP)), ("b", "LoadBalancer", ""))
    ]
    alone.post(*map(ev.Changed, odd))
    alone.live(2 * SECOND)

    def told() -> list[str]:
        why = "wanted an IPv4 or IPv6 address, found '010.0.0.1'"
        return sorted(
            each.service[1] for each in alone.effects(fx.EmitEvent) if each.message.endswith(why)
        )

    assert told() == ["a", "b"]
    alone.show(
        replace(
            alone.store[IPAM_LEASE], holder="n2", annotations={EPOCH: str(Presence(other).epoch)}
        )
    )
    alone.live(SECOND)
    assert not alone.agent._allocator.active
    alone.live(10 * SECOND)
    assert alone.agent._allocator.active
    assert told() == ["a", "b"]
