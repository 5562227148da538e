# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What many objects have alike is kept once: thousands of Services and leases differ in little but their names.

The values are never changed. How many different ones are remembered is bounded; beyond that, more is kept than need be.
"""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar, cast

T = TypeVar("T", bound=Hashable)

_BETWEEN = "\n"


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


# --- what is not alike, as one text --------------------------------------------------------------------


def joined(texts: tuple[str, ...]) -> str | None:
    """Several texts as one, which takes less than half of their memory; None: they cannot be told apart in it."""
    text = _BETWEEN.join(texts)
    return text if texts and text.count(_BETWEEN) == len(texts) - 1 else None


def parted(text: str) -> list[str]:
    return text.split(_BETWEEN)


class Texts(Mapping[str, str]):
    """Texts by name: the names are kept once for all that have the same, and the texts of each as one.

    It is made to be kept, not to be asked: whoever does that more than once takes a ``dict`` of its items.
    """

    __slots__ = ("_names", "_texts")

    def __init__(self, names: tuple[str, ...], texts: str) -> None:
        self._names = names
        self._texts = texts

    def items(self) -> ItemsView[str, str]:
        return dict(zip(self._names, parted(self._texts), strict=True)).items()

    def __getitem__(self, name: str) -> str:
        return dict(self.items())[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self.items()))


def texts_once(texts: Mapping[str, str]) -> Mapping[str, str]:
    """The same of texts by name of which most objects have some that are nobody else's (labels)."""
    together = joined(tuple(texts.values()))
    return mapping_once(texts) if together is None else Texts(once(tuple(texts)), together)
