# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What reaches the decider. Everything an edge learns comes as one of these, through one queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import (
    Address,
    Endpoints,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
)

KubeObject: TypeAlias = Service | Endpoints | Node | Pool | Policy | Lease
Kind: TypeAlias = (
    type[Service] | type[Endpoints] | type[Node] | type[Pool] | type[Policy] | type[Lease]
)
Key: TypeAlias = str | tuple[str, str]


# --- Watches -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """A complete list: what is not in it is gone. The watch is sound from here on."""

    kind: Kind
    objects: tuple[KubeObject, ...]
    narrowed: bool = False
    """Of Services: only those of type LoadBalancer are told."""
    asked: int = field(default=0, compare=False)
    """Before it was asked for, boottime nanoseconds: what was known then, it cannot be older than."""
    version: int = field(default=0, compare=False)
    """The resourceVersion of the list: as of when it is. 0: that was not told."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An object was added or modified."""

    object: KubeObject


@dataclass(frozen=True, slots=True)
class Removed:
    kind: Kind
    key: Key


@dataclass(frozen=True, slots=True)
class WatchBroken:
    """The watch of this kind cannot be relied on (connection lost, refused, expired) until it is sound again.

    An ordinary end of a watch that is resumed without a gap is none of these.
    """

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class WatchResumed:
    """The watch of this kind goes on from where it broke; nothing was missed."""

    kind: Kind


# --- Answers to requests -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """2xx. ``created`` tells a 201, which for an update means that the object had gone (epoch lost).

    ``lease``: as it is now; None after a DELETE that removed it at once. ``service``: the answer to a ReadService.
    """

    lease: Lease | None = None
    created: bool = False
    service: Service | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The API server's answer was no: 401, 403, 404, 409, 422, … It is an answer: the server is there."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer: time-out, reset, 5xx, 429. Whether a write took effect is unknown."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the request of that id. Exactly one comes for every request, in time or as Failed."""

    request: int
    sent: int
    """The moment *before* the request was sent, boottime nanoseconds."""
    outcome: Done | Refused | Failed


# --- This node -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelRead:
    """What the kernel held when the agent opened it: the first event of all."""

    session: Session
    entries: Mapping[EntryKey, EntryValue]
    silenced: Mapping[Address, int] = field(default_factory=dict)
    """By address: the newest claim that a conflict has silenced."""


@dataclass(frozen=True, slots=True)
class KernelAnswer:
    """The kernel confirmed (``error`` empty) or refused the effect of that id."""

    effect: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class FramesAnswer:
    """The device accepted (``error`` empty) or refused the frames of that id."""

    effect: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class InterfacesSeen:
    """All network devices of this node, as they are now."""

    interfaces: tuple[Interface, ...]
    arp_ignore: bool = False
    """Whether the kernel answers for an IPv4 address only on the device that bears it (sysctl
    ``net.ipv4.conf.all.arp_ignore``, which kube-proxy's strictARP sets)."""


@dataclass(frozen=True, slots=True)
class AttachmentsSeen:
    """What became of the SetAttachments of that id. A device that is in neither has yet to have its turn."""

    wish: int
    attached: frozenset[int]
    refused: Mapping[int, str]
    """By ifindex: why the responder could not be attached."""


@dataclass(frozen=True, slots=True)
class ProxySeen:
    """What kube-proxy's health port said: empty where it is healthy, or where there is none."""

    problem: str


@dataclass(frozen=True, slots=True)
class ApiTimed:
    """The API server was timed: so many nanoseconds, at best."""

    latency: int
    too_slow: Stop | None = None
    """It is too slow for D: how whoever has nothing to lose by it is to end."""


@dataclass(frozen=True, slots=True)
class ConflictSeen:
    """A frame claimed a held address from a foreign MAC (seen in the kernel)."""

    address: Address
    mac: bytes
    ifindex: int
    silenced: bool = False
    """It came past the deadline: the kernel has silenced the address until a new claim."""


@dataclass(frozen=True, slots=True)
class SeenRead:
    """What the kernel remembers of addresses, looked at now and then: what was seen as it happened may be lost."""

    silenced: Mapping[Address, int]
    """By address: the newest claim that a conflict has silenced."""
    crowd: frozenset[Address] = frozenset()
    """What it remembers, where that is so much that there may be no room for more before long."""


@dataclass(frozen=True, slots=True)
class SegmentHeard:
    """Somebody answered a probe: ``address`` is there, on that device's segment."""

    ifindex: int
    address: Address
    at: int
    """When the answer came in, boottime nanoseconds: it may have waited for an agent that was stopped."""


@dataclass(frozen=True, slots=True)
class AddressProbed:
    """The answer to the ProbeAddress of that id."""

    effect: int
    mac: bytes | None
    """Who has the address; None: nobody answered."""
    error: str = ""
    """Why nobody could be asked."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: the deadline that the decider asked for, or the slow tick."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Hand over everything, then end: SIGTERM, or a reason not to run that was found late."""

    status: int = 0
    """The exit status that follows."""
    reason: str = "handed over"


@dataclass(frozen=True, slots=True)
class AnnounceAgain:
    """A person asked by the control socket for the frames of this address, or of all, again."""

    address: Address | None = None


Event: TypeAlias = (
    Listed
    | Changed
    | Removed
    | WatchBroken
    | WatchResumed
    | Answer
    | KernelRead
    | KernelAnswer
    | FramesAnswer
    | InterfacesSeen
    | AttachmentsSeen
    | ProxySeen
    | ApiTimed
    | ConflictSeen
    | SeenRead
    | SegmentHeard
    | AddressProbed
    | Tick
    | Stop
    | AnnounceAgain
)
