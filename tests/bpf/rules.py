# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What holds for ARP and NDP alike: rows about the session, about conflicts in it, and about frames that are cut."""

from __future__ import annotations

from typing import Any

from scapy.packet import Packet
from tests.bpf.frames import OTHER_MAC
from tests.bpf.table import (
    CLAIMED,
    CONFLICT,
    EXPIRED,
    EXPIRED_WITH_FUSE,
    FIRST_ANSWER,
    HOLD_BURNT,
    HOLD_UNARMED,
    HOLDING,
    PROBE,
    SILENCED,
    VALID_HOLD,
    Counts,
    Row,
    Session,
)

Left = dict[str, Any]
"""``seen`` and ``events`` of a row."""


def asked(vip: str) -> Left:
    """A first answer."""
    return {"seen": {vip: Counts(answered=1)}, "events": (FIRST_ANSWER,)}


def defended(vip: str) -> Left:
    """The same, for a probe."""
    return {"seen": {vip: Counts(answered=1)}, "events": (PROBE, FIRST_ANSWER)}


def claimed(vip: str, by: str = OTHER_MAC) -> Left:
    """A conflict that was counted."""
    return {"seen": {vip: Counts(conflicts=1, foreign=by)}, "events": (CONFLICT,)}


def lost(vip: str) -> Left:
    """A conflict that has silenced the address."""
    seen = {vip: Counts(conflicts=1, silenced=CLAIMED, foreign=OTHER_MAC)}
    return {"seen": seen, "events": (SILENCED,)}


def conflicts(vip: str, claim: Packet) -> list[Row]:
    """What another station's claim does, by the session."""
    counted, silenced = claimed(vip), lost(vip)
    again = {**silenced, "events": (CONFLICT,)}
    return [
        Row("in a valid session, hold mode: counted only", claim, session=VALID_HOLD, **counted),
        Row("past the deadline, not hold: counted only", claim, session=EXPIRED, **counted),
        Row("no session: counted only", claim, session=None, **counted),
        Row("holding: silenced for good", claim, session=HOLDING, **silenced),
        Row("past the deadline, fuse not armed: silenced all the same",
            claim, session=HOLD_UNARMED, **silenced),
        Row("past the deadline, fuse burnt: silenced all the same",
            claim, session=HOLD_BURNT, **silenced),
        Row("silenced before: counted, no second silencing",
            claim, session=HOLDING, silenced=CLAIMED, vips=(vip,), **again),
        Row("an older claim was silenced: this one now",
            claim, session=HOLDING, silenced=CLAIMED - 1, vips=(vip,), **silenced),
    ]  # fmt: skip


def deadlines(vip: str, ask: Packet, answer: Packet, probe: Packet, defence: Packet) -> list[Row]:
    """When a question is answered, and a probe."""
    unconfirmed = [
        ("that no renewal confirmed", CLAIMED - 1),
        ("claimed when the renewal was sent", CLAIMED),
        ("without any renewal", 0),
    ]
    return [
        Row("no session at all", ask, session=None),
        Row("deadline passed", ask, session=EXPIRED),
        Row("deadline passed, probe: seen, not defended", probe, session=EXPIRED, events=(PROBE,)),
        Row("fuse armed, but not in hold mode", ask, session=EXPIRED_WITH_FUSE),
        Row("hold mode, within the deadline", ask, answer, session=VALID_HOLD, **asked(vip)),
        Row("holding on the fuse", ask, answer, session=HOLDING, **asked(vip)),
        Row("holding, probe", probe, defence, session=HOLDING, **defended(vip)),
        Row("hold mode, fuse not armed", ask, session=HOLD_UNARMED),
        Row("hold mode, fuse burnt", ask, session=HOLD_BURNT),
        *(Row(f"holding an entry {what}", ask,
              session=Session(deadline=-1, fuse=10**12, renewed=renewed, hold=True))
          for what, renewed in unconfirmed),
        Row("silenced, in a valid session: no renewal ends it", ask, silenced=CLAIMED),
        Row("silenced, holding", ask, session=HOLDING, silenced=CLAIMED),
        Row("silenced, a claim before mine", ask, answer, silenced=CLAIMED - 1, vips=(vip,),
            seen={vip: Counts(answered=1, silenced=CLAIMED - 1)}, events=(FIRST_ANSWER,)),
    ]  # fmt: skip


def truncated(what: str, frame: Packet, shortest: int) -> list[Row]:
    """A frame cut at every byte: nothing is answered or seen."""
    whole = bytes(frame)
    return [Row(f"{what} of {size} bytes", whole[:size]) for size in range(shortest, len(whole))]
