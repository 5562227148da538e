# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One identity for a machine and a boot, one nonce for a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from herald import __version__
from herald.core.model import Identity
from herald.shell.identity import IdentityError, read_identity

MACHINE = "0123456789abcdef0123456789abcdef"
BOOT = "01234567-89ab-cdef-0123-456789abcdef"


def identity(folder: Path, machine: str = MACHINE, boot: str = BOOT) -> Identity:
    (folder / "machine-id").write_text(machine + "\n")
    (folder / "boot_id").write_text(boot + "\n")
    return read_identity("n1", folder / "machine-id", folder / "boot_id")


def test_the_same_machine_and_boot_have_the_same_id_in_every_process(tmp_path: Path) -> None:
    first, second = identity(tmp_path), identity(tmp_path)
    assert first.machine == second.machine
    assert first.nonce != second.nonce
    assert (first.node, first.version) == ("n1", __version__)


@pytest.mark.parametrize("other", [{"machine": MACHINE[::-1]}, {"boot": BOOT[::-1]}])
def test_another_machine_or_boot_has_another(tmp_path: Path, other: dict[str, str]) -> None:
    assert identity(tmp_path).machine != identity(tmp_path, **other).machine


def test_the_machine_id_itself_is_not_shown(tmp_path: Path) -> None:
    shown = identity(tmp_path)
    assert len(shown.machine) == 32
    assert MACHINE not in repr(shown)


@pytest.mark.parametrize("text", ["", "uninitialized", "short"])
def test_a_machine_without_an_id_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(IdentityError, match="wanted 32 hexadecimal digits"):
        identity(tmp_path, machine=text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"nothing: wanted an id"):
        read_identity("n1", tmp_path / "nothing")


def test_this_machine_has_one() -> None:
    assert len(read_identity("n1", Path("/proc/sys/kernel/random/boot_id")).machine) == 32
