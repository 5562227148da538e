# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The fault table: what is done to whom, and what Herald promises then.

Each `Fault` is a context in which one node, which announces every address, or what it depends on,
is harmed. Entering does the harm and stays until what should follow has had its time; leaving heals.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from herald_lab.layout import API as API_HOST
from herald_lab.layout import API_PORT, NODES
from watched import DRAIN, MACS, await_health, linger, report_of

if TYPE_CHECKING:
    from conftest import Lab
    from watched import Watched

ROOT = Path(__file__).parents[2]
CONFIG = "/etc/herald/agent.toml"
LOST_NODE = 2500.0  # ms without service at most when a node is lost: D + 0.5 s, D being 2 s
LOST_FAST = 1200.0  # the same where D is 0.8 s
DEAF_NODE = 3000.0  # 1.5 s deaf, 0.5 s to a question and to another's renewal each, a hand-over
HAND_OVER = 1000.0  # ms: Linux asks again after a second, and is answered then at the latest
FAST = {"duration_ms": "800"}
MANAGEMENT = {"servers": f'["https://{API_HOST.management}:{API_PORT}"]'}
WITHDRAW = {"on_api_loss": '"Withdraw"'}
EXCLUDED = ("node.kubernetes.io/exclude-from-external-load-balancers", "")
OUT_OF_SERVICE = ("node.kubernetes.io/out-of-service", "nodeshutdown:NoExecute")
DURATION = 2.0  # seconds: D, within which a node in Withdraw is silent
AWAY = 60.0  # seconds without an API server
STORM = 20.0  # seconds of errors, slowness, resets

Harm = Callable[["Watched", str], AbstractContextManager[float | None]]
"""Entered with the node; what lasts for a while says when its last blow fell (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`harm` and its promise: how long no address may be unserved (ms; 0: not one datagram is lost;
    None: nothing is promised, the figure is told), and whether addresses have to move (True), have
    to stay (False) or may do either (None).

    `unserved` is what a client misses whose neighbour entry is in use. One that asks afresh needs
    somebody who answers; how long nobody may is `unanswered`."""

    name: str
    harm: Harm
    unserved: float | None
    moves: bool | None
    backends_harmed: bool = False  # the second node that suffers bears no backend either
    settings: dict[str, str] = field(default_factory=dict)  # of agent.toml, on every node
    essential: bool = False  # runs in `make e2e`, on many addresses
    displaced: bool = False  # begins where the placement does not want the first address
    recovers: float | None = None  # ms from the last blow till all is served and answered for good
    silent: float | None = None  # s for which nobody answers, up to when the harm is healed

    @property
    def lossless(self) -> bool:
        return self.unserved == 0

    @property
    def unanswered(self) -> float | None:
        """For how long nobody may answer for an address (ms; 0: no two questions in a row remain without an answer;
        None: nothing is promised). Whoever hands over loses nothing, as the old one forwards on, but it is silent
        first."""
        return HAND_OVER if self.lossless and self.moves is not False else self.unserved


# --- one node ---------------------------------------------------------------------------------


def one(kind: str) -> Harm:
    """A fault of `lab fault` on the announcing node, for which others have to stand in."""

    @contextmanager
    def harm(watched: Watched, node: str) -> Iterator[None]:
        with watched.lab.fault(node, kind):
            watched.wait_for(f"{node} to be stood in for", lambda: watched.off(node))
            linger(1)
            yield

    return harm


@contextmanager
def two_nodes(watched: Watched, node: str) -> Iterator[None]:
    """Power lost on the announcing node and on one of its two successors."""
    second = second_victim(node)
    with watched.lab.fault(node, "power"), watched.lab.fault(second, "power"):
        watched.wait_for(
            f"{node} and {second} to be stood in for", lambda: watched.off(node, second)
        )
        linger(1)
        yield


def second_victim(node: str) -> str:
    return next(name for name in MACS.values() if name != node)


