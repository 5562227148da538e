#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who answers ARP (or neighbour discovery) for an address, and when; and did two answer at once?

Asks for the address every interval, from made-up neighbours that leave this host's own neighbour
entries alone (segment.py), and captures every request, answer and announcement about it, stamped by
the kernel. What counts as two at once, judge.py defines, and what as nobody, silences.py. With
--passive nothing is sent. Several addresses take turns within the interval; their report is a list,
`targets`, of what one address reports.

Ends after --seconds, or at SIGINT or SIGTERM, and then reports. Exit status, the first that holds:

  1  two answered at once for one address
  2  could not listen, or frames were missed, so that nothing is proven
  3  nobody answered for an address
  0  somebody answered, and never two at once
"""

from __future__ import annotations

import argparse
import ipaddress
import select
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import MS, SECOND, Clock, steady
from judge import WINDOW, Judge
from options import addresses, positive, stop_by_signal, write
from segment import SOURCE4, Frame, Segment, sole_interface
from silences import Silence, Silences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from options import Address

ANNOUNCEMENTS = ("garp", "unsolicited-na", "claim")
SHOWN = 5  # spells at each end of the list, in words
STATUS = {"two": 1, "incomplete": 2, "nobody": 3, "one": 0}  # the worst first


class Listener:
    """Asks by the schedule, hears everything; what it found stays in its fields."""

    def __init__(
        self, segment: Segment, addresses: Sequence[Address], window: int, interval: int | None
    ):
        """`interval`: ns between two questions for an address; None: never asked."""
        self.segment = segment
        self.addresses = addresses
        self.interval = interval
        self.clock = segment.clock
        self.judges = {address.packed: Judge(window) for address in addresses}
        self.silences = {a.packed: Silences(interval) for a in addresses if interval is not None}
        # Answers and announcements.
        self.heard: dict[bytes, list[Frame]] = {address.packed: [] for address in addresses}
        self.start = self.clock.now()
        self.end = self.start
        self.worst_pause = 0  # between two of our own requests, ns
        self.missed = 0
        self.stopped = False

    def run(self, seconds: float | None, source4: Any) -> None:
        """Listen for `seconds` (None: until stopped), asking for each address every interval."""
        count = len(self.addresses)
        pace = None if self.interval is None else self.interval // count
        poll = select.poll()
        poll.register(self.segment.capture, select.POLLIN)
        end = None if seconds is None else self.start + int(seconds * SECOND)
        due, asked, sequence = self.start, self.start, 0
        while not self.stopped and (end is None or self.clock.now() < end):
            now = self.clock.now()
            if pace is not None and now >= due:
                address = self.addresses[sequence % count]
                self.segment.ask(address, sequence // count, source4)
                self.worst_pause = max(self.worst_pause, now - asked)
                asked, sequence = now, sequence + 1
                due += pace * (1 + (now - due) // pace)
            wait = min(100 * MS, due - now if pace is not None and due > now else 100 * MS)
            if poll.poll(-(-wait // MS)):
                self._take()
        poll.poll(50)  # the answer to the last request
        self._take()
        self.end = self.clock.now()
        for silences in self.silences.values():
            silences.finish(self.end)
        self.missed = self.segment.missed()

    def _take(self) -> None:
        for frame in self.segment.heard():
            self.judges[frame.about].feed(frame)
            if frame.about in self.silences:
                self.silences[frame.about].feed(frame)
            if frame.kind != "request":
                self.heard[frame.about].append(frame)

    def verdict(self, address: Address) -> str:
        judge = self.judges[address.packed]
        if judge.violations:
            return "two"
        if self.missed:
            return "incomplete"
        return "one" if judge.spells else "nobody"


def report(listener: Listener, address: Address, names: dict[str, str]) -> dict[str, Any]:
    """What was heard of `address`, ready for JSON: times in Unix seconds, lengths in ms."""
    unix, judge = listener.clock.unix, listener.judges[address.packed]
    heard = listener.heard[address.packed]
    silences = listener.silences[address.packed].found if listener.silences else []
    kinds = Counter((frame.mac, frame.kind in ANNOUNCEMENTS) for frame in heard)
    macs = dict.fromkeys(frame.mac for frame in heard)
    return {
        "address": str(address),
        "start": unix(listener.start),
        "end": unix(listener.end),
        "verdict": listener.verdict(address),
        "requests": judge.requests,
        "answered": judge.answered,
        "latency_us": {
            "median": round(statistics.median(judge.latencies) / 1000, 1),
            "max": round(max(judge.latencies) / 1000, 1),
        }
        if judge.latencies
        else None,
        "worst_silence_ms": round(max((s.length for s in silences), default=0) / MS, 3),
        "silences": [_silence(silence, unix) for silence in silences],
        "worst_pause_ms": round(listener.worst_pause / MS, 3),
        "missed": listener.missed,
        "window_ms": judge.window / MS,
        "macs": [
            {
                "mac": mac,
                "name": names.get(mac, mac),
                "answers": kinds[mac, False],
                "announcements": kinds[mac, True],
                "first": min((unix(s.first) for s in judge.spells if s.mac == mac), default=None),
                "last": max((unix(s.last) for s in judge.spells if s.mac == mac), default=None),
            }
            for mac in macs
        ],
        "spells": [
            {
                "mac": spell.mac,
                "first": unix(spell.first),
                "last": unix(spell.last),
                "answers": spell.answers,
            }
            for spell in judge.spells
        ],
        "violations": [
            {
                "rule": violation.rule,
                "time": unix(violation.time),
                "first": violation.first,
                "second": violation.second,
            }
            for violation in judge.violations
        ],
        "heard": [[unix(frame.time), frame.mac, frame.kind] for frame in heard],
    }


def _silence(silence: Silence, unix: Callable[[int], float]) -> dict[str, Any]:
    return {
        "start": unix(silence.start),
        "end": unix(silence.end),
        "length_ms": round(silence.length / MS, 3),
        "questions": silence.questions,
        "closed": silence.closed,
        "stalled_ms": round(silence.stalled / MS, 3),
    }


def text(found: dict[str, Any]) -> str:
    """The report in words."""
    names = {entry["mac"]: entry["name"] for entry in found["macs"]}
    start = found["start"]
    lines = [
        f"{found['address']}: {found['requests']} requests, {found['answered']} of them answered"
    ]
    if found["latency_us"]:
        median, worst = found["latency_us"]["median"], found["latency_us"]["max"]
        lines[0] += f", after {median:.0f} µs (median; at most {worst:.0f})"
    for entry in found["macs"]:
        label = entry["mac"] if entry["name"] == entry["mac"] else f"{entry['name']} {entry['mac']}"
        lines.append(
            f"  {label}: {entry['answers']} answers, {entry['announcements']} announcements"
        )
    lines += _spell_lines(found["spells"], names, start)
    if found["silences"]:
        worst = max(found["silences"], key=lambda silence: float(silence["length_ms"]))
        lines.append(_silence_text(worst, len(found["silences"]), start))
    lines += [
        f"  {violation['time'] - start:.6f} s: {names[violation['first']]} and "
        f"{names[violation['second']]} both answered ({violation['rule']})"
        for violation in found["violations"][:SHOWN]
    ]
    lines.append(f"  {_verdict_text(found)}")
    return "\n".join(lines)


def _spell_lines(spells: list[dict[str, Any]], names: dict[str, str], start: float) -> list[str]:
    """Who answered from when to when; the middle of a long list is left to the JSON."""
    lines = []
    for index, spell in enumerate(spells):
        words = f"  {spell['first'] - start:9.3f} s to {spell['last'] - start:9.3f} s  "
        words += f"{names[spell['mac']]} ({spell['answers']})"
        if index:
            silence = spell["first"] - spells[index - 1]["last"]
            words += f", {silence * 1000:.0f} ms after the one before"
        lines.append(words)
    if len(lines) > 2 * SHOWN:
        lines[SHOWN:-SHOWN] = [f"  … {len(lines) - 2 * SHOWN} more …"]
    return lines


def _silence_text(silence: dict[str, Any], count: int, start: float) -> str:
    words = (
        f"  nobody answered for {silence['length_ms']:.0f} ms at {silence['start'] - start:.3f} s"
    )
    words += f", {silence['questions']} times asked"
    if not silence["closed"]:
        words += ", not over at the end"
    if silence["stalled_ms"]:
        words += f", {silence['stalled_ms']:.0f} ms of it the meter itself stood still"
    return words + (f"; the worst of {count} such times" if count > 1 else "")


def _verdict_text(found: dict[str, Any]) -> str:
    return {
        "one": "never two at once",
        "two": f"TWO ANSWERED AT ONCE, {len(found['violations'])} times",
        "incomplete": f"{found['missed']} frames were missed: nothing is proven",
        "nobody": "nobody answered",
    }[found["verdict"]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "address", type=addresses, help="IPv4 or IPv6 address; or several, by comma"
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="(until stopped)")
    parser.add_argument("--interface", metavar="NAME", help="(the only one that is up)")
    parser.add_argument(
        "--interval-ms",
        type=positive,
        default=10,
        metavar="N",
        help="between requests for an address (10)",
    )
    parser.add_argument(
        "--window-ms", type=positive, default=WINDOW / MS, metavar="N", help="see judge.py (1000)"
    )
    parser.add_argument(
        "--source",
        type=ipaddress.IPv4Address,
        default=SOURCE4,
        metavar="IP",
        help=f"an IPv4 address that nobody has, to ask from ({SOURCE4})",
    )
    parser.add_argument("--passive", action="store_true", help="listen only")
    parser.add_argument(
        "--name",
        type=_name,
        action="append",
        default=[],
        metavar="NAME=MAC",
        help="call this MAC by a name in the report; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    return parser.parse_args()


def _name(word: str) -> tuple[str, str]:
    name, _, mac = word.partition("=")
    if not name or len(mac.split(":")) != 6:
        raise argparse.ArgumentTypeError(f"wanted NAME=xx:xx:xx:xx:xx:xx, found {word}")
    return mac.lower(), name


def main() -> int:
    arguments = _arguments()
    targets: list[Address] = arguments.address
    wanted = ", ".join(map(str, targets))
    try:
        segment = Segment(arguments.interface or sole_interface(), targets, Clock())
    except OSError as error:
        print(f"answers: cannot listen for {wanted}: {error}", file=sys.stderr)
        return STATUS["incomplete"]
    steady()
    interval = None if arguments.passive else int(arguments.interval_ms * MS)
    listener = Listener(segment, targets, int(arguments.window_ms * MS), interval)
    stop_by_signal(listener)
    print(f"answers: listening for {wanted}", file=sys.stderr, flush=True)
    try:
        listener.run(arguments.seconds, arguments.source)
    except OSError as error:
        print(f"answers: cannot go on for {wanted}: {error}", file=sys.stderr)
        return STATUS["incomplete"]
    names = dict(arguments.name)
    found = [report(listener, address, names) for address in targets]
    print("\n".join(map(text, found)))
    if arguments.json:
        write(arguments.json, found)
    verdicts = {entry["verdict"] for entry in found}
    return next(status for verdict, status in STATUS.items() if verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
