#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How long playbooks/site.yml takes on three nodes where there is nothing to do.

    .venv/bin/python tests/bench/rerun.py --runs 3

Needs a lab with Herald, such as `make demo` leaves. Exit status: 0 measured, and the median within --limit seconds;
1 beyond it; 2 could not measure, or a run changed something.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from herald_lab import ansible

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab"


def rerun(inventory: Path) -> float:
    """Seconds of one run."""
    site = ("ansible-playbook", "--inventory", str(inventory), str(ROOT / "playbooks/site.yml"))
    command = [LAB, "run", "--", *ansible.env(), *site]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    counts = re.findall(r"changed=(\d+)", done.stdout)
    if done.returncode or set(counts) != {"0"}:
        print(done.stdout + done.stderr, file=sys.stderr)
        sys.exit(2)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=float, default=30.0, metavar="SECONDS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder, "inventory.json")
        listed = subprocess.run([LAB, "inventory"], capture_output=True, text=True, check=False)
        if listed.returncode:
            print(
                f"HERALD_LAB={os.environ.get('HERALD_LAB', '')}: {listed.stderr}", file=sys.stderr
            )
            return 2
        inventory.write_text(listed.stdout)
        found = [rerun(inventory) for _ in range(arguments.runs)]
    median = statistics.median(found)
    each = " ".join(f"{seconds:.1f}" for seconds in found)
    print(f"site.yml with nothing to do, three nodes: median {median:.1f} s ({each})")
    return 0 if median <= arguments.limit else 1


if __name__ == "__main__":
    sys.exit(main())
