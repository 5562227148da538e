# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""playbooks/uninstall.yml leaves nothing behind, and Herald can be installed again, also by runs that are killed. The
last tests by their name: they take away what the others stand on, and each stands on what the one before left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NODES
from test_admission import Bearer
from watched import NAMESPACE, await_health
from witnessed import foretold, play, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
SITE, UNINSTALL = PLAYBOOKS / "site.yml", PLAYBOOKS / "uninstall.yml"
DRAIN = PLAYBOOKS / "drain.yml"
WHEELHOUSE = PLAYBOOKS.parent / "build/wheelhouse"
EXTERNAL = "192.168.77.195"
FILES = "find / -xdev -path /var/log -prune -o -iname '*herald*' -print"
VOLATILE = "find /run /tmp /dev/shm /sys/fs/bpf -iname '*herald*'"
# How many programs there are on the tcx ingress of a device: bpf(2), BPF_PROG_QUERY. This system's tools show none.
ATTACHED = """
import ctypes, platform, socket, struct
ids = (ctypes.c_uint32 * 64)()
wanted = struct.pack("=IIIIQI36x", socket.if_nametoindex("host0"), 46, 0, 0, ctypes.addressof(ids), 64)
attributes = ctypes.create_string_buffer(wanted, 64)
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
assert libc.syscall(number, 16, attributes, 64) == 0, ctypes.get_errno()
print(struct.unpack_from("=I", attributes, 24)[0])
"""


# A few of the tasks that change something, in their order; HERALD_INTERRUPT=all: every task of the playbook.
INTERRUPTED = {
    "site": (
        "Install the agent",
        "Give the agent its token",
        "Switch to this version",
        "Note what runs",
    ),
    "uninstall": (
        "Detach the responder and remove its pins",
        "Remove its files",
        "Let systemd forget it",
        "Remove the nodes' identities",
    ),
}


@pytest.fixture
def external(herald: Lab, service: Callable[..., Service], tmp_path: Path) -> Iterator[str]:
    """The external address of a Service, which Herald announces and did not give."""
    name, _ = service("outside")
    spec = {"spec": {"externalIPs": [EXTERNAL]}}
    herald.kubectl("patch", "service", name, "--patch", json.dumps(spec))
    policy = {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": {"name": "outside"},
        "spec": {"externalIPs": True},
    }
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    herald.kubectl("apply", "--filename", str(file))
    yield EXTERNAL
    herald.kubectl("delete", "l2policy", "outside")


def test_uninstall_leaves_nothing_and_check_mode_foretells_it(
    herald: Lab,
    service: Callable[..., Service],
    external: str,
    wait_for: Callable[..., None],
    tmp_path: Path,
) -> None:
    name, (address,) = service("web")
    for announced in (address, external):
        wait_for(f"a holder of {announced}", lambda ip=announced: herald.holder(ip) in NODES)
    herald.kubectl("annotate", "node", "n3", "herald.dev/drain=true")

    assert [attached(herald, node) for node in NODES] == ["1", "1", "1"]

    foretold(herald, tmp_path, UNINSTALL)
    for node in NODES:
        assert left_on(herald, node) == {}, node
    assert left_in_the_cluster(herald) == {}
    assert given(herald, name) == []
    assert herald.get("service", "outside")["spec"]["externalIPs"] == [external]
    assert succeed(herald, tmp_path, UNINSTALL).changed == set()


def test_herald_can_be_installed_again_and_check_mode_foretells_it(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None], tmp_path: Path
) -> None:
    """Also what the controller does, which has no wheels for nodes yet: its index is a folder here."""
    cache = tmp_path / "cache"
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELHOUSE)}
    foretold(herald, tmp_path, SITE, HERALD_CACHE=str(cache), **index)
    assert {wheel.name for wheel in cache.glob("wheelhouse-*/*.whl")} == {
        wheel.name for wheel in WHEELHOUSE.iterdir()
    }
    await_health(herald)
    name, (address,) = service("web")
    page = ("client", "--", "curl", "-s", "-m", "2", f"http://{address}/")
    wait_for("the client to get a page", lambda: herald.attempt(*page).returncode == 0)
    assert given(herald, name) == [address]


