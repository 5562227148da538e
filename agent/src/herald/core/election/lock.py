# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One lock: what this node knows of one VIP lease, what it has of it, and the table that decides from the two.

Two things are known of a lock, and the table names what is done for each pair of them:

- ``Sight``: what the lease, as last seen, says to this node in its present epoch;
- ``Own``: what this node has of it, in its kernel and by its own claims.

What always holds (rules 4, 5 and 7 of docs/design/election.md), and what of the table bears it:

- Nothing answers by a lease that is merely read: no row but OURS announces, and OURS announces only what a claim of
  our own has given (CLAIMED) or what a process before this one was given in the same epoch (LEFT).
- What a lease does not give to this node in this epoch does not stay in the kernel: every row but OURS yields or
  withdraws what is there, before anything else is done for it. Three rows do not go by what the lease says, and leave
  the kernel alone: NO_EPOCH, where it is the presence's to silence, or goes on in the same epoch; and BUSY and UNSURE,
  where an answer is waited for (news of a lease that does not name this epoch yields as it comes, in whichever row).
- What a conflict has silenced is never announced again by the same claim: SILENCED only claims anew.
- A holder is cleared only after the kernel has confirmed that nothing answers: RELEASE withdraws first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from herald.core.election.placement import Placement
from herald.core.kernel import EntryFlags
from herald.core.leases import Epoch
from herald.core.model import Address, Lease, ServiceKey, ServiceKeys


class Sight(Enum):
    NO_EPOCH = "this node is in no epoch"
    BUSY = "a request about it is under way, or is not to be made yet"
    UNSURE = "an answer did not come, or the watch says that it is gone"
    ABSENT = "there is no such lease"
    OTHERS = "another epoch has it, and that epoch lives"
    UNKNOWN = "another epoch has it, of which nothing is known"
    FREE = "nobody has it, or an epoch that is over"
    OURS = "this epoch has it, and this node may announce it"
    UNWANTED = "this epoch has it, and shall not: not eligible, deleted, better placed elsewhere"


class Own(Enum):
    NOTHING = "neither claim nor entry"
    LEFT = "entries in the kernel without a claim of this process"
    CLAIMED = "a claim of ours has succeeded"
    SILENCED = "a conflict past the deadline has silenced the claim in the kernel, for good"


class Action(Enum):
    REST = "nothing, until something changes"
    DROP = "forget the claim; the kernel is the presence's to silence, or goes on in the same epoch"
    READ = "read the lease"
    MAKE = "create it where it is wanted, else forget it"
    YIELD = "withdraw what answers, forget the claim, and look again"
    EDIT = "write what the allocator wants of it"
    VERIFY = "read the lease, then the presence that it names"
    TAKE = "claim it when it is this node's turn; or delete it, or finish its deletion"
    RESUME = "go on with what the process before this one was given"
    CLAIM = "claim it anew"
    ANNOUNCE = "pair, entry, burst; keep them right by difference"
    RELEASE = "withdraw, and once that is confirmed clear the holder"


def _row(nothing: Action, left: Action, claimed: Action, silenced: Action) -> Mapping[Own, Action]:
    return dict(zip(Own, (nothing, left, claimed, silenced), strict=True))


_A = Action
ACTIONS: Mapping[Sight, Mapping[Own, Action]] = {
    #                   NOTHING     LEFT        CLAIMED      SILENCED
    Sight.NO_EPOCH: _row(_A.REST, _A.REST, _A.DROP, _A.DROP),
    Sight.BUSY: _row(_A.REST, _A.REST, _A.REST, _A.REST),
    Sight.UNSURE: _row(_A.READ, _A.READ, _A.READ, _A.READ),
    Sight.ABSENT: _row(_A.MAKE, _A.YIELD, _A.YIELD, _A.YIELD),
    Sight.OTHERS: _row(_A.EDIT, _A.YIELD, _A.YIELD, _A.YIELD),
    Sight.UNKNOWN: _row(_A.VERIFY, _A.YIELD, _A.YIELD, _A.YIELD),
    Sight.FREE: _row(_A.TAKE, _A.YIELD, _A.YIELD, _A.YIELD),
    Sight.OURS: _row(_A.CLAIM, _A.RESUME, _A.ANNOUNCE, _A.CLAIM),
    Sight.UNWANTED: _row(_A.RELEASE, _A.RELEASE, _A.RELEASE, _A.RELEASE),
}

