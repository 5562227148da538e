# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who announces an address: what is seen of the VIP leases, and what is done about each.

What holds of one lock, and the table that decides for it, is ``lock.py``. Here the table is carried out (rules 4, 5
and 7 of docs/design/election.md). What always holds besides:

- A claim of ours counts only if it was answered in the epoch in which it was sent, before the deadline, and if
  nothing newer of that lease has been seen since.
- News of a lease that does not name this node's epoch takes effect at once, whatever is under way.
- One request at a time is under way for each lease; an answer that did not come is settled by a read.
- Only a request waits for a place in flight, in the order of asking; what needs none is done at once.
- The rank in the placement only spaces claims; the compare-and-swap decides who has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from herald.core.alike import once
from herald.core.effects import LeaseRequest
from herald.core.election.announce import Announcer
from herald.core.election.candidates import Candidates
from herald.core.election.filling import UNABLE, Filler
from herald.core.election.lock import (
    ACTIONS,
    GIVING,
    LIVE_ONLY,
    Action,
    Lock,
    Own,
    Purpose,
    Request,
    Sight,
)
from herald.core.election.locks import BATCH, Locks
from herald.core.election.moves import Moves
from herald.core.election.observer import Observer
from herald.core.election.placement import jittered
from herald.core.election.presence import OwnPresence
from herald.core.election.unaware import Unaware
from herald.core.election.verify import Verifier
from herald.core.events import Answer, Failed, Refused
from herald.core.kernelmap import KernelMap
from herald.core.leases import (
    REASON,
    Epoch,
    annotated,
    claimed,
    external_to,
    held_by,
    is_free,
    new_vip_lease,
    released,
    services_of,
    without_finalizer,
)
from herald.core.model import (
    FINALIZER,
    IPAM_LEASE,
    MILLISECOND,
    SECOND,
    Address,
    Lease,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import Settings

RANK_STEP = 150 * MILLISECOND
"""Rank k of the placement waits k times this before it claims, and as long again after every claim of a better one."""
MOST_TURNS = SECOND
"""Nobody waits longer for better ones that claim other addresses all the while."""
IN_FLIGHT = 32
"""Lease requests under way at once, so that none waits its time limit away in a queue."""
RETRY = 100 * MILLISECOND
LATE = 300 * SECOND
"""No watch is so far behind: its silence is not borne for half as long."""

Verb = Literal["get", "create", "update", "delete"]


class Election:
    def __init__(
        self,
        settings: Settings,
        node: str,
        locks: Locks,
        presence: OwnPresence,
        observer: Observer,
        kernel: KernelMap,
        announcer: Announcer,
        outbox: Outbox,
        candidates: Candidates,
    ) -> None:
        self._settings = settings
        self._node = node
        self._locks = locks
        self._presence = presence
        self._observer = observer
        self._kernel = kernel
        self._announcer = announcer
        self._out = outbox
        self._candidates = candidates
        self._filler = Filler(kernel, announcer, outbox, locks)
        self._verifier = Verifier(node, locks, observer, outbox, settings.duration_ns)
        self._unaware = Unaware(observer)
        self._moves = Moves(settings.hold_down_ns, candidates)
        self.rewound = False
        """A list or an answer showed a lease as it had been before: the API server's time ran backwards (rule 10)."""
        self.synced = False
        """Everything that placement depends on has been listed: only then is anything claimed or given up."""
        self._requests: dict[int, str] = {}
        self._gone: dict[str, tuple[int, int]] = {}
        """By name of a lease that is gone, as an answer said: its last resourceVersion, and when that was known.
        What the watch tells later of the time before is no news."""
        self.claiming: set[str] = set()
        """Names of the locks whose claim is under way."""
        self.claims = 0
        """How many were begun in all."""
        self._more = False
        """There are more locks to be looked at now."""
        self._claimed_at: dict[str, int] = {}
        """By node: when it was last seen to have claimed something."""
        self._actions: Mapping[Action, Callable[[Lock, int], None]] = {
            Action.DROP: lambda lock, _: self._drop(lock),
            Action.READ: lambda lock, now: self._read(lock, "read", now),
            Action.MAKE: self._make,
            Action.YIELD: lambda lock, _: self._yield(lock),
            Action.EDIT: self._edit,
            Action.VERIFY: lambda lock, now: self._read(lock, "verify", now),
            Action.TAKE: self._take,
            Action.RESUME: lambda lock, _: self._resume(lock),
            Action.CLAIM: self._claim_anew,
            Action.ANNOUNCE: self._announce,
            Action.RELEASE: self._release,
        }

    # --- what it is told -----------------------------------------------------------------------------------

    def listed(self, leases: Mapping[str, Lease], asked: int, now: int) -> None:
        self.rewound = self.rewound or any(
            lock.lease is not None
            and lock.seen_at < asked
            and (lease := leases.get(lock.name)) is not None
            and lease.contradicts(lock.lease)
            for lock in self._locks.by_name.values()
        )
        # What is listed that was asked for later is there.
        self._gone = {
            name: known
            for name, known in self._gone.items()
            if name in leases and known[1] >= asked
        }
        for name in self._locks.by_name.keys() - leases.keys():
            self.gone(name, now)
        for lease in leases.values():
            self.seen(lease, now)

    def seen(self, lease: Lease, now: int) -> None:
        if lease.resource_version <= self._gone.get(lease.name, (0, 0))[0]:
            return
        lock = self._locks.want(lease.name)
        if lock is None:
            return
        self._gone.pop(lease.name, None)
        known = lock.lease
        if known is not None and lease.resource_version <= known.resource_version:
            return
        if known is not None:
            self._unaware.seen(known, lease, self._presence.epoch, now)
        else:
            self._unaware.first_seen(lease, now)
        before, lock.holder = lock.holder, held_by(lease)
        lock.lease, lock.seen_at, lock.still_since = lease, now, now
        lock.robbed = lock.robbed and lock.holder is None
        if known is not None and lock.holder not in (None, before):
            self._claimed_at[lease.holder] = now
        if known is None:
            # Made as was wanted; or by somebody else, for others: then it is decided anew.
            lock.wants = None
        self._locks.set_services(lock, services_of(lease), external_to(lease))
        if self._presence.epoch is not None and lock.holder != self._presence.epoch:
            self._yield(lock)
        self._locks.touch(lock)

    def gone(self, name: str, now: int) -> None:
        """The watch says that a lease was removed. Where we act on it, that news may be old: read it."""
        self._gone.pop(name, None)
        lock = self._locks.get(name)
        if lock is None:
            return
        if lock.held or lock.request is not None:
            lock.unsure = True
        else:
            self._forget_lease(lock, now)
        self._locks.touch(lock)

    def forget(self) -> None:
        """Time ran backwards: nothing that was seen holds any more; answers under way are void."""
        self.rewound = False
        for lock in self._locks.by_name.values():
            self._drop(lock)
        self._locks.clear()
        self.claiming.clear()
        self._gone.clear()
        self._claimed_at.clear()
        self._requests.clear()
        self._filler.forget()
        self._verifier.forget()
        self._unaware.forget()

    def conflict(self, address: Address, now: int, *, silenced: bool) -> Lock | None:
        """Somebody else claims an address of ours. The kernel may have silenced it: then only a new claim ends
        that. Else we say again whose it is. The lock, or None where it is not held here."""
        lock = self._locks.get(vip_lease_name(address))
        if silenced:
            self._kernel.conflict(address)
            self._silenced(address)
        elif lock is not None and lock.held and self._presence.live(now):
            self._announcer.defend(address, now)
        return lock if lock is not None and lock.held else None

    def silenced(self, silenced: Mapping[Address, int]) -> None:
        """The kernel was looked at: whatever it has silenced, by whatever conflict that nobody told."""
        for address in self._kernel.silenced(silenced):
            self._silenced(address)

    def _silenced(self, address: Address) -> None:
        self._announcer.stop(address)
        self._locks.recheck([vip_lease_name(address)])

    def unsettle(self, now: int) -> None:
        """Membership has changed: nothing moves for a better placement until it has been quiet again."""
        self._moves.unsettle(now)

    def answer(self, answer: Answer, now: int) -> bool:
        name = self._requests.pop(answer.request, None)
        if name is None:
            return self._verifier.answer(answer, now)
        lock = self._locks.get(name)
        if lock is None or lock.request is None:
            return True
        request, lock.request = lock.request, None
        self._settle(lock, request, answer, now)
        self._locks.touch(lock)
        return True

    def frames_answer(self, effect: int, error: str) -> bool:
        lock = self._filler.answer(effect, error)
        if lock is not None:
            self._locks.recheck([lock.name])
        return lock is not None

    # --- what is asked of it ---------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether this node holds nothing, and no answer that could say otherwise is outstanding.

        One that is in no epoch yet may go on with what a process before it held.
        """
        return self._presence.epoch is not None and not any(
            lock.request is not None or self._may_hold(lock)
            for lock in self._locks.by_name.values()
        )

    @property
    def handed_over(self) -> bool:
        """Whether this node holds nothing, no lease says that it does, and no claim is outstanding that could."""
        return not any(
            lock.name in self.claiming or self._may_hold(lock)
            for lock in self._locks.by_name.values()
        )

    def _may_hold(self, lock: Lock) -> bool:
        """Whether this node holds it, a lease says so, or an answer that could is outstanding."""
        ours = lock.holder is not None and lock.holder == self._presence.epoch
        return lock.held or lock.unsure or ours

    # --- what is due -----------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        if self._more:
            return 0
        deadlines = (self._locks.next_deadline(), self._moves.quiet_at)
        return min((d for d in deadlines if d is not None), default=None)

    def tick(self, now: int) -> None:
        self._moves.settle(self._locks.by_name, now)
        if self._presence.live(now):
            move = self._moves.next(self._locks.by_name, self._presence.epoch)
            self._locks.recheck([move.name] if move is not None else [])
        # Every answer comes back here, and leaves a place to whoever waits for one.
        for _ in range(BATCH):
            if self._full or (waiting := self._locks.next_waiting()) is None:
                break
            self._decide(waiting, now)
        # What an epoch that is over has left is forgotten at once.
        most = BATCH if self._presence.epoch is not None else None
        for name in self._locks.due(now, most):
            lock = self._locks.take(name)
            if lock is not None:
                self._decide(lock, now)
        self._more = (
            self._locks.behind
            or (self._locks.waiting and not self._full)
            or (self._moves.looking and self._presence.live(now))
        )

    # --- the decision ----------------------------------------------------------------------------------------

    def _decide(self, lock: Lock, now: int) -> None:
        action = ACTIONS[self._sight(lock, now)][self._own(lock)]
        if action is Action.REST or (action in LIVE_ONLY and not self._presence.live(now)):
            return
        self._actions[action](lock, now)

    def _sight(self, lock: Lock, now: int) -> Sight:
        epoch = self._presence.epoch
        if epoch is None:
            return Sight.NO_EPOCH
        if lock.request is not None:
            return Sight.BUSY
        if now < lock.retry_at:
            self._locks.recheck_at(lock, lock.retry_at)
            return Sight.BUSY
        if lock.unsure:
            return Sight.UNSURE
        if not self.synced:
            return Sight.BUSY
        if lock.lease is None:
            return Sight.ABSENT
        holder = lock.holder
        if holder == epoch:
            if not self._candidates.knows(lock):
                return Sight.BUSY
            return Sight.UNWANTED if self._unwanted(lock, lock.lease, now) else Sight.OURS
        if holder is None or holder in self._presence.past:
            return Sight.FREE
        if self._observer.lives(holder):
            return Sight.OTHERS
        return Sight.UNKNOWN if self._observer.over_since(holder) is None else Sight.FREE

    def _own(self, lock: Lock) -> Own:
        if lock.held:
            silenced = lock.address is not None and self._kernel.silences(
                lock.address, lock.claimed
            )
            return Own.SILENCED if silenced else Own.CLAIMED
        present = lock.address is not None and self._kernel.entries(lock.address)
        return Own.LEFT if present else Own.NOTHING

    def _unwanted(self, lock: Lock, lease: Lease, now: int) -> str:
        """Why this node shall not hold what is its own; empty where it shall."""
        rank = self._rank(lock, now)
        if lease.deleting:
            return "deleted"
        if rank is None:
            return lock.placement.why_not.get(self._node, "not needed")
        if rank and lock.held and self._moves.moves(lock):
            return f"better placed on {lock.placement.order[0]}"
        return "could not announce it" if lock.unable else ""

    def _rank(self, lock: Lock, now: int) -> int | None:
        """This node's place in the order for a lock; None: not eligible."""
        placement = self._candidates.place(lock)
        if placement.order != lock.placement.order:
            lock.placed_at = now
            self._locks.touched[lock.name] = None
        lock.placement = placement
        return placement.order.index(self._node) if self._node in placement.order else None

    # --- what is done: nothing of it, and somebody else's ----------------------------------------------------

    def _drop(self, lock: Lock) -> None:
        self._locks.moved = self._locks.moved or lock.held
        lock.drop()
        if lock.address is not None:
            self._announcer.stop(lock.address)

    def _yield(self, lock: Lock) -> None:
        """Nothing here may answer for it: a newer lease, or none, says so."""
        if lock.held:
            self._out.note("superseded", lease=lock.name)
            lock.robbed = lock.lease is not None and lock.holder is None
        self._drop(lock)
        if lock.address is not None and self._kernel.entries(lock.address):
            # What becomes of it is the kernel's answer, which comes back here.
            self._kernel.withdraw([lock.address])
        else:
            self._locks.recheck([lock.name])

    def _make(self, lock: Lock, now: int) -> None:
        """There is no such lease: make it where it is wanted, drop the lock where it is not."""
        if lock.name == IPAM_LEASE:
            rank = self._rank(lock, now)
            if rank is None:
                return
            if now < (due := lock.placed_at + rank * RANK_STEP):
                self._locks.recheck_at(lock, due)
                return
            self._send(lock, "create", new_vip_lease(lock.name, {}), "create", now)
        elif lock.wants:
            self._send(lock, "create", new_vip_lease(lock.name, lock.wants), "create", now)
        else:
            self._locks.remove(lock)

    def _read(self, lock: Lock, purpose: Purpose, now: int) -> None:
        self._send(lock, "get", Lease(name=lock.name), purpose, now)

    def _edit(self, lock: Lock, now: int) -> None:
        if lock.lease is not None:
            self._give(lock, lock.lease, now)

    def _give(self, lock: Lock, lease: Lease, now: int) -> bool:
        """What the allocator wants it to say, or to be sure of; True while that is under way."""
        wanted = annotated(lease, lock.wants or {})
        unsure = lock.wants is not None and lease.resource_version <= lock.distrusted
        if wanted != lease or unsure:
            # (Every write has another renewTime, so that it makes a new version in any case.)
            self._send(lock, "update", wanted, "give", now)
            return True
        if lock.wants is not None:
            lock.wants = None
            self._locks.touched[lock.name] = None
        return False

    def _take(self, lock: Lock, now: int) -> None:
        """Nobody has it: delete it where it is not needed, else claim it when it is this node's turn."""
        lease = lock.lease
        if lease is None:
            return
        free_since = self._free_since(lock, lease)
        if now < free_since:
            self._locks.recheck_at(lock, free_since)
            return
        rank = self._rank(lock, now)
        if rank is None and lock.holder is not None:
            # That it is held no more may be all the news that there is.
            self._locks.touched[lock.name] = None
        if lease.deleting:
            if now < (due := free_since + (rank or 0) * RANK_STEP):
                self._locks.recheck_at(lock, due)
            elif FINALIZER in lease.finalizers:
                self._send(lock, "update", without_finalizer(lease), "let go", now)
        elif lock.doomed:
            # Its finalizer goes after this: no lease that is not being deleted is ever without one.
            self._send(lock, "delete", lease, "delete", now)
        elif self._give(lock, lease, now) or rank is None or not self._candidates.knows(lock):
            return
        elif now < (due := self._turn(lock, max(free_since, lock.placed_at), rank)):
            self._locks.recheck_at(lock, due)
        else:
            self._claim(lock, lease, self._why(lease, lock.holder), now)

    def _turn(self, lock: Lock, since: int, rank: int) -> int:
        """When it is this node's turn. Who is better placed and claims one address of many after the other comes to
        this one too; a claim against its would be one of the two in vain, and keep both from the rest."""
        better = lock.placement.order[:rank]
        busy = max((self._claimed_at.get(node, 0) for node in better), default=0)
        return min(max(since, busy), since + MOST_TURNS) + rank * RANK_STEP

    def _free_since(self, lock: Lock, lease: Lease) -> int:
        """From when on a lease that nobody has may be claimed."""
        if lock.holder is not None:
            own = lock.holder in self._presence.past
            since = 0 if own else self._observer.over_since(lock.holder) or 0
        elif is_free(lease) or lock.robbed:
            since = lock.seen_at
        else:
            # Whoever held it must have had the time to notice what was done to its lease.
            since = lock.still_since + self._observer.patience(lease.holder)
        return max(since, self._unaware.until(lock.name))

    # --- what is done: this node's ---------------------------------------------------------------------------

    def _claim_anew(self, lock: Lock, now: int) -> None:
        if now < (noticed := self._unaware.until(lock.name)):
            # No claim of ours gave it to this epoch, and whoever had it may not know.
            self._locks.recheck_at(lock, noticed)
        elif lock.lease is not None:
            before = lock.lease.annotations.get(REASON, "")
            reason = "another station claimed it" if lock.held else before or "its claim was lost"
            self._claim(lock, lock.lease, reason, now)

    def _claim(self, lock: Lock, lease: Lease, reason: str, now: int) -> None:
        epoch = self._presence.epoch
        if epoch is None or not self._presence.hasten(now):
            return
        if self._send(lock, "update", claimed(lease, self._node, epoch, reason), "claim", now):
            self._moves.stay(lock)
            lock.reason = reason
            self.claiming.add(lock.name)
            self.claims += 1

    def _why(self, lease: Lease, holder: Epoch | None) -> str:
        if holder is not None:
            return f"{lease.holder or 'its holder'} was lost"
        return lease.annotations.get(REASON, "") or "first announcement"

    def _resume(self, lock: Lock) -> None:
        """Entries without a claim of this process: what a process before it filled in the same epoch goes on as it
        was (rule 7); what should have gone, and was kept by a kernel that refused, goes."""
        if lock.lease is None or lock.address is None or not self._kernel.inherits(lock.address):
            self._yield(lock)
            return
        entries = self._kernel.entries(lock.address).values()
        lock.hold(max(entry.claimed for entry in entries))
        lock.reason = lock.lease.annotations.get(REASON, "")
        lock.told = True
        self._out.note("resume", address=str(lock.address), reason=lock.reason)
        self._locks.recheck([lock.name])
        self._locks.touched[lock.name] = None

    def _announce(self, lock: Lock, now: int) -> None:
        lease, address = lock.lease, lock.address
        if lease is None:
            return
        if address is not None:
            announced, live = lock.announced, self._presence.live(now)
            targets = self._candidates.targets(lock)
            if lock.devices != targets.keys():
                lock.devices, self._locks.moved = once(frozenset(targets)), True
            lock.unable = not self._filler.keep(lock, address, targets, now, live=live)
            if lock.announced != announced:
                self._locks.touched[lock.name] = None
            if lock.unable:
                self._release(lock, now)
                return
        if not self._sign(lock, lease, now):
            self._give(lock, lease, now)

    def _sign(self, lock: Lock, lease: Lease, now: int) -> bool:
        """Somebody took this node's name off its lease: write it back, for people, and since only who is named may let
        go of it. True while that is under way."""
        if lease.holder == self._node:
            return False
        self._send(lock, "update", replace(lease, holder=self._node), "sign", now)
        return True

    def _release(self, lock: Lock, now: int) -> None:
        """Withdraw; once the kernel has confirmed, clear the holder in one PUT (rule 5)."""
        lease = lock.lease
        if lease is None or not self._presence.told:
            # Others must know that we are out before the address is free, or they wait for us first.
            return
        if lock.address is not None and self._kernel.may_answer(lock.address):
            self._kernel.withdraw([lock.address])
            return
        if self._sign(lock, lease, now):
            return
        reason = self._unwanted(lock, lease, now)
        # A lease that is being deleted keeps its finalizer for one more write: others are to see that it was let go of.
        text = f"{self._node}: {reason}"
        if not self._send(lock, "update", released(lease, text), "release", now):
            return
        if lock.held:
            self._out.note("release", lease=lock.name, reason=reason)
        self._drop(lock)
        if lock.unable:
            lock.unable = False
            lock.retry_at = now + UNABLE

    # --- requests --------------------------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        return len(self._requests) >= IN_FLIGHT

    def _send(self, lock: Lock, verb: Verb, lease: Lease, purpose: Purpose, now: int) -> bool:
        """False: every place in flight is taken; the lock is decided about again once it has one."""
        if self._full:
            self._locks.wait(lock)
            return False
        limit = now + self._settings.duration_ns // 2
        if purpose == "claim":
            limit = min(limit, self._presence.valid_until)
        epoch = self._presence.epoch
        number, base = self._out.new_id(), lease.resource_version
        lock.request = Request(number, purpose, epoch, base, lock.still_since)
        self._requests[lock.request.id] = lock.name
        self._out.add(LeaseRequest(lock.request.id, verb, lease, limit))
        return True

    def _settle(self, lock: Lock, request: Request, answer: Answer, now: int) -> None:
        outcome = answer.outcome
        self.claiming.discard(lock.name)
        if isinstance(outcome, Failed):
            lock.unsure = True
            if request.purpose in GIVING:
                lock.distrusted = max(lock.distrusted, request.base)
            lock.retry_at = max(lock.retry_at, now + self._pause(RETRY, request))
        elif isinstance(outcome, Refused):
            self._refused(lock, request, outcome, answer.sent, now)
        elif outcome.lease is None:
            lock.unsure = False
            self._answered_gone(lock, answer.sent, now)
        else:
            lock.unsure = False
            if outcome.created and request.purpose != "create":
                # A PUT made the object anew: it had gone meanwhile, and this is not what was claimed.
                request = replace(request, epoch=None)
            self.rewound = self.rewound or self._was_newer(lock, outcome.lease, answer.sent)
            self.seen(outcome.lease, now)
            if outcome.lease.deleting and not outcome.lease.finalizers:
                newest = lock.lease == outcome.lease
                self._answered_gone(lock, now if newest else answer.sent, now)
            elif request.purpose in ("give", "delete"):
                if lock.lease == outcome.lease and not outcome.created:
                    # Nobody wrote between the version that was seen and this one, or it would have been refused.
                    lock.still_since = request.still_since
            elif request.purpose == "claim":
                self._claimed(lock, outcome.lease, request, now)
            elif request.purpose == "verify" and lock.holder != self._presence.epoch:
                self._verifier.ask(lock, outcome.lease, now)

    def _was_newer(self, lock: Lock, lease: Lease, sent: int) -> bool:
        """Whether something newer of that lease was known before it was asked for."""
        if lock.lease is not None and lock.seen_at < sent:
            return lease.resource_version < lock.lease.resource_version
        version, known_at = self._gone.get(lock.name, (0, 0))
        return known_at < sent and lease.resource_version <= version

    def _refused(self, lock: Lock, request: Request, outcome: Refused, sent: int, now: int) -> None:
        lock.unsure = False
        if outcome.status == 404 and request.purpose != "create":
            self._answered_gone(lock, sent, now)
        elif outcome.status in (404, 409):
            lock.unsure = True
            pause = self._pause(RETRY, request) if outcome.status == 404 else 0
            lock.retry_at = max(lock.retry_at, now + pause)
        else:
            lock.retry_at = now + self._pause(SECOND, request)
            self._out.note(
                "lease request refused",
                level="warning",
                lease=lock.name,
                purpose=request.purpose,
                reason=outcome.reason,
            )

    def _pause(self, least: int, request: Request) -> int:
        """Before what has failed is tried again."""
        return jittered(least, f"{self._node} {request.id}")

    def _claimed(self, lock: Lock, lease: Lease, request: Request, now: int) -> None:
        newest = lock.lease is not None and lock.lease.resource_version == lease.resource_version
        if newest and request.epoch == self._presence.epoch and self._presence.live(now):
            lock.hold(now)

    def _answered_gone(self, lock: Lock, sent: int, now: int) -> None:
        """An answer says so, of which the watch has yet to tell, and of what was before. But of one that was seen
        since it was asked for (``sent``) it may say nothing."""
        if lock.lease is not None and lock.seen_at > sent:
            lock.unsure = True
            return
        if lock.lease is not None:
            self._gone.pop(lock.name, None)
            self._gone[lock.name] = lock.lease.resource_version, now
            # In the order in which they were learned. The watch need not tell of each: it may have told before.
            while self._gone[oldest := next(iter(self._gone))][1] < now - LATE:
                del self._gone[oldest]
        self._forget_lease(lock, now)

    def _forget_lease(self, lock: Lock, now: int) -> None:
        if lock.lease is not None:
            self._unaware.seen(lock.lease, None, self._presence.epoch, now)
        lock.lease, lock.holder = None, None
        if self._presence.epoch is not None:
            self._yield(lock)
        self._locks.set_services(lock, (), ())
        lock.doomed = False
        lock.wants = None
        lock.placed_at = now
