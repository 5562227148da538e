# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider's status for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from herald.core.report import Status

Json: TypeAlias = dict[str, Any]


def as_json(value: Any) -> Any:
    """Dataclasses become objects, collections lists; what JSON does not know becomes its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((as_json(each) for each in value), key=str)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def headline(status: Status) -> str:
    """One line for `systemctl status`; it names no number that changes by itself."""
    held = len(status.held)
    parts = [status.phase, f"holds {held} address{'es' * (held != 1)}"]
    if status.allocator:
        parts.append("allocates addresses")
    return "; ".join((*parts, *status.problems))
