# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder may answer: as confirmed by the kernel, and as asked of it.

Until a removal is confirmed its entry counts as present, and a fill counts from the moment it is asked:
``may_answer`` is never too small.

A removal waits until no program that saw the entry is running, however many entries it is about: all that one step
removes is asked as one (``ask``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from herald.core.effects import SetEntries, SetSession
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import MILLISECOND, Address
from herald.core.outbox import Outbox

RETRY = 100 * MILLISECOND


@dataclass(slots=True)
class _Asked:
    remove: frozenset[EntryKey] = frozenset()
    put: Mapping[EntryKey, EntryValue] = field(default_factory=dict)
    session: Session | None = None


class KernelMap:
    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._entries: dict[Address, dict[int, EntryValue]] = {}
        self._asked: dict[int, _Asked] = {}
        self._going: set[EntryKey] = set()
        """To be removed; ``ask`` does."""
        self._filled_at = 0
        self.session = Session()
        self._silenced: dict[Address, int] = {}
        """By address: the newest claim that a conflict has silenced."""
        self._inherited: set[Address] = set()
        self._entries_again: int | None = None
        """The kernel refused entries: no more are asked of it until then. None: it did not."""
        self._session_again: int | None = None
        """The same of the session, which does not wait for entries that are refused."""
        self._waiting: set[Address] = set()
        """To be filled once the session says that no renewal confirms them."""
        self._refusals: dict[str, str] = {}
        """Of entries, of the session: the error that the log has told, until one is taken."""

    def read(
        self,
        session: Session,
        entries: Mapping[EntryKey, EntryValue],
        silenced: Mapping[Address, int],
    ) -> None:
        self.session = session
        self._silenced = dict(silenced)
        self._entries = {}
        for key, value in entries.items():
            self._entries.setdefault(key.address, {})[key.ifindex] = value
        self._inherited = set(self._entries)

    def conflict(self, address: Address) -> None:
        """A conflict has silenced what is answered for an address: for good, only a newer claim ends that."""
        newest = max((entry.claimed for entry in self.entries(address).values()), default=0)
        self._silenced[address] = max(newest, self._silenced.get(address, 0))

    def silenced(self, silenced: Mapping[Address, int]) -> list[Address]:
        """The kernel was looked at: the addresses of which that is news."""
        news = {a: claim for a, claim in silenced.items() if claim > self._silenced.get(a, 0)}
        self._silenced.update(news)
        return list(news)

    @property
    def retry_at(self) -> int | None:
        """When the kernel may next be asked for what it refused; None: it refused nothing."""
        return min(
            (at for at in (self._entries_again, self._session_again) if at is not None),
            default=None,
        )

    @property
    def broken(self) -> bool:
        return self.retry_at is not None

    @property
    def takes_entries(self) -> bool:
        return self._entries_again is None

    @property
    def takes_session(self) -> bool:
        return self._session_again is None

    def answer(self, effect: int, error: str, now: int) -> frozenset[Address]:
        """Take the kernel's answer; the addresses that it is about."""
        asked = self._asked.pop(effect, None)
        if asked is None:
            return frozenset()
        what = "entries" if asked.session is None else "session"
        if error:
            if asked.session is None:
                self._entries_again = now + RETRY
            else:
                self._session_again = now + RETRY
            if error != self._refusals.get(what):
                self._out.note("kernel refused", level="error", what=what, error=error)
            self._refusals[what] = error
        else:
            self._refusals.pop(what, None)
            self._apply(asked)
            if asked.put:
                self._filled_at = now
            if asked.session is not None:
                waiting, self._waiting = self._waiting, set()
                return frozenset(waiting)
        return frozenset(key.address for key in (*asked.remove, *asked.put))

    def retry(self, now: int) -> bool:
        """Whether what the kernel refused may be asked again now."""
        before = self._entries_again, self._session_again
        self._entries_again, self._session_again = (
            None if at is None or at <= now else at for at in before
        )
        return before != (self._entries_again, self._session_again)

    def _apply(self, asked: _Asked) -> None:
        for key in asked.remove:
            on_address = self._entries.get(key.address, {})
            on_address.pop(key.ifindex, None)
            if not on_address:
                self._entries.pop(key.address, None)
        for key, value in asked.put.items():
            self._entries.setdefault(key.address, {})[key.ifindex] = value
        if asked.session is not None:
            self.session = asked.session

    # --- what it holds ---------------------------------------------------------------------------------

    def addresses(self) -> frozenset[Address]:
        return frozenset(self._entries)

    def entries(self, address: Address) -> Mapping[int, EntryValue]:
        """By ifindex, as confirmed."""
        return self._entries.get(address, {})

    def devices(self) -> set[int]:
        """Where anything is answered."""
        return {index for entries in self._entries.values() for index in entries}

    def inherits(self, address: Address) -> bool:
        """Whether its entries are those that a process before this one left, and nobody has touched since."""
        return address in self._inherited

    def silences(self, address: Address, claimed: int) -> bool:
        """Whether a conflict has silenced that claim."""
        return claimed <= self._silenced.get(address, 0)

    def may_answer(self, address: Address) -> bool:
        return address in self._entries or any(
            key.address == address for asked in self._asked.values() for key in asked.put
        )

    @property
    def silent(self) -> bool:
        """Confirmed: no entry and no deadline."""
        return not self._entries and not self._asked and self.session.deadline == 0

    # --- what is asked of it ---------------------------------------------------------------------------

    @property
    def answers_until(self) -> int:
        """The latest deadline that may stand in the kernel: the confirmed one, or one that is being set."""
        asked = [a.session.deadline for a in self._asked.values() if a.session is not None]
        return max([self.session.deadline, *asked])

    @property
    def intended(self) -> Session:
        """The session that was asked for last, confirmed or not."""
        asked = [a.session for a in self._asked.values() if a.session is not None]
        return asked[-1] if asked else self.session

    def set_session(self, session: Session) -> None:
        if not self.takes_session or session == self.intended:
            return
        number = self._out.new_id()
        self._asked[number] = _Asked(session=session)
        self._out.add(SetSession(number, session))

    def confirms(self, sent: int) -> bool:
        """Whether a renewal sent at that moment was sent after every entry was there, and none is about to be.

        Only such a one lets entries be held past the deadline (rule 8): a renewal from before a fill says
        nothing about a fill that was late.
        """
        if self._waiting or any(asked.put for asked in self._asked.values()):
            return False
        return sent >= self._filled_at

    def fill(self, address: Address, entries: Mapping[int, EntryValue]) -> bool:
        """Whether it was asked for; if not, the address is among those of an answer as soon as it may be.

        The responder compares the claim with the last renewal, and one from before this fill does not confirm it: the
        session must have been taken back before.
        """
        oldest = min((value.claimed for value in entries.values()), default=0)
        if self.intended.renewed > oldest:
            self.set_session(replace(self.intended, renewed=oldest))
        if self.session.renewed > oldest:
            self._waiting.add(address)
            return False
        put = {EntryKey(address, index): value for index, value in entries.items()}
        if not self._going.isdisjoint(put):
            self.ask()
        self._set(frozenset(), put)
        return True

    def withdraw(self, addresses: Collection[Address]) -> None:
        """Remove all entries of these addresses, and those that are being filled; asked for once, until answered."""
        remove = {
            EntryKey(address, index)
            for address in addresses
            for index in self._entries.get(address, {})
        }
        for asked in self._asked.values():
            remove -= asked.remove
            remove |= {key for key in asked.put if key.address in addresses}
        self._remove(remove)

    def remove(self, address: Address, indexes: Iterable[int]) -> None:
        self._remove({EntryKey(address, index) for index in indexes})

    def leave(self, indexes: Collection[int]) -> None:
        """Remove whatever is answered on these devices."""
        for address, entries in self._entries.items():
            self.remove(address, entries.keys() & indexes)

    def ask(self) -> None:
        """The step is over: ask for all that it removes."""
        going, self._going = self._going, set()
        self._set(frozenset(going), {})

    def silence(self) -> None:
        """Empty the map and zero the deadline (rule 2); ``silent`` tells when that is confirmed."""
        if self._asked or self.silent or self.broken:
            return
        self.set_session(Session(hold=self.session.hold))
        self.withdraw(self.addresses())

    def _remove(self, keys: set[EntryKey]) -> None:
        if self.takes_entries:
            self._inherited.difference_update(key.address for key in keys)
            self._going |= keys

    def _set(self, remove: frozenset[EntryKey], put: Mapping[EntryKey, EntryValue]) -> None:
        if not self.takes_entries or not (remove or put):
            return
        self._inherited.difference_update(key.address for key in put)
        number = self._out.new_id()
        self._asked[number] = _Asked(remove=remove, put=put)
        self._out.add(SetEntries(number, remove, put))
