# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands in Leases: names, epochs, reports; whatever somebody writes there, a value comes out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herald.core.leases import (
    CONFLICT,
    DURATION,
    EPOCH,
    INSTANCE,
    POOL,
    PRESENCE,
    SERVICES,
    Epoch,
    Given,
    Presence,
    PresenceInterface,
    PresenceReport,
    claimed,
    compact,
    held_by,
    pool_of,
    presence_lease,
    released,
    services_of,
    services_text,
    stranger_of,
)
from herald.core.model import (
    FINALIZER,
    SECOND,
    Identity,
    Lease,
    Owner,
    node_key,
    presence_lease_name,
    vip_address,
    vip_lease_name,
)

IDENTITY = Identity("n1", "machine", "nonce", "0.1.0")
REPORT = PresenceReport(
    "n1",
    "0.1.0",
    draining=True,
    interfaces=(
        PresenceInterface(
            "eth0",
            "02:00:00:00:00:01",
            up=True,
            carrier=False,
            plumbing=False,
            addresses=(IPv4Interface("192.0.2.1/24"), IPv6Interface("2001:db8::1/64")),
            heard=None,
        ),
    ),
)
EPOCH_1 = Epoch("uid-1", 3)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "vip-192.0.2.7"),
        ("2001:db8::7", "vip-2001-0db8-0000-0000-0000-0000-0000-0007"),
    ],
)
def test_an_address_and_its_lease_name_are_one_to_one(address: str, name: str) -> None:
    assert vip_lease_name(ip_address(address)) == name
    assert vip_address(name) == ip_address(address)


@pytest.mark.parametrize(
    "name",
    [
        "vip-",
        "vip-fe80-0000-0000-0000-0000-0000-0000-0001%eth0",
        "vip-192.0.2.07",
        "vip-2001-db8--7",
        "vip-banana",
        "ipam",
        "presence-192.0.2.7",
        "",
    ],
)
def test_a_name_that_stands_for_no_address_is_none(name: str) -> None:
    assert vip_address(name) is None


@given(st.text(max_size=60))
def test_no_lease_name_is_an_error(name: str) -> None:
    address = vip_address("vip-" + name)
    assert address is None or vip_lease_name(address) == "vip-" + name


def test_node_keys_are_names_that_fit_and_differ() -> None:
    long, other = "n" * 253, "n" * 252 + "m"
    assert node_key("n" * 200) == "n" * 200
    assert len(presence_lease_name(long)) == len("presence-") + 200
    assert node_key(long) != node_key(other)


def test_a_presence_says_what_was_written() -> None:
    lease = presence_lease(
        Lease("presence-n1"), IDENTITY, REPORT, 2_500_000_000, Owner("n1", "uid")
    )
    presence = Presence(lease)
    assert presence.report == REPORT
    assert (presence.machine, presence.nonce) == ("machine", "nonce")
    assert presence.duration(0) == 2_500_000_000
    assert presence.alive
    assert lease.duration_seconds == 3
    assert lease.finalizers == (FINALIZER,)
    assert lease.owners == (Owner("n1", "uid"),)


OTHER = Owner("a", "w", "apps/v1", "Deployment")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), (Owner("n1", "uid"),)),
        ((Owner("n1", "earlier"),), (Owner("n1", "uid"),)),
        ((OTHER, Owner("n1", "earlier")), (OTHER, Owner("n1", "uid"))),
        ((Owner("n2", "v"),), (Owner("n2", "v"), Owner("n1", "uid"))),
        (
            (Owner("n1", "uid", block_owner_deletion=True), OTHER),
            (Owner("n1", "uid", block_owner_deletion=True), OTHER),
        ),
    ],
    ids=["none", "the node as it was", "another besides", "another node", "the very one"],
)
def test_a_presence_is_owned_by_its_node_besides_what_others_named(before, after) -> None:
    base = Lease("presence-n1", owners=before)
    assert presence_lease(base, IDENTITY, REPORT, SECOND, Owner("n1", "uid")).owners == after
    assert presence_lease(base, IDENTITY, REPORT, SECOND, None).owners == before


def test_a_fenced_presence_is_not_alive() -> None:
    lease = presence_lease(Lease("presence-n1"), IDENTITY, REPORT, SECOND, None)
    assert not Presence(replace(lease, holder="")).alive
    assert not Presence(replace(lease, holder="somebody")).alive


@pytest.mark.parametrize("text", ["", "-5", "1e9", "٣", "99999999999999999999", "2000.5"])
def test_a_duration_that_is_garbage_is_the_default(text: str) -> None:
    lease = Lease("presence-n1", annotations={DURATION: text})
    assert Presence(lease).duration(2 * SECOND) == 2 * SECOND


@pytest.mark.parametrize("text", ["garbage", "99999999999"])
def test_nobody_waits_for_a_presence_for_longer_than_an_hour(text: str) -> None:
    """``leaseDurationSeconds`` takes 68 years, and what nobody renews nobody corrects."""
    lease = Lease("presence-n1", duration_seconds=2**31 - 1, annotations={DURATION: text})
    assert Presence(lease).duration(2 * SECOND) == 3600 * SECOND


@given(st.text(), st.text(), st.text())
def test_garbage_in_a_presence_is_read_as_absence(report: str, instance: str, epoch: str) -> None:
    annotations = {PRESENCE: report, INSTANCE: instance, EPOCH: epoch, SERVICES: report}
    lease = Lease("presence-n1", holder="n1", annotations=annotations)
    presence = Presence(lease)
    assert isinstance(presence.node, str)
    assert isinstance(presence.report.interfaces, tuple)
    held_by(lease)
    services_of(lease)


