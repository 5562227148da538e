# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider's status for people and for programs.

It is read by its fields, so that what the decider adds is shown without a change here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

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


def problems(status: Json) -> list[str]:
    """One line for each thing that is not as it should be; none: healthy."""
    found = [str(problem) for problem in status.get("problems", ())]
    # Where it has other problems, they say more about that.
    if status.get("api_ok") is False and not found:
        found.append("the API server does not answer")
    return found


def headline(status: Any) -> str:
    """One line for `systemctl status`; it names no number that changes by itself."""
    fields = as_json(status)
    if not isinstance(fields, dict):
        return "running"
    held = len(fields.get("held", ()))
    parts = [str(fields.get("phase", "running")), f"holds {held} address{'es' * (held != 1)}"]
    if fields.get("allocator"):
        parts.append("allocates addresses")
    return "; ".join(parts + problems(fields))