@contextmanager
def flapping(watched: Watched, node: str) -> Iterator[float]:
    """The announcing node's cable is pulled and plugged in again 20 times within some 15 s."""
    for _ in range(20):
        with watched.lab.fault(node, "cable"):
            linger(0.3)
        plugged = time.time()
        linger(0.3)
    linger(LOST_NODE / 1000)
    yield plugged


# --- one agent, or all ------------------------------------------------------------------------


def agents(*words: str, everywhere: bool = False) -> Harm:
    """`systemctl WORDS herald-agent` on the announcing node, or on all at once; then `start`."""

    @contextmanager
    def harm(watched: Watched, node: str) -> Iterator[None]:
        lab, nodes = watched.lab, list(MACS.values()) if everywhere else [node]
        try:
            together(lab, nodes, *words)
            if words == ("stop",):
                watched.wait_for(f"{node} to be stood in for", lambda: watched.off(node))
            else:
                await_health(lab, nodes)
            linger(3)
            yield
        finally:
            together(lab, nodes, "start")

    return harm


def together(lab: Lab, nodes: Sequence[str], *words: str) -> None:
    """The same on several nodes, at once."""
    running = [lab.start("exec", node, "--", "systemctl", *words, "herald-agent") for node in nodes]
    for process in running:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"systemctl {' '.join(words)}: {said}"


KILL = ("kill", "--kill-whom=main", "--signal=KILL")


def out(verb: str, key: str, value: str, *, drains: bool = True) -> Harm:
    """`kubectl VERB node NODE KEY=VALUE`, and KEY taken away at last. `drains`: the node says so."""

    @contextmanager
    def harm(watched: Watched, node: str) -> Iterator[None]:
        lab = watched.lab
        lab.kubectl(verb, "node", node, f"{key}={value}")
        try:
            watched.wait_for(f"{node} to be stood in for", lambda: watched.off(node))
            said = report_of(lab.presence(node))["draining"]
            assert said is drains, f"{node} says draining: {said}"
            linger(1)
            yield
        finally:
            lab.kubectl(verb, "node", node, f"{key}-")

    return harm


@contextmanager
def rebalancing(watched: Watched, node: str) -> Iterator[None]:
    """All is well, but the placement would rather see the first address elsewhere, and most of many:
    they move by themselves after the hold-down of 120 s, one after the other."""
    watched.wait_for(
        f"{watched.address} to move by itself",
        lambda: watched.holder not in ("", node),
        seconds=180,
    )
    linger(10)  # more of them move
    yield


@contextmanager
def upgrade(watched: Watched, node: str) -> Iterator[None]:
    """playbooks/upgrade.yml to a build of another version, node by node, and back to this one."""
    lab = watched.lab
    folder = ROOT / "build" / "next-version"
    try:
        playbook = next_version(folder) / "playbooks/upgrade.yml"
        lab.playbook(playbook, ANSIBLE_COLLECTIONS_PATH=str(folder))
        assert "0.1.1" in lab.exec(node, "/opt/herald/current/bin/heraldctl", "--version")
        yield
    finally:
        lab.playbook(ROOT / "playbooks/upgrade.yml")
        shutil.rmtree(folder)


def next_version(folder: Path) -> Path:
    """This tree with another version number, built; where the collection is."""
    home = folder / "ansible_collections/baremetal/herald"
    shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(parents=True)
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, files):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, home / name)
    version = home / "agent/src/herald/__init__.py"
    version.write_text(version.read_text().replace('"0.1.0"', '"0.1.1"'))
    subprocess.run(["git", "init", "-q"], cwd=home, check=True)
    subprocess.run(
        ["scripts/build"], cwd=home, check=True, capture_output=True,
        env={"PATH": f"{ROOT}/.venv/bin:/usr/bin:/bin"},
    )  # fmt: skip
    return home


# --- the API server ---------------------------------------------------------------------------


def api(*words: str, seconds: float = STORM) -> Harm:
    """`lab api WORDS` for so long."""

    @contextmanager
    def harm(watched: Watched, _: str) -> Iterator[None]:
        watched.lab("api", *words)
        try:
            linger(seconds)
            yield
        finally:
            watched.lab("api", "start")

    return harm


