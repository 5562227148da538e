#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What announcing nodes ask of the API server, counted by the API server itself, in the lab.

    .venv/bin/python tests/bench/api_load.py

Needs a lab with Herald. Its own agents are stopped meanwhile; ten nodes that are simulated in this
process (fleet) take their place, each with an identity and a token of its own. Printed, for
10 addresses, one for each node, and for 1,000: requests a second while nothing changes, over and
above what the API server is asked anyhow, and what they are made up of.

Exit status: 0 measured, within --limit requests a second, and no more for many addresses than for
few; 1 beyond that; 2 could not measure.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "meter"))

from driver import DriverError
from fleet import Fleet
from fleet.cluster import (
    POOL_CIDR,
    agents_stopped,
    fleet,
    lab_entered,
    namespace,
    nodes,
    services,
    until,
)
from herald_lab.api import Api
from herald_lab.commands import LabError
from herald_lab.layout import Lab

from herald.core.election.placement import order

Counts = Counter[tuple[str, str]]
NOISE = 2.0  # requests a second: what the API server is asked besides is not always the same


# --- what the API server is asked -------------------------------------------------------------


def requests(api: Api) -> Counts:
    """How many requests the API server has answered, by verb and resource."""
    found: Counts = Counter()
    for line in api.request("GET", "/metrics")["text"].splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            found[labels["verb"], resource or "(none)"] += int(float(line.rpartition(" ")[2]))
    return found


def rates(api: Api, seconds: float) -> dict[tuple[str, str], float]:
    """Requests a second, by verb and resource, over so many seconds from now."""
    before, begun = requests(api), time.monotonic()
    time.sleep(seconds)
    after, took = requests(api), time.monotonic() - begun
    return {key: (count - before[key]) / took for key, count in after.items()}


# --- the measurements -------------------------------------------------------------------------


def steady(api: Api, idle: float, all_of: Fleet, count: int, seconds: float) -> float:
    """Requests a second once `count` addresses are announced and everything has been written."""
    took = until(
        f"{count} addresses to be announced", lambda: len(all_of.announced()) >= count, 300
    )
    print(f"{count} addresses: all announced {took:.1f} s after the agents' start", flush=True)

    # Those that were ready first have taken more; it is handed on after the hold-down.
    until("every node to announce", lambda: all(a.kernel.entries for a in all_of.living), 300)

    def settled() -> bool:
        """Nothing was told of any Service within five seconds."""
        return not any(
            rate for (verb, _), rate in rates(api, 5).items() if verb in ("PATCH", "POST")
        )

    until("all conditions and events to be written", settled, 300)
    found = rates(api, seconds)
    total = sum(found.values()) - idle
    announcing = sum(bool(agent.kernel.entries) for agent in all_of.living)
    print(
        f"{count} addresses on {announcing} of {len(all_of.living)} nodes: {total:.1f} requests a "
        f"second over {seconds:g} s (and {idle:.1f} that are not Herald's)"
    )
    for (verb, resource), rate in sorted(found.items(), key=lambda item: -item[1])[:5]:
        print(f"  {rate:6.2f}  {verb} {resource}")
    return total


def measure(lab: Lab, wanted: argparse.Namespace) -> list[str]:
    """What is not as it should be, in words."""
    api, wrong = Api(lab), []
    names = [f"sim{number}" for number in range(1, wanted.nodes + 1)]
    with ExitStack() as stack:
        stack.enter_context(agents_stopped())
        stack.enter_context(nodes(api, names))
        stack.enter_context(namespace(api))
        few = one_each(names)
        loads = []
        for count, asked in ((len(few), few), (wanted.addresses, [])):
            with services(api, count, asked):
                time.sleep(5)
                idle = sum(rates(api, 30).values())
                with fleet(api, lab, names) as all_of:
                    all_of.start()
                    found = steady(api, idle, all_of, count, wanted.seconds)
                    loads.append(found)
                    if found > wanted.limit:
                        wrong.append(
                            f"{count} addresses: wanted at most {wanted.limit:g} requests a second, "
                            f"found {found:.1f}"
                        )
    if loads[1] > loads[0] + NOISE:
        wrong.append(
            f"{wanted.addresses} addresses: wanted as many requests a second as for {len(few)} "
            f"({loads[0]:.1f}), found {loads[1]:.1f}"
        )
    return wrong


def one_each(names: list[str]) -> list[str]:
    """For each of these nodes an address that it comes first for."""
    weights, found = dict.fromkeys(names, 1), {}
    for address in map(str, ip_network(POOL_CIDR).hosts()):
        found.setdefault(order(address, weights)[0], address)
        if len(found) == len(names):
            break
    return list(found.values())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nodes", type=int, default=10, metavar="N", help="simulated nodes (10)")
    add("--addresses", type=int, default=1000, metavar="N", help="beside the run with 10 (1000)")
    add(
        "--seconds", type=float, default=60, metavar="N", help="for which requests are counted (60)"
    )
    add("--limit", type=float, default=25, metavar="N", help="requests a second accepted (25)")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    try:
        with lab_entered() as lab:
            wrong = measure(lab, wanted)
    except (DriverError, LabError) as error:
        print(f"api_load: {error}", file=sys.stderr)
        return 2
    for words in wrong:
        print(f"api_load: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
