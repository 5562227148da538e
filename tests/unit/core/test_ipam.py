# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Every rule of address management: one row, one scenario.

A row says what there is, what then happens, and what each Service has in the end: its addresses (as its
status shows them), the reason of its condition, and words of the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from tests.unit.core.ipam_world import (
    MAC,
    Allocator,
    Cluster,
    addresses,
    key_of,
    pool,
    service,
    settle,
)

from herald.core.ipam import Record
from herald.core.model import Requirement

if TYPE_CHECKING:
    from herald.core.model import Pool, Service

Step = "Callable[[World], None]"


class World:
    """A cluster and its allocator, quick to give orders to."""

    def __init__(self, *, default_class: bool, adopt: tuple[str, ...]) -> None:
        self.cluster = Cluster()
        self._options = {"default_class": default_class, "adopt": adopt}
        self.allocator = Allocator(self.cluster, **self._options)

    def put(self, *objects: Service | Pool) -> None:
        self.cluster.put(*objects)

    def settle(self) -> None:
        settle(self.allocator)

    def restart(self) -> None:
        """A new allocator knows nothing but the cluster."""
        self.cluster.allocators.clear()
        self.allocator = Allocator(self.cluster, **self._options)


# --- What happens --------------------------------------------------------------------------------------


def then(*objects: Service | Pool) -> Step:
    return lambda world: world.put(*objects)


def gone(*names: str) -> Step:
    def step(world: World) -> None:
        for name in names:
            world.cluster.delete(name)

    return step


def restart() -> Step:
    return lambda world: world.restart()


def without_agent(*steps: Step) -> Step:
    """What happens while nobody allocates."""

    def step(world: World) -> None:
        world.cluster.allocators.clear()
        for each in steps:
            each(world)
        world.restart()

    return step


def lost_leases(texts: str) -> Step:
    """etcd is restored from a backup that does not have these VIP leases."""

    def step(world: World) -> None:
        for address in addresses(texts):
            world.cluster.lose_lease(address)

    return step


def lease(text: str, of_pool: str, *names: str) -> Step:
    def step(world: World) -> None:
        record = Record(ip_address(text), of_pool, frozenset(map(key_of, names)))
        assert world.cluster.give(record, world.cluster.leases.get(record.address))

    return step


def stranger(text: str) -> Step:
    return lambda world: world.allocator.ipam.set_aside(ip_address(text), MAC)


def stranger_left(text: str) -> Step:
    return lambda world: world.allocator.ipam.clear_aside(ip_address(text))


# --- The table -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    rule: str
    there_is: tuple[Pool | Service, ...]
    ends: dict[str, str]
    """Service to ``addresses reason`` (several addresses: comma), or ``untouched``."""
    steps: tuple[Step, ...] = ()
    says: dict[str, str] | None = None
    """Service to words of the condition's message."""
    default_class: bool = True
    adopt: tuple[str, ...] = ()


V4 = pool("p", "192.0.2.0/28")
TINY = pool("tiny", "192.0.2.1-192.0.2.2")
ONE = pool("one", "192.0.2.1")
BOTH = pool("both", "192.0.2.0/28,2001:db8::/64")
V6 = pool("six", "2001:db8::/64")

