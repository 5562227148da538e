# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Compile the responder, pin it and its maps for the agent, and exit.

A program of its own, run as root by the system's Python, to which bcc's binding belongs (compiling
takes 130 to 190 MB that the agent must not keep), before the agent starts:

    /usr/bin/python3 -I loader.py --user herald

So it is one file that imports the standard library and bcc alone. What always holds:

* A pinned program means that its maps are pinned too, of the right shape: it is pinned last, under
  the hash of its source. Where it is there already, bcc is not even imported.
* Maps of the same layout are kept with all that they hold, also for a new program: an upgrade
  silences nothing. Another layout has another folder. What takes long can be done while an agent
  still runs (``--prepare``).
* Nothing stays mounted: kernel headers are put where bcc looks for them in a mount namespace of
  this process.

The few calls of bpf(2) and the shapes of the maps, which the agent needs as well, stand here too.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import platform
import pwd
import re
import resource
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LAYOUT_VERSION = 1
"""LAYOUT_VERSION of layout.h; the folder of the pins bears it."""

DEFAULT_BPFFS = Path("/sys/fs/bpf/herald")
FILTER_NAME = "herald"
OLDEST_KERNEL = (5, 8)  # ring buffers, bpf_ktime_get_boot_ns, CAP_BPF
MEMLOCK_UNTIL = (5, 11)  # before, maps are charged against RLIMIT_MEMLOCK of their user
PROGRAM = "responder"
COMPILER_FLAGS = ("-Wno-macro-redefined",)

# include/uapi/linux/bpf.h
BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_GET_NEXT_KEY = 0, 1, 2, 4
BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_OBJ_GET, BPF_OBJ_GET_INFO_BY_FD = 5, 6, 7, 15
BPF_LINK_UPDATE, BPF_LINK_DETACH = 29, 34
BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_RINGBUF = 1, 2, 27
BPF_F_NO_PREALLOC, BPF_F_MMAPABLE = 1 << 0, 1 << 10
BPF_PROG_TYPE_SCHED_CLS = 3
BPF_LD_IMM64, BPF_PSEUDO_MAP_FD = 0x18, 1
BPF_FS_MAGIC = 0xCAFE4A11

LOCKDOWN = Path("/sys/kernel/security/lockdown")


class MapShape(NamedTuple):
    """What must be equal for a pinned map to be ours. Sizes in bytes."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


ENTRIES = 65536
MAPS = {
    "vip4": MapShape(BPF_MAP_TYPE_HASH, 8, 16, ENTRIES, BPF_F_NO_PREALLOC),
    "vip6": MapShape(BPF_MAP_TYPE_HASH, 20, 16, ENTRIES, BPF_F_NO_PREALLOC),
    "seen4": MapShape(BPF_MAP_TYPE_HASH, 4, 72, ENTRIES, BPF_F_NO_PREALLOC),
    "seen6": MapShape(BPF_MAP_TYPE_HASH, 16, 72, ENTRIES, BPF_F_NO_PREALLOC),
    "own": MapShape(BPF_MAP_TYPE_HASH, 8, 4, 4096, BPF_F_NO_PREALLOC),
    "session": MapShape(BPF_MAP_TYPE_ARRAY, 4, 32, 1, BPF_F_MMAPABLE),
    "events": MapShape(BPF_MAP_TYPE_RINGBUF, 0, 0, 16 * resource.getpagesize(), 0),
}


class Fields(NamedTuple):
    """A struct in a map: its format (native order, standard sizes) and the names of its fields."""

    format: str
    names: tuple[str, ...]


_ENTRY = Fields("=6sHQ", ("mac", "flags", "claimed"))
_SEEN = Fields(
    "=QQQQQQQ6s6xI",
    (
        *("answered", "conflicts", "silenced", "first_claimed", "foreign_at", "reported_at"),
        *("probed_at", "foreign_mac", "foreign_ifindex"),
    ),
)
_SESSION = Fields("=QQQQ", ("deadline", "fuse", "renewed", "mode"))
_OWN = Fields("=I", ("ifindex",))
LAYOUTS = {
    1: {
        "vip4": _ENTRY,
        "vip6": _ENTRY,
        "seen4": _SEEN,
        "seen6": _SEEN,
        "own": _OWN,
        "session": _SESSION,
    },
}
"""What the values of the maps are, in this layout and in each before it that may be found pinned."""


class LoaderError(Exception):
    """What is missing, and what to do about it, in one line."""


# --- bpf(2) ---------------------------------------------------------------------------------------

_SYSCALL_BPF = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "s390x": 351,
    "ppc64le": 361,
}
_ATTR_SIZE = 144
_libc = ctypes.CDLL(None, use_errno=True)


def bpf_in_place(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2) on a whole union bpf_attr, into which it writes: its result, or -errno."""
    number = _SYSCALL_BPF.get(platform.machine())
    if number is None:
        return -errno.ENOSYS
    result = int(_libc.syscall(number, command, attr, len(attr)))
    return -ctypes.get_errno() if result < 0 else result


