# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The other nodes' presences: who is alive, whose epoch is over since when, and whom to fence.

What always holds (rule 3 of docs/design/election.md):

- A presence is fenced only after its own D without any change, counted on our clock from when we saw the
  last change, and only while we were in touch all along: a failed request or a broken watch starts every
  count again.
- A fence is a compare-and-swap on the presence, so that a renewal and a fence of one epoch exclude each other.
- An epoch counts as over no earlier than D after the last renewal that it can have had: the last one seen, or, where a
  list or a read shows that it has ended, one just before that. For a fence that costs nothing to whoever watched (the
  fencer waited as long); it covers a presence that somebody cleared or deleted by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from herald.core.effects import LeaseRequest
from herald.core.election.placement import rank_of
from herald.core.events import Answer, Done
from herald.core.leases import Epoch, Presence, without_finalizer
from herald.core.model import FINALIZER, MILLISECOND, Lease, presence_lease_name
from herald.core.outbox import Outbox
from herald.core.settings import LATE_NEWS, Settings

FENCE_STEP = 50 * MILLISECOND
"""Between the ranks of fencers, so that they do not all write at once."""
OVER_KEPT = 64
"""Ended epochs remembered of each presence."""


@dataclass(slots=True)
class _Track:
    presence: Presence
    changed_at: int
    """Own clock: when we saw its last change."""
    duration: int
    """How long to wait: the longer D of the last two versions, since a D that somebody shortened by hand
    is unknown to its node, which would not write it twice."""
    reported: int
    """The resourceVersion in which the present report first stood."""
    request: int = 0
    """Id of our write or read that is under way; 0: none."""
    retry_at: int = 0
    ranked_at: int = 0
    """Our turn among those who may fence it; worked out once it has been still for its D."""
    doubted: bool = False
    """It was told of since its last change that it may be lost."""


