# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who gets which address, and why not: written and read by kubectl, as a user does, against the real API server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from conftest import NODES
from harm import configured
from herald_lab.api import MERGE
from kubectl import (
    CHECKED,
    NAMESPACE,
    OTHERS,
    Kubectl,
    namespace,
    no_agent,
    policy,
    pool,
    service,
    span,
)
from watched import LEASES, agent_status, await_health, linger, targets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Lab
    from kubectl import Json

pytestmark = pytest.mark.lab

V4, V6 = "192.168.77.", "fd77:77::"
CLIENT_MAC = "02:77:00:00:00:09"


@pytest.fixture
def kubectl(kubectl: Kubectl) -> Kubectl:
    """With a pool of two addresses, for who asks for it."""
    kubectl.apply(pool("few", span(V4 + "190", V4 + "191"), autoAssign=False))
    return kubectl


@dataclass(frozen=True)
class Row:
    name: str
    rule: str
    ends: str
    """An address, or the reason why there is none."""
    annotations: dict[str, str] = field(default_factory=dict)
    says: str = ""
    port: int = 80
    spec: Json = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


LONGEST = "p" * 253
SHARED = {"ips": V4 + "215", "sharing-key": "k"}
ACROSS = {"ips": V4 + "229", "sharing-key": "x"}
LOCAL = {"externalTrafficPolicy": "Local", "selector": {"app": "a"}}
NOT_SO_LOCAL = {"externalTrafficPolicy": "Local", "selector": {"app": "b"}}
ON_LOCAL = {"ips": V4 + "228", "sharing-key": "l"}
RED = {"team": "red"}
SIX = {"ipFamilies": ["IPv6"]}
ROWS = [
    Row("a1", "an address by annotation", V4 + "210", {"ips": V4 + "210"}),
    Row("a2", "in MetalLB's words", V4 + "211", {"metallb.io/loadBalancerIPs": V4 + "211"}),
    Row("a3", "in Cilium's words", V4 + "212", {"lbipam.cilium.io/ips": V4 + "212"}),
    Row("a4", "by the Service's own field", V4 + "213", spec={"loadBalancerIP": V4 + "213"}),
    Row("a5", "IPv6 in another spelling", V6 + "2a0", {"ips": "FD77:77:0::02A0"}, spec=SIX),
    Row("a6", "in Cilium's older words", V4 + "231", {"io.cilium/lb-ipam-ips": V4 + "231"}),
    Row("a7", "MetalLB's older", V4 + "232", {"metallb.universe.tf/loadBalancerIPs": V4 + "232"}),
    Row("b1", "a pool by name", V4 + "190", {"pool": "few"}),
    Row("b2", "in MetalLB's older words", V4 + "191", {"metallb.universe.tf/address-pool": "few"}),
    Row("b3", "a full pool", "PoolExhausted", {"pool": "few"}, "pool few"),
    Row("b4", "a pool that is not there", "NoPool", {"pool": "no"}, "herald.dev/pool"),
    Row("b5", "a pool of the longest name", V4 + "197", {"pool": LONGEST}),
    Row("b6", "in MetalLB's words", "fd00::", {"metallb.io/address-pool": "vast"}, spec=SIX),
    Row("b7", "a disabled pool", "NoPool", {"pool": "idle"}, "disabled"),
    Row("c1", "taken", "AddressTaken", {"ips": V4 + "210"}, "addresses/a1"),
    Row("c2", "outside every pool", "NoPool", {"ips": "10.9.9.9"}, "10.9.9.9"),
    Row("c3", "leading zeros", "InvalidRequest", {"ips": "192.168.077.214"}, "'192.168.077.214'"),
    Row("c4", "a zone", "InvalidRequest", {"ips": V6 + "2a1%eth0"}, "zone", spec=SIX),
    Row("c5", "the wrong family", "InvalidRequest", {"ips": V6 + "2a1"}, "spec.ipFamilies"),
    Row("c6", "mapped IPv4", "InvalidRequest", {"ips": "::ffff:192.168.77.214"}, "IPv4-mapped"),
    Row("c7", "no address", "InvalidRequest", {"ips": "gibt's nicht ☃"}, "\\u2603"),
    Row("d1", "shared", V4 + "215", SHARED),
    Row("d2", "shared", V4 + "215", SHARED, port=443),
    Row("d3", "a port twice", "SharingRefused", SHARED, "port 80/TCP is used by both"),
    *(
        Row(
            f"d{number}", "in others' words", V4 + "215", {"ips": V4 + "215", key: "k"}, port=number
        )
        for number, key in enumerate(
            (
                "lbipam.cilium.io/sharing-key",
                "io.cilium/lb-ipam-sharing-key",
                "metallb.io/allow-shared-ip",
                "metallb.universe.tf/allow-shared-ip",
            ),
            start=4,
        )
    ),
    Row("e2", "across namespaces", V4 + "229", {**ACROSS, "sharing-cross-namespace": OTHERS}),
    Row(
        f"{OTHERS}/e3",
        "both consent, in Cilium's words",
        V4 + "229",
        {**ACROSS, "lbipam.cilium.io/sharing-cross-namespace": NAMESPACE},
        port=443,
    ),
    Row(
        f"{OTHERS}/e4",
        "both consent, in Cilium's older words",
        V4 + "229",
        {**ACROSS, "io.cilium/lb-ipam-sharing-cross-namespace": "*"},
        port=444,
    ),
    Row(
        f"{OTHERS}/e5",
        "one does not consent",
        "SharingRefused",
        ACROSS,
        f"sharing-cross-namespace must name namespace {NAMESPACE}",
        port=445,
    ),
    Row("g1", "Local", V4 + "228", ON_LOCAL, spec=LOCAL),
    Row("g2", "Local, the same selector", V4 + "228", ON_LOCAL, port=443, spec=LOCAL),
    Row("g3", "another", "SharingRefused", ON_LOCAL, "same selector", port=444, spec=NOT_SO_LOCAL),
    Row("g4", "Cluster", "SharingRefused", ON_LOCAL, "found Cluster and Local", port=445),
    Row("h1", "a pool that selects it", "10.78.0.0", {"pool": "choosy"}, labels=RED),
    Row("h2", "one that does not", "SelectorMismatch", {"pool": "choosy"}, "wanted pool choosy"),
    Row("h3", "an address of it", "SelectorMismatch", {"ips": "10.78.0.1"}, "in pool choosy"),
    Row("h4", "excluded", "NoPool", {"ips": "10.78.0.3"}, "pool choosy excludes it", labels=RED),
    Row("h5", "reserved", "NoPool", {"ips": "10.78.0.4"}, "allowFirstLastIPs"),
    Row("h6", "a pool that selects by name", "10.78.0.5", {"pool": "named"}),
]