CHOICE = [
    Case("the lowest free address", (V4, service("s")), {"s": "192.0.2.0 Allocated"}),
    Case(
        "one after the other",
        (V4, service("a"), service("b"), service("c")),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.2 Allocated"},
    ),
    Case(
        "lower priority first",
        (pool("a", "192.0.2.1", priority=200), pool("b", "192.0.2.2", priority=10), service("s")),
        {"s": "192.0.2.2 Allocated"},
    ),
    Case(
        "equal priority: by name",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.2"), service("s")),
        {"s": "192.0.2.2 Allocated"},
        says={"s": "192.0.2.2 of pool a"},
    ),
    Case(
        "blocks in the order of the pool, not of the addresses",
        (pool("p", "198.51.100.7, 192.0.2.0/30"), service("a"), service("b")),
        {"a": "198.51.100.7 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "blocks that overlap inside one pool are a union",
        (pool("p", "192.0.2.2/31, 192.0.2.0/30"), *(service(name) for name in "abcde")),
        {
            "a": "192.0.2.2 Allocated",
            "b": "192.0.2.3 Allocated",
            "c": "192.0.2.0 Allocated",
            "d": "192.0.2.1 Allocated",
            "e": "- PoolExhausted",
        },
    ),
    Case(
        "the next pool when the first is full",
        (pool("a", "192.0.2.1"), pool("b", "198.51.100.1"), service("x"), service("y")),
        {"x": "192.0.2.1 Allocated", "y": "198.51.100.1 Allocated"},
    ),
    Case(
        "an address that was freed is given again",
        (TINY, service("a"), service("b")),
        {"b": "192.0.2.2 Allocated", "c": "192.0.2.1 Allocated"},
        (gone("a"), then(service("c"))),
    ),
    Case(
        "who waits for an address gets the one that is freed",
        (ONE, service("a"), service("b")),
        {"b": "192.0.2.1 Allocated"},
        (gone("a"),),
    ),
    Case(
        "of those who wait one gets it, the others wait on",
        (ONE, service("a"), service("b"), service("c")),
        {"b": "192.0.2.1 Allocated", "c": "- PoolExhausted"},
        (gone("a"),),
    ),
    Case(
        "who names an address comes before who takes any",
        (ONE, service("a"), service("b", ips="192.0.2.1")),
        {"a": "- PoolExhausted", "b": "192.0.2.1 Allocated"},
    ),
]

FIELDS = [
    Case(
        "excluded addresses are not given",
        (
            pool("p", "192.0.2.0/29", exclude="192.0.2.0-192.0.2.4, 192.0.2.6/31"),
            service("a"),
            service("b"),
        ),
        {"a": "192.0.2.5 Allocated", "b": "- PoolExhausted"},
    ),
    Case(
        "allowFirstLastIPs: false reserves the ends of a network",
        (pool("p", "192.0.2.0/30", first_last=False), *(service(name) for name in "abc")),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.2 Allocated", "c": "- PoolExhausted"},
    ),
    Case(
        "allowFirstLastIPs: false exempts ranges",
        (pool("p", "192.0.2.0-192.0.2.3", first_last=False), service("a")),
        {"a": "192.0.2.0 Allocated"},
    ),
    Case(
        "allowFirstLastIPs: false exempts /31 and /32",
        (
            pool("p", "192.0.2.0/31,192.0.2.8/32", first_last=False),
            *(service(name) for name in "abc"),
        ),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.8 Allocated"},
    ),
    Case(
        "allowFirstLastIPs: false exempts /127 and /128, not /126",
        (
            pool("p", "2001:db8::/126,2001:db8::8/127,2001:db8::a/128", first_last=False),
            *(service(name, families="6") for name in "abcdef"),
        ),
        {
            "a": "2001:db8::1 Allocated",
            "b": "2001:db8::2 Allocated",
            "c": "2001:db8::8 Allocated",
            "d": "2001:db8::9 Allocated",
            "e": "2001:db8::a Allocated",
            "f": "- PoolExhausted",
        },
    ),
    Case(
        "avoidBuggyIPs skips .0 and .255",
        (pool("p", "192.0.2.254-192.0.3.1", avoid_buggy=True), *(service(name) for name in "abc")),
        {"a": "192.0.2.254 Allocated", "b": "192.0.3.1 Allocated", "c": "- PoolExhausted"},
    ),
    Case(
        "avoidBuggyIPs is about IPv4",
        (pool("p", "2001:db8::/126", avoid_buggy=True), service("a", families="6")),
        {"a": "2001:db8:: Allocated"},
    ),
    Case(
        "autoAssign: false gives only on request",
        (
            pool("p", "192.0.2.0/30", auto=False),
            service("a"),
            service("b", pool="p"),
            service("c", ips="192.0.2.3"),
        ),
        {"a": "- NoPool", "b": "192.0.2.0 Allocated", "c": "192.0.2.3 Allocated"},
        says={"a": "autoAssign: false in pool p"},
    ),
    Case(
        "a disabled pool gives nothing",
        (pool("p", "192.0.2.0/30", disabled=True), service("a")),
        {"a": "- NoPool"},
    ),
    Case(
        "a disabled pool's addresses stay, and it gives again when enabled",
        (ONE, service("a")),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.2 Allocated"},
        (
            then(pool("one", "192.0.2.1-192.0.2.2", disabled=True), service("b")),
            then(pool("one", "192.0.2.1-192.0.2.2")),
        ),
    ),
    Case(
        "a pool is for the Services that it selects",
        (
            pool("p", "192.0.2.0/30", select={"net": "public"}),
            service("a"),
            service("b", labels={"net": "public"}),
        ),
        {"a": "- SelectorMismatch", "b": "192.0.2.0 Allocated"},
        says={"a": "of pool p"},
    ),
    Case(
        "pseudo-labels select by namespace and win over a label of that name",
        (
            pool("p", "192.0.2.0/30", select={"io.kubernetes.service.namespace": "shop"}),
            service("shop/a"),
            service("b", labels={"io.kubernetes.service.namespace": "shop"}),
        ),
        {"shop/a": "192.0.2.0 Allocated", "b": "- SelectorMismatch"},
    ),
    Case(
        "expressions select",
        (
            pool(
                "p",
                "192.0.2.0/30",
                expressions=(Requirement("io.kubernetes.service.name", "In", ("a", "b")),),
            ),
            pool(
                "q",
                "198.51.100.0/30",
                expressions=(Requirement("tier", "DoesNotExist"),),
                priority=200,
            ),
            *(service(name) for name in "abc"),
            service("d", labels={"tier": "x"}),
        ),
        {
            "a": "192.0.2.0 Allocated",
            "b": "192.0.2.1 Allocated",
            "c": "198.51.100.0 Allocated",
            "d": "- SelectorMismatch",
        },
    ),
    Case(
        "a pool of 2^100 addresses",
        (pool("p", "fd00::/28"), service("a", families="6")),
        {"a": "fd00:: Allocated"},
    ),
]

REASONS = [
    Case("no pool at all", (service("s"),), {"s": "- NoPool"}),
    Case("no pool of the family", (V6, service("s")), {"s": "- NoPool"}, says={"s": "IPv4"}),
    Case(
        "an enabled pool that does not select counts, a disabled one that does select does not",
        (
            pool("a", "192.0.2.0/30", disabled=True),
            pool("b", "198.51.100.0/30", select={"x": "y"}),
            service("s"),
        ),
        {"s": "- SelectorMismatch"},
    ),
    Case(
        "full pools that select come before others that do not",
        (ONE, pool("b", "198.51.100.0/30", select={"x": "y"}), service("r"), service("s")),
        {"s": "- PoolExhausted"},
        says={"s": "in pool one"},
    ),
    Case(
        "a pool that appears heals at once",
        (service("s"),),
        {"s": "192.0.2.0 Allocated"},
        (then(V4),),
    ),
    Case(
        "a pool that was not understood gives nothing, until it is",
        (pool("p", "192.0.2.9-192.0.2.1"), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(V4),),
    ),
    Case(
        "half an understanding gives nothing either",
        (
            pool("p", "192.0.2.0/30", exclude="192.0.2.0/33"),
            service("s"),
            service("t", ips="192.0.2.1"),
        ),
        {"s": "- NoPool", "t": "- NoPool"},
        says={"t": "exclude[0].cidr: wanted a network"},
    ),
]

REQUESTS = [
    Case(
        "an address by annotation",
        (V4, service("s", ips="192.0.2.7")),
        {"s": "192.0.2.7 Allocated"},
    ),
    Case("an address by spec", (V4, service("s", lb_ip="192.0.2.7")), {"s": "192.0.2.7 Allocated"}),
    Case(
        "annotation and spec are joined",
        (V4, service("s", ips="192.0.2.7", lb_ip="192.0.2.5")),
        {"s": "192.0.2.7,192.0.2.5 Allocated"},
    ),
    Case(
        "several addresses, in the order asked",
        (V4, service("s", ips="192.0.2.7, 192.0.2.3,192.0.2.7,")),
        {"s": "192.0.2.7,192.0.2.3 Allocated"},
    ),
    Case(
        "IPv6 in every spelling is one address",
        (V6, service("s", families="6", ips="2001:DB8:0:0::A,2001:0db8::000a")),
        {"s": "2001:db8::a Allocated"},
    ),
    Case(
        "of several those that are free are given, the condition says what is missing",
        (V4, service("r", ips="192.0.2.3"), service("s", ips="192.0.2.7,192.0.2.3")),
        {"s": "192.0.2.7 AddressTaken"},
        says={"s": "192.0.2.3 is held by Service default/r"},
    ),
    Case(
        "what was missing is given when it is freed",
        (V4, service("r", ips="192.0.2.3"), service("s", ips="192.0.2.7,192.0.2.3")),
        {"s": "192.0.2.7,192.0.2.3 Allocated"},
        (gone("r"),),
    ),
    Case(
        "a pool by name",
        (V4, pool("q", "198.51.100.0/30"), service("s", pool="q")),
        {"s": "198.51.100.0 Allocated"},
    ),
    Case(
        "a pool that is not there",
        (V4, service("s", pool="q")),
        {"s": "- NoPool"},
        says={"s": "herald.dev/pool: wanted a pool, found none named 'q'"},
    ),
    Case(
        "a pool that is disabled",
        (pool("q", "192.0.2.1", disabled=True), service("s", pool="q")),
        {"s": "- NoPool"},
        says={"s": "which is disabled"},
    ),
    Case(
        "a pool whose selector refuses",
        (pool("q", "192.0.2.1", select={"x": "y"}), service("s", pool="q")),
        {"s": "- SelectorMismatch"},
        says={"s": "wanted pool q"},
    ),
    Case(
        "a pool that is full",
        (ONE, V4, service("r", ips="192.0.2.1"), service("s", pool="one")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "a pool without the family",
        (ONE, service("s", pool="one", families="6")),
        {"s": "- NoPool"},
    ),
    Case(
        "an address that the wanted pool does not have",
        (V4, pool("q", "198.51.100.0/30"), service("s", pool="q", ips="192.0.2.1")),
        {"s": "- InvalidRequest"},
        says={"s": "wanted pool 'q', found 192.0.2.1 in p"},
    ),
    Case(
        "an address outside every pool",
        (V4, service("s", ips="203.0.113.1")),
        {"s": "- NoPool"},
        says={"s": "203.0.113.1"},
    ),
    Case(
        "an address in a disabled pool",
        (pool("q", "192.0.2.1", disabled=True), service("s", ips="192.0.2.1")),
        {"s": "- NoPool"},
        says={"s": "pool q, which is disabled"},
    ),
    Case(
        "an address in a pool whose selector refuses",
        (pool("q", "192.0.2.1", select={"x": "y"}), service("s", ips="192.0.2.1")),
        {"s": "- SelectorMismatch"},
        says={"s": "pool q"},
    ),
    Case(
        "an address that is excluded",
        (pool("q", "192.0.2.0/30", exclude="192.0.2.1"), service("s", ips="192.0.2.1")),
        {"s": "- NoPool"},
        says={"s": "pool q excludes it"},
    ),
    Case(
        "an address that is reserved",
        (pool("q", "192.0.2.0/30", first_last=False), service("s", ips="192.0.2.0")),
        {"s": "- NoPool"},
        says={"s": "reserved in pool q"},
    ),
    Case(
        "a wanted address that is taken, and nothing else instead",
        (V4, service("r", ips="192.0.2.0"), service("s", ips="192.0.2.0")),
        {"s": "- AddressTaken"},
        says={"s": "192.0.2.0 is held by Service default/r"},
    ),
    Case(
        "200 wanted addresses",
        (pool("p", "192.0.2.0/24"), service("s", ips=",".join(f"192.0.2.{n}" for n in range(200)))),
        {"s": ",".join(f"192.0.2.{n}" for n in range(200)) + " Allocated"},
    ),
]

INVALID = [
    Case(
        f"a malformed request: {text}",
        (V4, service("s", ips=text)),
        {"s": "- InvalidRequest"},
        says={"s": "herald.dev/ips: wanted"},
    )
    for text in (
        "nonsense",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2",
        "192.0.2.1/32",
        "192.0.2.1-192.0.2.3",
        "0x7f.1",
        "3221225985",
        "１９２.0.2.1",
        "192.0.2.1%eth0",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "2001:db8::g",
        "192.0.2.1 192.0.2.2",
        ",",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "\ud800",
        "9" * 5000,
    )
] + [
    Case(
        "an address of a family that the Service does not have",
        (BOTH, service("s", ips="2001:db8::1")),
        {"s": "- InvalidRequest"},
        says={"s": "herald.dev/ips: wanted IPv4 (spec.ipFamilies), found 2001:db8::1"},
    ),
    Case(
        "a malformed spec.loadBalancerIP names the field",
        (V4, service("s", lb_ip="nonsense")),
        {"s": "- InvalidRequest"},
        says={"s": "spec.loadBalancerIP: wanted an IPv4 or IPv6 address, found 'nonsense'"},
    ),
    Case(
        "a request that becomes invalid keeps what is held",
        (V4, service("s", ips="192.0.2.7")),
        {"s": "192.0.2.7 InvalidRequest"},
        (then(service("s", ips="192.0.2.777")),),
    ),
]

CHANGES = [
    Case(
        "another address on request",
        (V4, service("s")),
        {"s": "192.0.2.9 Allocated"},
        (then(service("s", ips="192.0.2.9")),),
    ),
    Case(
        "a request that is withdrawn leaves the address",
        (V4, service("s", ips="192.0.2.9")),
        {"s": "192.0.2.9 Allocated"},
        (then(service("s")),),
    ),
    Case(
        "one of several that is asked for no more is left",
        (V4, service("s", ips="192.0.2.9,192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
        (then(service("s", ips="192.0.2.3")),),
    ),
    Case(
        "a change that cannot be met keeps what is held",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.0 AddressTaken"},
        (then(service("s", ips="192.0.2.9")),),
    ),
    Case(
        "a change that can be met in part keeps what is held, too",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.8,192.0.2.0 AddressTaken"},
        (then(service("s", ips="192.0.2.9,192.0.2.8")),),
    ),
    Case(
        "once all can be met the old one is left",
        (V4, service("r", ips="192.0.2.9"), service("s")),
        {"s": "192.0.2.9,192.0.2.8 Allocated"},
        (then(service("s", ips="192.0.2.9,192.0.2.8")), gone("r")),
    ),
    Case(
        "another pool on request",
        (V4, pool("q", "198.51.100.0/30"), service("s")),
        {"s": "198.51.100.0 Allocated"},
        (then(service("s", pool="q")),),
    ),
    Case(
        "another pool that is full: what is held is kept",
        (V4, pool("q", "198.51.100.1"), service("r", pool="q"), service("s")),
        {"s": "192.0.2.0 PoolExhausted"},
        (then(service("s", pool="q")),),
    ),
    Case(
        "naming the pool that one is in changes nothing",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("r"), then(service("s", pool="p"))),
    ),
    Case(
        "type changed: everything is left",
        (ONE, service("s"), service("t")),
        {"s": "untouched", "t": "192.0.2.1 Allocated"},
        (then(service("s", type="ClusterIP")),),
    ),
    Case(
        "class changed to another's",
        (ONE, service("s"), service("t")),
        {"s": "untouched", "t": "192.0.2.1 Allocated"},
        (then(service("s", lb_class="example.com/other")),),
    ),
    Case(
        "deleted and made again: asks like a new one",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("r", "s"), then(service("s"))),
    ),
    Case(
        "deleted while nobody allocates",
        (ONE, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (without_agent(gone("r")),),
    ),
    Case(
        "while it is being deleted it keeps what it holds and gets nothing new",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", ips="192.0.2.9", deleting=True)),),
    ),
    Case("born while being deleted", (V4, service("s", deleting=True)), {"s": "- Allocated"}),
]

STICKY = [
    Case(
        "restart",
        (V4, service("a"), service("b")),
        {"b": "192.0.2.1 Allocated"},
        (gone("a"), restart()),
    ),
    Case(
        "a better pool appears",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("a", "198.51.100.0/30", priority=0)),),
    ),
    Case(
        "the pool is shrunk",
        (V4, service("s", ips="192.0.2.9")),
        {"s": "192.0.2.9 Orphaned"},
        (then(pool("p", "192.0.2.0/29")),),
        says={"s": "192.0.2.9 of pool p, which no longer has it"},
    ),
    Case(
        "the pool excludes it",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (then(pool("p", "192.0.2.0/28", exclude="192.0.2.0")),),
    ),
    Case(
        "the pool is disabled",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("p", "192.0.2.0/28", disabled=True)),),
    ),
    Case(
        "the pool is deleted",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (gone("p"), restart()),
        says={"s": "192.0.2.0 of pool p, which is gone"},
    ),
    Case(
        "the pool is made again",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("p"), then(V4)),
    ),
    Case(
        "the pool is replaced by one of another name",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (gone("p"), then(pool("q", "192.0.2.0/28"))),
    ),
    Case(
        "the pool becomes nonsense",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("p", "192.0.2.0/28", exclude="192.0.2.0-192.0.1.0")),),
    ),
    Case(
        "a label changes and the pool selects it no more",
        (pool("p", "192.0.2.0/28", select={"a": "b"}), V6, service("s", labels={"a": "b"})),
        {"s": "192.0.2.0 Orphaned"},
        (then(service("s", labels={"a": "c"})),),
        says={"s": "which no longer selects the Service"},
    ),
    Case(
        "a label changes and another pool selects it",
        (
            pool("p", "192.0.2.0/28", select={"a": "b"}),
            pool("q", "198.51.100.0/28", select={"a": "c"}),
            service("s", labels={"a": "b"}),
        ),
        {"s": "192.0.2.0 Orphaned"},
        (then(service("s", labels={"a": "c"})),),
    ),
    Case(
        "an older pool appears over it",
        (pool("p", "192.0.2.0/28", born=5), service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(pool("q", "192.0.2.0/28", born=1)),),
        says={"s": "192.0.2.0 of pool p"},
    ),
    Case(
        "leases lost: what Services hold in status wins",
        (V4, service("a"), service("b"), service("c")),
        {
            "a": "192.0.2.0 Allocated",
            "b": "192.0.2.1 Allocated",
            "c": "192.0.2.2 Allocated",
            "d": "192.0.2.3 Allocated",
        },
        (lost_leases("192.0.2.0,192.0.2.2"), then(service("d"))),
    ),
    Case(
        "leases lost while nobody allocates, and a newcomer that is decided before",
        (V4, service("z")),
        {"a": "192.0.2.1 Allocated", "z": "192.0.2.0 Allocated"},
        (without_agent(lost_leases("192.0.2.0"), then(service("a"))),),
    ),
    Case(
        "leases lost and the pool gone",
        (V4, service("s")),
        {"s": "192.0.2.0 Orphaned"},
        (without_agent(lost_leases("192.0.2.0"), gone("p")),),
        says={"s": "192.0.2.0, which is in no pool"},
    ),
    Case(
        "leases lost and the pool gone, while something else is missing",
        (V4, service("r", ips="192.0.2.7"), service("s", ips="192.0.2.5,192.0.2.7")),
        {"s": "192.0.2.5 NoPool"},
        (without_agent(lost_leases("192.0.2.5"), gone("p")),),
    ),
    Case(
        "the status is wiped: the lease wins",
        (V4, service("r"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (
            gone("r"),
            without_agent(lambda world: world.cluster.services.update({key_of("s"): service("s")})),
        ),
    ),
]

DUAL = [
    Case(
        "SingleStack: the first family",
        (BOTH, service("s", families="64")),
        {"s": "2001:db8:: Allocated"},
    ),
    Case(
        "PreferDualStack: both where both can be had, in the Service's order",
        (
            BOTH,
            service("a", families="46", policy="PreferDualStack"),
            service("b", families="64", policy="PreferDualStack"),
        ),
        {"a": "192.0.2.0,2001:db8:: Allocated", "b": "2001:db8::1,192.0.2.1 Allocated"},
    ),
    Case(
        "families may come from different pools",
        (V4, V6, service("s", families="46", policy="RequireDualStack")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
    ),
    Case(
        "PreferDualStack: what can be had",
        (V4, service("s", families="64", policy="PreferDualStack")),
        {"s": "192.0.2.0 Allocated"},
        says={"s": "no enabled pool has IPv6 addresses"},
    ),
    Case(
        "PreferDualStack: nothing can be had",
        (service("s", families="64", policy="PreferDualStack"),),
        {"s": "- NoPool"},
    ),
    Case(
        "PreferDualStack gains the second family later",
        (V4, service("s", families="64", policy="PreferDualStack")),
        {"s": "2001:db8::,192.0.2.0 Allocated"},
        (then(V6),),
    ),
    Case(
        "PreferDualStack gains the second family when an address is freed",
        (
            V4,
            pool("six", "2001:db8::1"),
            service("r", families="6"),
            service("s", families="46", policy="PreferDualStack"),
        ),
        {"s": "192.0.2.0,2001:db8::1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "RequireDualStack: none if not both",
        (V4, service("s", families="46", policy="RequireDualStack")),
        {"s": "- NoPool"},
        says={"s": "IPv6"},
    ),
    Case(
        "RequireDualStack: both once both can be had",
        (V4, service("s", families="46", policy="RequireDualStack")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
        (then(V6),),
    ),
    Case(
        "RequireDualStack does not hold back what it cannot use",
        (ONE, service("a", families="46", policy="RequireDualStack"), service("b")),
        {"a": "- NoPool", "b": "192.0.2.1 Allocated"},
    ),
    Case(
        "a family is added",
        (BOTH, service("s")),
        {"s": "192.0.2.0,2001:db8:: Allocated"},
        (then(service("s", families="46", policy="RequireDualStack")),),
    ),
    Case(
        "a family is added that cannot be had: what is held is kept",
        (V4, service("s")),
        {"s": "192.0.2.0 NoPool"},
        (then(service("s", families="46", policy="RequireDualStack")),),
    ),
    Case(
        "a family is removed",
        (BOTH, service("s", families="46", policy="PreferDualStack")),
        {"s": "192.0.2.0 Allocated", "t": "2001:db8:: Allocated"},
        (then(service("s")), then(service("t", families="6"))),
    ),
    Case(
        "one family by request, the other of any",
        (BOTH, service("s", families="46", policy="RequireDualStack", ips="192.0.2.7")),
        {"s": "192.0.2.7,2001:db8:: Allocated"},
    ),
    Case(
        "RequireDualStack with a wanted address that is taken: none",
        (
            BOTH,
            service("r", ips="192.0.2.7"),
            service("s", families="46", policy="RequireDualStack", ips="192.0.2.7"),
        ),
        {"s": "- AddressTaken"},
    ),
    Case(
        "family order of the Service, not of the request",
        (BOTH, service("s", families="46", policy="PreferDualStack", ips="2001:db8::7,192.0.2.7")),
        {"s": "192.0.2.7,2001:db8::7 Allocated"},
    ),
]

SHARE = {"ports": "443", "key": "web"}
ANCHOR = service("a", key="web", ips="192.0.2.0")
SHARING = [
    Case(
        "the same key and other ports: the address of the key is joined",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "the same port by another protocol is another port",
        (V4, service("a", key="web", ports="53/TCP"), service("b", key="web", ports="53/UDP")),
        {"b": "192.0.2.0 Allocated"},
    ),
    Case(
        "the same port: one of its own",
        (V4, service("a", key="web"), service("b", key="web", ports="443,80")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "another key: one of its own",
        (V4, service("a", key="web"), service("b", key="mail", ports="25")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "another externalTrafficPolicy: one of its own",
        (V4, service("a", key="web"), service("b", **SHARE, local=True)),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "Local with the same selector",
        (V4, service("a", key="web", local=True), service("b", **SHARE, local=True)),
        {"b": "192.0.2.0 Allocated"},
    ),
    Case(
        "Local with another selector: one of its own",
        (V4, service("a", key="web", local=True), service("b", **SHARE, local=True, to="other")),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "across namespaces only if both consent",
        (V4, service("x/a", key="web", cross="y"), service("y/b", **SHARE)),
        {"y/b": "192.0.2.1 Allocated"},
    ),
    Case(
        "across namespaces with consent by name and by star",
        (V4, service("x/a", key="web", cross="z, y"), service("y/b", **SHARE, cross="*")),
        {"y/b": "192.0.2.0 Allocated"},
    ),
    Case(
        "a wanted address that is taken by one without a key",
        (V4, service("a", ips="192.0.2.0"), service("b", **SHARE, ips="192.0.2.0")),
        {"b": "- SharingRefused"},
        says={"b": "the same sharing key is wanted, found 'web' and ''"},
    ),
    Case(
        "a wanted address with the same port",
        (V4, ANCHOR, service("b", key="web", ips="192.0.2.0")),
        {"b": "- SharingRefused"},
        says={"b": "port 80/TCP is used by both"},
    ),
    Case(
        "a wanted address with another policy",
        (V4, ANCHOR, service("b", **SHARE, ips="192.0.2.0", local=True)),
        {"b": "- SharingRefused"},
        says={"b": "the same externalTrafficPolicy is wanted, found Local and Cluster"},
    ),
    Case(
        "a wanted address without consent",
        (
            V4,
            service("x/a", key="web", ips="192.0.2.0"),
            service("y/b", **SHARE, ips="192.0.2.0", cross="x"),
        ),
        {"y/b": "- SharingRefused"},
        says={"y/b": "sharing-cross-namespace must name namespace y"},
    ),
    Case(
        "a wanted address with a key, and all rules hold",
        (V4, service("a", key="web", ips="192.0.2.7"), service("b", **SHARE, ips="192.0.2.7")),
        {"b": "192.0.2.7 Allocated"},
    ),
    Case(
        "the newcomer is refused by any of the partners",
        (
            V4,
            ANCHOR,
            service("b", **SHARE, ips="192.0.2.0"),
            service("c", **SHARE, ips="192.0.2.0"),
        ),
        {"b": "192.0.2.0 Allocated", "c": "- SharingRefused"},
    ),
    Case(
        "a refused newcomer gets in when the partner in its way is gone",
        (
            V4,
            ANCHOR,
            service("b", **SHARE, ips="192.0.2.0"),
            service("c", **SHARE, ips="192.0.2.0"),
        ),
        {"a": "192.0.2.0 Allocated", "c": "192.0.2.0 Allocated"},
        (gone("b"),),
    ),
    Case(
        "a refused newcomer gets in when the partner in its way edits its port",
        (V4, ANCHOR, service("c", key="web", ips="192.0.2.0")),
        {"a": "192.0.2.0 Allocated", "c": "192.0.2.0 Allocated"},
        (then(service("a", key="web", ports="8080", ips="192.0.2.0")),),
    ),
    Case(
        "who edits its ports into a partner's leaves; the partner stays",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (then(service("a", key="web", ports="443")),),
    ),
    Case(
        "who edits its key leaves",
        (V4, service("a", key="web"), service("b", **SHARE), service("c", key="web", ports="25")),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.1 Allocated", "c": "192.0.2.0 Allocated"},
        (then(service("b", key="mail", ports="443")),),
    ),
    Case(
        "who edits its policy leaves",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (then(service("a", key="web", local=True)),),
    ),
    Case(
        "who withdraws consent leaves",
        (V4, service("x/a", key="web", cross="y"), service("y/b", **SHARE, cross="x")),
        {"x/a": "192.0.2.1 Allocated", "y/b": "192.0.2.0 Allocated"},
        (then(service("x/a", key="web")),),
    ),
    Case(
        "who leaves a wanted address says why",
        (V4, service("a", key="web", ips="192.0.2.7"), service("b", **SHARE, ips="192.0.2.7")),
        {"a": "- SharingRefused", "b": "192.0.2.7 Allocated"},
        (then(service("a", key="web", ports="443", ips="192.0.2.7")),),
        says={"a": "port 443/TCP is used by both"},
    ),
    Case(
        "who must leave and finds nothing else is without",
        (ONE, service("a", key="web"), service("b", **SHARE)),
        {"a": "- PoolExhausted", "b": "192.0.2.1 Allocated"},
        (then(service("a", key="web", ports="443")),),
    ),
    Case(
        "an edit that nobody saw: who was written last leaves",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.0 Allocated"},
        (without_agent(then(service("a", key="web", ports="443"))),),
    ),
    Case(
        "a partner that is deleted frees nothing while others are there",
        (ONE, service("a", key="web"), service("b", **SHARE), service("c")),
        {"b": "192.0.2.1 Allocated", "c": "- PoolExhausted"},
        (gone("a"),),
    ),
    Case(
        "the last partner frees the address",
        (ONE, service("a", key="web"), service("b", **SHARE), service("c")),
        {"c": "192.0.2.1 Allocated"},
        (gone("a"), gone("b")),
    ),
    Case(
        "no address is joined that the pool would not give the Service",
        (
            pool("p", "192.0.2.0/28", select={"a": "b"}),
            pool("q", "198.51.100.0/28"),
            service("a", key="web", labels={"a": "b"}),
            service("b", **SHARE),
        ),
        {"a": "192.0.2.0 Allocated", "b": "198.51.100.0 Allocated"},
    ),
    Case(
        "a full pool is no hindrance to joining",
        (ONE, service("a", key="web"), service("b", **SHARE)),
        {"b": "192.0.2.1 Allocated"},
    ),
    Case(
        "who waits joins a partner that appears",
        (ONE, service("r"), service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.1 Allocated", "b": "192.0.2.1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "both families are shared",
        (
            BOTH,
            service("a", key="web", families="46", policy="RequireDualStack"),
            service("b", **SHARE, families="64", policy="RequireDualStack"),
        ),
        {"b": "2001:db8::,192.0.2.0 Allocated"},
    ),
    Case(
        "leases lost: partners get theirs back",
        (V4, service("a", key="web"), service("b", **SHARE)),
        {"a": "192.0.2.0 Allocated", "b": "192.0.2.0 Allocated"},
        (lost_leases("192.0.2.0"),),
    ),
]

CARE = [
    Case(
        "Herald's class",
        (V4, service("s", lb_class="herald.dev/l2")),
        {"s": "192.0.2.0 Allocated"},
        default_class=False,
    ),
    Case(
        "no class, and Herald is not the default",
        (V4, service("s")),
        {"s": "untouched"},
        default_class=False,
    ),
    Case(
        "another's class",
        (V4, service("s", lb_class="example.com/other", shows="192.0.2.3")),
        {"s": "192.0.2.3 untouched"},
    ),
    Case("not a LoadBalancer", (V4, service("s", type="NodePort")), {"s": "untouched"}),
    Case(
        "an adopted class keeps what the other gave",
        (V4, service("s", lb_class="example.com/other", shows="192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
        adopt=("example.com/other",),
    ),
    Case(
        "an adopted class keeps what is in no pool",
        (V4, service("s", lb_class="example.com/other", shows="203.0.113.3")),
        {"s": "203.0.113.3 Orphaned"},
        adopt=("example.com/other",),
    ),
    Case(
        "what another implementation's Service shows is not given",
        (
            ONE,
            service("r", lb_class="example.com/other", shows="192.0.2.1"),
            service("s"),
            service("t", ips="192.0.2.1"),
        ),
        {"r": "192.0.2.1 untouched", "s": "- PoolExhausted", "t": "- AddressTaken"},
        says={"t": "held by Service default/r"},
    ),
    Case(
        "what another implementation gives up can be given",
        (ONE, service("r", lb_class="example.com/other", shows="192.0.2.1"), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("r"),),
    ),
    Case(
        "an external IP of a Service is not given to another",
        (ONE, service("r", type="ClusterIP", external="192.0.2.1"), service("s")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "without a class, served by somebody else, in none of the pools: hands off",
        (V4, service("s", shows="203.0.113.3")),
        {"s": "203.0.113.3 untouched"},
    ),
    Case(
        "without a class, served by somebody else, in a pool: adopted",
        (V4, service("s", shows="192.0.2.3")),
        {"s": "192.0.2.3 Allocated"},
    ),
    Case(
        "hands off ends when a pool for it appears",
        (service("s", shows="192.0.2.3"),),
        {"s": "192.0.2.3 Allocated"},
        (then(V4),),
    ),
    Case(
        "hands off ends when Herald is asked",
        (V4, service("s", shows="203.0.113.3")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", pool="p")),),
    ),
    Case(
        "two show what somebody else gave them, without leases: the first by name is adopted",
        (V4, service("a", shows="192.0.2.3"), service("b", shows="192.0.2.3")),
        {"a": "192.0.2.3 Allocated", "b": "192.0.2.3 untouched"},
    ),
    Case(
        "two show one address of Herald's, without leases: the first by name keeps it",
        (
            V4,
            service("a", shows="192.0.2.3", ours=True),
            service("b", shows="192.0.2.3", ours=True),
        ),
        {"a": "192.0.2.3 Allocated", "b": "192.0.2.0 Allocated"},
    ),
    Case(
        "a lease wins over another's status",
        (V4,),
        {"a": "192.0.2.3 Allocated", "b": "192.0.2.0 Allocated"},
        (
            without_agent(
                lease("192.0.2.3", "p", "a"),
                then(service("a"), service("b", shows="192.0.2.3", ours=True)),
            ),
        ),
    ),
    Case(
        "leaving Herald's care and coming back",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (then(service("s", type="ClusterIP")), then(service("s"))),
    ),
]

ALIASES = (
    [
        Case(
            f"{name}",
            (V4, service("s", annotations={name: "192.0.2.7"})),
            {"s": "192.0.2.7 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/ips",
            "io.cilium/lb-ipam-ips",
            "metallb.io/loadBalancerIPs",
            "metallb.universe.tf/loadBalancerIPs",
        )
    ]
    + [
        Case(
            f"{name}",
            (V4, pool("q", "198.51.100.0/30"), service("s", annotations={name: "q"})),
            {"s": "198.51.100.0 Allocated"},
        )
        for name in ("metallb.io/address-pool", "metallb.universe.tf/address-pool")
    ]
    + [
        Case(
            f"{name}",
            (V4, service("a", key="web"), service("b", ports="443", annotations={name: "web"})),
            {"b": "192.0.2.0 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/sharing-key",
            "io.cilium/lb-ipam-sharing-key",
            "metallb.io/allow-shared-ip",
            "metallb.universe.tf/allow-shared-ip",
        )
    ]
    + [
        Case(
            f"{name}",
            (
                V4,
                service("x/a", key="web", cross="*"),
                service("y/b", **SHARE, annotations={name: "x"}),
            ),
            {"y/b": "192.0.2.0 Allocated"},
        )
        for name in (
            "lbipam.cilium.io/sharing-cross-namespace",
            "io.cilium/lb-ipam-sharing-cross-namespace",
        )
    ]
    + [
        Case(
            "Herald's own annotation first",
            (
                V4,
                service(
                    "s", ips="192.0.2.3", annotations={"metallb.io/loadBalancerIPs": "192.0.2.7"}
                ),
            ),
            {"s": "192.0.2.3 Allocated"},
        ),
        Case(
            "a blank one is none",
            (
                V4,
                service(
                    "s",
                    annotations={"herald.dev/ips": " ", "metallb.io/loadBalancerIPs": "192.0.2.7"},
                ),
            ),
            {"s": "192.0.2.7 Allocated"},
        ),
        Case(
            "a malformed alias is named",
            (V4, service("s", annotations={"metallb.io/loadBalancerIPs": "x"})),
            {"s": "- InvalidRequest"},
            says={"s": "metallb.io/loadBalancerIPs: wanted"},
        ),
    ]
)

CONFLICTS = [
    Case(
        "the younger of two overlapping pools stops for the overlap only",
        (
            pool("a", "192.0.2.0-192.0.2.3", born=2),
            pool("b", "192.0.2.2-192.0.2.9", born=1, priority=200),
            *(service(name) for name in "xyz"),
        ),
        {"x": "192.0.2.0 Allocated", "y": "192.0.2.1 Allocated", "z": "192.0.2.2 Allocated"},
        says={"z": "of pool b"},
    ),
    Case(
        "at equal age the greater name stops",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.1", select={"a": "b"}), service("s")),
        {"s": "- PoolExhausted"},
    ),
    Case(
        "it heals when the older pool goes",
        (pool("b", "192.0.2.1"), pool("a", "192.0.2.1", select={"a": "b"}), service("s")),
        {"s": "192.0.2.1 Allocated"},
        (gone("a"),),
    ),
    Case(
        "excludes do not conflict",
        (
            pool("a", "192.0.2.0/30", exclude="192.0.2.1", select={"a": "b"}),
            pool("b", "192.0.2.1"),
            service("s"),
        ),
        {"s": "192.0.2.1 Allocated"},
        says={"s": "of pool b"},
    ),
    Case(
        "a wanted address in an overlap is the older pool's to give",
        (
            pool("a", "192.0.2.1", select={"a": "b"}),
            pool("b", "192.0.2.1"),
            service("s", ips="192.0.2.1"),
        ),
        {"s": "- SelectorMismatch"},
        says={"s": "pool a"},
    ),
]

STRANGERS = [
    Case(
        "somebody answers for an address before it is in use: another is tried",
        (V4, service("s")),
        {"s": "192.0.2.1 Allocated"},
        (lambda world: None,),
    ),
    Case(
        "an address in use stays",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated"},
        (stranger("192.0.2.0"),),
    ),
    Case(
        "a wanted address that somebody answers for",
        (V4, service("s")),
        {"s": "192.0.2.0 Allocated", "t": "- AddressConflict"},
        (stranger("192.0.2.7"), then(service("t", ips="192.0.2.7"))),
        says={"t": "192.0.2.7 is answered for by 02:00:5e:00:00:01"},
    ),
    Case(
        "it is given once it is clear",
        (V4,),
        {"t": "192.0.2.7 Allocated"},
        (stranger("192.0.2.7"), then(service("t", ips="192.0.2.7")), stranger_left("192.0.2.7")),
    ),
    Case(
        "none is given that is set aside",
        (ONE,),
        {"t": "- PoolExhausted"},
        (stranger("192.0.2.1"), then(service("t"))),
    ),
]

GROUPS = {
    "choice": CHOICE,
    "fields": FIELDS,
    "reasons": REASONS,
    "requests": REQUESTS,
    "invalid": INVALID,
    "changes": CHANGES,
    "sticky": STICKY,
    "dual": DUAL,
    "sharing": SHARING,
    "care": CARE,
    "aliases": ALIASES,
    "conflicts": CONFLICTS,
    "strangers": STRANGERS[1:],
}
CASES = [
    pytest.param(case, id=f"{group}: {ascii(case.rule)[1:-1][:90]}")
    for group, cases in GROUPS.items()
    for case in cases
]


def play(case: Case) -> World:
    world = World(default_class=case.default_class, adopt=case.adopt)
    world.put(*case.there_is)
    world.settle()
    for step in case.steps:
        step(world)
        world.settle()
    return world


@pytest.mark.parametrize("case", CASES)
def test_rule(case: Case) -> None:
    world = play(case)
    for name, end in case.ends.items():
        found = world.cluster.services[key_of(name)]
        reason = found.conditions[0].reason if found.conditions else "untouched"
        expected = end.split()
        shown = () if expected[0] == "-" or len(expected) == 1 else tuple(expected[0].split(","))
        message = found.conditions[0].message if found.conditions else ""
        assert (found.ingress, reason) == (shown, expected[-1]), f"{name}: {message}"
        assert (case.says or {}).get(name, "") in message


@pytest.mark.parametrize("case", CASES)
def test_a_restart_writes_nothing(case: Case) -> None:
    if case in STRANGERS:
        return  # what was heard on the segment is not remembered
    world = play(case)
    writes = world.cluster.writes
    world.restart()
    world.settle()
    assert world.cluster.writes == writes
