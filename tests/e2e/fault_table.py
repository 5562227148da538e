#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The results that test_faults.py left in build/faults/, as a Markdown table on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "build" / "faults"
HEAD = (
    "fault",
    "addresses",
    "unserved: median, worst",
    "promised",
    "lost of sent",
    "moved",
    "two at once",
    "TCP connections",
)


def cells(row: dict[str, Any]) -> list[str]:
    """One result; lengths in seconds."""
    promised = row["promised_ms"]
    words = {None: "-", 0: "nothing lost"}.get(promised) or f"{promised / 1000:.1f} s"
    kept = promised is None or (not row["lost"] if promised == 0 else row["worst_ms"] <= promised)
    return [
        row["fault"],
        str(row["addresses"]),
        f"{row['median_ms'] / 1000:.2f} s, {row['worst_ms'] / 1000:.2f} s" if row["lost"] else "0",
        words if kept else f"**{words}**",
        f"{row['lost']} of {row['sent']}",
        str(row["moved"]),
        "never" if not row["violations"] else f"**{len(row['violations'])} times**",
        ", ".join(f"{count} {fate}" for fate, count in row["tcp"].items()),
    ]


def main() -> int:
    rows = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    if not rows:
        print(f"fault_table: no results in {RESULTS}: run `make faults`", file=sys.stderr)
        return 2
    for line in (list(HEAD), ["---"] * len(HEAD), *map(cells, rows)):
        print(f"| {' | '.join(line)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
