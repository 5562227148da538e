# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the meters' command lines have in common."""

from __future__ import annotations

import argparse
import signal
from typing import Protocol


class Stoppable(Protocol):
    stopped: bool


def positive(word: str) -> float:
    """A number above 0."""
    number = float(word)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, found {word}")
    return number


def stop_by_signal(what: Stoppable) -> None:
    """SIGINT and SIGTERM end the measurement, not the report of it."""

    def stop(*_: object) -> None:
        what.stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
