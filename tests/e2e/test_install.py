# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What playbooks/site.yml leaves on a node and in the cluster, and that it knows when it is done."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NODES, OLDER, wait_for
from herald_lab.layout import API
from published import install
from watched import agent_status, await_health, main_process
from witnessed import foretold, inventory_with, play, standing, succeed, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
SITE = PLAYBOOKS / "site.yml"
WHEELHOUSE = PLAYBOOKS.parent / "build/wheelhouse"
INDEX_PORT = 7503
REFUSAL = "Refuse a node that cannot run the agent"
MEMORY = 48 * 1024  # KiB, resident


def test_second_run_of_the_playbook_changes_nothing_and_sends_no_write(
    herald: Lab, tmp_path: Path
) -> None:
    """The second one is the published collection's, and finds what the tree's has done."""
    install(tmp_path)
    herald.kubectl("label", "namespace", "default", "test-install=seen", "--overwrite")
    try:
        unseen = writes(herald)
    finally:
        herald.kubectl("label", "namespace", "default", "test-install-")
    before = writes(herald)
    assert before != unseen
    again = play(
        herald, tmp_path, "baremetal.herald.site", "--diff", ANSIBLE_COLLECTIONS_PATH=str(tmp_path)
    )
    assert again.status == 0, again.said
    assert again.changed == set(), again.said
    assert writes(herald) == before


def test_check_mode_foretells_a_drain_and_its_end(
    herald: Lab, service: Callable[..., Service], tmp_path: Path
) -> None:
    """Of the node that announces an address, which check mode moves no more than anything else."""
    _, (address,) = service("web")
    wait_for("the address to be announced", lambda: herald.holder(address) in NODES)
    node = herald.holder(address)
    drain = (PLAYBOOKS / "drain.yml", "--limit", node)
    try:
        assert {host for host, _ in foretold(herald, tmp_path, *drain).changed} == {node}
        assert herald.holder(address) in {*NODES} - {node}
    finally:
        ended = foretold(herald, tmp_path, *drain, "--extra-vars", "herald_drain=active")
    assert {host for host, _ in ended.changed} == {node}


def test_every_agent_is_healthy_and_knows_the_others(herald: Lab) -> None:
    await_health(herald)
    for node in NODES:
        status = agent_status(herald, node)
        assert status["node"] == node
        assert status["live_nodes"] == len(NODES)
        assert status["problems"] == []


def test_agent_is_no_root_and_holds_three_capabilities(herald: Lab) -> None:
    for node in NODES:
        status = herald.exec(node, "cat", f"/proc/{main_process(herald, node)}/status")
        uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
        assert uids
        assert "0" not in uids[1].split()
        held = re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
        assert held
        wanted = 1 << 12 | 1 << 13 | 1 << 39  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF
        assert int(held[1], 16) == wanted


def test_agent_is_small_and_the_loader_gone(herald: Lab, figure: Callable[[str], None]) -> None:
    found = {}
    for node in NODES:
        status = herald.exec(node, "cat", f"/proc/{main_process(herald, node)}/status")
        resident = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert resident
        found[node] = int(resident[1])
        assert "loader.py" not in herald.exec(node, "ps", "-eo", "args")
    each = ", ".join(f"{node} {size / 1024:.1f}" for node, size in found.items())
    figure(f"agents' resident memory in MB: {each}")
    assert max(found.values()) <= MEMORY


# --- a package index ----------------------------------------------------------------------------


@contextmanager
def package_index(lab: Lab, folder: Path) -> Iterator[tuple[str, Path]]:
    """The wheelhouse as an index (PEP 503) that nodes reach: its URL, and the file that tells what was asked for."""
    for wheel in WHEELHOUSE.iterdir():
        project = folder / "simple" / wheel.name.partition("-")[0].lower().replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        (project / wheel.name).symlink_to(wheel)
    asked = folder / "asked"
    serve = f"exec {sys.executable} -I -m http.server --bind {API.ipv4} {INDEX_PORT} 2>{asked}"
    process = lab.start("run", "--", "sh", "-c", f"cd {folder}; {serve}")
    try:
        listening = ("run", "--", "ss", "-Hltn", f"sport = :{INDEX_PORT}")
        wait_for("the index", lambda: bool(lab(*listening).strip()))
        yield f"http://{API.ipv4}:{INDEX_PORT}/simple", asked
    finally:
        process.kill()
        process.communicate()


