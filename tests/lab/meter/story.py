# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One failover, told from the two reports: what timeline.py and picture.py draw, and say.

Times are seconds from `zero`, Unix seconds: the first event, or else the beginning of the worst
gap, or else the beginning of the measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

ANNOUNCEMENTS = ("garp", "unsolicited-na", "claim")
BEFORE, AFTER = 1.0, 1.5  # seconds shown around what happened


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or seen elsewhere, at `time`."""

    time: float
    label: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One node: when it answered for the address, and when it announced it."""

    name: str
    answers: list[float]
    announcements: list[float]


@dataclass(frozen=True, slots=True)
class Story:
    """What happened from `begin` to `end`."""

    title: str
    protocol: str  # by which the address is asked for: ARP or ND
    zero: float
    begin: float
    end: float
    events: list[Event]
    lanes: list[Lane]
    served: list[tuple[float, float]]  # when it was sent, round trip in ms
    lost: list[float]
    gap: tuple[float, float] | None  # the worst one
    two: list[float]  # when two nodes answered at once
    figures: list[str] = field(default_factory=list)


def tell(
    outage: dict[str, Any] | None,
    answers: dict[str, Any] | None,
    events: list[dict[str, Any]],
    *,
    whole: bool = False,
) -> Story:
    """The story of the reports of outage.py and answers.py (one of them at least) and `events`.

    An event is a dict of `time` (Unix seconds) and `label`. It is shown from one second before
    what happened to a moment after it, or `whole`.
    """
    events = sorted(events, key=lambda event: float(event["time"]))
    reports = [report for report in (outage, answers) if report]
    if not reports:
        raise ValueError("wanted the report of outage.py, of answers.py, or both, found neither")
    worst = max(outage["gaps"], key=lambda gap: gap["length_ms"], default=None) if outage else None
    moments = [event["time"] for event in events] + ([worst["start"]] if worst else [])
    zero = moments[0] if moments else min(report["start"] for report in reports)
    samples = [(sent - zero, rtt) for sent, rtt, _ in outage["samples"]] if outage else []
    lanes = _lanes(answers, zero) if answers else []
    measured = [time for time, _ in samples] or [t for lane in lanes for t in lane.answers]
    begin, end = min(measured, default=0.0), max(measured, default=1.0)
    moments += [worst["end"]] if worst else []
    for before, after in pairwise(answers["spells"] if answers else []):
        moments += [before["last"], after["first"]]
    if moments and not whole:
        begin = max(begin, min(moments) - zero - BEFORE)
        end = min(end, max(moments) - zero + AFTER)
    port = f" port {outage['port']}" if outage else ""
    return Story(
        title=f"{reports[0]['address']}{port}",
        protocol=_protocol(reports[0]),
        zero=zero,
        begin=begin,
        end=max(end, begin + 0.1),
        events=[Event(event["time"] - zero, event["label"]) for event in events],
        lanes=lanes,
        served=[(time, rtt) for time, rtt in samples if rtt is not None],
        lost=[time for time, rtt in samples if rtt is None],
        gap=(worst["start"] - zero, worst["end"] - zero) if worst else None,
        two=[violation["time"] - zero for violation in answers["violations"]] if answers else [],
        figures=[
            *(_outage_figures(outage, worst) if outage else []),
            *(_answer_figures(answers, events) if answers else []),
            *(_tcp_figures(outage, zero) if outage else []),
            *(_meter_figures(outage, answers)),
        ],
    )


def _protocol(report: dict[str, Any]) -> str:
    return "ND" if ":" in report["address"] else "ARP"


def _lanes(answers: dict[str, Any], zero: float) -> list[Lane]:
    lanes = {
        entry["mac"]: Lane(entry["name"], [], []) for entry in answers["macs"]
    }  # in the order of their first frames
    for time, mac, kind in answers["heard"]:
        lane = lanes[mac]
        (lane.announcements if kind in ANNOUNCEMENTS else lane.answers).append(time - zero)
    return sorted(lanes.values(), key=lambda lane: lane.name)


def _outage_figures(outage: dict[str, Any], worst: dict[str, Any] | None) -> list[str]:
    count = f"{outage['lost']} of {outage['sent']} requests lost"
    if worst is None:
        return [f"no outage: {count}"]
    seconds = worst["length_ms"] / 1000
    if not worst["opened"]:
        return [f"not served for the first {seconds:.2f} s: {count}"]
    if not worst["closed"]:
        return [f"not served again: {seconds:.2f} s until the end of the measurement, {count}"]
    others = len(outage["gaps"]) - 1
    more = f", in {others + 1} gaps, the worst of which is this" if others else ""
    return [f"outage of {seconds:.2f} s: {count}{more}"]


def _answer_figures(answers: dict[str, Any], events: list[dict[str, Any]]) -> list[str]:
    figures = []
    names = {entry["mac"]: entry["name"] for entry in answers["macs"]}
    for before, after in pairwise(answers["spells"]):
        if before["mac"] == after["mac"] or answers["verdict"] == "two":
            continue
        words = f"{names[after['mac']]} took over from {names[before['mac']]}: its first answer "
        words += f"{after['first'] - before['last']:.2f} s after the last of the old one"
        if events and events[0]["time"] <= after["first"]:
            words += f", {after['first'] - events[0]['time']:.2f} s after {events[0]['label']!r}"
        figures.append(words)
    figures.append(
        {
            "one": f"never two at once: {answers['answered']} {_protocol(answers)} answers heard",
            "two": f"TWO ANSWERED AT ONCE, {len(answers['violations'])} times",
            "nobody": "nobody answered",
            "incomplete": f"{answers['missed']} frames missed: who answered is not proven",
        }[answers["verdict"]]
    )
    return figures


def _tcp_figures(outage: dict[str, Any], zero: float) -> list[str]:
    tcp = outage["tcp"]
    if not tcp:
        return []
    words = f"the TCP connection that was open before: {tcp['fate']}"
    if tcp["ended"] is not None:
        words += f" at {tcp['ended'] - zero:+.2f} s ({tcp['reason']})"
    for pause in tcp["pauses"]:
        words += f", unanswered from {pause['start'] - zero:+.2f} s"
        words += " on" if pause["end"] is None else f" to {pause['end'] - zero:+.2f} s"
    return [words]


def _meter_figures(outage: dict[str, Any] | None, answers: dict[str, Any] | None) -> list[str]:
    """What the meter itself has to answer for, where it is worth a word."""
    figures = []
    if outage and outage["meter"]["stalls"]:
        stalled = sum(stall["length_ms"] for stall in outage["meter"]["stalls"])
        figures.append(f"the outage meter itself stood still for {stalled:.0f} ms")
    if answers and answers["worst_pause_ms"] > 100:
        figures.append(f"nobody was asked for {answers['worst_pause_ms']:.0f} ms at the worst")
    return figures
