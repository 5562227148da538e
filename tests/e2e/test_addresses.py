# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who gets which address, and why not: written and read by kubectl, as a user does, against the real API server."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

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


def test_services_get_what_they_ask_for_or_are_told_why_not(kubectl: Kubectl) -> None:
    kubectl.apply(*(service(row.name, row.annotations, row.port, row.spec) for row in ROWS))
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
        pass
    assert answers["verdict"] == "one"
    assert kubectl.addresses("s") == []
    kubectl("delete", "l2policy", "external")
    wait_for("its record to go", lambda: herald.lease(external) is None)
    wait_for("Herald's condition to go", lambda: not kubectl.get("s")["status"].get("conditions"))
