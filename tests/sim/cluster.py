# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A whole cluster in virtual time: real cores, a fake API server with etcd's semantics, fake kernels.

Everything random comes from one seed, so that a run replays exactly. Time is integer nanoseconds; a node's own
clock runs at its own rate. ``Cluster.check`` runs after every change of any kernel and raises Violation when two
kernels answer for one address.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, ip_address

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import (
    MILLISECOND,
    SECOND,
    Address,
    Block,
    Identity,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
    ServicePort,
)
from herald.core.settings import Settings
from herald.core.step import Decider
from herald.core.world import KINDS


class Violation(AssertionError):
    """An invariant of docs/design/election.md does not hold."""


class Api:
    """One store with resourceVersions; every write is atomic and seen by all watches in one order."""

    def __init__(self) -> None:
        self.revision = 100
        self.objects: dict[tuple[ev.Kind, ev.Key], ev.KubeObject] = {}
        self.watches: dict[str, Callable[[ev.Event], None]] = {}
        self.writes: list[tuple[str, str]] = []
        self.up = True
        self.obstacle: Callable[[fx.Effect], ev.Refused | ev.Failed | None] = lambda _: None
        """What a request meets instead of the store: a webhook, a missing right, a full queue."""
        self._uids = itertools.count(1)

    def put(self, obj: ev.KubeObject) -> ev.KubeObject:
        self.revision += 1
        if not isinstance(obj, ev.Endpoints | Node):
            obj = replace(obj, resource_version=self.revision)
        self.objects[type(obj), obj.key] = obj
        self._tell(ev.Changed(obj))
        return obj

    def remove(self, kind: ev.Kind, key: ev.Key) -> None:
        if self.objects.pop((kind, key), None) is not None:
            self.revision += 1
            self._tell(ev.Removed(kind, key, self.revision))

    def _tell(self, event: ev.Event) -> None:
        for deliver in self.watches.values():
            deliver(event)

    def list(self, kind: ev.Kind) -> ev.Listed:
        return ev.Listed(kind, tuple(o for (k, _), o in self.objects.items() if k is kind))

    def backup(self) -> tuple[int, dict[tuple[ev.Kind, ev.Key], ev.KubeObject]]:
        return self.revision, dict(self.objects)

    def restore(self, backup: tuple[int, dict[tuple[ev.Kind, ev.Key], ev.KubeObject]]) -> None:
        """As etcd restored from a snapshot without bumped revisions: everything is as it was, watches break."""
        self.revision, self.objects = backup[0], dict(backup[1])

    def lease(self, name: str) -> Lease | None:
        found = self.objects.get((Lease, name))
        return found if isinstance(found, Lease) else None

    def request(self, effect: fx.LeaseRequest) -> ev.Done | ev.Refused:
        lease, known = effect.lease, self.lease(effect.lease.name)
        self.writes.append((effect.verb, lease.name))
        if effect.verb == "get":
            return ev.Done(known) if known else ev.Refused(404, "not found")
        if effect.verb == "create":
            if known:
                return ev.Refused(409, "already exists")
            return ev.Done(
                self._stored(replace(lease, uid=f"uid-{next(self._uids)}")), created=True
            )
        if known is None:
            return ev.Refused(409 if lease.uid else 404, "gone")
        if (lease.uid, lease.resource_version) != (known.uid, known.resource_version):
            return ev.Refused(409, "conflict")
        if effect.verb == "delete":
            if known.finalizers:
                return ev.Done(self._stored(replace(known, deleting=True)))
            self.remove(Lease, lease.name)
            return ev.Done()
        if lease.transitions >= 1 << 31:
            return ev.Refused(422, "leaseTransitions: not an int32")
        if known.deleting and not lease.finalizers:
            self.remove(Lease, lease.name)
            return ev.Done(replace(lease, deleting=True, resource_version=self.revision))
        return ev.Done(self._stored(replace(lease, deleting=known.deleting)))

    def _stored(self, lease: Lease) -> Lease:
        stored = self.put(lease)
        assert isinstance(stored, Lease)
        return stored

    def patch(
        self, effect: fx.PatchService | fx.PatchPool | fx.PatchPolicy
    ) -> ev.Done | ev.Refused:
        self.writes.append(("patch", str(effect)))
        if isinstance(effect, fx.PatchService):
            known = self.objects.get((Service, effect.service.key))
            if not isinstance(known, Service):
                return ev.Refused(404, "not found")
            if known.resource_version != effect.service.resource_version:
                return ev.Refused(409, "conflict")
            conditions = {c.type: c for c in known.conditions if c.type not in effect.drop}
            conditions.update({c.type: c for c in effect.conditions})
            ingress = known.ingress if effect.ingress is None else effect.ingress
            self.put(replace(known, ingress=ingress, conditions=tuple(conditions.values())))
            return ev.Done()
        kind: ev.Kind = Pool if isinstance(effect, fx.PatchPool) else Policy
        found = self.objects.get((kind, effect.name))
        if found is None:
            return ev.Refused(404, "not found")
        if isinstance(found, Pool | Policy):
            self.put(replace(found, status=effect.status))  # type: ignore[arg-type]
        return ev.Done()


