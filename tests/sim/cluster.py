# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A whole cluster in virtual time: real cores, a fake API server with etcd's semantics, fake kernels and segment.

Everything random comes from one seed, so that a run replays exactly. Time is integer nanoseconds; a node's own clock
has its own rate and beginning. The invariants are asserted all the while: what fails is raised as Violation.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import ip_address
from typing import Literal

from tests import services
from tests.sim.api import Api, Backup
from tests.sim.invariants import FASTEST, SLOWEST, Invariants
from tests.sim.machine import Machine, Outcome, Request
from tests.sim.segment import Segment
from tests.sim.watch import Watch

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.election.placement import DRAIN_ANNOTATION, EXCLUDE_LABEL, OUT_OF_SERVICE_TAINT
from herald.core.leases import services_of
from herald.core.model import (
    MILLISECOND,
    PRESENCE_PREFIX,
    SECOND,
    VIP_PREFIX,
    Address,
    Block,
    Endpoints,
    Lease,
    Node,
    Policy,
    Pool,
    Selector,
    Service,
    presence_lease_name,
    vip_address,
    vip_lease_name,
)
from herald.core.selectors import matches
from herald.core.settings import Settings
from herald.core.world import KINDS

YEAR = 365 * 86400 * SECOND


class Cluster:
    lost_answers = 0.0
    """How many answers never come, though the request took effect."""
    late_requests = 0.0
    """How many requests take up to 3 s to arrive: most of them after they were given up."""
    errors = 0.0
    """How many requests are answered by 429 or 500."""
    slow = 0
    """The API server takes up to so long for a request, and for its answer; nanoseconds."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        drift: bool = False,
        gateway: bool = False,
        pool: str = "198.51.100.0/24",
    ) -> None:
        """``drift``: clocks run at the fastest and the slowest rate that is allowed, and began years apart."""
        self.now = 0
        self.rng = random.Random(seed)
        self._away = 0
        self.settings = settings or Settings(on_api_loss="Withdraw")
        self.gateway = gateway
        self.api = Api()
        self.segment = Segment(self)
        self.watching: dict[ev.Kind, list[Watch]] = {kind: [] for kind in KINDS}
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.machines: dict[str, Machine] = {}
        self._owners: dict[Address, str] = {}
        self.strangers: dict[Address, bytes] = {}
        """Hosts on the segment that are none of ours: who answers for which address."""
        self.askers: dict[Address, bytes] = {}
        """Who on the segment asks whether the address is free, to have it then."""
        self.refuses_list: Callable[[Machine, ev.Kind], bool] = lambda _machine, _kind: False
        """Which lists the API server answers with 429 or 403."""
        self.invariants = Invariants(self)
        self.api.watchers.append(self._news)
        self.api.second = lambda: self.now // SECOND
        for number in range(1, nodes + 1):
            self.add_machine(f"n{number}", drift=drift)
        self.api.put(Policy("all", "p", 1, 1, load_balancer_ips=True))
        blocks = (Block(cidr=pool),)
        self.api.put(Pool("pool", "q", 1, 1, "2026-01-01T00:00:00Z", blocks))

    def add_machine(self, name: str, *, drift: bool = False, node: str = "") -> Machine:
        """One more node; ``node``: under the Node's name of another."""
        number = len(self.machines) + 1
        rate = self.rng.choice([FASTEST, SLOWEST]) if drift else 1.0
        boottime = SECOND + (self.rng.randrange(YEAR) if drift else 0)
        machine = self.machines[name] = Machine(self, name, number, rate, boottime=boottime)
        machine.node = node or name
        self._owners[machine.interface().addresses[0].ip] = name
        if not node:
            self.register(name)
        return machine

    def _news(self, kind: ev.Kind) -> None:
        for watch in self.watching[kind]:
            watch.news()

    # --- what is done to it -----------------------------------------------------------------------------------

    def disturbed(self) -> None:
        """Something is done to the cluster, or stops being done."""
        self.invariants.disturbed_at = self.now

    def api_away(self) -> None:
        """Until it is back as often as it went."""
        self._away += 1
        self.api.up = False
        for machine in self.machines.values():
            for watch in machine.watches:
                watch.reset("connection reset")

    def api_back(self) -> None:
        self._away -= 1
        self.api.up = not self._away

    def reset_watches(self, machine: Machine) -> None:
        for watch in machine.watches:
            watch.reset("connection reset")

    def restore(self, backup: Backup) -> None:
        """Watches are resumed from a revision of the future, of which the API server has nothing to say."""
        self.disturbed()
        self.api.restore(backup)
        for address in self.addresses():
            self.invariants.edited(address)
        for machine in self.machines.values():
            machine.reconnect()

    def execute(self, effect: Request) -> Outcome:
        """An agent's request, and what the invariants make of it. (What people write is their own business.)"""
        if isinstance(effect, fx.ReadService):
            return self.api.read(effect)
        kind: ev.Kind = Lease if isinstance(effect, fx.LeaseRequest) else Service
        key: ev.Key = ""
        if isinstance(effect, fx.LeaseRequest):
            key = effect.lease.name
        elif isinstance(effect, fx.PatchService):
            key = effect.service.key
        before = self.api.objects.get((kind, key))
        outcome: Outcome
        if isinstance(effect, fx.LeaseRequest):
            outcome = self.api.request(effect)
            address = vip_address(effect.lease.name)
            if effect.verb == "delete" and isinstance(outcome, ev.Done) and address is not None:
                self.invariants.freed(address)
        else:
            outcome = self.api.patch(effect)
        after = self.api.objects.get((kind, key))
        if after is not None and after is not before:
            self.invariants.written(after, before)
        return outcome

    def draw(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    @property
    def api_sound(self) -> bool:
        """What it answers, it answers in time."""
        return not (self.lost_answers or self.late_requests or self.errors or self.slow)

    @property
    def api_well(self) -> bool:
        return self.api.up and self.api_sound

    # --- time -------------------------------------------------------------------------------------------------

    def at(self, when: int, do: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), do))

    def after(self, delay: int, do: Callable[[], object]) -> None:
        self.at(self.now + delay, do)

    def latency(self) -> int:
        """One way to or from the API server."""
        return int(self.rng.uniform(0.5, 5) * MILLISECOND)

    def slowness(self) -> int:
        return self.rng.randrange(self.slow) if self.slow else 0

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        while self._queue and self._queue[0][0] <= end:
            self.now, _, do = heapq.heappop(self._queue)
            do()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float) -> float:
        """Seconds until the condition holds; AssertionError when it does not within ``limit``."""
        start = self.now
        while not condition():
            if self.now - start > limit * SECOND:
                raise AssertionError(f"not within {limit} s")
            self.run(0.01)
        return (self.now - start) / SECOND

    # --- the users' side --------------------------------------------------------------------------------------

    def start(self) -> None:
        for number, machine in enumerate(self.machines.values()):
            self.after(number * 10 * MILLISECOND, machine.start)

    def service(self, name: str, **fields: object) -> None:
        self.api.put(services.service(**{"name": name, "uid": f"svc-{name}", **fields}))

    def delete_service(self, name: str) -> None:
        for address in self.addresses():
            # Also of one that it has not been told of.
            lease = self.api.lease(vip_lease_name(address))
            if lease is not None and ("default", name) in services_of(lease):
                self.invariants.unneeded(address)
        for text in self.get(name).ingress:
            self.invariants.unneeded(ip_address(text))
        self.api.remove(Service, ("default", name))

    def edit(self, lease: str, annotations: dict[str, str | None], **fields: object) -> None:
        """Somebody edits a Lease by hand; None takes an annotation away."""
        known = self.api.lease(lease)
        assert known is not None
        merged = {**known.annotations, **annotations}
        kept = {key: text for key, text in merged.items() if text is not None}
        self._by_hand(known)
        self.api.put(replace(known, annotations=kept, **fields))  # type: ignore[arg-type]

    def delete_lease(self, name: str) -> None:
        """kubectl delete lease."""
        known = self.api.lease(name)
        if known is not None:
            self._by_hand(known)
            self.api.delete_lease(name)

    def tear_out(self, name: str) -> None:
        """Somebody takes the finalizer off a Lease, and deletes it."""
        known = self.api.lease(name)
        if known is not None:
            self._by_hand(known)
            self.api.remove(Lease, name)

    def _by_hand(self, lease: Lease) -> None:
        """What hangs on it may have to wait, or to move: an address, or what a node announces."""
        self.disturbed()
        if (address := vip_address(lease.name)) is not None:
            self.invariants.edited(address)
        for machine in self.machines.values():
            if lease.name == presence_lease_name(machine.node):
                self.invariants.trouble[machine.node] = self.now

    def endpoints(self, service: str, *nodes: str) -> None:
        """Where its ready endpoints are."""
        self._rehomed(service)
        self.api.put(Endpoints("default", f"{service}-slice", service, frozenset(nodes)))

    def traffic_policy(self, service: str, policy: Literal["Cluster", "Local"]) -> None:
        self._rehomed(service)
        self.api.put(replace(self.get(service), external_traffic_policy=policy))

    def _rehomed(self, service: str) -> None:
        for text in self.get(service).ingress:
            self.invariants.rehomed(ip_address(text))

    def node(self, name: str) -> Node | None:
        found = self.api.objects.get((Node, name))
        return found if isinstance(found, Node) else None

    def register(self, name: str) -> None:
        """As a kubelet that finds no Node of its name; each makes another one."""
        self._placed_otherwise()
        self.api.put(Node(name, f"node-{name}-{self.api.revision}", {}, {}, (), ready=True))

    def change_node(self, name: str, **fields: object) -> None:
        """Of what placement reads of it, if it is there."""
        if (node := self.node(name)) is not None:
            self.api.put(replace(node, **fields))  # type: ignore[arg-type]
            self._placed_otherwise(name)

    @property
    def policy(self) -> Policy:
        """That by which all is announced."""
        found = self.api.objects[Policy, "all"]
        assert isinstance(found, Policy)
        return found

    def change_policy(self, **fields: object) -> None:
        """Of what placement reads of it."""
        self._placed_otherwise()
        self.api.put(replace(self.policy, **fields))  # type: ignore[arg-type]

    def drain(self, name: str, *, drain: bool) -> None:
        self.change_node(name, annotations={DRAIN_ANNOTATION: "true"} if drain else {})

    def delete_node(self, name: str) -> None:
        """kubectl delete node: the garbage collector asks for what the Node owns to be deleted."""
        self.api.remove(Node, name)
        self._placed_otherwise(name)
        self.api.delete_lease(presence_lease_name(name))

    def _placed_otherwise(self, *nodes: str) -> None:
        """Something has changed by which placement goes, of these Nodes: those that are out by it are to announce no
        longer. A Node whose agent does not live puts no move off."""
        presences = [self.api.lease(presence_lease_name(name)) for name in nodes]
        if not nodes or any(presence is not None and presence.holder for presence in presences):
            self.invariants.changed_at = self.now
        self.invariants.trouble.update((name, self.now) for name in nodes if self.is_out(name))

    def get(self, name: str) -> Service:
        found = self.api.objects[Service, ("default", name)]
        assert isinstance(found, Service)
        return found

    # --- what is to be seen -----------------------------------------------------------------------------------

    def services(self) -> list[Service]:
        return [
            o
            for (kind, _), o in self.api.objects.items()
            if kind is Service and isinstance(o, Service)
        ]

    def presences(self) -> list[Lease]:
        return [
            obj
            for (kind, key), obj in self.api.objects.items()
            if kind is Lease and isinstance(obj, Lease) and str(key).startswith(PRESENCE_PREFIX)
        ]

    def addresses(self) -> list[Address]:
        return [
            address
            for kind, key in self.api.objects
            if kind is Lease and (address := vip_address(str(key))) is not None
        ]

    def wanted(self, address: Address, eligible: Collection[str]) -> bool:
        """Whether one of these nodes is to announce it."""
        lease = self.api.lease(vip_lease_name(address))
        if lease is None or lease.deleting or not self._every_node_may_announce():
            return False
        services = [self.api.objects.get((Service, key)) for key in services_of(lease)]
        return any(
            isinstance(s, Service)
            and s.type == "LoadBalancer"
            and (s.external_traffic_policy == "Cluster" or self._endpoint_on(s, eligible))
            for s in services
        )

    def _endpoint_on(self, service: Service, nodes: Collection[str]) -> bool:
        return any(
            isinstance(each, Endpoints)
            and each.service == service.key
            and not each.nodes.isdisjoint(nodes)
            for each in self.api.objects.values()
        )

    def _policies(self) -> list[Policy]:
        return [obj for obj in self.api.objects.values() if isinstance(obj, Policy)]

    def _every_node_may_announce(self) -> bool:
        return any(
            policy.load_balancer_ips
            and policy.service_selector == policy.node_selector == Selector()
            and not policy.interfaces
            for policy in self._policies()
        )

    def is_out(self, name: str) -> bool:
        """Whether nothing is to be announced by that node, where another one can."""
        node = self.node(name)
        if node is None or node.ready is False or node.annotations.get(DRAIN_ANNOTATION) == "true":
            return True
        return self.is_barred(name)

    def is_barred(self, name: str) -> bool:
        """Whether nothing is to be announced by that node, though no other one can."""
        node = self.node(name)
        if node is None or EXCLUDE_LABEL in node.labels:
            return True
        if not any(matches(policy.node_selector, node.labels) for policy in self._policies()):
            return True
        if any(taint.key == OUT_OF_SERVICE_TAINT for taint in node.taints):
            return True
        return any(m.stopping for m in self.machines.values() if m.node == name)

    def answering(self) -> dict[Address, list[str]]:
        """What clients on the segment get an answer for, and from whom."""
        found: dict[Address, list[str]] = {}
        for machine in self.machines.values():
            if machine.answers_frames and machine.plugged:
                for address in machine.kernel.answers(machine.clock()):
                    found.setdefault(address, []).append(machine.name)
        return found

    def served(self, *names: str) -> bool:
        answering = self.answering()
        for name in names:
            ingress = self.get(name).ingress
            if not ingress or not all(answering.get(ip_address(text)) for text in ingress):
                return False
        return True

    def told(self, name: str, reason: str) -> list[str]:
        """The events about a Service, of that reason: their messages."""
        return [
            event.message
            for machine in self.machines.values()
            for event in machine.told
            if (event.service[1], event.reason) == (name, reason)
        ]

    def allocator(self) -> str:
        lease = self.api.lease("ipam")
        assert lease is not None
        return lease.holder

    def vip_leases(self, *, aside: bool = False) -> set[str]:
        """Of the addresses that are given; ``aside``: of those that are set aside."""
        return {
            lease.name
            for lease in self.api.objects.values()
            if isinstance(lease, Lease)
            and lease.name.startswith(VIP_PREFIX)
            and ("herald.dev/conflict" in lease.annotations) is aside
        }

    def holder(self, name: str) -> str:
        """The one node whose kernel answers for this Service's first address."""
        nodes = self.answering().get(ip_address(self.get(name).ingress[0]), [])
        assert len(nodes) == 1, nodes
        return nodes[0]

    def owner_of(self, address: Address) -> str | None:
        """The node whose own address that is."""
        return self._owners.get(address)

    def who_has(self, address: Address, asker: Machine) -> bytes:
        """The MAC that answers on the segment, a node's or a stranger's; empty: nobody's.

        A responder answers for nobody here: that would hide from the invariants whom the election alone has let
        answer.
        """
        owner = self.machines.get(self.owner_of(address) or "")
        if owner not in (None, asker) and owner.answers_frames and owner.plugged:
            return owner.interface().mac
        return self.strangers.get(address, b"")

    # --- what holds -------------------------------------------------------------------------------------------

    def kernel_changed(self, machine: Machine, addresses: frozenset[Address] | None = None) -> None:
        self.invariants.kernel_changed(machine, addresses)

    def announced(self, sender: Machine, frame: fx.Announcement) -> None:
        """A frame leaves for every other kernel on the segment."""
        self.invariants.announced(sender, frame)
        sent = self.now
        for machine in self.machines.values():
            if machine is not sender:

                def arrive(machine: Machine = machine) -> None:
                    self._heard(machine, sender, frame, sent)

                self.segment.send(sender.name, machine.name, arrive)

    def _heard(self, machine: Machine, sender: Machine, frame: fx.Announcement, sent: int) -> None:
        address, kernel = frame.address, machine.kernel
        if not machine.answers_frames:
            return
        if kernel.claim_of(address):
            silenced = kernel.conflict(address, machine.clock())
            machine.post(ev.ConflictSeen(address, frame.mac, 2, silenced=silenced))
        self.invariants.frame_arrived(sender, machine, address, sent)
