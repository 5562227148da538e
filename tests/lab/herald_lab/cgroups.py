# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""cgroup v2 folders: who is in them, ending and freezing them, taking them away.

See Documentation/admin-guide/cgroup-v2.rst of the kernel, "Core Interface Files".
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from herald_lab.commands import LabError, wait_until


def alive(cgroup: Path) -> bool:
    """Whether any process is in it or below."""
    return _event(cgroup, "populated")


def frozen(cgroup: Path) -> bool:
    return _event(cgroup, "frozen")


def pids(cgroup: Path) -> list[int]:
    """The processes in it, not those below."""
    try:
        return [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def freeze(cgroup: Path) -> None:
    """Stop every process in it and below at whatever it is doing; returns once they stand."""
    _switch(cgroup, "1")
    wait_until(f"{cgroup} to freeze", lambda: frozen(cgroup), seconds=5)


def thaw(cgroup: Path) -> None:
    if cgroup.exists():
        _switch(cgroup, "0")
        wait_until(f"{cgroup} to thaw", lambda: not frozen(cgroup), seconds=5)


def kill(cgroup: Path) -> None:
    """SIGKILL to every process in it and below, in one step (Linux 5.14)."""
    if cgroup.exists():
        (cgroup / "cgroup.kill").write_text("1")


def join(cgroup: Path) -> None:
    """Move the calling process into it."""
    cgroup.mkdir(parents=True, exist_ok=True)
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def leave(cgroup: Path, root: Path) -> None:
    """Move the calling process and its ancestors to `root`, where they are in `cgroup`."""
    members = {pid for folder in [cgroup, *cgroup.rglob("*/")] for pid in pids(folder)}
    pid = os.getpid()
    while pid > 1:
        if pid in members:
            (root / "cgroup.procs").write_text(str(pid))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def remove(cgroup: Path, *, seconds: float = 20) -> None:
    """End what is in it and below, wait for the ends, take the folders away."""
    if not cgroup.exists():
        return
    kill(cgroup)
    wait_until(f"the processes in {cgroup} to end", lambda: not alive(cgroup), seconds=seconds)
    remove_folders(cgroup, seconds=seconds)


def remove_folders(cgroup: Path, *, seconds: float = 20) -> None:
    """Take away a cgroup in which nobody is left."""
    deadline = time.monotonic() + seconds
    while cgroup.exists():
        folders = [cgroup, *(path for path in cgroup.rglob("*") if path.is_dir())]
        try:
            for folder in sorted(folders, reverse=True):
                folder.rmdir()
        except OSError as error:  # a process that has ended may hold it a moment longer
            if time.monotonic() > deadline:
                raise LabError(f"cannot remove {cgroup}: {error.strerror}") from error
            time.sleep(0.02)


def _event(cgroup: Path, name: str) -> bool:
    try:
        return f"{name} 1" in (cgroup / "cgroup.events").read_text()
    except OSError:
        return False


def _switch(cgroup: Path, value: str) -> None:
    try:
        (cgroup / "cgroup.freeze").write_text(value)
    except FileNotFoundError:
        raise LabError(f"{cgroup} is not there: the node has no power; heal it first") from None
