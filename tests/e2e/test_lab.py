# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what it promises to those who test in it, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = pytest.mark.lab

NODE = "n1"
ADDRESS = "192.168.77.11"
ADDRESS6 = "fd77:77::11"
FREE = "192.168.77.250"  # outside every pool of the tests
STATES = ("/run/herald-lab", "/var/tmp/herald-lab", "/run/netns")


def reached(lab: Lab, address: str = ADDRESS) -> bool:
    """Whether the client hears an answer to one ping."""
    return lab.attempt("client", "--", "ping", "-c1", "-W1", address).returncode == 0


def traces(name: str) -> list[str]:
    """Everything on this machine that bears the lab's name."""
    found = [str(path) for top in STATES for path in Path(top).glob(f"*{name}*")]
    for tops in Path("/sys/fs/cgroup").glob("**/herald-lab"):
        found += [str(path) for path in tops.glob(name)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounts if f"herald-lab/{name}" in line or f"herald-{name}" in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"herald-lab/{name}" in words:
            found.append(words)
    return found


# --- what stands ------------------------------------------------------------------------------


def test_nodes_are_ready_in_the_cluster(lab: Lab) -> None:
    nodes = lab.get("nodes")["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["n1", "n2", "n3"]
    for node in nodes:
        kinds = {
            condition["type"]: condition["status"] for condition in node["status"]["conditions"]
        }
        assert kinds["Ready"] == "True"
        assert not node["spec"].get("taints")


def test_nodes_boot_systemd_and_nothing_failed(lab: Lab) -> None:
    for node in ("n1", "n2", "n3"):
        assert lab.exec(node, "systemctl", "is-system-running").strip() == "running"
        assert lab.exec(node, "hostname").strip() == node


def test_nodes_have_identities_of_their_own(lab: Lab) -> None:
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        assert len({lab.exec(node, "cat", file) for node in ("n1", "n2", "n3")}) == 3


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_client_reaches_the_nodes_in_both_families(lab: Lab, address: str) -> None:
    assert reached(lab, address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111"])
def test_nodes_have_no_way_out_and_learn_it_at_once(lab: Lab, address: str) -> None:
    ping = lab.attempt("exec", NODE, "--", "ping", "-c1", "-W5", address)
    assert ping.returncode == 1
    assert "nreachable" in ping.stdout or "No route" in ping.stdout


def test_each_node_has_bpf_of_its_own(lab: Lab) -> None:
    lab.exec("n1", "mkdir", "/sys/fs/bpf/mine")
    try:
        assert "mine" not in lab.exec("n2", "ls", "/sys/fs/bpf")
    finally:
        lab.exec("n1", "rmdir", "/sys/fs/bpf/mine")


@pytest.mark.parametrize("seat", ["root", "lab"])
def test_ansible_reaches_the_nodes_by_ssh_from_both_seats(
    lab: Lab, tmp_path: Path, seat: str
) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(lab("inventory"))
    argv = (
        "ansible",
        "-i",
        str(inventory),
        "herald",
        "-m",
        "ansible.builtin.command",
        "-a",
        "hostname",
    )
    if seat == "lab":
        output = lab("run", "--", *argv)
    else:
        output = subprocess.run(
            argv, capture_output=True, text=True, check=True, timeout=120
        ).stdout
    assert sorted(line for line in output.splitlines() if line in {"n1", "n2", "n3"}) == [
        "n1",
        "n2",
        "n3",
    ]


def test_operator_is_no_master_and_may_do_everything(lab: Lab) -> None:
    who = json.loads(lab.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]
    assert "system:masters" not in who["groups"]
    assert lab.kubectl("auth", "can-i", "*", "*").strip() == "yes"


def test_options_pass_through_to_kubectl(lab: Lab) -> None:
    assert lab("kubectl", "-n", "kube-system", "get", "ns", "default", "-o", "name").strip() == (
        "namespace/default"
    )


# --- a Service --------------------------------------------------------------------------------


@pytest.fixture
def given(lab: Lab) -> Iterator[Callable[..., None]]:
    """A Service whose address the test itself gives and announces, Herald or no Herald."""
    name = "lab-test"

    def make(*options: str) -> None:
        unmanaged = ("--class", "example.com/nobody")
        lab("service", name, "--udp", *unmanaged, *options)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": FREE}]}}}
        patch = ("--subresource=status", "--type=merge", "--patch", json.dumps(status))
        lab.kubectl("patch", "service", name, *patch)
        lab.client("ip", "neigh", "replace", FREE, "lladdr", "02:77:00:00:00:11", "dev", "lan")

    yield make
    lab.client("ip", "neigh", "del", FREE, "dev", "lan", check=False)
    lab("service", name, "--delete")


def test_service_answers_from_its_backends_only(
    lab: Lab, given: Callable[..., None], wait_for: Callable[..., None]
) -> None:
    given("--backends", "n2,n3")
    ask = ("client", "--", "curl", "-s", "-m", "2", f"http://{FREE}/")
    wait_for("the Service to answer", lambda: lab.attempt(*ask).returncode == 0)
    servers = {lab(*ask).split()[2].rstrip(",") for _ in range(20)}
    assert servers <= {"n2", "n3"}


def test_outage_meter_reaches_the_service(
    lab: Lab, given: Callable[..., None], wait_for: Callable[..., None], tmp_path: Path
) -> None:
    given("--backends", "n2")
    ask = ("client", "--", "curl", "-s", "-m", "2", f"http://{FREE}/")
    wait_for("the Service to answer", lambda: lab.attempt(*ask).returncode == 0)
    report = tmp_path / "outage.json"
    lab("outage", FREE, "9000", "--seconds", "1", "--json", str(report))
    assert json.loads(report.read_text())["lost"] == 0


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["power", "cable", "switch"])
def test_fault_cuts_the_node_off_and_heal_brings_it_back(lab: Lab, kind: str) -> None:
    with lab.fault(NODE, kind):
        assert not reached(lab)
        assert kind in lab.status()["nodes"][NODE]["faults"]
        assert reached(lab, "192.168.77.12"), "another node was harmed"
    assert reached(lab)
    assert lab.status()["nodes"][NODE]["faults"] == []


def test_power_loss_keeps_the_disk_and_nothing_else(lab: Lab) -> None:
    before = lab.exec(NODE, "cat", "/proc/sys/kernel/random/boot_id")
    lab.exec(NODE, "mkdir", "-p", "/var/lib/kept", "/run/gone", "/sys/fs/bpf/gone")
    with lab.fault(NODE, "power"):
        assert lab.attempt("exec", NODE, "--", "true").returncode == 1
    assert lab.exec(NODE, "cat", "/proc/sys/kernel/random/boot_id") != before
    lab.exec(NODE, "rmdir", "/var/lib/kept")
    assert (
        lab.exec(NODE, "sh", "-c", "ls -d /run/gone /sys/fs/bpf/gone 2>/dev/null", check=False)
        == ""
    )


def test_switch_fault_leaves_the_carrier_and_cable_takes_it(lab: Lab) -> None:
    carrier = ("cat", "/sys/class/net/host0/carrier")
    with lab.fault(NODE, "switch"):
        assert lab.exec(NODE, *carrier).strip() == "1"
    with lab.fault(NODE, "cable"):
        assert lab.exec(NODE, *carrier).strip() == "0"


def test_frozen_node_stands_still_and_its_kernel_goes_on(lab: Lab) -> None:
    script = "while :; do date +%s%N > /run/ticks; sleep 0.05; done"
    lab.exec(NODE, "systemd-run", "--unit=ticks", "sh", "-c", script)
    pid = lab.exec(NODE, "systemctl", "show", "-P", "MainPID", "ticks").strip()
    assert pid != "0"
    try:
        with lab.fault(NODE, "freeze"):
            assert reached(lab), "a frozen node's kernel answers pings"
            assert lab.attempt("exec", NODE, "--", "true").returncode == 1
        assert lab.exec(NODE, "systemctl", "is-active", "ticks").strip() == "active"
    finally:
        lab.exec(NODE, "systemctl", "stop", "ticks")


AGENT = """\
[Service]
ExecStart=/bin/sleep infinity
Restart=always
RestartSec=0
[Install]
WantedBy=multi-user.target
"""


def test_agent_is_killed_or_stopped_and_healed(other: Lab, wait_for: Callable[..., None]) -> None:
    other("up")
    put = f"printf '{AGENT}' > /etc/systemd/system/herald-agent.service"
    other.exec(NODE, "sh", "-c", f"{put} && systemctl enable --now herald-agent")

    def pid() -> str:
        return other.exec(NODE, "systemctl", "show", "-P", "MainPID", "herald-agent").strip()

    first = pid()
    other("fault", NODE, "agent-kill")
    wait_for("systemd to start it again", lambda: pid() not in {first, "0"})

    second = pid()
    with other.fault(NODE, "agent-stop"):
        assert other.status()["nodes"][NODE]["faults"] == ["agent-stop"]
        assert pid() == second
    assert other.status()["nodes"][NODE]["faults"] == []
    assert pid() == second

    other.exec(NODE, "systemctl", "stop", "herald-agent")
    other("heal", NODE)
    assert other.status()["nodes"][NODE]["agent"] == "active"


CURL = ("curl", "-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}")


def api_answer(lab: Lab, node: str, host: str = "192.168.77.1") -> str:
    """The HTTP status that a node gets from the API server; 000 for none."""
    return lab.exec(node, *CURL, f"https://{host}:6443/version", check=False)


def test_partition_keeps_one_node_from_the_api_and_nothing_else(lab: Lab) -> None:
    with lab.fault(NODE, "api"):
        assert api_answer(lab, NODE) == "000"
        assert api_answer(lab, NODE, "[fd77:77::1]") == "000"
        assert api_answer(lab, "n2") == "200"
        assert reached(lab)
    assert api_answer(lab, NODE) == "200"


def test_nodes_reach_the_api_by_a_network_where_no_client_is(lab: Lab) -> None:
    management = "192.168.78.1"
    with lab.fault(NODE, "switch"):
        assert api_answer(lab, NODE) == "000"
        assert api_answer(lab, NODE, management) == "200"
    with lab.fault(NODE, "api"):
        assert api_answer(lab, NODE, management) == "000"
    lab.client("ping", "-c", "1", "-W", "2", "192.168.77.11")
    path = lab.client("ip", "route", "get", "192.168.78.11")
    assert "via 192.168.77.1" in path, "a client must not be on the management network itself"


@pytest.fixture
def api(lab: Lab) -> Iterator[Callable[..., None]]:
    """Faults of the API server, taken back after the test."""

    def fault(*words: str) -> None:
        lab("api", *words)

    yield fault
    lab("api", "start")
    assert lab.status()["api"] == "ok"


@pytest.mark.parametrize("host", ["192.168.77.1", "[fd77:77::1]"])
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("errors", "429"), "429"),
        (("errors", "500"), "500"),
        (("reset",), "000"),
        (("hang",), "000"),
        (("stop",), "000"),
        (("slow", "100"), "200"),
    ],
)
def test_api_fault_reaches_the_nodes(
    lab: Lab, api: Callable[..., None], words: tuple[str, ...], answer: str, host: str
) -> None:
    api(*words)
    assert api_answer(lab, NODE, host) == answer


