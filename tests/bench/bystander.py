# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What an agent keeps for a Service that it neither allocates for nor announces, and what it keeps if it allocates.

    .venv/bin/python tests/bench/bystander.py [--services N]

Services, their EndpointSlices and VIP leases come as JSON in pages of 200, as from the API server, and go through
decoding into the decider of a node that is live; another node allocates, and announces every address. A figure is what
the process holds more than before, divided by the Services. Then come as many EndpointSlices of Services of another
type (every agent watches all EndpointSlices), and then the other node lets go of the lease `ipam`: the same decider,
once it has it and has looked at every Service.

Exit status: 0 measured; 1 what was measured is not what is meant (who allocates when, or something was to be written).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "agent" / "src"))

from tests.unit.core.alone import ETH0, Alone, node, peer

from herald.core import effects as fx
from herald.core.events import Changed, Event, InterfacesSeen, Kind, KubeObject, Listed
from herald.core.leases import EPOCH, Presence, new_vip_lease, released
from herald.core.model import (
    IPAM_LEASE,
    MILLISECOND,
    Block,
    Endpoints,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
)
from herald.kube.decode import decode
from herald.shell.main import collect_seldom

UNIT = Path(__file__).parents[2] / "roles" / "agent" / "templates" / "herald-agent.service.j2"
PAGE = 200
FIRST = IPv4Address("10.0.0.0")
MADE = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = peer("n2", 2, uid="20000000-0000-0000-0000-000000000002", transitions=1)
"""The presence of the node that announces."""
LISTED = 10_000_000
"""Nothing that is listed has a higher resourceVersion."""
MANAGED = [
    {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {}}}}
] * 3


def service_json(number: int) -> dict[str, object]:
    told = {"status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    address = str(FIRST + number)
    written = (MADE + timedelta(seconds=number // 50)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {
            "namespace": f"namespace-{number % 100}",
            "name": f"service-{number}",
            "uid": f"00000000-0000-0000-0000-{number:012}",
            "resourceVersion": str(1000 + number),
            "labels": {"app": f"app-{number}", "team": f"team-{number % 50}"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 400},
            "managedFields": [entry | {"time": written} for entry in MANAGED],
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
                EPOCH: str(Presence(OTHER).epoch),
                "herald.dev/reason": "first announcement",
            },
            "managedFields": MANAGED,
        },
        "spec": {
            "holderIdentity": "n2",
            "leaseTransitions": 1,
            "acquireTime": (MADE + timedelta(milliseconds=number)).strftime(
                "%Y-%m-%dT%H:%M:%S.%fZ"
            ),
        },
    }


def foreign_slice_json(number: int) -> dict[str, object]:
    """Of a Service that is not of type LoadBalancer, so that nothing else is known of it."""
    slice_ = slice_json(number)
    return slice_ | {
        "metadata": slice_["metadata"]
        | {
            "name": f"inner-{number}-abcde",
            "labels": {"kubernetes.io/service-name": f"inner-{number}"},
        }
    }


def decoded(
    kind: Kind, made: Callable[[int], dict[str, object]], count: int
) -> Iterator[KubeObject]:
    """As the reflector does: page by page, of which nothing is kept but the values."""
    for first in range(0, count, PAGE):
        numbers = range(first, min(first + PAGE, count))
        page = json.loads(json.dumps([made(number) for number in numbers]))
        yield from [decode(kind, each) for each in page]


class Agent(Alone):
    """Keeps nothing of what happened beside what the decider does."""

    def _note(self, event: Event) -> None:
        pass


def begun() -> Agent:
    """Knows its nodes, policy and pool; the other node allocates."""
    agent = Agent()
    agent.version = LISTED  # what it writes itself comes after all that is listed
    allocates = new_vip_lease(IPAM_LEASE, {EPOCH: str(Presence(OTHER).epoch)})
    agent.put(OTHER)
    agent.put(replace(allocates, holder=OTHER.holder))
    agent.post(
        InterfacesSeen((ETH0,)),
        Listed(Node, tuple(node(name) for name in ("n1", "n2", "n3"))),
        Listed(Policy, (Policy("all", "p", 1, 1, load_balancer_ips=True),)),
        Listed(Pool, (Pool("p", "q", 1, 1, "2026-01-01T00:00:00Z", (Block(cidr="10.0.0.0/8"),)),)),
    )
    return agent


def bystander(count: int) -> Agent:
    agent = begun()
    agent.post(
        Listed(Service, tuple(decoded(Service, service_json, count))),
        Listed(Endpoints, tuple(decoded(Endpoints, slice_json, count))),
        Listed(Lease, (*agent.store.values(), *decoded(Lease, lease_json, count))),
    )
    work_off(agent)
    return agent


def work_off(agent: Agent) -> None:
    """Until it wants nothing more at once."""
    agent.live(100 * MILLISECOND)
    while agent.agent.next_deadline() == 0:
        agent.live(100 * MILLISECOND)


def give_ipam(agent: Agent) -> None:
    agent.show(released(agent.store[IPAM_LEASE], "n2: drained"))
    work_off(agent)


def allocates(agent: Agent) -> bool:
    return agent.agent.status(agent.now).allocator


def written(agent: Agent) -> bool:
    """Whether it would have changed anything of Services, or of leases but its presence and `ipam`."""
    leases = {request.lease.name for request in agent.effects(fx.LeaseRequest)}
    return bool(agent.effects(fx.PatchService)) or bool(leases - {"presence-n1", IPAM_LEASE})


def run_as_the_unit_does() -> None:
    """In the environment that the agent's unit has it run in, by beginning anew: it decides what glibc keeps."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    told = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    environment = os.environ | dict(each.split("=", 1) for each in told)
    if environment != os.environ:
        os.execve(sys.executable, sys.orig_argv, environment)


def resident() -> float:
    """Megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--services", type=int, default=5000)
    count = parser.parse_args().services
    run_as_the_unit_does()
    collect_seldom()
    bystander(PAGE)  # what a page costs while it is decoded, once
    before = resident()

    def tell(what: str) -> None:
        grown = resident() - before
        print(f"{what}: {grown:.1f} MB, {grown * 1e6 / count:.0f} bytes each")

    agent = bystander(count)
    tell(f"{count} Services that another node announces, with EndpointSlice and VIP lease")
    good = not (allocates(agent) or written(agent))
    with_services = resident()
    for each in decoded(Endpoints, foreign_slice_json, count):
        agent.post(Changed(each))
    slices = resident() - with_services
    print(
        f"{count} EndpointSlices of others: {slices:.1f} MB, {slices * 1e6 / count:.0f} bytes each"
    )
    before += slices
    give_ipam(agent)
    good = good and allocates(agent) and not written(agent)
    agent.done.clear()
    tell("the Services, once it allocates")
    if not good:
        print("bystander: it allocated too early, or not at all, or would have written something")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
