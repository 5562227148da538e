# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who gets which address, and why not: written and read by kubectl, as a user does, against the real API server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from conftest import NODES
from harm import configured
from herald_lab.api import MERGE
from watched import LEASES, agent_status, await_health, linger, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Lab

pytestmark = pytest.mark.lab

Json = dict[str, Any]

NAMESPACE = "addresses"
V4, V6 = "192.168.77.", "fd77:77::"
CLIENT_MAC = "02:77:00:00:00:09"


def service(
    name: str,
    annotations: dict[str, str] | None = None,
    port: int = 80,
    spec: Json | None = None,
) -> Json:
    """kube-proxy leaves it alone: nobody asks it for a page here."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"service.kubernetes.io/service-proxy-name": "nobody"},
            "annotations": {
                key if "/" in key else f"herald.dev/{key}": text
                for key, text in (annotations or {}).items()
            },
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}], **(spec or {})},
    }


def pool(name: str, *blocks: Json, **spec: object) -> Json:
    return {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "LoadBalancerIPPool",
        "metadata": {"name": name},
        "spec": {"blocks": list(blocks), **spec},
    }


class Kubectl:
    """What a user types."""

    def __init__(self, lab: Lab, folder: Path, wait_for: Callable[..., None]) -> None:
        self.lab = lab
        self._file = folder / "objects.json"
        self._wait_for = wait_for
        self.applied: list[Json] = []

    def apply(self, *objects: Json) -> None:
        self.applied += objects
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self._file.write_text(json.dumps(whole))
        self.lab.kubectl("apply", "--filename", str(self._file))

    def __call__(self, *words: str) -> str:
        return self.lab.kubectl(*words, "--namespace", NAMESPACE)

    def patch(self, kind: str, name: str, patch: Json) -> None:
        self("patch", kind, name, "--type", "merge", "--patch", json.dumps(patch))

    def get(self, name: str) -> Json:
        found = self.lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{name}")
        assert found is not None, name
        return found

    def addresses(self, name: str) -> list[str]:
        return [
            entry["ip"] for entry in self.get(name)["status"]["loadBalancer"].get("ingress", [])
        ]

    def show(self, name: str, *addresses: str) -> None:
        """Write these into the Service's status, as another load balancer would."""
        ingress = [{"ip": address} for address in addresses]
        patch = json.dumps({"status": {"loadBalancer": {"ingress": ingress}}})
        self(
            "patch", "service", name, "--subresource", "status", "--type", "merge", "--patch", patch
        )

    def condition(self, name: str, kind: str = "Allocated") -> tuple[str, str]:
        """Reason and message; empty where it says nothing."""
        for each in self.get(name)["status"].get("conditions", []):
            if each["type"] == f"herald.dev/{kind}":
                return each["reason"], each["message"]
        return "", ""

    def await_reason(self, name: str, reason: str, words: str = "") -> None:
        self._wait_for(
            f"{name}: {reason} {words!r}; found {self.condition(name)}",
            lambda: self.condition(name)[0] == reason and words in self.condition(name)[1],
        )

    def await_addresses(self, name: str, *addresses: str) -> None:
        self._wait_for(
            f"{name} to have {addresses}", lambda: self.addresses(name) == list(addresses)
        )


@pytest.fixture
def kubectl(herald: Lab, tmp_path: Path, wait_for: Callable[..., None]) -> Iterator[Kubectl]:
    """A namespace of the test's own; all that was applied goes with it."""
    found = Kubectl(herald, tmp_path, wait_for)
    found.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        pool("few", {"start": V4 + "190", "stop": V4 + "191"}, autoAssign=False),
    )
    try:
        yield found
    finally:
        for kind in ("loadbalancerippool", "l2announcementpolicy"):
            names = [o["metadata"]["name"] for o in found.applied if o["kind"].lower() == kind]
            if names:
                herald.kubectl("delete", kind, *names, "--ignore-not-found")
        herald.kubectl("delete", "namespace", NAMESPACE)
        wait_for(
            "the addresses to be freed",
            lambda: (
                not [
                    lease
                    for lease in herald.get("lease", namespace="herald-system")["items"]
                    if f"{NAMESPACE}/" in str(lease["metadata"].get("annotations", {}))
                    and lease["metadata"]["name"].startswith("vip-")
                ]
            ),
        )


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


LONGEST = "p" * 253
SHARED = {"ips": V4 + "215", "sharing-key": "k"}
SIX = {"ipFamilies": ["IPv6"]}
ROWS = [
    Row("a1", "an address by annotation", V4 + "210", {"ips": V4 + "210"}),
    Row("a2", "in MetalLB's words", V4 + "211", {"metallb.io/loadBalancerIPs": V4 + "211"}),
    Row("a3", "in Cilium's words", V4 + "212", {"lbipam.cilium.io/ips": V4 + "212"}),
    Row("a4", "by the Service's own field", V4 + "213", spec={"loadBalancerIP": V4 + "213"}),
    Row("a5", "IPv6 in another spelling", V6 + "2a0", {"ips": "FD77:77:0::02A0"}, spec=SIX),
    Row("b1", "a pool by name", V4 + "190", {"pool": "few"}),
    Row("b2", "in MetalLB's older words", V4 + "191", {"metallb.universe.tf/address-pool": "few"}),
    Row("b3", "a full pool", "PoolExhausted", {"pool": "few"}, "pool few"),
    Row("b4", "a pool that is not there", "NoPool", {"pool": "no"}, "herald.dev/pool"),
    Row("b5", "a pool of the longest name", V4 + "197", {"pool": LONGEST}),
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
]


def test_services_get_what_they_ask_for_or_are_told_why_not(
    kubectl: Kubectl, wait_for: Callable[..., None]
) -> None:
    kubectl.apply(
        pool(LONGEST, {"start": V4 + "197"}, autoAssign=False),
        pool("vast", {"cidr": "FD00:0::/28"}, {"start": "fD78:00::01"}, autoAssign=False),
        *(service(row.name, row.annotations, row.port, row.spec) for row in ROWS),
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
    one = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}
    kubectl.patch(
        "service", "s", {"spec": one, "metadata": {"annotations": {"herald.dev/ips": V4 + "217"}}}
    )
    kubectl.await_addresses("s", V4 + "217")
    wait_for("the other family's record to go", lambda: herald.lease(V6 + "2b0") is None)

    kubectl.patch("service", "s", {"metadata": {"annotations": {"herald.dev/ips": V4 + "218"}}})
    kubectl.await_addresses("s", V4 + "218")

    kubectl.patch("service", "s", {"spec": {"type": "ClusterIP"}})
    wait_for("the record to go", lambda: herald.lease(V4 + "218") is None)
    wait_for("Herald's conditions to go", lambda: not kubectl.get("s")["status"].get("conditions"))
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
    )
    kubectl.await_reason("third", "PoolExhausted")
    for name, words in (
        ("first", f"{V4}190 of pool few"),
        ("second", f"{V4}191 of pool few, asked for by herald.dev/ips"),
        ("third", "no IPv4 address is free in pool few"),
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
        {
            "apiVersion": "herald.dev/v1alpha1",
            "kind": "L2AnnouncementPolicy",
            "metadata": {"name": "external"},
            "spec": {"externalIPs": True, "interfaces": ["^host0$"]},
        },
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


@contextmanager
def no_agent(lab: Lab) -> Iterator[None]:
    """No agent runs; then all are well again."""
    try:
        for node in NODES:
            lab.exec(node, "systemctl", "stop", "herald-agent")
        yield
    finally:
        for node in NODES:
            lab.exec(node, "systemctl", "start", "herald-agent")
        await_health(lab)


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
