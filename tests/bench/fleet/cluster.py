# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What simulated nodes need of a real cluster, each for as long as a block lasts: Node objects and
identities, Services that want addresses, and the lab's own agents out of the way."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from driver import LAB, ROOT, DriverError, call, read
from herald_lab import network
from herald_lab.api import Api
from herald_lab.layout import API, API_PORT, NODES, Lab

from fleet import Fleet, KubeConfig, Settings

NAMESPACE = "herald-system"
SERVICES = "/api/v1/namespaces/load/services"
POOL_CIDR = "10.98.16.0/20"
POOL = "/apis/herald.dev/v1alpha1/loadbalancerippools/load"


def until(what: str, condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until it holds."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise DriverError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)
    return time.monotonic() - begun


@contextmanager
def lab_entered() -> Iterator[Lab]:
    """The lab that HERALD_LAB names, in whose network this thread is meanwhile, and whatever thread or process it
    begins."""
    lab = Lab(os.environ.get("HERALD_LAB", "lab"))
    if call(LAB, "status").returncode:
        raise DriverError(f"lab {lab.name} is not up: `{LAB} up`, then playbooks/site.yml")
    with network.entered(lab.netns):
        yield lab


@contextmanager
def agents_stopped() -> Iterator[None]:
    """None of the lab's own agents runs."""
    try:
        for host in NODES:
            read(LAB, "exec", host.name, "--", "systemctl", "stop", "herald-agent")
        yield
    finally:
        for host in NODES:
            read(LAB, "exec", host.name, "--", "systemctl", "start", "herald-agent")


@contextmanager
def nodes(api: Api, names: list[str]) -> Iterator[None]:
    """Node objects of these names, and an identity for each, by Herald's own playbook."""
    try:
        for name in names:
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            api.apply(f"/api/v1/nodes/{name}", node)
        identities(names)
        yield
    finally:
        for name in names:
            api.delete(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/agent-{name}")
            api.delete(f"/api/v1/nodes/{name}")


def identities(names: list[str]) -> None:
    inventory = ROOT / "build" / "bench" / "inventory-load.json"
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_text(read(LAB, "inventory"))
    wanted = json.dumps({"herald_nodes": [*(host.name for host in NODES), *names]})
    words = ("--inventory", str(inventory), "--tags", "cluster", "--extra-vars", wanted)
    read(LAB, "run", "--", "ansible-playbook", *words, "playbooks/site.yml")


@contextmanager
def namespace(api: Api) -> Iterator[None]:
    """The Services' own namespace."""
    path = "/api/v1/namespaces/load"
    try:
        api.apply(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "load"}})
        yield
    finally:
        api.delete(path)
        until("the namespace to go", lambda: api.get(path) is None, 60)


@contextmanager
def services(api: Api, count: int, asked: Sequence[str] = ()) -> Iterator[None]:
    """So many Services without backends that want an address of a pool of their own, the first ones these."""
    pool = {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "LoadBalancerIPPool",
        "metadata": {"name": "load"},
        "spec": {"autoAssign": False, "blocks": [{"cidr": POOL_CIDR}]},
    }
    try:
        api.apply(POOL, pool)
        with ThreadPoolExecutor(4) as threads:
            ips = [*asked, *[""] * (count - len(asked))]
            list(threads.map(lambda number: make_service(api, number, ips[number]), range(count)))
        yield
    finally:
        for service in api.request("GET", SERVICES)["items"]:
            api.delete(f"{SERVICES}/{service['metadata']['name']}")
        until("the Services to go", lambda: not api.request("GET", SERVICES)["items"], 300)
        api.delete(POOL)


def make_service(api: Api, number: int, asked: str) -> None:
    name = f"load-{number}"
    annotations = {"herald.dev/pool": "load", **({"herald.dev/ips": asked} if asked else {})}
    api.apply(
        f"{SERVICES}/{name}",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 80}],
            },
        },
    )


def token(api: Api, name: str, folder: Path) -> Path:
    """A token of the node's identity, in a file."""
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/agent-{name}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 7200},
    }
    file = folder / name
    file.write_text(api.request("POST", account, body)["status"]["token"])
    file.chmod(0o600)
    return file


@contextmanager
def fleet(api: Api, lab: Lab, names: list[str]) -> Iterator[Fleet]:
    """A simulated node of each name; none runs before it is started."""
    found = Fleet()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            config = KubeConfig(
                node=name,
                servers=(f"https://{API.ipv4}:{API_PORT}",),
                ca_file=lab.pki / "ca.crt",
                token_file=token(api, name, Path(folder)),
            )
            found.add(name, config, Settings())
        try:
            yield found
        finally:
            found.kill()