def bpf(command: int, attr: bytes) -> int:
    """Call bpf(2); ``attr`` is union bpf_attr as far as it is not zero. Raises OSError."""
    result = bpf_in_place(command, ctypes.create_string_buffer(attr, _ATTR_SIZE))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def obj_get(path: Path) -> int:
    """Open a pin: a new file descriptor. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(BPF_OBJ_GET, struct.pack("=QII", _address(name), 0, 0))


def obj_pin(fd: int, path: Path) -> None:
    """Pin a map, program or link. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(BPF_OBJ_PIN, struct.pack("=QII", _address(name), fd, 0))


def obj_info(fd: int, size: int = 64) -> bytes:
    """The first bytes of struct bpf_map_info, bpf_prog_info or bpf_link_info."""
    info = ctypes.create_string_buffer(size)
    bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, size, _address(info)))
    return info.raw


def map_shape(fd: int) -> MapShape:
    """The shape of the map behind a file descriptor. Raises OSError where it is none."""
    kind, _id, key, value, entries, flags = struct.unpack_from("=6I", obj_info(fd, 40))
    return MapShape(kind, key, value, entries, flags)


def program_type(fd: int) -> int:
    """The type of the program behind a file descriptor."""
    return int(struct.unpack_from("=I", obj_info(fd, 40))[0])


def _map_create(name: str, shape: MapShape) -> int:
    attr = struct.pack("=5I", *shape) + struct.pack("=II16s", 0, 0, name.encode())
    return bpf(BPF_MAP_CREATE, attr)


def load_program(instructions: bytes) -> int:
    """Load a classifier: its file descriptor. Raises LoaderError with the verifier's last words."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack(
        "=IIQQ", BPF_PROG_TYPE_SCHED_CLS, len(instructions) // 8, _address(code), _address(licence)
    )
    named = struct.pack("=IIQII16s", 0, 0, 0, 0, 0, b"herald")
    try:
        return bpf(BPF_PROG_LOAD, head + named)
    except OSError as refused:
        log = ctypes.create_string_buffer(1 << 20)
        verbose = struct.pack("=IIQII16s", 1, len(log), _address(log), 0, 0, b"herald")
        try:
            return bpf(BPF_PROG_LOAD, head + verbose)
        except OSError:
            said = log.value.decode(errors="replace").strip().splitlines()
            why = "; ".join(said[-3:]) or _why_refused(refused)
            raise LoaderError(f"the kernel refuses the responder: {why}") from refused


# --- Pins -----------------------------------------------------------------------------------------


def source_folder() -> Path:
    """Where the responder's C is: beside this file in the wheel, bpf/ at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "bpf", here.parents[3] / "bpf"):
        if (folder / "responder.c").is_file():
            return folder
    raise LoaderError(f"responder.c is neither in {here / 'bpf'} nor in a checkout: install again")


