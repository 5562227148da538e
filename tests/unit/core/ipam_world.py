# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A cluster as address management sees it: objects, VIP leases, and allocators that watch and write.

The API server's part is what matters to uniqueness: a VIP lease is created once, changed only from the
state that was read, and every change reaches every watcher, in order, some time later. An allocator does
what the agent's decider does, one small step at a time, so that a test can put the steps in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Literal

from herald.core.allocation.ipam import Decision, Ipam, Record, ingress_due, needs_records
from herald.core.model import (
    Address,
    Block,
    Condition,
    Pool,
    Requirement,
    Selector,
    Service,
    ServiceKey,
    ServicePort,
)

MAC = "02:00:5e:00:00:01"


def key_of(name: str) -> ServiceKey:
    """``web`` is short for ``default/web``."""
    namespace, slash, rest = name.partition("/")
    return (namespace, rest) if slash else ("default", name)


def service(
    name: str,
    *,
    ips: str = "",
    pool: str = "",
    key: str = "",
    cross: str = "",
    families: str = "4",
    policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] = "SingleStack",
    ports: str = "80",
    local: bool = False,
    to: str = "app",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    type: str = "LoadBalancer",  # noqa: A002 (the field's name)
    lb_class: str | None = None,
    lb_ip: str = "",
    external: str = "",
    shows: str = "",
    hostname: bool = False,
    ours: bool = False,
    deleting: bool = False,
) -> Service:
    """A Service in few words: ``families="46"``, ``ports="80,53/UDP"``, ``shows="192.0.2.1"``."""
    own = {
        "herald.dev/ips": ips,
        "herald.dev/pool": pool,
        "herald.dev/sharing-key": key,
        "herald.dev/sharing-cross-namespace": cross,
    }
    said = "; ".join(f"{address} of pool p" for address in filter(None, shows.split(",")))
    condition = Condition("herald.dev/Allocated", "True", "Allocated", said)
    namespace, short = key_of(name)
    return Service(
        namespace=namespace,
        name=short,
        uid=name,
        resource_version=0,
        labels=labels or {},
        annotations={**{k: v for k, v in own.items() if v}, **(annotations or {})},
        type=type,
        load_balancer_class=lb_class,
        load_balancer_ip=lb_ip,
        ip_families=tuple(6 if each == "6" else 4 for each in families),
        ip_family_policy=policy,
        external_ips=tuple(filter(None, external.split(","))),
        ports=tuple(map(_port, ports.split(","))),
        external_traffic_policy="Local" if local else "Cluster",
        selector={"app": to},
        ingress=tuple(filter(None, shows.split(","))),
        conditions=(condition,) if ours else (),
        deleting=deleting,
        served_otherwise=hostname,
    )


def _port(text: str) -> ServicePort:
    port, _, protocol = text.partition("/")
    return ServicePort(protocol or "TCP", int(port))


def pool(
    name: str,
    blocks: str,
    *,
    exclude: str = "",
    select: dict[str, str] | None = None,
    expressions: tuple[Requirement, ...] = (),
    born: int = 0,
    priority: int = 100,
    first_last: bool = True,
    avoid_buggy: bool = False,
    auto: bool = True,
    disabled: bool = False,
    generation: int = 1,
) -> Pool:
    """A pool in few words: ``blocks="192.0.2.0/24, 198.51.100.1-198.51.100.9, 203.0.113.7"``."""
    return Pool(
        name=name,
        uid=name,
        resource_version=1,
        generation=generation,
        created=f"2026-01-{born + 1:02}T00:00:00Z",
        blocks=tuple(map(_block, filter(None, blocks.split(",")))),
        exclude=tuple(map(_block, filter(None, exclude.split(",")))),
        service_selector=Selector(select or {}, expressions),
        allow_first_last_ips=first_last,
        avoid_buggy_ips=avoid_buggy,
        auto_assign=auto,
        priority=priority,
        disabled=disabled,
    )


def _block(text: str) -> Block:
    text = text.strip()
    if "/" in text:
        return Block(cidr=text)
    start, _, stop = text.partition("-")
    return Block(start=start.strip(), stop=stop.strip())


@dataclass
class Write:
    """A request to the API server: sent, carried out, answered; each in its time."""

    key: ServiceKey
    send: Callable[[], bool]
    answered: Callable[[bool], None]
    accepted: bool | None = None


