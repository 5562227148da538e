# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Driving the lab from a program, by its own command line: for the demo and the benchmarks.

Whatever does not work is a `DriverError` that says what was wanted, what was found, where to look.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Found = TypeVar("Found")
ROOT = Path(__file__).resolve().parents[3]
LAB = "tests/lab/lab"
PATIENCE = 30.0  # seconds for something to happen that should take one or two


class DriverError(Exception):
    """What was wanted, what was found, where to look."""


# --- running programs -------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The locked tools first, and the collection that is this tree."""
    return {
        **os.environ,
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/collections"),
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "PYTHONUNBUFFERED": "1",
    }


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that may fail."""
    return subprocess.run(
        words, cwd=ROOT, env=environment(), check=False, capture_output=True, text=True
    )


def read(*words: str) -> str:
    """What a program prints; it must not fail."""
    done = call(*words)
    if done.returncode:
        found = done.stderr.strip() or f"exit {done.returncode}"
        raise DriverError(f"`{shlex.join(words)}` failed: {found}")
    return done.stdout


def read_shown(*words: str) -> str:
    """`read`, shown like a command that a person types."""
    announce(words)
    output = read(*words)
    say(output.rstrip())
    return output


def show(*words: str) -> None:
    """Run a program to its end with all its output shown; it must not fail."""
    announce(words)
    done = subprocess.run(words, cwd=ROOT, env=environment(), check=False)
    if done.returncode:
        raise DriverError(f"`{shlex.join(words)}` failed (exit {done.returncode}); see above")


@contextmanager
def background(*words: str, ready: str = "") -> Iterator[subprocess.Popen[str]]:
    """A program that runs beside the others, from when it says `ready` on stderr; then ended."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if ready else None,
        text=True,
    )
    try:
        if ready:
            _wait_for_word(process, ready)
        yield process
    finally:
        if process.poll() is None:
            stop(process)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def stop(process: subprocess.Popen[str]) -> None:
    """End it as by Ctrl-C; a meter reports then, a watch just ends."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(process: subprocess.Popen[str]) -> str:
    """The end of what a program that has ended said."""
    said = [stream.read() for stream in (process.stdout, process.stderr) if stream]
    return " ".join("\n".join(said).split("\n")[-4:]).strip()


def _wait_for_word(process: subprocess.Popen[str], word: str) -> None:
    """Until the program says so; one that does not in time is ended, which ends its output."""
    assert process.stderr is not None
    alarm = threading.Timer(PATIENCE, process.kill)
    alarm.start()
    said = []
    try:
        for line in process.stderr:
            said.append(line.strip())
            if word in line:
                return
    finally:
        alarm.cancel()
    raise DriverError(f"wanted {word!r}, found {' '.join(said) or 'nothing'} within {PATIENCE:g} s")


def eventually(condition: Callable[[], Found], wanted: str) -> Found:
    """The first result of `condition` that is true; there has to be one in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise DriverError(f"wanted {wanted}, found none within {PATIENCE:g} s")
        time.sleep(0.2)
    return found


# --- the lab ----------------------------------------------------------------------------------


def status() -> dict[str, Any]:
    """The lab's state, of a lab that is up."""
    done = call(LAB, "status", "--json")
    if done.returncode not in (0, 3):  # 3: not up
        raise DriverError(f"`{LAB} status` failed: {done.stderr.strip()}")
    state: dict[str, Any] = json.loads(done.stdout)
    if not state["up"]:
        raise DriverError(f"lab {state['lab']} is not up: run `make demo`, or `{LAB} up`")
    return state


def heal_all() -> None:
    """Every node well again."""
    for name, node in status()["nodes"].items():
        if node["faults"]:
            read(LAB, "heal", name)


def node_names() -> list[str]:
    """Options by which answers.py calls the nodes' MACs by name."""
    nodes = status()["nodes"]
    return [word for name in nodes for word in ("--name", f"{name}={nodes[name]['mac']}")]


def lease(address: str) -> tuple[str, ...]:
    """The start of a command that prints the lease of `address`."""
    name = "vip-" + ip_address(address).exploded.replace(":", "-")
    return (LAB, "kubectl", "--namespace", "herald-system", "get", "lease", name)


def lease_holder(address: str) -> str:
    """The node that announces `address`; empty if nobody has claimed it yet."""
    return call(*lease(address), "--output=jsonpath={.spec.holderIdentity}").stdout


# --- talking ----------------------------------------------------------------------------------


def paint(words: str, code: str) -> str:
    """`words` in a colour or weight, where they go to a terminal that wants it."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if not colour or os.environ.get("TERM") == "dumb":
        return words
    return f"\033[{code}m{words}\033[0m"


def say(words: str) -> None:
    print(words, flush=True)


def announce(words: Sequence[str]) -> None:
    """Show a command before it runs."""
    say(paint(f"$ {shlex.join(words)}", "2"))


def short(path: Path) -> str:
    """`path` as people type it at the root of the tree."""
    return str(path.relative_to(ROOT))
