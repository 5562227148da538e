#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the renewals of a hundred announcing nodes cost every agent, in the lab.

    .venv/bin/python tests/bench/renewals.py

Needs a lab with Herald. A hundred presences of nodes that do not exist are renewed as often as the
renewal budget allows (50 a second in all, so each lives by a D of 8 s). Every agent hears of each.
Printed: how many events a second the API server sends to each that watches, counted by it, and the
processor time and memory of one of the lab's agents, which holds addresses, with and without them.

Exit status: 0 measured; 2 could not measure.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import ssl
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "meter"))

from driver import LAB, DriverError, read, status
from herald_lab import network
from herald_lab.api import Api
from herald_lab.commands import LabError
from herald_lab.layout import API_PORT, Lab

LEASES = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"
BUDGET = 50  # renewals a second in the whole cluster, Herald's default
SERVICE = "bench-renewals"
THREADS = 5
TICKS = os.sysconf("SC_CLK_TCK")


class Renewing:
    """Presences like `pattern` under other names, each renewed in its turn, from several threads."""

    def __init__(self, lab: Lab, pattern: dict[str, Any], count: int) -> None:
        self.sent = 0
        self._over = threading.Event()
        self._tls = ssl.create_default_context(cafile=str(lab.pki / "ca.crt"))
        self._tls.load_cert_chain(lab.pki / "operator.crt", lab.pki / "operator.key")
        self._leases = [presence(pattern, number, count) for number in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(self._leases[first::THREADS],))
            for first in range(THREADS)
        ]
        self._lateness: list[float] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def lateness(self) -> float:
        """Seconds by which a renewal left after its time: the median."""
        return statistics.median(self._lateness)

    def _run(self, leases: list[dict[str, Any]]) -> None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", API_PORT, context=self._tls, timeout=10
        )
        mine = [self._request(connection, "POST", LEASES, lease) for lease in leases]
        pace = THREADS / BUDGET
        due, turn = time.monotonic(), 0
        while not self._over.wait(max(0.0, due - time.monotonic())):
            self._lateness.append(time.monotonic() - due)
            lease = mine[turn % len(mine)]
            lease["spec"]["renewTime"] = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
            path = f"{LEASES}/{lease['metadata']['name']}"
            mine[turn % len(mine)] = self._request(connection, "PUT", path, lease)
            self.sent += 1
            due, turn = due + pace, turn + 1
        for lease in mine:
            self._request(connection, "DELETE", f"{LEASES}/{lease['metadata']['name']}", None)
        connection.close()

    @staticmethod
    def _request(
        connection: http.client.HTTPSConnection, verb: str, path: str, body: Any
    ) -> dict[str, Any]:
        text = None if body is None else json.dumps(body)
        connection.request(verb, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 300:
            raise DriverError(f"{verb} {path}: {answer.status} {found.get('message')}")
        return found


def presence(pattern: dict[str, Any], number: int, count: int) -> dict[str, Any]:
    """The presence of a node that does not exist, on the segment of the one that it is made after."""
    name = f"made-up-{number}"
    report = json.loads(pattern["metadata"]["annotations"]["herald.dev/presence"])
    duration = 4000 * count // BUDGET
    annotations = {
        "herald.dev/presence": json.dumps({**report, "node": name}),
        "herald.dev/instance": f"{number:032x}/1",
        "herald.dev/duration-ms": str(duration),
    }
    spec = {**pattern["spec"], "holderIdentity": name, "leaseDurationSeconds": -(-duration // 1000)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": f"presence-{name}", "annotations": annotations},
        "spec": spec,
    }


# --- what it costs ----------------------------------------------------------------------------


def process(node: str) -> str:
    main = ("systemctl", "show", "--property=MainPID", "--value", "herald-agent")
    return read(LAB, "exec", node, "--", *main).strip()


def spent(node: str, pid: str) -> float:
    """Seconds of processor time that the agent has used (proc(5), stat)."""
    words = read(LAB, "exec", node, "--", "cat", f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def memory(node: str, pid: str) -> float:
    """MB."""
    return (
        int(read(LAB, "exec", node, "--", "grep", "VmRSS", f"/proc/{pid}/status").split()[1]) / 1024
    )


def told(api: Api) -> float:
    """Events about Leases that the API server has sent, to all that watch them together."""
    text = api.request("GET", "/metrics")["text"]
    counts = re.findall(
        r'^apiserver_watch_events_total\{.*?resource="leases".*?\} (\S+)', text, re.MULTILINE
    )
    return sum(map(float, counts))


def watchers(api: Api) -> float:
    """Who watches Leases now."""
    text = api.request("GET", "/metrics")["text"]
    lines = re.findall(r"^apiserver_longrunning_requests\{(.*?)\} (\S+)", text, re.MULTILINE)
    return sum(
        float(n) for labels, n in lines if 'resource="leases"' in labels and '"WATCH"' in labels
    )


def cost(api: Api, node: str, pid: str, seconds: float) -> tuple[float, float]:
    """Of one agent: share of a core; events about Leases a second to each that watches."""
    before, events, begun = spent(node, pid), told(api), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    return (spent(node, pid) - before) / took, (told(api) - events) / took / watchers(api)


@contextmanager
def addresses(count: int) -> Iterator[None]:
    """So many addresses of Services, for the agents to hold."""
    try:
        read(LAB, "service", SERVICE, "--copies", str(count), "--wait", "60")
        time.sleep(10)
        yield
    finally:
        read(LAB, "service", SERVICE, "--delete")


def measure(lab: Lab, wanted: argparse.Namespace) -> None:
    api, node = Api(lab), next(iter(status()["nodes"]))
    pattern = api.request("GET", f"{LEASES}/presence-{node}")
    pid = process(node)
    with ExitStack() as stack:
        stack.enter_context(addresses(wanted.addresses))
        share, events = cost(api, node, pid, wanted.seconds)
        print(
            f"alone with {len(status()['nodes'])} nodes and {wanted.addresses} addresses: ", end=""
        )
        print(f"{events:.1f} events a second, {share:.1%} of a core, {memory(node, pid):.0f} MB")
        renewing = Renewing(lab, pattern, wanted.nodes)
        renewing.start()
        stack.callback(renewing.stop)
        time.sleep(10)
        begun, sent = time.monotonic(), renewing.sent
        share, events = cost(api, node, pid, wanted.seconds)
        rate = (renewing.sent - sent) / (time.monotonic() - begun)
        print(
            f"and with {wanted.nodes} announcing nodes that renew {rate:.1f} times a second: ",
            end="",
        )
        print(f"{events:.1f} events a second, {share:.1%} of a core, {memory(node, pid):.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=100, metavar="N", help="made up (100)")
    parser.add_argument("--addresses", type=int, default=30, metavar="N", help="announced (30)")
    parser.add_argument("--seconds", type=float, default=30, metavar="N", help="each (30)")
    lab = Lab(os.environ.get("HERALD_LAB", "lab"))
    wanted = parser.parse_args()
    try:
        with network.entered(lab.netns):  # and so for every thread that begins in here
            measure(lab, wanted)
    except (DriverError, LabError) as error:
        print(f"renewals: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
