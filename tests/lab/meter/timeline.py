#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Draw a failover: who answered for the address and when, which requests were served and lost.

Takes the JSON reports of outage.py and answers.py, and a JSON list of events, each with `time`
(Unix seconds) and `label`. Draws in the terminal, and with --png a picture (needs matplotlib).

In each lane a full block means: all of the requests of that moment; a lower one: some of them. ◆ is
an announcement (GARP, unsolicited NA).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from story import Story, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCKS = " ▁▂▃▄▅▆▇█"
RED, GREEN, BLUE, BOLD, DIM = "31", "32", "34", "1", "2"
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Canvas:
    """Columns of time between a margin for names and the right edge."""

    def __init__(self, story: Story, width: int, *, colour: bool):
        self.margin = max([6, *(len(lane.name) for lane in story.lanes)]) + 2
        self.story = story
        self.colour = colour
        sent = [*story.lost, *(time for time, _ in story.served)]
        shown = sum(story.begin <= time <= story.end for time in sent)
        # With less than two requests in a column, chance would leave some columns empty.
        self.columns = max(20, min(width - self.margin, shown // 2 if shown else width))

    def column(self, time: float) -> int:
        """The column of `time`; outside 0 to `columns` - 1 for what is not shown."""
        share = (time - self.story.begin) / (self.story.end - self.story.begin)
        return math.floor(share * self.columns)

    def counts(self, times: Iterable[float]) -> list[int]:
        """How many of `times` fall into each column."""
        counts = [0] * self.columns
        for time in times:
            if 0 <= (column := self.column(time)) < self.columns:
                counts[column] += 1
        return counts

    def row(self, name: str, cells: str, colour: str = "") -> str:
        return f"{name:>{self.margin - 2}}  {self.paint(cells.rstrip(), colour)}".rstrip()

    def paint(self, words: str, colour: str) -> str:
        return f"\033[{colour}m{words}\033[0m" if self.colour and colour else words


def draw(story: Story, width: int, *, colour: bool) -> str:
    """The story as lines of text, at most `width` columns wide."""
    canvas = Canvas(story, width, colour=colour)
    date = datetime.fromtimestamp(story.zero, UTC).strftime("%Y-%m-%d %H:%M:%S")
    lines = [
        canvas.paint(story.title, BOLD) + f", time 0 is {date} UTC",
        "",
        *_event_rows(canvas),
        *_node_rows(canvas),
        *_request_rows(canvas),
        *_axis(canvas),
        "",
    ]
    for figure in story.figures:
        alarm = figure.startswith("TWO")
        lines.append(canvas.paint(f"  {figure}", f"{BOLD};{RED}" if alarm else ""))
    return "\n".join(lines)


def _event_rows(canvas: Canvas) -> list[str]:
    """A row for each event, so that no label hides another, and a mark at its column."""
    rows = []
    for event in canvas.story.events:
        column = canvas.column(event.time)
        if not 0 <= column < canvas.columns:
            continue
        if column + len(event.label) + 2 <= canvas.columns:
            cells = " " * column + f"▼ {event.label}"
        else:
            cells = f"{event.label} ▼".rjust(column + 1)
        rows.append(canvas.row("", cells, BOLD))
    return rows


def _node_rows(canvas: Canvas) -> list[str]:
    typical = _typical(canvas.counts(lane.answers) for lane in canvas.story.lanes)
    rows = []
    for lane in canvas.story.lanes:
        cells = list(_bars(canvas.counts(lane.answers), [typical] * canvas.columns))
        for column, count in enumerate(canvas.counts(lane.announcements)):
            if count:
                cells[column] = "◆"
        rows.append(canvas.row(lane.name, "".join(cells), BLUE))
    if canvas.story.two:
        marks = "".join("‼" if count else " " for count in canvas.counts(canvas.story.two))
        rows.append(canvas.row("two", marks, f"{BOLD};{RED}"))
    return rows


def _request_rows(canvas: Canvas) -> list[str]:
    story = canvas.story
    if not story.served and not story.lost:
        return []
    served = canvas.counts(time for time, _ in story.served)
    lost = canvas.counts(story.lost)
    sent = [a + b for a, b in zip(served, lost, strict=True)]
    rows = [
        canvas.row("served", _bars(served, sent), GREEN),
        canvas.row("lost", _bars(lost, sent), RED),
    ]
    if story.gap:
        rows.append(canvas.row("", _brace(canvas, *story.gap), BOLD))
    return rows


def _bars(counts: list[int], totals: list[int]) -> str:
    """A block for each column, as high as its count is among its total; never empty for some."""
    top = len(BLOCKS) - 1
    return "".join(
        BLOCKS[min(top, max(1, count * top // total))] if count and total else " "
        for count, total in zip(counts, totals, strict=True)
    )


def _typical(rows: Iterable[list[int]]) -> int:
    """What a node that answers everything has in a column, which may be one more or less."""
    counts = sorted(count for row in rows for count in row if count)
    return max(1, counts[len(counts) // 2] - 1) if counts else 1


def _brace(canvas: Canvas, start: float, end: float) -> str:
    """`╰── 1.52 s ──╯` below the gap, as far as it is shown."""
    first = max(0, canvas.column(start))
    last = min(canvas.columns - 1, canvas.column(end))
    label = f" {end - start:.2f} s "
    if last - first - 1 < len(label):
        return " " * first + "╰╯" + label
    return " " * first + "╰" + label.center(last - first - 1, "─") + "╯"


def _axis(canvas: Canvas) -> list[str]:
    story = canvas.story
    span = story.end - story.begin
    step = next((s for s in STEPS if canvas.columns * s / span >= 9), STEPS[-1])
    line, labels = ["─"] * canvas.columns, [" "] * (canvas.columns + 8)
    for tick in range(math.ceil(story.begin / step), math.floor(story.end / step) + 1):
        column = canvas.column(tick * step)
        if not 0 <= column < canvas.columns:
            continue
        line[column] = "┴"
        label = f"{tick * step:+g}" if tick else "0 s"
        start = max(0, column - len(label) // 2)
        labels[start : start + len(label)] = label
    return [
        canvas.row("", "".join(line), DIM),
        canvas.row("", "".join(labels[: canvas.columns]).rstrip(), DIM),
    ]


def _load(path: Path | None) -> Any:
    return json.loads(path.read_text()) if path else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outage", type=Path, metavar="FILE", help="report of outage.py")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="report of answers.py")
    parser.add_argument("--events", type=Path, metavar="FILE", help="what was done, and when")
    parser.add_argument("--whole", action="store_true", help="all of it, not only the failover")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture, too")
    parser.add_argument("--width", type=int, metavar="N", help="columns (the terminal's, to 110)")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    arguments = parser.parse_args()
    if not arguments.outage and not arguments.answers:
        parser.error("wanted --outage or --answers, or both")
    return arguments


def _wants_colour(choice: str) -> bool:
    if choice != "auto":
        return choice == "always"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def main() -> int:
    arguments = _arguments()
    try:
        story = tell(
            _load(arguments.outage),
            _load(arguments.answers),
            _load(arguments.events) or [],
            whole=arguments.whole,
        )
    except (OSError, ValueError, KeyError) as error:
        print(f"timeline: cannot read the reports: {error!r}", file=sys.stderr)
        return 2
    width = arguments.width or min(110, shutil.get_terminal_size().columns)
    print(draw(story, width, colour=_wants_colour(arguments.color)))
    if arguments.png:
        from picture import paint

        arguments.png.parent.mkdir(parents=True, exist_ok=True)
        paint(story, arguments.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
