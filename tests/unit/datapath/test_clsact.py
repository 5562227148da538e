# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What is said where the kernel refuses clsact."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from herald.datapath import clsact
from herald.datapath.bpf import DatapathError


class Kernel:
    """Has no filters, and refuses one command."""

    def __init__(self, refused: str, code: int) -> None:
        self.refused, self.code = refused, code

    def get_filters(self, **_: object) -> list[object]:
        return []

    def tc(self, command: str, *_: object, **__: object) -> None:
        if command == self.refused:
            raise NetlinkError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(
    ("refused", "code", "said"),
    [
        ("add", errno.ENOENT, "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF are wanted"),
        ("add-filter", errno.ENOENT, "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF are wanted"),
        ("add", errno.EPERM, "CAP_NET_ADMIN is wanted"),
        ("add-filter", errno.EBUSY, "Device or resource busy .*tc filter show dev DEVICE ingress"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: str, code: int, said: str
) -> None:
    monkeypatch.setattr(clsact, "IPRoute", lambda: Kernel(refused, code))
    with pytest.raises(DatapathError, match=f"^clsact on interface 2: .*{said}"):
        clsact.Clsact(tmp_path, program=7).attach(2)
