# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The loaded responder for one test session, on a bpffs of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.bpf.kernel import Kernel

LOADER = Path(__file__).resolve().parents[2] / "agent/src/herald/datapath/loader.py"


def loader(bpffs: Path, *arguments: str, source: Path = LOADER) -> subprocess.CompletedProcess[str]:
    """Run the loader as the unit does: a process of its own, by the system's Python."""
    return subprocess.run(
        ["/usr/bin/python3", "-I", str(source), "--bpffs", str(bpffs), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def mounted_bpffs() -> Iterator[Path]:
    """A bpffs of the test's own, with a folder for the pins in it; both gone at the end."""
    assert os.geteuid() == 0, "programs are loaded into the kernel: run as root"
    with TemporaryDirectory(prefix="herald-bpffs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        folder = folder / "bpf"
        folder.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", str(folder)], check=True)
        try:
            yield folder / "herald"
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """An empty one."""
    with mounted_bpffs() as folder:
        yield folder


@pytest.fixture(scope="session")
def loaded_bpffs() -> Iterator[Path]:
    """One that the loader has filled."""
    with mounted_bpffs() as folder:
        done = loader(folder)
        assert done.returncode == 0, done.stderr
        yield folder


@pytest.fixture(scope="session")
def loaded(loaded_bpffs: Path) -> Iterator[Kernel]:
    """The program and its maps, without an interface."""
    kernel = Kernel(loaded_bpffs)
    try:
        yield kernel
    finally:
        kernel.close()


@pytest.fixture
def kernel(loaded: Kernel) -> Kernel:
    """The same with empty maps and no session."""
    loaded.clear()
    return loaded
