# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Maps, links and test runs by bpf(2): what the agent asks of the kernel, and no library between.

Complements the few calls that ``loader`` has. Offsets and numbers are include/uapi/linux/bpf.h's;
each batch call needs kernel 5.6, tcx 6.6.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from herald.datapath import loader
from herald.datapath.loader import bpf, obj_get, obj_info, obj_pin

__all__ = ["Buffer", "DatapathError", "HashMap", "bpf", "hint", "obj_get", "obj_info", "obj_pin"]

BPF_MAP_LOOKUP_ELEM = 1
BPF_PROG_TEST_RUN = 10
BPF_PROG_QUERY = 16
BPF_MAP_LOOKUP_BATCH = 24
BPF_MAP_UPDATE_BATCH = 26
BPF_MAP_DELETE_BATCH = 27
BPF_LINK_CREATE = 28
BPF_LINK_UPDATE = 29
BPF_LINK_DETACH = 34

BPF_TCX_INGRESS = 46
BPF_F_BEFORE = 1 << 3

_READ = 8192  # elements at once

Buffer = ctypes.Array[ctypes.c_char]


class DatapathError(Exception):
    """The kernel refused, or what it holds is not what was wanted; says what to do."""


def hint(failed: OSError) -> str:
    """What the kernel's refusal of an attachment means here."""
    if failed.errno == errno.EPERM:
        return "not permitted; CAP_BPF and CAP_NET_ADMIN are wanted"
    if failed.errno == errno.EROFS:
        return "bpffs is read-only here; the unit wants ReadWritePaths=/sys/fs/bpf/herald"
    return failed.strerror or str(failed)


def address_of(buffer: Buffer) -> int:
    """Where a buffer is, for an attribute of bpf(2); keep the buffer referenced until the call."""
    return ctypes.addressof(buffer)


