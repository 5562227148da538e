# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Addresses while their announcing node suffers: what a client sees, and whom leases name.

The rule of every test here: backends run on nodes that the fault does not touch, never on the
announcing one, so that what a client misses is the announcement's alone.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from herald_lab.layout import NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Lab

NAMESPACE = "herald-system"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
DRAIN = "herald.dev/drain"
ECHO = "9000"  # what the outage meter asks, see `lab service --udp`
HERALDCTL = "/opt/herald/current/bin/heraldctl"
MACS = {node.mac: node.name for node in NODES}
BEFORE = 0.5  # seconds of undisturbed service that a report starts with
AFTER = 1.0  # seconds of restored service that it ends with
BEYOND = 3.0  # seconds for which answers are watched after everything is well again
PROXY = 90  # seconds: kube-proxy asks again up to 60 s after an API server was away (client-go's reflector)

Json = dict[str, Any]


class Watched:
    """The Service `name`, or its copies, with an address each, and what stands in their way to a good
    measurement. `options` are those of `lab service` that made them."""

    def __init__(
        self,
        lab: Lab,
        wait_for: Callable[..., None],
        name: str,
        addresses: Sequence[str],
        options: Sequence[str] = ("--udp",),
    ) -> None:
        self.lab = lab
        self.name = name
        self.addresses = list(addresses)
        self.wait_for = wait_for
        self._options = options

    @property
    def address(self) -> str:
        """The first address: for who watches only one."""
        return self.addresses[0]

    @property
    def holder(self) -> str:
        """The node that announces the first address by its lease, or nothing."""
        return self.lab.holder(self.address)

    def holders(self) -> dict[str, str]:
        """By address: the node that announces it by its lease, or nothing."""
        return {
            address: lease["spec"].get("holderIdentity") or "" if lease else ""
            for address, lease in self._leases().items()
        }

    def reasons(self) -> dict[str, str]:
        """By address: why its lease moved last, as that says."""
        return {
            address: lease["metadata"]["annotations"].get("herald.dev/reason", "") if lease else ""
            for address, lease in self._leases().items()
        }

    def _leases(self) -> dict[str, Json | None]:
        """By address: its lease, if there is one."""
        items = self.lab.api.request("GET", LEASES)["items"]
        leases = {lease["metadata"]["name"]: lease for lease in items}
        return {address: leases.get(lease_name(address)) for address in self.addresses}

    def off(self, *nodes: str) -> bool:
        """Every address is announced, and by none of these nodes."""
        return not set(self.holders().values()) & {"", *nodes}

    @property
    def others(self) -> list[str]:
        holder = self.holder
        assert holder in MACS.values(), f"{self.address}: wanted a holder, found {holder!r}"
        return [node for node in MACS.values() if node != holder]

    def lease(self) -> Json:
        found = self.lab.lease(self.address)
        assert found is not None, f"no lease for {self.address}"
        return found

    def gather(self, node: str) -> None:
        """Have `node` announce every address, by draining the others; they are free again then."""
        others = [name for name in MACS.values() if name != node]
        self.lab.kubectl("annotate", "node", *others, f"{DRAIN}=true")
        try:
            self.wait_for(f"{node} to announce every address", lambda: self.off(*others))
        finally:
            self.lab.kubectl("annotate", "node", *others, f"{DRAIN}-")
        for name in others:
            self.wait_for(
                f"{name} to be free again",
                lambda name=name: not report_of(self.lab.presence(name))["draining"],
            )

    def move_backends_off_the_holder(self) -> str:
        """Serve from other nodes than the first address's holder only; the holder's name."""
        holder = self.holder
        self.serve_from(self.others)
        assert self.holder == holder, "the address moved although only its backends changed"
        return holder

    def serve_from(self, backends: Sequence[str]) -> None:
        """Serve from these nodes only, as every node's kube-proxy knows."""
        self.lab("service", self.name, *self._options, "--backends", ",".join(backends))
        for node in MACS.values():
            self.wait_for(
                f"kube-proxy of {node} to serve {self.name} from {backends} only",
                lambda node=node: self._backends(node) == [set(backends)] * len(self.addresses),
                seconds=PROXY,
            )

    def _backends(self, node: str) -> list[set[str]]:
        """Where a node's kube-proxy sends the datagrams of the Services, one after the other."""
        table = self.lab.exec(node, "nft", "list", "table", "ip", "kube-proxy")
        chain = rf"chain service-\w+-default/{self.name}(?:-\d+)?/udp/.*?\n\t}}"
        names = {str(host.ipv4): host.name for host in NODES}
        return [
            {names[ip] for ip in re.findall(r"([\d.]{7,})(?: \. |:)\d+", rules)}
            for rules in re.findall(chain, table, re.DOTALL)
        ]

    @property
    def _pace(self) -> float:
        """Milliseconds between two questions for an address: 100 or, of many, 1,000 a second."""
        return max(10.0, 1.0 * len(self.addresses))

    @contextmanager
    def metered(self, folder: Path, *, interval_ms: float | None = None) -> Iterator[Json]:
        """`lab outage` runs during the block; the report afterwards."""
        words = (",".join(self.addresses), ECHO, "--interval-ms", str(interval_ms or self._pace))
        with self.lab.meter("outage", *words, file=folder / "outage.json") as report:
            linger(BEFORE)
            yield report
            linger(AFTER)

    @contextmanager
    def answered(self, folder: Path) -> Iterator[Json]:
        """`lab answers` runs during the block; the report afterwards."""
        names = [word for mac, name in MACS.items() for word in ("--name", f"{name}={mac}")]
        words = (",".join(self.addresses), "--interval-ms", str(self._pace), *names)
        with self.lab.meter("answers", *words, file=folder / "answers.json") as report:
            yield report

    def suffer(
        self, node: str, kind: str, folder: Path, *, beyond: float = BEYOND
    ) -> tuple[Json, Json]:
        """One fault on the announcing node under both meters: the reports of outage and answers.

        The outage is measured until another node serves; answers are watched on, through the
        repair and for seconds beyond it.
        """
        with self.answered(folder) as answers:
            with ExitStack() as until_healed, self.metered(folder) as outage:
                until_healed.enter_context(self.lab.fault(node, kind))
                self.wait_for(
                    f"another node than {node} to announce {self.address}",
                    lambda: self.holder not in ("", node),
                )
            await_health(self.lab, [node])
            linger(beyond)
        return outage, answers


