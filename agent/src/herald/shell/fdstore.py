# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Sockets that outlive the process: systemd keeps them while it starts the next one.

Memberships in multicast groups belong to sockets. Without this, a killed agent's memberships would
end with it, and NIC filters and MLD snooping would drop solicitations for addresses that the kernel
still answers for. The next process keeps the inherited sockets until it has joined by itself.

Protocol: sd_notify(3) FDSTORE=1 and FDSTOREREMOVE=1, sd_listen_fds(3) on the way back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from herald.shell.notify import Notifier

KEEP = 15 * 1_000_000_000
"""Nanoseconds that inherited sockets are kept: more than lists and claims take after a restart."""
_FIRST = 3


class Descriptor(Protocol):
    def fileno(self) -> int: ...


class FdStore:
    """Names are this process's own, so that it can take back what it stored, and nothing else."""

    def __init__(
        self,
        notifier: Notifier,
        prefix: str,
        clock: Callable[[], int],
        environment: Mapping[str, str] = os.environ,
        close: Callable[[int], None] = os.close,
    ) -> None:
        """``prefix``: another one for each process, of letters, digits and dashes."""
        self._notifier = notifier
        self._prefix = prefix
        self._clock = clock
        self._close = close
        self._names: dict[int, str] = {}
        self._number = 0
        self._inherited = _inherited(environment)
        self._until = clock() + KEEP

    def keep(self, socket: Descriptor) -> None:
        """Have systemd hold a duplicate."""
        self._number += 1
        descriptor = socket.fileno()
        self._names[descriptor] = f"{self._prefix}-{self._number}"
        self._notifier.store(descriptor, self._names[descriptor])

    def drop(self, socket: Descriptor) -> None:
        """Have systemd let go of it; call it before the socket is closed."""
        name = self._names.pop(socket.fileno(), None)
        if name is not None:
            self._notifier.forget(name)

    def tidy(self) -> None:
        """At the slow tick: let go of what the process before this one left, when its time is up."""
        if self._inherited and self._clock() >= self._until:
            for descriptor, name in self._inherited.items():
                self._notifier.forget(name)
                self._close(descriptor)
            self._inherited.clear()

    @property
    def inherited(self) -> int:
        """How many sockets of an earlier process are still kept."""
        return len(self._inherited)


def _inherited(environment: Mapping[str, str]) -> dict[int, str]:
    """Descriptors that were passed to this very process, and their names."""
    try:
        if int(environment.get("LISTEN_PID", "0")) != os.getpid():
            return {}
        count = int(environment.get("LISTEN_FDS", "0"))
    except ValueError:
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += ["unknown"] * (count - len(names))
    for descriptor in range(_FIRST, _FIRST + count):
        os.set_inheritable(descriptor, False)
    return dict(zip(range(_FIRST, _FIRST + count), names, strict=False))
