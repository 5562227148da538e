# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder in the kernel is told, and what it tells.

The values that cross the border between the deciding core and the kernel's maps. All times are
nanoseconds of CLOCK_BOOTTIME on this machine, 0 meaning never; a MAC is 6 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from herald.core.model import Address

MAC_LENGTH = 6


class EntryFlags(IntFlag):
    """What the responder does for an address besides ARP and NDP."""

    NONE = 0
    ANSWER_PING = 1


@dataclass(frozen=True, slots=True, order=True)
class EntryKey:
    """An address on one interface: what the responder looks up for each request."""

    address: Address
    ifindex: int

    def __post_init__(self) -> None:
        if not 0 < self.ifindex < 1 << 31:
            raise ValueError(f"ifindex: wanted 1 to 2^31 - 1, found {self.ifindex}")


@dataclass(frozen=True, slots=True)
class EntryValue:
    """How an address is answered: with whose MAC, and since which claim.

    ``claimed`` identifies the claim: an entry that a conflict has silenced stays silent, on every
    interface, until a newer claim fills it.
    """

    mac: bytes
    claimed: int
    flags: EntryFlags = EntryFlags.NONE

    def __post_init__(self) -> None:
        if len(self.mac) != MAC_LENGTH:
            raise ValueError(f"mac: wanted {MAC_LENGTH} bytes, found {len(self.mac)}")
        if self.claimed <= 0:
            raise ValueError(f"claimed: wanted boot-time nanoseconds over 0, found {self.claimed}")


@dataclass(frozen=True, slots=True)
class Session:
    """Until when the responder may answer; past ``deadline`` it is silent by itself.

    In ``hold`` it goes on past the deadline until ``fuse``, for entries claimed before ``renewed``
    (the moment the last successful renewal was sent) and not contradicted by anybody.
    """

    deadline: int = 0
    fuse: int = 0
    renewed: int = 0
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel counted and saw for one address, on all interfaces, since boot."""

    answered: int
    conflicts: int
    silenced: int
    """``claimed`` of the newest claim that a conflict has silenced; 0: none."""
    foreign_mac: bytes | None
    """Who claimed the address last, if not we."""
    foreign_at: int
    foreign_ifindex: int


class KernelEventKind(Enum):
    """What the kernel reports as it happens."""

    CONFLICT = 1
    """Another MAC claims an address of ours."""
    SILENCED = 2
    """The same, and from now on the address is silent until a new claim."""
    PROBE = 3
    """Somebody asks, by ARP probe or DAD, whether an address of ours is free."""
    FIRST_ANSWER = 4
    """The first answer that an entry gave since its claim."""


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One thing that the kernel saw, with the MAC that it came from."""

    kind: KernelEventKind
    address: Address
    ifindex: int
    mac: bytes
    at: int
