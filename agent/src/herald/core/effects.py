# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the decider wants done. Effects are values; the shell (or a simulation) carries them out in order.

Entries, session and frames are set and sent at once, by the deciding thread, in the order in which they stand;
their answers (KernelAnswer, FramesAnswer) are the next events. Attachments and groups may have to wait for the
kernel, in threads of their own, where only the newest wish counts. API requests leave through writer threads; each
is answered by exactly one Answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from herald.core.events import Kind
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import (
    Address,
    Condition,
    Lease,
    PolicyStatus,
    PoolStatus,
    Service,
    ServiceKey,
)

# --- Kernel --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetSession:
    id: int
    session: Session


@dataclass(frozen=True, slots=True)
class SetEntries:
    """Removals first, then fills."""

    id: int
    remove: frozenset[EntryKey]
    put: Mapping[EntryKey, EntryValue]


@dataclass(frozen=True, slots=True)
class ForgetSeen:
    """What the kernel remembers of these addresses, which have no entry, makes room for others. No answer."""

    addresses: frozenset[Address]


@dataclass(frozen=True, slots=True)
class SetAttachments:
    """The devices that the responder shall be attached to: all of these, and no others. AttachmentsSeen tells,
    then and whenever it changes, where that is done and where it could not be."""

    id: int
    interfaces: Mapping[int, bytes]
    """By ifindex: the MAC, which other devices of this node may hear."""


@dataclass(frozen=True, slots=True)
class JoinGroups:
    """The solicited-node groups that the node's devices shall hear: those of these addresses, and no others."""

    members: frozenset[tuple[Address, int]]
    """Address and ifindex."""


# --- Frames --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Announcement:
    """GARPs (request and reply form) or an unsolicited NA, for one address on one device."""

    address: Address
    ifindex: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class SendFrames:
    id: int
    announcements: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class Solicitation:
    """An ARP request, or an NS, from an address of this node: is ``target`` there?"""

    ifindex: int
    mac: bytes
    source: Address
    target: Address


@dataclass(frozen=True, slots=True)
class SendSolicitations:
    """Best effort, no answer of its own: who is there becomes SegmentHeard."""

    solicitations: tuple[Solicitation, ...]


@dataclass(frozen=True, slots=True)
class ProbeAddress:
    """Whether anybody on that device's segment has the address, asked before it is first given (RFC 5227, 2.1.1;
    RFC 4862, 5.4). Takes about a second; answered by exactly one AddressProbed."""

    id: int
    address: Address
    ifindex: int
    kin: frozenset[str]
    """MACs of this node, and of the others that live: that one of them asks the same is no claim."""


@dataclass(frozen=True, slots=True)
class CancelProbes:
    """The ProbeAddress of these ids need not be carried on; what they are answered is nothing to anybody."""

    ids: frozenset[int]


# --- Leases --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """One request about one Lease.

    ``update`` is a PUT that carries uid and resourceVersion; ``delete`` has both as preconditions; ``get`` is
    without resourceVersion (a read that decides). The answer must have come before ``deadline`` (boottime
    nanoseconds), or the request has failed.
    """

    id: int
    verb: Literal["get", "create", "update", "delete"]
    lease: Lease
    deadline: int
    own_connection: bool = False
    """True for this node's presence: renewals wait behind nothing else."""


# --- Status and events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PatchService:
    """Service status: strategic merge with the uid and, unless it is 0, the resourceVersion that are known; touches
    only what is ours.

    ``ingress`` None leaves the addresses alone. ``conditions`` are set; those in ``drop`` (types) removed.
    """

    id: int
    service: Service
    ingress: tuple[str, ...] | None
    conditions: tuple[Condition, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadService:
    """A Service as it is now: without resourceVersion (a read that decides)."""

    id: int
    service: ServiceKey


@dataclass(frozen=True, slots=True)
class PatchPool:
    id: int
    name: str
    resource_version: int
    status: PoolStatus


@dataclass(frozen=True, slots=True)
class PatchPolicy:
    id: int
    name: str
    resource_version: int
    status: PolicyStatus


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """A Kubernetes Event about a Service; best effort, no answer."""

    service: ServiceKey
    uid: str
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WatchServices:
    """List and watch Services of every type (``all_types``, as external addresses need), or LoadBalancers alone."""

    all_types: bool


@dataclass(frozen=True, slots=True)
class Relist:
    """List this kind again: what was seen of it holds no more."""

    kind: Kind


# --- The process ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A decision for the log: once, at the place that took it, as key=value."""

    level: Literal["info", "warning", "error"]
    event: str
    fields: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Finish:
    """The agent has let go of everything (or must stop for good); the process ends with this exit status."""

    status: int
    reason: str


Effect: TypeAlias = (
    SetSession
    | SetEntries
    | ForgetSeen
    | SetAttachments
    | JoinGroups
    | SendFrames
    | SendSolicitations
    | ProbeAddress
    | CancelProbes
    | LeaseRequest
    | PatchService
    | ReadService
    | PatchPool
    | PatchPolicy
    | EmitEvent
    | WatchServices
    | Relist
    | Note
    | Finish
)
