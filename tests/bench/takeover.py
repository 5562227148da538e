#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How soon a thousand addresses of a lost node are announced again, from its fence on, in the lab.

    .venv/bin/python tests/bench/takeover.py

Needs a lab with Herald. Its own agents are stopped meanwhile; nodes that are simulated in this
process (fleet) take their place, with the lab's real API server. One of them announces every
address; then it is gone. A process of its own follows the Leases: the fence is when the lost one's
presence loses its holder, an address is claimed when its Lease names another node. Printed: how long
after the fence the last was claimed, how they spread over the survivors, and the processor time that
all survivors took meanwhile, which share one interpreter as machines do not.

Exit status: 0 measured, within --limit seconds, and no survivor with more than 1.25 × its share;
1 beyond; 2 could not measure.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import ssl
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "meter"))

from driver import DriverError
from fleet import Fleet
from fleet.cluster import (
    NAMESPACE,
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
from herald_lab.layout import API_PORT, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.queues import Queue

Seen = tuple[float, str, str]  # when (Unix seconds), the Lease's name, its holder

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
HEADROOM = 1.25  # times its fair share is the most that a node takes
QUIET = 5.0  # seconds in which nobody writes a Lease but presences


# --- what is seen -----------------------------------------------------------------------------


def follow(lab: str, since: str, seen: Queue[Seen]) -> None:
    """What a watch of the Leases from resourceVersion `since` on says, as it comes, for ever."""
    found = Lab(lab)
    tls = ssl.create_default_context(cafile=str(found.pki / "ca.crt"))
    tls.load_cert_chain(found.pki / "operator.crt", found.pki / "operator.key")
    connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, context=tls)
    connection.request("GET", f"{LEASES}?watch=true&resourceVersion={since}")
    for line in connection.getresponse():
        now = time.time()
        lease = json.loads(line)["object"]
        seen.put((now, lease["metadata"]["name"], lease["spec"].get("holderIdentity", "")))


@contextmanager
def followed(api: Api, lab: Lab) -> Iterator[Queue[Seen]]:
    """The Leases are followed, by a process that no simulated node slows down."""
    spawn = get_context("spawn")
    seen: Queue[Seen] = spawn.Queue()
    since = api.request("GET", LEASES)["metadata"]["resourceVersion"]
    process = spawn.Process(target=follow, args=(lab.name, since, seen), daemon=True)
    process.start()
    try:
        yield seen
    finally:
        process.kill()
        process.join()


@dataclass(frozen=True, slots=True)
class Takeover:
    """Seconds; `claims` from the fence to each address's claim, `shares` by survivor."""

    fence: float  # from the loss
    claims: list[float]
    shares: Counter[str]
    spent: float  # processor time of all survivors, from the loss to the last claim


def taken_over(seen: Queue[Seen], lost: str, count: int, begun: float, patience: float) -> Takeover:
    """What was seen from the loss, at `begun`, until others had claimed `count` addresses."""
    spent, deadline = time.process_time(), time.monotonic() + patience
    fenced: float | None = None
    claims: dict[str, tuple[float, str]] = {}
    while len(claims) < count:
        try:
            now, name, holder = seen.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise DriverError(
                f"wanted {count} addresses of {lost} claimed within {patience:g} s, "
                f"found {len(claims)}; it was {'fenced' if fenced else 'never fenced'}"
            ) from None
        if name == f"presence-{lost}" and not holder:
            fenced = fenced or now
        elif name.startswith("vip-") and holder not in ("", lost):
            claims.setdefault(name, (now, holder))
    if fenced is None:
        raise DriverError(f"{count} addresses of {lost} were claimed before it was fenced")
    return Takeover(
        fence=fenced - begun,
        claims=sorted(now - fenced for now, _ in claims.values()),
        shares=Counter(holder for _, holder in claims.values()),
        spent=time.process_time() - spent,
    )


def written(seen: Queue[Seen], seconds: float) -> list[str]:
    """The Leases, but presences, of which something was seen in so many seconds, or before."""
    end, names = time.monotonic() + seconds, []
    with suppress(Empty):
        while True:
            names.append(seen.get(timeout=max(0.0, end - time.monotonic()))[1])
    return [name for name in names if not name.startswith("presence-")]


# --- the measurement --------------------------------------------------------------------------


def gathered(all_of: Fleet, seen: Queue[Seen], lost: str, count: int) -> None:
    """`lost` announces every address, the others live and are free to take them, nobody writes."""
    all_of.agents[lost].start()
    took = until(f"{lost} to announce {count}", lambda: len(all_of.announced()) >= count, 300)
    print(f"{lost} announces {count} addresses {took:.1f} s after its start", flush=True)
    for name, agent in all_of.agents.items():
        if name != lost:
            agent.start()
    until("nobody to write any more", lambda: not written(seen, QUIET), 300)
    elsewhere = {name for name, agent in all_of.agents.items() if agent.kernel.entries} - {lost}
    if elsewhere:
        raise DriverError(f"wanted all addresses on {lost}, found some on {sorted(elsewhere)}")


def measure(lab: Lab, wanted: argparse.Namespace) -> Takeover:
    api = Api(lab)
    names = [f"sim{number}" for number in range(1, wanted.nodes + 1)]
    with ExitStack() as stack:
        stack.enter_context(agents_stopped())
        stack.enter_context(nodes(api, names))
        stack.enter_context(namespace(api))
        stack.enter_context(services(api, wanted.addresses))
        all_of = stack.enter_context(fleet(api, lab, names))
        seen = stack.enter_context(followed(api, lab))
        gathered(all_of, seen, names[0], wanted.addresses)
        begun = time.time()
        all_of.agents[names[0]].kill()
        return taken_over(seen, names[0], wanted.addresses, begun, 60)


def failures(found: Takeover, limit: float, share: float) -> list[str]:
    """What is not as it should be, in words. `share`: fair, in addresses."""
    wrong, most, room = [], max(found.shares.values()), math.ceil(HEADROOM * share)
    if found.claims[-1] > limit:
        wrong.append(f"last claim {found.claims[-1]:.2f} s after the fence, wanted {limit:g} s")
    if most > room:
        wrong.append(f"wanted at most {room} addresses on a survivor, found {most}")
    return wrong


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nodes", type=int, default=6, metavar="N", help="simulated nodes, one is lost (6)")
    add("--addresses", type=int, default=1000, metavar="N", help="that it announces (1000)")
    add("--limit", type=float, default=2, metavar="SECONDS", help="from the fence on (2)")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    try:
        with lab_entered() as lab:
            found = measure(lab, wanted)
    except (DriverError, LabError) as error:
        print(f"takeover: {error}", file=sys.stderr)
        return 2
    survivors, claims = wanted.nodes - 1, found.claims
    print(f"fenced {found.fence:.2f} s after the loss")
    print(
        f"{len(claims)} claimed: half of them {claims[len(claims) // 2]:.2f} s after the fence, ",
        end="",
    )
    print(f"all {claims[-1]:.2f} s after it")
    print(f"on {survivors} survivors: {sorted(found.shares.values())}")
    print(f"which used {found.spent:.2f} s of processor time")
    wrong = failures(found, wanted.limit, wanted.addresses / survivors)
    for words in wrong:
        print(f"takeover: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
