# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Has the responder on the devices that the decider names, and on no others.

Once a second it is looked again: what somebody else has taken away, or placed his program before,
is put back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from herald.core.effects import SetAttachments
from herald.core.events import AttachmentsSeen
from herald.core.model import MILLISECOND
from herald.shell.counters import Counters
from herald.shell.log import said_by

TELL_AFTER = 250 * MILLISECOND
"""The kernel takes some milliseconds for each device, and a node may have hundreds: those that have
their responder already are told meanwhile."""

log = logging.getLogger(__name__)


class Responder(Protocol):
    def attach(self, ifindex: int) -> None: ...

    def detach(self, ifindex: int) -> None: ...

    def attached(self) -> Iterable[int]: ...

    def set_own(self, macs: Mapping[int, bytes]) -> None: ...


class Attacher:
    """Used by one thread, which may wait for the kernel as long as it takes."""

    def __init__(
        self,
        responder: Responder,
        post: Callable[[AttachmentsSeen], None],
        complain: Callable[[str], None],
        counters: Counters,
        clock: Callable[[], int],
    ) -> None:
        """``complain``: hears what fails at the moment, or that nothing does."""
        self._responder = responder
        self._post = post
        self._complain = complain
        self._counters = counters
        self._clock = clock
        self._attached: frozenset[int] = frozenset()
        """Where the responder was when last looked at."""
        self._refused: Mapping[int, str] = {}
        """By ifindex: why it could not be attached."""
        self._told: AttachmentsSeen | None = None

    def set(self, wish: SetAttachments) -> None:
        """Attach and detach by difference. A device may go between the wish and the deed."""
        wanted = frozenset(wish.interfaces)
        try:
            # Before any of them hears another.
            self._responder.set_own(wish.interfaces)
            present = frozenset(self._responder.attached())
        except Exception as error:
            self._look_failed(wish, said_by(error))
            return
        errors = [self._detach(ifindex) for ifindex in sorted(present - wanted)]
        before, self._attached, self._refused = self._attached, present & wanted, {}
        tell_at = self._clock() + TELL_AFTER
        for ifindex in sorted(wanted - present):
            self._attach(ifindex)
            if self._clock() >= tell_at:
                self._tell(wish)
                tell_at = self._clock() + TELL_AFTER
        # Detached behind our back, or somebody's program was placed before it.
        if restored := before & self._attached - present:
            self._counters.restored += len(restored)
            where = ", ".join(map(str, sorted(restored)))
            log.warning("attachment-restored", extra={"fields": {"interfaces": where}})
        self._tell(wish)
        self._complain("; ".join(filter(None, [*errors, *self._refused.values()])))

    def _look_failed(self, wish: SetAttachments, error: str) -> None:
        """It tells nothing: where the responder was seen it is taken to be still, until a look succeeds."""
        wanted = frozenset(wish.interfaces)
        self._attached &= wanted
        self._refused = {
            ifindex: self._refused.get(ifindex, error) for ifindex in wanted - self._attached
        }
        self._tell(wish)
        self._complain(error)

    def _attach(self, ifindex: int) -> None:
        try:
            self._responder.attach(ifindex)
        except Exception as error:
            self._refused = {**self._refused, ifindex: said_by(error)}
        else:
            self._attached |= {ifindex}

    def _detach(self, ifindex: int) -> str:
        try:
            self._responder.detach(ifindex)
        except Exception as error:
            return said_by(error)
        return ""

    def _tell(self, wish: SetAttachments) -> None:
        seen = AttachmentsSeen(wish.id, self._attached, self._refused)
        if seen != self._told:
            self._told = seen
            self._post(seen)
