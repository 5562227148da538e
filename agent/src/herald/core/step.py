# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider: one event and the time in, effects out.

Level-triggered: an event updates what is known, and everything that could follow from it is looked at again. An
event that is lost or comes twice changes nothing but the moment at which that happens.

Here stand only the order in which the parts are asked, and which part an event is for.
"""

from __future__ import annotations

from itertools import islice

from herald.core.allocation.allocator import Allocator
from herald.core.devices import Devices
from herald.core.effects import Effect, EmitEvent, ForgetSeen, Relist
from herald.core.election.announce import Announcer
from herald.core.election.candidates import Candidates
from herald.core.election.conflicts import Conflicts
from herald.core.election.election import Election
from herald.core.election.lock import Lock
from herald.core.election.locks import Locks
from herald.core.election.observer import Observer
from herald.core.election.presence import OwnPresence
from herald.core.election.segment import Segment
from herald.core.events import (
    AddressProbed,
    AnnounceAgain,
    Answer,
    ApiTimed,
    AttachmentsSeen,
    Changed,
    ConflictSeen,
    Event,
    Failed,
    FramesAnswer,
    InterfacesSeen,
    KernelAnswer,
    KernelRead,
    Listed,
    ProxySeen,
    Removed,
    SeenRead,
    SegmentHeard,
    Stop,
    Tick,
    WatchBroken,
    WatchResumed,
)
from herald.core.kernelmap import KernelMap
from herald.core.leases import PresenceReport
from herald.core.leaving import Leaving
from herald.core.membership import Membership
from herald.core.model import MILLISECOND, Identity, vip_lease_name
from herald.core.outbox import Outbox
from herald.core.own import OwnNode
from herald.core.report import HeldAddress, Status, missing
from herald.core.settings import Settings
from herald.core.status import ServiceStatus
from herald.core.watches import Watches
from herald.core.world import KINDS, World

FORGOTTEN = 4000
"""Addresses that make room in what the kernel remembers, with each look at it: renewals do not wait for tens of
thousands of them."""
FORESEEN = 64
"""Of so many addresses of a node that may be lost this node looks whether it comes next for one."""


class Decider:
    def __init__(self, settings: Settings, identity: Identity) -> None:
        node = self._node = identity.node
        out = self._out = Outbox()
        world = self._world = World()
        kernel = self._kernel = KernelMap(out)
        locks = self._locks = Locks()
        presence = self._presence = OwnPresence(settings, identity, kernel, out)
        observer = self._observer = Observer(settings, node, out)
        segment = self._segment = Segment(out)
        report = PresenceReport(node, identity.version, False, ())
        candidates = self._candidates = Candidates(node, world, report)
        announcer = self._announcer = Announcer(settings.refresh_ns, settings.announce_rate, out)
        election = self._election = Election(
            settings,
            node,
            locks,
            presence,
            observer,
            kernel,
            announcer,
            out,
            candidates,
        )
        self._own = OwnNode(
            settings, identity, world, presence, election, candidates, segment, kernel
        )
        self._membership = Membership(
            node, world, presence, observer, candidates, locks, election, kernel
        )
        allocator = self._allocator = Allocator(
            settings, world, locks, candidates.segments, candidates.macs, out
        )
        conflicts = self._conflicts = Conflicts(world, candidates, out)
        status = self._status = ServiceStatus(
            world, locks, observer, allocator, conflicts, candidates.describe, out
        )
        self._watches = Watches(
            world,
            presence,
            observer,
            locks,
            election,
            candidates,
            allocator,
            status,
            out,
            settings.duration_ns,
        )
        self._devices = Devices(world, locks, out)
        self._leaving = Leaving(presence, election, kernel, out)
        self._started = False
        self._finished = False
        self._live = False
        self._answered = True
        """The last request about a Lease had an answer."""
        self._claims_from = 0
        """Nothing is claimed before: time ran backwards."""

    # --- the two calls ---------------------------------------------------------------------------------------

    def step(self, event: Event, now: int) -> list[Effect]:
        self._take(event, now)
        if self._started and not self._finished:
            self._settle(now)
        self._kernel.ask()
        return self._out.drain()

    def next_deadline(self) -> int | None:
        """Boottime nanoseconds of the next Tick that is needed; None: only events matter."""
        if not self._started or self._finished:
            return None
        deadlines = (
            self._own.next_deadline(),
            self._presence.next_deadline(),
            self._presence.live_until if self._live else None,
            self._kernel.retry_at,
            self._claims_from if not self._election.synced and self._world.complete else None,
            self._segment.next_deadline(),
            self._observer.next_deadline() if self._live else None,
            self._election.next_deadline(),
            self._announcer.next_deadline() if self._live else None,
            self._conflicts.next_deadline(),
            self._allocator.next_deadline(0),
            self._status.next_deadline(),
            self._leaving.due,
        )
        return min((d for d in deadlines if d is not None), default=None)

    # --- events ----------------------------------------------------------------------------------------------

    def _take(self, event: Event, now: int) -> None:
        match event:
            case Answer():
                self._answer(event, now)
            case AddressProbed():
                self._allocator.probed(event)
            case KernelAnswer():
                addresses = self._kernel.answer(event.effect, event.error, now)
                self._locks.recheck([vip_lease_name(address) for address in addresses])
            case FramesAnswer():
                if not self._election.frames_answer(event.effect, event.error):
                    self._announcer.answer(event.effect, event.error)
            case Listed() | Changed() | Removed() | WatchBroken() | WatchResumed():
                self._watches.take(event, now)
            case Tick():
                if self._kernel.retry(now):
                    self._locks.recheck()
                    self._membership.notice_entries()
            case _:
                self._local(event, now)

    def _local(
        self,
        event: KernelRead
        | InterfacesSeen
        | AttachmentsSeen
        | ProxySeen
        | ApiTimed
        | ConflictSeen
        | SeenRead
        | SegmentHeard
        | Stop
        | AnnounceAgain,
        now: int,
    ) -> None:
        match event:
            case KernelRead():
                self._kernel.read(event.session, event.entries, event.silenced)
                self._started = True
            case InterfacesSeen():
                if self._world.look(event):
                    self._locks.recheck()
            case AttachmentsSeen():
                self._devices.seen(event)
            case ProxySeen():
                self._world.proxy_problem = event.problem
            case ApiTimed():
                self._timed(event, now)
            case SegmentHeard():
                self._segment.answered(event.ifindex, event.address, min(event.at, now))
            case ConflictSeen():
                self._conflict(event, now)
            case SeenRead():
                self._seen(event)
            case AnnounceAgain():
                self._announcer.again(event.address, now)
            case Stop():
                self._stop(event, now)

    def _conflict(self, event: ConflictSeen, now: int) -> None:
        lock = self._election.conflict(event.address, now, silenced=event.silenced)
        if lock is not None and self._conflicts.seen(event, lock.keys, now):
            self._status.mark(lock.keys)

    def _seen(self, event: SeenRead) -> None:
        self._election.silenced(event.silenced)
        idle = (address for address in event.crowd if not self._kernel.may_answer(address))
        if forgotten := frozenset(islice(idle, FORGOTTEN)):
            self._out.add(ForgetSeen(forgotten))

    def _timed(self, event: ApiTimed, now: int) -> None:
        """Who goes on in an epoch, or announces, is needed however slow the API server is."""
        announces = any(lock.address is not None for lock in self._locks.held())
        if event.too_slow is not None and not self._own.proven and not announces:
            self._stop(event.too_slow, now)
            return
        if event.too_slow is not None:
            self._out.note("api slow", level="warning", reason=event.too_slow.reason)
        self._world.api_timed = True

    def _stop(self, stop: Stop, now: int) -> None:
        self._leaving.begin(stop, len(self._locks.held()), now)
        self._own.stopping = self._candidates.stopping = True
        self._status.leave()

    def _answer(self, answer: Answer, now: int) -> None:
        for leases in (self._presence, self._observer, self._election):
            if leases.answer(answer, now):
                failed = isinstance(answer.outcome, Failed)
                if failed and answer.sent < self._observer.counts_from:
                    # That the API server was away then is known, and was counted.
                    return
                self._answered = not failed
                if failed:
                    self._observer.in_touch(False, now)
                return
        if not self._status.answer(answer, now):
            self._allocator.answer(answer, now)

    # --- what follows ----------------------------------------------------------------------------------------

    def _settle(self, now: int) -> None:
        self._own.tick(now)
        if self._observer.rewound or self._election.rewound:
            self._presence.rewind()
        if self._presence.rewound:
            self._begin_anew(now)
        self._observer.in_touch(self._watches.leases_sound and self._answered, now)
        live = self._live = self._presence.live(now)
        if live:
            self._observer.tick(now)
            self._foresee(now)
        self._election.synced = self._world.complete and now >= self._claims_from
        self._membership.tick(now, renewed=self._watches.presences_renewed)
        self._watches.presences_renewed = False
        self._candidates.claiming = self._election.claiming
        self._candidates.addresses = self._locks.addresses
        self._election.tick(now)
        if live:
            self._announcer.tick(now)
        complete = self._world.complete and not self._world.others_unlisted
        self._allocator.lead(live and complete and self._locks.allocates, now)
        self._follow_locks()
        self._allocator.tick(now)
        self._follow_conflicts(now)
        self._status.mark(self._allocator.decided)
        self._allocator.decided.clear()
        self._status.left(self._allocator.left)
        self._allocator.left.clear()
        self._status.tick(now, claiming=len(self._election.claiming), claims=self._election.claims)
        # What the allocator wants of leases leaves in the same step, as far as that goes.
        self._election.tick(now)
        if self._world.looked:
            self._devices.tick()
        self._finished = self._leaving.tick(now)

    def _foresee(self, now: int) -> None:
        """Make ready to claim what a node holds that seems to be lost, before others may end it: who comes next for
        an address of it says the D of a node that holds something already now, and not between fence and claim."""
        lost = {presence.epoch: presence.node for presence in self._observer.doubtful(now)}
        if not lost or self._presence.said_short:
            return
        of_lost = (
            (lost[lock.holder], lock)
            for lock in self._locks.by_name.values()
            if lock.holder in lost
        )
        if any(self._candidates.follows(*each) for each in islice(of_lost, FORESEEN)):
            self._presence.hasten(now)

    def _begin_anew(self, now: int) -> None:
        """Time ran backwards (rule 10): the presence falls silent and begins a new epoch; whatever else was seen of
        leases is forgotten, and nothing is claimed for the longest D. Every kind is listed again: a watch from a
        resourceVersion of the future says nothing, neither what is there again nor what is no more."""
        self._presence.begin_anew()
        self._out.note("time ran backwards", level="warning", node=self._node)
        self._claims_from = now + self._observer.longest()
        self._observer.forget()
        self._election.forget()
        self._world.leases.clear()
        self._world.listed.clear()
        for kind in KINDS:
            self._out.add(Relist(kind))

    def _follow_locks(self) -> None:
        """What the allocator, the bound on each node's load and the Services' statuses make of changed locks."""
        for name in self._locks.touched:
            self._allocator.lease_changed(name)
            lock = self._locks.get(name)
            if lock is None:
                self._candidates.count_holder(name, "")
                continue
            held = lock.lease if self._observer.counts(lock.holder) else None
            holder = held.holder if held is not None else ""
            self._candidates.count_holder(name, holder if lock.address is not None else "")
            self._status.mark(lock.keys)
            self._tell_announced(lock)
        self._locks.touched.clear()

    def _tell_announced(self, lock: Lock) -> None:
        """One event for each Service on an address that this node begins to announce."""
        if not lock.announced or lock.told:
            return
        lock.told = True
        for key in lock.keys:
            service = self._world.services.get(key)
            if service is not None:
                message = f"{lock.address} by {self._candidates.describe(lock)}"
                self._status.tell(EmitEvent(key, service.uid, "Normal", "Announced", message))

    def _follow_conflicts(self, now: int) -> None:
        held = {lock.address for lock in self._locks.held()} if self._conflicts.any else set()
        for address in self._conflicts.tick(held, now):
            if (lock := self._locks.get(vip_lease_name(address))) is not None:
                self._status.mark(lock.keys)

    # --- what it tells of itself -----------------------------------------------------------------------------

    def status(self, now: int) -> Status:
        presence = self._presence
        return Status(
            node=self._node,
            phase=presence.phase.value,
            epoch=str(presence.epoch or ""),
            valid_for_ms=max(0, presence.live_until - now) // MILLISECOND if presence.epoch else 0,
            held=tuple(
                HeldAddress(
                    address=str(lock.address),
                    interfaces=tuple(
                        self._world.interfaces[index].name
                        for index in sorted(lock.devices)
                        if index in self._world.interfaces
                    ),
                    held_ms=(now - lock.claimed) // MILLISECOND,
                    reason=lock.reason,
                )
                for lock in self._locks.held()
                if lock.address is not None
            ),
            allocator=self._allocator.active,
            api_ok=self._api_ok,
            draining=self._own.draining,
            conflicts=self._conflicts.told(now),
            addresses=self._locks.addresses,
            announced=self._candidates.held,
            live_nodes=len(self._candidates.presences),
            other_versions=tuple(self._other_versions()),
            problems=tuple(self._problems()),
        )

    @property
    def _api_ok(self) -> bool:
        return self._answered and self._watches.leases_sound

    def _other_versions(self) -> list[str]:
        """Nodes whose agent is of another version: they work together, for as long as an upgrade takes."""
        own = self._candidates.own_report.version
        return [
            f"{name}: {presence.report.version or 'unknown'}"
            for name, presence in sorted(self._candidates.presences.items())
            if presence.report.version != own
        ]

    def _problems(self) -> list[str]:
        problems = [self._presence.problem] if self._presence.problem else []
        if self._started and (unlisted := missing(self._world)):
            problems.append(f"not listed yet: {unlisted}")
        own = self._candidates.own_report
        # A node that has no device to announce on is well all the same.
        if own.unproven and self._world.complete and any(i.usable for i in own.interfaces):
            problems.append(f"it has just begun and is given no address yet: {own.unproven}")
        if self._kernel.broken:
            problems.append("the kernel refused an entry or the deadline; see the log")
        if self._world.complete and self._node not in self._world.nodes:
            problems.append(f"there is no Node named {self._node}")
        # Where it has other problems, they say more about that.
        if not self._api_ok and not problems:
            problems.append("the API server does not answer")
        return problems
