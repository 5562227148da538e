# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading JSON from the API server field by field, with the field's name in every complaint.

The API server validates what it stores, so a field of another type than documented means a custom resource whose
schema was loosened, or a server that is not one: the object is skipped, the agent goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from herald.kube.transport import Json

_FOUND_MAX = 60
_NONE: Mapping[str, str] = {}
"""Thousands of objects have no labels or annotations that matter: they have this in common."""


class Undecodable(ValueError):
    """``path: wanted …, found …``."""


class Fields:
    """A JSON object and where it stands. An absent field and ``null`` are the same, as in Kubernetes."""

    __slots__ = ("_json", "_path")

    def __init__(self, json: Json, path: str = "") -> None:
        self._json = json
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self._json.get(name) is not None

    def record(self, name: str) -> Fields:
        value = self._json.get(name)
        if value is None:
            return Fields({}, self._at(name))
        if not isinstance(value, dict):
            raise self._wrong(name, "an object", value)
        return Fields(value, self._at(name))

    def records(self, name: str) -> Iterator[Fields]:
        for index, value in enumerate(self._list(name)):
            if not isinstance(value, dict):
                raise self._wrong(f"{name}[{index}]", "an object", value)
            yield Fields(value, self._at(f"{name}[{index}]"))

    def text(self, name: str, default: str = "") -> str:
        value = self._json.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def word(self, name: str, default: str = "") -> str:
        """A text of which many objects have the same: kept once."""
        return sys.intern(self.text(name, default))

    def texts(self, name: str) -> tuple[str, ...]:
        texts: list[str] = []
        for index, value in enumerate(self._list(name)):
            if not isinstance(value, str):
                raise self._wrong(f"{name}[{index}]", "a string", value)
            texts.append(value)
        return tuple(texts)

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise self._wrong(name, "a string that is not empty", self._json.get(name))
        return value

    def number(self, name: str, default: int = 0) -> int:
        value = self._json.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer", value)
        return value

    def number_within(self, name: str, least: int, most: int) -> int:
        value = self.number(name, least)
        if not least <= value <= most:
            raise self._wrong(name, f"{least} to {most}", value)
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.flag_said(name)
        return default if value is None else value

    def flag_said(self, name: str) -> bool | None:
        """None where it is absent."""
        value = self._json.get(name)
        if value is None:
            return None
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def labels(self, name: str, prefixes: tuple[str, ...] = ("",)) -> Mapping[str, str]:
        """A map of strings; of those with a key that begins with one of the prefixes."""
        value = self._json.get(name)
        if value is None:
            return _NONE
        if not isinstance(value, dict):
            raise self._wrong(name, "an object", value)
        kept: dict[str, str] = {}
        for key, text in value.items():
            if not key.startswith(prefixes):
                continue
            if not isinstance(text, str):
                raise self._wrong(f"{name}[{key}]", "a string", text)
            kept[sys.intern(key)] = sys.intern(text) if len(text) < 64 else text
        return kept or _NONE

    def resource_version(self) -> int:
        text = self.text("resourceVersion")
        if not text.isascii() or not text.isdigit() or len(text) > 20:
            raise self._wrong("resourceVersion", "a decimal number", text)
        return int(text)

    def _list(self, name: str) -> list[object]:
        value = self._json.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return value

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _wrong(self, name: str, wanted: str, found: object) -> Undecodable:
        shown = repr(found)
        if len(shown) > _FOUND_MAX:
            shown = shown[:_FOUND_MAX] + "…"
        return Undecodable(f"{self._at(name)}: wanted {wanted}, found {shown}")
