#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How long an address is not served when its announcing node fails, measured in the lab.

    .venv/bin/python tests/bench/failover.py --fault power --fault switch --runs 10

Needs a lab with Herald and a pool, such as `make demo` leaves. Each run: a Service whose backends
run on other nodes than the one that announces its address; both meters on the client; the fault;
the takeover; the node healed again, still under the meters. Printed for each fault: every outage,
their median and the worst, and whether two nodes ever answered at once.

With `--addresses 50` the node has so many, of as many Services on one backend; an outage lasts until
the last of them is served.

With `--duration-ms 800` every agent lives by that D meanwhile; then they are configured as before.

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
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "meter"))

from driver import LAB, ROOT, DriverError, eventually, heal_all, lease_holder, read, status
from trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERVICE = "bench-failover"
POOL = ROOT / "tests" / "lab" / "many.yml"
AGENT = "herald-agent.service"
CONFIG = "/etc/herald/agent.toml"
HERALDCTL = "/opt/herald/current/bin/heraldctl"
MOVES = ("power", "cable", "switch", "freeze", "stop")  # the address has to change hands
STAYS = ("agent-kill",)  # systemd starts the agent again before anybody else may claim
EITHER = ("agent-stop", "api")
ENDLESS = float("inf")  # null in the JSON
QUIET = 1.0  # seconds of undisturbed service before the fault
SETTLED = 2.0  # seconds after addresses were gathered, for what is told of the moves


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


def run(
    addresses: Sequence[str], fault: str, folder: Path, watch: float, beyond: float, rate: int
) -> Result:
    """One fault on the node that announces `addresses`, healed after `watch` seconds."""
    heal_all()
    address, *more = addresses
    holder = eventually(lambda: live_holder(address), f"a live holder of {address}")
    others = [name for name in status()["nodes"] if name != holder]
    make_service(others, len(addresses))
    if more:
        gather(holder, others, addresses)
    trial = Trial(address, holder, folder, more, rate)
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
    stalls = [stall for report in trial.outages for stall in report["meter"]["stalls"]]
    return Result(
        fault=fault,
        node=holder,
        successor=successor,
        outage=trial.worst,
        lost=sum(report["lost"] for report in trial.outages),
        sent=sum(report["sent"] for report in trial.outages),
        verdict=trial.verdict,
        tcp="/".join(sorted({report["tcp"]["fate"] for report in trial.outages})),
        meter_stalled=max((stall["length_ms"] for stall in stalls), default=0) / 1000,
    )


@contextmanager
def living_by(duration: int | None) -> Iterator[None]:
    """Every agent with this D (ms; None: the one that it has), then with the one that it had."""
    setting = f"duration_ms = {duration}"
    with ExitStack() as undo:
        for node in status()["nodes"] if duration else ():
            on_node(node, "cp", "--preserve", CONFIG, f"{CONFIG}.bench")
            undo.callback(give_back, node)
            on_node(node, "sed", "-i", f"s/^duration_ms = .*/{setting}/", CONFIG)
            on_node(node, "grep", "-x", setting, CONFIG)  # there was such a line
            start_anew(node)
        yield


def give_back(node: str) -> None:
    """The configuration that the node's agent had."""
    on_node(node, "mv", f"{CONFIG}.bench", CONFIG)
    start_anew(node)


def start_anew(node: str) -> None:
    """The agent reads its configuration; returns once it says that it is well."""
    on_node(node, "systemctl", "restart", AGENT)
    on_node(node, HERALDCTL, "status", "--wait", "60")


def on_node(node: str, *command: str) -> None:
    read(LAB, "exec", node, "--", *command)


def harm(node: str, fault: str) -> float:
    """Do it; when it began, in Unix seconds."""
    if fault != "stop":
        return float(read(LAB, "fault", node, fault).split()[-1])
    moment = time.time()
    on_node(node, "systemctl", "stop", AGENT)
    return moment


def heal(node: str, fault: str) -> None:
    if fault == "stop":
        on_node(node, "systemctl", "start", AGENT)
    else:
        read(LAB, "heal", node)


def make_service(backends: Sequence[str], count: int) -> list[str]:
    """So many Services with these backends; an address of each."""
    copies = ("--copies", str(count), "--annotation", "herald.dev/pool=many", "--wait", "60")
    words = (LAB, "service", SERVICE, "--udp", "--backends", ",".join(backends), *copies)
    return read(*words).split()


@contextmanager
def served(count: int) -> Iterator[list[str]]:
    """An address of each of so many Services, with backends on every node; then all nodes are well, and they go."""
    with ExitStack() as undo:
        undo.callback(read, LAB, "kubectl", "delete", "--ignore-not-found", "--filename", str(POOL))
        read(LAB, "kubectl", "apply", "--filename", str(POOL))
        undo.callback(read, LAB, "service", SERVICE, "--delete")
        undo.callback(heal_all)
        yield make_service(list(status()["nodes"]), count)


def gather(holder: str, others: Sequence[str], addresses: Sequence[str]) -> None:
    """Have `holder` announce all addresses, by draining the others for a moment."""
    words = (LAB, "kubectl", "annotate", "node", *others)
    read(*words, "herald.dev/drain=true")
    try:
        eventually(lambda: announced_by(holder) >= set(addresses), f"all addresses on {holder}")
    finally:
        read(*words, "herald.dev/drain-")
    time.sleep(SETTLED)


def announced_by(node: str) -> set[str]:
    """The IPv4 addresses that the node announces by their leases."""
    names = read(
        LAB,
        "kubectl",
        "--namespace",
        "herald-system",
        "get",
        "lease",
        '--output=jsonpath={range .items[*]}{.spec.holderIdentity} {.metadata.name}{"\\n"}{end}',
    )
    held = [line.split() for line in names.splitlines()]
    return {words[1].removeprefix("vip-").replace("-", ".") for words in held if words[0] == node}


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
    add("--duration-ms", type=int, metavar="N", help="D of every agent (as it is configured)")
    add("--addresses", type=int, default=1, metavar="N", help="that the node has (1)")
    add("--watch", type=float, default=3, metavar="SECONDS", help="from takeover to healing (3)")
    add("--rate", type=int, default=1000, metavar="N", help="datagrams a second, to all (1000)")
    add("--beyond", type=float, default=5, metavar="SECONDS", help="captured after healing (5)")
    add("--median", type=float, metavar="SECONDS", help="the most that is accepted (anything)")
    add("--worst", type=float, metavar="SECONDS", help="the most that is accepted (anything)")
    add("--json", type=Path, metavar="FILE", help="write every run there")
    return parser.parse_args()


def measure(wanted: argparse.Namespace) -> list[Result]:
    """Every run, printed as it is done."""
    results: list[Result] = []
    with served(wanted.addresses) as addresses:
        for fault in wanted.fault or ["power", "switch"]:
            named = addresses[0] if wanted.addresses == 1 else f"{wanted.addresses} addresses"
            print(f"{fault}: node -> successor, outage of {named}", flush=True)
            for number in range(1, wanted.runs + 1):
                place = ROOT / "build" / "bench" / "failover" / f"{fault}-{number}"
                results.append(
                    run(addresses, fault, place, wanted.watch, wanted.beyond, wanted.rate)
                )
                print(line(number, results[-1]), flush=True)
            print(summary(fault, [r.outage for r in results if r.fault == fault]), flush=True)
    return results


def main() -> int:
    wanted = arguments()
    try:
        heal_all()
        with living_by(wanted.duration_ms):
            results = measure(wanted)
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
