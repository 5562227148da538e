# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Wait until no program that saw the maps as they were is still running."""

from __future__ import annotations

import ctypes
import platform

# membarrier(2). MEMBARRIER_CMD_GLOBAL waits for an RCU grace period, and classifiers run inside RCU
# read-side sections (kernel/sched/membarrier.c, net/core/dev.c): some milliseconds.
_SYSCALL_MEMBARRIER = {
    "x86_64": 324,
    "aarch64": 283,
    "riscv64": 283,
    "loongarch64": 283,
    "s390x": 356,
    "ppc64le": 365,
}
_MEMBARRIER_CMD_GLOBAL = 1
_libc = ctypes.CDLL(None, use_errno=True)


def settle() -> bool:
    """Wait for programs that began before this call; False where the kernel has no way to.

    That is so with nohz_full= and in seccomp filters without membarrier. A program runs for less
    than 10 microseconds, so that any request to the API server that follows is later anyhow.
    """
    number = _SYSCALL_MEMBARRIER.get(platform.machine())
    return number is not None and _libc.syscall(number, _MEMBARRIER_CMD_GLOBAL, 0, 0) == 0
