# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Versions, configuration and certificates change on a running cluster: no request is lost, and what goes wrong on one
node stops there."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import OLDER
from herald_lab import network, pki
from herald_lab.layout import API, API_PORT
from herald_lab.layout import Lab as Layout
from watched import HERALDCTL, agent_status, assert_leases_agree, assert_one_at_a_time, await_health
from witnessed import foretold, play, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab
    from watched import Watched

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SITE, UPGRADE = ROOT / "playbooks/site.yml", ROOT / "playbooks/upgrade.yml"
DRAIN = ROOT / "playbooks/drain.yml"


@pytest.fixture
def older(older_wheel: Path) -> str:
    """The option that has the playbooks install an older build."""
    return f"herald_agent_wheel={older_wheel}"


@pytest.fixture(scope="module")
def restored(herald: Lab) -> Iterator[Lab]:
    """Whatever these tests have the nodes run, in the end it is what the others want."""
    yield herald
    herald("heal", "all")
    herald.playbook(SITE)
    await_health(herald)


def versions(lab: Lab) -> dict[str, str]:
    """Which version each node's agent says that it is; nothing where none runs."""
    found = {}
    for node in ("n1", "n2", "n3"):
        said = lab.exec(node, HERALDCTL, "status", "--json", check=False)
        found[node] = json.loads(said)["version"] if said else ""
    return found


def process(lab: Lab, node: str) -> str:
    return lab.exec(node, "systemctl", "show", "--property=MainPID", "--value", "herald-agent")


def test_node_lost_in_the_middle_stops_a_rolling_upgrade_and_a_rerun_completes_it(
    restored: Lab, older: str, watched: Watched, tmp_path: Path
) -> None:
    lab = restored
    newest = versions(lab)["n1"]
    untouched = process(lab, "n3")
    cut = play(
        lab,
        tmp_path,
        UPGRADE,
        *("--extra-vars", older),
        # Each task by a connection of its own: one that was open before hangs as long as TCP does.
        ANSIBLE_SSH_ARGS="-o ControlMaster=no",
        WITNESS_AT="Have the configuration",
        WITNESS_NTH="2",
        WITNESS_DO=f"{ROOT}/tests/lab/lab --lab {lab.name} fault n2 power",
    )
    assert cut.status != 0
    assert {host for host, _ in cut.of("unreachable")} == {"n2"}, cut.said
    assert cut.of("failed") == set(), cut.said
    assert versions(lab) == {"n1": OLDER, "n2": "", "n3": newest}
    assert process(lab, "n3") == untouched
    # An older agent beside a newer one: both live, both see each other, and one of them serves.
    await_health(lab, ["n1", "n3"])
    watched.wait_for("n1 or n3 to announce", lambda: watched.holder in ("n1", "n3"))
    watched.wait_for(
        "both to know of each other alone",
        lambda: {agent_status(lab, node)["live_nodes"] for node in ("n1", "n3")} == {2},
    )

    lab("heal", "n2")
    done = succeed(lab, tmp_path, UPGRADE, "--extra-vars", older)
    assert {host for host, task in done.changed if task.endswith("Restart it")} == {"n2", "n3"}
    await_health(lab)
    assert versions(lab) == dict.fromkeys(("n1", "n2", "n3"), OLDER)
    assert_leases_agree(lab)


def test_upgrade_loses_no_request_and_check_mode_foretells_it(
    restored: Lab, watched: Watched, tmp_path: Path
) -> None:
    """From the older build that the test before has left."""
    lab = restored
    assert set(versions(lab).values()) == {OLDER}
    with watched.answered(tmp_path) as answers, watched.metered(tmp_path) as outage:
        done = foretold(lab, tmp_path, UPGRADE)
    assert outage["answered"] > 0
    assert outage["gaps"] == []
    assert_one_at_a_time(answers)
    order = [e["host"] for e in done.entries if e["task"].endswith(" Restart it") and e["host"]]
    assert order == ["n1", "n2", "n3"], "one first, then the others in their steps"
    assert OLDER not in versions(lab).values()
    assert succeed(lab, tmp_path, UPGRADE).changed == set()
    assert_leases_agree(lab)