@dataclass
class Cluster:
    """The API server."""

    services: dict[ServiceKey, Service] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    leases: dict[Address, Record] = field(default_factory=dict)
    allocators: list[Allocator] = field(default_factory=list)
    writes: int = 0
    revision: int = 0

    # --- What people do --------------------------------------------------------------------------------

    def put(self, *objects: Service | Pool) -> None:
        """As ``kubectl apply``: the status stays, unless the object brings one."""
        for each in objects:
            if isinstance(each, Pool):
                self.pools[each.name] = each
                self._tell(lambda heard, each=each: heard.put_pool(each))
                continue
            old = self.services.get(each.key)
            bare = not (each.ingress or each.served_otherwise)
            if old and bare and each.type == "LoadBalancer":
                each = replace(
                    each,
                    ingress=old.ingress,
                    served_otherwise=old.served_otherwise,
                    conditions=old.conditions,
                )
            self._store(replace(each, written=f"{self.revision:06}"))

    def delete(self, name: str) -> None:
        if name in self.pools:
            del self.pools[name]
            self._tell(lambda heard: heard.drop_pool(name))
        else:
            key = key_of(name)
            del self.services[key]
            self._tell(lambda heard: heard.drop_service(key))

    def _store(self, service: Service) -> None:
        self.revision += 1
        service = replace(service, resource_version=self.revision)
        self.services[service.key] = service
        self._tell(lambda heard: heard.put_service(service))

    def _tell(self, change: Callable[[Heard], None]) -> None:
        for allocator in self.allocators:
            allocator.unread.append(change)

    def write_status(self, key: ServiceKey) -> None:
        """Somebody's write that leaves all as it was, but for the resourceVersion."""
        self._store(self.services[key])

    # What an allocator has decided to do, and what was accepted of it, to be looked at by a model.

    def about_to_give(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        pass

    def about_to_release(self, giver: Allocator, key: ServiceKey, address: Address) -> None:
        pass

    def about_to_show(self, giver: Allocator, key: ServiceKey, decision: Decision) -> None:
        pass

    def was_given(self, giver: Allocator, key: ServiceKey, record: Record) -> None:
        pass

    def was_released(self, key: ServiceKey, address: Address) -> None:
        pass

    def was_shown(self, before: Service, after: Service) -> None:
        pass

    # --- What allocators write -------------------------------------------------------------------------

    def give(self, record: Record, expected: Record | None) -> bool:
        """Create the VIP lease, or change it from what it was read as."""
        self.writes += 1
        if self.leases.get(record.address) != expected:
            return False
        self._put_lease(record)
        return True

    def release(self, address: Address, key: ServiceKey, expected: Record) -> bool:
        """Take the Service out of the VIP lease; delete it when nobody is left."""
        self.writes += 1
        if self.leases.get(address) != expected:
            return False
        rest = expected.left(key)
        if rest.services:
            self._put_lease(rest)
        else:
            self.lose_lease(address)
        self.was_released(key, address)
        return True

    def lose_lease(self, address: Address) -> None:
        """As when etcd is restored from a backup that is older than the lease."""
        del self.leases[address]
        self.revision += 1
        revision = self.revision
        self._tell(lambda heard: heard.lease_gone(address, revision))

    def _put_lease(self, record: Record) -> None:
        self.leases[record.address] = record
        self.revision += 1
        revision = self.revision
        self._tell(lambda heard: heard.lease(record, revision))

    def patch_status(self, read: Service, decision: Decision) -> bool:
        self.writes += 1
        now = before = self.services.get(read.key)
        if now is None or before is None or now.resource_version != read.resource_version:
            return False
        ingress = ingress_due(read, decision)
        if ingress is not None:
            now = replace(now, ingress=ingress, served_otherwise=False)
        self._store(replace(now, conditions=wanted_conditions(decision)))
        self.was_shown(before, self.services[read.key])
        return True


def wanted_ingress(service: Service, decision: Decision) -> tuple[str, ...]:
    due = ingress_due(service, decision)
    return service.ingress if due is None else due


def wanted_conditions(decision: Decision) -> tuple[Condition, ...]:
    return (decision.condition,) if decision.condition else ()


class Allocator:
    """An agent that allocates. Every method is one step; nothing happens between them."""

    def __init__(
        self, cluster: Cluster, *, default_class: bool = True, adopt: tuple[str, ...] = ()
    ):
        self.cluster = cluster
        self.ipam = Ipam(default_class, adopt)
        self.unread: deque[Callable[[Heard], None]] = deque()
        self.under_way: deque[Write] = deque()
        self.read: dict[ServiceKey, Service] = {}
        self.busy: set[Address | ServiceKey] = set()
        """One write at a time for each lease and each status."""
        self.again: set[ServiceKey] = set()
        """Services whose decision could not be carried out in full yet."""
        self.known_pools: dict[str, Pool] = {}
        self.records: dict[Address, Record] = {}
        """VIP leases as this allocator has seen them, and when."""
        self.heard: dict[Address, int] = {}
        self.expected: dict[Address, Record] = {}
        """VIP leases as they will be if the writes under way succeed."""
        self._watch()

    def _watch(self) -> None:
        """List everything, then watch."""
        for pool_object in self.cluster.pools.values():
            self.ipam.put_pool(pool_object)
        for record in self.cluster.leases.values():
            self.ipam.put_record(record)
        for each in self.cluster.services.values():
            self.ipam.put_service(each)
        self.heard = dict.fromkeys(self.cluster.leases, self.cluster.revision)
        self.read = dict(self.cluster.services)
        self.known_pools = dict(self.cluster.pools)
        self.records = dict(self.cluster.leases)
        self.cluster.allocators.append(self)

    def hear(self) -> None:
        """The next event of the watch."""
        self.unread.popleft()(Heard(self))

    def decide_next(self) -> bool:
        """Decide one Service and send what follows. False: there is none to decide."""
        key = next(self.ipam.dirty(), None)
        if key is None:
            if not self.again:
                return False
            key = min(self.again)
        self.again.discard(key)
        self._carry_out(key, self.ipam.decide(key))
        return True

    def send_next(self) -> None:
        """The API server carries out the oldest write that it has not carried out yet."""
        for write in self.under_way:
            if write.accepted is None:
                write.accepted = write.send()
                return

    def hear_answer(self) -> None:
        """The oldest write's answer arrives (it is carried out first, if it was not yet)."""
        write = self.under_way.popleft()
        if write.accepted is None:
            write.accepted = write.send()
        write.answered(write.accepted)
        self.again.add(write.key)

    def _carry_out(self, key: ServiceKey, decision: Decision) -> None:
        for record in decision.give:
            self._give(key, record)
        read = self.read.get(key)
        if read and decision.settled:
            self._show(key, decision)
        if read and needs_records(read, decision):
            return
        for address in decision.release:
            self._release(key, address)

    def _give(self, key: ServiceKey, record: Record) -> None:
        address, expected = record.address, self.records.get(record.address)
        if address in self.busy:
            self.again.add(key)
            return
        self.cluster.about_to_give(self, key, record)
        self.busy.add(address)
        self.expected[address] = record
        self.ipam.expect(record)

        def answered(accepted: bool) -> None:
            self.busy.discard(address)
            del self.expected[address]
            if accepted:
                Heard(self).lease(record, revision)
            self.ipam.settle(address)

        def send() -> bool:
            nonlocal revision
            accepted = self.cluster.give(record, expected)
            revision = self.cluster.revision
            if accepted:
                self.cluster.was_given(self, key, record)
            return accepted

        revision = 0
        self.under_way.append(Write(key, send, answered))

    def _release(self, key: ServiceKey, address: Address) -> None:
        expected = self.records.get(address)
        if expected is None or address in self.busy:
            self.again.add(key)
            return
        self.cluster.about_to_release(self, key, address)
        self.busy.add(address)

        def answered(_: bool) -> None:
            self.busy.discard(address)

        write = Write(key, lambda: self.cluster.release(address, key, expected), answered)
        self.under_way.append(write)

    def _show(self, key: ServiceKey, decision: Decision) -> None:
        read = self.read[key]
        ingress, conditions = wanted_ingress(read, decision), wanted_conditions(decision)
        if (read.ingress, read.conditions) == (ingress, conditions):
            return
        if key in self.busy:
            self.again.add(key)
            return
        self.cluster.about_to_show(self, key, decision)
        self.busy.add(key)

        def answered(_: bool) -> None:
            self.busy.discard(key)

        send = lambda: self.cluster.patch_status(read, decision)  # noqa: E731
        self.under_way.append(Write(key, send, answered))


class Heard:
    """What the watch brings, kept as the decider keeps it, and told to address management."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._ipam = allocator.ipam

    def put_service(self, each: Service) -> None:
        self._allocator.read[each.key] = each
        self._ipam.put_service(each)

    def drop_service(self, key: ServiceKey) -> None:
        self._allocator.read.pop(key, None)
        self._ipam.drop_service(key)

    def put_pool(self, each: Pool) -> None:
        self._allocator.known_pools[each.name] = each
        self._ipam.put_pool(each)

    def drop_pool(self, name: str) -> None:
        self._allocator.known_pools.pop(name, None)
        self._ipam.drop_pool(name)

    def lease(self, record: Record, revision: int) -> None:
        if self._is_news(record.address, revision):
            self._allocator.records[record.address] = record
            self._ipam.put_record(record)

    def lease_gone(self, address: Address, revision: int) -> None:
        if self._is_news(address, revision):
            self._allocator.records.pop(address, None)
            self._ipam.drop_record(address)

    def _is_news(self, address: Address, revision: int) -> bool:
        """An answer may have brought already what the watch brings later."""
        news = revision > self._allocator.heard.get(address, 0)
        if news:
            self._allocator.heard[address] = revision
        return news


def settle(allocator: Allocator, *, steps: int = 10_000) -> None:
    """Work until nothing is left to hear, to send or to decide."""
    for _ in range(steps):
        if allocator.unread:
            allocator.hear()
        elif allocator.under_way:
            allocator.hear_answer()
        elif not allocator.decide_next():
            return
    raise AssertionError(f"no end after {steps} steps: {allocator.again}")


def addresses(texts: str) -> Iterator[Address]:
    return map(ip_address, texts.split(","))
