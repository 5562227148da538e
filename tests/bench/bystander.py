# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What an agent keeps for a Service that it neither allocates for nor announces.

    .venv/bin/python tests/bench/bystander.py [--services N]

Services, their EndpointSlices and VIP leases come as JSON in pages of 200, as from the API server, and go through
decoding into a decider that is no allocator; another node announces every address. The figure is what the process holds
more than before, divided by the Services. An allocator is measured beside it: the same decider, once it has the lease.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "agent" / "src"))

from ipaddress import IPv4Address, IPv4Interface

from herald.core.events import InterfacesSeen, KernelRead, Kind, Listed
from herald.core.kernel import Session
from herald.core.model import (
    Endpoints,
    Identity,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
)
from herald.core.settings import Settings
from herald.core.step import Decider
from herald.kube.decode import decode

PAGE = 200
FIRST = IPv4Address("10.0.0.0")
SECOND = 1_000_000_000
MANAGED = [
    {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {}}}}
] * 3


def service_json(number: int) -> dict[str, object]:
    told = {"status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    address = str(FIRST + number)
    return {
        "metadata": {
            "namespace": f"namespace-{number % 100}",
            "name": f"service-{number}",
            "uid": f"00000000-0000-0000-0000-{number:012}",
            "resourceVersion": str(1000 + number),
            "labels": {"app": f"app-{number}", "team": f"team-{number % 50}"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 400},
            "managedFields": MANAGED,
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": 443}],
            "selector": {"app": f"app-{number}"},
            "externalTrafficPolicy": "Cluster",
        },
        "status": {
            "loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]},
            "conditions": [
                {
                    **told,
                    "type": "herald.dev/Allocated",
                    "reason": "Allocated",
                    "message": f"{address} of pool p",
                },
                {
                    **told,
                    "type": "herald.dev/Announced",
                    "reason": "Announced",
                    "message": f"{address} by n2 on eth0 (02:00:00:00:00:02)",
                },
            ],
        },
    }


def slice_json(number: int) -> dict[str, object]:
    return {
        "metadata": {
            "namespace": f"namespace-{number % 100}",
            "name": f"service-{number}-abcde",
            "labels": {"kubernetes.io/service-name": f"service-{number}"},
            "resourceVersion": "1",
            "managedFields": MANAGED,
        },
        "endpoints": [
            {"addresses": ["10.1.0.1"], "nodeName": f"n{node}", "conditions": {"ready": True}}
            for node in (2, 3)
        ],
    }


def lease_json(number: int) -> dict[str, object]:
    return {
        "metadata": {
            "name": f"vip-{FIRST + number}",
            "uid": f"10000000-0000-0000-0000-{number:012}",
            "resourceVersion": str(100_000 + number),
            "finalizers": ["herald.dev/lease"],
            "annotations": {
                "herald.dev/pool": "p",
                "herald.dev/services": f"namespace-{number % 100}/service-{number}",
                "herald.dev/epoch": "20000000-0000-0000-0000-000000000002/1",
                "herald.dev/reason": "first announcement",
            },
            "managedFields": MANAGED,
        },
        "spec": {"holderIdentity": "n2", "leaseTransitions": 1},
    }


def listed(kind: Kind, made: object, count: int) -> Listed:
    """As the reflector does: page by page, of which nothing is kept but the values."""
    found = []
    for first in range(0, count, PAGE):
        numbers = range(first, min(first + PAGE, count))
        page = json.loads(json.dumps([made(number) for number in numbers]))  # type: ignore[operator]
        found += [decode(kind, each) for each in page]
    return Listed(kind, tuple(found))


def resident() -> float:
    """Megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def decider_of(count: int) -> Decider:
    mac = bytes.fromhex("020000000001")
    interface = Interface(
        2, "eth0", mac, up=True, carrier=True, addresses=(IPv4Interface("192.0.2.1/24"),)
    )
    decider = Decider(Settings(), Identity("n1", "machine", "nonce", "0"))
    decider.step(KernelRead(Session(), {}), SECOND)
    decider.step(InterfacesSeen((interface,)), SECOND)
    nodes = tuple(Node(f"n{n}", f"node-{n}", {}, {}, (), ready=True) for n in (1, 2, 3))
    decider.step(Listed(Node, nodes), SECOND)
    decider.step(Listed(Policy, (Policy("all", "p", 1, 1, load_balancer_ips=True),)), SECOND)
    decider.step(Listed(Pool, ()), SECOND)
    for kind, made in ((Service, service_json), (Endpoints, slice_json), (Lease, lease_json)):
        decider.step(listed(kind, made, count), SECOND)
    return decider


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--services", type=int, default=5000)
    options = parser.parse_args()
    decider_of(PAGE)  # what a page costs while it is decoded, once
    before = resident()
    decider = decider_of(options.services)
    grown = resident() - before
    print(
        f"{options.services} Services that other nodes announce: {grown:.1f} MB, "
        f"{grown * 1e6 / options.services:.0f} bytes each (Service, EndpointSlice and VIP lease)"
    )
    if decider.status(SECOND).allocator:
        print("measured an allocator, not a bystander")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
