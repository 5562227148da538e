# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Herald's Leases, as the agents write them, and their removal once no agent is left."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any, Callable

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._names import FINALIZER, IPAM_LEASE

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
SERVICES = Resource("", "v1", "services", "Service", namespaced=True)

PRESENCE = "presence-"
VIP = "vip-"
_DURATION = "herald.dev/duration-ms"
_CONDITIONS = "herald.dev/"
_TRIES = 5


def is_ours(lease: dict[str, Any]) -> bool:
    """Whether Herald made it."""
    name = lease["metadata"]["name"]
    return name == IPAM_LEASE or name.startswith((PRESENCE, VIP))


def holder(lease: dict[str, Any]) -> str:
    """The node that holds it; empty for none."""
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def address(lease: dict[str, Any]) -> str:
    """The address of a VIP lease, as people write it; empty for other leases."""
    name = lease["metadata"]["name"]
    if not name.startswith(VIP):
        return ""
    text = name[len(VIP) :]
    try:
        return str(ip_address(text if "." in text else text.replace("-", ":")))
    except ValueError:
        return ""


def living(
    client: Client,
    leases: list[dict[str, Any]],
    namespace: str,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Nodes whose presence is still renewed.

    Told as agents tell it: times in a Lease are never compared, but whether it changes while one looks on for as long
    as it says that it may stand still.
    """
    held = {
        lease["metadata"]["name"]: lease
        for lease in leases
        if _is_presence(lease) and holder(lease)
    }
    if not held:
        return []
    sleep(1.5 * max(_duration(lease) for lease in held.values()))
    now = {lease["metadata"]["name"]: lease for lease in client.list(LEASES, namespace)}
    return sorted(
        holder(lease)
        for name, lease in held.items()
        if name in now
        and now[name]["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]
    )


def remove(client: Client, lease: dict[str, Any], namespace: str) -> None:
    """Delete a lease whose holder is no more, with the finalizer that it would have let go. Raises ApiError."""
    name = lease["metadata"]["name"]
    live: dict[str, Any] | None = lease
    for attempt in range(_TRIES):
        if live is None:
            return
        try:
            finalizers = live["metadata"].get("finalizers") or []
            if FINALIZER in finalizers:
                live["metadata"]["finalizers"] = [item for item in finalizers if item != FINALIZER]
                live = client.replace(LEASES, live, namespace)
            client.delete(LEASES, live, namespace, strict=False)
            return
        except ApiError as error:
            if error.status == 404:
                return
            if error.status != 409 or attempt == _TRIES - 1:
                raise
        live = client.get(LEASES, name, namespace)


def disowned(service: dict[str, Any], addresses: set[str]) -> dict[str, Any] | None:
    """A patch that takes Herald's conditions and addresses from a Service's status; None where there are none."""
    status = service.get("status") or {}
    ours = [
        item["type"]
        for item in status.get("conditions") or []
        if item["type"].startswith(_CONDITIONS)
    ]
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    kept = [item for item in ingress if item.get("ip") not in addresses]
    if not ours and kept == ingress:
        return None
    patch: dict[str, Any] = {"conditions": [{"$patch": "delete", "type": name} for name in ours]}
    if kept != ingress:
        patch["loadBalancer"] = {"ingress": kept or None}
    return {
        "metadata": {"resourceVersion": service["metadata"]["resourceVersion"]},
        "status": patch,
    }


def disown(client: Client, service: dict[str, Any], addresses: set[str]) -> bool:
    """Apply that patch. Says whether there was anything to do. Raises HeraldError."""
    metadata = service["metadata"]
    live: dict[str, Any] | None = service
    for _attempt in range(_TRIES):
        patch = disowned(live, addresses) if live else None
        if patch is None:
            return live is not service
        try:
            client.patch(SERVICES, metadata["name"], patch, metadata["namespace"], "status")
            return True
        except ApiError as error:
            if error.status != 409:
                raise
        live = client.get(SERVICES, metadata["name"], metadata["namespace"])
    raise HeraldError(
        f"Service {metadata['namespace']}/{metadata['name']}: somebody keeps changing it; run this again"
    )


def _is_presence(lease: dict[str, Any]) -> bool:
    return lease["metadata"]["name"].startswith(PRESENCE)


def _duration(lease: dict[str, Any]) -> float:
    """How long, in seconds, it may stand still while its agent lives."""
    text = (lease["metadata"].get("annotations") or {}).get(_DURATION, "")
    if text.isdigit():
        return min(int(text) / 1000, 300.0)
    return min(float((lease.get("spec") or {}).get("leaseDurationSeconds") or 10), 300.0)
