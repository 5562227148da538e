# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Running other programs: to their end, or as daemons inside the lab."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class LabError(Exception):
    """Something that the user should read: what was wanted, what was found, what to do."""


def say(message: str) -> None:
    """Progress, for people; results go to standard output."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


@contextmanager
def patience(what: str, interval: float = 20) -> Iterator[None]:
    """Say what takes long, then every `interval` seconds that it goes on, and when it is done."""
    say(what)
    started = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(interval):
            say(f"  … {time.monotonic() - started:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
    say(f"  done after {time.monotonic() - started:.0f} s")


def run(
    *argv: str | Path,
    netns: Path | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> str:
    """Run a program to its end and return its standard output; failing is a LabError."""
    command = [*inside(netns), *map(str, argv)]
    done = subprocess.run(
        command,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env=env,
        cwd=cwd,
        text=True,
        capture_output=True,
        check=False,
    )
    if check and done.returncode:
        words = (done.stderr or done.stdout).strip() or "it said nothing"
        raise LabError(f"{shlex.join(command)} failed (exit {done.returncode}): {words[-2000:]}")
    return done.stdout


def inside(netns: Path | None) -> list[str]:
    """The start of a command line that runs in `netns`.

    Not `ip netns exec`: it mounts /sys anew, and hides BPF pins and cgroups.
    """
    return ["nsenter", f"--net={netns}", "--"] if netns else []


def daemon(
    argv: Sequence[str | Path], *, cgroup: Path, log: Path, netns: Path | None = None
) -> None:
    """Start a program that stays, as a member of `cgroup` from its first instruction on.

    The cgroup is what later tells that the program runs, and ends it: no file of process
    numbers, which others may have inherited meanwhile.
    """
    cgroup.mkdir(parents=True, exist_ok=True)
    join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", join, str(cgroup), *inside(netns), *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    procs = cgroup / "cgroup.procs"
    wait_until(
        f"{argv[0]} to start (see {log})",
        lambda: str(process.pid) in procs.read_text().split() or process.poll() is not None,
        seconds=10,
        interval=0.002,
    )


def wait_until(
    what: str, condition: Callable[[], bool], *, seconds: float, interval: float = 0.05
) -> None:
    """Wait for a condition, looking every `interval` seconds; too long is a LabError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(interval)


def become(argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Replace this process by another program: its signals, terminal and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(argv[0], list(argv), dict(os.environ if env is None else env))
    except OSError as error:
        raise LabError(f"cannot run {argv[0]}: {error.strerror}") from error
