#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Services by the thousand in the lab: how soon they have addresses, what agents keep, what a restart writes.

    .venv/bin/python tests/bench/addresses.py [--services 5000] [--at-once 1000]

Needs a lab with Herald (`make bench` brings one up). `--at-once` Services are made as fast as the API server takes
them: first of another class, which tells its own pace, and then of Herald's (the promise: all have addresses
within 15 s); then more, up to `--services`; then the memory of every agent is read (at most 60 MB); then every agent is
killed and starts again, and the API server counts what was written since (nothing).

Exit status: 0 measured and within these; 1 beyond one of them; 2 could not measure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from herald_lab.api import Api
from herald_lab.commands import LabError
from herald_lab.layout import NODES, Lab
from herald_lab.many import Many

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
WITHIN = 15.0  # seconds
RESIDENT = 60.0  # megabytes
PATIENCE = 300.0
RSS = "grep VmRSS /proc/$(systemctl show --property MainPID --value herald-agent)/status"


def lab(*words: str) -> str:
    command = [str(ROOT / "tests/lab/lab"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def wait(what: str, condition: Callable[[], bool], pause: float = 0.5) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {PATIENCE:g} s in vain: {what}")
        time.sleep(pause)


def resident() -> dict[str, float]:
    """Megabytes of every node's agent."""
    return {
        node.name: int(lab("exec", node.name, "--", "sh", "-c", RSS).split()[1]) * 1024 / 1e6
        for node in NODES
    }


def spelled(sizes: dict[str, float]) -> str:
    return ", ".join(f"{node} {size:.1f} MB" for node, size in sizes.items())


def quiet(many: Many) -> None:
    """Until two looks at all that could be written are the same."""
    last = None

    def same() -> bool:
        nonlocal last
        before, last = last, (many.versions(), many.writes())
        return before == last

    wait("the last write", same, pause=2.0)


def measure(many: Many, at_once: int, count: int) -> bool:
    names = [f"s{number:05}" for number in range(count)]
    begun = time.monotonic()
    many.make(names[:at_once], load_balancer_class="example.com/other")
    print(
        f"{at_once} Services that Herald leaves alone: made within {time.monotonic() - begun:.1f} s"
    )
    many.delete(names[:at_once])
    begun = time.monotonic()
    many.make(names[:at_once])
    made = time.monotonic() - begun
    wait("addresses", lambda: many.served(at_once))
    given = time.monotonic() - begun
    good = given <= WITHIN
    print(
        f"{at_once} Services at once: made within {made:.1f} s, all have addresses after {given:.1f} s"
    )
    begun = time.monotonic()
    many.make(names[at_once:])
    wait("addresses", lambda: many.served(count))
    print(f"{count - at_once} more: {time.monotonic() - begun:.1f} s")
    quiet(many)
    sizes = resident()
    good = good and max(sizes.values()) <= RESIDENT
    print(f"agents with {count} Services: {spelled(sizes)}")
    before, writes = many.versions(), many.writes()
    for node in NODES:
        lab("fault", node.name, "agent-kill")
        lab("exec", node.name, "--", "/opt/herald/current/bin/heraldctl", "status", "--wait", "60")
    time.sleep(5)  # measured, not waited for: a write could come in this time
    written = dict(many.writes() - writes)
    changed = len(before.items() ^ many.versions().items())
    print(f"all agents killed in turn: writes {written or 'none'}, objects changed {changed}")
    print(f"agents after that: {spelled(resident())}")
    return good and not written and not changed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--at-once", type=int, default=1000)
    options = parser.parse_args()
    try:
        print(f"agents before: {spelled(resident())}")
        many = Many(Api(Lab(os.environ.get("HERALD_LAB", "bench"))), "10.77.0.0/17")
        try:
            good = measure(many, options.at_once, options.services)
        finally:
            begun = time.monotonic()
            many.remove()
            print(f"all deleted and freed: {time.monotonic() - begun:.1f} s")
    except (LabError, subprocess.SubprocessError) as error:
        print(f"addresses: {error}", file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
