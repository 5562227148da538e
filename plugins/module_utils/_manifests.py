# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-side apply of manifests, and their removal.

Apply leaves to others what others set, upgrades in place, and says by its answer what the object became: it changed
if that differs from what was there. Where it is known beforehand to change nothing, it is not sent.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._applied import stands
from ansible_collections.baremetal.herald.plugins.module_utils._client import (
    MANAGER,
    Client,
    Resource,
)
from ansible_collections.baremetal.herald.plugins.module_utils._diff import shown
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, BadOption
from ansible_collections.baremetal.herald.plugins.module_utils._runner import Outcome


class Manifests:
    """Objects of any kind, as manifests name them."""

    def __init__(self, client: Client, force: bool = True) -> None:
        self._client = client
        self._force = force

    def apply(self, manifest: dict[str, Any]) -> Outcome:
        """Make the object so. Raises HeraldError."""
        resource, name, namespace = self.locate(manifest)
        before = self._client.get(resource, name, namespace)
        if before is not None and stands(before, manifest, MANAGER):
            return Outcome(name, "unchanged", before, before)
        try:
            after = self._client.apply(resource, manifest, namespace, force=self._force)
        except ApiError as error:
            # A dry run stores no namespace, so what would be made in it later in the same run finds none.
            if not (self._client.dry_run and error.is_namespace_missing):
                raise
            after = manifest
        if before is None:
            return Outcome(name, "created", None, after)
        action = "unchanged" if shown(before) == shown(after) else "updated"
        return Outcome(name, action, before, after)

    def remove(self, manifest: dict[str, Any]) -> Outcome:
        """Delete the object, whatever it looks like by now. Raises HeraldError."""
        try:
            resource, name, namespace = self.locate(manifest)
        except ApiError as error:
            if error.is_kind_missing:
                return Outcome(manifest["metadata"]["name"], "unchanged", None, None)
            raise
        before = self._client.get(resource, name, namespace)
        if before is None:
            return Outcome(name, "unchanged", None, None)
        if before["metadata"].get("deletionTimestamp"):
            return Outcome(name, "unchanged", before, before)
        self._client.delete(resource, before, namespace, strict=False)
        return Outcome(name, "deleted", before, None)

    def read(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """The object as it is now."""
        try:
            return self._client.get(*self.locate(manifest))
        except ApiError as error:
            if error.is_kind_missing:
                return None
            raise

    def locate(self, manifest: dict[str, Any]) -> tuple[Resource, str, str]:
        """Resource, name and namespace of a manifest."""
        resource = self._client.kind(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace") or ""
        if resource.namespaced and not namespace:
            raise BadOption(
                f"{manifest['kind']} {metadata['name']}: metadata.namespace", "a namespace", None
            )
        return resource, metadata["name"], namespace


def check(manifests: list[dict[str, Any]]) -> None:
    """Refuse what is no manifest. Raises BadOption."""
    for index, manifest in enumerate(manifests):
        for field in ("apiVersion", "kind"):
            if not isinstance(manifest.get(field), str):
                raise BadOption(f"definitions[{index}].{field}", "a text", manifest.get(field))
        metadata = manifest.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise BadOption(f"definitions[{index}].metadata.name", "a name", metadata)


def unready(obj: dict[str, Any] | None) -> str:
    """A judge of whether the object can be used: a CustomResourceDefinition is served some time after it was made."""
    if obj is None:
        return "it is gone"
    if obj.get("kind") != "CustomResourceDefinition":
        return ""
    conditions = {item["type"]: item for item in (obj.get("status") or {}).get("conditions") or []}
    for wanted in ("NamesAccepted", "Established"):
        found = conditions.get(wanted)
        if found is None or found["status"] != "True":
            return f"its condition {wanted} is {found and (found['status'], found.get('message'))}, wanted True"
    return ""
