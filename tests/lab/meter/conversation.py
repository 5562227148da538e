# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A long-lived TCP connection beside the datagrams: what becomes of it when the address moves.

Datagrams show when new flows are served again; users also hold connections that are older than the
failure. One connection exchanges a numbered line every 100 ms with a line-echo server for as long
as the measurement lasts. It is never made anew: its fate is the result.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from dataclasses import dataclass

from clock import MS, Clock

LINE_INTERVAL = 100 * MS
PATIENCE = 3 * LINE_INTERVAL  # a longer wait for an answer is called a pause


@dataclass(frozen=True, slots=True)
class Pause:
    """No line came back between `start` and `end` (ns; None: not over at the end)."""

    start: int
    end: int | None


class Conversation:
    """One connection to (`address`, `port`), driven by `tick` and `ready`; nothing blocks."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_line = Clock.now()
        self.connected: int | None = None
        self.ended: int | None = None
        self.reason = ""
        self.lines = 0  # answered
        self.pauses: list[Pause] = []
        self._end_fate = ""
        self._sent = 0
        self._last_answer = 0
        self._unsent = b""
        self._received = b""
        code = self.socket.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            self._end(Clock.now(), "not connected", _name(code))

    def interest(self) -> int:
        """The epoll events to wait for."""
        return select.EPOLLIN if self.connected else select.EPOLLIN | select.EPOLLOUT

    def ready(self, now: int) -> None:
        """The socket has something: a connection made, lines, or its end."""
        if self.ended is not None:
            return
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(now, "reset", _name(code))
            return
        if self.connected is None:
            self.connected = self._last_answer = now
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(now, "reset", _name(error.errno))
            return
        if not data:
            self._end(now, "closed", "by the peer")
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if self.ended is None:
                self._answered(line, now)

    def tick(self, now: int) -> None:
        """Say the next line if it is due."""
        if self.ended is not None or now < self.next_line:
            return
        self.next_line = max(self.next_line + LINE_INTERVAL, now)
        if self.connected is None:
            return
        self._unsent += b"%d\n" % self._sent
        self._sent += 1
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(now, "reset", _name(error.errno))

    def close(self, now: int) -> None:
        """The measurement is over: a pause not over yet is part of the result."""
        if self.ended is None and self.connected is not None:
            self._note_pause(now, over=False)
        self.socket.close()

    @property
    def fate(self) -> str:
        """What became of it, in one or two words.

        `not connected`; ended: `reset`, `closed` or `unusable` (the server does not echo lines);
        `stalled` at the end; `paused`, but went on; `survived`.
        """
        if self.connected is None:
            return "not connected"
        if self.ended is not None:
            return self._end_fate
        if self.pauses and self.pauses[-1].end is None:
            return "stalled"
        return "paused" if self.pauses else "survived"

    def _answered(self, line: bytes, now: int) -> None:
        words = line.split()
        if not words or words[0] != b"%d" % self.lines:
            self._end(
                now, "unusable", f"no line-echo server: {line[:40]!r} answers line {self.lines}"
            )
            return
        self.lines += 1
        self._note_pause(now, over=True)
        self._last_answer = now

    def _note_pause(self, now: int, *, over: bool) -> None:
        if now - self._last_answer > PATIENCE:
            self.pauses.append(Pause(self._last_answer, now if over else None))

    def _end(self, now: int, fate: str, reason: str) -> None:
        if self.connected is not None:
            self._note_pause(now, over=True)
        self.ended, self.reason, self._end_fate = now, reason, fate
        self.socket.close()


def _name(code: int | None) -> str:
    return f"{errno.errorcode.get(code or 0, 'unknown error')}: {os.strerror(code or 0)}"
