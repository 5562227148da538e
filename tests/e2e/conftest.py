# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The lab for the end-to-end tests: brought up once, Herald installed by its own playbook.

HERALD_LAB names a lab to use (`e2e` if it is not set). One that is up already is used as it stands
and left up; one that the tests brought up they take away.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from herald_lab import ansible, layout
from herald_lab.api import Api

# Ahead of their import: of what these assert, too, pytest says what it found.
pytest.register_assert_rewrite("harm", "hosts", "kubectl", "tokens", "watched", "witnessed")
from kubectl import NAMESPACE, Kubectl, namespace  # noqa: E402
from watched import LEASES, Watched, await_health, lease_name  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests/lab/lab"
NODES = tuple(host.name for host in layout.NODES)
OLDER = "0.0.9"
LIMIT = 1200  # seconds
FIGURES = pytest.StashKey[list[str]]()


class Lab:
    """`tests/lab/lab` as a test calls it: every method is one of its commands."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def api(self) -> Api:
        """The API server without a kubectl for each request, to look often and disturb little."""
        return Api(layout.Lab(self.name))

    def __call__(self, *words: str, check: bool = True, timeout: float = 120) -> str:
        """Run a command of the lab; its standard output. Failing is an error with all it said."""
        done = self.attempt(*words, timeout=timeout)
        if check and done.returncode:
            pytest.fail(
                f"lab {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def attempt(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            self._argv(words), capture_output=True, text=True, check=False, timeout=timeout
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and go on meanwhile."""
        return subprocess.Popen(
            self._argv(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", "--json", check=False))
        return found

    def exec(self, node: str, *command: str, check: bool = True) -> str:
        return self("exec", node, "--", *command, check=check)

    def client(self, *command: str, check: bool = True) -> str:
        return self("client", "--", *command, check=check)

    def kubectl(self, *arguments: str) -> str:
        return self("kubectl", *arguments)

    def get(self, kind: str, name: str = "", namespace: str = "default") -> dict[str, Any]:
        """An object, or the list of all of a kind."""
        names = [name] if name else []
        text = self.kubectl("get", kind, *names, "--namespace", namespace, "--output", "json")
        found: dict[str, Any] = json.loads(text)
        return found

    def playbook(self, *arguments: str | Path, **environment: str) -> str:
        """Run ansible-playbook as the operator against the lab's nodes; what it printed."""
        done = self.attempt_playbook(*arguments, **environment)
        if done.returncode:
            words = " ".join(map(str, arguments))
            pytest.fail(
                f"ansible-playbook {words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def attempt_playbook(
        self, *arguments: str | Path, inventory: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The same, where it may fail; with another inventory or environment."""
        if inventory is None:
            inventory = ROOT / "build" / f"inventory-{self.name}.json"
            inventory.parent.mkdir(exist_ok=True)
            inventory.write_text(self("inventory"))
        command = ("ansible-playbook", "--inventory", str(inventory), *map(str, arguments))
        return self.attempt("run", "--", *ansible.env(**environment), *command, timeout=600)

    @contextmanager
    def fault(self, node: str, kind: str) -> Iterator[None]:
        """The node is harmed inside the block, and healed after it whatever happens."""
        self("fault", node, kind)
        try:
            yield
        finally:
            self("heal", node)

    @contextmanager
    def meter(self, program: str, *words: str, file: Path) -> Iterator[dict[str, Any]]:
        """`outage` or `answers` runs during the block; then the result holds its report.

        Ended after the block, not after a time: a slow machine makes it run longer, no less.
        """
        report: dict[str, Any] = {}
        file.unlink(missing_ok=True)
        process = self.start(program, *words, "--seconds", "600", "--json", str(file))
        try:
            self._await_first_words(process)
            yield report
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
            assert file.exists(), f"{program} wrote no report: {output}"
            report.update(json.loads(file.read_text()))
        finally:
            process.kill()
            process.communicate()

    @staticmethod
    def _await_first_words(process: subprocess.Popen[str]) -> None:
        """Both meters say a line as soon as they measure."""
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the meter ended at once (exit {process.wait()})"

    def holder(self, address: str) -> str:
        """The node that the address's lease names, or nothing."""
        holder: str = (self.lease(address) or {}).get("spec", {}).get("holderIdentity", "")
        return holder

    def lease(self, address: str) -> dict[str, Any] | None:
        """The lease that says who was given the address, and which node announces it."""
        return self.api.get(f"{LEASES}/{lease_name(address)}")

    def presence(self, node: str) -> dict[str, Any]:
        """The lease by which the node's agent says that it is alive."""
        found = self.api.get(f"{LEASES}/presence-{node}")
        assert found is not None, f"no lease presence-{node}"
        return found

    def _argv(self, words: Sequence[str]) -> list[str]:
        return [str(PROGRAM), "--lab", self.name, *words]


def wait_for(what: str, condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait until it holds; look often, fail with words."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.1)


@pytest.fixture(name="wait_for", scope="session")
def _wait_for() -> Callable[..., None]:
    return wait_for


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, up; every node well."""
    if os.geteuid():
        pytest.fail("the lab needs root: sudo make e2e")
    found = Lab(os.environ.get("HERALD_LAB", "e2e"))
    was_up = found.status()["up"]
    try:
        found("up", timeout=1800)
        yield found
    finally:
        if not was_up:
            found("down")


@pytest.fixture(scope="session")
def herald(lab: Lab) -> Lab:
    """The lab with Herald installed by playbooks/site.yml, a pool and a policy."""
    lab.playbook(ROOT / "playbooks/site.yml")
    lab.playbook(ROOT / "tests/lab/addresses.yml")
    return lab


@pytest.fixture(scope="session")
def older_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same agent under an older version's name."""
    folder = tmp_path_factory.mktemp("older")
    subprocess.run([ROOT / "scripts/build", "--older", OLDER, folder], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


Service = tuple[str, list[str]]  # name, addresses


@pytest.fixture
def service(herald: Lab) -> Iterator[Callable[..., Service]]:
    """Makes a Service by `lab service NAME OPTIONS` and waits for its addresses; removes it after."""
    made: list[str] = []

    def make(name: str, *options: str) -> Service:
        made.append(name)
        addresses = herald("service", name, "--wait", "30", *options).split()
        return name, addresses

    yield make
    for name in made:
        herald("service", name, "--delete")


@pytest.fixture
def kubectl(herald: Lab, tmp_path: Path, wait_for: Callable[..., None]) -> Iterator[Kubectl]:
    """A namespace of the test's own; all that was applied goes with it."""
    found = Kubectl(herald, tmp_path, wait_for)
    found.apply(namespace(NAMESPACE))
    try:
        yield found
    finally:
        found.remove()


@pytest.fixture
def watched(service: Callable[..., Service], herald: Lab) -> Watched:
    """A Service with an IPv4 address, all agents well, its backends off the announcing node."""
    name, addresses = service("watched", "--udp")
    found = Watched(herald, wait_for, name, addresses)
    wait_for("the address to be announced", lambda: found.holder in NODES)
    await_health(herald)
    found.move_backends_off_the_holder()
    return found


# --- figures ----------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's limit counts its fixtures' time: a whole lab, or the playbook on three nodes."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Has a line printed at the end of the run: what was measured, whether it was enough or not."""
    return pytestconfig.stash[FIGURES].append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)
