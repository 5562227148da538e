# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The loaded responder for one test session, on a bpffs of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.bpf.kernel import Kernel

from herald.datapath.loader import source_folder

AGENT = Path(__file__).resolve().parents[2] / "agent/src"
LOADER = AGENT / "herald/datapath/loader.py"

ChangedSource = Callable[..., Path]


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
def changed_source(tmp_path: Path) -> ChangedSource:
    """A copy of the loader and the responder, with changes: (file, old, new), beside responder.c."""

    def change(*changes: tuple[str, str, str]) -> Path:
        shutil.copy(LOADER, tmp_path)
        shutil.copytree(source_folder(), tmp_path / "bpf")
        for file, old, new in changes:
            path = tmp_path / "bpf" / file
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new))
        return tmp_path / LOADER.name

    return change


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
def kernel(loaded: Kernel) -> Iterator[Kernel]:
    """The same with empty maps and no session, which it also leaves."""
    loaded.clear()
    yield loaded
    loaded.clear()