class Observer:
    def __init__(self, settings: Settings, node: str, outbox: Outbox) -> None:
        self._settings = settings
        self._own_name = presence_lease_name(node)
        self._node = node
        self._out = outbox
        self._tracks: dict[str, _Track] = {}
        self._over: dict[Epoch, int] = {}
        self._in_touch = False
        self.counts_from = 0
        """Own clock: in touch since then."""
        self.rewound = False
        """A list showed a presence as it had been before: the API server's time ran backwards (rule 10)."""
        self.changed: set[str] = set()
        """Nodes whose presence says something else than a mere renewal, since last cleared."""

    # --- what is asked of it ---------------------------------------------------------------------------

    def presences(self) -> dict[str, Presence]:
        """Presences by node that are alive, this node's own included as the watch shows it."""
        return {t.presence.node: t.presence for t in self._tracks.values() if t.presence.alive}

    def reported(self, node: str) -> int | None:
        """The resourceVersion in which a node's present report first stood."""
        track = self._tracks.get(presence_lease_name(node))
        return track.reported if track is not None else None

    def over_since(self, epoch: Epoch) -> int | None:
        """From when on an epoch counts as over (may lie ahead); None: it lives, or we do not know it."""
        return self._over.get(epoch)

    def counts(self, holder: Epoch | None) -> bool:
        """Whether that is somebody's epoch which does not count as over, now or soon."""
        return holder is not None and holder not in self._over

    def lives(self, epoch: Epoch) -> bool:
        return any(t.presence.epoch == epoch and t.presence.alive for t in self._tracks.values())

    def is_anothers(self, epoch: Epoch, node: str) -> bool:
        """Whether it is one of another node's presence."""
        own = self._tracks.get(presence_lease_name(node))
        if own is not None and own.presence.epoch.uid == epoch.uid:
            return False
        return any(track.presence.epoch.uid == epoch.uid for track in self._tracks.values())

    def mark_over(self, epoch: Epoch, now: int) -> None:
        """Reads in the right order (the VIP lease, then the presence) have shown that it is over. Nobody here saw when
        its presence was last renewed; and that there is a later epoch of it says nothing: a hand may have counted."""
        same = (t.duration for t in self._tracks.values() if t.presence.epoch.uid == epoch.uid)
        self._end(epoch, now + next(same, self.longest()))

    def doubtful(self, now: int) -> list[Presence]:
        """Presences that have newly been still for three quarters of their D: whoever renews as he should, has
        failed to twice. Each once until it changes."""
        if not self._in_touch:
            return []
        found = [
            track
            for name, track in self._tracks.items()
            if self._may_be_doubted(name, track) and now >= self._doubted_at(track)
        ]
        for track in found:
            track.doubted = True
        return [track.presence for track in found]

    def next_deadline(self) -> int | None:
        if not self._in_touch:
            return None
        return min(
            (
                self._doubted_at(track)
                if self._may_be_doubted(name, track)
                else max(self._still_until(track), track.retry_at, track.ranked_at)
                for name, track in self._tracks.items()
                if self._has_duty(name, track)
            ),
            default=None,
        )

    # --- what it is told -------------------------------------------------------------------------------

    def listed(self, leases: dict[str, Lease], asked: int, now: int) -> None:
        self.rewound = self.rewound or any(
            track.changed_at < asked and leases[name].contradicts(track.presence.lease)
            for name, track in self._tracks.items()
            if name in leases
        )
        for name in [name for name in self._tracks if name not in leases]:
            self.gone(name, now, skipped=True)
        for lease in leases.values():
            self.seen(lease, now, skipped=True)

    def seen(self, lease: Lease, now: int, *, skipped: bool = False) -> None:
        """``skipped``: it was listed or read, so that renewals between it and what was known may have gone unseen."""
        track = self._tracks.get(lease.name)
        presence = Presence(lease)
        if track is None:
            duration = presence.duration(self._settings.duration_ns)
            self._tracks[lease.name] = _Track(presence, now, duration, lease.resource_version)
            self.changed.add(presence.node)
            if not presence.alive:
                self._end(presence.epoch, now + duration)
            return
        old = track.presence
        if lease.resource_version <= old.lease.resource_version:
            return
        if presence.epoch != old.epoch or (old.alive and not presence.alive):
            self._ended(track, now, skipped=skipped)
        if (
            presence.epoch != old.epoch
            or presence.alive != old.alive
            or (lease.annotations != old.lease.annotations and presence.report != old.report)
        ):
            self.changed.add(presence.node)
            track.reported = lease.resource_version
        else:
            # The report is the same: keep its decoded form.
            presence.__dict__["report"] = old.report
        default = self._settings.duration_ns
        if presence.alive:
            # An epoch that somebody cleared and set again by hand: when it ends next, it ends anew.
            self._over.pop(presence.epoch, None)
        track.duration = max(old.duration(default), presence.duration(default))
        track.presence, track.changed_at, track.ranked_at = presence, now, 0
        track.doubted = False

    def forget(self) -> None:
        """Time ran backwards: nothing that was seen holds any more."""
        self.changed.update(track.presence.node for track in self._tracks.values())
        self._tracks.clear()
        self._over.clear()
        self.rewound = False

    def longest(self) -> int:
        """The longest D that any presence says."""
        default = self._settings.duration_ns
        return max((track.duration for track in self._tracks.values()), default=default)

    def patience(self, node: str) -> int:
        """How long that node may go on without knowing what was done to its lease by hand: for its D (the longest
        where nothing is known of it), and as long as its watch may be late."""
        track = self._tracks.get(presence_lease_name(node)) if node else None
        return LATE_NEWS + (track.duration if track is not None else self.longest())

    def gone(self, name: str, now: int, *, skipped: bool = False) -> None:
        track = self._tracks.pop(name, None)
        if track is not None:
            self._ended(track, now, skipped=skipped)
            self.changed.add(track.presence.node)

    def _ended(self, track: _Track, now: int, *, skipped: bool) -> None:
        """Its epoch is over D after the last renewal that it can have had."""
        renewed_at = now if skipped else track.changed_at
        self._end(track.presence.epoch, max(now, renewed_at + track.duration))

    def _end(self, epoch: Epoch, over_since: int) -> None:
        self._over.setdefault(epoch, over_since)
        while len(self._over) > OVER_KEPT * (1 + len(self._tracks)):
            del self._over[next(iter(self._over))]

    def in_touch(self, touch: bool, now: int) -> None:
        """Whether requests succeed and the watch of Leases is sound; each loss starts all counts again."""
        if not touch or not self._in_touch:
            self.counts_from = now
        self._in_touch = touch

    # --- fencing -----------------------------------------------------------------------------------------

    def _has_duty(self, name: str, track: _Track) -> bool:
        if name == self._own_name or track.request:
            return False
        lease = track.presence.lease
        return track.presence.alive or (lease.deleting and FINALIZER in lease.finalizers)

    def _still_until(self, track: _Track) -> int:
        """When a presence will have been still for its D, if nothing comes."""
        return self._still_since(track) + track.duration

    def _still_since(self, track: _Track) -> int:
        return max(track.changed_at, self.counts_from)

    def _may_be_doubted(self, name: str, track: _Track) -> bool:
        return not track.doubted and track.presence.alive and name != self._own_name

    def _doubted_at(self, track: _Track) -> int:
        return self._still_since(track) + track.duration * 3 // 4

    def _is_due(self, name: str, track: _Track, now: int) -> bool:
        """Whether it is this node's turn to write."""
        if now < track.retry_at or now < self._still_until(track):
            return False
        fencers = [node for node in self.presences() if node != track.presence.node]
        rank = rank_of(self._node, name, fencers)
        track.ranked_at = self._still_until(track) + rank * FENCE_STEP
        return now >= track.ranked_at

    def tick(self, now: int) -> None:
        """Fence whoever has been still for its D. To be called only while this node itself is live."""
        if not self._in_touch:
            return
        for name, track in self._tracks.items():
            if not self._has_duty(name, track) or not self._is_due(name, track, now):
                continue
            presence = track.presence
            if presence.alive:
                self._out.note("fence", node=presence.node, epoch=str(presence.epoch))
                lease = replace(presence.lease, holder="")
            else:
                self._out.note("collect a deleted presence", node=presence.node)
                lease = without_finalizer(presence.lease)
            track.request = self._out.new_id()
            deadline = now + self._settings.duration_ns // 2
            self._out.add(LeaseRequest(track.request, "update", lease, deadline))

    def answer(self, answer: Answer, now: int) -> bool:
        for track in self._tracks.values():
            if track.request == answer.request:
                track.request = 0
                # Refused: somebody was first, the watch will tell. Failed: unknown, look again later.
                track.retry_at = now + self._settings.duration_ns // 4
                if isinstance(answer.outcome, Done) and answer.outcome.lease is not None:
                    self.seen(answer.outcome.lease, now)
                return True
        return False
