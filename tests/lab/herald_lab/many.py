# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Services by the thousand in the lab: made at once, looked at in one list, and what they cost the API server.

They have no backends, and a label by which kube-proxy leaves them alone: what is tried here is who gets which
address, not who serves it.
"""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from herald_lab.api import Api
from herald_lab.commands import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Json = dict[str, Any]

NAMESPACE = "many"
POOL = "many"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
POOLS = "/apis/herald.dev/v1alpha1/loadbalancerippools"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
COUNTED = ("services", "events", "loadbalancerippools", "l2announcementpolicies")
AT_ONCE = 8  # connections; more only queue at the API server


def pool(cidr: str) -> Json:
    """For those who ask for it by name only."""
    return {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "LoadBalancerIPPool",
        "metadata": {"name": POOL},
        "spec": {"blocks": [{"cidr": cidr}], "autoAssign": False},
    }


def service(name: str, load_balancer_class: str | None) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "labels": {"service.kubernetes.io/service-proxy-name": "nobody"},
            "annotations": {"herald.dev/pool": POOL},
        },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,
            "loadBalancerClass": load_balancer_class,
            "ports": [{"port": 80}],
        },
    }


class Many:
    """A namespace and a pool of their own; `remove` takes all of it away."""

    def __init__(self, api: Api, cidr: str) -> None:
        self._api = api
        api.apply(f"{POOLS}/{POOL}", pool(cidr))
        api.apply(
            f"/api/v1/namespaces/{NAMESPACE}",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        )

    def make(self, names: Iterable[str], load_balancer_class: str | None = None) -> None:
        """Make these Services as fast as the API server takes them."""
        self._all(
            lambda name: self._api.request("POST", SERVICES, service(name, load_balancer_class)),
            names,
        )

    def delete(self, names: Iterable[str]) -> None:
        self._all(lambda name: self._api.delete(f"{SERVICES}/{name}"), names)

    def _all(self, request: Callable[[str], object], names: Iterable[str]) -> None:
        every = list(names)

        def some(first: int) -> None:
            with self._api.kept():
                for name in every[first::AT_ONCE]:
                    request(name)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            for _ in threads.map(some, range(AT_ONCE)):
                pass  # raises what a request raised

    def used(self) -> int:
        """How many addresses are given, as the pool says: cheap to look at often."""
        found = self._api.get(f"{POOLS}/{POOL}") or {}
        return int(found.get("status", {}).get("ipsUsed", 0))

    def served(self, count: int) -> bool:
        """Whether there are so many, and all have addresses. They are listed only once the pool says that so many are
        given: looking often must not cost what is measured."""
        if self.used() < count:
            return False
        shown = self.addresses()
        return len(shown) == count and all(shown.values())

    def addresses(self) -> dict[str, list[str]]:
        """What each of them shows."""
        return {
            each["metadata"]["name"]: [
                entry["ip"] for entry in each["status"]["loadBalancer"].get("ingress", [])
            ]
            for each in self._api.request("GET", SERVICES)["items"]
        }

    def given(self) -> dict[str, str]:
        """The VIP leases of these Services: name, and who has it."""
        found = {}
        for lease in self._api.request("GET", LEASES)["items"]:
            services = lease["metadata"].get("annotations", {}).get("herald.dev/services", "")
            if services.startswith(f"{NAMESPACE}/"):
                found[lease["metadata"]["name"]] = services
        return found

    def versions(self) -> dict[str, str]:
        """Of every Service here and every VIP lease its resourceVersion: it differs after any write."""
        listed = self._api.request("GET", SERVICES)["items"]
        listed += [
            lease
            for lease in self._api.request("GET", LEASES)["items"]
            if lease["metadata"]["name"].startswith("vip-")
        ]
        return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in listed}

    def writes(self) -> Counter[str]:
        """What the API server counts of writes, by `VERB resource/subresource`, of all that Herald writes but
        Leases: presences are renewed all the time."""
        text: str = self._api.request("GET", "/metrics")["text"]
        found: Counter[str] = Counter()
        for labels, count in re.findall(
            r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE
        ):
            label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if label["verb"] in WRITES and label["resource"] in COUNTED:
                name = "/".join(filter(None, (label["resource"], label["subresource"])))
                found[f"{label['verb']} {name}"] += int(float(count))
        return found

    def remove(self) -> None:
        """Nothing is left of them; the pool goes last, since it says how many addresses are not free yet."""
        try:
            self.delete(self.addresses())
            what = "every address to be freed"
            wait_until(what, lambda: not (self.used() or self.given()), seconds=300, interval=0.5)
        finally:
            home = f"/api/v1/namespaces/{NAMESPACE}"
            self._api.delete(home)
            self._api.delete(f"{POOLS}/{POOL}")
            # Nothing can be made in it, nor it anew, until it is gone.
            wait_until("the namespace to go", lambda: not self._api.get(home), seconds=120)
