# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an object stands as a manifest that was applied would leave it, so that it need not be applied again.

The API server notes which fields a manager applied (C(managedFields)). Where these are just those of the manifest, and
every one has the manifest's value, nothing would change. What is being deleted does not stand. In doubt the answer is
no: an apply too many does no harm.
"""

from __future__ import annotations

import json
from typing import Any

# What says which object it is; no manager has these.
_IDENTITY = {"apiVersion", "kind"}
_NAME = {"name", "namespace"}


def stands(live: dict[str, Any], manifest: dict[str, Any], manager: str) -> bool:
    """Whether an apply of C(manifest) by C(manager) would leave the object as it is."""
    metadata = manifest["metadata"]
    if live["metadata"].get("deletionTimestamp"):
        return False
    if any(live["metadata"].get(key) != value for key, value in metadata.items() if key in _NAME):
        return False
    wanted = {key: value for key, value in manifest.items() if key not in _IDENTITY}
    wanted["metadata"] = {key: value for key, value in metadata.items() if key not in _NAME}
    if not wanted["metadata"]:
        del wanted["metadata"]
    owned = [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if (entry.get("manager"), entry.get("operation")) == (manager, "Apply")
        and not entry.get("subresource")
    ]
    if len(owned) != 1 or owned[0].get("apiVersion") != manifest["apiVersion"]:
        return not owned and not wanted
    return _same(owned[0].get("fieldsV1") or {}, wanted, live)


def _same(owned: dict[str, Any], wanted: Any, live: Any) -> bool:
    """C(owned) is a node of C(fieldsV1): empty for what is one value, else what is owned below, a dot for itself."""
    if isinstance(wanted, dict) and isinstance(live, dict) and (owned or not wanted):
        below = {key[2:]: node for key, node in owned.items() if key != "."}
        return (
            all(key.startswith("f:") for key in owned if key != ".")
            and set(below) == set(wanted)
            and all(
                key in live and _same(node, wanted[key], live[key]) for key, node in below.items()
            )
        )
    if isinstance(wanted, list) and isinstance(live, list) and owned:
        below = {key: node for key, node in owned.items() if key != "."}
        return len(below) == len(wanted) and _same_items(below, wanted, live)
    return not owned and bool(wanted == live)


def _same_items(owned: dict[str, Any], wanted: list[Any], live: list[Any]) -> bool:
    """Items that are known by their keys (C(k:)) or by their values (C(v:)), in the same order."""
    places = []
    for key, node in owned.items():
        known = json.loads(key[2:])
        if key.startswith("v:"):
            found = [
                [at for at, item in enumerate(items) if item == known] for items in (wanted, live)
            ]
        elif key.startswith("k:"):
            found = [
                [at for at, item in enumerate(items) if _has(item, known)]
                for items in (wanted, live)
            ]
        else:
            return False
        if [len(at) for at in found] != [1, 1]:
            return False
        (at,), (there,) = found
        if key.startswith("k:") and not _same(node, wanted[at], live[there]):
            return False
        places.append((at, there))
    there = [place for _at, place in sorted(places)]
    return there == sorted(there)


def _has(item: Any, known: dict[str, Any]) -> bool:
    return isinstance(item, dict) and all(
        key in item and item[key] == value for key, value in known.items()
    )
