# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The collection as it is published: `make build`'s tarball, installed by ansible-galaxy into a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from published import ROOT, install, run

if TYPE_CHECKING:
    from collections.abc import Callable

INTERPRETERS = pytest.StashKey[list[str]]()
CACHE = Path(os.environ.get("HERALD_CACHE", Path.home() / ".cache/herald"))
LIMIT = 600  # seconds

PIP = "24.2"
"""What this ansible-core's ansible-test puts into its environments; it names the version if that has changed."""

BOOTSTRAP = """\
import runpy, sys
sys.path.insert(0, {wheel!r})
sys.argv[1:] = ["install", "--no-index", "--no-deps", {wheel!r}]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Environments are made in these tests, from a package index."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The installed collection's folder."""
    return install(tmp_path)


@pytest.fixture(scope="session")
def interpreters(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The real interpreters of this machine, by version: those that start, not a version manager's stand-ins."""
    folders = [*os.get_exec_path(), *map(str, sorted(Path.home().glob(".pyenv/versions/*/bin")))]
    found: dict[str, Path] = {}
    for version in ("3.9", "3.10", "3.11", "3.12", "3.13"):
        for folder in folders:
            program = Path(folder) / f"python{version}"
            question = "import ensurepip, sys; print(sys.prefix == sys.base_prefix, sys.executable)"
            if os.access(program, os.X_OK):
                said = subprocess.run(
                    [program, "-I", "-c", question], capture_output=True, text=True, check=False
                )
                own, _, path = said.stdout.strip().partition(" ")
                if own == "True":
                    found[version] = Path(path)
                    break
    request.config.stash[INTERPRETERS] = list(found)
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Which versions ran: a machine without the oldest or the newest tries less."""
    if versions := config.stash.get(INTERPRETERS, None):
        terminalreporter.write_line(f"interpreters tried: Python {', '.join(versions)}")


@pytest.fixture
def ansible_test(installed: Path, interpreters: dict[str, Path]) -> Callable[..., str]:
    """Runs ansible-test on the installed collection, which gets what of the tests it looks for.

    Its home is a folder in the cache: there it keeps its environments, and looks for the script that puts pip into
    them, which it would else fetch from a host of its own.
    """
    home = CACHE / "ansible-test"
    script = home / f".ansible/test/cache/get_pip_{PIP.replace('.', '_')}.py"
    if not script.exists():
        script.parent.mkdir(parents=True, exist_ok=True)
        run(
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(home),
            f"pip=={PIP}",
            folder=home,
        )
        (wheel,) = home.glob(f"pip-{PIP}-*.whl")
        script.write_text(BOOTSTRAP.format(wheel=str(wheel)))
    # Real interpreters first: it takes the first of a name, and fails where that one does not start.
    folders = [ROOT / ".venv/bin", *dict.fromkeys(path.parent for path in interpreters.values())]
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])

    ignored = shutil.ignore_patterns("__pycache__")
    (installed / "tests").mkdir()
    shutil.copy(ROOT / "tests/config.yml", installed / "tests")
    shutil.copytree(ROOT / "tests/unit/plugins", installed / "tests/unit/plugins", ignore=ignored)
    shutil.copy(ROOT / "tests/unit/requirements.txt", installed / "tests/unit")

    def call(*words: str) -> str:
        settings = {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8"}
        return run("ansible-test", *words, "--color", "no", folder=installed, **settings)

    return call