class HashMap:
    """A pinned hash map: whole sets of elements, in few calls."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._shape = loader.MAPS[self.name]
        self.fd = open_map(path)

    @property
    def room(self) -> int:
        """For so many elements."""
        return self._shape.max_entries

    def close(self) -> None:
        """Let go of it; the pin stays."""
        os.close(self.fd)

    def put(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Add or replace elements: each key with the value at its place.

        Raises DatapathError where the map is full, saying how many it took; what it held before
        stays.
        """
        if not keys:
            return
        names, contents = _buffer(b"".join(keys)), _buffer(b"".join(values))
        try:
            _call_batch(BPF_MAP_UPDATE_BATCH, _batch(self.fd, len(keys), names, contents))
        except _Stopped as stopped:
            if stopped.errno == errno.E2BIG:
                raise DatapathError(
                    f"map {self.name} is full: it has room for {self.room} "
                    f"entries, {len(keys) - stopped.count} of {len(keys)} were left out"
                ) from None
            raise DatapathError(f"map {self.name}: {os.strerror(stopped.errno)}") from None

    def remove(self, keys: Sequence[bytes]) -> None:
        """Remove elements; those that are not there are no error."""
        names = _buffer(b"".join(keys))
        done = 0
        while done < len(keys):
            attr = _batch(self.fd, len(keys) - done, names, None, skip=done * self._shape.key_size)
            try:
                done += _call_batch(BPF_MAP_DELETE_BATCH, attr)
            except _Stopped as stopped:
                if stopped.errno != errno.ENOENT:
                    raise DatapathError(f"map {self.name}: {os.strerror(stopped.errno)}") from None
                done += stopped.count + 1

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All elements. Ones that others add or remove meanwhile may be among them or not."""
        key_size, value_size = self._shape.key_size, self._shape.value_size
        keys = _buffer(bytes(key_size * _READ))
        values = _buffer(bytes(value_size * _READ))
        # The kernel's own place mark, of at least 4 bytes; the key's size bounds it.
        mark = _buffer(bytes(max(key_size, 8)))
        in_mark = 0
        while True:
            attr = _batch(self.fd, _READ, keys, values, in_mark, address_of(mark))
            last = False
            try:
                count = _call_batch(BPF_MAP_LOOKUP_BATCH, attr)
            except _Stopped as stopped:
                if stopped.errno != errno.ENOENT:
                    raise DatapathError(f"map {self.name}: {os.strerror(stopped.errno)}") from None
                count, last = stopped.count, True
            names, contents = keys.raw, values.raw  # each is a copy of all
            for at in range(count):
                yield (
                    names[at * key_size : (at + 1) * key_size],
                    contents[at * value_size : (at + 1) * value_size],
                )
            if last:
                return
            in_mark = address_of(mark)

    def get(self, key: bytes) -> bytes | None:
        """One element, or None."""
        name = _buffer(key)
        value = _buffer(bytes(self._shape.value_size))
        attr = struct.pack("=I4xQQQ", self.fd, address_of(name), address_of(value), 0)
        try:
            bpf(BPF_MAP_LOOKUP_ELEM, attr)
        except OSError as failed:
            if failed.errno == errno.ENOENT:
                return None
            raise DatapathError(f"map {self.name}: {failed.strerror}") from failed
        return value.raw


def open_map(path: Path) -> int:
    """Open a pinned map of ours and check its shape: a stale pin of another would corrupt memory."""
    try:
        fd = obj_get(path)
        loader.check_map(path.name, fd)
    except OSError as failed:
        raise DatapathError(f"{path}: {failed.strerror}; run the loader") from failed
    except loader.LoaderError as other:
        raise DatapathError(str(other)) from other
    return fd


def run_once(program: int, frame: bytes, ifindex: int, repeat: int = 1) -> tuple[int, bytes, int]:
    """Run a program on a frame, without a wire: verdict, frame after, nanoseconds of a run."""
    data_in = _buffer(frame)
    data_out = _buffer(bytes(len(frame) + 512))
    # struct __sk_buff as far as the kernel lets us set it: ifindex is its 11th word.
    context = _buffer(bytes(40) + struct.pack("=I", ifindex) + bytes(148))
    attr = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQ",
            *(program, 0, len(frame), len(data_out), address_of(data_in), address_of(data_out)),
            *(repeat, 0, len(context), 0, address_of(context), 0),
        ),
        144,
    )
    result = loader.bpf_in_place(BPF_PROG_TEST_RUN, attr)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    verdict, _size_in, size_out = struct.unpack_from("=III", attr, 4)
    duration = struct.unpack_from("=I", attr, 36)[0]
    return ctypes.c_int(verdict).value, data_out.raw[:size_out], int(duration)


# --- Batches --------------------------------------------------------------------------------------


class _Stopped(Exception):
    """A batch ended early: errno, and how many elements were done."""

    def __init__(self, code: int, count: int) -> None:
        super().__init__(code, count)
        self.errno = code
        self.count = count


def _buffer(data: bytes) -> Buffer:
    return ctypes.create_string_buffer(data, len(data))


def _batch(
    fd: int,
    count: int,
    keys: Buffer,
    values: Buffer | None,
    in_mark: int = 0,
    out_mark: int = 0,
    *,
    skip: int = 0,
) -> bytes:
    """``skip``: so many bytes of the keys are done already."""
    key_address = address_of(keys) + skip
    value_address = address_of(values) if values is not None else 0
    return struct.pack("=QQQQIIQQ", in_mark, out_mark, key_address, value_address, count, fd, 0, 0)


def _call_batch(command: int, attr: bytes) -> int:
    """How many elements the kernel took or gave; raises _Stopped."""
    buffer = ctypes.create_string_buffer(attr, 144)
    result = loader.bpf_in_place(command, buffer)
    count = int(struct.unpack_from("=I", buffer, 32)[0])
    if result < 0:
        raise _Stopped(-result, count)
    return count
