# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Playbooks as a witness sees them: which tasks changed what where, and what stood before and after."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import wait_for
from watched import LEASES, MACS, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Lab

CALLBACKS = Path(__file__).parent / "callback"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
COLLECTIONS = (
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/services",
    f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    f"{ADMISSION}/validatingadmissionpolicies",
    f"{ADMISSION}/validatingadmissionpolicybindings",
    f"{RBAC}/clusterroles",
    f"{RBAC}/clusterrolebindings",
    f"{RBAC}/roles",
    f"{RBAC}/rolebindings",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/apis/herald.dev/v1alpha1/loadbalancerippools",
    "/apis/herald.dev/v1alpha1/l2announcementpolicies",
)
"""All that a playbook writes, but leases, which agents write, too."""
WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}
STILL = 2.0  # seconds
FILES = """
for place in /etc/herald /opt/herald /var/lib/herald /etc/systemd/system/herald-agent.service; do
  find $place -printf '%p %M %u %g %T@ %l\\n' 2>/dev/null
done | sort
getent passwd herald
systemctl show herald-agent --property=MainPID,UnitFileState,NRestarts
"""


@dataclass(frozen=True)
class Run:
    """A run of ansible-playbook."""

    status: int
    said: str
    entries: list[dict[str, Any]]

    def of(self, status: str) -> set[tuple[str, str]]:
        """Host and task of every result of that status: `changed`, `failed`, `unreachable` …"""
        return {(e["host"], e["task"]) for e in self.entries if e["status"] == status}

    @property
    def changed(self) -> set[tuple[str, str]]:
        return self.of("changed")

    @property
    def changes(self) -> dict[str, Any]:
        """What changed, by host and task: the items of loops, and what comes of each where `--diff` asks for it."""
        found: dict[str, Any] = {}
        for entry in self.entries:
            if entry["status"] == "changed":
                key = f"{entry['host']}: {entry['task']}"
                found.setdefault(key, []).extend(entry["changes"])
        return found

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that were begun, in order."""
        return [e["task"] for e in self.entries if e["status"] == "begun"]


def inventory_with(lab: Lab, folder: Path, node: str, **variables: str) -> Path:
    """The lab's inventory, in which one host has these variables."""
    inventory: dict[str, Any] = json.loads(lab("inventory"))
    inventory["all"]["children"]["herald"]["hosts"][node].update(variables)
    file = folder / "inventory.json"
    file.write_text(json.dumps(inventory))
    return file


def play(
    lab: Lab,
    folder: Path,
    *arguments: str | Path,
    inventory: Path | None = None,
    **environment: str,
) -> Run:
    """Run a playbook before a witness; `environment` may tell it what to do (callback/witness.py)."""
    file = folder / "witness.jsonl"
    file.unlink(missing_ok=True)
    done = lab.attempt_playbook(
        *arguments,
        inventory=inventory,
        ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
        ANSIBLE_CALLBACKS_ENABLED="witness",
        WITNESS_FILE=str(file),
        **environment,
    )
    entries = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return Run(done.returncode, done.stdout + done.stderr, entries)


def succeed(
    lab: Lab,
    folder: Path,
    *arguments: str | Path,
    inventory: Path | None = None,
    **environment: str,
) -> Run:
    """A run that must come to its end."""
    run = play(lab, folder, *arguments, inventory=inventory, **environment)
    assert run.status == 0, run.said
    return run


def foretold(
    lab: Lab,
    folder: Path,
    *arguments: str | Path,
    nodes: Sequence[str] = tuple(MACS.values()),
    **environment: str,
) -> Run:
    """Check mode, which must change nothing, then the run, which must change what was foretold, item by item and to
    what was foretold, then the same again, which must change nothing. The run that did it."""
    before = settled(lab, nodes)
    predicted = succeed(lab, folder, *arguments, "--check", "--diff", **environment)
    after = standing(lab, nodes)
    assert {
        key: after.get(key) for key in before | after if before.get(key) != after.get(key)
    } == {}
    done = succeed(lab, folder, *arguments, "--diff", **environment)
    assert predicted.changed == done.changed
    assert predicted.changes == done.changes
    assert succeed(lab, folder, *arguments, **environment).changed == set()
    return done


def settled(lab: Lab, nodes: Sequence[str]) -> dict[str, Any]:
    """What stands once nobody writes any more: agents and the API server write on for seconds after an installation."""
    found = standing(lab, nodes)
    since = time.monotonic()
    written: list[str] = []

    def still() -> bool:
        nonlocal found, since
        begun = time.monotonic()
        before, found = found, standing(lab, nodes)
        if changed := sorted(k for k in before | found if found.get(k) != before.get(k)):
            since, written[:] = begun, changed
        return begun - since >= STILL

    try:
        wait_for(f"{STILL:g} s without a write", still, seconds=60)
    except BaseException as failure:
        failure.add_note(f"written last: {written}")
        raise
    return found


def standing(lab: Lab, nodes: Sequence[str]) -> dict[str, Any]:
    """What a playbook could change: objects by their resourceVersion, files and the unit of each node.

    Of leases those that stand still: who lives renews its presence all the time.
    """
    found: dict[str, Any] = {}
    for path in (*COLLECTIONS, LEASES):
        for item in (lab.api.get(path) or {}).get("items", []):
            metadata = item["metadata"]
            if path == LEASES and metadata["name"].startswith("presence-"):
                continue
            key = f"{path} {metadata.get('namespace', '')}/{metadata['name']}"
            found[key] = metadata["resourceVersion"]
    for node in nodes:
        found[node] = lab.exec(node, "sh", "-c", FILES, check=False)
    return found


def writes(lab: Lab) -> dict[str, int]:
    """How often the API server was asked to write what playbooks write, in vain too, by resource and verb."""
    resources = {path.rpartition("/")[2] for path in COLLECTIONS} - {"services"}
    found: dict[str, int] = {}
    metrics = lab.kubectl("get", "--raw", "/metrics")
    for line in re.findall(r"^apiserver_request_total\{.*", metrics, re.MULTILINE):
        labels, number = line.rsplit(" ", 1)
        asked = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if asked["resource"] in resources and not asked["subresource"] and asked["verb"] in WRITES:
            key = f"{asked['verb']} {asked['resource']}"
            found[key] = found.get(key, 0) + int(float(number))
    return found
