# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The collection as it is published, and commands that are run on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str, folder: Path, **environment: str) -> str:
    """What the command said; failing is an error with all of it."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
    return done.stdout


def tarball() -> Path:
    """What `make build` made."""
    (found,) = (ROOT / "build").glob("baremetal-herald-*.tar.gz")
    return found


def install(folder: Path) -> Path:
    """Install it there by ansible-galaxy; the collection's folder, and nothing of this tree beside it."""
    command = ("ansible-galaxy", "collection", "install", "--no-deps", str(tarball()))
    run(*command, folder=folder, ANSIBLE_COLLECTIONS_PATH=str(folder))
    return folder / "ansible_collections/baremetal/herald"
