# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""From version to version, from one CA of the API to another, and off a node: node by node, while a client is
served."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NODES, OLDER, wait_for
from herald_lab import layout, pki
from watched import (
    BEYOND,
    DRAIN,
    HERALDCTL,
    assert_one_at_a_time,
    await_health,
    linger,
    main_process,
)
from witnessed import Run, foretold, inventory_with, play, succeed, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab
    from watched import Watched

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SITE, UPGRADE = ROOT / "playbooks/site.yml", ROOT / "playbooks/upgrade.yml"
DRAIN_PLAYBOOK = ROOT / "playbooks/drain.yml"
GATE = ROOT / "tests/lab/herald_lab/gate.py"
FIRST, SECOND, LAST = NODES
TURN = "Forget what runs, where something else shall run"  # how a node's turn begins
ANOTHER_PORT = layout.ANOTHER_API_PORT
WAITING = 3.0  # seconds for which a drain is seen to wait


# --- another version --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def this_version(herald: Lab) -> str:
    return herald.exec(FIRST, HERALDCTL, "--version").strip()


@pytest.fixture(scope="module")
def downgraded(
    herald: Lab, this_version: str, older_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Every node has the older version, by a run that check mode foretold; at the end all have this one again."""
    older = ("--extra-vars", f"herald_agent_wheel={older_wheel}")
    try:
        yield foretold(herald, tmp_path_factory.mktemp("downgraded"), UPGRADE, *older)
    finally:
        if installed(herald) != dict.fromkeys(NODES, this_version):
            herald.playbook(SITE)
        await_health(herald)


def test_check_mode_foretells_a_downgrade_which_goes_node_by_node(
    herald: Lab, downgraded: Run
) -> None:
    assert {host for host, _ in downgraded.changed} == set(NODES)
    assert [task.endswith(TURN) for task in downgraded.tasks].count(True) == len(NODES)
    assert installed(herald) == dict.fromkeys(NODES, OLDER)
    await_health(herald)
    await_known(herald, FIRST, {FIRST: OLDER})


def test_upgrade_stops_at_a_node_that_is_out_of_reach_and_its_rerun_completes_it(
    watched: Watched,
    downgraded: Run,
    this_version: str,
    tmp_path: Path,
    figure: Callable[[str], None],
) -> None:
    lab = watched.lab
    gone = tmp_path / "gone"
    inventory = out_of_reach(lab, tmp_path, SECOND, gone)
    before = {node: main_process(lab, node) for node in (SECOND, LAST)}
    with watched.metered(tmp_path) as outage:
        away = {"WITNESS_AT": TURN, "WITNESS_NTH": "2", "WITNESS_DO": f"touch {gone}"}
        stopped = play(lab, tmp_path, UPGRADE, inventory=inventory, **away)
        assert stopped.status != 0
        assert {host for host, _ in stopped.of("unreachable")} == {SECOND}, stopped.said
        assert installed(lab) == {FIRST: this_version, SECOND: OLDER, LAST: OLDER}
        assert {node: main_process(lab, node) for node in before} == before

        # Both versions work side by side, say so, and take an address over from each other.
        await_health(lab)
        await_known(lab, FIRST, {FIRST: this_version, SECOND: OLDER, LAST: OLDER})
        await_known(lab, SECOND, {FIRST: this_version, SECOND: OLDER})
        for node in (FIRST, SECOND):
            watched.gather(node)

        gone.unlink()
        completed = succeed(lab, tmp_path, UPGRADE, inventory=inventory)
    assert {host for host, _ in completed.changed} == {SECOND, LAST}
    assert installed(lab) == dict.fromkeys(NODES, this_version)
    await_health(lab)
    await_known(lab, FIRST, {FIRST: this_version})
    figure(f"upgrade, stopped and completed: {outage['lost']} of {outage['sent']} datagrams lost")
    assert outage["gaps"] == []


def installed(lab: Lab) -> dict[str, str]:
    """The version that each node runs by its link."""
    found = {node: lab.exec(node, "readlink", "/opt/herald/current") for node in NODES}
    return {node: link.partition("+")[0] for node, link in found.items()}


def known_to(lab: Lab, node: str) -> dict[str, str]:
    """What the agent of a node says of versions: its own, and those of nodes that have another."""
    said = lab.exec(node, HERALDCTL, "status").splitlines()
    own = next(line for line in said if line.startswith("version: "))
    others = said.index(next(line for line in said if line.startswith("other versions: "))) + 1
    count = int(said[others - 1].partition(": ")[2])
    lines = [own.replace("version", node), *said[others : others + count]]
    return dict(line.strip().split(": ") for line in lines)


def await_known(lab: Lab, node: str, versions: dict[str, str]) -> None:
    wait_for(f"{node} to know of {versions}", lambda: known_to(lab, node) == versions)


def out_of_reach(lab: Lab, folder: Path, node: str, once: Path) -> Path:
    """An inventory by which nobody answers at the node's port once that file is there."""
    port = f"{{{{ 1 if '{once}' is exists else 22 }}}}"
    return inventory_with(lab, folder, node, ansible_port=port)


# --- another CA -------------------------------------------------------------------------------


def test_servers_and_ca_of_the_api_change_and_no_client_notices(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """As an operator replaces a CA: agents are told of both, then of the new one alone; and back at once."""
    lab = watched.lab
    pki.authority(tmp_path, "Another CA")
    pki.server(tmp_path)
    old, new = (folder / "ca.crt" for folder in (layout.Lab(lab.name).pki, tmp_path))
    servers = [f"https://{layout.API.ipv4}:{port}" for port in (layout.API_PORT, ANOTHER_PORT)]
    holder, epoch = watched.holder, watched.lease()["metadata"]["annotations"]["herald.dev/epoch"]
    spoken_to = []
    with another_api_server(lab, tmp_path), watched.metered(tmp_path, interval_ms=1) as outage:
        try:
            for urls, ca in (
                (servers, old.read_text() + new.read_text()),
                (servers[1:], new.read_text()),
            ):
                told = {"herald_api_servers": urls, "herald_api_ca": ca}
                arguments = ("--tags", "agent", "--extra-vars", json.dumps(told))
                assert {
                    host for host, _ in succeed(lab, tmp_path, UPGRADE, *arguments).changed
                } == {*NODES}
                spoken_to.append({port for node in NODES for port in ports(lab, node)})
        finally:
            succeed(lab, tmp_path, SITE)
    await_health(lab)
    figure(f"another CA and back: {outage['lost']} of {outage['sent']} datagrams lost")
    assert str(layout.API_PORT) in spoken_to[0]
    assert spoken_to[1] == {str(ANOTHER_PORT)}
    assert {port for node in NODES for port in ports(lab, node)} == {str(layout.API_PORT)}
    assert outage["gaps"] == []
    assert watched.holder == holder
    assert watched.lease()["metadata"]["annotations"]["herald.dev/epoch"] == epoch


@pytest.mark.parametrize("end", ["stop", "hang"])
def test_agents_whose_api_server_ends_go_on_with_another(
    watched: Watched,
    tmp_path: Path,
    figure: Callable[[str], None],
    end: str,
) -> None:
    """Of two on the same data. By their names, all agents of the lab begin with the first that they are told."""
    lab = watched.lab
    urls = [f"https://{layout.API.ipv4}:{port}" for port in (ANOTHER_PORT, layout.API_PORT)]
    told = ("--tags", "agent", "--extra-vars", json.dumps({"herald_api_servers": urls}))
    with one_more_api_server(lab):
        try:
            succeed(lab, tmp_path, SITE, *told)
            await_health(lab)
            assert {port for node in NODES for port in ports(lab, node)} == {str(ANOTHER_PORT)}
            before = lives(lab), watched.lease()["metadata"]["annotations"]["herald.dev/epoch"]
            with watched.answered(tmp_path) as answers, watched.metered(tmp_path) as outage:
                lab("api", "another", end)
                for node in NODES:
                    await_renewals(lab, node)
                linger(BEYOND)
            after = lives(lab), watched.lease()["metadata"]["annotations"]["herald.dev/epoch"]
            await_health(lab)
        finally:
            succeed(lab, tmp_path, SITE)
    await_health(lab)
    figure(f"{end} of one API server of two: {outage['lost']} of {outage['sent']} datagrams lost")
    assert after == before
    assert outage["gaps"] == []
    assert_one_at_a_time(answers)


@contextmanager
def one_more_api_server(lab: Lab) -> Iterator[None]:
    """A second API server, on the same data, at another port."""
    ready = ("run", "--", "curl", "-sk", f"https://127.0.0.1:{ANOTHER_PORT}/readyz")
    try:
        lab("api", "another", "start")
        wait_for("one more API server", lambda: lab.attempt(*ready).stdout == "ok", seconds=60)
        yield
    finally:
        lab("api", "another", "stop")


def lives(lab: Lab) -> dict[str, object]:
    """Of each node the epoch of its presence, and who holds it; what changes is that it was fenced."""
    specs = {node: lab.presence(node)["spec"] for node in NODES}
    return {
        node: (spec.get("leaseTransitions"), spec.get("holderIdentity"))
        for node, spec in specs.items()
    }


def await_renewals(lab: Lab, node: str, times: int = 3) -> None:
    """The node renews its presence again, so many times."""
    seen = set[str]()

    def renewed() -> bool:
        seen.add(lab.presence(node)["metadata"]["resourceVersion"])
        return len(seen) > times

    wait_for(f"{node} to renew", renewed)


def test_agent_that_cannot_verify_the_api_server_stops_the_rollout_and_a_rerun_completes_it(
    herald: Lab, tmp_path: Path
) -> None:
    """The CA that the nodes are told has not signed the API server's certificate. The second node is told nothing."""
    pki.authority(tmp_path, "No CA of this lab")
    stranger = {"herald_api_ca": (tmp_path / "ca.crt").read_text(), "herald_health_timeout": 5}
    others = {node: main_process(herald, node) for node in (SECOND, LAST)}
    try:
        stopped = play(herald, tmp_path, UPGRADE, "--extra-vars", json.dumps(stranger))
    finally:
        completed = succeed(herald, tmp_path, UPGRADE)
    assert stopped.status != 0
    assert {host for host, _ in stopped.of("failed")} == {FIRST}, stopped.said
    assert "wanted healthy within\n5 s, found:" in stopped.said, stopped.said
    assert "certificate not accepted" in stopped.said, stopped.said
    assert {host for host, _ in completed.changed} == {FIRST}
    assert {node: main_process(herald, node) for node in others} == others
    await_health(herald)


@contextmanager
def another_api_server(lab: Lab, folder: Path) -> Iterator[None]:
    """The lab's API server at another port too, by the certificate in that folder."""
    tls = ("--certificate", f"{folder}/apiserver.crt", "--key", f"{folder}/apiserver.key")
    ports = ("--port", str(ANOTHER_PORT), "--to", str(layout.API_PORT))
    process = lab.start("run", "--", sys.executable, "-I", str(GATE), *ports, *tls, "front")
    listening = ("run", "--", "ss", "-Hltn", f"sport = :{ANOTHER_PORT}")
    try:
        wait_for("another API server", lambda: bool(lab(*listening).strip()))
        yield
    finally:
        process.kill()
        process.communicate()


def ports(lab: Lab, node: str) -> set[str]:
    """The ports of the API servers that the node's agent is connected to."""
    mine = f"pid={main_process(lab, node)},"
    lines = lab.exec(node, "ss", "-Htnp", "state", "established").splitlines()
    return {line.split()[3].rpartition(":")[2] for line in lines if mine in line}


# --- a drain ----------------------------------------------------------------------------------


@pytest.fixture
def last_one(watched: Watched) -> Iterator[str]:
    """The node that announces the address, while all others are drained; at the end all are free again."""
    node, drained = watched.holder, f"{DRAIN}=true"
    watched.lab.kubectl("annotate", "node", *watched.others, drained)
    try:
        yield node
    finally:
        watched.lab.kubectl("annotate", "node", "--all", f"{DRAIN}-")


def drains(lab: Lab, node: str) -> bool:
    dotted = DRAIN.replace(".", r"\.")
    path = f"jsonpath={{.metadata.annotations.{dotted}}}"
    return lab.kubectl("get", "node", node, "--output", path).strip() == "true"


def test_drain_ends_when_the_last_address_has_moved_and_no_client_notices(
    watched: Watched, tmp_path: Path
) -> None:
    lab, node = watched.lab, watched.holder
    try:
        with watched.metered(tmp_path) as outage:
            assert succeed(lab, tmp_path, DRAIN_PLAYBOOK, "--limit", node).changed
            assert watched.off(node)
    finally:
        active = ("--extra-vars", "herald_drain=active")
        succeed(lab, tmp_path, DRAIN_PLAYBOOK, "--limit", node, *active)
    assert outage["answered"] > 0
    assert outage["gaps"] == []


def test_drain_waits_for_a_node_that_may_announce_the_address(
    watched: Watched, last_one: str, tmp_path: Path
) -> None:
    lab, others = watched.lab, watched.others
    with ThreadPoolExecutor() as pool:
        running = pool.submit(succeed, lab, tmp_path, DRAIN_PLAYBOOK, "--limit", last_one)
        wait_for("the node to drain", lambda: drains(lab, last_one))
        linger(WAITING)
        assert not running.done(), running.result().said
        assert watched.holder == last_one
        lab.kubectl("annotate", "node", *others, f"{DRAIN}-")
        assert running.result().changed
        assert watched.off(last_one)


def test_drain_that_has_nowhere_to_move_an_address_fails_and_names_it(
    watched: Watched, last_one: str, tmp_path: Path
) -> None:
    """Each time that it is asked for."""
    drain = {"name": last_one, "state": "drained", "wait_timeout": 2}
    tasks = [{"baremetal.herald.node_maintenance": drain}]
    (tmp_path / "play.json").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    )
    for _ in range(2):
        run = play(watched.lab, tmp_path, tmp_path / "play.json")
        assert run.status != 0
        assert f"it still announces {watched.address}: wanted another node" in run.said, run.said
        assert watched.holder == last_one


@pytest.mark.parametrize("tags", [(), ("--tags", "drain")], ids=["", "by its tag"])
def test_drain_of_all_nodes_is_refused(herald: Lab, tmp_path: Path, tags: tuple[str, ...]) -> None:
    before = writes(herald)
    run = play(herald, tmp_path, DRAIN_PLAYBOOK, *tags)
    assert run.status != 0
    assert "--limit: wanted the nodes to drain, found none" in run.said, run.said
    assert writes(herald) == before
