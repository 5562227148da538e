# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who announces an address: claim, fill, hand over.

One Lock stands for one VIP lease (and one, without an address, for the lease ``ipam``). What always holds
(rules 4, 5 and 7 of docs/design/election.md):

- The map is filled only by the success of our own claim, in the epoch in which it was sent, before the deadline,
  and if nothing newer of that lease has been seen since; never by a lease that is merely read.
- The first GARP/NA pair of an interface was accepted by the device before that interface's entry is filled.
- A holder is cleared only after the kernel has confirmed that the address's entries are gone.
- One request at a time is under way for each lease; an answer that did not come is settled by a read.

What is decided for a lock, from the lease as last seen::

    no lease                 nothing may answer (``ipam``: create it)
    another epoch, alive     nothing may answer
    nobody, or one over      nothing may answer; eligible at rank k: claim after k × 150 ms
    unknown epoch            read the VIP lease, then the presence: still unknown means over
    ours, without an entry   claim anew (lost answer, restart, silence)
    ours, not eligible       withdraw, and once confirmed release
    ours, eligible           pair, entry, burst; keep them right by difference
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from herald.core.effects import Announcement, LeaseRequest, SendFrames
from herald.core.election.announce import Announcer
from herald.core.election.observer import Observer
from herald.core.election.placement import Placement, spread
from herald.core.election.presence import OwnPresence
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.kernel import EntryFlags, EntryValue
from herald.core.kernelmap import KernelMap
from herald.core.leases import (
    REASON,
    SERVICES,
    Epoch,
    claimed,
    held_by,
    is_free,
    new_vip_lease,
    released,
    services_of,
    services_text,
    without_finalizer,
)
from herald.core.model import (
    FINALIZER,
    IPAM_LEASE,
    MILLISECOND,
    SECOND,
    Address,
    Lease,
    ServiceKey,
    presence_lease_name,
    vip_address,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import Settings

RANK_STEP = 150 * MILLISECOND
"""Rank k of the placement waits k times this before it claims."""
IN_FLIGHT = 32
"""Lease requests under way at once, so that none waits its time limit away in a queue."""
RETRY = 100 * MILLISECOND
UNABLE = 5 * SECOND
"""How long a node that could not announce an address leaves it to others."""
TRIES = 2

Verb = Literal["get", "create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a held address is to be answered on this node."""

    mac: bytes
    flags: EntryFlags


@dataclass(frozen=True, slots=True)
class _Request:
    id: int
    purpose: str
    epoch: Epoch | None


@dataclass(slots=True)
class _Pair:
    """The first GARP/NA pair on one interface since the claim."""

    mac: bytes
    frames: int
    """Id of the frames that are being sent; 0: none."""
    accepted: bool = False
    sends: int = 0
    fills: int = 0
    again_at: int = 0
    """It took neither: not to be tried again before; 0: it did."""


@dataclass(slots=True)
class Lock:
    name: str
    address: Address | None
    lease: Lease | None = None
    seen_at: int = 0
    """Own clock: when this version of the lease was first seen."""
    services: frozenset[ServiceKey] = frozenset()
    placement: Placement = field(default_factory=Placement)
    placed_at: int = 0
    holder: Epoch | None = None
    """The epoch that the lease names."""
    request: _Request | None = None
    unsure: bool = False
    """An answer did not come, or the watch says that it is gone: read before anything else."""
    retry_at: int = 0
    held: int = 0
    """When our claim succeeded, boottime nanoseconds; 0: this node does not hold it."""
    reason: str = ""
    """Why it was claimed."""
    pairs: dict[int, _Pair] = field(default_factory=dict)
    announced: bool = False
    robbed: bool = False
    """It was ours until somebody edited the lease by hand; nobody else can have held it since."""
    silenced: bool = False
    """A conflict past the deadline has silenced it in the kernel: only a new claim ends that."""
    unable: bool = False
    """No interface took its frames or entries: leave it to others for a while."""
    create: Mapping[str, str] | None = None
    """The allocator wants the lease made, with these annotations."""
    give_to: frozenset[ServiceKey] | None = None
    """The allocator wants these Services on it."""
    doomed: bool = False
    """The allocator wants it gone: nobody needs the address."""


class Election:
    def __init__(
        self,
        settings: Settings,
        node: str,
        presence: OwnPresence,
        observer: Observer,
        kernel: KernelMap,
        announcer: Announcer,
        outbox: Outbox,
        place: Callable[[Lock], Placement],
        targets: Callable[[Lock], Mapping[int, Target]],
    ) -> None:
        self._settings = settings
        self._node = node
        self._presence = presence
        self._observer = observer
        self._kernel = kernel
        self._announcer = announcer
        self._out = outbox
        self._place = place
        self._targets = targets
        self.locks: dict[str, Lock] = {}
        self.synced = False
        """Everything that placement depends on has been listed: only then is anything claimed or given up."""
        self._dirty: dict[str, None] = {}
        self._timers: list[tuple[int, str]] = []
        self._requests: dict[int, str] = {}
        self._frames: dict[int, tuple[str, int]] = {}
        self._verifying: dict[int, tuple[str, Epoch]] = {}
        self._of_service: dict[ServiceKey, set[str]] = {}
        """Names of the locks of the addresses that each Service was given."""
        self.claiming: set[str] = set()
        """Names of the locks whose claim is under way."""
        self.claim_within = settings.duration_ns
        """The longest D that a node may live by while it claims or holds: what observers wait when it is lost."""
        self.eager_until = 0
        """Until then this node has been about to claim, and is to live by ``claim_within``."""
        self._misplaced: deque[str] = deque()
        self._moving = ""
        """The lock that is being handed over for a better placement; one at a time."""
        self.touched: dict[str, None] = {}
        """Locks whose lease, holder or placement changed since the caller last took them."""

    # --- what it is told -----------------------------------------------------------------------------------

    def listed(self, leases: Mapping[str, Lease], now: int) -> None:
        for name in self.locks.keys() - leases.keys():
            self.gone(name, now)
        for lease in leases.values():
            self.seen(lease, now)

    def seen(self, lease: Lease, now: int) -> None:
        lock = self.lock(lease.name)
        if lock is None:
            return
        known = lock.lease
        if known is not None and lease.resource_version <= known.resource_version:
            return
        lock.lease, lock.seen_at, lock.holder = lease, now, held_by(lease)
        lock.robbed = lock.robbed and lock.holder is None
        lock.create = None
        self._set_services(lock, services_of(lease))
        if self._presence.epoch is not None and lock.holder != self._presence.epoch:
            self._silence(lock)
        self._touch(lock)

    def gone(self, name: str, now: int) -> None:
        """The watch says that a lease was removed. Where we act on it, that news may be old: read it."""
        lock = self.locks.get(name)
        if lock is None:
            return
        if lock.held or lock.request is not None:
            lock.unsure = True
        else:
            self._forget_lease(lock, now)
        self._touch(lock)

    def forget(self) -> None:
        """Time ran backwards: nothing that was seen holds any more; answers under way are void."""
        for lock in self.locks.values():
            self._let_go(lock)
            self.touched[lock.name] = None
        self.locks.clear()
        self.claiming.clear()
        self._of_service.clear()
        self._requests.clear()
        self._frames.clear()
        self._verifying.clear()

    def _set_services(self, lock: Lock, services: frozenset[ServiceKey]) -> None:
        for key in lock.services - services:
            self._of_service[key].discard(lock.name)
            if not self._of_service[key]:
                del self._of_service[key]
        for key in services - lock.services:
            self._of_service.setdefault(key, set()).add(lock.name)
        lock.services = services

    def recheck_service(self, key: ServiceKey) -> None:
        """A Service, or where its endpoints are, has changed."""
        self.recheck(self._of_service.get(key, ()))

    def conflict(self, address: Address, now: int, *, silenced: bool) -> Lock | None:
        """Somebody else claims an address of ours. The kernel may have silenced it: then only a new claim ends
        that. Else we say again whose it is. The lock, or None where it is not held here."""
        lock = self.locks.get(vip_lease_name(address))
        if lock is None or not lock.held:
            return None
        if silenced:
            lock.silenced = True
            self._dirty[lock.name] = None
        elif self._presence.live(now):
            self._announcer.defend(address, now)
        return lock

    def recheck(self, names: Iterable[str] | None = None) -> None:
        """What these locks (None: all) are decided by has changed."""
        for name in self.locks if names is None else names:
            if name in self.locks:
                self._dirty[name] = None

    def lock(self, name: str) -> Lock | None:
        """The lock of that Lease's name, made if need be; None where the name stands for none."""
        lock = self.locks.get(name)
        if lock is None:
            address = vip_address(name)
            if address is None and name != IPAM_LEASE:
                return None
            lock = self.locks[name] = Lock(name, address)
            self._dirty[name] = None
        return lock

    def answer(self, answer: Answer, now: int) -> bool:
        name = self._requests.pop(answer.request, None)
        if name is None:
            return self._verified(answer, now)
        lock = self.locks.get(name)
        if lock is None or lock.request is None:
            return True
        request, lock.request = lock.request, None
        self._settle(lock, request, answer, now)
        self._touch(lock)
        return True

    def frames_answer(self, effect: int, error: str) -> bool:
        waiting = self._frames.pop(effect, None)
        if waiting is None:
            return False
        name, ifindex = waiting
        lock = self.locks.get(name)
        pair = lock.pairs.get(ifindex) if lock else None
        if lock is not None and pair is not None and pair.frames == effect:
            pair.frames = 0
            pair.accepted = not error
            if error:
                self._out.note(
                    "first announcement refused",
                    level="warning",
                    lease=name,
                    ifindex=ifindex,
                    error=error,
                )
            self._dirty[name] = None
        return True

    # --- what is due -----------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        return self._timers[0][0] if self._timers else None

    def tick(self, now: int) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, name = heapq.heappop(self._timers)
            if name in self.locks:
                self._dirty[name] = None
        # A lock that waits for a place in flight stays dirty; every answer comes back here.
        for name in list(self._dirty):
            if len(self._requests) >= IN_FLIGHT:
                break
            del self._dirty[name]
            lock = self.locks.get(name)
            if lock is not None:
                self._decide(lock, now)

    def _at(self, lock: Lock, when: int) -> None:
        heapq.heappush(self._timers, (when, lock.name))

    def _touch(self, lock: Lock) -> None:
        self._dirty[lock.name] = None
        self.touched[lock.name] = None

    # --- the decision ----------------------------------------------------------------------------------------

    def _decide(self, lock: Lock, now: int) -> None:
        epoch = self._presence.epoch
        if epoch is None:
            # The presence silences the whole map, or goes on in the same epoch: not ours to touch.
            self._let_go(lock)
            return
        if lock.request is not None:
            return
        if now < lock.retry_at:
            self._at(lock, lock.retry_at)
            return
        if lock.unsure:
            self._send(lock, "get", Lease(name=lock.name), "read", now)
        elif not self.synced:
            return
        elif lock.lease is None:
            self._silence(lock)
            self._make(lock, now)
        elif lock.holder == epoch:
            self._ours(lock, lock.lease, now)
        elif self._presence.live(now):
            self._theirs(lock, lock.lease, now)

    def _silence(self, lock: Lock) -> None:
        """Nothing here may answer for it: a newer lease, or none, says so."""
        if lock.address is not None and self._kernel.entries(lock.address):
            self._kernel.withdraw([lock.address])
        if lock.held:
            self._out.note("superseded", lease=lock.name)
            lock.robbed = lock.lease is not None and lock.holder is None
        self._let_go(lock)

    def _let_go(self, lock: Lock) -> None:
        lock.held, lock.announced = 0, False
        lock.pairs.clear()
        if lock.address is not None:
            self._announcer.stop(lock.address)

    def _make(self, lock: Lock, now: int) -> None:
        """There is no such lease: make it where it is wanted, drop the lock where it is not."""
        if not self._presence.live(now):
            return
        if lock.name == IPAM_LEASE:
            rank = self._rank(lock, now)
            if rank is None:
                return
            if now < (due := lock.placed_at + rank * RANK_STEP):
                self._at(lock, due)
                return
            self._send(lock, "create", new_vip_lease(lock.name, {}), "create", now)
        elif lock.create is not None:
            self._send(lock, "create", new_vip_lease(lock.name, lock.create), "create", now)
        else:
            del self.locks[lock.name]

    def _theirs(self, lock: Lock, lease: Lease, now: int) -> None:
        """Somebody else's, or nobody's."""
        holder = lock.holder
        if holder is None:
            free_since = lock.seen_at
            if not is_free(lease) and not lock.robbed:
                # Whoever held it must have had the time to notice what was done to its lease.
                free_since += self._observer.patience(lease.holder)
        elif self._observer.lives(holder):
            self._edit(lock, lease, now, free=False)
            return
        elif (over := self._observer.over_since(holder)) is not None:
            free_since = over
        else:
            self._send(lock, "get", Lease(name=lock.name), "verify", now)
            return
        if now < free_since:
            self._at(lock, free_since)
            return
        rank = self._rank(lock, now)
        if lease.deleting:
            if now < (due := free_since + (rank or 0) * RANK_STEP):
                self._at(lock, due)
            elif FINALIZER in lease.finalizers:
                self._send(lock, "update", without_finalizer(lease), "let go", now)
        elif self._edit(lock, lease, now, free=True) or rank is None:
            return
        elif now < (due := max(free_since, lock.placed_at) + rank * RANK_STEP):
            self._at(lock, due)
        else:
            self._claim(lock, lease, self._why(lease, holder), now)

    def _ours(self, lock: Lock, lease: Lease, now: int) -> None:
        """The lease names this node in its present epoch."""
        rank = self._rank(lock, now)
        address = lock.address
        if not lock.held and address is not None:
            entries = self._kernel.entries(address)
            if entries:
                # Filled by a process before this one in the same epoch (rule 7): goes on as it was.
                claim = max(entry.claimed for entry in entries.values())
                lock.silenced = claim <= self._kernel.silenced.get(address, 0)
                lock.held = claim
                lock.reason = lease.annotations.get(REASON, "")
        if lease.deleting:
            self._release(lock, without_finalizer(lease), "deleted", now)
        elif rank is None:
            self._release(lock, lease, lock.placement.why_not.get(self._node, "not needed"), now)
        elif not lock.held or lock.silenced:
            if self._presence.live(now):
                reason = lease.annotations.get(REASON, "") or "claimed anew"
                self._claim(lock, lease, reason, now)
        elif lock.name == self._moving and rank:
            better = lock.placement.order[0]
            self._release(lock, lease, f"better placed on {better}", now)
        elif address is None or self._announce(lock, lease, address, now):
            self._edit(lock, lease, now, free=False)

    def rebalance(self) -> None:
        """Membership has been quiet: hand over, one at a time, what placement would rather see elsewhere."""
        if self._moving:
            lock = self.locks.get(self._moving)
            if lock is not None and (lock.held or lock.holder in (None, self._presence.epoch)):
                return
            self._moving = ""
        while self._misplaced and not self._moving:
            lock = self.locks.get(self._misplaced.popleft())
            if lock is not None and lock.announced and self._place(lock).order[:1] != (self._node,):
                self._moving = lock.name
                self._dirty[lock.name] = None

    def find_misplaced(self) -> None:
        self._misplaced = deque(name for name, lock in self.locks.items() if lock.announced)

    def keep_placed(self) -> None:
        """Membership has changed: nothing moves for a better placement until it is quiet again."""
        self._misplaced.clear()
        self._moving = ""

    @property
    def idle(self) -> bool:
        """Whether this node holds nothing, and no answer that could say otherwise is outstanding."""
        epoch = self._presence.epoch
        return not any(
            lock.held or lock.request is not None or lock.unsure or lock.holder == epoch
            for lock in self.locks.values()
        )

    def _rank(self, lock: Lock, now: int) -> int | None:
        """This node's place in the order for a lock; None: not eligible."""
        placement = self._place(lock)
        if placement.order != lock.placement.order:
            lock.placed_at = now
            self.touched[lock.name] = None
        lock.placement = placement
        return placement.order.index(self._node) if self._node in placement.order else None

    def _why(self, lease: Lease, holder: Epoch | None) -> str:
        if holder is not None:
            return f"{lease.holder or 'its holder'} was lost"
        return lease.annotations.get(REASON, "") or "first announcement"

    def _edit(self, lock: Lock, lease: Lease, now: int, *, free: bool) -> bool:
        """What the allocator wants of a lease; True while that is under way."""
        if lock.doomed and free:
            # Its finalizer goes after this: no lease that is not being deleted is ever without one.
            self._send(lock, "delete", lease, "delete", now)
            return True
        if lock.give_to is not None and lock.give_to != lock.services:
            annotations = {**lease.annotations, SERVICES: services_text(lock.give_to)}
            self._send(lock, "update", replace(lease, annotations=annotations), "give", now)
            return True
        lock.give_to = None
        return False

    # --- claim, announce, release ----------------------------------------------------------------------------

    def _claim(self, lock: Lock, lease: Lease, reason: str, now: int) -> None:
        epoch = self._presence.epoch
        if self._presence.duration > self.claim_within:
            self.eager_until = now + 2 * self._settings.duration_ns
        elif epoch is not None:
            if lock.name == self._moving:
                # Whoever is better placed did not come: it stays here until membership changes.
                self._moving = ""
            lock.reason = reason
            self.eager_until = now + 2 * self._settings.duration_ns
            self.claiming.add(lock.name)
            self._send(lock, "update", claimed(lease, self._node, epoch, reason), "claim", now)

    def _announce(self, lock: Lock, lease: Lease, address: Address, now: int) -> bool:
        """Hold what we hold as it should be, by difference; False: it could not be had and is given up."""
        targets = self._targets(lock)
        wanted = {
            index: EntryValue(target.mac, lock.held, target.flags)
            for index, target in targets.items()
        }
        present = self._kernel.entries(address)
        if stale := [index for index in present if index not in wanted]:
            self._kernel.remove(address, stale)
        for index in [index for index in lock.pairs if index not in wanted]:
            del lock.pairs[index]
        missing = {i: value for i, value in wanted.items() if present.get(i) != value}
        if not missing:
            self._announced(lock, address, targets, now)
            return True
        if not self._presence.live(now):
            return True
        unable = 0
        for index, value in missing.items():
            unable += not self._fill(lock, address, index, value, present.get(index), now)
        if had := {index: targets[index] for index in wanted if index not in missing}:
            self._announced(lock, address, had, now)
        elif unable == len(wanted):
            lock.unable = True
            self._release(lock, lease, "could not announce it", now)
            return False
        return True

    def _fill(
        self,
        lock: Lock,
        address: Address,
        index: int,
        value: EntryValue,
        old: EntryValue | None,
        now: int,
    ) -> bool:
        """The next step towards one entry: pair, then entry; False where neither can be had for a while."""
        if self._kernel.broken:
            return True
        pair = lock.pairs.get(index)
        if pair is None or pair.mac != value.mac or 0 < pair.again_at <= now:
            accepted = old is not None and old.mac == value.mac
            pair = lock.pairs[index] = _Pair(value.mac, 0, accepted)
        if pair.frames:
            return True
        if pair.accepted:
            if pair.fills >= TRIES:
                return self._give_up(lock, pair, now)
            pair.fills += 1
            self._kernel.fill(address, {index: value})
            return True
        if pair.sends >= TRIES:
            return self._give_up(lock, pair, now)
        pair.sends += 1
        pair.frames = self._out.new_id()
        self._frames[pair.frames] = lock.name, index
        frames = (Announcement(address, index, value.mac),)
        self._out.add(SendFrames(pair.frames, frames))
        return True

    def _give_up(self, lock: Lock, pair: _Pair, now: int) -> bool:
        """One interface takes neither frames nor entry: leave it alone for a while."""
        pair.again_at = pair.again_at or now + UNABLE
        self._at(lock, pair.again_at)
        return False

    def _announced(
        self, lock: Lock, address: Address, targets: Mapping[int, Target], now: int
    ) -> None:
        self._announcer.keep(address, {i: t.mac for i, t in targets.items()}, lock.held, now)
        for index in targets:
            if (pair := lock.pairs.get(index)) is not None:
                pair.sends = pair.fills = 0
        if not lock.announced:
            lock.announced = True
            self.touched[lock.name] = None
            self._out.note("announce", address=str(address), reason=lock.reason)

    def _release(self, lock: Lock, lease: Lease, reason: str, now: int) -> None:
        """Withdraw; once the kernel has confirmed, clear the holder in one PUT (rule 5)."""
        if not self._presence.told:
            # Others must know that we are out before the address is free, or they wait for us first.
            return
        if lock.address is not None and self._kernel.may_answer(lock.address):
            self._kernel.withdraw([lock.address])
            return
        if lock.held:
            self._out.note("release", lease=lock.name, reason=reason)
        self._let_go(lock)
        self._send(lock, "update", released(lease, f"{self._node}: {reason}"), "release", now)
        if lock.unable:
            lock.unable = False
            lock.retry_at = now + UNABLE

    # --- requests --------------------------------------------------------------------------------------------

    def _send(self, lock: Lock, verb: Verb, lease: Lease, purpose: str, now: int) -> None:
        limit = now + self._settings.duration_ns // 2
        if purpose == "claim":
            limit = min(limit, self._presence.valid_until)
        lock.request = _Request(self._out.new_id(), purpose, self._presence.epoch)
        self._requests[lock.request.id] = lock.name
        self._out.add(LeaseRequest(lock.request.id, verb, lease, limit))

    def _settle(self, lock: Lock, request: _Request, answer: Answer, now: int) -> None:
        outcome = answer.outcome
        self.claiming.discard(lock.name)
        if isinstance(outcome, Failed):
            lock.unsure = True
            pause = RETRY + spread(f"{self._node} {request.id}", RETRY)
            lock.retry_at = max(lock.retry_at, now + pause)
        elif isinstance(outcome, Refused):
            self._refused(lock, request, outcome, now)
        elif request.purpose == "delete":
            # While it has its finalizer it is still there, and now to be let go: read it.
            lock.unsure = lock.lease is not None and bool(lock.lease.finalizers)
            if not lock.unsure:
                self._forget_lease(lock, now)
        elif outcome.lease is not None:
            lock.unsure = False
            if outcome.created and request.purpose != "create":
                # A PUT made the object anew: it had gone meanwhile, and this is not what was claimed.
                request = replace(request, epoch=None)
            self.seen(outcome.lease, now)
            if outcome.lease.deleting and not outcome.lease.finalizers:
                self._forget_lease(lock, now)
            elif request.purpose == "claim":
                self._claimed(lock, outcome.lease, request, now)
            elif request.purpose == "verify":
                self._verify(lock, outcome.lease, now)

    def _refused(self, lock: Lock, request: _Request, outcome: Refused, now: int) -> None:
        lock.unsure = False
        if outcome.status == 404 and request.purpose != "create":
            self._forget_lease(lock, now)
        elif outcome.status in (404, 409):
            lock.unsure = True
            lock.retry_at = max(lock.retry_at, now + (RETRY if outcome.status == 404 else 0))
        else:
            lock.retry_at = now + SECOND
            self._out.note(
                "lease request refused",
                level="warning",
                lease=lock.name,
                purpose=request.purpose,
                reason=outcome.reason,
            )

    def _claimed(self, lock: Lock, lease: Lease, request: _Request, now: int) -> None:
        newest = lock.lease is not None and lock.lease.resource_version == lease.resource_version
        if newest and request.epoch == self._presence.epoch and self._presence.live(now):
            lock.held = now
            lock.silenced = lock.robbed = False
            lock.announced = False
            lock.pairs.clear()

    def _forget_lease(self, lock: Lock, now: int) -> None:
        if self._presence.epoch is not None:
            self._silence(lock)
        lock.lease, lock.holder = None, None
        self._set_services(lock, frozenset())
        lock.doomed = False
        lock.give_to = None
        lock.placed_at = now

    # --- an epoch that nobody knows --------------------------------------------------------------------------

    def _verify(self, lock: Lock, lease: Lease, now: int) -> None:
        """The VIP lease was read; now its holder's presence, in this order."""
        holder = held_by(lease)
        if holder is None or holder == self._presence.epoch or self._observer.lives(holder):
            return
        number = self._out.new_id()
        self._verifying[number] = lock.name, holder
        lock.retry_at = now + self._settings.duration_ns
        limit = now + self._settings.duration_ns // 2
        name = presence_lease_name(lease.holder or "nobody")
        self._out.add(LeaseRequest(number, "get", Lease(name=name), limit))

    def _verified(self, answer: Answer, now: int) -> bool:
        verifying = self._verifying.pop(answer.request, None)
        if verifying is None:
            return False
        name, holder = verifying
        lock = self.locks.get(name)
        if lock is None:
            return True
        outcome = answer.outcome
        lock.retry_at = now
        self._dirty[name] = None
        if isinstance(outcome, Failed) or (isinstance(outcome, Refused) and outcome.status != 404):
            lock.retry_at = now + RETRY
            return True
        if isinstance(outcome, Done) and outcome.lease is not None:
            self._observer.seen(outcome.lease, now)
        if not self._observer.lives(holder):
            self._observer.mark_over(holder, now)
        return True
