# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder on tcx ingress (kernel 6.6 and newer): first in the chain, by a pinned link.

The link outlives the agent, so a restart interrupts nothing. A program of another source in it is
replaced in place: no frame meets an interface without one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from herald.datapath import loader
from herald.datapath.bpf import (
    BPF_F_BEFORE,
    BPF_LINK_CREATE,
    BPF_LINK_DETACH,
    BPF_LINK_UPDATE,
    BPF_PROG_QUERY,
    BPF_TCX_INGRESS,
    DatapathError,
    bpf,
    hint,
    obj_get,
    obj_info,
    obj_pin,
)

_LOOPBACK = 1
_MOST_PROGRAMS = 64  # BPF_MPROG_MAX in kernel/bpf/mprog.c


def supported() -> bool:
    """Does this kernel have tcx? Asks what is attached to the loopback device."""
    try:
        bpf(BPF_PROG_QUERY, struct.pack("=II", _LOOPBACK, BPF_TCX_INGRESS))
    except OSError as refused:
        return refused.errno != errno.EINVAL
    return True


class _Link(NamedTuple):
    """struct bpf_link_info of a tcx link; ifindex 0: detached, or its device is gone."""

    program_id: int
    ifindex: int


class Tcx:
    """Attachments of one program, each a pin ``link-<ifindex>`` in the folder of the pins."""

    def __init__(self, folder: Path, program: int) -> None:
        self._folder = folder
        self._program = program
        self._program_id = struct.unpack_from("=I", obj_info(program), 4)[0]

    def attach(self, ifindex: int) -> None:
        """Have the program first on an interface. Raises DatapathError."""
        pin = self._pin(ifindex)
        try:
            if pin.exists():
                with _open(pin) as fd:
                    if self._adopt(fd, ifindex) and self._is_first(ifindex):
                        return
                    # Of a device that is gone, detached behind our back, or behind somebody else's
                    # program. (A program can be on the hook once: the old link goes first.)
                    _detach(fd)
                pin.unlink()
            self._create(ifindex, pin)
        except OSError as failed:
            raise DatapathError(f"tcx on interface {ifindex}: {hint(failed)}") from failed

    def _adopt(self, fd: int, ifindex: int) -> bool:
        """Have this program in a link that is there; False where it is attached to nothing."""
        held = _link(fd)
        if held.ifindex != ifindex:
            return False
        if held.program_id != self._program_id:
            bpf(BPF_LINK_UPDATE, struct.pack("=II", fd, self._program))
        return True

    def _create(self, ifindex: int, pin: Path) -> None:
        attr = struct.pack("=IIIII", self._program, ifindex, BPF_TCX_INGRESS, BPF_F_BEFORE, 0)
        fd = bpf(BPF_LINK_CREATE, attr)
        try:
            obj_pin(fd, pin)
        finally:
            os.close(fd)

    def _is_first(self, ifindex: int) -> bool:
        """Is nobody's program before ours, that could hide requests from it?"""
        programs = (ctypes.c_uint32 * _MOST_PROGRAMS)()
        attr = struct.pack(
            "=IIIIQI",
            *(ifindex, BPF_TCX_INGRESS, 0, 0, ctypes.addressof(programs), len(programs)),
        )
        bpf(BPF_PROG_QUERY, attr)
        return bool(programs[0] == self._program_id)

    def detach(self, ifindex: int) -> None:
        """Have no program of ours on an interface. Raises DatapathError."""
        pin = self._pin(ifindex)
        try:
            with _open(pin) as fd:
                _detach(fd)
            pin.unlink()
        except FileNotFoundError:
            return
        except OSError as failed:
            raise DatapathError(f"tcx on interface {ifindex}: {hint(failed)}") from failed

    def attached(self) -> frozenset[int]:
        """The interfaces that the program is first on now, by the kernel's word."""
        found = set()
        for ifindex, pin in loader.interface_pins(self._folder, loader.LINK).items():
            try:
                with _open(pin) as fd:
                    if _link(fd) == _Link(self._program_id, ifindex) and self._is_first(ifindex):
                        found.add(ifindex)
            except OSError as gone:  # its device went, or its pin
                if gone.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
        return frozenset(found)

    def close(self) -> None:
        """Nothing to let go of: every link is pinned."""

    def _pin(self, ifindex: int) -> Path:
        return loader.interface_pin(self._folder, loader.LINK, ifindex)


@contextmanager
def _open(pin: Path) -> Iterator[int]:
    fd = obj_get(pin)
    try:
        yield fd
    finally:
        os.close(fd)


def _link(fd: int) -> _Link:
    _type, _id, program_id, _, ifindex = struct.unpack_from("=5I", obj_info(fd))
    return _Link(program_id, ifindex)


def _detach(link: int) -> None:
    try:
        bpf(BPF_LINK_DETACH, struct.pack("=I", link))
    except OSError as failed:
        if failed.errno != errno.ENOLINK:  # the device is gone
            raise