@dataclass
class Kernel:
    """A responder: entries and a deadline, which counts whatever becomes of the agent."""

    session: Session = field(default_factory=Session)
    entries: dict[EntryKey, EntryValue] = field(default_factory=dict)
    silenced: dict[Address, int] = field(default_factory=dict)
    """The newest claim that a conflict has silenced."""

    def answers(self, now: int) -> set[Address]:
        """As bpf/responder.c decides: until the deadline, and past it until the fuse what may be held."""
        session = self.session
        return {
            key.address
            for key, entry in self.entries.items()
            if entry.claimed > self.silenced.get(key.address, 0)
            and (
                now < session.deadline
                or (session.hold and now < session.fuse and entry.claimed < session.renewed)
            )
        }

    def conflict(self, address: Address, now: int) -> bool:
        """Another MAC claims the address; past the deadline, in hold mode, that silences it."""
        claims = [e.claimed for key, e in self.entries.items() if key.address == address]
        if not claims or not self.session.hold or now < self.session.deadline:
            return False
        self.silenced[address] = max(claims)
        return True


def _is_load_balancer(service: object) -> bool:
    return isinstance(service, Service) and service.type == "LoadBalancer"


class Machine:
    """A node: its kernel, its clock, and the agent process on it."""

    def __init__(self, cluster: Cluster, name: str, number: int, rate: float) -> None:
        self.cluster, self.name, self.number, self.rate = cluster, name, number, rate
        self.kernel = Kernel()
        self.agent: Decider | None = None
        self.powered = True
        self.reachable = True
        self.plugged = True
        """Its switch port forwards frames."""
        self.paused = False
        self.boot = 1
        self.finished: fx.Finish | None = None
        self.frames: list[fx.Announcement] = []
        self.refuse: Callable[[fx.Effect], str] = lambda _: ""
        """The error with which kernel or device refuse an effect; empty: none."""
        self.extra: tuple[Interface, ...] = ()
        """Devices beside eth0."""
        self.notes: list[tuple[int, fx.Note]] = []
        self.told: list[fx.EmitEvent] = []
        self._life = 0
        self._backlog: list[ev.Event] = []
        self._tick_at: int | None = None

    def clock(self) -> int:
        """CLOCK_BOOTTIME of this node: never 0, drifting."""
        return SECOND + int(self.cluster.now * self.rate)

    def interface(self) -> Interface:
        mac = bytes([2, 0, 0, 0, 0, self.number])
        address = IPv4Interface(f"192.0.2.{self.number}/24")
        return Interface(2, "eth0", mac, up=True, carrier=True, addresses=(address,))

    # --- life -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._life += 1
        self._tick_at = None
        self.all_services = False
        self.finished = None
        nonce = f"{self.name}-{self._life}"
        identity = Identity(self.name, f"machine-{self.name}-{self.boot}", nonce, "0.1.0")
        self.agent = Decider(self.cluster.settings, identity)
        self._backlog.clear()
        self.post(
            ev.KernelRead(
                self.kernel.session, dict(self.kernel.entries), dict(self.kernel.silenced)
            )
        )
        self._look()
        self.relist()

    def _look(self) -> None:
        """The node's interfaces come at a time of their own, also after the lists."""
        life = self._life

        def look() -> None:
            if life == self._life:
                self.post(ev.InterfacesSeen((self.interface(), *self.extra)))

        self.cluster.after(8 * self.cluster.latency(), look)

    def relist(self) -> None:
        """All watches begin anew."""
        life = self._life

        def list_all() -> None:
            if life != self._life or self.agent is None:
                return
            if not (self.reachable and self.cluster.api.up):
                self.cluster.after(200 * MILLISECOND, list_all)
                return
            for kind in KINDS:
                self.post(self._listed(kind))
            self.cluster.api.watches[self.name] = self._deliver

        self.cluster.after(self.cluster.latency(), list_all)

    def _listed(self, kind: ev.Kind) -> ev.Listed:
        found = self.cluster.api.list(kind)
        if kind is not Service or self.all_services:
            return found
        return ev.Listed(kind, tuple(filter(_is_load_balancer, found.objects)), narrowed=True)

    def kill(self) -> None:
        """SIGKILL of the agent: the kernel goes on."""
        self.agent = None
        self._life += 1
        self.cluster.api.watches.pop(self.name, None)

    def power_off(self) -> None:
        self.kill()
        self.powered = False
        self.kernel = Kernel()

    def power_on(self) -> None:
        self.boot += 1
        self.powered = True
        self.start()

    def cut(self) -> None:
        """Partitioned from the API server."""
        self.reachable = False
        self.cluster.api.watches.pop(self.name, None)
        for kind in KINDS:
            self.post(ev.WatchBroken(kind, "connection lost"))

    def join(self) -> None:
        self.reachable = True
        self.relist()

    def unplug(self) -> None:
        """The switch drops its frames: neither the API server nor the segment is reached."""
        self.plugged = False
        self.cut()

    def plug(self) -> None:
        self.plugged = True
        self.cluster.check()
        self.join()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self.post(event)
        self.post(ev.Tick())

    # --- events and effects -------------------------------------------------------------------------------

    def _deliver(self, event: ev.Event) -> None:
        """One watch delivers in order: later events never overtake earlier ones."""
        life = self._life
        self._watch_at = max(
            getattr(self, "_watch_at", 0), self.cluster.now + self.cluster.latency()
        )
        self.cluster.at(
            self._watch_at,
            lambda: self.post(self._as_watched(event)) if life == self._life else None,
        )

    def _as_watched(self, event: ev.Event) -> ev.Event:
        """A Service of another type is not there for who watches LoadBalancers alone."""
        is_service = isinstance(event, ev.Changed) and isinstance(event.object, Service)
        if is_service and not (self.all_services or _is_load_balancer(event.object)):
            return ev.Removed(Service, event.object.key, event.object.resource_version)
        return event

    def post(self, event: ev.Event) -> None:
        if self.agent is None or self.finished:
            return
        if self.paused:
            self._backlog.append(event)
            return
        pending = [event]
        while pending and self.agent is not None:
            for effect in self.agent.step(pending.pop(0), self.clock()):
                pending += self._carry_out(effect)
        if self.agent is not None:
            self._schedule()

    def _schedule(self) -> None:
        assert self.agent is not None
        deadline = self.agent.next_deadline()
        if deadline is None:
            return
        when = max(self.cluster.now + MILLISECOND, int((deadline - SECOND) / self.rate) + 1)
        if self._tick_at is not None and self.cluster.now < self._tick_at <= when:
            return
        self._tick_at = when
        life = self._life
        self.cluster.at(when, lambda: self.post(ev.Tick()) if life == self._life else None)

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        error = self.refuse(effect)
        if error and isinstance(effect, fx.SetSession | fx.SetEntries):
            return [ev.KernelAnswer(effect.id, error)]
        if error and isinstance(effect, fx.SendFrames):
            return [ev.FramesAnswer(effect.id, error)]
        if isinstance(effect, fx.SetSession):
            self.kernel.session = effect.session
            self.cluster.check()
            return [ev.KernelAnswer(effect.id)]
        if isinstance(effect, fx.SetEntries):
            for key in effect.remove:
                self.kernel.entries.pop(key, None)
            self.kernel.entries.update(effect.put)
            self.cluster.check()
            return [ev.KernelAnswer(effect.id)]
        if isinstance(effect, fx.SendFrames):
            self.frames += effect.announcements
            self.cluster.check_frames(self, effect)
            self.cluster.segment(self, effect)
            return [ev.FramesAnswer(effect.id)]
        if isinstance(effect, fx.SendProbes | fx.ProbeAddress):
            self._probe(effect)
            return []
        if isinstance(effect, fx.Finish):
            self.finished = effect
            self.kill()
        elif isinstance(effect, fx.Relist | fx.WatchServices):
            self.all_services = getattr(effect, "all_types", self.all_services)
            self.relist()
        elif isinstance(effect, fx.Note | fx.EmitEvent):
            self._tell(effect)
        elif isinstance(effect, fx.LeaseRequest | fx.PatchService | fx.PatchPool | fx.PatchPolicy):
            self._request(effect)
        return []

    def _tell(self, effect: fx.Note | fx.EmitEvent) -> None:
        if isinstance(effect, fx.Note):
            self.notes.append((self.cluster.now, effect))
        else:
            self.told.append(effect)

    def _probe(self, effect: fx.SendProbes | fx.ProbeAddress) -> None:
        if isinstance(effect, fx.ProbeAddress):
            self._look_for(effect)
            return
        life = self._life
        for probe in effect.probes:
            if self.plugged and self.cluster.who_has(probe.target, self):
                heard = ev.SegmentHeard(probe.ifindex, probe.target)
                self.cluster.after(
                    MILLISECOND,
                    lambda heard=heard: self.post(heard) if life == self._life else None,  # type: ignore[misc]
                )

    def _look_for(self, effect: fx.ProbeAddress) -> None:
        life, mac = self._life, self.cluster.who_has(effect.address, self) if self.plugged else b""
        found = ev.AddressProbed(effect.id, mac or None)
        self.cluster.after(
            MILLISECOND if mac else SECOND,
            lambda: self.post(found) if life == self._life else None,
        )

    def _request(
        self, effect: fx.LeaseRequest | fx.PatchService | fx.PatchPool | fx.PatchPolicy
    ) -> None:
        life, sent, cluster = self._life, self.clock(), self.cluster
        answered = [False]
        limit = effect.deadline - sent if isinstance(effect, fx.LeaseRequest) else SECOND

        def answer(outcome: ev.Done | ev.Refused | ev.Failed) -> None:
            if life == self._life and not answered[0]:
                answered[0] = True
                self.post(ev.Answer(effect.id, sent, outcome))

        def arrive() -> None:
            if not cluster.api.up or not self.reachable:
                return
            outcome: ev.Done | ev.Refused | ev.Failed
            if (obstacle := cluster.api.obstacle(effect)) is not None:
                outcome = obstacle
            elif isinstance(effect, fx.LeaseRequest):
                outcome = cluster.api.request(effect)
            else:
                outcome = cluster.api.patch(effect)
            if cluster.rng.random() >= cluster.lost_answers:
                cluster.after(cluster.latency(), lambda: answer(outcome))

        if self.reachable and cluster.api.up:
            late = cluster.late_requests and cluster.rng.random() < cluster.late_requests
            cluster.after(cluster.rng.randrange(3 * SECOND) if late else cluster.latency(), arrive)
        cluster.after(max(0, int(limit / self.rate)), lambda: answer(ev.Failed("time limit")))