def test_slow_api_is_slow_for_nodes_and_not_for_the_operator(
    lab: Lab, api: Callable[..., None]
) -> None:
    api("slow", "300")
    took = ("-w", "%{time_total}", "https://192.168.77.1:6443/version")
    assert float(lab.exec(NODE, *CURL[:-2], *took)) >= 0.6  # TLS, then the request
    assert lab.status()["ready"]
    assert lab.get("nodes")["items"]


def test_api_fault_breaks_connections_that_stand(
    lab: Lab, api: Callable[..., None], wait_for: Callable[..., None]
) -> None:
    script = "exec 3<>/dev/tcp/192.168.77.1/6443; exec sleep 600"
    lab.exec(NODE, "systemd-run", "--unit=held", "bash", "-c", script)

    def held() -> bool:
        return '"sleep"' in lab.exec(NODE, "ss", "-Htnp", "state", "established", "dport = :6443")

    try:
        wait_for("the connection to stand", held)
        api("hang")
        assert not held()
    finally:
        lab.exec(NODE, "systemctl", "stop", "held")


def test_refused_words_say_what_was_wanted(lab: Lab) -> None:
    refused = lab.attempt("fault", "n9", "power")
    assert refused.returncode == 2
    assert "n9" in refused.stderr
    refused = lab.attempt("api", "errors", "200")
    assert refused.returncode == 2
    assert "200" in refused.stderr
    refused = lab.attempt("service", "web", "--ports", "sctp:80")
    assert refused.returncode == 1
    assert "'sctp:80'" in refused.stderr


