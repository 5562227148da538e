# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the meters' command lines have in common."""

from __future__ import annotations

import argparse
import ipaddress
import json
import signal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Stoppable(Protocol):
    stopped: bool


def positive(word: str) -> float:
    """A number above 0."""
    number = float(word)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, found {word}")
    return number


def addresses(words: str) -> list[Address]:
    """`192.168.77.200` or several, by comma; none twice, and all of one family."""
    found = [ipaddress.ip_address(word) for word in words.split(",")]
    if len(set(found)) < len(found) or len({address.version for address in found}) > 1:
        raise argparse.ArgumentTypeError(f"wanted different addresses of one family, found {words}")
    return found


def write(path: Path, reports: list[dict[str, Any]]) -> None:
    """One address's report as it is, several as the list `targets`."""
    found = reports[0] if len(reports) == 1 else {"targets": reports}
    path.write_text(json.dumps(found) + "\n")


def stop_by_signal(what: Stoppable) -> None:
    """SIGINT and SIGTERM end the measurement, not the report of it."""

    def stop(*_: object) -> None:
        what.stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
