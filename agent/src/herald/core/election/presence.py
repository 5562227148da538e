# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""This node's presence: its epochs, its renewals, and how far the kernel may trust them.

What always holds (rules 1, 2 and 7 of docs/design/election.md):

- The kernel's deadline is 0.9 D after the moment *before* the last successful renewal was sent, never later.
- A write that ends an epoch of ours leaves only after the kernel has confirmed that it answers nothing.
- An epoch is continued only by the first renewal of a process, which swaps the process's nonce in.
- Whoever finds another process's nonce in its presence falls silent at once, and writes nothing while it is renewed:
  then another process lives, and this one stops for good. Where it stands still for its D, somebody wrote it by hand.
- No renewal of a process leaves while the kernel has not taken the deadline of the one before: a node that cannot
  answer for what it holds is as good as lost, and others are to end its epoch.

The phases, and what leads out of each::

    READ      read the presence ──▶ none: JOIN by creating it, as soon as its Node is known
                                    ours, not fenced, and the kernel still answers: JOIN (same epoch)
                                    ours, else; released or fenced: END first, then JOIN (next epoch)
                                    another machine's or boot's, or another nonce was found: WATCH
                                    being deleted: END first, then let go of it and READ again
    WATCH     it changes: stay ── unchanged for its D: fence it ──▶ READ
              another nonce was found, and it is renewed ──▶ STOPPED
    JOIN      written ──▶ LIVE ── refused or unknown ──▶ READ ── made anew by that write ──▶ END
    LIVE      renew every R ── fenced, gone, replaced, or another nonce ──▶ END
    END       silence the kernel; confirmed ──▶ READ
    LEAVE     from LIVE, told to stop and everything handed over, or not in time: silence the kernel, await what is
              under way, release the presence ──▶ STOPPED
    Told to stop in no epoch (before JOIN has succeeded, say) ──▶ STOPPED at once, the presence as it stands: a process
    that goes on in an epoch and is stopped before its first renewal leaves its addresses to the others' counting.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from herald.core.effects import LeaseRequest