def source_hash(folder: Path) -> str:
    """Names a program by all that it is made from: 12 hex digits."""
    digest = hashlib.sha256(" ".join(COMPILER_FLAGS).encode())
    for path in sorted(folder.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def pin_folder(bpffs: Path) -> Path:
    """The folder of this layout's pins."""
    return bpffs / f"v{LAYOUT_VERSION}"


def program_pin(bpffs: Path) -> Path:
    """The pin of the program that is made from the sources beside this file."""
    return pin_folder(bpffs) / f"{PROGRAM}-{source_hash(source_folder())}"


LINK, FILTER = "link", "clsact"


def interface_pin(folder: Path, kind: str, ifindex: int) -> Path:
    """The pin of a tcx link (LINK), or the one that marks a clsact filter (FILTER)."""
    return folder / f"{kind}-{ifindex}"


def interface_pins(folder: Path, kind: str) -> dict[int, Path]:
    """Those that there are, by the interface that each was made for. Raises OSError where that
    cannot be seen (a glob would find nothing); a folder that is gone has none."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return {}
    found = ((re.fullmatch(f"{kind}-([0-9]+)", path.name), path) for path in paths)
    return {int(match[1]): path for match, path in found if match}


def check_map(name: str, fd: int) -> None:
    """Raises LoaderError unless it is the map that the layout says."""
    found = map_shape(fd)
    if found != MAPS[name]:
        raise LoaderError(f"map {name}: wanted {MAPS[name]}, found {found}; run the loader again")


def _complete(bpffs: Path) -> bool:
    """Is everything pinned already, and in shape?"""
    try:
        fd = obj_get(program_pin(bpffs))
        if program_type(fd) != BPF_PROG_TYPE_SCHED_CLS:
            return False
        os.close(fd)
        for name in MAPS:
            fd = obj_get(pin_folder(bpffs) / name)
            check_map(name, fd)
            os.close(fd)
    except (OSError, LoaderError):
        return False
    return True


def _open_or_make_map(folder: Path, name: str) -> int:
    path = folder / name
    if path.exists():
        fd = obj_get(path)
        try:
            if map_shape(fd) == MAPS[name]:
                return fd
        except OSError:
            pass
        os.close(fd)
        path.unlink()
    fd = _map_create(name, MAPS[name])
    obj_pin(fd, path)
    return fd


def _take(folder: Path) -> None:
    """Make the folder root's while root works in it, and rid it of what cannot be a pin.

    Its owner could otherwise lead root's chown and unlink elsewhere by a symbolic link (bpffs has
    those).
    """
    os.chown(folder, 0, 0)
    folder.chmod(0o700)
    for path in folder.iterdir():
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def _give_to(user: pwd.struct_passwd | None, bpffs: Path) -> None:
    """Folder and pins to the agent's user alone, and the way to them open for its group alone."""
    folder = pin_folder(bpffs)
    uid, gid = (user.pw_uid, user.pw_gid) if user else (0, 0)
    for path in folder.iterdir():
        path.chmod(0o600)
        os.chown(path, uid, gid)
    os.chown(folder, uid, gid)
    if not user or user.pw_uid == 0:
        return
    # systemd mounts /sys/fs/bpf with mode 0700.
    for above in (bpffs, bpffs.parent):
        info = above.stat()
        if info.st_mode & stat.S_IXOTH or _filesystem(above) != BPF_FS_MAGIC:
            continue
        if info.st_gid in (0, gid):
            os.chown(above, info.st_uid, gid)
            above.chmod(info.st_mode | stat.S_IXGRP)
        else:
            above.chmod(info.st_mode | stat.S_IXOTH)


# --- Compiling ------------------------------------------------------------------------------------

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x00020000, 1 << 14, 1 << 18
_HEADER_FOLDERS = (
    "/lib/modules/*/build",
    "/usr/src/linux-headers-*",  # Debian, Ubuntu
    "/usr/src/kernels/*",  # Fedora, RHEL
    "/usr/src/linux-*-obj/*/*",  # SUSE
)
_NO_HEADERS = (
    "no kernel headers for {machine} under /lib/modules or /usr/src: install "
    "linux-headers-amd64 (Debian), linux-headers-generic (Ubuntu), kernel-devel (Fedora, RHEL) "
    "or kernel-default-devel (SUSE); any version will do"
)
_NO_BCC = (
    "the system's Python ({python}) cannot import bcc ({why}): install python3-bpfcc "
    "(Debian, Ubuntu) or python3-bcc (Fedora, RHEL, SUSE)"
)
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "s390x": "s390", "ppc64le": "powerpc"}


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else (0, 0)


