# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who announces which address, read from Leases and Services."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._leases import (
    PRESENCE,
    address,
    holder,
)

_REPORT = "herald.dev/presence"
_EPOCH = "herald.dev/epoch"
_POOL = "herald.dev/pool"
_SERVICES = "herald.dev/services"
_EXTERNAL = "herald.dev/external"
_CONFLICT = "herald.dev/conflict"
_REASON = "herald.dev/reason"
_CONDITIONS = "herald.dev/"
_DRAINING = "draining"


def addresses(leases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each address that is announced, given or external, in the order of their leases' names.

    What is set aside, since somebody else answers for it, is none.
    """
    presences = {
        holder(lease): lease
        for lease in leases
        if lease["metadata"]["name"].startswith(PRESENCE) and holder(lease)
    }
    given = sorted(
        (lease for lease in leases if address(lease) and not _set_aside(lease)),
        key=lambda lease: lease["metadata"]["name"],
    )
    return [_address(lease, presences.get(holder(lease))) for lease in given]


def services(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each Service that Herald says anything of."""
    entries = [_service(service) for service in found]
    return [entry for entry in entries if entry["conditions"]]


def held_by(leases: list[dict[str, Any]], node: str) -> list[str]:
    """The addresses that a node announces."""
    return [entry["address"] for entry in addresses(leases) if entry["node"] == node]


def left_by(leases: list[dict[str, Any]], node: str) -> list[str]:
    """The addresses that a node has left since it drains, and nobody has announced since."""
    reason = f"{node}: {_DRAINING}"
    return [
        entry["address"]
        for entry in addresses(leases)
        if not entry["node"] and entry["reason"] == reason
    ]


def _address(lease: dict[str, Any], presence: dict[str, Any] | None) -> dict[str, Any]:
    """The node counts only while its presence is of the epoch that the claim names: else it is held by nobody."""
    notes = _notes(lease)
    current = presence is not None and notes.get(_EPOCH) == _epoch(presence)
    return {
        "address": address(lease),
        "node": holder(lease) if current else "",
        "interfaces": _interfaces(presence) if current and presence else [],
        "since": (lease.get("spec") or {}).get("acquireTime") or "",
        "reason": notes.get(_REASON, ""),
        "pool": notes.get(_POOL, ""),
        "services": _named(notes),
    }


def _set_aside(lease: dict[str, Any]) -> bool:
    return _CONFLICT in _notes(lease) and not _named(_notes(lease))


def _named(notes: dict[str, str]) -> list[str]:
    """The Services that have the address: those that it was given to, then those that it is an external one of."""
    texts = notes.get(_SERVICES, "").split(",") + notes.get(_EXTERNAL, "").split(",")
    return list(dict.fromkeys(text for text in texts if text))


def _epoch(presence: dict[str, Any]) -> str:
    transitions = (presence.get("spec") or {}).get("leaseTransitions") or 0
    return f"{presence['metadata']['uid']}/{transitions}"


def _interfaces(presence: dict[str, Any]) -> list[dict[str, str]]:
    """Those that are up and have carrier, as the node last reported them."""
    try:
        report = json.loads(_notes(presence).get(_REPORT, ""))
        return [
            {"name": str(item["name"]), "mac": str(item["mac"])}
            for item in report["interfaces"]
            if item.get("up") and item.get("carrier") and not item.get("plumbing")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _service(service: dict[str, Any]) -> dict[str, Any]:
    status = service.get("status") or {}
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    return {
        "namespace": service["metadata"]["namespace"],
        "name": service["metadata"]["name"],
        "addresses": [item["ip"] for item in ingress if item.get("ip")],
        "conditions": {
            item["type"][len(_CONDITIONS) :]: {
                "status": item["status"],
                "reason": item.get("reason", ""),
                "message": item.get("message", ""),
            }
            for item in status.get("conditions") or []
            if item["type"].startswith(_CONDITIONS)
        },
    }


def _notes(obj: dict[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}