from herald.core.election.placement import jittered
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.kernel import Session
from herald.core.kernelmap import KernelMap
from herald.core.leases import (
    Epoch,
    Presence,
    PresenceReport,
    counted,
    presence_lease,
    without_finalizer,
)
from herald.core.model import (
    FINALIZER,
    MILLISECOND,
    SECOND,
    Identity,
    Lease,
    Owner,
    presence_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import Settings

IDLE = 5
"""A node that holds nothing renews so many times slower."""
FUSE = SECOND
"""How long past the deadline the kernel holds on without the agent's word."""
RETRY = 100 * MILLISECOND
"""At least, after a failed request. A read that is refused (401, 403) is asked again five times slower; a renewal is
not, since the deadline draws near."""
RENEWED = 4
"""A presence that has changed so often under one nonce, and was never still for its D, is renewed by a process: one
does so in D."""
PAST_KEPT = 64
REFUSED = 2 * SECOND
"""So long an API server may refuse (401, 403) what it does not know yet, having just begun: who asks, or its rules."""
SET_BACK = "the API server was set back to an earlier state"

Verb = Literal["get", "create", "update"]


class Phase(enum.Enum):
    READ = "reading its presence"
    WATCH = "another process may live under this node's name"
    JOIN = "joining"
    LIVE = "live"
    END = "falling silent"
    LEAVE = "leaving"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class _Pending:
    id: int
    purpose: str
    duration: int
    newest: int
    """The highest resourceVersion of any Lease that was known when it was sent."""


class OwnPresence:
    def __init__(
        self, settings: Settings, identity: Identity, kernel: KernelMap, outbox: Outbox
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._kernel = kernel
        self._out = outbox
        self.phase = Phase.READ
        self.lease = Lease(name=presence_lease_name(identity.node))
        self.epoch: Epoch | None = None
        self.valid_until = 0
        """0.9 D after the last successful renewal was sent; meaningful in LIVE and LEAVE."""
        self.duration = settings.duration_ns
        """The D that the presence says now."""
        self._said_before = settings.duration_ns
        """The D that it said in the version before."""
        self._said_since = 0
        """The longest D of what was sent since its last version that is known, and may have taken effect."""
        self.wanted_duration = settings.duration_ns
        """The D that it shall say from the next renewal on."""
        self._busy = settings.duration_ns
        """The D of a node that holds or claims something."""
        self._idle = False
        self._eager_until = 0
        """Until then this node has been about to claim, and lives by the D of those that hold something."""
        self.problem = ""
        """Why this node is not live, for people."""
        self._ended = False
        """An epoch of ours ended otherwise than by its end being read: others may count it as over."""
        self.past: deque[Epoch] = deque(maxlen=PAST_KEPT)
        """Earlier epochs of this machine and boot: over, by the kernel's word, before this agent is in another."""
        self._contested = False
        """Another process's nonce was found in our presence since we joined."""
        self._newest = 0
        """The highest resourceVersion of any Lease that was seen."""
        self._newest_at = 0
        """When it was first seen."""
        self.rewound = False
        """A read showed our presence as it had been before: the API server's time ran backwards (rule 10)."""
        self._refused_since: int | None = None
        """Every answer to a renewal since then was a refusal."""
        self._may_hold = False
        """Since the last renewal nothing but the API server's silence, and somebody on the segment, was seen."""
        self._pending: _Pending | None = None
        self._due = 0
        self._unchanged_since = 0
        self._still_for = 0
        """How long the presence must be unchanged before it is fenced, as observers count."""
        self._changes = 0
        """How often it has changed since it is watched, and bears this nonce."""
        self._report: PresenceReport | None = None
        self._renewed_at = 0
        """When the last successful renewal was sent."""
        self.resumed: PresenceReport | None = None
        """What the process before this one said, in whose epoch this one goes on; None: this epoch is its own."""
        self._nothing_yet = PresenceReport(
            identity.node, identity.version, False, (), unproven="its devices have not been seen"
        )
        self._written: PresenceReport | None = None
        """What the last write says."""
        self._said: PresenceReport | None = None
        self._said_in = 0
        self._asked_in = 0
        self._owner: Owner | None = None

    # --- what others ask ---------------------------------------------------------------------------------

    def live(self, now: int) -> bool:
        """Whether this node may claim and announce: in an epoch, and before its deadline, the kernel's too."""
        return self.epoch is not None and now < self.live_until

    @property
    def live_until(self) -> int:
        """The deadline that the last renewal allows and the kernel has taken; meaningful in LIVE."""
        return min(self.valid_until, self._kernel.session.deadline)

    @property
    def told(self) -> bool:
        """Whether the last successful renewal says all that there is to say."""
        return self._report is None or self._said == self._report

    @property
    def reported(self) -> int | None:
        """The resourceVersion in which our present report first stood; None: it does not yet."""
        return self._said_in if self._said == self._report else None

    @property
    def interval(self) -> int:
        """R."""
        return self.duration // 4

    @property
    def waited_for(self) -> int:
        """How long observers wait once this node is lost: they believe a shorter D when it has been said twice."""
        return max(self.duration, self._said_before, self._said_since)

    def next_deadline(self) -> int | None:
        if self._pending is not None or self.phase is Phase.STOPPED:
            return None
        return self._due

    # --- what it is told -----------------------------------------------------------------------------------

    def belong_to(self, node: Owner | None, now: int) -> None:
        """Whose the presence is: this node's, once it is known."""
        if node is not None and self._owner is None and self.phase is Phase.READ:
            self._due = min(self._due, now)
        self._owner = node

    def describe(self, report: PresenceReport, now: int) -> None:
        """What the presence is to say from the next renewal on; a change of weight is renewed at once."""
        changed = report != (self._report or self._written)
        self._report = report
        if changed and self.phase is Phase.LIVE:
            self._due = min(self._due, now)

    def answer_to(self, version: int, now: int) -> None:
        """Somebody waits for a renewal newer than this resourceVersion: not for as long as R of an idle node."""
        self._asked_in = version
        if self.phase is Phase.LIVE and self.lease.resource_version < version:
            self._due = min(self._due, now)

    def live_by(self, busy: int, now: int, *, idle: bool) -> None:
        """The D that the presence shall say: ``busy``, or IDLE times as long where this node holds nothing."""
        self._busy, self._idle = busy, idle
        self._set_pace(now)

    def hasten(self, now: int) -> bool:
        """This node is about to claim. Whether its presence says a D that others may wait for when it is lost; if
        not, that renewal leaves at once, and the claim waits for it.

        Views of the cluster, and so of the budget, differ a little: a quarter more is no reason to wait.
        """
        self._eager_until = now + 2 * self._settings.duration_ns
        if self.said_short:
            return True
        self._set_pace(now)
        self.tick(now)
        return False

    @property
    def said_short(self) -> bool:
        """Whether observers wait for no longer than for a node that holds something."""
        return self.waited_for <= self._busy * 5 // 4

    def _set_pace(self, now: int) -> None:
        idle = self._idle and now >= self._eager_until
        self.wanted_duration = IDLE * self._busy if idle else self._busy
        if self.wanted_duration < self.duration and not self.problem:
            self._due = min(self._due, now)

    def seen(self, lease: Lease, now: int) -> None:
        """The watch showed our presence. Only what is newer than our own knowledge counts."""
        if lease.resource_version <= self.lease.resource_version or self.phase is not Phase.LIVE:
            return
        presence = Presence(lease)
        # What ends the epoch does so at once; the answer to a renewal that is under way can only be a conflict.
        ended = not presence.alive or presence.epoch != self.epoch or self._is_anothers(presence)
        if self._pending is None or ended:
            self._judge_live(lease, now)

    def gone(self, now: int) -> None:
        """The watch says that our presence was removed: read, since the news may be old."""
        if self.phase is Phase.LIVE and self._pending is None:
            self._request("get", self.lease, "read back", now)

    def answer(self, answer: Answer, now: int) -> bool:
        """Take the answer to a request of ours; True if it was one. Answers of an earlier epoch are void."""
        pending = self._pending
        if pending is None or pending.id != answer.request:
            return False
        self._pending = None
        if self.phase in (Phase.READ, Phase.WATCH):
            self._read(answer.outcome, pending, now)
        elif self.phase is Phase.JOIN:
            self._joined(answer, pending, now)
        elif self.phase is Phase.LIVE:
            self._renewed(answer, pending, now)
        elif self.phase is Phase.LEAVE:
            self._left(answer.outcome, pending, now)
        return True

    def leave(self, now: int) -> None:
        """Everything is handed over: fall silent, release the presence, stop."""
        if self.phase not in (Phase.LEAVE, Phase.STOPPED):
            self.phase = Phase.LEAVE if self.epoch is not None else Phase.STOPPED
            self._due = now
            self._kernel.silence()

    def give_up(self) -> None:
        """The release takes too long: what ends now stands in etcd until others have counted its D."""
        self._out.note("presence not released", level="warning", reason="no answer in time")
        self.epoch = None
        self._pending = None
        self.phase = Phase.STOPPED

    def hold(self, now: int, *, hears: bool) -> None:
        """Feed the fuse while the API server is lost and the segment is heard (rule 8), from before the deadline on.

        Once either fails, nothing is held any more until a renewal succeeds.
        """
        if self._settings.on_api_loss != "Hold" or self.phase is not Phase.LIVE:
            return
        # Ahead of the deadline, or whoever asks between it and the fuse has no answer.
        if now < self.valid_until - FUSE // 2:
            return
        self._may_hold = self._may_hold and hears
        fuse = now + FUSE if self._may_hold else 0
        intended = self._kernel.intended
        if intended.fuse < now + FUSE // 2 or not self._may_hold:
            self._kernel.set_session(replace(intended, fuse=fuse))

    def tick(self, now: int) -> None:
        """Send what is due."""
        if self._pending is not None:
            return
        if self.phase is Phase.END:
            self._end(now)
        if now < self._due or self._pending is not None:
            return
        if self.phase in (Phase.READ, Phase.WATCH):
            self._request("get", self.lease, "read", now)
        elif self.phase is Phase.LIVE:
            self._renew(now)
        elif self.phase is Phase.LEAVE:
            self._release(now)

    # --- READ and WATCH --------------------------------------------------------------------------------------

    def _read(self, outcome: Done | Refused | Failed, pending: _Pending, now: int) -> None:
        if isinstance(outcome, Failed):
            self.problem = f"the API server does not answer: {outcome.reason}"
            self._unchanged_since = now
            self._due = now + self._pause(pending)
        elif isinstance(outcome, Refused) and pending.purpose == "read" and outcome.status == 404:
            self.lease = Lease(name=self.lease.name)
            if not self._silent():
                return
            if self._owner is None:
                # One that is nobody's would stay when this machine is gone, and nothing is announced without a Node.
                self.phase, self.problem = Phase.READ, ""
                self._due = now + 5 * RETRY
            else:
                self._join("create", self.lease, now, self.wanted_duration)
        elif isinstance(outcome, Refused):
            self.problem = f"the API server refuses {self.lease.name}: {outcome.reason}"
            self._due = now + self._pause(pending, RETRY if outcome.status == 409 else 5 * RETRY)
        elif outcome.lease is None or pending.purpose == "let go":
            self._due = now
        else:
            self._judge(outcome.lease, now)

    def _judge(self, lease: Lease, now: int) -> None:
        self._ended = self._notice_rewind(lease) or self._ended
        before, self.lease = self.lease, self._counted_on(lease)
        lease = self.lease
        presence = Presence(lease)
        contested = self._contested and self._is_anothers(presence)
        ours = presence.machine == self._identity.machine and not contested
        self.resumed = None
        if lease.holder and not ours:
            self._watch(presence, Presence(before), now)
        elif presence.alive and not lease.deleting and not self._ended and self._answers(now):
            # The kernel may still answer by the D that stands there, or that stood there before somebody edited it: the
            # first renewal keeps to it.
            remaining = max(0, self._kernel.answers_until - now) * 10 // 9 + 1
            said = presence.duration(self._settings.duration_ns)
            duration = max(self.wanted_duration, said, -(-remaining // MILLISECOND) * MILLISECOND)
            self.resumed = presence.report
            self._join("update", lease, now, duration)
        elif self._silent():
            # Whatever ends an epoch, and so the next one's beginning, leaves in silence (rule 2).
            if ours:
                self.past.append(presence.epoch)
            if not lease.deleting:
                following = replace(lease, transitions=counted(lease.transitions))
                self._join("update", following, now, self.wanted_duration)
            elif FINALIZER in lease.finalizers:
                self._request("update", without_finalizer(replace(lease, holder="")), "let go", now)
            else:
                self.problem = f"{lease.name} is being deleted and has another's finalizer"
                self._due = now + 10 * RETRY

    def _answers(self, now: int) -> bool:
        """Whether the kernel may still answer by an epoch that is to be gone on with. One that it is past may have
        been fenced, and its presence have come back by a hand: it is ended in silence, which costs a claim of each."""
        return now < max(self._kernel.answers_until, self._kernel.intended.fuse)

    def _counted_on(self, lease: Lease) -> Lease:
        """With no fewer transitions than we know of: the next epoch is beyond every one that there has been, also
        where time ran backwards, or somebody put an earlier state back."""
        if lease.uid != self.lease.uid:
            return lease
        return replace(lease, transitions=max(lease.transitions, self.lease.transitions))

    def _is_anothers(self, presence: Presence) -> bool:
        """Whether it says that another process lives. An instance without a nonce says nothing: none wrote it."""
        ours = self._identity.machine, self._identity.nonce
        return (
            presence.alive and bool(presence.nonce) and (presence.machine, presence.nonce) != ours
        )

    def _watch(self, presence: Presence, before: Presence, now: int) -> None:
        """``before``: as it was when last read."""
        begins = self.phase is not Phase.WATCH
        if begins or presence.lease.resource_version != before.lease.resource_version:
            same = presence.nonce == before.nonce
            self._changes = self._changes + 1 if same and not begins else 0
            if self._contested and self._changes >= RENEWED:
                self._stop_for_good(presence)
                return
            least = self._settings.duration_ns
            self._still_for = max(presence.duration(least), before.duration(least))
            self._unchanged_since = now
            self._tell_watched(presence)
            self.phase = Phase.WATCH
        if now < self._unchanged_since + self._still_for:
            self._due = min(now + self._still_for // 4, self._unchanged_since + self._still_for)
        elif not self._kernel.silent:
            # It may be ours all the same: somebody has edited the instance.
            self._kernel.silence()
            self._due = now + RETRY
        else:
            self._out.note("fence", node=presence.node, epoch=str(presence.epoch))
            self._request("update", replace(presence.lease, holder=""), "fence", now)

    def _tell_watched(self, presence: Presence) -> None:
        whose = (
            f"says that another process lives ({presence.machine}/{presence.nonce})"
            if self._contested
            else "belongs to another machine or an earlier boot"
        )
        name, until = presence.lease.name, "waiting until it has been still for its duration"
        self.problem = f"the presence {name} {whose}; {until}"
        if self.phase is not Phase.WATCH and not self._contested:
            self._out.note(
                "another machine or boot lives under this node's name",
                level="warning",
                node=self._identity.node,
                instance=presence.machine,
            )

    def _silent(self) -> bool:
        """Whether the kernel is confirmed silent; if not, END asks for it and READ comes again."""
        if self._kernel.silent:
            return True
        self.phase = Phase.END
        self._kernel.silence()
        return False

    # --- JOIN ------------------------------------------------------------------------------------------------

    def _join(self, verb: Verb, lease: Lease, now: int, duration: int) -> None:
        self.phase = Phase.JOIN
        self._write(verb, lease, "join", now, duration)

    def _joined(self, answer: Answer, pending: _Pending, now: int) -> None:
        outcome = answer.outcome
        if not isinstance(outcome, Done) or outcome.lease is None:
            self.phase = Phase.READ
            self.problem = "" if isinstance(outcome, Done) else f"cannot join: {outcome.reason}"
            lost_race = isinstance(outcome, Refused) and outcome.status == 409
            self._due = now if lost_race else now + self._pause(pending)
            return
        if self.lease.uid and (outcome.created or outcome.lease.uid != self.lease.uid):
            # The one that was to be gone on with is gone, and this one nobody knows.
            self.lease = outcome.lease
            self._lose("the presence was deleted")
            return
        self.phase = Phase.LIVE
        self._ended = self._contested = False
        self.problem = ""
        self.epoch = Epoch(outcome.lease.uid, outcome.lease.transitions)
        if outcome.lease.resource_version < pending.newest:
            self.lease = outcome.lease
            self.rewind()
            return
        self._out.note("join", epoch=str(self.epoch), duration_ms=pending.duration // MILLISECOND)
        self._accept(outcome.lease, answer.sent, pending.duration, now)

    # --- LIVE ------------------------------------------------------------------------------------------------

    def _renew(self, now: int) -> None:
        renewed = self._kernel.intended.renewed
        allowed = self._renewed_at + self.wanted_duration * 9 // 10
        if self.wanted_duration < self.duration and self._kernel.answers_until > allowed:
            # Observers count by what they read: the kernel's deadline shrinks before they can read it.
            self.valid_until = min(self.valid_until, allowed)
            self._extend(allowed, renewed)
        elif self._kernel.session.deadline < self.valid_until:
            self._extend(self.valid_until, renewed)
        else:
            self._write("update", self.lease, "renew", now, self.wanted_duration)
            return
        # The kernel's answer brings us back here.
        self._due = now if self._kernel.takes_session else now + RETRY

    def _renewed(self, answer: Answer, pending: _Pending, now: int) -> None:
        outcome = answer.outcome
        if isinstance(outcome, Done) and outcome.lease is not None:
            if outcome.created or outcome.lease.uid != self.lease.uid:
                self.lease = outcome.lease
                self._lose("the presence was deleted")
            elif pending.purpose == "renew" and outcome.lease.resource_version < pending.newest:
                # What is written is newer than all that there was before.
                self.rewind()
            elif pending.purpose == "renew":
                self._accept(outcome.lease, answer.sent, pending.duration, now)
            else:
                self._judge_live(outcome.lease, now)
        elif isinstance(outcome, Refused) and outcome.status == 404:
            self._lose("the presence was deleted")
        elif isinstance(outcome, Refused) and outcome.status == 409:
            self._request("get", self.lease, "read back", now)
        elif isinstance(outcome, (Refused, Failed)):
            if isinstance(outcome, Failed):
                self._refused_since = None
            elif self._refused_since is None:
                self._refused_since = now
            elif now >= self._refused_since + REFUSED:
                # An answer: the API server is there, and does not want us.
                self._may_hold = False
            self.problem = f"cannot renew: {outcome.reason}"
            self._due = now + self._pause(pending)

    def _judge_live(self, lease: Lease, now: int) -> None:
        """A presence that we read while live: still ours in this epoch, or not?"""
        if self._notice_rewind(lease):
            self._forget_version()
            self._lose(SET_BACK)
            return
        presence = Presence(lease)
        if self._is_anothers(presence):
            self._contested = True
            self._lose("another process's nonce stands in the presence")
            return
        if lease.deleting or presence.epoch != self.epoch or not presence.alive:
            self.lease = self._counted_on(lease)
            self._lose("deleted" if lease.deleting else "fenced")
        elif not self._answers(now):
            self.lease = lease
            self._lose("past the deadline")
        else:
            self.lease = lease
            self._due = now

    def saw(self, version: int, now: int) -> None:
        """A Lease with that resourceVersion, anybody's."""
        if version > self._newest:
            self._newest, self._newest_at = version, now

    def is_past(self, version: int, asked: int) -> bool:
        """Whether a list that was asked for then, and is of that version, is of before what was known then."""
        return 0 < version < self._newest and self._newest_at < asked

    def begin_anew(self) -> None:
        """What was known of Leases is forgotten."""
        self.rewound = False
        self._newest = 0

    def rewind(self) -> None:
        """The API server's time ran backwards, as another lease shows, or what a write became: this epoch may not be
        what it seems."""
        self.rewound = True
        self._forget_version()
        if self.phase is Phase.LIVE:
            self._lose(SET_BACK)

    def _forget_version(self) -> None:
        """What is read next is as it is now; of what was known only its epochs still count."""
        self.lease = replace(self.lease, resource_version=0)

    def _notice_rewind(self, lease: Lease) -> bool:
        """Every read of a lease is newer than what was known of it, unless etcd was restored."""
        known = self.lease
        back = lease.is_before(known)
        self.rewound = self.rewound or back
        return back

    def _accept(self, lease: Lease, sent: int, duration: int, now: int) -> None:
        """A renewal succeeded: assign the deadline that it allows (rule 1)."""
        self._said_before = Presence(self.lease).duration(0) if self.lease.uid else duration
        self._said_since = 0
        self._refused_since = None
        self.lease = lease
        self.problem = ""
        self.duration = duration
        self._renewed_at = sent
        self.valid_until = sent + duration * 9 // 10
        changed_meanwhile = self._report is not None and self._report != self._written
        shortened = self.waited_for != duration
        asked = lease.resource_version < self._asked_in
        self._due = now if changed_meanwhile or shortened or asked else sent + self.interval
        # An answer that comes past the deadline proves nothing about what came between.
        self._may_hold = now < self.valid_until
        if self._said != (report := Presence(lease).report):
            self._said, self._said_in = report, lease.resource_version
        confirmed = self._kernel.confirms(sent)
        self._extend(self.valid_until, sent if confirmed else self._kernel.intended.renewed)

    def _extend(self, deadline: int, renewed: int) -> None:
        hold = self._settings.on_api_loss == "Hold"
        self._kernel.set_session(Session(deadline, 0, renewed, hold))

    def _lose(self, reason: str) -> None:
        self._out.note("epoch lost", level="warning", epoch=str(self.epoch), reason=reason)
        self.problem = f"epoch lost: {reason}"
        self._ended = True
        if self.epoch is not None:
            self.past.append(self.epoch)
        self.epoch = None
        self._pending = None
        self.phase = Phase.END
        self._kernel.silence()

    def _stop_for_good(self, presence: Presence) -> None:
        self.problem = (
            f"another agent runs under the node name {self._identity.node}"
            f" (instance {presence.machine}); this one stops"
        )
        self._out.note("stop for good", level="error", reason=self.problem)
        self.epoch = None
        self.phase = Phase.STOPPED
        self._kernel.silence()

    # --- END and LEAVE ---------------------------------------------------------------------------------------

    def _end(self, now: int) -> None:
        if self._kernel.silent:
            self.phase = Phase.READ
            self._due = now
        else:
            self._kernel.silence()
            self._due = now + RETRY

    def _release(self, now: int) -> None:
        if not self._kernel.silent:
            self._kernel.silence()
            self._due = now + RETRY
            return
        self.epoch = None
        if self.lease.resource_version:
            self._request("update", replace(self.lease, holder=""), "release", now)
        else:
            # Time ran backwards: as it is now, it is to be read first.
            self._request("get", self.lease, "read back", now)

    def _left(self, outcome: Done | Refused | Failed, pending: _Pending, now: int) -> None:
        """Release the presence as it stands once nothing else of ours is under way; the kernel's silence is final."""
        self._due = now
        if isinstance(outcome, Refused) and outcome.status == 409:
            self._request("get", self.lease, "read back", now)
        elif pending.purpose == "release":
            if not isinstance(outcome, Done):
                self._out.note("presence not released", level="warning", reason=outcome.reason)
            self.phase = Phase.STOPPED
        elif isinstance(outcome, Refused) and outcome.status == 404:
            self.phase = Phase.STOPPED
        elif isinstance(outcome, Done) and outcome.lease is not None:
            self.lease = outcome.lease
            presence = Presence(self.lease)
            ours = self._identity.machine, self._identity.nonce
            if not presence.alive or (presence.machine, presence.nonce) != ours:
                self.phase = Phase.STOPPED
        else:
            # Whether it took effect, the release finds out.
            self._due = now + self._pause(pending)

    # --- requests --------------------------------------------------------------------------------------------

    def _pause(self, pending: _Pending, least: int = RETRY) -> int:
        """Before what has failed is tried again."""
        return jittered(least, f"{self._identity.node} {pending.id}")

    def _write(self, verb: Verb, base: Lease, purpose: str, now: int, duration: int) -> None:
        report = self._written = self._report or self.resumed or self._nothing_yet
        self._said_since = max(self._said_since, duration)
        lease = presence_lease(base, self._identity, report, duration, self._owner)
        self._request(verb, lease, purpose, now, duration)

    def _request(self, verb: Verb, lease: Lease, purpose: str, now: int, duration: int = 0) -> None:
        limit = self._settings.duration_ns // 2
        deadline = now + limit
        if self.phase is Phase.LIVE and self.valid_until > now + limit // 10:
            deadline = min(deadline, self.valid_until)
        number = self._out.new_id()
        self._pending = _Pending(number, purpose, duration, self._newest)
        self._out.add(LeaseRequest(number, verb, lease, deadline, own_connection=True))
