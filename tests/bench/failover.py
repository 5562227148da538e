#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How long an address is not served when its announcing node fails, measured in the lab.

    .venv/bin/python tests/bench/failover.py --fault power --fault switch --runs 10

Needs a lab with Herald and a pool, such as `make demo` leaves. Each run: a Service whose backends
run on other nodes than the one that announces its address; both meters on the client; the fault;
the takeover; the node healed again, still under the meters. Printed for each fault: every outage,
their median and the worst, and whether two nodes ever answered at once.

`stop` is no fault but `systemctl stop herald-agent`, which hands the address over.

Exit status: 0 measured, and within --median and --worst where these are given; 1 beyond them, two
nodes answered at once, or the address was not served again; 2 could not measure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "meter"))

from driver import LAB, ROOT, DriverError, eventually, heal_all, lease_holder, read, status
from trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE = "bench-failover"
AGENT = "herald-agent.service"
MOVES = ("power", "cable", "switch", "freeze", "stop")  # the address has to change hands
STAYS = ("agent-kill",)  # systemd starts the agent again before anybody else may claim
EITHER = ("agent-stop", "api")
ENDLESS = float("inf")  # null in the JSON
QUIET = 1.0  # seconds of undisturbed service before the fault


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Lengths in seconds; `outage` is infinite if it did not end."""

    fault: str
    node: str
    successor: str
    outage: float
    lost: int
    sent: int
    verdict: str
    tcp: str
    meter_stalled: float


def run(address: str, fault: str, folder: Path, watch: float, beyond: float) -> Result:
    """One fault on the node that announces `address`, healed after `watch` seconds."""
    heal_all()
    holder = eventually(lambda: live_holder(address), f"a live holder of {address}")
    make_service([name for name in status()["nodes"] if name != holder])
    trial = Trial(address, holder, folder)
    with trial.measured():
        time.sleep(QUIET)
        trial.note(f"{fault}: {holder}", harm(holder, fault))
        if fault in MOVES:
            trial.wait_for_move()
        time.sleep(watch)
        trial.note(f"healed: {holder}")
        heal(holder, fault)
        time.sleep(beyond)
    successor = lease_holder(address)
    if fault in STAYS and trial.moved.is_set():
        raise DriverError(f"{fault} on {holder}: wanted the address to stay, found {successor}")
    stalls = trial.outage["meter"]["stalls"]
    return Result(
        fault=fault,
        node=holder,
        successor=successor,
        outage=trial.worst,
        lost=trial.outage["lost"],
        sent=trial.outage["sent"],
        verdict=trial.answers["verdict"],
        tcp=trial.outage["tcp"]["fate"],
        meter_stalled=sum(stall["length_ms"] for stall in stalls) / 1000,
    )


def harm(node: str, fault: str) -> float:
    """Do it; when it began, in Unix seconds."""
    if fault != "stop":
        return float(read(LAB, "fault", node, fault).split()[-1])
    moment = time.time()
    read(LAB, "exec", node, "--", "systemctl", "stop", AGENT)
    return moment


def heal(node: str, fault: str) -> None:
    if fault == "stop":
        read(LAB, "exec", node, "--", "systemctl", "start", AGENT)
    else:
        read(LAB, "heal", node)


def make_service(backends: Sequence[str]) -> str:
    """The Service with these backends; its address."""
    words = (LAB, "service", SERVICE, "--udp", "--backends", ",".join(backends), "--wait", "30")
    return read(*words).split()[0]


def live_holder(address: str) -> str:
    """The holder, if its agent runs; empty otherwise."""
    holder = lease_holder(address)
    nodes = status()["nodes"]
    return holder if holder in nodes and nodes[holder]["agent"] == "active" else ""


def line(number: int, result: Result) -> str:
    words = f"  {number:2}  {result.node} -> {result.successor}  {result.outage:6.3f} s"
    words += f"  {result.lost} of {result.sent} lost, TCP {result.tcp}"
    if result.verdict != "one":
        words += f"  ANSWERS: {result.verdict}"
    if result.meter_stalled:
        words += f"  (the meter itself stood still for {result.meter_stalled:.3f} s)"
    return words


def summary(fault: str, outages: Sequence[float]) -> str:
    median, worst = statistics.median(outages), max(outages)
    return f"{fault}: median {median:.3f} s, worst {worst:.3f} s of {len(outages)} runs"


def failures(results: Sequence[Result], median: float | None, worst: float | None) -> list[str]:
    """What is not as it should be, in words."""
    found = [
        f"{result.fault} on {result.node}: who answers was {result.verdict!r}, wanted 'one'"
        for result in results
        if result.verdict != "one"
    ]
    for fault in dict.fromkeys(result.fault for result in results):
        outages = [result.outage for result in results if result.fault == fault]
        limits = ((statistics.median(outages), median, "median"), (max(outages), worst, "worst"))
        for value, limit, name in limits:
            if value > (ENDLESS if limit is None else limit) or value == ENDLESS:
                wanted = "an end" if limit is None else f"at most {limit:g} s"
                found.append(f"{fault}: {name} outage {value:.3f} s, wanted {wanted}")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--fault", action="append", choices=(*MOVES, *STAYS, *EITHER), help="(power and switch)")
    add("--runs", type=int, default=10, metavar="N", help="of each fault (10)")
    add("--watch", type=float, default=3, metavar="SECONDS", help="from takeover to healing (3)")
    add("--beyond", type=float, default=5, metavar="SECONDS", help="captured after healing (5)")
    add("--median", type=float, metavar="SECONDS", help="the most that is accepted (anything)")
    add("--worst", type=float, metavar="SECONDS", help="the most that is accepted (anything)")
    add("--json", type=Path, metavar="FILE", help="write every run there")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    folder = ROOT / "build" / "bench" / "failover"
    results: list[Result] = []
    try:
        heal_all()
        address = make_service(list(status()["nodes"]))
        for fault in wanted.fault or ["power", "switch"]:
            print(f"{fault}: node -> successor, outage of {address}", flush=True)
            for number in range(1, wanted.runs + 1):
                place = folder / f"{fault}-{number}"
                results.append(run(address, fault, place, wanted.watch, wanted.beyond))
                print(line(number, results[-1]), flush=True)
            print(summary(fault, [r.outage for r in results if r.fault == fault]), flush=True)
        heal_all()
        read(LAB, "service", SERVICE, "--delete")
    except DriverError as error:
        print(f"failover: {error}", file=sys.stderr)
        return 2
    if wanted.json:
        rows = [asdict(r) | {"outage": r.outage if r.outage < ENDLESS else None} for r in results]
        wanted.json.write_text(json.dumps(rows, indent=2) + "\n")
    wrong = failures(results, wanted.median, wanted.worst)
    for words in wrong:
        print(f"failover: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
