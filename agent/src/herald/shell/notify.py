# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how the agent does (sd_notify(3)), by the protocol itself: one datagram a
message."""

from __future__ import annotations

import logging
import os
import socket
from array import array
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Says nothing where systemd did not ask for it (no NOTIFY_SOCKET), and never waits or
    raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._socket: socket.socket | None = None
        self._status = ""
        self.watchdog_ns = _watchdog(environment)
        """systemd expects a sign of life this often, in nanoseconds; 0: it does not."""

    def ready(self) -> None:
        self._send("READY=1")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._status = status
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={_line(text)}")

    def store(self, descriptor: int, name: str) -> None:
        """Have systemd keep a duplicate of this descriptor for the next process of the unit."""
        self._send(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", descriptor)

    def forget(self, name: str) -> None:
        """Have systemd close what it keeps under this name."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, *descriptors: int) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
                )
            # Not socket.send_fds: in Python 3.11 it forgets the address.
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
            self._socket.sendmsg(
                [message.encode()], rights if descriptors else [], 0, self._address
            )
        except OSError as error:
            log.debug("notify-failed", extra={"fields": {"error": str(error)}})


def _watchdog(environment: Mapping[str, str]) -> int:
    """sd_watchdog_enabled(3): the variables may be meant for another process."""
    try:
        if int(environment.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return 0
        return max(0, int(environment.get("WATCHDOG_USEC", "0"))) * 1000
    except ValueError:
        return 0


def _line(text: str) -> str:
    return text.replace("\n", " ")
