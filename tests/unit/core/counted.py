# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What something costs, the same on every machine and under any load: how many functions are called for it."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """Python's functions and C's; a generator counts once for every item."""
    count = 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
