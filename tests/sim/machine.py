# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A node: its kernel, its clock, its network, and the agent process on it, which is the real core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from typing import TYPE_CHECKING

from tests.sim.kernel import Kernel
from tests.sim.segment import GATEWAY
from tests.sim.watch import Watch

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.allocation.ipam import ALLOCATED
from herald.core.model import MILLISECOND, SECOND, VIP_PREFIX, Identity, Interface, Lease, Service
from herald.core.status import ANNOUNCED
from herald.core.step import Decider
from herald.core.world import KINDS

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

LOOK = 1 * SECOND
"""So often is looked at what the kernel has silenced."""
GATEWAY_ADDRESS = ip_address("192.0.2.254")
Request = fx.LeaseRequest | fx.PatchService | fx.ReadService | fx.PatchPool | fx.PatchPolicy
Outcome = ev.Done | ev.Refused | ev.Failed


class Machine:
    late_answers = False
    """Answers are delivered to an agent that has given the request up as well."""

    def __init__(
        self, cluster: Cluster, name: str, number: int, rate: float, *, boottime: int = SECOND
    ) -> None:
        """``boottime``: what its clock shows at the beginning; ``rate``: how fast it runs."""
        self.cluster, self.name, self.number, self.rate = cluster, name, number, rate
        self.node = name
        """The Node's name that its agent was told; two machines may have been told the same."""
        self._boottime = boottime
        self._eth0 = self._first_interface()
        self.kernel = Kernel()
        self.agent: Decider | None = None
        self.powered = True
        self.frozen = False
        """The whole node is stopped, its kernel as well; only its clock goes on."""
        self.paused = False
        """The agent is stopped (SIGSTOP)."""
        self.to_api = self.from_api = True
        self.lag = self.services_lag = 0
        """Watches, or that of Services alone, tell so much later, nanoseconds."""
        self.slow_answers = 0
        """Every other answer takes up to so many nanoseconds more."""
        self.forbidden = False
        """The API server lets it write nothing about addresses (403)."""
        self.attaching = MILLISECOND
        """How long it takes to attach the responder."""
        self.boot = 1
        self.life = 0
        """Counts processes: what was meant for an earlier one reaches nobody."""
        self.finished: fx.Finish | None = None
        self.stopping = False
        self.renewed = -1
        """When the last renewal was sent of whose success it has learned, in the cluster's time."""
        self.frames: list[fx.Announcement] = []
        self.refuse: Callable[[fx.Effect], str] = lambda _: ""
        """The error with which kernel or device refuse an effect; empty: none."""
        self.extra: tuple[Interface, ...] = ()
        """Devices beside eth0."""
        self.notes: list[tuple[int, fx.Note]] = []
        self.told: list[fx.EmitEvent] = []
        self.all_services = False
        """It watches Services of every type, not LoadBalancers alone."""
        self.watches: list[Watch] = []
        self._inbox: deque[ev.Event] = deque()
        self._undone: deque[tuple[int, fx.Effect]] = deque()
        """Decided on (when), and not carried out yet."""
        self.belated = False
        """What is being carried out was decided on before the agent was stopped."""
        self._breaks_after: int | None = None
        """So many effects more, and then it is stopped or killed."""
        self._break: Callable[[], None] = lambda: None
        self._tick_at: int | None = None

    def clock(self) -> int:
        """CLOCK_BOOTTIME of this node, which no other node's resembles."""
        return self._boottime + int(self.cluster.now * self.rate)

    def global_time(self, clock: int) -> int:
        """The cluster's time when this node's clock showed that."""
        return int((clock - self._boottime) / self.rate)

    def interface(self) -> Interface:
        return self._eth0

    def _first_interface(self) -> Interface:
        mac = bytes([2, 0, 0, 0, self.number >> 8, self.number & 255])
        address = IPv4Interface(f"192.0.{2 + self.number // 250}.{self.number % 250}/22")
        gateways = (GATEWAY_ADDRESS,) if self.cluster.gateway else ()
        return Interface(
            2, "eth0", mac, up=True, carrier=True, addresses=(address,), gateways=gateways
        )

    # --- what is asked of it --------------------------------------------------------------------------------

    @property
    def answers_frames(self) -> bool:
        return self.powered and not self.frozen

    @property
    def plugged(self) -> bool:
        return self.cluster.segment.joined(self.name)

    @property
    def alone(self) -> bool:
        """Nobody on the segment can answer it."""
        others = [
            m.name for m in self.cluster.machines.values() if m is not self and m.answers_frames
        ]
        others += [GATEWAY] if self.cluster.gateway else []
        passes = self.cluster.segment.passes
        return not any(passes(self.name, o) and passes(o, self.name) for o in others)

    @property
    def reachable(self) -> bool:
        return self.to_api and self.from_api

    def api_answers(self) -> bool:
        return self.cluster.api.up and self.reachable

    @property
    def well(self) -> bool:
        """Nothing is wrong with it: it may announce, and should."""
        return (
            self.answers_frames
            and self.agent is not None
            and not (
                self.paused or self.stopping or self.lag or self.services_lag or self.slow_answers
            )
            and self.to_api
            and self.from_api
            and self.plugged
        )

    def may_announce(self) -> bool:
        """Well, and its agent lives, knows the cluster, and may be chosen."""
        if not self.well or self.agent is None or self.cluster.is_barred(self.node):
            return False
        presence, election = self.agent._presence, self.agent._election
        knows = election.synced and all(watch.sound for watch in self.watches)
        return knows and presence.live(self.clock())

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.life += 1
        self._tick_at = None
        self.finished, self.stopping, self.all_services = None, False, False
        nonce = f"{self.name}-{self.life}"
        identity = Identity(self.node, f"machine-{self.name}-{self.boot}", nonce, "0.1.0")
        self.agent = Decider(self.cluster.settings, identity)
        self._forget()
        kernel = self.kernel
        self.post(ev.KernelRead(kernel.session, dict(kernel.entries), dict(kernel.silenced)))
        self._look()
        self._look_at_kernel(self.life)
        for kind in KINDS:
            watch = Watch(self, kind)
            self.watches.append(watch)
            self.cluster.watching[kind].append(watch)
            watch.begin()

    def _look(self) -> None:
        """The node's interfaces come at a time of their own, also after the lists."""
        life = self.life

        def look() -> None:
            if life == self.life:
                self.post(ev.InterfacesSeen((self.interface(), *self.extra)))

        self.cluster.after(8 * self.cluster.latency(), look)

    def _look_at_kernel(self, life: int) -> None:
        if life != self.life:
            return
        if self.kernel.silenced:
            self.post(ev.SeenRead(dict(self.kernel.silenced)))
        self.cluster.after(LOOK, lambda: self._look_at_kernel(life))

    def _forget(self) -> None:
        self._inbox.clear()
        self._undone.clear()
        self._breaks_after = None
        for watch in self.watches:
            self.cluster.watching[watch.kind].remove(watch)
        self.watches.clear()

    def kill(self) -> None:
        """SIGKILL of the agent: the kernel goes on."""
        self._troubled()
        self.agent = None
        self.paused = False
        self.life += 1
        self._forget()

    def _troubled(self) -> None:
        self.cluster.invariants.trouble[self.node] = self.cluster.now

    def power_off(self) -> None:
        self.kill()
        self.powered = self.frozen = False
        self.kernel = Kernel()
        self.cluster.kernel_changed(self, frozenset())

    def power_on(self) -> None:
        self.boot += 1
        self.powered = True
        self.start()

    def stop(self) -> None:
        """SIGTERM."""
        self._troubled()
        self.stopping = True
        self.post(ev.Stop())

    def pause(self) -> None:
        self._troubled()
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._breaks_after = None
        self.post(ev.Tick())

    def freeze(self) -> None:
        self._troubled()
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        self.cluster.kernel_changed(self)
        self.post(ev.Tick())

    def break_after(self, effects: int, what: Callable[[], None]) -> None:
        """``what`` (pause, kill) comes between two effects of one decision."""
        self._breaks_after, self._break = effects, what

    def reconnect(self) -> None:
        """All connections of watches are lost; each goes on from where it was."""
        for watch in self.watches:
            watch.reset("connection lost")

    def relist(self) -> None:
        """All watches begin anew."""
        for watch in self.watches:
            watch.reset("connection lost", relist=True)

    def cut(self, *, to_api: bool = False, from_api: bool = False) -> None:
        """Partitioned from the API server, both ways unless told otherwise; connections are found out to be dead
        sooner or later."""
        self._troubled()
        self.to_api, self.from_api = to_api, from_api
        for watch in self.watches:
            watch.cut()

    def join(self) -> None:
        self.to_api = self.from_api = True
        for watch in self.watches:
            watch.mend()

    def unplug(self) -> None:
        """The switch drops its frames: neither the API server nor the segment is reached."""
        self.cluster.segment.mute.add(self.name)
        self.cluster.segment.deaf.add(self.name)
        self.cut()

    def plug(self) -> None:
        self.cluster.segment.mute.discard(self.name)
        self.cluster.segment.deaf.discard(self.name)
        self.cluster.kernel_changed(self)
        self.join()

    # --- events and effects -----------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        if self.agent is None or self.finished:
            return
        self._inbox.append(event)
        if not (self.paused or self.frozen):
            self._work()

    def _work(self) -> None:
        """One event, then its effects one after the other, whose answers are the next events."""
        while self.agent is not None and not (self.paused or self.frozen):
            if self._undone:
                if self._breaks_after == 0:
                    self._breaks_after = None
                    self._break()
                    continue
                if self._breaks_after is not None:
                    self._breaks_after -= 1
                decided, effect = self._undone.popleft()
                self.belated = decided < self.cluster.now
                self._inbox.extend(self._carry_out(effect))
            elif self._inbox:
                effects = self.agent.step(self._inbox.popleft(), self.clock())
                self._undone.extend((self.cluster.now, effect) for effect in effects)
            else:
                self._schedule()
                return

    def _schedule(self) -> None:
        assert self.agent is not None
        deadline = self.agent.next_deadline()
        if deadline is None:
            return
        when = max(self.cluster.now + MILLISECOND, self.global_time(deadline) + 1)
        if self._tick_at is not None and self.cluster.now < self._tick_at <= when:
            return
        self._tick_at = when
        life = self.life
        self.cluster.at(when, lambda: self.post(ev.Tick()) if life == self.life else None)

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        error = self.refuse(effect)
        match effect:
            case fx.SetSession():
                if not error:
                    self.kernel.session = effect.session
                    self.cluster.kernel_changed(self)
                return [ev.KernelAnswer(effect.id, error)]
            case fx.SetEntries():
                if not error:
                    self.kernel.change(effect.remove, effect.put)
                    keys = (*effect.remove, *effect.put)
                    self.cluster.kernel_changed(self, frozenset(key.address for key in keys))
                return [ev.KernelAnswer(effect.id, error)]
            case fx.SendFrames():
                if not error:
                    self.frames += effect.announcements
                    for frame in effect.announcements:
                        self.cluster.announced(self, frame)
                return [ev.FramesAnswer(effect.id, error)]
            case fx.SendSolicitations():
                for solicitation in effect.solicitations:
                    self._solicit(solicitation)
            case fx.ProbeAddress():
                self._look_for(effect)
            case (
                fx.LeaseRequest()
                | fx.PatchService()
                | fx.ReadService()
                | fx.PatchPool()
                | fx.PatchPolicy()
            ):
                self._request(effect)
            case _:
                self._report(effect)
        return []

    def _attach(self, effect: fx.SetAttachments) -> None:
        """A thread of its own does it."""
        life, seen = self.life, ev.AttachmentsSeen(effect.id, frozenset(effect.interfaces), {})
        self.cluster.after(self.attaching, lambda: self.post(seen) if life == self.life else None)

    def _report(self, effect: fx.Effect) -> None:
        match effect:
            case fx.SetAttachments():
                self._attach(effect)
            case fx.Finish():
                self.cluster.invariants.ended(self)
                self.kill()
                self.finished = effect
            case fx.Relist():
                self._list_anew(effect.kind)
            case fx.WatchServices():
                self.all_services = effect.all_types
                self._list_anew(Service)
            case fx.EmitEvent():
                self.told.append(effect)
            case fx.Note():
                self.notes.append((self.cluster.now, effect))

    def _list_anew(self, kind: ev.Kind) -> None:
        for watch in self.watches:
            if watch.kind is kind:
                watch.reset("asked for", relist=True)

    def as_watched(self, event: ev.Event) -> ev.Event:
        """A Service that does not matter to this agent is not there."""
        if isinstance(event, ev.Listed) and event.kind is Service:
            watched = tuple(filter(self._watches, event.objects))
            return ev.Listed(Service, watched, narrowed=not self.all_services)
        if isinstance(event, ev.Changed) and not self._watches(event.object):
            return ev.Removed(Service, event.object.key)
        return event

    def _watches(self, obj: ev.KubeObject) -> bool:
        if not isinstance(obj, Service):
            return True
        # Of conditions the decoder keeps Herald's alone.
        ours = tuple(c for c in obj.conditions if c.type in (ALLOCATED, ANNOUNCED))
        return replace(obj, conditions=ours).is_watched(all_types=self.all_services)

    def _solicit(self, solicitation: fx.Solicitation) -> None:
        """Who has that address, and is there, answers."""
        life, segment = self.life, self.cluster.segment

        def heard() -> None:
            if life == self.life and self.answers_frames:
                self.post(ev.SegmentHeard(solicitation.ifindex, solicitation.target, self.clock()))

        def ask(other: str) -> None:
            machine = self.cluster.machines.get(other)
            if machine is None or machine.answers_frames:
                segment.send(other, self.name, heard)

        other = (
            GATEWAY
            if solicitation.target == GATEWAY_ADDRESS
            else self.cluster.owner_of(solicitation.target)
        )
        if other is not None:
            segment.send(self.name, other, lambda: ask(other))

    def _look_for(self, effect: fx.ProbeAddress) -> None:
        life, mac = self.life, self.cluster.who_has(effect.address, self) if self.plugged else b""
        asker = self.cluster.askers.get(effect.address, b"")
        if not mac and asker.hex(":") not in effect.kin:
            mac = asker
        found = ev.AddressProbed(effect.id, mac or None)
        self.cluster.after(
            MILLISECOND if mac else SECOND,
            lambda: self.post(found) if life == self.life else None,
        )

    def _request(self, effect: Request) -> None:
        """Exactly one answer comes, in time or as Failed; what was given up may still take effect."""
        life, clock, sent, cluster = self.life, self.clock(), self.cluster.now, self.cluster
        answered = False
        limit = SECOND
        if isinstance(effect, fx.LeaseRequest):
            limit = effect.deadline - clock
            self.cluster.invariants.sent(self, effect)
        give_up_at = cluster.now + max(0, int(limit / self.rate))

        def answer(outcome: Outcome) -> None:
            nonlocal answered
            if life == self.life and (not answered or self.late_answers):
                answered = True
                self._learn(effect, outcome, sent)
                self.post(ev.Answer(effect.id, clock, outcome))

        def come_back(outcome: Outcome) -> None:
            if self.from_api:
                answer(outcome)

        def arrive() -> None:
            if not cluster.api.up or not self.to_api:
                return
            outcome = self._outcome(effect)
            if life != self.life and _renews(effect) and isinstance(outcome, ev.Done):
                # By a process that is gone: whoever waits for its end begins to count again.
                cluster.disturbed()
            if cluster.draw(cluster.lost_answers):
                # Its sender learns that late, and counts again from then on.
                cluster.after(max(0, give_up_at - cluster.now), cluster.disturbed)
            else:
                back = cluster.latency() + cluster.slowness()
                if self.slow_answers and cluster.draw(0.5):
                    back += cluster.rng.randrange(self.slow_answers)
                cluster.after(back, lambda: come_back(outcome))

        if self.to_api and cluster.api.up:
            late = cluster.draw(cluster.late_requests)
            way = cluster.rng.randrange(3 * SECOND) if late else cluster.latency()
            cluster.after(way + cluster.slowness(), arrive)
        cluster.at(give_up_at, lambda: answer(ev.Failed("time limit")))

    def _outcome(self, effect: Request) -> Outcome:
        """What the API server says, and whether it did anything."""
        cluster = self.cluster
        if self.forbidden and _is_about_an_address(effect):
            return ev.Refused(403, "forbidden")
        if (obstacle := cluster.api.obstacle(effect)) is not None:
            return obstacle
        if cluster.draw(cluster.errors):
            # A 500 may come before the write or after it.
            if cluster.draw(0.5):
                cluster.execute(effect)
            return ev.Failed("500 or 429")
        return cluster.execute(effect)

    def _learn(self, effect: Request, outcome: Outcome, sent: int) -> None:
        if not isinstance(outcome, ev.Done) or outcome.lease is None:
            return
        for watch in self.watches:
            if watch.kind is Lease:
                watch.wrote(outcome.lease.resource_version)
        if _renews(effect) and sent > self.renewed:
            self.renewed = sent


def _renews(effect: Request) -> bool:
    """Whether it writes this node's presence."""
    return isinstance(effect, fx.LeaseRequest) and effect.own_connection and effect.verb != "get"


def _is_about_an_address(effect: fx.Effect) -> bool:
    return (
        isinstance(effect, fx.LeaseRequest)
        and effect.verb != "get"
        and effect.lease.name.startswith(VIP_PREFIX)
    )
