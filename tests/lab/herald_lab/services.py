# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""LoadBalancer Services whose backends are plain programs on the nodes.

There is no container runtime: a systemd unit on each backend node serves (meter/echo.py), and the
lab writes the EndpointSlices, one for each family. Backends outlive their node's loss of power.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from herald_lab import cgroups, nodes
from herald_lab.api import Api, Object
from herald_lab.commands import LabError, run, wait_until
from herald_lab.layout import NODES, Host, Lab

KINDS = {"http": "TCP", "tcp": "TCP", "udp": "UDP"}
OUTAGE_PORTS = "udp:9000,tcp:9000"
_FIRST_TARGET = 20_000  # the backends' own ports; a Service has a block of them on every node
_BLOCK = 16
_TARGET_ANNOTATION = "herald-lab/first-target-port"
_BACKEND_LABEL = "herald-lab/backend"  # the name of the backend that Services share
_UNIT = """\
[Unit]
Description=Backend of Service {namespace}/{name}

[Service]
ExecStart=/usr/bin/python3 /opt/lab/meter/echo.py --name {node} {ports}
Restart=always
RestartSec=1
DynamicUser=yes
# For a receive buffer beyond the node's limit.
AmbientCapabilities=CAP_NET_ADMIN

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Port:
    """What is served under `number`: http pages, tcp lines or udp datagrams."""

    kind: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


@dataclass(frozen=True, slots=True)
class Wish:
    """A Service as it was asked for; or, with `copies`, so many alike on one backend, NAME-1 to
    NAME-N."""

    name: str
    ports: tuple[Port, ...]
    namespace: str = "default"
    backends: tuple[Host, ...] = NODES
    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    load_balancer_class: str | None = None
    families: str = "SingleStack"
    local: bool = False
    copies: int = 0

    @property
    def names(self) -> list[str]:
        """The Services' names."""
        return [f"{self.name}-{n}" for n in range(1, self.copies + 1)] or [self.name]

    @property
    def paths(self) -> list[str]:
        return [f"{_services(self.namespace)}/{name}" for name in self.names]


def parse_ports(words: str, *, udp: bool = False) -> tuple[Port, ...]:
    """`http:80,udp:9000`, and those that the outage meter asks if `udp`."""
    found: dict[Port, None] = {}
    for word in [*words.split(","), *(OUTAGE_PORTS.split(",") if udp else ())]:
        kind, _, number = word.partition(":")
        if kind not in KINDS or not number.isdecimal() or not 0 < int(number) < 65536:
            raise LabError(f"ports: wanted {'|'.join(KINDS)}:1..65535, found {word!r}")
        found[Port(kind, int(number))] = None
    if len(found) > _BLOCK:
        raise LabError(f"ports: wanted at most {_BLOCK}, found {len(found)}")
    return tuple(found)


def make(lab: Lab, wish: Wish) -> None:
    """Make the Service or bring it to what is wished: backends first, so that it answers at once."""
    api = Api(lab)
    _make_namespace(api, wish.namespace)
    first = _first_target(api, wish)
    targets = {port: first + index for index, port in enumerate(wish.ports)}
    for machine in NODES:
        if machine in wish.backends:
            _start_backend(lab, machine, wish, targets)
        else:
            _stop_backend(lab, machine, wish.namespace, wish.name)
    for name, path in zip(wish.names, wish.paths, strict=True):
        api.apply(path, _service(wish, name, targets, first))
        for index, kind in enumerate(("IPv4", "IPv6")):
            slice_ = _slice(wish, name, targets, kind, index)
            api.apply(f"{_slices(wish.namespace)}/{slice_['metadata']['name']}", slice_)


def remove(lab: Lab, name: str, namespace: str = "default") -> None:
    """Remove the Service, with all its copies, and wait until it is gone, finalizers and all; then
    its backends."""
    api = Api(lab)
    mine = f"{_services(namespace)}?labelSelector={_BACKEND_LABEL}={name}"
    for service in api.request("GET", mine)["items"]:
        found = service["metadata"]["name"]
        for family in ("ipv4", "ipv6"):
            api.delete(f"{_slices(namespace)}/{found}-lab-{family}")
        api.delete(f"{_services(namespace)}/{found}")
    wait_until(
        f"Service {namespace}/{name} to go",
        lambda: not api.request("GET", mine)["items"],
        seconds=60,
    )
    for machine in NODES:
        _stop_backend(lab, machine, namespace, name)


