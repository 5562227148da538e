# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider: one event and the time in, effects out.

Level-triggered: an event updates what is known, and everything that could follow from it is looked at again. An
event that is lost or comes twice changes nothing but the moment at which that happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from herald.core.allocation.allocator import Allocator
from herald.core.effects import (
    Effect,
    EmitEvent,
    Finish,
    JoinGroups,
    Relist,
    SetAttachments,
)
from herald.core.election.announce import Announcer
from herald.core.election.candidates import Candidates
from herald.core.election.conflicts import Conflicts, ConflictTold
from herald.core.election.locks import Election, Lock
from herald.core.election.observer import Observer
from herald.core.election.placement import (
    DRAIN_ANNOTATION,
    is_layer3,
    is_plumbing,
)
from herald.core.election.presence import OwnPresence, Phase
from herald.core.election.segment import Segment, probes_of
from herald.core.events import (
    AnnounceAgain,
    Answer,
    Changed,
    ConflictSeen,
    Event,
    Failed,
    FramesAnswer,
    InterfacesSeen,
    KernelAnswer,
    KernelRead,
    Key,
    Kind,
    KubeObject,
    Listed,
    Removed,
    SegmentHeard,
    Stop,
    Tick,
    WatchBroken,
    WatchResumed,
)
from herald.core.kernelmap import KernelMap
from herald.core.leases import Presence, PresenceInterface, PresenceReport
from herald.core.model import (
    MILLISECOND,
    PRESENCE_PREFIX,
    SECOND,
    Endpoints,
    Identity,
    Interface,
    Lease,
    Node,
    Owner,
    Policy,
    Pool,
    Service,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import Settings
from herald.core.status import ServiceStatus
from herald.core.world import World

IDLE = 5
"""A node that holds nothing renews so many times slower."""
LEAVE_LIMIT = 4 * SECOND
"""How long a stop waits for the hand-over before it falls silent and goes all the same."""
EXIT_NAMESAKE = 77
"""Another agent runs under this node's name: not to be restarted."""


@dataclass(frozen=True, slots=True)
class HeldAddress:
    address: str
    interfaces: tuple[str, ...]
    held_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """What the agent tells a person about itself."""

    node: str
    phase: str
    epoch: str
    valid_for_ms: int
    held: tuple[HeldAddress, ...]
    allocator: bool
    api_ok: bool
    draining: bool
    conflicts: tuple[ConflictTold, ...]
    addresses: int
    """Addresses in the whole cluster."""
    live_nodes: int
    problems: tuple[str, ...]


class Decider:
    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._node = identity.node
        self._out = Outbox()
        self._world = World()
        self._kernel = KernelMap(self._out)
        self._presence = OwnPresence(settings, identity, self._kernel, self._out)
        self._observer = Observer(settings, identity.node, self._out)
        self._segment = Segment(self._out)
        report = PresenceReport(identity.node, identity.version, False, ())
        self._candidates = Candidates(identity.node, self._world, report)
        self._announcer = Announcer(settings.refresh_ns, settings.announce_rate, self._out)
        self._election = Election(
            settings,
            identity.node,
            self._presence,
            self._observer,
            self._kernel,
            self._announcer,
            self._out,
            self._candidates.place,
            self._candidates.targets,
        )
        self._allocator = Allocator(settings, self._world, self._election, self._out)
        self._conflicts = Conflicts(self._world, self._candidates, self._out)
        self._status = ServiceStatus(
            self._world,
            self._election,
            self._allocator,
            self._conflicts,
            self._candidates.describe,
            self._out,
        )
        self._started = False
        self._live = False
        self._claims_from = 0
        """Nothing is claimed before: time ran backwards."""
        self._idle = False
        self._idle_due = 0
        self._quiet_at: int | None = None
        """When membership will have been quiet for the hold-down; None: it is."""
        self._watch_sound = False
        self._answered = True
        self._stop_by: int | None = None
        self._finished = False
        self._last: tuple[object, ...] = ()
        self._probed: tuple[dict[int, Interface], list[PresenceReport]] = ({}, [])
        self._attached: frozenset[int] | None = None
        self._joined: frozenset[tuple[object, int]] = frozenset()
        self._announced_before: dict[str, int] = {}

    # --- the two calls ---------------------------------------------------------------------------------------

    def step(self, event: Event, now: int) -> list[Effect]:
        self._take(event, now)
        if self._started and not self._finished:
            self._settle(now)
        return self._out.drain()

    def next_deadline(self) -> int | None:
        """Boottime nanoseconds of the next Tick that is needed; None: only events matter."""
        if not self._started or self._finished:
            return None
        deadlines = (
            self._presence.next_deadline(),
            self._presence.valid_until if self._live else None,
            self._quiet_at,
            self._kernel.retry_at,
            self._claims_from if not self._election.synced and self._world.complete else None,
            self._segment.next_deadline(),
            self._observer.next_deadline() if self._live else None,
            self._election.next_deadline(),
            self._announcer.next_deadline() if self._live else None,
            self._conflicts.next_deadline(),
            self._allocator.next_deadline(0),
            self._status.next_deadline(),
            self._stop_by,
        )
        return min((d for d in deadlines if d is not None), default=None)

    # --- events ----------------------------------------------------------------------------------------------

    def _take(self, event: Event, now: int) -> None:
        match event:
            case Answer():
                self._answer(event, now)
            case KernelAnswer():
                addresses = self._kernel.answer(event.effect, event.error, now)
                self._election.recheck([vip_lease_name(address) for address in addresses])
            case FramesAnswer():
                if not self._election.frames_answer(event.effect, event.error):
                    self._announcer.answer(event.effect, event.error)
            case Listed() | Changed() | Removed() | WatchBroken() | WatchResumed():
                self._watched(event, now)
            case Tick():
                if self._kernel.retry(now):
                    self._election.recheck()
                    self._notice_entries()
            case _:
                self._local(event, now)

    def _watched(
        self, event: Listed | Changed | Removed | WatchBroken | WatchResumed, now: int
    ) -> None:
        match event:
            case Listed():
                self._listed(event, now)
            case Changed():
                if self._world.change(event):
                    self._changed(event.object, now)
            case Removed():
                self._removed(event.kind, event.key, now)
            case WatchBroken() | WatchResumed():
                if event.kind is Lease:
                    self._watch_sound = isinstance(event, WatchResumed)

    def _local(
        self,
        event: KernelRead | InterfacesSeen | ConflictSeen | SegmentHeard | Stop | AnnounceAgain,
        now: int,
    ) -> None:
        match event:
            case KernelRead():
                self._kernel.read(event.session, event.entries, event.silenced)
                self._started = True
            case InterfacesSeen():
                interfaces = {i.index: i for i in event.interfaces}
                if interfaces != self._world.interfaces or not self._world.looked:
                    self._world.interfaces = interfaces
                    self._world.looked = True
                    self._election.recheck()
            case SegmentHeard():
                self._segment.answered(event.ifindex, event.address, now)
            case ConflictSeen():
                lock = self._election.conflict(event.address, now, silenced=event.silenced)
                if lock is not None and self._conflicts.seen(event, lock.services, now):
                    self._status.mark(lock.services)
            case AnnounceAgain():
                self._announcer.again(event.address, now)
            case Stop():
                if self._stop_by is None:
                    self._out.note("stop", held=len(self._held()))
                    self._stop_by = now + LEAVE_LIMIT

    def _answer(self, answer: Answer, now: int) -> None:
        for leases in (self._presence, self._observer, self._election):
            if leases.answer(answer, now):
                self._answered = not isinstance(answer.outcome, Failed)
                if not self._answered:
                    self._observer.in_touch(False, now)
                return
        if not self._status.answer(answer, now):
            self._allocator.answer(answer, now)

    def _listed(self, event: Listed, now: int) -> None:
        if event.kind is Lease:
            self._watch_sound = True
            leases = {lease.name: lease for lease in event.objects if isinstance(lease, Lease)}
            presences = {n: v for n, v in leases.items() if n.startswith(PRESENCE_PREFIX)}
            self._observer.listed(presences, now)
            self._election.listed({n: v for n, v in leases.items() if n not in presences}, now)
            own = leases.get(self._presence.lease.name)
            if own is not None:
                self._presence.seen(own, now)
            self._last = ()
        for change in self._world.replace(event):
            if isinstance(change, tuple):
                self._gone(change[0], change[1], now)
            elif event.kind is not Lease:
                self._changed(change, now)
        self._election.recheck()

    def _changed(self, obj: KubeObject, now: int) -> None:
        match obj:
            case Lease():
                if obj.name.startswith(PRESENCE_PREFIX):
                    self._observer.seen(obj, now)
                    if self._candidates.some_hear_nobody:
                        self._last = ()
                    if obj.name == self._presence.lease.name:
                        self._presence.seen(obj, now)
                else:
                    self._election.seen(obj, now)
            case Service():
                self._service_changed(obj.key)
            case Endpoints():
                self._election.recheck_service(obj.service)
            case Pool():
                self._allocator.pool_changed(obj.name)
            case Policy():
                self._election.recheck()
                self._status.mark(self._world.services)
            case Node():
                self._election.recheck()

    def _removed(self, kind: Kind, key: Key, now: int) -> None:
        service = self._world.slice_service(key) if kind is Endpoints else None
        if self._world.remove(kind, key) or kind is Lease:
            self._gone(kind, key, now)
        if service is not None:
            self._election.recheck_service(service)

    def _gone(self, kind: Kind, key: Key, now: int) -> None:
        if kind is Lease and isinstance(key, str):
            if key.startswith(PRESENCE_PREFIX):
                self._observer.gone(key, now)
                if key == self._presence.lease.name:
                    self._presence.gone(now)
            else:
                self._election.gone(key, now)
        elif kind is Service and isinstance(key, tuple):
            self._service_changed(key)
        elif kind is Pool and isinstance(key, str):
            self._allocator.pool_changed(key)
        else:
            self._election.recheck()
            if kind is Policy:
                self._status.mark(self._world.services)

    def _service_changed(self, key: tuple[str, str]) -> None:
        self._allocator.service_changed(key)
        self._status.service_changed(key)
        self._election.recheck_service(key)

    # --- what follows ----------------------------------------------------------------------------------------

    def _settle(self, now: int) -> None:
        self._watch_segment(now)
        if self._world.looked:
            # Until then a restarted agent says what it said before.
            self._candidates.own_report = self._own_report(now)
            self._presence.describe(self._candidates.own_report, self._owner(), now)
        self._live_by(now)
        self._presence.tick(now)
        if self._presence.rewound:
            self._begin_anew(now)
        self._observer.in_touch(self._watch_sound and self._answered, now)
        live = self._live = self._presence.live(now)
        if live:
            self._observer.tick(now)
        self._election.synced = self._world.complete and now >= self._claims_from
        self._notice_changes(live, now)
        self._rebalance(live, now)
        self._candidates.claiming = self._election.claiming
        self._candidates.addresses = max(1, len(self._election.locks) - 1)
        self._election.tick(now)
        if live:
            self._announcer.tick(now)
        leads = live and any(lock.held for lock in self._ipam_lock())
        self._allocator.lead(leads and self._world.complete, now)
        self._follow_leases()
        self._allocator.tick(now)
        held = {lock.address for lock in self._held()} if self._conflicts.any else set()
        for address in self._conflicts.tick(held, now):
            if (lock := self._election.locks.get(vip_lease_name(address))) is not None:
                self._status.mark(lock.services)
        self._status.mark(self._allocator.decided)
        self._allocator.decided.clear()
        self._status.tick(now)
        # What the allocator wants of leases leaves in the same step.
        self._election.tick(now)
        # A claim that waits for a shorter D does not wait for another event too.
        self._live_by(now)
        self._presence.tick(now)
        if self._world.looked:
            self._set_devices()
        self._leave(now)

    def _begin_anew(self, now: int) -> None:
        """Time ran backwards (rule 10): the presence falls silent and begins a new epoch; whatever else was seen of
        leases is forgotten and listed again, and nothing is claimed for the longest D."""
        self._presence.rewound = False
        self._out.note("time ran backwards", level="warning", node=self._node)
        self._claims_from = now + self._observer.longest()
        self._observer.forget()
        self._election.forget()
        self._world.leases.clear()
        self._world.listed.discard(Lease)
        self._out.add(Relist(Lease))

    def _rebalance(self, live: bool, now: int) -> None:
        if self._quiet_at is not None and now >= self._quiet_at:
            self._quiet_at = None
            self._election.find_misplaced()
        if live and self._quiet_at is None:
            self._election.rebalance()

    def _notice_changes(self, live: bool, now: int) -> None:
        """What every placement depends on: look at all locks again where it changed."""
        facts = (
            self._presence.epoch,
            self._presence.told,
            self._presence.duration,
            live,
            self._election.synced,
        )
        if facts == self._last and not self._observer.changed:
            return
        if self._observer.changed:
            self._observer.changed.clear()
            self._quiet_at = now + self._settings.hold_down_ns
            self._election.keep_placed()
        self._last = facts
        presences = self._observer.presences()
        if self._presence.epoch is not None and self._presence.lease.uid:
            # Of ourselves we know more than the watch has shown.
            own = Presence(self._presence.lease)
            own.__dict__["report"] = self._candidates.own_report
            presences[self._node] = own
        self._candidates.refresh(presences, self._reported)
        self._election.recheck()
        self._notice_entries()

    def _reported(self, node: str) -> int | None:
        return self._presence.reported if node == self._node else self._observer.reported(node)

    def _notice_entries(self) -> None:
        """What the kernel answers without any VIP lease goes."""
        if self._presence.epoch is not None and Lease in self._world.listed:
            self._kernel.withdraw(
                address
                for address in self._kernel.addresses()
                if vip_lease_name(address) not in self._election.locks
            )

    def _follow_leases(self) -> None:
        for name in self._election.touched:
            self._allocator.lease_changed(name)
            lock = self._election.locks.get(name)
            if lock is None:
                self._candidates.count_holder(name, "")
                continue
            holder = lock.lease.holder if lock.lease is not None and lock.holder else ""
            self._candidates.count_holder(name, holder if lock.address is not None else "")
            self._status.mark(lock.services)
            self._tell_announced(lock)
        self._election.touched.clear()

    def _tell_announced(self, lock: Lock) -> None:
        """One event for each Service on an address that this node begins to announce."""
        if not lock.announced or self._announced_before.get(lock.name) == lock.held:
            return
        self._announced_before[lock.name] = lock.held
        for key in lock.services:
            service = self._world.services.get(key)
            if service is not None:
                message = f"{lock.address} by {self._candidates.describe(lock)} ({lock.reason})"
                self._out.add(EmitEvent(key, service.uid, "Normal", "Announced", message))

    def _set_devices(self) -> None:
        """Attach the responder, and join groups, where addresses are or may be announced."""
        attached = frozenset(i.index for i in self._world.interfaces.values() if is_layer3(i))
        if attached != self._attached:
            self._attached = attached
            self._out.add(SetAttachments(attached))
        joined = frozenset(
            (lock.address, index)
            for lock in self._held()
            if lock.address is not None and lock.address.version == 6
            for index in self._candidates.targets(lock)
        )
        if joined != self._joined:
            self._joined = joined
            self._out.add(JoinGroups(joined))

    def _leave(self, now: int) -> None:
        if self._presence.phase is Phase.STOPPED:
            self._kernel.silence()
        if self._presence.phase is Phase.STOPPED and self._kernel.silent:
            self._finished = True
            if self._stop_by is None:
                self._out.add(Finish(EXIT_NAMESAKE, self._presence.problem))
            else:
                self._out.add(Finish(0, "handed over"))
            return
        if self._stop_by is None or self._presence.phase in (Phase.LEAVE, Phase.STOPPED):
            return
        done = self._presence.told and not any(
            lock.held or (lock.holder is not None and lock.holder == self._presence.epoch)
            for lock in self._election.locks.values()
        )
        if done or self._presence.epoch is None or now >= self._stop_by:
            self._presence.leave(now)
            self._stop_by = now + LEAVE_LIMIT

    # --- this node -------------------------------------------------------------------------------------------

    def _draining(self) -> bool:
        node = self._world.nodes.get(self._node)
        annotated = node is not None and node.annotations.get(DRAIN_ANNOTATION) == "true"
        return self._stop_by is not None or annotated

    def _watch_segment(self, now: int) -> None:
        """Probe whoever is there, and hold on to what is held while they answer and the API server does not."""
        others = [p.report for name, p in self._candidates.presences.items() if name != self._node]
        if (self._world.interfaces, others) != self._probed:
            self._probed = (self._world.interfaces, others)
            probes = {
                interface.index: probes_of(interface, self._node, others)
                for interface in self._world.interfaces.values()
                if is_layer3(interface) and not is_plumbing(interface)
            }
            self._segment.watch(probes, now)
        # A renewal in time leaves more than half of D.
        late = (
            self._presence.epoch is not None
            and now >= self._presence.valid_until - self._presence.duration // 2
        )
        self._segment.tick(now, urgent=late)
        if late:
            self._presence.hold(now, hears=self._segment.hears(self._kernel.devices(), now))

    def _own_report(self, now: int) -> PresenceReport:
        return PresenceReport(
            node=self._node,
            version=self._identity.version,
            draining=self._draining(),
            interfaces=tuple(
                _told(interface, self._segment.heard(interface.index, now))
                for interface in sorted(self._world.interfaces.values(), key=lambda i: i.index)
                if is_layer3(interface)
            ),
        )

    def _owner(self) -> Owner | None:
        node = self._world.nodes.get(self._node)
        return Owner(node.name, node.uid) if node is not None else None

    def _live_by(self, now: int) -> None:
        """D: as set, or longer where the cluster's renewals would exceed the budget; five times as long while
        this node holds nothing."""
        announcing = self._candidates.announcing
        weighted = IDLE * announcing + max(0, len(self._candidates.presences) - announcing)
        budget = 4 * weighted * SECOND // (IDLE * self._settings.renew_budget)
        busy = max(self._settings.duration_ns, budget)
        # Observers of many views: what one reads a little longer than the other is no reason to wait.
        self._election.claim_within = busy * 5 // 4
        if now >= self._idle_due:
            self._idle_due = now + self._settings.duration_ns // 8
            self._idle = self._election.synced and self._election.idle
        idle = self._idle and now >= self._election.eager_until
        self._presence.live_by(IDLE * busy if idle else busy, now)

    def _ipam_lock(self) -> list[Lock]:
        lock = self._election.lock("ipam")
        return [lock] if lock is not None else []

    def _held(self) -> list[Lock]:
        return [lock for lock in self._election.locks.values() if lock.held]

    # --- what it tells of itself -----------------------------------------------------------------------------

    def status(self, now: int) -> Status:
        problems = [self._presence.problem] if self._presence.problem else []
        if self._started and not self._world.complete:
            missing = [name for kind, name in _KIND_NAMES.items() if kind not in self._world.listed]
            missing += [] if self._world.looked else ["this node's interfaces"]
            problems.append("not listed yet: " + ", ".join(missing))
        if self._kernel.broken:
            problems.append("the kernel refused an entry; see the log")
        if self._world.complete and self._node not in self._world.nodes:
            problems.append(f"there is no Node named {self._node}")
        return Status(
            node=self._node,
            phase=self._presence.phase.value,
            epoch=str(self._presence.epoch or ""),
            valid_for_ms=max(0, self._presence.valid_until - now) // MILLISECOND
            if self._presence.epoch
            else 0,
            held=tuple(
                HeldAddress(
                    address=str(lock.address),
                    interfaces=tuple(
                        self._world.interfaces[index].name
                        for index in self._candidates.targets(lock)
                    ),
                    held_ms=(now - lock.held) // MILLISECOND,
                    reason=lock.reason,
                )
                for lock in self._held()
                if lock.address is not None
            ),
            allocator=self._allocator.active,
            api_ok=self._answered and self._watch_sound,
            draining=self._draining(),
            conflicts=self._conflicts.told(now),
            addresses=sum(lock.address is not None for lock in self._election.locks.values()),
            live_nodes=len(self._candidates.presences),
            problems=tuple(problems),
        )


_KIND_NAMES: dict[Kind, str] = {
    Service: "Services",
    Endpoints: "EndpointSlices",
    Node: "Nodes",
    Pool: "LoadBalancerIPPools",
    Policy: "L2AnnouncementPolicies",
    Lease: "Leases",
}


def _told(interface: Interface, heard: bool | None) -> PresenceInterface:
    return PresenceInterface(
        name=interface.name,
        mac=interface.mac.hex(":"),
        up=interface.up,
        carrier=interface.carrier,
        plumbing=is_plumbing(interface),
        addresses=interface.addresses,
        heard=heard,
    )