class Cluster:
    late_requests = 0.0
    """How many requests take up to 3 s to arrive: most of them after they were given up."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        drift: float = 0.0,
        lost_answers: float = 0.0,
    ) -> None:
        self.now = 0
        self.rng = random.Random(seed)
        self.settings = settings or Settings(on_api_loss="Withdraw")
        self.lost_answers = lost_answers
        self.strangers: dict[Address, bytes] = {}
        """Hosts on the segment that are none of ours: who answers for which address."""
        self.api = Api()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.machines = {
            f"n{i}": Machine(self, f"n{i}", i, 1 + self.rng.uniform(-drift, drift))
            for i in range(1, nodes + 1)
        }
        for name in self.machines:
            self.api.put(Node(name, f"node-{name}", {}, {}, (), ready=None))
        self.api.put(Policy("all", "p", 1, 1, load_balancer_ips=True))
        self.api.put(
            Pool("pool", "q", 1, 1, "2026-01-01T00:00:00Z", (Block(cidr="198.51.100.0/24"),))
        )

    def api_away(self) -> None:
        self.api.up = False
        for machine in self.machines.values():
            machine.cut()
            machine.reachable = True

    def api_back(self) -> None:
        self.api.up = True
        for machine in self.machines.values():
            machine.relist()

    def restore(self, backup: tuple[int, dict[tuple[ev.Kind, ev.Key], ev.KubeObject]]) -> None:
        self.api_away()
        self.api.restore(backup)
        self.api_back()

    # --- time -------------------------------------------------------------------------------------------

    def at(self, when: int, do: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), do))

    def after(self, delay: int, do: Callable[[], object]) -> None:
        self.at(self.now + delay, do)

    def latency(self) -> int:
        """One way to or from the API server."""
        return int(self.rng.uniform(0.5, 5) * MILLISECOND)

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

    # --- the users' side -----------------------------------------------------------------------------------

    def start(self) -> None:
        for number, machine in enumerate(self.machines.values()):
            self.after(number * 10 * MILLISECOND, machine.start)

    def service(self, name: str, **fields: object) -> None:
        service = Service(
            namespace="default",
            name=name,
            uid=f"svc-{name}",
            resource_version=0,
            labels={},
            annotations={},
            type="LoadBalancer",
            load_balancer_class=None,
            load_balancer_ip="",
            ip_families=(4,),
            ip_family_policy="SingleStack",
            external_ips=(),
            ports=(ServicePort("TCP", 80),),
            external_traffic_policy="Cluster",
            selector={},
            ingress=(),
            conditions=(),
            deleting=False,
        )
        self.api.put(replace(service, **fields))  # type: ignore[arg-type]

    def edit(self, lease: str, annotations: dict[str, str | None], **fields: object) -> None:
        """Somebody edits a Lease by hand; None takes an annotation away."""
        known = self.api.lease(lease)
        assert known is not None
        merged = {**known.annotations, **annotations}
        kept = {key: text for key, text in merged.items() if text is not None}
        self.api.put(replace(known, annotations=kept, **fields))  # type: ignore[arg-type]

    def get(self, name: str) -> Service:
        found = self.api.objects[Service, ("default", name)]
        assert isinstance(found, Service)
        return found

    # --- what holds ------------------------------------------------------------------------------------------

    def answering(self) -> dict[Address, list[str]]:
        found: dict[Address, list[str]] = {}
        for machine in self.machines.values():
            # What a node answers behind a dead switch port reaches nobody.
            for address in machine.kernel.answers(machine.clock()) if machine.plugged else ():
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
            and lease.name.startswith("vip-")
            and ("herald.dev/conflict" in lease.annotations) is aside
        }

    def holder(self, name: str) -> str:
        """The one node whose kernel answers for this Service's first address."""
        nodes = self.answering().get(ip_address(self.get(name).ingress[0]), [])
        assert len(nodes) == 1, nodes
        return nodes[0]

    def who_has(self, address: Address, asker: Machine) -> bytes:
        """The MAC that answers on the segment, a node's or a stranger's; empty: nobody's.

        A responder answers for nobody here: that would hide from the invariants whom the election alone has let
        answer.
        """
        for machine in self.machines.values():
            own = machine.interface()
            has = own.addresses[0].ip == address
            if has and machine is not asker and machine.powered and machine.plugged:
                return own.mac
        return self.strangers.get(address, b"")

    def segment(self, sender: Machine, effect: fx.SendFrames) -> None:
        """Frames reach every other kernel on the segment at once, before anything else happens."""
        for frame in effect.announcements:
            for machine in self.machines.values():
                if machine is sender or not (machine.plugged and sender.plugged):
                    continue
                if machine.kernel.conflict(frame.address, machine.clock()):
                    seen = ev.ConflictSeen(frame.address, frame.mac, 2, silenced=True)
                    self.after(0, lambda m=machine, seen=seen: m.post(seen))  # type: ignore[misc]

    def check_frames(self, sender: Machine, effect: fx.SendFrames) -> None:
        """Nobody announces past its deadline, nor what another node answers."""
        for frame in effect.announcements:
            if sender.clock() >= sender.kernel.session.deadline:
                raise Violation(f"{sender.name} announces {frame.address} past its deadline")
            others = set(self.answering().get(frame.address, ())) - {sender.name}
            # In Hold it is this very frame that silences the superseded node.
            if others and self.settings.on_api_loss == "Withdraw":
                raise Violation(f"{sender.name} announces {frame.address}, answered by {others}")

    def check(self) -> None:
        for address, nodes in self.answering().items():
            if len(nodes) > 1:
                raise Violation(f"at {self.now / SECOND:.3f} s {address} is answered by {nodes}")