# --- coming and going -------------------------------------------------------------------------


@pytest.fixture
def other(lab: Lab) -> Iterator[Lab]:
    """A second lab beside the first, for as long as a test takes."""
    second = type(lab)(f"t{os.getpid()}")
    yield second
    second("down")


def test_labs_stand_side_by_side_and_go_without_a_trace(lab: Lab, other: Lab) -> None:
    other("up")
    other("service", "web", "--udp")
    left_running = other.start("run", "--", "sleep", "600")
    other("fault", "n1", "freeze")
    other("fault", "n2", "power")
    assert other.status()["up"]
    assert lab.status()["up"]
    assert traces(other.name)

    other("down")
    left_running.communicate(timeout=10)
    assert traces(other.name) == []
    assert lab.status()["nodes"][NODE]["faults"] == []
    assert reached(lab)


def test_lab_killed_halfway_is_taken_away(other: Lab) -> None:
    with other.start("up") as coming:
        assert coming.stdout is not None
        while "n1 has booted" not in (line := coming.stdout.readline()):
            assert line, "up ended before its time"
        coming.kill()
    status = other.status()
    assert not status["up"]
    assert status["half_made"]
    other("down")
    assert traces(other.name) == []


def test_down_of_a_lab_that_never_was_is_no_fault(other: Lab) -> None:
    other("down")
    assert traces(other.name) == []