@pytest.mark.parametrize(
    "report",
    [
        "[" * 100_000,
        '{"node": 5, "interfaces": [1, {"name": 3}, {"name": "a", "mac": "b", "addresses": [7]}]}',
        '{"interfaces": {"a": 1}}',
        "null",
        '{"node": "%s"}' % (r"\ud800" * 201),
    ],
)
def test_a_report_of_another_shape_keeps_what_is_sound(report: str) -> None:
    presence = Presence(Lease("presence-n1", annotations={PRESENCE: report}))
    assert presence.node == "n1"
    assert all(not interface.addresses for interface in presence.report.interfaces)


def test_the_epoch_decides_who_holds_not_the_name() -> None:
    lease = claimed(Lease("vip-192.0.2.7"), "n1", EPOCH_1, "first announcement")
    assert held_by(lease) == EPOCH_1
    assert held_by(replace(lease, holder="")) == EPOCH_1
    assert held_by(released(lease, "draining")) is None


def test_a_claim_counts_a_transition_only_when_the_holder_changes() -> None:
    first = claimed(Lease("vip-192.0.2.7"), "n1", EPOCH_1, "")
    again = claimed(first, "n1", EPOCH_1, "")
    other = claimed(again, "n2", Epoch("uid-2", 0), "")
    assert [lease.transitions for lease in (first, again, other)] == [1, 1, 2]


THEN = "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(("before", "since"), [("n1", THEN), ("n2", ""), ("", "")])
def test_since_when_it_is_held_begins_with_a_holder_and_stays_with_it(before, since) -> None:
    lease = Lease("x", holder=before, acquired=THEN)
    assert claimed(lease, "n1", EPOCH_1, "").acquired == since
    assert presence_lease(lease, IDENTITY, REPORT, SECOND, None).acquired == since


@pytest.mark.parametrize("text", ["", "uid", "uid/", "/3", "uid/x", "uid/-1", "uid/٣"])
def test_an_epoch_that_cannot_be_read_is_none(text: str) -> None:
    assert Epoch.parse(text) is None


@pytest.mark.parametrize(
    "text",
    ["default/web/status", "default/..", "../nodes", "a/b?c", "A/b", "a/☃", "a/b c", "a/\ud800"],
)
def test_what_no_service_can_be_called_is_none(text: str) -> None:
    """It would be asked for at a path that is another's."""
    lease = Lease("vip-192.0.2.7", annotations={SERVICES: f"default/web,{text}"})
    assert services_of(lease) == (("default", "web"),)


@pytest.mark.parametrize("text", ["p; 192.0.2.9 of pool q", "Pool", "☃", "p,", "p" * 254])
def test_what_no_pool_can_be_called_is_none(text: str) -> None:
    """A condition that names it would say something else when it is read again."""
    assert pool_of(Lease("vip-192.0.2.7", annotations={POOL: text})) == ""
    assert pool_of(Lease("vip-192.0.2.7", annotations={POOL: "p" * 253})) == "p" * 253


@pytest.mark.parametrize("text", ["", "garbage", "02:00:00:00:00:0A", "02-00-00-00-00-01", "☃"])
def test_an_address_is_set_aside_by_a_mac_alone(text: str) -> None:
    assert stranger_of(Lease("vip-192.0.2.7", annotations={CONFLICT: text})) == ""
    mac = "02:00:00:00:00:0a"
    assert stranger_of(Lease("vip-192.0.2.7", annotations={CONFLICT: mac})) == mac


def test_services_are_written_in_order_and_read_back() -> None:
    services = ("a", "y"), ("b", "x")
    assert services_text(reversed(services)) == "a/y,b/x"
    lease = Lease("vip-192.0.2.7", annotations={SERVICES: " b/x, a/y,broken,/,c/,b/x"})
    assert services_of(lease) == services


_SPELLED = st.lists(st.sampled_from(["a/x", "a/y", "b/x", " a/x", "", "A/x", "a/x/y", "☃"])).map(
    ",".join
)


@given(
    st.fixed_dictionaries(
        {}, optional={SERVICES: _SPELLED, POOL: st.sampled_from("pq"), "other": st.text()}
    )
)
def test_annotations_say_the_same_however_they_are_kept(said: dict[str, str]) -> None:
    kept = compact(said)
    assert dict(kept) == said
    assert kept == said
    assert said == kept
    assert compact(kept) == kept == compact(dict(kept))
    assert repr(kept) == repr(dict(kept))
    assert len(kept) == len(said)
    plain, lease = (Lease("vip-192.0.2.7", annotations=each) for each in (said, kept))
    assert lease == plain
    assert services_of(lease) == services_of(plain)
    assert released(claimed(lease, "n1", EPOCH_1, ""), "") == released(
        claimed(plain, "n1", EPOCH_1, ""), ""
    )
    for name in (SERVICES, POOL, "other"):
        other = {**said, name: "c/z"}
        assert (compact(other) == kept) is (other == said)


def test_leases_as_herald_writes_them_have_all_but_their_services_in_common() -> None:
    said = {POOL: "p", EPOCH: str(EPOCH_1), SERVICES: "a/x,b/y"}
    one, other = compact(said), compact(said | {SERVICES: "a/z"})
    assert isinstance(one, Given)
    assert isinstance(other, Given)
    assert one._others is other._others
    assert services_of(Lease("vip-192.0.2.7", annotations=one)) is one.services
