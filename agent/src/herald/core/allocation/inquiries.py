# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Does anybody on the segment have this address? Asked before an address is first given (RFC 5227, 2.1.1).

How a segment is asked, and for how long, is the shell's (net/duplicates.py). An answer settles it; silence on every
segment means that the address may be given, and so does a segment that could not be asked: an address that is in
use by others is then found out when it is announced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from herald.core.effects import CancelProbes, ProbeAddress
from herald.core.events import AddressProbed
from herald.core.model import SECOND, Address
from herald.core.outbox import Outbox

AT_ONCE = 500
"""Addresses that are asked about at the same time."""
LIMIT = 20 * SECOND
"""After so long no answer is waited for; with so many at once one takes two seconds."""


@dataclass(slots=True)
class _Inquiry:
    open: set[int]
    """The questions that are not answered yet, one for each segment."""
    until: int


class Inquiries:
    """Which addresses are being asked about, and what came of it."""

    def __init__(self, outbox: Outbox, kin: Callable[[], frozenset[str]]) -> None:
        """``kin``: the MACs of the cluster's own stations."""
        self._out = outbox
        self._kin = kin
        self._open: dict[Address, _Inquiry] = {}
        """In the order in which they were begun, and will be over."""
        self._questions: dict[int, Address] = {}
        self._waiting: deque[tuple[Address, tuple[int, ...]]] = deque()
        self._verdicts: list[tuple[Address, bytes | None]] = []

    def ask(self, address: Address, on: Iterable[int], known: bytes | None = None) -> None:
        """Begin to ask on these devices, by ifindex; one verdict comes from :meth:`verdicts`, at once where there
        is no device to ask on, or where it is ``known`` who has the address."""
        devices = tuple(sorted(on))
        if known is not None or not devices:
            self._verdicts.append((address, known))
        else:
            self._waiting.append((address, devices))

    def answer(self, answer: AddressProbed) -> None:
        address = self._questions.pop(answer.effect, None)
        if address is None:
            return
        if answer.error:
            self._out.note(
                "segment not asked", level="warning", address=str(address), error=answer.error
            )
        inquiry = self._open[address]
        inquiry.open.discard(answer.effect)
        if answer.mac is not None or not inquiry.open:
            self._close(address, answer.mac)

    def clear(self) -> None:
        if self._questions:
            self._out.add(CancelProbes(frozenset(self._questions)))
        self._open.clear()
        self._questions.clear()
        self._waiting.clear()
        self._verdicts.clear()

    def next_deadline(self) -> int | None:
        if self._verdicts or (self._waiting and len(self._open) < AT_ONCE):
            return 0
        return next((inquiry.until for inquiry in self._open.values()), None)

    def verdicts(self, now: int) -> list[tuple[Address, bytes | None]]:
        """Ask what is to be asked. The addresses about which enough is known, each with the MAC of who has it, or
        None."""
        while (first := next(iter(self._open), None)) and now >= self._open[first].until:
            self._close(first, None)
        kin = self._kin() if self._waiting else frozenset()
        while self._waiting and len(self._open) < AT_ONCE:
            address, devices = self._waiting.popleft()
            inquiry = self._open[address] = _Inquiry(set(), now + LIMIT)
            for ifindex in devices:
                number = self._out.new_id()
                inquiry.open.add(number)
                self._questions[number] = address
                self._out.add(ProbeAddress(number, address, ifindex, kin))
        found, self._verdicts = self._verdicts, []
        return found

    def _close(self, address: Address, mac: bytes | None) -> None:
        for number in self._open.pop(address).open:
            self._questions.pop(number, None)
        self._verdicts.append((address, mac))
