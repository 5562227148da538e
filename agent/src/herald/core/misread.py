# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What of a Lease or a Node an agent does not understand: field, wanted, found, in the log.

Whatever reads these counts it as absent (``leases`` does, and drains by the one word that it knows), and the cluster
goes on; but whoever wrote it is to learn that it has no effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from herald.core.allocation.addresses import shown
from herald.core.election.placement import DRAIN_ANNOTATION
from herald.core.leases import (
    CONFLICT,
    DURATION,
    EPOCH,
    EXTERNAL,
    INSTANCE,
    POOL,
    PRESENCE,
    RELEASED,
    SERVICES,
    TRIED_FOR,
    Epoch,
    Presence,
    is_mac,
    parsed_duration,
    parsed_pool,
    parsed_service,
)
from herald.core.model import IPAM_LEASE, PRESENCE_PREFIX, VIP_PREFIX, Lease, Node
from herald.core.outbox import Outbox

TOLD = 5
"""Of one object so much is told at once."""


class Misread:
    def __init__(self, outbox: Outbox) -> None:
        self._out = outbox
        self._told: dict[tuple[str, str], tuple[str, ...]] = {}
        """Of which objects something is not understood, by kind and name, and what."""

    def look(self, obj: Lease | Node) -> None:
        """Tell what is not understood of an object that is new, or says something else: once."""
        found = tuple(problems(obj))
        key = type(obj).__name__, obj.name
        if found == self._told.get(key, ()):
            return
        if not found:
            del self._told[key]
            return
        self._told[key] = found
        why = "; ".join(found[:TOLD])
        self._out.note("not understood", level="warning", kind=key[0], name=obj.name, why=why)

    def gone(self, kind: type[Lease | Node], name: str) -> None:
        self._told.pop((kind.__name__, name), None)


def problems(obj: Lease | Node) -> Iterator[str]:
    """Each as ``field: wanted …, found …``; of another's Lease there are none."""
    if isinstance(obj, Node):
        yield from _of_node(obj)
    elif obj.name.startswith(PRESENCE_PREFIX):
        yield from _of_presence(obj)
    elif obj.name.startswith(VIP_PREFIX) or obj.name == IPAM_LEASE:
        yield from _of_lock(obj)


def _of_node(node: Node) -> Iterator[str]:
    text = node.annotations.get(DRAIN_ANNOTATION, "")
    if text not in ("", "true", "false"):
        yield f"{DRAIN_ANNOTATION}: wanted true or false, found {shown(text)}"


def _is_epoch(text: str) -> bool:
    return Epoch.parse(text) is not None


def _are_services(text: str) -> bool:
    return all(not each.strip() or parsed_service(each) for each in text.split(","))


_SERVICES = "NAMESPACE/NAME of Services, separated by commas"
_EPOCH = "UID/NUMBER of a presence"
_SOUND: dict[str, tuple[str, Callable[[str], object]]] = {
    EPOCH: (_EPOCH, _is_epoch),
    RELEASED: (_EPOCH, _is_epoch),
    POOL: ("the name of a pool", parsed_pool),
    SERVICES: (_SERVICES, _are_services),
    EXTERNAL: (_SERVICES, _are_services),
    TRIED_FOR: (_SERVICES, _are_services),
    CONFLICT: ("a MAC such as 02:00:00:00:00:01", is_mac),
}
"""Of the annotations of a VIP lease, and of the lease ``ipam``: what is wanted, and whether a text is that."""


def _of_lock(lease: Lease) -> Iterator[str]:
    for name, text in lease.annotations.items():
        if text and name in _SOUND:
            wanted, is_sound = _SOUND[name]
            if not is_sound(text):
                yield f"{name}: wanted {wanted}, found {shown(text)}"


def _of_presence(lease: Lease) -> Iterator[str]:
    if lease.holder and not Presence(lease).alive:
        yield f"spec.holderIdentity: wanted the node of {lease.name}, found {shown(lease.holder)}"
    if (text := lease.annotations.get(DURATION, "")) and parsed_duration(text) is None:
        yield f"{DURATION}: wanted milliseconds, found {shown(text)}"
    text = lease.annotations.get(INSTANCE, "")
    if text and not all(text.partition("/")):
        yield f"{INSTANCE}: wanted MACHINE/NONCE, found {shown(text)}"
    if text := lease.annotations.get(PRESENCE, ""):
        yield from _of_report(text)


def _of_report(text: str) -> Iterator[str]:
    """What another version's agent says besides, or in another way, is none of these."""
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        yield f"{PRESENCE}: wanted a JSON object, found {shown(text)}"
        return
    interfaces = report.get("interfaces", [])
    if not isinstance(interfaces, list):
        yield f"{PRESENCE}: interfaces: wanted a list, found {shown(json.dumps(interfaces))}"
        return
    for index, interface in enumerate(interfaces):
        for name in ("name", "mac"):
            found = interface.get(name) if isinstance(interface, dict) else interface
            if not isinstance(found, str):
                field = f"interfaces[{index}].{name}"
                yield f"{PRESENCE}: {field}: wanted a string, found {shown(json.dumps(found))}"