def wait_for_addresses(lab: Lab, wish: Wish, seconds: float) -> list[str]:
    """The load-balancer addresses, once each Service has one."""
    api = Api(lab)
    deadline = time.monotonic() + seconds
    found: list[str] = []
    for path in wish.paths:
        while True:
            status = (api.get(path) or {}).get("status", {})
            if ingress := status.get("loadBalancer", {}).get("ingress", []):
                found += [entry["ip"] for entry in ingress]
                break
            if time.monotonic() > deadline:
                conditions = status.get("conditions", [])
                reasons = [f"{c['type']}: {c.get('message', '')}" for c in conditions]
                told = "; ".join(reasons) or "nobody said why"
                raise LabError(f"{path} has no address: {told}")
            time.sleep(0.1)
    return found


def _services(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


def _slices(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def _make_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    if api.get(path) is None:
        api.apply(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def _first_target(api: Api, wish: Wish) -> int:
    """The Service's block of backend ports: what it has, or the lowest that is free."""
    taken: set[int] = set()
    for service in api.request("GET", "/api/v1/services")["items"]:
        metadata = service["metadata"]
        first = metadata.get("annotations", {}).get(_TARGET_ANNOTATION)
        if first is None:
            continue
        if metadata["namespace"] == wish.namespace and metadata["name"] in wish.names:
            return int(first)
        taken.add(int(first))
    first = _FIRST_TARGET
    while first in taken:
        first += _BLOCK
    return first


def _service(wish: Wish, name: str, targets: dict[Port, int], first: int) -> Object:
    spec: Object = {
        "type": "LoadBalancer",
        "allocateLoadBalancerNodePorts": False,
        "ports": [
            {
                "name": port.name,
                "port": port.number,
                "targetPort": target,
                "protocol": KINDS[port.kind],
            }
            for port, target in targets.items()
        ],
        "externalTrafficPolicy": "Local" if wish.local else "Cluster",
    }
    if wish.families == "IPv6":
        spec |= {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}
    else:
        spec["ipFamilyPolicy"] = wish.families
    if wish.load_balancer_class is not None:
        spec["loadBalancerClass"] = wish.load_balancer_class
    metadata = {
        "name": name,
        "namespace": wish.namespace,
        "annotations": {**wish.annotations, _TARGET_ANNOTATION: str(first)},
        "labels": {**wish.labels, _BACKEND_LABEL: wish.name},
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _slice(wish: Wish, service: str, targets: dict[Port, int], kind: str, index: int) -> Object:
    labels = {
        "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": "herald-lab",
    }
    name = f"{service}-lab-{kind.lower()}"
    ready = {"ready": True, "serving": True, "terminating": False}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": wish.namespace, "labels": labels},
        "addressType": kind,
        "endpoints": [
            {"addresses": [host.addresses[index]], "nodeName": host.name, "conditions": ready}
            for host in wish.backends
        ],
        "ports": [
            {"name": port.name, "port": target, "protocol": KINDS[port.kind]}
            for port, target in targets.items()
        ],
    }


def _unit(namespace: str, name: str) -> str:
    return f"lab-backend-{namespace}-{name}.service"


def _start_backend(lab: Lab, machine: Host, wish: Wish, targets: dict[Port, int]) -> None:
    ports = " ".join(f"--{port.kind} {target}" for port, target in targets.items())
    text = _UNIT.format(
        namespace=wish.namespace, name=wish.name, node=machine.name, ports=ports
    )  # fmt: skip
    unit = _unit(wish.namespace, wish.name)
    script = (
        f"set -e; f=/etc/systemd/system/{unit}; new=$(cat); "
        'if [ "$new" != "$(cat $f 2>/dev/null)" ]; then printf "%s\\n" "$new" > $f; '
        f"systemctl daemon-reload; systemctl enable -q {unit}; systemctl restart {unit}; "
        f"else systemctl start {unit}; fi"
    )
    inside = nodes.into(lab, machine.name)
    run(*inside, "/bin/sh", "-c", script, stdin=text)
    _wait_for_backend(inside, machine, targets)


def _wait_for_backend(inside: list[str], machine: Host, targets: dict[Port, int]) -> None:
    wanted = {(KINDS[port.kind].lower(), target) for port, target in targets.items()}

    def listening() -> bool:
        lines = run(*inside, "ss", "-Hltun").splitlines()
        found = {(words[0], int(words[4].rpartition(":")[2])) for words in map(str.split, lines)}
        return wanted <= found

    wait_until(f"the backend on {machine.name} to listen", listening, seconds=20)


def _stop_backend(lab: Lab, machine: Host, namespace: str, name: str) -> None:
    """Stop and forget it; a node without power, or frozen, keeps its unit until it is told again."""
    if not nodes.leader(lab, machine.name) or cgroups.frozen(lab.node_cgroup(machine.name)):
        return
    unit = _unit(namespace, name)
    script = (
        f"f=/etc/systemd/system/{unit}; [ -e $f ] || exit 0; "
        f"systemctl disable -q --now {unit}; rm $f; systemctl daemon-reload"
    )
    run(*nodes.into(lab, machine.name), "/bin/sh", "-c", script)
