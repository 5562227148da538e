# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Bringing a lab up, looking at it, and taking it away whole or half-made."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from herald_lab import access, cgroups, control, faults, host, network, noderoot, nodes, programs
from herald_lab.api import Api
from herald_lab.commands import LabError, say, wait_until
from herald_lab.layout import NODES, STATE_ROOT, Lab, cgroup2


@contextmanager
def exclusive(lab: Lab) -> Iterator[None]:
    """One command at a time changes a lab. The last one out, after `down`, leaves nothing."""
    while True:
        STATE_ROOT.mkdir(mode=0o755, exist_ok=True)
        with lab.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is(lock, lab.lock):  # removed while we waited: another one counts now
                continue
            try:
                yield
            finally:
                if not lab.state.exists():
                    lab.lock.unlink(missing_ok=True)
                    with suppress(OSError):
                        STATE_ROOT.rmdir()
            return


def _is(file: TextIO, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def prepare(release: str = "") -> None:
    """All that takes long and is made once: packages, the control plane, the nodes' root."""
    host.prepare()
    noderoot.folder(noderoot.release(release))
    programs.folder()


def up(lab: Lab, release: str = "") -> None:
    """A running lab; one that is up already is left as it is."""
    if is_up(lab):
        if release not in ("", lab.release):
            raise LabError(f"{lab.name}: wanted nodes of {release}, found it up with {lab.release}")
        say(f"{lab.name} is up already; `lab status` looks at it")
        return
    prepare(release)
    if _traces(lab):
        say(f"{lab.name} was left half-made: taking it away first")
        down(lab)
    started = time.monotonic()
    lab.state.mkdir(mode=0o700)
    lab.logs.mkdir()
    (lab.state / "release").write_text(noderoot.release(release))
    lab.disk.mkdir(parents=True, mode=0o700)
    network.make(lab)
    control.make(lab)
    control.start(lab)
    access.make(lab)
    control.furnish(lab)
    say("the control plane is ready")
    for machine in NODES:  # one after the other: they share two cores
        nodes.make(lab, machine)
        nodes.boot(lab, machine)
        nodes.wait(lab, machine)
        say(f"{machine.name} has booted: {', '.join(machine.addresses)}")
    for machine in NODES:
        nodes.wait_for_proxy(lab, machine)
    lab.ready.touch()
    say(f"{lab.name} is up after {time.monotonic() - started:.0f} s")


def down(lab: Lab) -> None:
    """Nothing of the lab is left: no process, namespace, mount, cgroup or file."""
    if lab.cgroup.exists():
        cgroups.leave(lab.cgroup, cgroup2())
        with suppress(LabError):
            cgroups.thaw(lab.cgroup)
        cgroups.remove(lab.cgroup)
    legacy = Path("/sys/fs/cgroup/systemd/herald-lab")  # systemd-nspawn makes its like there
    cgroups.remove_folders(legacy / lab.name)
    for parent in (lab.cgroup.parent, legacy):
        with suppress(OSError):
            parent.rmdir()
    network.remove(lab)
    for folder in (lab.disk, lab.state):
        wait_until(f"{folder} to go", lambda: _removed(folder), seconds=10)  # noqa: B023
    with suppress(OSError):
        lab.disk.parent.rmdir()


def is_up(lab: Lab) -> bool:
    """Whether `up` has come to its end, and no reboot of the machine has ended the lab since."""
    return lab.ready.exists() and cgroups.alive(lab.cgroup)


def status(lab: Lab) -> dict[str, Any]:
    """What stands, for people and programs."""
    if not is_up(lab):
        return {"lab": lab.name, "up": False, "half_made": _traces(lab)}
    return {
        "lab": lab.name,
        "up": True,
        "release": lab.release,
        "api": faults.api_state(lab),
        "control": {
            part: control.running(lab, part)
            for part in ("etcd", "kube-apiserver", "kube-controller-manager")
        },
        "ready": Api(lab).ready(),
        "nodes": {machine.name: faults.node_state(lab, machine) for machine in NODES},
        "kubeconfig": str(lab.kubeconfig),
        "logs": str(lab.logs),
        "netns": str(lab.netns),
        "client_netns": str(lab.client_netns),
    }


def need(lab: Lab) -> None:
    """Fail if the lab is not up."""
    if not is_up(lab):
        raise LabError(f"{lab.name} is not up; `lab --lab {lab.name} up` brings it up")


def _traces(lab: Lab) -> bool:
    return any(
        path.exists() for path in (lab.state, lab.disk, lab.netns, lab.client_netns, lab.cgroup)
    )


def _removed(folder: Path) -> bool:
    """A disk may be busy for a moment after its node's end."""
    if folder.exists():
        with suppress(OSError):
            shutil.rmtree(folder)
    return not folder.exists()