def _usable_headers(folder: Path) -> bool:
    machine = platform.machine()
    arch = _ARCHITECTURES.get(machine, machine.replace("64", ""))
    return (folder / "include/generated/autoconf.h").is_file() and (
        folder / "arch" / arch / "include/generated"
    ).is_dir()


def find_headers(release: str, root: Path = Path("/")) -> Path | None:
    """The headers nearest to the running kernel's version; only uapi parts are used of them."""
    wanted = _version(release)
    found = {
        path.resolve()
        for pattern in _HEADER_FOLDERS
        for path in root.glob(pattern.lstrip("/"))
        if _usable_headers(path)
    }

    def distance(path: Path) -> tuple[int, int, str]:
        have = _version(path.name)
        return (abs(wanted[0] - have[0]), abs(wanted[1] - have[1]), path.name)

    return min(found, key=distance, default=None)


def _source_of(build: Path) -> Path:
    """The other half of headers that a distribution splits (Debian's -common)."""
    makefile = build / "Makefile"
    if makefile.is_file():
        found = re.search(r"^include (/\S+)/Makefile$", makefile.read_text(), re.MULTILINE)
        if found and Path(found.group(1)).is_dir():
            return Path(found.group(1))
    return build


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    kind_bytes = kind.encode() if kind else None
    if _libc.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), None):
        code = ctypes.get_errno()
        raise LoaderError(f"cannot mount {target} for this process alone: {os.strerror(code)}")


def _provide_headers() -> None:
    """bcc looks in /lib/modules/<release> only: put headers there, visible to this process alone."""
    release = os.uname().release
    modules = Path("/lib/modules")
    if _usable_headers(modules / release / "build"):
        return
    build = find_headers(release)
    if build is None:
        if Path("/sys/kernel/kheaders.tar.xz").exists():
            return  # bcc unpacks these itself
        raise LoaderError(_NO_HEADERS.format(machine=platform.machine()))
    source = _source_of(build)
    if _libc.unshare(_CLONE_NEWNS):
        code = ctypes.get_errno()
        raise LoaderError(f"cannot have a mount namespace: {os.strerror(code)}; run as root")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    modules.mkdir(exist_ok=True)
    _mount("tmpfs", str(modules), "tmpfs", 0)
    folder = modules / release
    folder.mkdir()
    (folder / "build").symlink_to(build)
    (folder / "source").symlink_to(source)


def _said(path: str) -> str:
    """The first complaint of the compiler."""
    lines = Path(path).read_text(errors="replace").splitlines()
    errors = [line for line in lines if "error:" in line] or lines
    return errors[0] if errors else "no message"


class Compiled(NamedTuple):
    """The responder's instructions, and which map each file descriptor in them stands for."""

    instructions: bytes
    maps: dict[int, str]


def _compile(folder: Path) -> Compiled:
    """bcc makes maps of its own along the way, gone with this process; here their shapes prove that
    layout.h and ``MAPS`` agree.
    """
    _provide_headers()
    try:
        from bcc import BPF  # type: ignore[import-not-found,unused-ignore]
    except ImportError as missing:
        raise LoaderError(_NO_BCC.format(python=sys.executable, why=missing)) from None
    flags = [*COMPILER_FLAGS, f"-I{folder}"]
    import tempfile

    # clang, inside bcc, writes to the process's stderr.
    with tempfile.NamedTemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            module = BPF(src_file=str(folder / "responder.c"), cflags=flags)
        except Exception as failed:  # bcc raises bare Exception
            raise LoaderError(f"bcc cannot compile: {_said(said.name)}") from failed
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    fds = {int(module[name].map_fd): name for name in MAPS}
    for fd, name in fds.items():
        check_map(name, fd)
    return Compiled(bytes(module.dump_func(PROGRAM)), fds)


