# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A node may be called otherwise in the cluster than by its host name and in the inventory, and at any length; but no
two may be called the same."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tokens
from harm import CONFIG
from watched import (
    BEYOND,
    HERALDCTL,
    LEASES,
    agent_status,
    assert_leases_agree,
    assert_one_at_a_time,
    await_health,
    linger,
    main_process,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service
    from watched import Watched

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "playbooks/site.yml"
HOST = "n3"  # by its own host name; `rack-7` in the inventory
LONGEST = ".".join(["n" * 63, "rack-7", "x" * 63, "y" * 63, "example" * 7 + "-test"])


def key(name: str) -> str:
    """What objects of a node are called by, whose name is too long for theirs."""
    return name[:183] + "-" + hashlib.sha256(name.encode()).hexdigest()[:16]


@pytest.fixture
def renamed(herald: Lab, tmp_path: Path, wait_for: Callable[..., None]) -> Iterator[Lab]:
    """The third node, under another name in inventory and cluster; afterwards as it was."""
    assert len(LONGEST) == 253
    inventory: dict[str, Any] = json.loads(herald("inventory"))
    hosts = inventory["all"]["children"]["herald"]["hosts"]
    hosts["rack-7"] = {**hosts.pop(HOST), "herald_node_name": LONGEST}
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps(inventory))
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": LONGEST}}
    herald.api.apply(f"/api/v1/nodes/{LONGEST}", node)
    try:
        done = herald.attempt_playbook(SITE, inventory=file)
        assert done.returncode == 0, done.stdout + done.stderr
        yield herald
    finally:
        herald.playbook(SITE)
        herald.api.delete(f"/api/v1/nodes/{LONGEST}")
        await_health(herald)
        # It was its Node's: the garbage collector deletes it, and another node's agent lets it go.
        presence = f"{LEASES}/presence-{key(LONGEST)}"
        wait_for("the other name's presence to be gone", lambda: herald.api.get(presence) is None)
        # Its agent lived until its node's turn came, and kept its identity.
        herald.playbook(SITE, "--tags", "cluster")


def test_node_announces_under_a_name_of_253_characters(
    renamed: Lab, service: Callable[..., Service], wait_for: Callable[..., None]
) -> None:
    assert agent_status(renamed, HOST)["node"] == LONGEST
    presence = renamed.api.get(f"{LEASES}/presence-{key(LONGEST)}")
    assert presence is not None
    assert presence["spec"]["holderIdentity"] == LONGEST
    node = renamed.api.get(f"/api/v1/nodes/{LONGEST}")
    assert node is not None
    (owner,) = presence["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", node["metadata"]["uid"])

    _, (address,) = service("web")
    others = ("n1", "n2")
    try:
        for node in others:
            renamed.exec(node, "systemctl", "stop", "herald-agent")
        wait_for("the node to announce", lambda: renamed.holder(address) == LONGEST)
        page = ("client", "--", "curl", "-s", "-m", "2", f"http://{address}/")
        wait_for("the client to get a page", lambda: renamed.attempt(*page).returncode == 0)
    finally:
        for node in others:
            renamed.exec(node, "systemctl", "start", "herald-agent")
        await_health(renamed)


@contextmanager
def called(lab: Lab, node: str, name: str) -> Iterator[None]:
    """The agent of a node has another's node name, and its token, inside the block."""
    files = f"{CONFIG} {tokens.FILE}"
    # What is written here and by the agent is put in the place of a file, never into it.
    keep = f"for file in {files}; do ln $file $file.own; done"
    give_back = f"for file in {files}; do [ ! -e $file.own ] || mv $file.own $file; done"
    try:
        lab.exec(node, "systemctl", "stop", "herald-agent")
        lab.exec(node, "sh", "-ec", keep)
        lab.exec(node, "sed", "--in-place", f's/^node = .*/node = "{name}"/', CONFIG)
        tokens.hand(lab, node, tokens.held(lab, name))
        lab.exec(node, "systemctl", "start", "--no-block", "herald-agent")
        yield
    finally:
        lab.exec(node, "systemctl", "stop", "herald-agent")
        lab.exec(node, "sh", "-ec", give_back)
        lab.exec(node, "systemctl", "start", "herald-agent")


def test_second_machine_under_a_nodes_name_serves_nothing_and_disturbs_nobody(
    watched: Watched, tmp_path: Path, wait_for: Callable[..., None]
) -> None:
    lab, first = watched.lab, watched.holder
    second = watched.others[-1]

    def life() -> tuple[Any, ...]:
        """Of the first: its process, and what a presence says but by being renewed."""
        presence = lab.presence(first)
        instance = presence["metadata"]["annotations"]["herald.dev/instance"]
        epoch = presence["metadata"]["uid"], presence["spec"].get("leaseTransitions", 0)
        return main_process(lab, first), presence["spec"]["holderIdentity"], instance, epoch

    def status() -> dict[str, Any]:
        """It exits with 1 while there is a problem, and says nothing yet while the agent begins."""
        text = lab.exec(second, HERALDCTL, "status", "--json", check=False)
        found: dict[str, Any] = json.loads(text)["status"] if text.startswith("{") else {}
        return found

    def refuses() -> bool:
        problem = f"the presence presence-{first} belongs to another machine or an earlier boot"
        found = status()
        return found.get("node") == first and any(
            each.startswith(problem) for each in found["problems"]
        )

    before = life()
    with watched.answered(tmp_path) as answers, watched.metered(tmp_path) as outage:
        with called(lab, second, first):
            wait_for("the second to say why it serves nothing", refuses)
            linger(2 * BEYOND)
            assert refuses()
            assert status()["held"] == []
            assert (watched.holder, life()) == (first, before)
            said = lab.exec(second, "journalctl", "--unit=herald-agent", "--output=cat", "-n50")
            assert "another machine or boot lives under this node's name" in said
        await_health(lab)
        linger(BEYOND)
    assert (watched.holder, life()) == (first, before)
    assert_one_at_a_time(answers)
    assert outage["gaps"] == []
    assert_leases_agree(lab)