def test_agent_that_cannot_verify_the_api_server_stops_the_rollout(
    restored: Lab, tmp_path: Path
) -> None:
    """The CA that the nodes are told has not signed the API server's certificate. The second node is told nothing."""
    lab = restored
    others = {node: process(lab, node) for node in ("n2", "n3")}
    pki.authority(tmp_path, "No CA of this lab")
    stranger = {"herald_api_ca": (tmp_path / "ca.crt").read_text(), "herald_health_timeout": 5}
    run = play(lab, tmp_path, UPGRADE, "--extra-vars", json.dumps(stranger))
    assert run.status != 0
    assert {host for host, _ in run.of("failed")} == {"n1"}, run.said
    assert "wanted healthy within" in run.said
    assert "certificate not accepted" in run.said, run.said
    assert {node: process(lab, node) for node in others} == others
    succeed(lab, tmp_path, SITE)
    await_health(lab)


def test_drained_node_has_no_address_and_check_mode_foretells_it(
    restored: Lab, watched: Watched, tmp_path: Path
) -> None:
    lab, node = restored, watched.holder
    with watched.metered(tmp_path) as outage:
        foretold(lab, tmp_path, DRAIN, "--limit", node)
        assert watched.holder not in ("", node)
        foretold(lab, tmp_path, DRAIN, "--limit", node, "--extra-vars", "herald_drain=active")
    assert outage["gaps"] == []


# --- API servers and their CA -----------------------------------------------------------------


class Authorities:
    """The lab's API server, and a second CA that may vouch for it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.pki = Layout(lab.name).pki
        self.old = (self.pki / "ca.crt").read_text()
        for name in ("apiserver.crt", "apiserver.key"):
            shutil.copy(self.pki / name, folder / name)
        self.fresh = folder / "fresh"
        self.fresh.mkdir()
        pki.authority(self.fresh, "Second lab CA")
        pki.server(self.fresh)
        self.new = (self.fresh / "ca.crt").read_text()

    def vouch(self, folder: Path, authority: str, wait_for: Callable[..., None]) -> None:
        """Have the API server show the certificate of that folder, which this CA has signed."""
        for name in ("apiserver.key", "apiserver.crt"):
            fresh = self.pki / f".{name}"
            shutil.copy(folder / name, fresh)
            fresh.replace(self.pki / name)
        wait_for("the API server to show it", lambda: self._shown(authority))

    def _shown(self, authority: str) -> bool:
        context = ssl.create_default_context(cadata=authority)
        with network.entered(Layout(self.lab.name).netns):
            connection = socket.create_connection(("127.0.0.1", API_PORT), timeout=5)
        try:
            context.wrap_socket(connection, server_hostname="127.0.0.1").close()
        except ssl.SSLCertVerificationError:
            return False
        finally:
            connection.close()
        return True

    def kubeconfig(self) -> str:
        """The operator's, who trusts both."""
        config: dict[str, Any] = json.loads(
            self.lab.kubectl("config", "view", "--raw", "--output", "json")
        )
        both = base64.b64encode((self.old + self.new).encode()).decode()
        config["clusters"][0]["cluster"]["certificate-authority-data"] = both
        file = self.folder / "kubeconfig"
        file.touch(0o600)
        file.write_text(json.dumps(config))
        return str(file)


def test_ca_and_list_of_api_servers_change_without_an_outage(
    restored: Lab, watched: Watched, tmp_path: Path, wait_for: Callable[..., None]
) -> None:
    """As it is done: trust both CAs, change the certificate, trust the new one alone. One of the API servers is never
    there."""
    lab, node = restored, watched.holder
    authorities = Authorities(lab, tmp_path)
    operator = {"KUBECONFIG": authorities.kubeconfig()}
    there = [f"https://{API.ipv4}:{API_PORT}", f"https://[{API.ipv6}]:{API_PORT}"]
    servers = ["https://192.168.77.1:1", *there]

    def site(authority: str, *arguments: str) -> None:
        told = {"herald_api_ca": authority, "herald_api_servers": servers}
        run = play(lab, tmp_path, SITE, "--extra-vars", json.dumps(told), *arguments, **operator)
        assert run.status == 0, run.said

    with watched.answered(tmp_path) as answers, watched.metered(tmp_path) as outage:
        site(authorities.old + authorities.new)
        try:
            authorities.vouch(authorities.fresh, authorities.new, wait_for)
            servers.reverse()
            site(authorities.new, "--limit", node)
        finally:
            authorities.vouch(tmp_path, authorities.old, wait_for)
            lab.playbook(SITE)
        await_health(lab)
    assert outage["answered"] > 0
    assert outage["gaps"] == []
    assert_one_at_a_time(answers)