@contextmanager
def api_away_and_switch(watched: Watched, node: str) -> Iterator[None]:
    """The documented limit: nobody can stand in for a node before the API server is back."""
    lab = watched.lab
    with ExitStack() as undo:
        undo.callback(lab, "heal", node)
        undo.callback(watched.wait_for, f"{node} to be stood in for", lambda: watched.off(node))
        undo.callback(lab, "api", "start")
        lab("api", "stop")
        linger(5)
        lab("fault", node, "switch")
        linger(15)
        yield


# --- the table --------------------------------------------------------------------------------

FAULTS = (
    Fault("power lost", one("power"), LOST_NODE, True, essential=True),
    Fault("cable pulled", one("cable"), LOST_NODE, True),
    Fault("switch drops its frames", one("switch"), LOST_NODE, True),
    Fault("node frozen", one("freeze"), LOST_NODE, True),
    Fault("agent killed", agents(*KILL), 0, False),
    Fault("agent hung", one("agent-stop"), LOST_NODE, True),
    Fault("node cut off from the API only", one("api"), LOST_NODE, True),
    Fault(
        "switch drops its frames, API by another network",
        one("switch"),
        DEAF_NODE,
        True,
        settings=MANAGEMENT,
    ),
    Fault("power lost on two nodes", two_nodes, LOST_NODE + 200, True, backends_harmed=True),
    Fault("cable flaps 20 times", flapping, None, None, recovers=LOST_NODE),
    Fault("API server stopped 60 s", api("stop", seconds=AWAY), 0, False),
    Fault("API server slow (2 s)", api("slow", "2000"), 0, False),
    Fault("API server answers 429", api("errors", "429"), 0, False),
    Fault("API server answers 500", api("errors", "500"), 0, False, essential=True),
    Fault("API connections reset", api("reset"), 0, False),
    Fault("API connections reset mid-answer", api("cut"), 0, False),
    Fault("etcd restarted", api("etcd-restart"), 0, False),
    Fault("API server stopped, then switch (limit)", api_away_and_switch, None, True),
    Fault("all agents killed at once", agents(*KILL, everywhere=True), 0, False, essential=True),
    Fault("all agents restarted at once", agents("restart", everywhere=True), LOST_NODE, None),
    Fault("drain", out("annotate", DRAIN, "true"), 0, True, essential=True),
    Fault("taint out-of-service", out("taint", *OUT_OF_SERVICE), 0, True),
    Fault("agent stopped", agents("stop"), 0, True),
    Fault("agent restarted", agents("restart"), 0, None),
    Fault("upgrade, node by node, and back", upgrade, 0, None),
    Fault("rebalancing after the hold-down", rebalancing, 0, None, displaced=True),
    Fault("power lost, D 0.8 s", one("power"), LOST_FAST, True, settings=FAST),
    Fault(
        "API server stopped 60 s, Withdraw",
        api("stop", seconds=AWAY),
        None,
        None,
        settings=WITHDRAW,
        silent=AWAY - DURATION,
    ),
    Fault("excluded by label", out("label", *EXCLUDED, drains=False), 0, True),
)


@contextmanager
def configured(lab: Lab, settings: dict[str, str]) -> Iterator[None]:
    """Every agent with these settings (as TOML writes values); then as the playbook left it."""
    if not settings:
        yield
        return
    with ExitStack() as undo:
        for host in NODES:
            lab.exec(host.name, "cp", "--preserve", CONFIG, f"{CONFIG}.lab")
            undo.callback(give_back, lab, host.name)
            for name, value in settings.items():
                edit = f"grep -q '^{name} = ' {CONFIG} && sed -i 's|^{name} = .*|{name} = {value}|' {CONFIG}"
                lab.exec(host.name, "sh", "-c", edit)
            lab.exec(host.name, "systemctl", "restart", "herald-agent")
            await_health(lab, [host.name])
        yield


def give_back(lab: Lab, node: str) -> None:
    """The configuration that the node's agent had."""
    lab.exec(node, "mv", f"{CONFIG}.lab", CONFIG)
    lab.exec(node, "systemctl", "restart", "herald-agent")
    await_health(lab, [node])
