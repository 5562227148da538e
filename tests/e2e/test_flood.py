# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Renewals while the API server is flooded: the FlowSchema holds them up, and without it they fail.

The flood is bounded and costs little: a hundred clients, each a ServiceAccount of its own, so that
fair queuing does not tell them from agents, ask for a list of some megabytes and read it slowly. So
each keeps one of the few seats of a small API server's level `workload-low`, where requests of
ServiceAccounts go, and no core is busy with it.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from herald_lab import layout, network
from watched import MACS, await_health, linger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab
    from watched import Watched

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "playbooks/site.yml"
SCHEMA = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/herald-leases"
NAMESPACE = "/api/v1/namespaces/flood"
SEATS = 60  # of the small API server, 25 of them the level's
CLIENTS = 100
PATIENCE = 5.0  # seconds for which a client reads nothing
FLOODED = 15.0  # seconds


@pytest.fixture
def small_api(herald: Lab, wait_for: Callable[..., None]) -> Iterator[Lab]:
    """The lab with an API server of few seats, and something large to ask it for."""
    api = herald.api
    herald("api", "start", "--seats", str(SEATS))
    try:
        api.apply(
            NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flood"}}
        )
        for number in range(10):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"large-{number}"},
                "data": {"large": "x" * 900_000},
            }
            api.request("POST", f"{NAMESPACE}/configmaps", body)
        allow_service_accounts_to_read(herald)
        await_health(herald)
        yield herald
    finally:
        api.delete(NAMESPACE)
        # Or else its end is among the writes that a later test counts.
        wait_for("the namespace to be gone", lambda: api.get(NAMESPACE) is None)
        herald("api", "stop")
        herald("api", "start")


def allow_service_accounts_to_read(lab: Lab) -> None:
    rbac = "rbac.authorization.k8s.io"
    lab.api.apply(
        f"/apis/{rbac}/v1/namespaces/flood/rolebindings/readers",
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "readers", "namespace": "flood"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
            "subjects": [
                {"apiGroup": rbac, "kind": "Group", "name": "system:serviceaccounts:flood"}
            ],
        },
    )


@contextmanager
def flood(lab: Lab) -> Iterator[None]:
    """CLIENTS ask, and ask again, for as long as the block."""
    over = threading.Event()
    where = layout.Lab(lab.name)
    threads = [
        threading.Thread(target=flooder, args=(where, number, over)) for number in range(CLIENTS)
    ]
    with network.entered(where.netns):
        for thread in threads:
            thread.start()  # in the lab's network, as the thread that starts it
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def flooder(lab: layout.Lab, number: int, over: threading.Event) -> None:
    tls = ssl.create_default_context(cafile=str(lab.pki / "ca.crt"))
    tls.load_cert_chain(lab.pki / "operator.crt", lab.pki / "operator.key")
    request = (
        f"GET {NAMESPACE}/configmaps HTTP/1.1\r\nHost: api\r\n"
        f"Impersonate-User: system:serviceaccount:flood:client-{number}\r\n"
        "Impersonate-Group: system:serviceaccounts\r\n"
        "Impersonate-Group: system:serviceaccounts:flood\r\n\r\n"
    )
    while not over.is_set():
        with suppress(OSError), socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.settimeout(PATIENCE)
            plain.connect(("127.0.0.1", layout.API_PORT))
            with tls.wrap_socket(plain, server_hostname="localhost") as endpoint:
                endpoint.sendall(request.encode())
                endpoint.recv(100)
                over.wait(PATIENCE)


def renewals(lab: Lab) -> dict[str, int]:
    """By outcome: renewals of all agents."""
    found = {"ok": 0, "failed": 0}
    for node in MACS.values():
        text = lab.exec(node, "curl", "-s", "http://127.0.0.1:9955/metrics")
        for outcome, count in re.findall(r'herald_renewals_total\{.*?"(\w+)"\} (\S+)', text):
            found[outcome] = found.get(outcome, 0) + int(float(count))
    return found


def waiting(lab: Lab) -> int:
    """Requests that the API server keeps waiting for a seat of the flooded level."""
    text = lab.api.request("GET", "/metrics")["text"]
    lines = re.findall(
        r'^apiserver_flowcontrol_current_inqueue_requests\{.*?"workload-low"\} (\S+)',
        text,
        re.MULTILINE,
    )
    return sum(int(float(count)) for count in lines)


def failed_while_flooded(lab: Lab, wait_for: Callable[..., None]) -> tuple[int, int]:
    """How many renewals failed, and how many did not, in FLOODED seconds of a flood."""
    with flood(lab):
        wait_for("requests to wait for a seat", lambda: waiting(lab) > CLIENTS // 4)
        before = renewals(lab)
        linger(FLOODED)
        after = renewals(lab)
        assert waiting(lab) > 0, "the flood was over before the measurement"
    return after["failed"] - before["failed"], after["ok"] - before["ok"]


def test_flow_schema_holds_renewals_up_while_the_api_server_is_flooded(
    small_api: Lab,
    watched: Watched,
    tmp_path: Path,
    figure: Callable[[str], None],
    wait_for: Callable[..., None],
) -> None:
    assert small_api.api.get(SCHEMA) is not None
    with watched.metered(tmp_path) as outage:
        failed, succeeded = failed_while_flooded(small_api, wait_for)
    figure(f"flooded API server: {failed} renewals failed, {succeeded} succeeded")
    assert (failed, outage["lost"]) == (0, 0)
    assert succeeded > FLOODED

    small_api.api.delete(SCHEMA)
    try:
        linger(1)
        failed, succeeded = failed_while_flooded(small_api, wait_for)
    finally:
        small_api.playbook(SITE, "--tags", "cluster")
    figure(f"the same without the FlowSchema: {failed} renewals failed, {succeeded} succeeded")
    assert failed > 0, "the flood was none: without the FlowSchema, too, every renewal succeeded"