def test_node_has_the_dependencies_from_an_index_where_one_is_named(
    herald: Lab, tmp_path: Path, older_wheel: Path
) -> None:
    """The controller has no wheels for it then, and gets none."""
    # As an operator has pip accept an index without TLS.
    trust = f"rm -rf /opt/herald/{OLDER}+*; printf '[global]\\ntrusted-host = {API.ipv4}\\n' >/etc/pip.conf"
    cache = tmp_path / "cache"
    with (
        package_index(herald, tmp_path) as (index, asked),
        altered(herald, "n1", trust, "rm -f /etc/pip.conf"),
    ):
        told = {"herald_agent_index": index, "herald_agent_wheel": str(older_wheel)}
        arguments = (SITE, "--limit", "n1", "--extra-vars", json.dumps(told))
        succeed(herald, tmp_path, *arguments, HERALD_CACHE=str(cache))
    try:
        fetched = set(re.findall(r'"GET /simple/[^/]+/(\S+\.whl) HTTP/1.1" 200', asked.read_text()))
        assert fetched == {wheel.name for wheel in WHEELHOUSE.iterdir()}
        assert not cache.exists()
        assert herald.exec("n1", "readlink", "/opt/herald/current").startswith(f"{OLDER}+")
        await_health(herald)
    finally:
        succeed(herald, tmp_path, SITE, "--limit", "n1")
    await_health(herald)


# --- nodes that are not as they should be; what runs is left alone --------------------------------


@contextmanager
def altered(lab: Lab, node: str, do: str, undo: str) -> Iterator[None]:
    """Something about the node is not as it should be, as long as the block. `undo` also undoes what was half done."""
    try:
        lab.exec(node, "sh", "-ec", do)
        yield
    finally:
        lab.exec(node, "sh", "-ec", undo)


def unmount(*places: str) -> str:
    """The command that does it, of those that are mounted."""
    return (
        f"for place in {' '.join(places)}; do ! mountpoint -q $place || umount --lazy $place; done"
    )


def test_full_disk_is_said_and_a_rerun_with_room_installs(
    herald: Lab, tmp_path: Path, older_wheel: Path
) -> None:
    """What is installed lies on a disk with 8 MB to spare; then the disk grows. Other nodes are not touched."""
    small = (
        f"rm -rf /opt/herald/{OLDER}+*; used=$(du -sm /opt/herald | cut -f1); mkdir /run/small; "
        "mount -t tmpfs -o size=$((used + 8))m tmpfs /run/small; cp -a /opt/herald/. /run/small; "
        "mount --bind /run/small /opt/herald"
    )
    away = (
        f"systemctl stop herald-agent; {unmount('/opt/herald', '/run/small')}; rm -df /run/small; "
        "systemctl start herald-agent"
    )

    def untouched() -> dict[str, str]:
        found = standing(herald, NODES[1:])
        return {"n1": main_process(herald, "n1"), **{node: found[node] for node in NODES[1:]}}

    older = ("--extra-vars", f"herald_agent_wheel={older_wheel}")
    for node in NODES[1:]:
        herald.exec(node, "sh", "-c", f"rm -rf /opt/herald/{OLDER}+*")
    before = untouched()
    with altered(herald, "n1", small, away):
        run = play(herald, tmp_path, SITE, *older)
        assert run.status != 0
        assert run.of("failed") == {("n1", "baremetal.herald.agent : Refuse a disk without room")}
        assert "/opt/herald: wanted 80 MB of room for this version, found " in run.said, run.said
        assert untouched() == before
        await_health(herald)
        herald.exec("n1", "mount", "-o", "remount,size=500m", "/run/small")
        succeed(herald, tmp_path, SITE, "--limit", "n1", *older)
        assert herald.exec("n1", "readlink", "/opt/herald/current").startswith(f"{OLDER}+")
    succeed(herald, tmp_path, SITE, "--limit", "n1")
    await_health(herald)


