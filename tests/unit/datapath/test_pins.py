# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Which pins there are, by the interface that each was made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from herald.datapath.loader import FILTER, LINK, interface_pins


def test_pins_are_told_apart_by_kind_and_interface(tmp_path: Path) -> None:
    for name in ("link-2", "link-17", "clsact-3", "link-x", "session", "link-4.old"):
        (tmp_path / name).touch()
    assert interface_pins(tmp_path, LINK) == {2: tmp_path / "link-2", 17: tmp_path / "link-17"}
    assert interface_pins(tmp_path, FILTER) == {3: tmp_path / "clsact-3"}


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert interface_pins(tmp_path / "gone", LINK) == {}


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    """Here it is no folder, which root cannot read either; while it is prepared it is another user's."""
    (tmp_path / "v1").touch()
    with pytest.raises(OSError, match="v1"):
        interface_pins(tmp_path / "v1", LINK)
