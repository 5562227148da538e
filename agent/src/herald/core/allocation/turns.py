# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is to be decided.

Who holds or names an address goes before who takes any; within each of the two, whoever waits at the
moment goes in the order of names, and who comes later waits for the next round. So what is given does not
hang on the order in which things were learnt in one go, and nobody waits for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herald.core.model import ServiceKey


class Turns:
    """A queue of Services, each in it at most once."""

    __slots__ = ("_classes", "_members")

    def __init__(self) -> None:
        self._members: set[ServiceKey] = set()
        self._classes: tuple[tuple[list[ServiceKey], list[ServiceKey]], ...] = (([], []), ([], []))
        """First class, second class: those of this round, the next one last, and those of the round after it."""

    def __contains__(self, key: ServiceKey) -> bool:
        return key in self._members

    def add(self, key: ServiceKey, *, first: bool) -> None:
        """Who is in the queue already stays where it is."""
        if key not in self._members:
            self._members.add(key)
            self._classes[not first][1].append(key)

    def next(self) -> ServiceKey | None:
        """Take the next one out; None: nobody waits."""
        for turns, waiting in self._classes:
            if not turns and waiting:
                turns.extend(sorted(waiting, reverse=True))
                waiting.clear()
            if turns:
                key = turns.pop()
                self._members.discard(key)
                return key
        # Nobody is in it: what a set once had room for it keeps until it is cleared.
        self._members.clear()
        return None
