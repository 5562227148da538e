#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The outage meter: what a client loses while the node that announces an address goes away.

Sends one UDP datagram every interval to each address, each from a source port of its own
(datagrams.py), and holds one long-lived TCP connection to each that exchanges a line every 100 ms
(conversation.py). The server has to send back what it gets; what it appends is shown as the
backend's name (echo.py does both). A datagram that is not answered within the limit is lost; what a
gap is, gaps.py defines. Several addresses take turns within the interval; their report is a list,
`targets`, of what one address reports.

The meter sends by an absolute schedule. Where it falls behind it skips what it missed, says so,
and tells its own stalls from the service's gaps.

Says on stderr when the first datagram (to each address) is answered: from then on, what is lost was
lost.
Ends after --seconds, or at SIGINT or SIGTERM, and then reports. Exit status: 0 measured, whatever
was lost; 2 could not measure.
"""

from __future__ import annotations

import argparse
import select
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clock import MS, SECOND, Clock, steady
from conversation import Conversation
from datagrams import Datagrams, allow_descriptors
from gaps import Gap, Sample, gaps, longest_silence, stalls
from options import addresses, positive, stop_by_signal, write

if TYPE_CHECKING:
    from collections.abc import Sequence


class Meter:
    """Sends by the schedule and takes in answers; what it found stays in its fields."""

    def __init__(
        self, addresses: Sequence[str], port: int, interval: int, limit: int, *, tcp: bool
    ):
        self.addresses = addresses
        self.interval = interval  # between datagrams to one address
        self.limit = limit
        self.clock = Clock()
        self.start = 0
        self.skipped = 0  # sendings that fell out because the meter was late
        self.latest = 0  # the worst lateness of a sending, ns
        self.stopped = False
        self._epoll = select.epoll()
        self.datagrams = Datagrams(addresses, port, limit, self.clock, self._epoll)
        self.conversations = {a: Conversation(a, port) for a in addresses if tcp}
        self._talking: dict[int, Conversation] = {}  # by descriptor

    def run(self, seconds: float) -> None:
        """Measure for `seconds`, then wait for the last answers."""
        for conversation in self.conversations.values():
            if conversation.ended is None:
                self._epoll.register(conversation.socket, conversation.interest())
                self._talking[conversation.socket.fileno()] = conversation
        pace = self.interval // len(self.addresses)
        self.start = self.clock.now()
        slots = max(1, round(seconds * SECOND / pace))
        slot = 0
        while slot < slots and not self.stopped:
            due = self.start + slot * pace
            self._serve_until(due)
            late = self.clock.now() - due
            missed = min(late // pace, slots - 1 - slot)
            self.latest = max(self.latest, late)
            self.skipped += missed
            self.datagrams.send(self.addresses[slot % len(self.addresses)])
            slot += 1 + missed
        end = self.clock.now() + self.limit
        while self.datagrams.waiting and self.clock.now() < end:
            self._serve_until(self.clock.now() + 10 * MS)
        self.datagrams.expire(end + self.limit)
        for conversation in self.conversations.values():
            conversation.close(self.clock.now())

    def _serve_until(self, due: int) -> None:
        """Take in answers until `due`. epoll counts in milliseconds; what is left is slept."""
        while (left := due - self.clock.now()) >= MS:
            self._receive(left // MS / 1000)
        if left > 0:
            time.sleep(left / SECOND)
        self._receive(0)

    def _receive(self, timeout: float) -> None:
        unserved = bool(self.datagrams.unanswered)
        for descriptor, _ in self._epoll.poll(timeout):
            if descriptor in self._talking:
                self._converse(descriptor)
            else:
                self.datagrams.ready(descriptor)
        if unserved and not self.datagrams.unanswered:
            print("outage: the first datagram is answered", file=sys.stderr, flush=True)
        now = self.clock.now()
        self.datagrams.expire(now)
        for descriptor, conversation in list(self._talking.items()):
            conversation.tick(now)
            if conversation.ended is not None:
                del self._talking[descriptor]

    def _converse(self, descriptor: int) -> None:
        conversation = self._talking[descriptor]
        conversation.ready(self.clock.now())
        if conversation.ended is None:
            self._epoll.modify(descriptor, conversation.interest())
        else:
            del self._talking[descriptor]


def report(meter: Meter, address: str, realtime: bool) -> dict[str, Any]:
    """What was measured of `address`, ready for JSON: times in Unix seconds, lengths in ms."""
    samples = meter.datagrams.samples(address)
    unix = meter.clock.unix
    conversation = meter.conversations.get(address)
    rtts = sorted(sample.rtt for sample in samples if sample.rtt is not None)
    found = gaps(samples, meter.interval)
    return {
        "address": address,
        "port": meter.datagrams.port,
        "start": unix(meter.start),
        "interval_ms": meter.interval / MS,
        "limit_ms": meter.limit / MS,
        "sent": len(samples),
        "answered": len(rtts),
        "lost": len(samples) - len(rtts),
        "worst_gap_ms": _ms(max((gap.length for gap in found), default=0)),
        "longest_silence_ms": _ms(longest_silence(samples)),
        "gaps": [_gap(gap, unix) for gap in found],
        "rtt_ms": {
            "median": _ms(int(statistics.median(rtts))) if rtts else None,
            "max": _ms(rtts[-1]) if rtts else None,
        },
        "backends": dict(Counter(sample.backend for sample in samples if sample.rtt is not None)),
        "errors": dict(meter.datagrams.errors[address]),
        "meter": {
            "realtime": realtime,
            "skipped": meter.skipped,
            "worst_lateness_ms": _ms(meter.latest),
            "stalls": [
                {"start": unix(stall.start), "end": unix(stall.end), "length_ms": _ms(stall.length)}
                for stall in stalls((sample.sent for sample in samples), meter.interval)
            ],
        },
        "tcp": _tcp(conversation, unix) if conversation else None,
        "samples": [_sample(sample, unix) for sample in samples],
    }


def _gap(gap: Gap, unix: Any) -> dict[str, Any]:
    return {
        "start": unix(gap.start),
        "end": unix(gap.end),
        "length_ms": _ms(gap.length),
        "lost": gap.lost,
        "opened": gap.opened,
        "closed": gap.closed,
        "stalled_ms": _ms(gap.stalled),
    }


def _tcp(conversation: Conversation, unix: Any) -> dict[str, Any]:
    return {
        "fate": conversation.fate,
        "reason": conversation.reason,
        "connected": None if conversation.connected is None else unix(conversation.connected),
        "ended": None if conversation.ended is None else unix(conversation.ended),
        "lines": conversation.lines,
        "pauses": [
            {"start": unix(pause.start), "end": None if pause.end is None else unix(pause.end)}
            for pause in conversation.pauses
        ],
    }


def _sample(sample: Sample, unix: Any) -> list[Any]:
    return [unix(sample.sent), None if sample.rtt is None else _ms(sample.rtt), sample.backend]


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / MS, 3)


def text(found: dict[str, Any]) -> str:
    """The report in words."""
    start = found["start"]
    head = f"{found['sent']} datagrams, one every {found['interval_ms']:g} ms"
    count = f"{found['answered']} answered, {found['lost']} lost"
    lines = [f"{found['address']} port {found['port']}: {head}: {count}"]
    if found["backends"]:
        shares = ", ".join(
            f"{name or 'unnamed'} {count}" for name, count in sorted(found["backends"].items())
        )
        rtt = found["rtt_ms"]
        lines.append(f"  answered by {shares}; median {rtt['median']} ms, slowest {rtt['max']} ms")
    lines += [_gap_text(gap, start) for gap in found["gaps"]]
    if found["gaps"]:
        words = f"  worst gap {found['worst_gap_ms']:.0f} ms"
        if found["answered"] > 1:
            words += f", longest time without an answer {found['longest_silence_ms']:.0f} ms"
        lines.append(words)
    else:
        lines.append("  no gap")
    if found["errors"]:
        reasons = ", ".join(f"{name} {count}" for name, count in found["errors"].items())
        lines.append(f"  refused: {reasons}")
    if found["tcp"]:
        lines.append(_tcp_text(found["tcp"], start))
    lines.append(_meter_text(found["meter"], start))
    return "\n".join(lines)


def _gap_text(gap: dict[str, Any], start: float) -> str:
    begin = gap["start"] - start
    words = f"  gap of {gap['length_ms']:.0f} ms at {begin:.3f} s, {gap['lost']} lost"
    if not gap["opened"]:
        words += ", nothing answered before it"
    if not gap["closed"]:
        words += ", not over at the end"
    if gap["stalled_ms"]:
        words += f", {gap['stalled_ms']:.0f} ms of it the meter itself stood still"
    return words


def _tcp_text(tcp: dict[str, Any], start: float) -> str:
    words = f"  TCP connection: {tcp['fate']}"
    if tcp["connected"] is None:
        return f"{words}{': ' + tcp['reason'] if tcp['reason'] else ', no answer'}"
    if tcp["ended"] is not None:
        words += f" after {tcp['ended'] - tcp['connected']:.3f} s ({tcp['reason']})"
    words += f", {tcp['lines']} lines"
    for pause in tcp["pauses"]:
        words += f", no answer from {pause['start'] - start:.3f} s "
        words += "to the end" if pause["end"] is None else f"to {pause['end'] - start:.3f} s"
    return words


def _meter_text(meter: dict[str, Any], start: float) -> str:
    words = f"  meter: latest sending {meter['worst_lateness_ms']:.1f} ms behind its schedule"
    if not meter["skipped"]:
        return words
    words += f", {meter['skipped']} sendings skipped"
    for stall in meter["stalls"]:
        words += f", stalled {stall['length_ms']:.0f} ms at {stall['start'] - start:.3f} s"
    return words


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "address", type=addresses, help="IPv4 or IPv6 address to measure; or several, by comma"
    )
    parser.add_argument("port", type=_port, help="UDP (and TCP) port of an echo server")
    parser.add_argument("--seconds", type=positive, required=True, metavar="N")
    parser.add_argument(
        "--interval-ms",
        type=positive,
        default=10,
        metavar="N",
        help="between datagrams to an address (10)",
    )
    parser.add_argument(
        "--limit-ms", type=positive, default=1000, metavar="N", help="for an answer (1000)"
    )
    parser.add_argument("--no-tcp", action="store_true", help="send datagrams only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    return parser.parse_args()


def _port(word: str) -> int:
    port = int(word)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"wanted 1 to 65535, found {word}")
    return port


def main() -> int:
    arguments = _arguments()
    interval, limit = int(arguments.interval_ms * MS), int(arguments.limit_ms * MS)
    targets = [str(address) for address in arguments.address]
    try:
        allow_descriptors(len(targets) * (limit // interval + 2) + 100)
        meter = Meter(targets, arguments.port, interval, limit, tcp=not arguments.no_tcp)
        stop_by_signal(meter)
        realtime = steady()
        meter.run(arguments.seconds)
    except OSError as error:
        print(f"outage: cannot measure {', '.join(targets)}: {error}", file=sys.stderr)
        return 2
    found = [report(meter, address, realtime) for address in targets]
    print("\n".join(map(text, found)))
    if arguments.json:
        write(arguments.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
