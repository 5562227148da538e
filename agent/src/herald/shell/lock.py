# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Keeps a second agent out of this machine.

Two processes would take up the same presence in turns. The kernel drops the lock with the process,
however it ends, so a stale file means nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_FILE = Path("/run/herald/agent.lock")


class LockError(Exception):
    """Another agent runs, or the file cannot be had."""


def lock(path: Path = LOCK_FILE) -> int:
    """Take the lock for the life of this process; the descriptor that holds it. Raises
    LockError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise LockError(
            f"{path}: another agent runs on this machine (process {holder or 'unknown'});"
            " stop it first"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
