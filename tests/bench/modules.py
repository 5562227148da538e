#!/usr/bin/env python3
# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What one task with 20 pools costs by ip_pool, and by kubernetes.core.k8s with the same 20 definitions.

    .venv/bin/python tests/bench/modules.py [--pools N] [--rounds N]

Needs a lab with Herald's kinds, such as `make demo` leaves. One playbook does both in turns: made, run again without
a change, changed, removed; each task's time is what Ansible itself reports. kubernetes.core is taken out of the package
`ansible` that requirements/bench.txt names, once.

For comparison also ping: what any task costs. Two ratios are told of every step: what ip_pool takes to what the other
takes, and the same of what they take beyond ping, which is what a module can do about it. Exit status: 0 within the
limits at every step; 1 beyond one; 2 could not measure. The pools are removed in any case.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from herald_lab import ansible

ROOT = Path(__file__).resolve().parents[2]
LAB = str(ROOT / "tests/lab/lab")
CACHE = Path(os.environ.get("HERALD_CACHE", Path.home() / ".cache/herald"))
REQUIREMENTS = ROOT / "requirements/bench.txt"
OTHER = "ansible_collections/kubernetes/core/"

Json = dict[str, Any]


def kubernetes_core() -> Path:
    """A folder with that collection alone, made from the package's wheel."""
    name = REQUIREMENTS.read_text().split("==")[1].split()[0]
    folder = CACHE / f"kubernetes.core-of-ansible-{name}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            pip = (
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
            )
            options = (
                "--only-binary",
                ":all:",
                "--dest",
                scratch,
                "--requirement",
                str(REQUIREMENTS),
            )
            subprocess.run([*pip, *options], check=True)
            (wheel,) = Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                members = [member for member in archive.namelist() if member.startswith(OTHER)]
                archive.extractall(Path(scratch, "out"), members)
            Path(scratch, "out").rename(folder)
    return folder


def spec(number: int, priority: int) -> Json:
    """Of a pool that disturbs nothing in the lab."""
    return {"blocks": [{"cidr": f"10.{number}.0.0/24"}], "priority": priority, "disabled": True}


def ours(pools: int, priority: int, state: str) -> Json:
    items = [{"name": f"bench-{n}", **spec(n, priority)} for n in range(pools)]
    return {"baremetal.herald.ip_pool": {"pools": items, "state": state}}


def definition(number: int, priority: int) -> Json:
    return {
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "LoadBalancerIPPool",
        "metadata": {"name": f"bench-{number}"},
        "spec": spec(number, priority),
    }


def theirs(pools: int, priority: int, state: str) -> Json:
    definitions = [definition(n, priority) for n in range(pools)]
    return {"kubernetes.core.k8s": {"definition": definitions, "state": state}}


def nothing(_pools: int, _priority: int, _state: str) -> Json:
    """What Ansible itself takes for any task."""
    return {"ansible.builtin.ping": {}}


TASKS = {
    "ip_pool": ours,
    "kubernetes.core.k8s": theirs,
    "ping": nothing,
}
SETTLED = {"name": "status written", "ansible.builtin.wait_for": {"timeout": 2}}
"""Agents tell of pools once a second: neither is that measured, nor taken for a change by a module that reads it."""
STEPS = {
    "made": (100, "present", True),
    "run again": (100, "present", False),
    "changed": (200, "present", True),
    "removed": (200, "absent", True),
}


def playbook(pools: int, rounds: int) -> list[Json]:
    tasks = []
    for _ in range(rounds):
        for name, task in TASKS.items():
            for step, (priority, state, changes) in STEPS.items():
                made = {"name": f"{name}: {step}", **task(pools, priority, state)}
                if name != "ping":
                    # Else it was not the work that was to be measured.
                    made["failed_when"] = f"result is failed or result.changed != {changes}"
                tasks.append({**made, "register": "result"})
                if name != "ping":
                    tasks.append(SETTLED)
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]


def measure(pools: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of each task, by module and step."""
    with tempfile.TemporaryDirectory() as scratch:
        book = Path(scratch, "play.yml")
        book.write_text(json.dumps(playbook(pools, rounds)))
        environment = ansible.env(
            ANSIBLE_COLLECTIONS_PATH=f"{ROOT}/build/collections:{kubernetes_core()}",
            ANSIBLE_CALLBACKS_ENABLED="ansible.builtin.junit",
            JUNIT_OUTPUT_DIR=f"{scratch}/junit",
        )
        seat = [LAB, "run", "--", *environment]
        command = [
            "ansible-playbook",
            "--inventory",
            "localhost,",
            "--connection",
            "local",
            str(book),
        ]
        done = subprocess.run(
            [*seat, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{done.stdout}\nmodules: the playbook failed", file=sys.stderr)
            sys.exit(2)
        (report,) = Path(scratch, "junit").glob("*.xml")
        found: dict[tuple[str, str], list[float]] = {}
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - Ansible wrote it just now
            # [host] play: module: step options
            for key in itertools.product(TASKS, STEPS):
                if ": ".join(("", *key)) in case.attrib["name"]:
                    found.setdefault(key, []).append(float(case.attrib["time"]))
        return found


def remove(pools: int) -> None:
    """What a playbook that failed left."""
    names = [f"bench-{number}" for number in range(pools)]
    delete = ["kubectl", "delete", "--ignore-not-found", "lbpool", *names]
    subprocess.run([LAB, *delete], stdout=subprocess.DEVNULL, check=False)


def ratios(seconds: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """By name and step: what ip_pool takes, in times of what the other does; in all, and beyond ping."""
    own, other, ping = seconds["ip_pool"], seconds["kubernetes.core.k8s"], seconds["ping"]
    return {
        "ip_pool to kubernetes.core.k8s": {step: own[step] / other[step] for step in STEPS},
        "the same, beyond ping": {
            step: max(0, own[step] - ping[step]) / max(0.001, other[step] - ping[step])
            for step in STEPS
        },
    }


def row(name: str, values: dict[str, float]) -> str:
    return f"  {name:<32}" + "".join(f"{values[step]:11.2f}" for step in STEPS)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", type=int, default=20, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="N", help="for one task")
    parser.add_argument("--limit", type=float, default=1.0, metavar="TIMES", help="in all")
    parser.add_argument("--beyond", type=float, default=0.5, metavar="TIMES", help="beyond ping")
    arguments = parser.parse_args()
    try:
        found = measure(arguments.pools, arguments.rounds)
    finally:
        remove(arguments.pools)
    seconds = {
        name: {step: statistics.median(found[name, step]) for step in STEPS} for name in TASKS
    }
    print(f"One task with {arguments.pools} pools, seconds, median of {arguments.rounds} rounds:")
    print(f"  {'':<32}" + "".join(f"{step:>11}" for step in STEPS))
    for name in TASKS:
        print(row(name, seconds[name]))
    missed = [
        f"seconds, {step}: {taken:.2f}"
        for step, taken in seconds["ip_pool"].items()
        if taken > arguments.seconds
    ]
    limits = (arguments.limit, arguments.beyond)
    for (name, values), limit in zip(ratios(seconds).items(), limits, strict=True):
        print(row(name, values))
        missed += [
            f"{name}, {step}: {times:.2f}" for step, times in values.items() if times > limit
        ]
    if missed:
        said = (
            f"wanted {arguments.seconds:g} s, {limits[0]:g} times and {limits[1]:g} times at most"
        )
        print(f"modules: {said}, found {'; '.join(missed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
