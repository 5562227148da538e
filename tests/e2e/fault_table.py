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
    "unanswered: median, worst",
    "promised",
    "lost of sent",
    "moved",
    "two at once",
    "TCP connections",
)


def cells(row: dict[str, Any]) -> list[str]:
    """One result; lengths in seconds."""
    return [
        row["fault"],
        str(row["addresses"]),
        lengths(row["median_ms"], row["worst_ms"]),
        served(row),
        lengths(row["unanswered_median_ms"], row["unanswered_worst_ms"]),
        unanswered(row),
        f"{row['lost']} of {row['sent']}",
        str(row["moved"]),
        "never" if not row["violations"] else f"**{len(row['violations'])} times**",
        ", ".join(f"{count} {fate}" for fate, count in row["tcp"].items()),
    ]


def lengths(median: float, worst: float) -> str:
    return f"{median / 1000:.2f} s, {worst / 1000:.2f} s" if worst else "0"


def served(row: dict[str, Any]) -> str:
    """What is promised to who is served already; marked where it was not kept."""
    if "recovers_ms" in row:
        return f"{bound(row['recovers_ms'], row['recovered_ms'])} after it"
    return bound(row["promised_ms"], row["worst_ms"] or row["lost"], "nothing lost")


def unanswered(row: dict[str, Any]) -> str:
    """What is promised to who asks afresh."""
    promised, worst = row["unanswered_promised_ms"], row["unanswered_worst_ms"]
    if promised == 0:  # a single one may get lost on its way
        worst = row["unanswered_in_a_row"] - 1
    return bound(promised, worst, "no two questions")


def bound(promised: float | None, worst: float, none: str = "") -> str:
    """`promised` in seconds, `none` for 0; bold if `worst` is beyond it."""
    if promised is None:
        return "-"
    words = f"{promised / 1000:.1f} s" if promised else none
    return words if worst <= promised else f"**{words}**"


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
