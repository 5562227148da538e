# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A failover as a PNG: lanes of who answered above, every single request below.

The only module of the meter that needs matplotlib; it runs in the tools' environment, not on the
client. Colours are those of Okabe and Ito, which people of every colour vision tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")  # no display

from matplotlib import pyplot  # the backend has to be chosen before
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from story import Story

NODES = ("#0072B2", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442")
SERVED, LOST, INK, GRID = "#009E73", "#D55E00", "#333333", "#DDDDDD"
PAUSE = 0.05  # seconds without an answer that end a bar


def paint(story: Story, path: Path) -> None:
    """Draw `story` into the PNG file `path`."""
    height = 3.4 + 0.45 * len(story.lanes) + 0.22 * len(story.figures)
    figure = pyplot.figure(figsize=(11, height), dpi=150, layout="constrained")
    who, requests = figure.subplots(
        2, 1, sharex=True, height_ratios=[max(1.0, 0.55 * len(story.lanes)), 2]
    )
    figure.suptitle(f"Failover of {story.title}", x=0.01, ha="left", weight="bold", color=INK)
    _draw_nodes(who, story)
    _draw_requests(requests, story)
    for axes in (who, requests):
        _draw_events(axes, story, labels=axes is who)
        _draw_gap(axes, story)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(colors=INK, length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    requests.set_xlim(story.begin, story.end)
    figure.supxlabel("\n".join(story.figures), x=0.01, ha="left", fontsize=9.5, color=INK)
    figure.savefig(path)
    pyplot.close(figure)


def _draw_nodes(axes: Axes, story: Story) -> None:
    for row, lane in enumerate(story.lanes):
        colour = NODES[row % len(NODES)]
        axes.broken_barh(_bars(lane.answers), (row - 0.3, 0.6), color=colour)
        axes.plot(
            lane.announcements,
            [row] * len(lane.announcements),
            linestyle="",
            marker="D",
            markersize=6,
            markerfacecolor="white",
            markeredgecolor=colour,
            markeredgewidth=1.6,
            zorder=4,
            clip_on=True,
        )
    for moment in story.two:
        axes.axvline(moment, color=LOST, linewidth=1, zorder=5)
    axes.set_yticks(range(len(story.lanes)), [lane.name for lane in story.lanes])
    axes.set_ylim(len(story.lanes) - 0.4, -0.6)
    title = f"who answers {story.protocol}  (◇ announcement)"
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, pad=22)


def _bars(times: list[float]) -> list[tuple[float, float]]:
    """Bars (start, width) over runs of answers with no pause between them."""
    bars: list[tuple[float, float]] = []
    for time in times:
        if bars and time - sum(bars[-1]) <= PAUSE:
            bars[-1] = (bars[-1][0], time - bars[-1][0])
        else:
            bars.append((time, 0.001))
    return bars


def _draw_requests(axes: Axes, story: Story) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    if story.served:
        sent, rtts = zip(*story.served, strict=True)
        floor = max(1e-3, min(rtts))
        axes.plot(
            sent, [max(rtt, floor) for rtt in rtts], ".", color=SERVED, markersize=3, label="served"
        )
        axes.set_ylim(floor / 3, max(10.0, max(rtts) * 3))
    bottom, top = axes.get_ylim()
    if story.lost:
        axes.vlines(
            story.lost,
            bottom,
            bottom * (top / bottom) ** 0.12,
            color=LOST,
            linewidth=1,
            label="lost",
        )
    axes.set_ylabel("round trip, ms", fontsize=9, color=INK)
    axes.set_xlabel("seconds", fontsize=9, color=INK)
    axes.set_title("requests, each from a port of its own", loc="left", fontsize=9.5, color=INK)
    axes.legend(loc="upper right", frameon=False, fontsize=9, ncols=2, bbox_to_anchor=(1, 1.16))


def _draw_events(axes: Axes, story: Story, *, labels: bool) -> None:
    shown = [event for event in story.events if story.begin <= event.time <= story.end]
    for index, event in enumerate(shown):
        axes.axvline(event.time, color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=3)
        if labels:
            axes.annotate(
                event.label,
                (event.time, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, 4 + 9 * (index % 2)),
                textcoords="offset points",
                fontsize=8.5,
                color=INK,
            )


def _draw_gap(axes: Axes, story: Story) -> None:
    if not story.gap:
        return
    start, end = story.gap
    axes.axvspan(start, end, color=LOST, alpha=0.10, linewidth=0, zorder=0)
    if axes.get_yscale() != "log":
        return
    bottom, top = axes.get_ylim()
    height = bottom * (top / bottom) ** 0.55
    axes.annotate(
        "", (start, height), (end, height), arrowprops={"arrowstyle": "<->", "color": LOST}
    )
    axes.text(
        (start + end) / 2,
        height * (top / bottom) ** 0.04,
        f"{end - start:.2f} s",
        ha="center",
        va="bottom",
        color=LOST,
        weight="bold",
        fontsize=12,
    )