def test_disk_that_is_full_at_a_nodes_turn_is_said_and_a_rerun_with_room_completes(
    herald: Lab, tmp_path: Path
) -> None:
    """That of /etc, which nobody asks for its room before: the node goes on as it was, and so do those after it."""
    small = (
        "mkdir /run/small; mount -t tmpfs -o size=64k tmpfs /run/small; cp -a /etc/herald/. /run/small; "
        "cat /dev/zero >/run/small/full || :; mount --bind /run/small /etc/herald"
    )
    away = f"{unmount('/etc/herald', '/run/small')}; rm -df /run/small"
    told = (SITE, "--extra-vars", "herald_log_level=debug")
    settings = ("sh", "-c", "cat /etc/herald/agent.toml")
    before = {node: (main_process(herald, node), herald.exec(node, *settings)) for node in NODES}
    try:
        with altered(herald, "n1", small, away):
            stopped = play(herald, tmp_path, *told)
            assert stopped.status != 0
            configure = "baremetal.herald.agent : Have the configuration"
            assert stopped.of("failed") == {("n1", configure)}, stopped.said
            assert "No space left on device" in stopped.said, stopped.said
            await_health(herald)
            assert before == {
                node: (main_process(herald, node), herald.exec(node, *settings)) for node in NODES
            }
            herald.exec("n1", "rm", "/etc/herald/full")
            completed = succeed(herald, tmp_path, *told)
            assert {host for host, _ in completed.changed} == {*NODES}
            await_health(herald)
    finally:
        succeed(herald, tmp_path, SITE)
    await_health(herald)


@pytest.mark.parametrize(
    ("do", "undo", "variables", "task", "words"),
    [
        pytest.param(
            "true",
            "true",
            {"ansible_python_interpreter": "/usr/bin/python2"},
            "Look at the node",
            "/usr/bin/python2",
            id="no Python for Ansible",
        ),
        pytest.param(
            "true",
            "true",
            {"herald_python": "/usr/bin/python3.9"},
            REFUSAL,
            "wanted Python 3.11 or newer at /usr/bin/python3.9, found none",
            id="no Python for the agent",
        ),
        pytest.param(
            "ip link add kube-ipvs0 type veth peer name herald-test",
            "[ ! -e /sys/class/net/kube-ipvs0 ] || ip link delete kube-ipvs0",
            {},
            REFUSAL,
            "wanted ipvs.strictARP true",
            id="ipvs without strictARP",
        ),
    ],
)
def test_node_that_cannot_run_the_agent_is_refused_by_what_is_in_the_way(
    herald: Lab,
    tmp_path: Path,
    do: str,
    undo: str,
    variables: dict[str, str],
    task: str,
    words: str,
) -> None:
    before = main_process(herald, "n1")
    inventory = inventory_with(herald, tmp_path, "n1", **variables)
    with altered(herald, "n1", do, undo):
        run = play(herald, tmp_path, SITE, inventory=inventory)
    assert run.status != 0
    assert run.of("failed") == {("n1", f"baremetal.herald.agent : {task}")}, run.said
    assert words in run.said, run.said
    assert "Traceback" not in run.said
    assert main_process(herald, "n1") == before
    # Nor was anything done to the cluster, or on another node.
    assert run.changed == set()
    assert not [name for name in run.tasks if name.startswith("baremetal.herald.cluster : ")]


def test_a_configuration_that_the_agent_would_refuse_is_refused_before_anything_is_touched(
    herald: Lab, tmp_path: Path
) -> None:
    """By check mode too. Where it reached the agent, the node's addresses would be lost: see `herald.shell.main`."""
    wrong = (SITE, "--limit", "n1", "--extra-vars", "herald_metrics_listen=nonsense")
    before = standing(herald, ["n1"])["n1"]
    for run in (play(herald, tmp_path, *wrong, "--check"), play(herald, tmp_path, *wrong)):
        assert run.status != 0
        assert "/etc/herald/agent.toml: metrics.listen: wanted " in run.said, run.said
    assert standing(herald, ["n1"])["n1"] == before
    await_health(herald)


def test_another_distribution_is_named_as_untested_and_goes_on(herald: Lab, tmp_path: Path) -> None:
    said = "ID=slackware\\nVERSION_ID=15.0\\n"
    do = f"printf '{said}' >/run/os-release; mount --bind /run/os-release /etc/os-release"
    undo = f"{unmount('/etc/os-release')}; rm -f /run/os-release"
    with altered(herald, "n1", do, undo):
        run = succeed(herald, tmp_path, SITE, "--limit", "n1")
    assert "should run here too (slackware 15.0)" in run.said
    assert run.changed == set()
