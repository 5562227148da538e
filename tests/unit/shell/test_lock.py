# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One agent at a time; a file that somebody left means nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from herald.shell.lock import LockError, lock


def test_a_second_agent_is_kept_out_and_told_who_runs(tmp_path: Path) -> None:
    path = tmp_path / "agent.lock"
    held = lock(path)
    with pytest.raises(LockError, match=rf"another agent runs .*process {os.getpid()}\b"):
        lock(path)
    os.close(held)
    os.close(lock(path))


def test_a_file_that_a_dead_agent_left_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "agent.lock"
    path.write_text("4194303\n")
    os.close(lock(path))
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"none/agent.lock: cannot be opened: No such file"):
        lock(tmp_path / "none" / "agent.lock")
