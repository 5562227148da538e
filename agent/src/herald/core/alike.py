# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What many objects have alike is kept once: thousands of Services and leases differ in little but their names.

The values are never changed. How many different ones are remembered is bounded; beyond that, more is kept than need be.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import TypeVar, cast

T = TypeVar("T", bound=Hashable)


def once(value: T) -> T:
    """The value, or one that is equal to it (nodes, ports, devices)."""
    return cast("T", _kept(value))


def mapping_once(texts: Mapping[str, str]) -> Mapping[str, str]:
    """The same of texts by name: labels, annotations, reasons."""
    return _kept_mapping(tuple(texts.items()))


@lru_cache(maxsize=4096)
def _kept(value: Hashable) -> Hashable:
    return value


@lru_cache(maxsize=1024)
def _kept_mapping(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)
