# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the address book costs: 100,000 Services in 50 pools, 1,000 on one address, and 10,000 pools.

    .venv/bin/python tests/bench/ipam.py [--services N] [--pools N] [--sharers N] [--many-pools N]
    .venv/bin/python tests/bench/ipam.py --decider [--services N]

Each from a fresh book: the first sync of Services without addresses (at most 10 s and 250 MB), and the first sync
after a restart (everything is recorded already, nothing may be decided anew); then single changes of Services (at
most 1 ms each), and of pools. Then the first sync of Services that share one address, each of a namespace of its own
(at most 3 s), and edits of their ports (at most 2 ms each); and single pools more, where there are thousands that
overlap (at most 5 ms each). Memory is what the process holds more than before, the Services themselves included, but
no JSON, no leases and no statuses. Time is of one core.

``--decider`` measures the memory of the whole decider of an agent that allocates instead (at most 280 MB), and of what:
the Services as they are decoded, their EndpointSlices, their VIP leases with the locks, and what it keeps more once it
allocates. (They come as those of tests/bench/bystander.py do.)

Exit status: 0 within these; 1 beyond one of them, or what should have changed nothing did.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from sys import intern

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "agent" / "src"))

from tests.bench import bystander
from tests.services import service as plain_service

from herald.core.allocation.ipam import Ipam, Record
from herald.core.events import Listed
from herald.core.model import (
    Block,
    Endpoints,
    Lease,
    Pool,
    Selector,
    Service,
    ServiceKey,
    ServicePort,
)
from herald.shell.main import collect_seldom

SYNC = 10.0  # seconds
MEMORY = 250.0  # megabytes
DECIDER = 280.0  # megabytes, with all that an agent knows
CHANGE = 1.0  # milliseconds, the longest of them
SHARED_SYNC = 3.0  # seconds
SHARED_CHANGE = 2.0  # milliseconds, the longest of them
ONE_MORE_POOL = 5.0  # milliseconds, the longest of them
_PORTS = (ServicePort("TCP", 80), ServicePort("TCP", 443))


def make_service(number: int, pools: int) -> Service:
    """As it is decoded: a namespace and a label's value are kept once."""
    return plain_service(
        namespace=intern(f"namespace-{number % 1000}"),
        name=f"service-{number}",
        uid=f"00000000-0000-0000-0000-{number:012}",
        resource_version=number,
        labels={"app": f"app-{number}", "pool": intern(f"pool-{number % pools}")},
        ports=_PORTS,
    )


def make_pool(number: int, pools: int) -> Pool:
    """Every other pool selects by label; the rest takes whom no label sends elsewhere."""
    name = f"pool-{number}"
    return Pool(
        name=name,
        uid=name,
        resource_version=1,
        generation=1,
        created="2026-01-01T00:00:00Z",
        blocks=(Block(cidr=f"10.{number}.0.0/16"),),
        service_selector=Selector({"pool": name}) if number % 2 else Selector(),
        priority=number % pools,
        avoid_buggy_ips=number % 5 == 0,
    )


def work_off(ipam: Ipam) -> dict[IPv4Address, Record]:
    """What the decider does: decide, create the VIP lease, see it."""
    made = {}
    for key in ipam.dirty():
        for record in ipam.decide(key).give:
            ipam.expect(record)
            ipam.put_record(record)
            ipam.settle(record.address)
            made[record.address] = record
    return made