def test_a_node_that_leaves_loses_its_identity_and_the_others_serve_on(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None], tmp_path: Path
) -> None:
    name, (address,) = service("web")

    def others_are_said_to_announce() -> bool:
        """What the drain has agents write has been written."""
        holder = herald.holder(address)
        said = {c["type"]: c for c in herald.get("service", name)["status"].get("conditions", [])}
        return holder in NODES[1:] and holder in said["herald.dev/Announced"]["message"]

    # What this kernel does without, and others have: filters, and clsact.
    herald.playbook(SITE, "--limit", "n1,localhost", "-e", "herald_attach=clsact")
    filters = ("n1", "tc", "filter", "show", "dev", "host0", "ingress")
    wait_for("the responder to be a filter", lambda: "herald" in herald.exec(*filters))
    wait_for("the address to be announced", lambda: herald.holder(address) in NODES)
    token = herald.exec("n1", "cat", "/var/lib/herald/token")
    herald.kubectl("annotate", "node", "n1", "herald.dev/drain=true")
    wait_for("the drain to be over", others_are_said_to_announce)
    foretold(herald, tmp_path, UNINSTALL, "--limit", "n1", nodes=["n1"])
    assert "herald.dev/drain" not in herald.get("node", "n1")["metadata"].get("annotations", {})
    assert left_on(herald, "n1") == {}
    left = accounts(herald)
    assert {f"serviceaccount/agent-{node}" in left for node in ("n2", "n3")} == {True}
    assert "agent-n1" not in left
    assert Bearer(herald, token.strip())("GET", "/api/v1/nodes").status == 401
    wait_for("another node to announce the address", lambda: herald.holder(address) in NODES[1:])
    await_health(herald, NODES[1:])


def test_agent_and_identity_of_a_node_are_removed_and_made_by_tags(
    herald: Lab, tmp_path: Path
) -> None:
    """On the node that the test before has left without either: made, and removed again, one after the other."""
    limit = ("--limit", "n1", "--tags")
    succeed(herald, tmp_path, SITE, *limit, "cluster")
    assert "agent-n1" in accounts(herald)
    assert left_on(herald, "n1") == {}
    succeed(herald, tmp_path, SITE, *limit, "agent")
    await_health(herald)

    removed = succeed(herald, tmp_path, UNINSTALL, *limit, "agent").changed
    assert {host for host, _ in removed} == {"n1"}
    assert left_on(herald, "n1") == {}
    assert "agent-n1" in accounts(herald)
    succeed(herald, tmp_path, UNINSTALL, *limit, "cluster")
    assert "agent-n1" not in accounts(herald)
    for tag in ("agent", "cluster"):
        assert succeed(herald, tmp_path, UNINSTALL, *limit, tag).changed == set()


@pytest.mark.timeout(3600)
def test_an_installation_that_is_killed_at_a_task_is_made_good_by_the_next(
    herald: Lab, tmp_path: Path
) -> None:
    """One node has nothing at first."""
    herald.attempt_playbook(UNINSTALL, "--limit", "n1")
    kill_at_each(herald, tmp_path, INTERRUPTED["site"], SITE, "--limit", "n1")
    succeed(herald, tmp_path, SITE)
    await_health(herald)
    assert succeed(herald, tmp_path, SITE).changed == set()


@pytest.mark.timeout(3600)
def test_a_removal_that_is_killed_at_a_task_is_made_good_by_the_next(
    herald: Lab, tmp_path: Path
) -> None:
    arguments = (UNINSTALL, "--limit", "n1")
    try:
        kill_at_each(herald, tmp_path, INTERRUPTED["uninstall"], *arguments)
        succeed(herald, tmp_path, *arguments)
        assert left_on(herald, "n1") == {}
        assert "agent-n1" not in accounts(herald)
        assert succeed(herald, tmp_path, *arguments).changed == set()
        await_health(herald, NODES[1:])
    finally:
        succeed(herald, tmp_path, SITE)
    await_health(herald)


def test_a_drain_that_is_killed_at_a_node_is_made_good_by_the_next(
    herald: Lab, tmp_path: Path
) -> None:
    """The first of two nodes is drained by then."""
    arguments = (DRAIN, "--limit", "n1,n2")
    kill = {"WITNESS_AT": "Move its addresses, or let it have some again", "WITNESS_NTH": "2"}
    try:
        killed = play(herald, tmp_path, *arguments, **kill)
        assert killed.status != 0
        assert drained(herald) == {"n1"}
        assert {host for host, _ in succeed(herald, tmp_path, *arguments).changed} == {"n2"}
        assert drained(herald) == {"n1", "n2"}
        active = (*arguments, "--extra-vars", "herald_drain=active")
        assert play(herald, tmp_path, *active, **kill).status != 0
        assert drained(herald) == {"n2"}
        assert {host for host, _ in succeed(herald, tmp_path, *active).changed} == {"n2"}
        assert drained(herald) == set()
    finally:
        herald.kubectl("annotate", "node", "--all", "herald.dev/drain-")


