# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wants to see of two states of an object."""

from __future__ import annotations

from typing import Any

# Written by the API server at every change, and no part of what anybody asked for.
_NOISE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


def shown(obj: dict[str, Any] | None) -> dict[str, Any]:
    """An object without the API server's bookkeeping and without its status; {} for none."""
    if obj is None:
        return {}
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _NOISE}
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")} | {
        "metadata": metadata
    }


def plain(obj: dict[str, Any] | None) -> dict[str, Any]:
    """An object as modules return it: all but who manages which field; {} for none."""
    if obj is None:
        return {}
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return obj | {"metadata": metadata}


def diff(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """An entry of a module's C(diff)."""
    some = after or before or {}
    metadata = some.get("metadata") or {}
    title = "/".join(
        part for part in (some.get("kind"), metadata.get("namespace"), metadata.get("name")) if part
    )
    return {
        "before_header": title + " (before)",
        "after_header": title + " (after)",
        "before": shown(before),
        "after": shown(after),
    }
