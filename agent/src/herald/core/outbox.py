# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The order in which effects were decided, and their numbers."""

from __future__ import annotations

from typing import Literal

from herald.core.effects import Effect, Note


class Outbox:
    """Collects the effects of one step. Ids are unique for the process's life, so that an answer to a
    request that nobody waits for any more is recognised as void."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._last_id = 0

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def add(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note(
        self,
        event: str,
        *,
        level: Literal["info", "warning", "error"] = "info",
        **fields: str | int,
    ) -> None:
        """Log a decision, once, from where it was taken."""
        self.add(Note(level=level, event=event, fields=fields))

    def drain(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