def kill_at_each(lab: Lab, folder: Path, tasks: Sequence[str], *arguments: str | Path) -> None:
    """Run a playbook again and again, each time killed where the next of these tasks begins. So each run but the first
    begins with what a killed one left, and passes the task at which that one was killed."""
    places = [(task, 1) for task in tasks]
    if os.environ.get("HERALD_INTERRUPT") == "all":
        names = play(lab, folder, *arguments, "--check").tasks
        places = [(name, names[: at + 1].count(name)) for at, name in enumerate(names)]
    assert places
    for task, nth in places:
        run = play(lab, folder, *arguments, WITNESS_AT=task, WITNESS_NTH=str(nth))
        # A task that only an unmended node has: the runs before have done it.
        if run.status == 0 and os.environ.get("HERALD_INTERRUPT") == "all":
            continue
        assert run.status != 0, f"{task} was not reached: {run.said}"
        assert run.tasks[-1].endswith(task), run.said
        assert run.of("failed") == set(), run.said


def accounts(lab: Lab) -> str:
    """The names of the identities that there are."""
    return lab.kubectl("get", "serviceaccounts", "--namespace", NAMESPACE, "--output", "name")


def drained(lab: Lab) -> set[str]:
    """The nodes that are marked as drained."""
    nodes = lab.get("nodes")["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        if node["metadata"].get("annotations", {}).get("herald.dev/drain") == "true"
    }


def left_on(lab: Lab, node: str) -> dict[str, str]:
    """Everything on a node that bears Herald's name, by where it was looked for."""
    found = {
        "units": lab.exec(node, "systemctl", "list-units", "--all", "--no-legend", "*herald*"),
        "unit files": lab.exec(
            node, "systemctl", "list-unit-files", "--no-legend", "*herald*", check=False
        ),
        "files": lab.exec(node, "sh", "-c", FILES),
        "volatile files": lab.exec(node, "sh", "-c", VOLATILE, check=False),
        "users": lab.exec(node, "getent", "passwd", "herald", check=False),
        "groups": lab.exec(node, "getent", "group", "herald", check=False),
        "processes": lab.exec(node, "pgrep", "--list-full", "herald", check=False),
        "tcx programs": attached(lab, node).replace("0", ""),
        "tc filters": lab.exec(node, "tc", "filter", "show", "dev", "host0", "ingress"),
        "clsact": "".join(
            line for line in lab.exec(node, "tc", "qdisc", "show").splitlines() if "clsact" in line
        ),
    }
    return {place: words for place, words in found.items() if words.strip()}


def attached(lab: Lab, node: str) -> str:
    return lab.exec(node, "/usr/bin/python3", "-I", "-c", ATTACHED).strip()


def left_in_the_cluster(lab: Lab) -> dict[str, str]:
    kinds = (
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "clusterroles",
        "clusterrolebindings",
        "namespaces",
        "flowschemas",
    )
    found = {kind: lab.kubectl("get", kind, "--output", "name") for kind in kinds}
    found = {
        kind: "\n".join(line for line in names.splitlines() if "herald" in line)
        for kind, names in found.items()
    }
    found["leases"] = lab.kubectl(
        "get", "leases", "--namespace", NAMESPACE, "--output", "name", "--ignore-not-found"
    )
    drained = "jsonpath={.items[*].metadata.annotations.herald\\.dev/drain}"
    conditions = "jsonpath={.items[*].status.conditions[*].type}"
    types = lab.kubectl("get", "services", "--all-namespaces", "--output", conditions).split()
    found["conditions"] = " ".join(name for name in types if name.startswith("herald.dev/"))
    found["drained nodes"] = lab.kubectl("get", "nodes", "--output", drained)
    return {kind: names for kind, names in found.items() if names.strip()}


def given(lab: Lab, service: str) -> list[str]:
    status = lab.get("service", service)["status"]
    return [entry["ip"] for entry in status.get("loadBalancer", {}).get("ingress", [])]
