# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A responder as bpf/responder.c decides: entries, a deadline and a fuse that count whatever becomes of the agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import Address


@dataclass
class Kernel:
    session: Session = field(default_factory=Session)
    entries: dict[EntryKey, EntryValue] = field(default_factory=dict)
    silenced: dict[Address, int] = field(default_factory=dict)
    """The newest claim that a conflict has silenced."""
    _by_address: dict[Address, dict[EntryKey, EntryValue]] = field(default_factory=dict)

    def change(self, remove: frozenset[EntryKey], put: Mapping[EntryKey, EntryValue]) -> None:
        """Removals first, then fills."""
        for key in remove:
            self.entries.pop(key, None)
            there = self._by_address.get(key.address, {})
            there.pop(key, None)
            if not there:
                self._by_address.pop(key.address, None)
        for key, value in put.items():
            self.entries[key] = value
            self._by_address.setdefault(key.address, {})[key] = value

    def answers_for(self, address: Address, now: int) -> bool:
        """Until the deadline; past it, until the fuse, what may be held (rules 1 and 8)."""
        session = self.session
        before = now < session.deadline
        if not before and not (session.hold and now < session.fuse):
            return False
        silenced = self.silenced.get(address, 0)
        return any(
            entry.claimed > silenced and (before or entry.claimed < session.renewed)
            for entry in self._by_address.get(address, {}).values()
        )

    def answers(self, now: int) -> set[Address]:
        return {address for address in self._by_address if self.answers_for(address, now)}

    def claim_of(self, address: Address) -> int:
        """The newest claim of an address; 0: it has no entry."""
        return max((e.claimed for e in self._by_address.get(address, {}).values()), default=0)

    def conflict(self, address: Address, now: int) -> bool:
        """Another MAC claims the address; past the deadline, in hold mode, that silences it."""
        claim = self.claim_of(address)
        if not claim or not self.session.hold or now < self.session.deadline:
            return False
        self.silenced[address] = max(claim, self.silenced.get(address, 0))
        return True