def resident() -> float:
    """Megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def sync(services: int, pools: int) -> tuple[Ipam, dict[ServiceKey, Service], float]:
    ipam = Ipam(True, ())
    known = {}
    begun = time.process_time()
    for number in range(pools):
        ipam.put_pool(make_pool(number, pools))
    for number in range(services):
        service = make_service(number, pools)
        known[service.key] = service
        ipam.put_service(service)
    made = work_off(ipam)
    for address, record in made.items():
        (key,) = record.services
        known[key] = replace(known[key], ingress=(str(address),))
        ipam.put_service(known[key])
    changes = [ipam.decide(key) for key in ipam.dirty()]
    seconds = time.process_time() - begun
    if len(made) != services or any(change.give or change.release for change in changes):
        raise SystemExit("not every Service got an address, or one was to be changed")
    return ipam, known, seconds


def change_services(ipam: Ipam, services: list[Service]) -> list[float]:
    """Every other one wants another address, the rest is deleted; milliseconds of each."""
    spent = []
    for number, service in enumerate(services):
        begun = time.process_time()
        if number % 2:
            ipam.put_service(replace(service, annotations={"herald.dev/ips": "10.0.255.1"}))
        else:
            ipam.drop_service(service.key)
            for address in ipam.decide(service.key).release:
                ipam.drop_record(address)
        work_off(ipam)
        spent.append((time.process_time() - begun) * 1e3)
    return spent


def change_pools(ipam: Ipam, pools: int) -> list[float]:
    """Each excludes an address now, and everybody whom that may concern is asked; milliseconds of each."""
    spent = []
    for number in range(pools):
        begun = time.process_time()
        exclude = (Block(start=f"10.{number}.255.9"),)
        ipam.put_pool(replace(make_pool(number, pools), generation=2, exclude=exclude))
        work_off(ipam)
        spent.append((time.process_time() - begun) * 1e3)
    return spent


def make_sharer(number: int, port: int) -> Service:
    return replace(
        make_service(number, 1),
        namespace=f"namespace-{number}",
        annotations={"herald.dev/sharing-key": "k", "herald.dev/sharing-cross-namespace": "*"},
        ports=(ServicePort("TCP", port),),
    )


def share(sharers: int) -> tuple[float, list[float]]:
    """Seconds of the first sync, and milliseconds of each edit of a port afterwards."""
    ipam = Ipam(True, ())
    begun = time.process_time()
    ipam.put_pool(make_pool(0, 1))
    for number in range(sharers):
        ipam.put_service(make_sharer(number, number + 1))
    work_off(ipam)
    seconds = time.process_time() - begun
    spent = []
    for number in range(0, sharers, max(1, sharers // 100)):
        begun = time.process_time()
        ipam.put_service(make_sharer(number, number + 30_000))
        work_off(ipam)
        spent.append((time.process_time() - begun) * 1e3)
    status = ipam.pool_status("pool-0")
    if status is None or status.ips_used != "1":
        raise SystemExit("not all share one address")
    return seconds, spent


def add_pools(pools: int) -> list[float]:
    """Milliseconds of each of some more pools, where each overlaps the one before it."""

    def put(number: int) -> None:
        first, last = IPv4Address("10.0.0.0") + number * 2, IPv4Address("10.0.0.3") + number * 2
        block = Block(start=str(first), stop=str(last))
        pool = replace(make_pool(0, 1), name=f"pool-{number:06}", blocks=(block,))
        ipam.put_pool(pool)

    ipam = Ipam(True, ())
    for number in range(pools):
        put(number)
    list(ipam.dirty_pools())
    spent = []
    for number in range(pools, pools + 100):
        begun = time.process_time()
        put(number)
        if len(list(ipam.dirty_pools())) != 2:
            raise SystemExit("one more pool is not news of itself and its neighbour")
        spent.append((time.process_time() - begun) * 1e3)
    return spent


def weigh_decider(services: int) -> float:
    """Print what the parts of a whole decider take; megabytes in all."""
    agent = bystander.begun()
    before = begun = resident()

    def tell(what: str) -> None:
        nonlocal before
        now = resident()
        more, all_ = now - before, now - begun
        print(
            f"{what}: {more:.1f} MB, {more * 1e6 / services:.0f} bytes each, {all_:.1f} MB in all"
        )
        before = now

    for what, kind, made in (
        ("Services", Service, bystander.service_json),
        ("EndpointSlices", Endpoints, bystander.slice_json),
        ("VIP leases and locks", Lease, bystander.lease_json),
    ):
        others = agent.store.values() if kind is Lease else ()
        agent.post(Listed(kind, (*others, *bystander.decoded(kind, made, services))))
        bystander.work_off(agent)
        tell(what)
    bystander.give_ipam(agent)
    if not bystander.allocates(agent) or bystander.written(agent):
        raise SystemExit("it does not allocate, or would have written something")
    agent.done.clear()
    tell("what allocating takes")
    return before - begun


def spelled(spent: list[float]) -> str:
    return f"{sum(spent) / len(spent):.3f} ms, worst {max(spent):.3f} ms"


def missed(bounds: list[tuple[str, float, float, str]]) -> int:
    """Print which of them are not kept: what, found, wanted at most, unit; the exit status."""
    beyond = [each for each in bounds if each[1] > each[2]]
    for what, found, wanted, unit in beyond:
        print(f"ipam: {what}: wanted at most {wanted:g} {unit}, found {found:.3f} {unit}")
    return 1 if beyond else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--services", type=int, default=100_000)
    parser.add_argument("--pools", type=int, default=50)
    parser.add_argument("--sharers", type=int, default=1000)
    parser.add_argument("--many-pools", type=int, default=10_000)
    parser.add_argument("--decider", action="store_true")
    options = parser.parse_args()

    bystander.run_as_the_unit_does()
    collect_seldom()
    if options.decider:
        bystander.bystander(bystander.PAGE)  # what a page costs while it is decoded, once
        return missed([("the decider", weigh_decider(options.services), DECIDER, "MB")])
    before = resident()
    ipam, services, first = sync(options.services, options.pools)
    print(f"first sync: {options.services} Services, {options.pools} pools: {first:.2f} s")
    memory = resident() - before
    print(f"memory: {memory:.0f} MB more, the Services included")

    begun = time.process_time()
    again = Ipam(True, ())
    for number in range(options.pools):
        again.put_pool(make_pool(number, options.pools))
    for key, service in services.items():
        address = IPv4Address(service.ingress[0])
        again.put_record(Record(address, f"pool-{int(address) >> 16 & 255}", (key,)))
        again.put_service(service)
    if any(decision.give or decision.release for decision in map(again.decide, again.dirty())):
        raise SystemExit("a restart changed something")
    print(f"restart: {time.process_time() - begun:.2f} s, nothing given, nothing released")

    some = list(services.values())[:: max(1, options.services // 1000)]
    changes = change_services(ipam, some)
    print(f"a change of a Service: {spelled(changes)}")
    print(f"a change of a pool: {spelled(change_pools(ipam, options.pools))}")

    shared, edits = share(options.sharers)
    print(f"first sync of {options.sharers} on one address: {shared:.2f} s")
    print(f"an edit of one of them: {spelled(edits)}")

    more = add_pools(options.many_pools)
    print(f"one more than {options.many_pools} pools: {spelled(more)}")

    return missed(
        [
            ("first sync", first, SYNC, "s"),
            ("memory", memory, MEMORY, "MB"),
            ("a change of a Service", max(changes), CHANGE, "ms"),
            ("first sync on one address", shared, SHARED_SYNC, "s"),
            ("an edit of one who shares", max(edits), SHARED_CHANGE, "ms"),
            ("one more pool", max(more), ONE_MORE_POOL, "ms"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