def test_services_get_what_they_ask_for_or_are_told_why_not(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    kubectl.apply(
        pool(LONGEST, {"start": V4 + "197"}, autoAssign=False),
        pool("vast", {"cidr": "FD00:0::/28"}, {"start": "fD78:00::01"}, autoAssign=False),
        pool("idle", {"start": "10.78.0.8"}, disabled=True),
        pool(
            "choosy",
            {"cidr": "10.78.0.0/30"},
            exclude=[{"start": "10.78.0.3"}],
            autoAssign=False,
            serviceSelector={"matchLabels": RED},
        ),
        pool(
            "named",
            {"cidr": "10.78.0.4/30"},
            allowFirstLastIPs=False,
            autoAssign=False,
            serviceSelector={
                "matchLabels": {"io.kubernetes.service.namespace": NAMESPACE},
                "matchExpressions": [
                    {"key": "io.kubernetes.service.name", "operator": "In", "values": ["h5", "h6"]}
                ],
            },
        ),
        namespace(OTHERS),
        *(service(row.name, row.annotations, row.port, row.spec, row.labels) for row in ROWS),
    )
    other = service("e1", {"ips": V4 + "216"}, spec={"loadBalancerClass": "example.com/other"})
    kubectl.apply(other)
    many = ",".join(f"10.9.{number // 100}.{number % 100}" for number in range(200))
    kubectl.apply(service("f" * 63, {"ips": many}))
    for row in ROWS:
        if row.ends[0].isupper():
            kubectl.await_reason(row.name, row.ends, row.says)
            assert kubectl.addresses(row.name) == [], row.rule
        else:
            kubectl.await_addresses(row.name, row.ends)
            assert kubectl.condition(row.name)[0] == "Allocated", row.rule
    kubectl.await_reason("f" * 63, "NoPool", "and 195 more")
    assert kubectl.addresses("e1") == []
    assert "conditions" not in kubectl.get("e1")["status"]

    total = ("get", "lbpool", "vast", "--output", "jsonpath={.status.ipsTotal}")
    wait_for("a pool of 2^100 addresses and one", lambda: kubectl(*total) == str(2**100 + 1))

    # Who leaves makes room, for those whom the rules allow.
    kubectl("delete", "service", "a1", "d1", "b1")
    kubectl.await_addresses("c1", V4 + "210")
    kubectl.await_addresses("d3", V4 + "215")
    kubectl.await_addresses("b3", V4 + "190")
    assert kubectl.addresses("d2") == [V4 + "215"]


@dataclass(frozen=True)
class Turn:
    """Pools that give to nobody but so many Services, which name neither an address nor a pool."""

    name: str
    rule: str
    pools: tuple[Json, ...]
    gives: tuple[str, ...]
    """In the order of the Services; nothing is left then."""


TURNS = [
    Turn(
        "a",
        "blocks as they stand, of each the lowest address first",
        (pool("a", {"start": "10.78.1.9"}, span("10.78.1.4", "10.78.1.5")),),
        ("10.78.1.9", "10.78.1.4", "10.78.1.5"),
    ),
    Turn(
        "b",
        "the pool of the lower priority first",
        (
            pool("b-1", {"start": "10.78.2.1"}, priority=20),
            pool("b-2", {"start": "10.78.2.2"}, priority=10),
        ),
        ("10.78.2.2", "10.78.2.1"),
    ),
    Turn(
        "c",
        "of equal ones the lesser name first",
        (pool("c-2", {"start": "10.78.3.1"}), pool("c-1", {"start": "10.78.3.2"})),
        ("10.78.3.2", "10.78.3.1"),
    ),
    Turn(
        "d",
        "never what is excluded",
        (pool("d", {"cidr": "10.78.4.0/30"}, exclude=[span("10.78.4.1", "10.78.4.2")]),),
        ("10.78.4.0", "10.78.4.3"),
    ),
    Turn(
        "e",
        "neither first nor last address of a network, where the pool says so",
        (
            pool(
                "e",
                {"cidr": "10.78.5.0/30"},
                {"cidr": "10.78.5.8/31"},
                {"start": "10.78.5.255"},
                allowFirstLastIPs=False,
            ),
        ),
        ("10.78.5.1", "10.78.5.2", "10.78.5.8", "10.78.5.9", "10.78.5.255"),
    ),
    Turn(
        "f",
        "neither .0 nor .255, where the pool says so",
        (pool("f", span("10.78.6.254", "10.78.7.1"), avoidBuggyIPs=True),),
        ("10.78.6.254", "10.78.7.1"),
    ),
]


def test_who_names_no_address_gets_the_first_that_pools_have_in_their_order(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    pools = [each for turn in TURNS for each in turn.pools]
    for turn in TURNS:
        for each in turn.pools:
            each["spec"]["serviceSelector"] = {"matchLabels": {"turn": turn.name}}
    kubectl.apply(*pools)
    names = [each["metadata"]["name"] for each in pools]
    # The allocator knows them all before the first Service comes, or it would take the lab's own pool.
    ready = ("--for=condition=Ready", "--timeout=30s")
    kubectl("wait", *ready, *(f"lbpool/{name}" for name in names))
    kubectl.apply(
        *(
            service(f"{turn.name}{number}", labels={"turn": turn.name})
            for turn in TURNS
            for number in range(len(turn.gives))
        )
    )
    for turn in TURNS:
        for number, address in enumerate(turn.gives):
            kubectl.await_addresses(f"{turn.name}{number}", address)
    left = ("get", "lbpool", *names, "--output", "jsonpath={.items[*].status.ipsAvailable}")
    wait_for("nothing to be left", lambda: kubectl(*left).split() == ["0"] * len(names))


def test_of_two_pools_that_overlap_the_younger_stops_for_the_overlap_as_long_as_there_is_one(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    kubectl.apply(pool("x-older", span("10.78.8.1", "10.78.8.4"), autoAssign=False))
    stamp = "jsonpath={.metadata.creationTimestamp}"
    created = datetime.fromisoformat(kubectl("get", "lbpool", "x-older", "--output", stamp))
    # At equal age the name would decide, and the other way.
    wait_for("the next second", lambda: time.time() >= created.timestamp() + 1)
    kubectl.apply(
        pool("a-younger", span("10.78.8.3", "10.78.8.6"), autoAssign=False),
        service("old", {"ips": "10.78.8.3"}),
        service("young", {"pool": "a-younger"}),
    )

    def await_conflict() -> None:
        overlap = "10.78.8.3 to 10.78.8.4"
        kubectl.await_pool("x-older", f"4 True {overlap}: not given by the younger pool a-younger")
        kubectl.await_pool("a-younger", f"2 True {overlap}: left to the older pool x-older")

    await_conflict()
    kubectl.await_addresses("young", "10.78.8.5")
    kubectl.await_addresses("old", "10.78.8.3")
    kubectl.await_reason("old", "Allocated", "10.78.8.3 of pool x-older")
    assert kubectl.glance("lbpool", "a-younger")["CONFLICTING"] == "True"

    kubectl.patch("lbpool", "a-younger", {"spec": {"blocks": [span("10.78.8.5", "10.78.8.8")]}})
    kubectl.await_pool("x-older", "4 False")
    kubectl.await_pool("a-younger", "4 False")
    kubectl.patch("lbpool", "a-younger", {"spec": {"blocks": [span("10.78.8.3", "10.78.8.6")]}})
    await_conflict()
    kubectl("delete", "lbpool", "x-older")
    kubectl.await_pool("a-younger", "4 False")
    assert kubectl.addresses("old") == ["10.78.8.3"]
    assert kubectl.addresses("young") == ["10.78.8.5"]


def test_who_prefers_both_families_gains_the_second_when_a_pool_has_it(kubectl: Kubectl) -> None:
    four, six = {"cidr": "10.78.9.0/30"}, {"cidr": "fd77:78::/126"}
    families = ["IPv6", "IPv4"]
    kubectl.apply(
        pool("dual", four, autoAssign=False),
        *(
            service(name, {"pool": "dual"}, spec={"ipFamilyPolicy": policy, "ipFamilies": families})
            for name, policy in (("prefers", "PreferDualStack"), ("requires", "RequireDualStack"))
        ),
    )
    kubectl.await_addresses("prefers", "10.78.9.0")
    kubectl.await_reason("prefers", "Allocated", "wanted IPv6 of pool dual, found none in it")
    kubectl.await_reason("requires", "NoPool", "wanted IPv6 of pool dual, found none in it")
    assert kubectl.addresses("requires") == []
    kubectl.patch("lbpool", "dual", {"spec": {"blocks": [four, six]}})
    kubectl.await_addresses("prefers", "fd77:78::", "10.78.9.0")
    kubectl.await_addresses("requires", "fd77:78::1", "10.78.9.1")


def test_kubectl_get_shows_pools_and_policies_at_a_glance(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    mine = {"matchLabels": {"io.kubernetes.service.namespace": NAMESPACE}}
    kubectl.apply(
        policy("glance", loadBalancerIPs=True, serviceSelector=mine), service("s", {"pool": "few"})
    )
    wanted = {
        "lbpool few": {
            "NAME": "few",
            "READY": "True",
            "REASON": "Ready",
            "DISABLED": "false",
            "CONFLICTING": "False",
            "IPS AVAILABLE": "1",
            "IPS TOTAL": "2",
        },
        "l2policy glance": {
            "NAME": "glance",
            "READY": "True",
            "REASON": "Ready",
            "SERVICES": "1",
            "NODES": "3",
        },
    }
    for words, columns in wanted.items():
        wait_for(
            f"kubectl get {words}: {columns}",
            lambda words=words, columns=columns: (
                (found := kubectl.glance(*words.split())) == {**columns, "AGE": found.get("AGE")}
            ),
        )


def test_an_address_in_use_stays_whatever_becomes_of_its_pool(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    kubectl.apply(service("s", {"pool": "few"}))
    kubectl.await_addresses("s", V4 + "190")
    uid = herald.lease(V4 + "190")["metadata"]["uid"]  # type: ignore[index]
    kubectl.patch("lbpool", "few", {"spec": {"disabled": True}})
    kubectl.patch("lbpool", "few", {"spec": {"blocks": [{"start": V4 + "192"}]}})
    kubectl.await_reason("s", "Orphaned", "no longer has it")
    kubectl("delete", "lbpool", "few")
    kubectl.await_reason("s", "Orphaned", "is gone")
    assert kubectl.addresses("s") == [V4 + "190"]
    kubectl.apply(pool("few", {"start": V4 + "190", "stop": V4 + "191"}, autoAssign=False))
    kubectl.await_reason("s", "Allocated", "pool few")
    assert kubectl.addresses("s") == [V4 + "190"]
    assert herald.lease(V4 + "190")["metadata"]["uid"] == uid  # type: ignore[index]

    # Somebody deletes the record itself: it is made anew, the Service keeps what it shows.
    herald.kubectl("delete", "lease", f"vip-{V4}190", "--namespace", "herald-system")
    assert kubectl.addresses("s") == [V4 + "190"]
    wait_for(
        "a new record",
        lambda: (herald.lease(V4 + "190") or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid,
    )
    assert kubectl.addresses("s") == [V4 + "190"]


def test_a_living_service_changes_its_families_its_type_and_its_mind(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    both = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    kubectl.apply(service("s", {"ips": f"{V4}217,{V6}2b0"}, spec=both))
    kubectl.await_addresses("s", V4 + "217", V6 + "2b0")
    kubectl.tell("s", CHECKED)
    one = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}
    kubectl.patch(
        "service", "s", {"spec": one, "metadata": {"annotations": {"herald.dev/ips": V4 + "217"}}}
    )
    kubectl.await_addresses("s", V4 + "217")
    wait_for("the other family's record to go", lambda: herald.lease(V6 + "2b0") is None)

    kubectl.patch("service", "s", {"metadata": {"annotations": {"herald.dev/ips": V4 + "218"}}})
    kubectl.await_addresses("s", V4 + "218")
    kubectl.await_reason("s", "Allocated", V4 + "218")
    assert CHECKED in kubectl.get("s")["status"]["conditions"]

    kubectl.patch("service", "s", {"spec": {"type": "ClusterIP"}})
    wait_for("the record to go", lambda: herald.lease(V4 + "218") is None)
    wait_for(
        "Herald's conditions to go, and no other",
        lambda: kubectl.get("s")["status"]["conditions"] == [CHECKED],
    )
    assert kubectl.addresses("s") == []
    kubectl.patch("service", "s", {"spec": {"type": "LoadBalancer"}})
    kubectl.await_addresses("s", V4 + "218")


def test_describe_says_why_there_is_no_address_and_why_it_is_this_one(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    kubectl.apply(
        service("first", {"pool": "few"}),
        service("second", {"ips": V4 + "191"}),
        service("third", {"pool": "few"}),
        service("torn", {"ips": V4 + "233", "metallb.io/loadBalancerIPs": V4 + "234"}),
    )
    kubectl.await_reason("third", "PoolExhausted")
    for name, words in (
        ("first", f"{V4}190 of pool few"),
        ("second", f"{V4}191 of pool few, asked for by herald.dev/ips"),
        ("third", "no IPv4 address is free in pool few"),
        ("torn", "herald.dev/ips is followed"),
    ):
        wait_for(
            f"kubectl describe service {name} to say {words!r}",
            lambda name=name, words=words: words in kubectl("describe", "service", name),
        )


def test_an_address_that_a_host_on_the_segment_has_is_not_given(
    kubectl: Kubectl, herald: Lab
) -> None:
    taken = V4 + "193"
    herald.client("ip", "address", "add", f"{taken}/32", "dev", "lan")
    try:
        kubectl.apply(
            pool("stranger", {"start": taken, "stop": V4 + "194"}, autoAssign=False),
            service("any", {"pool": "stranger"}),
            service("this", {"ips": taken}),
        )
        kubectl.await_addresses("any", V4 + "194")
        kubectl.await_reason("any", "Allocated", f"{taken} was left: {CLIENT_MAC} answers for it")
        kubectl.await_reason("this", "AddressConflict", CLIENT_MAC)
        assert kubectl.addresses("this") == []
        assert herald.holder(taken) == ""
    finally:
        herald.client("ip", "address", "delete", f"{taken}/32", "dev", "lan")


def test_an_external_address_is_announced_by_one_node_and_given_to_nobody(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None], tmp_path: Path
) -> None:
    external = V4 + "195"
    kubectl.apply(
        service("s", spec={"type": "ClusterIP", "externalIPs": [external]}),
        policy("external", externalIPs=True, interfaces=["^host0$"]),
    )
    wait_for("a holder", lambda: herald.holder(external) != "")
    wait_for("the condition", lambda: external in kubectl.condition("s", "Announced")[1])
    with herald.meter("answers", external, file=tmp_path / "answers.json") as answers:
        linger(1)
    assert answers["verdict"] == "one"
    assert kubectl.addresses("s") == []
    kubectl("delete", "l2policy", "external")
    wait_for("its record to go", lambda: herald.lease(external) is None)
    wait_for("Herald's condition to go", lambda: not kubectl.get("s")["status"].get("conditions"))


OLD, OTHER = "example.com/old", "example.com/other"


def test_a_class_is_adopted_with_its_addresses_and_who_has_none_is_served_only_by_default(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    """A migration: another implementation's Services stay as they are until their class is adopted."""
    kubectl.apply(
        service("old", spec={"loadBalancerClass": OLD}),
        service("old-in-no-pool", spec={"loadBalancerClass": OLD}),
        service("other", spec={"loadBalancerClass": OTHER}),
        service("no-class", {"ips": V4 + "222"}),
        service("herald", {"ips": V4 + "223"}, spec={"loadBalancerClass": "herald.dev/l2"}),
    )
    held = {"old": V4 + "219", "old-in-no-pool": V4 + "189", "other": V4 + "221"}
    for name, address in held.items():
        kubectl.show(name, address)
    kubectl.await_addresses("no-class", V4 + "222")
    kubectl.await_addresses("herald", V4 + "223")
    kubectl.apply(service("second", {"ips": held["old"]}))
    kubectl.await_reason("second", "AddressTaken", "addresses/old")
    for name in held:
        assert "conditions" not in kubectl.get(name)["status"]
    untouched = kubectl.get("other")

    with configured(herald, {"adopt_classes": f'["{OLD}"]', "default_class": "false"}):
        kubectl.await_reason("old", "Allocated", f"{V4}219 of pool lab")
        kubectl.await_reason("old-in-no-pool", "Orphaned", f"{V4}189, which is in no pool")
        for name in ("old", "old-in-no-pool"):
            assert kubectl.addresses(name) == [held[name]]
            wait_for(f"{name} to be announced", lambda name=name: herald.holder(held[name]) != "")
        kubectl.await_addresses("no-class")
        wait_for("its record to go", lambda: herald.lease(V4 + "222") is None)
        kubectl.apply(service("new", {"ips": V4 + "222"}, spec={"loadBalancerClass": OLD}))
        kubectl.await_addresses("new", V4 + "222")
        for name in ("no-class", "second"):
            wait_for(
                f"Herald's conditions of {name} to go",
                lambda name=name: not kubectl.get(name)["status"].get("conditions"),
            )
        assert kubectl.addresses("herald") == [V4 + "223"]

    # Another implementation's again: what Herald gave or took over goes with its conditions.
    for name in ("old", "old-in-no-pool", "new"):
        kubectl.await_addresses(name)
    kubectl.await_addresses("no-class", V4 + "222")
    kubectl.await_addresses("second", held["old"])
    assert kubectl.addresses("herald") == [V4 + "223"]
    assert kubectl.get("other") == untouched


def test_without_a_class_a_service_is_who_s_has_served_it_first_and_herald_s_if_that_is_asked(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    seven = [f"{V6}2c{number}" for number in range(7)]
    kubectl.apply(service("many", {"ips": ",".join(seven)}, spec=SIX))
    kubectl.await_addresses("many", *seven)
    with configured(herald, {"default_class": "false"}):
        kubectl.await_addresses("many")
        for address in seven:
            wait_for(f"the record of {address} to go", lambda a=address: herald.lease(a) is None)
        kubectl.apply(service("by-address"), service("by-name"))
        kubectl.show("by-address", "203.0.113.5")
        kubectl.show_name("by-name", "lb.example.com")
        theirs = {name: kubectl.get(name) for name in ("by-address", "by-name")}

    # Herald serves who has no class again: that this one is served shows that it has looked at them all.
    kubectl.await_addresses("many", *seven)
    kubectl.apply(service("ours", {"ips": V4 + "224"}))
    kubectl.await_addresses("ours", V4 + "224")
    assert {name: kubectl.get(name) for name in theirs} == theirs
    for name, address in (("by-address", V4 + "225"), ("by-name", V4 + "226")):
        kubectl.patch("service", name, {"metadata": {"annotations": {"herald.dev/ips": address}}})
        kubectl.await_addresses(name, address)
        kubectl.await_reason(name, "Allocated", "asked for by herald.dev/ips")


def test_who_shares_an_address_may_leave_at_one_time(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    names, address = ("one", "two", "three"), V4 + "227"
    asked = {"ips": address, "sharing-key": "s"}
    kubectl.apply(
        *(service(name, asked, port=80 + number) for number, name in enumerate(names)),
    )
    for name in names:
        kubectl.await_addresses(name, address)
    kubectl.apply(service("next", {"ips": address}))
    kubectl.await_reason("next", "AddressTaken", "addresses/one")
    kubectl("delete", "service", *names)
    kubectl.await_addresses("next", address)
    kubectl("delete", "service", "next")
    wait_for("its record to go", lambda: herald.lease(address) is None)


def test_what_services_show_wins_where_its_record_is_missing(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None]
) -> None:
    """As after a restore from a backup that is older than the records: the agents find them gone as they start."""
    both = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    kubectl.apply(
        service("first", {"pool": "few"}),
        service("second", {"pool": "few"}),
        service("dual", spec=both),
        *(service(f"shared-{port}", SHARED, port) for port in (80, 443)),
    )
    kubectl.await_addresses("first", V4 + "190")
    kubectl.await_addresses("second", V4 + "191")
    names = ("second", "dual", "shared-80", "shared-443")
    wait_for("all to have addresses", lambda: all(map(kubectl.addresses, names)))
    shown = {name: kubectl.addresses(name) for name in names}
    assert len(shown["dual"]) == 2

    with no_agent(herald):
        tear_out_records(herald)
        kubectl("delete", "service", "first")
        kubectl.apply(
            service("a-thief", {"ips": V4 + "191"}),
            service("newcomer", {"pool": "few"}),
        )
    kubectl.await_addresses("newcomer", V4 + "190")
    kubectl.await_reason("a-thief", "AddressTaken", "addresses/second")
    for address in (each for addresses in shown.values() for each in addresses):
        wait_for(f"{address} to be announced", lambda address=address: herald.holder(address) != "")
    assert services_of(herald, V4 + "191") == ["addresses/second"]
    assert {name: kubectl.addresses(name) for name in names} == shown
    assert services_of(herald, V4 + "215") == ["addresses/shared-443", "addresses/shared-80"]


def test_an_etcd_restored_from_a_backup_is_the_truth_and_nothing_else_is_answered(
    kubectl: Kubectl, herald: Lab, wait_for: Callable[..., None], tmp_path: Path
) -> None:
    """Agents run, and remember what is no more: a Service that has moved, one that is gone, one that is there again."""
    stays, moved, back, before = V4 + "224", V4 + "225", V4 + "226", V4 + "227"
    kubectl.apply(
        service("stays", {"ips": stays}),
        service("moves", {"ips": before}),
        service("goes", {"ips": back}),
    )
    for address in (stays, before, back):
        wait_for(f"{address} to be announced", lambda address=address: herald.holder(address) != "")
    herald("api", "backup")
    kubectl.patch("service", "moves", {"metadata": {"annotations": {"herald.dev/ips": moved}}})
    kubectl("delete", "service", "goes")
    wait_for("its address to be freed", lambda: herald.lease(back) is None)
    kubectl.apply(service("heir", {"ips": back}))
    for address in (moved, back):
        wait_for(f"{address} to be announced", lambda address=address: herald.holder(address) != "")

    watched = ",".join((stays, moved, back, before))
    with herald.meter("answers", watched, file=tmp_path / "answers.json") as answers:
        herald("api", "restore")
        await_health(herald)
        for name, address in (("stays", stays), ("moves", before), ("goes", back)):
            kubectl.await_addresses(name, address)
            wait_for(f"{address} to be held", lambda address=address: is_held(herald, address))
            assert services_of(herald, address) == [f"addresses/{name}"]
        wait_for(f"{moved} to be let go of", lambda: not is_held(herald, moved))
        linger(1)
    assert herald.lease(moved) is None
    verdicts = {each["address"]: each["verdict"] for each in targets(answers)}
    assert verdicts == dict.fromkeys((stays, moved, back, before), "one")
    with herald.meter("answers", moved, file=tmp_path / "silence.json") as silence:
        linger(1)
    assert silence["verdict"] == "nobody"


def tear_out_records(lab: Lab) -> None:
    """Every VIP lease is gone, whoever was to agree."""
    for lease in lab.api.request("GET", LEASES)["items"]:
        if (name := lease["metadata"]["name"]).startswith("vip-"):
            path = f"{LEASES}/{name}"
            lab.api.request("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
            lab.api.delete(path)


def is_held(lab: Lab, address: str) -> bool:
    """Whether an agent says that it announces the address: a lease may name one that does not know of it."""
    return any(
        address in {each["address"] for each in agent_status(lab, node)["held"]} for node in NODES
    )


def services_of(lab: Lab, address: str) -> list[str]:
    """Who has the address by its record."""
    lease = lab.lease(address)
    assert lease is not None, f"{address} has no record"
    return sorted(lease["metadata"]["annotations"]["herald.dev/services"].split(","))