def linger(seconds: float) -> None:
    """Go on measuring. Nothing is waited for: this long, something could be seen."""
    time.sleep(seconds)


def targets(report: Json) -> list[Json]:
    """What a meter reports of each address."""
    found: list[Json] = report.get("targets", [report])
    return found


def report_of(presence: Json) -> Json:
    """What a node says of itself in its presence."""
    found: Json = json.loads(presence["metadata"]["annotations"]["herald.dev/presence"])
    return found


def lease_name(address: str) -> str:
    return "vip-" + ip_address(address).exploded.replace(":", "-")


def await_health(lab: Lab, nodes: Sequence[str] = tuple(MACS.values()), seconds: int = 30) -> None:
    """Every agent says of itself that it is well."""
    for node in nodes:
        lab.exec(node, HERALDCTL, "status", "--wait", str(seconds))


def agent_status(lab: Lab, node: str) -> Json:
    found: Json = json.loads(lab.exec(node, HERALDCTL, "status", "--json"))["status"]
    return found


def main_process(lab: Lab, node: str) -> str:
    """The process number of the node's agent."""
    shown = ("systemctl", "show", "--property=MainPID", "--value", "herald-agent")
    pid = lab.exec(node, *shown).strip()
    assert pid != "0", f"{node}: the agent does not run"
    return pid


def assert_one_at_a_time(answers: Json) -> None:
    """Somebody answered, never two at once, and the meter missed nothing."""
    assert answers["verdict"] == "one", (
        f"{answers['address']}: {answers['verdict']}: violations {answers['violations']}, "
        f"spells {answers['spells']}, missed {answers['missed']}"
    )


def assert_served_again(outage: Json, faulty: str) -> None:
    """The client was served before and after, and never by the node that suffered."""
    assert outage["answered"] > 0
    assert all(gap["opened"] and gap["closed"] for gap in outage["gaps"]), outage["gaps"]
    assert faulty not in outage["backends"], "a backend on the faulty node spoils the measurement"


def assert_leases_agree(lab: Lab) -> None:
    """What leases, agents and Services say of who announces what is one story.

    Every address of a Service has a lease, held by a node in that node's present epoch, and the
    agent of that node, and no other, says that it holds the address. No other lease names a Service:
    one without sets an address aside that a stranger answered for, and is looked at again once a minute.
    """
    leases = {lease["metadata"]["name"]: lease for lease in lab.api.request("GET", LEASES)["items"]}
    services = lab.api.request("GET", "/api/v1/services")["items"]
    given = sorted(
        entry["ip"]
        for service in services
        for entry in service["status"]["loadBalancer"].get("ingress", [])
        if not service["spec"].get("loadBalancerClass")
    )
    assert len(given) == len(set(given)), "nobody here shares an address"
    addresses = {
        name
        for name, lease in leases.items()
        if name.startswith("vip-") and lease["metadata"]["annotations"].get("herald.dev/services")
    }
    assert {lease_name(address) for address in given} == addresses
    holders = {}
    for address in given:
        lease = leases[lease_name(address)]
        holder = lease["spec"].get("holderIdentity")
        assert holder in MACS.values(), f"{address}: wanted a holder, found {holder!r}"
        presence = leases[f"presence-{holder}"]
        epoch = f"{presence['metadata']['uid']}/{presence['spec'].get('leaseTransitions', 0)}"
        assert lease["metadata"]["annotations"]["herald.dev/epoch"] == epoch, f"{address}: {lease}"
        assert presence["spec"]["holderIdentity"] == holder
        holders[address] = holder
    for node in MACS.values():
        held = {entry["address"] for entry in agent_status(lab, node)["held"]}
        assert held == {address for address, holder in holders.items() if holder == node}