LIVE_ONLY = frozenset((_A.MAKE, _A.EDIT, _A.VERIFY, _A.TAKE, _A.CLAIM))
"""Done only while this node is live: in an epoch, and before its deadline. (What a lease of this epoch is let go of
by may leave later: the entry has gone first, and nobody can have claimed the version that it starts from.)"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a held address is to be answered on this node."""

    mac: bytes
    flags: EntryFlags


@dataclass(slots=True)
class Pair:
    """The first GARP/NA pair on one interface since the claim."""

    mac: bytes
    frames: int
    """Id of the frames that are being sent; 0: none."""
    accepted: bool = False
    sends: int = 0
    fills: int = 0
    again_at: int = 0
    """It took neither: not to be tried again before; 0: it did."""


Purpose = Literal[
    "read", "verify", "create", "give", "delete", "let go", "claim", "sign", "release"
]

GIVING = frozenset[Purpose](("create", "give", "delete", "let go"))
"""What changes to whom an address is given."""


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    purpose: Purpose
    epoch: Epoch | None
    base: int
    """The resourceVersion that the request starts from; 0: none."""
    still_since: int
    """The lock's, of the version that the request starts from."""


_UNPLACED = Placement()
_NOWHERE: frozenset[int] = frozenset()
_NO_PAIRS: Mapping[int, Pair] = {}


@dataclass(slots=True)
class Lock:
    """Stands for one VIP lease, or, without an address, for the lease ``ipam``."""

    name: str
    address: Address | None
    lease: Lease | None = None
    """As last seen; None: there is none."""
    seen_at: int = 0
    """Own clock: when this version of the lease was first seen."""
    still_since: int = 0
    """Own clock: since when nobody is known to have written the lease but this node, for the allocator."""
    services: ServiceKeys = ()
    """Those that were given the address."""
    external: ServiceKeys = ()
    """Those that have it as an external one."""
    holder: Epoch | None = None
    """The epoch that the lease names."""
    placement: Placement = _UNPLACED
    placed_at: int = 0
    request: Request | None = None
    unsure: bool = False
    """An answer did not come, or the watch says that it is gone: read before anything else."""
    retry_at: int = 0
    claimed: int = 0
    """When the claim of ours that holds it succeeded, boottime nanoseconds; 0: this node does not hold it."""
    reason: str = ""
    """Why it was claimed."""
    devices: frozenset[int] = _NOWHERE
    """By ifindex: where it is announced, or about to be."""
    pairs: Mapping[int, Pair] = field(default_factory=lambda: _NO_PAIRS)
    """By ifindex."""
    announced: bool = False
    told: bool = False
    """That this claim is announced was told, in the log and to its Services; so it was if it is a claim resumed."""
    robbed: bool = False
    """It was ours until somebody edited the lease by hand; nobody else can have held it since."""
    unable: bool = False
    """No interface took its frames or entries: leave it to others for a while."""
    wants: Mapping[str, str] | None = None
    """The allocator wants the lease made, or changed, to have these annotations; empty ones: not to have them."""
    distrusted: int = 0
    """Up to this resourceVersion a write of before may yet take effect: of the allocator before this one, or of ours
    without an answer."""
    doomed: bool = False
    """The allocator wants it gone: nobody needs the address."""

    @property
    def keys(self) -> frozenset[ServiceKey]:
        """All Services that have the address."""
        return frozenset((*self.services, *self.external))

    @property
    def in_doubt(self) -> bool:
        """Whether a write that is under way, or may be, says otherwise to whom the address is given."""
        if self.unsure or self.lease is None or self.lease.resource_version <= self.distrusted:
            return True
        return self.request is not None and self.request.purpose in GIVING

    @property
    def held(self) -> bool:
        return self.claimed > 0

    def hold(self, claimed: int) -> None:
        """A claim has succeeded: pair, entry and burst begin anew."""
        self.drop()
        self.told = False
        self.claimed, self.robbed, self.unable = claimed, False, False

    def drop(self) -> None:
        """Nothing of a claim is left."""
        self.claimed, self.announced, self.devices, self.pairs = 0, False, _NOWHERE, _NO_PAIRS