def _relocate(compiled: Compiled, pinned: dict[str, int]) -> bytes:
    """Put the pinned maps in the place of those that the compiler made (LD_IMM64 of a map's fd)."""
    code = bytearray(compiled.instructions)
    for at in range(0, len(code), 8):
        opcode, registers, _offset, value = struct.unpack_from("=BBhi", code, at)
        if opcode == BPF_LD_IMM64 and registers >> 4 == BPF_PSEUDO_MAP_FD:
            struct.pack_into("=i", code, at + 4, pinned[compiled.maps[value]])
    return bytes(code)


# --- From one layout to another -------------------------------------------------------------------


def _elements(fd: int) -> Iterator[tuple[bytes, bytes]]:
    shape = map_shape(fd)
    key = ctypes.create_string_buffer(shape.key_size)
    value = ctypes.create_string_buffer(shape.value_size)
    before = 0
    while True:
        try:
            bpf(BPF_MAP_GET_NEXT_KEY, struct.pack("=I4xQQ", fd, before, _address(key)))
        except OSError as ended:
            if ended.errno == errno.ENOENT:
                return
            raise
        bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("=I4xQQQ", fd, _address(key), _address(value), 0))
        yield key.raw, value.raw
        before = _address(key)


def _convert(name: str, old: Fields, value: bytes) -> bytes:
    """A map's value in this layout: fields go by their names, new ones are zero."""
    new = LAYOUTS[LAYOUT_VERSION][name]
    had = dict(zip(old.names, struct.unpack(old.format, value)))
    empty = struct.unpack(new.format, bytes(struct.calcsize(new.format)))
    return struct.pack(new.format, *(had.get(at, zero) for at, zero in zip(new.names, empty)))


def _copy_map(name: str, old: Fields, source: int, target: int) -> None:
    if map_shape(source).value_size != struct.calcsize(old.format):
        raise LoaderError(f"map {name} of an earlier layout has another shape")
    for key, value in _elements(source):
        names = ctypes.create_string_buffer(key, len(key))
        converted = _convert(name, old, value)
        values = ctypes.create_string_buffer(converted, len(converted))
        attr = struct.pack("=I4xQQQ", target, _address(names), _address(values), 0)
        bpf(BPF_MAP_UPDATE_ELEM, attr)


def _migrate(old: Path, new: Path, maps: dict[str, int], program: int) -> None:
    """Take over from another layout without a moment of silence: maps, then links, then it goes.

    No agent runs meanwhile (this is its ExecStartPre), so nobody writes to the old maps. A layout
    that this loader does not know is detached: what nobody can control must not answer.
    """
    _take(old)
    fields = LAYOUTS.get(int(old.name[1:]) if old.name[1:].isdigit() else 0, {})
    try:
        for name, struct_fields in fields.items():
            source = obj_get(old / name)
            _copy_map(name, struct_fields, source, maps[name])
            os.close(source)
    except (OSError, LoaderError):
        fields = {}
    for path in interface_pins(old, LINK).values():
        link = obj_get(path)
        if fields:
            with contextlib.suppress(OSError):  # its device is gone
                bpf(BPF_LINK_UPDATE, struct.pack("=II", link, program))
            path.rename(new / path.name)
        else:
            _detach(link)
        os.close(link)
    filters = interface_pins(old, FILTER)  # the agent will put this program into them
    if filters and not fields:
        _remove_filters()
    for path in filters.values() if fields else ():
        path.rename(new / path.name)
    _remove_folder(old)


