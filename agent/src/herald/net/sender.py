# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Sends announcements and solicitations out of the node's devices.

An announcement counts as sent when the device has accepted the frame: ``sendto`` took every byte.
What a switch makes of it, nobody here can know.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Protocol, Self

from herald.net.frames import announcement, solicitation

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from herald.core.effects import Announcement, Solicitation
    from herald.core.model import Address


class FrameSocket(Protocol):
    def sendto(self, data: bytes, flags: int, address: tuple[str, int], /) -> int: ...

    def close(self) -> None: ...


def open_packet_socket() -> FrameSocket:
    """A socket that sends whole frames and receives none (protocol 0). Needs CAP_NET_RAW."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


class Sender:
    """One packet socket for all devices; used by the deciding thread alone, and never waits."""

    def __init__(self, frames: FrameSocket) -> None:
        self._frames = frames

    @classmethod
    def open(cls) -> Self:
        return cls(open_packet_socket())

    def send(self, announcements: Iterable[Announcement]) -> str:
        """Send every frame of every announcement; what failed, or "" where each was accepted.

        A device that fails does not keep the others from sending.
        """
        errors: dict[str, None] = {}
        for item in announcements:
            frames = announcement(item.address, item.mac)
            if error := self._send(item.ifindex, item.address, frames):
                errors[error] = None
        return "; ".join(errors)

    def solicit(self, solicitations: Iterable[Solicitation]) -> str:
        """Ask; what failed, or "". Who answers, ``segment`` hears."""
        errors: dict[str, None] = {}
        for item in solicitations:
            frame = solicitation(item.target, item.mac, item.source)
            if error := self._send(item.ifindex, item.target, (frame,)):
                errors[error] = None
        return "; ".join(errors)

    def _send(self, ifindex: int, address: Address, frames: Iterable[bytes]) -> str:
        try:
            name = socket.if_indextoname(ifindex)
        except OSError:
            return f"ENXIO: {address}: no device has index {ifindex}"
        for frame in frames:
            try:
                sent = self._frames.sendto(frame, socket.MSG_DONTWAIT, (name, 0))
            except OSError as error:
                return f"{error_name(error)}: {address} on {name}"
            if sent != len(frame):
                return f"EMSGSIZE: {address} on {name}: {sent} of {len(frame)} bytes sent"
        return ""

    def close(self) -> None:
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def error_name(error: OSError) -> str:
    """ENETDOWN and the like: what the manual pages and everybody's search engine call it."""
    return errno.errorcode.get(error.errno or 0, str(error))
