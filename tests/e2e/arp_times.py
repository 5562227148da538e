#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How long answers to ARP requests take: for each address given, in turns, as JSON in microseconds.

Run on the client. Request and answer are stamped by the kernel on one socket, so what is measured
is the way through the switch to the node and back, not this program.
"""

import json
import select
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab/meter"))

from clock import Clock, steady
from segment import SOURCE4, Segment, sole_interface

ROUNDS = 1000
LIMIT = 200  # milliseconds for an answer


def main() -> None:
    clock = Clock()
    interface, addresses = sole_interface(), [ip_address(word) for word in sys.argv[1:]]
    segments = {address: Segment(interface, [address], clock) for address in addresses}
    found: dict[str, list[float]] = {word: [] for word in sys.argv[1:]}
    steady()
    for turn in range(ROUNDS):
        for address, segment in segments.items():
            took = once(segment, address, turn)
            if took is not None:
                found[str(address)].append(took / 1000)
    print(json.dumps(found))


def once(segment: Segment, address: IPv4Address | IPv6Address, turn: int) -> int | None:
    """Nanoseconds from one request to its answer; None where none came."""
    poll = select.poll()
    poll.register(segment.capture, select.POLLIN)
    segment.heard()
    segment.ask(address, turn, SOURCE4)
    asked = None
    while poll.poll(LIMIT):
        for frame in segment.heard():
            if frame.kind == "request":
                asked = frame.time
            elif frame.kind == "reply" and asked is not None:
                return frame.time - asked
    return None


if __name__ == "__main__":
    main()
