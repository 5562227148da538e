# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Services, pools and policies as a user types them, and what kubectl shows of them then."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harm import together
from herald_lab.layout import NODES
from watched import LEASES, await_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Lab

Json = dict[str, Any]

NAMESPACE = "addresses"
OTHERS = "others"
POOL = "LoadBalancerIPPool"
CHECKED = {
    "type": "example.com/Checked",
    "status": "True",
    "reason": "Checked",
    "message": "by somebody else",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def service(
    name: str,
    annotations: dict[str, str] | None = None,
    port: int = 80,
    spec: Json | None = None,
    labels: dict[str, str] | None = None,
) -> Json:
    """kube-proxy leaves it alone: nobody asks it for a page here. `name`: of another namespace after a slash."""
    namespace, _, name = name.rpartition("/")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace or NAMESPACE,
            "labels": {"service.kubernetes.io/service-proxy-name": "nobody", **(labels or {})},
            "annotations": {
                key if "/" in key else f"herald.dev/{key}": text
                for key, text in (annotations or {}).items()
            },
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}], **(spec or {})},
    }


def namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def policy(name: str, **spec: object) -> Json:
    return {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def pool(name: str, *blocks: Json, **spec: object) -> Json:
    return {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": POOL,
        "metadata": {"name": name},
        "spec": {"blocks": list(blocks), **spec},
    }


def span(first: str, last: str) -> Json:
    return {"start": first, "stop": last}


def addresses_of(service: Json) -> list[str]:
    """Those in its status; empty ones are names."""
    ingress = service["status"]["loadBalancer"].get("ingress", [])
    return [entry.get("ip", "") for entry in ingress]


def condition_of(service: Json, kind: str) -> tuple[str, str]:
    """Reason and message; empty where it says nothing."""
    for each in service["status"].get("conditions", []):
        if each["type"] == f"herald.dev/{kind}":
            return each["reason"], each["message"]
    return "", ""


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
        """A Service; of another namespace than the test's by `namespace/name`."""
        namespace, _, single = name.rpartition("/")
        found = self.lab.api.get(f"/api/v1/namespaces/{namespace or NAMESPACE}/services/{single}")
        assert found is not None, name
        return found

    def addresses(self, name: str) -> list[str]:
        return addresses_of(self.get(name))

    def show(self, name: str, *addresses: str) -> None:
        """Write these into the Service's status, as another load balancer would."""
        self._show(name, [{"ip": address} for address in addresses])

    def show_name(self, name: str, hostname: str) -> None:
        """The same of a load balancer that is reached by a name."""
        self._show(name, [{"hostname": hostname}])

    def _show(self, name: str, ingress: list[Json]) -> None:
        self._patch_status(name, {"loadBalancer": {"ingress": ingress}})

    def tell(self, name: str, condition: Json) -> None:
        """Write one more condition into the Service's status, as another controller would."""
        self._patch_status(name, {"conditions": [condition]})

    def _patch_status(self, name: str, status: Json) -> None:
        patch = json.dumps({"status": status})
        self("patch", "service", name, "--subresource", "status", "--patch", patch)

    def glance(self, kind: str, name: str) -> dict[str, str]:
        """What `kubectl get` shows of one object, by the heads of its columns; a cell may be empty yet."""
        heads, row = self("get", kind, name).splitlines()
        found = [(head.group(), head.start()) for head in re.finditer(r"\S+(?: \S+)*", heads)]
        ends = [start for _, start in found[1:]] + [len(row)]
        return {
            head: row[start:end].strip() for (head, start), end in zip(found, ends, strict=True)
        }

    def pool_status(self, name: str) -> str:
        """How many addresses the pool can ever give, whether it is in conflict, and with whom."""
        conflict = '.status.conditions[?(@.type=="Conflict")]'
        shown = f"{{.status.ipsTotal}} {{{conflict}.status}} {{{conflict}.message}}"
        return self("get", "lbpool", name, "--output", f"jsonpath={shown}").strip()

    def condition(self, name: str, kind: str = "Allocated") -> tuple[str, str]:
        """Reason and message; empty where it says nothing."""
        return condition_of(self.get(name), kind)

    def await_reason(self, name: str, reason: str, words: str = "") -> None:
        self._wait_for(
            f"{name}: {reason} {words!r}; found {self.condition(name)}",
            lambda: self.condition(name)[0] == reason and words in self.condition(name)[1],
        )

    def await_addresses(self, name: str, *addresses: str) -> None:
        self._wait_for(
            f"{name} to have {addresses}", lambda: self.addresses(name) == list(addresses)
        )

    def await_pool(self, name: str, says: str) -> None:
        self._wait_for(f"pool {name}: {says}", lambda: self.pool_status(name) == says)

    def records(self) -> dict[str, Json]:
        """By name, the VIP leases that name any of the test's Services."""
        return {
            lease["metadata"]["name"]: lease
            for lease in self.lab.api.request("GET", LEASES)["items"]
            if lease["metadata"]["name"].startswith("vip-")
            and re.search(rf"({NAMESPACE}|{OTHERS})/", str(lease["metadata"]))
        }

    def remove(self) -> None:
        """All that was applied, and wait until its addresses are free."""
        for kind in ("loadbalancerippool", "l2announcementpolicy", "namespace"):
            names = {o["metadata"]["name"] for o in self.applied if o["kind"].lower() == kind}
            if names:
                self.lab.kubectl("delete", kind, *names, "--ignore-not-found")
        # One that is set aside is asked about every 60 s.
        self._wait_for("the addresses to be freed", lambda: not self.records(), seconds=90)


@contextmanager
def no_agent(lab: Lab) -> Iterator[None]:
    """No agent runs; then all are well again."""
    nodes = [host.name for host in NODES]
    try:
        together(lab, nodes, "stop")
        yield
    finally:
        together(lab, nodes, "start")
        await_health(lab)