def _detach(link: int) -> None:
    try:
        bpf(BPF_LINK_DETACH, struct.pack("=I", link))
    except OSError as gone:  # its device, or the call: before kernel 5.9 there are no such links
        if gone.errno not in (errno.ENOLINK, errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


# --- What the machine must have -------------------------------------------------------------------


def _filesystem(path: Path) -> int:
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return int(ctypes.c_long.from_buffer(buffer).value) & 0xFFFFFFFF


def _why_refused(refused: OSError) -> str:
    if refused.errno == errno.ENOSYS:
        return "it has no bpf(2): CONFIG_BPF_SYSCALL is wanted"
    if refused.errno == errno.EPERM:
        state = LOCKDOWN.read_text().strip() if LOCKDOWN.exists() else "unknown"
        memlock = ""
        if _version(os.uname().release) < MEMLOCK_UNTIL:
            memlock = ", and room to lock memory (LimitMEMLOCK=infinity, or CAP_SYS_RESOURCE)"
        return (
            "not permitted: root with CAP_BPF (or CAP_SYS_ADMIN) and CAP_NET_ADMIN is wanted, "
            f"no seccomp filter on bpf(2), no confidentiality lockdown (lockdown: {state}){memlock}"
        )
    if refused.errno == errno.ENOMEM:
        return "no memory for the maps (some 5 MB)"
    return os.strerror(refused.errno or 0)


def _raise_memlock() -> None:
    """With CAP_SYS_RESOURCE only. What root has locked elsewhere counts as well."""
    with contextlib.suppress(ValueError):
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)


def check_machine(bpffs: Path) -> None:
    """Raises LoaderError naming the first thing that is missing."""
    release = os.uname().release
    if _version(release) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise LoaderError(f"kernel too old: wanted {oldest} or newer, found {release}")
    if os.geteuid() != 0:
        raise LoaderError(f"wanted root, found uid {os.geteuid()}: it is for ExecStartPre=+")
    above = bpffs if bpffs.exists() else bpffs.parent
    try:
        magic = _filesystem(above)
    except OSError as missing:
        raise LoaderError(f"{above}: {missing.strerror}; wanted a mounted bpffs there") from None
    if magic != BPF_FS_MAGIC:
        raise LoaderError(f"{above} is no bpffs: mount one (mount -t bpf bpf /sys/fs/bpf)")
    _raise_memlock()
    # bcc would say no more than that it failed.
    try:
        os.close(_map_create("session", MAPS["session"]))
    except OSError as refused:
        raise LoaderError(f"cannot make a map: {_why_refused(refused)}") from refused


# --- Commands -------------------------------------------------------------------------------------


