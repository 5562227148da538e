# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder in the kernel is told: its session and its entries.

The bytes of these values are laid out by ``datapath``; their meaning is the election's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from herald.core.model import Address


class EntryFlags(enum.IntFlag):
    NONE = 0
    ANSWER_PING = 1


@dataclass(frozen=True, slots=True)
class EntryKey:
    address: Address
    ifindex: int


@dataclass(frozen=True, slots=True)
class EntryValue:
    mac: bytes
    claimed: int
    """Boottime nanoseconds of the claim that filled the entry; an entry silenced by a conflict stays so
    until a claim with another value fills it."""
    flags: EntryFlags = EntryFlags.NONE


@dataclass(frozen=True, slots=True)
class Session:
    """What bounds all entries at once. Boottime nanoseconds; 0 is silence."""

    deadline: int = 0
    """Past it the responder answers nothing, unless it may hold."""
    fuse: int = 0
    """Past the deadline, in hold mode: answers go on until then."""
    renewed: int = 0
    """When the last successful renewal was sent; only entries claimed before it may be held."""
    hold: bool = False