def load(bpffs: Path, user: pwd.struct_passwd | None, *, prepare: bool = False) -> str:
    """Have program and maps pinned, and nothing of other layouts; says what was done.

    ``prepare``: what an agent that runs uses stays as it is.
    """
    check_machine(bpffs)
    bpffs.mkdir(mode=0o755, exist_ok=True)
    folder = pin_folder(bpffs)
    lock = os.open(bpffs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Before the folder is taken: an agent that runs shall miss it for a moment, not for as long as this takes.
        compiled = None if _complete(bpffs) else _compile(source_folder())
        if folder.exists():
            _take(folder)
        done = "pinned already"
        if not _complete(bpffs):
            _pin_all(bpffs, compiled or _compile(source_folder()))
            done = f"pinned {program_pin(bpffs)}"
        if not prepare:
            _remove_others(bpffs)
        _give_to(user, bpffs)
    finally:
        os.close(lock)
    return done


def _pin_all(bpffs: Path, compiled: Compiled) -> None:
    folder = pin_folder(bpffs)
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        maps = {name: _open_or_make_map(folder, name) for name in MAPS}
    except OSError as refused:
        raise LoaderError(f"cannot make the maps: {_why_refused(refused)}") from refused
    program = load_program(_relocate(compiled, maps))
    pin = program_pin(bpffs)
    pin.unlink(missing_ok=True)
    obj_pin(program, pin)


def _remove_others(bpffs: Path) -> None:
    """Other layouts, whose place this one takes, and other programs of this layout."""
    folder, pin = pin_folder(bpffs), program_pin(bpffs)
    for other in bpffs.glob("v*"):
        if other != folder:
            maps = {name: obj_get(folder / name) for name in MAPS}
            _migrate(other, folder, maps, obj_get(pin))
    for old in folder.glob(f"{PROGRAM}-*"):
        if old != pin:
            old.unlink()  # links that run it keep it until the agent has put this one in


def _tc(*arguments: str) -> list[dict[str, object]]:
    import json
    import subprocess

    try:
        done = subprocess.run(
            ["tc", "-json", *arguments], check=True, capture_output=True, text=True, timeout=30
        )
    except FileNotFoundError:
        raise LoaderError("tc is missing: install iproute2") from None
    except subprocess.CalledProcessError as failed:
        raise LoaderError(f"tc {' '.join(arguments)}: {failed.stderr.strip()}") from failed
    return json.loads(done.stdout) if done.stdout.strip() else []


def _remove_filters() -> None:
    """Our clsact filters, and a clsact that nobody else uses."""
    for qdisc in _tc("qdisc", "show"):
        if qdisc.get("kind") != "clsact":
            continue
        device = str(qdisc["dev"])
        for found in _tc("filter", "show", "dev", device, "ingress"):
            options = found.get("options")
            if isinstance(options, dict) and options.get("bpf_name") == FILTER_NAME:
                where = ["pref", str(found["pref"]), "handle", str(options["handle"]), "bpf"]
                _tc("filter", "del", "dev", device, "ingress", *where)
        if not any(_tc("filter", "show", "dev", device, side) for side in ("ingress", "egress")):
            _tc("qdisc", "del", "dev", device, "clsact")


def remove(bpffs: Path) -> str:
    """Detach everything and remove all pins, of every layout."""
    import shutil

    groups, filters = {0}, False
    for folder in bpffs.glob("v*"):
        groups.add(folder.stat().st_gid)
        _take(folder)
        filters = filters or bool(interface_pins(folder, FILTER))
        for path in interface_pins(folder, LINK).values():
            link = obj_get(path)
            _detach(link)
            os.close(link)
        _remove_folder(folder)
    # Where tc is missing and nothing marks a filter, there is none.
    if filters or shutil.which("tc"):
        _remove_filters()
    if bpffs.is_dir() and not any(bpffs.iterdir()):
        bpffs.rmdir()
    above = bpffs.parent
    if above.is_dir() and _filesystem(above) == BPF_FS_MAGIC:
        group = above.stat().st_gid
        if group and group in groups:  # our doing: see _give_to
            above.chmod(above.stat().st_mode & ~stat.S_IXGRP)
            os.chown(above, 0, 0)
    return "removed"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code; a failure is one line on stderr."""
    parser = argparse.ArgumentParser(description="Compile and pin Herald's responder.")
    parser.add_argument("--user", help="whom the pins belong to (default: root)")
    parser.add_argument("--bpffs", type=Path, default=DEFAULT_BPFFS, help="folder of the pins")
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="only what takes long, before the agent that runs gives way to this version's",
    )
    parser.add_argument("--remove", action="store_true", help="detach and unpin everything")
    options = parser.parse_args(arguments)
    try:
        if options.remove:
            print(remove(options.bpffs))
            return 0
        user = None
        if options.user:
            try:
                user = pwd.getpwnam(options.user)
            except KeyError:
                raise LoaderError(f"--user: there is no user {options.user!r}") from None
        if options.prepare:
            # The agent that runs has its lease to renew; but a busy node gets it done, too.
            os.nice(10)
        print(load(options.bpffs, user, prepare=options.prepare))
    except LoaderError as failed:
        return _give_up(str(failed))
    except OSError as failed:
        return _give_up(f"{failed.filename or 'bpf(2)'}: {failed.strerror}")
    return 0


def _give_up(why: str) -> int:
    print(f"herald loader: {why}", file=sys.stderr)
    # Also as the unit's status: once systemd has given up, too, it no longer shows that line.
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            contextlib.suppress(OSError),
        ):
            where = "\0" + path[1:] if path.startswith("@") else path
            notify.sendto(f"STATUS=cannot start: {why}".encode(), where)
    return 1


if __name__ == "__main__":
    sys.exit(main())
