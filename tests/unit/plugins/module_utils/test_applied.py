# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What was applied and stands need not be applied again; whatever differs, and whatever is in doubt, does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils._applied import stands

Json = dict[str, Any]
US = "baremetal.herald"

MANIFEST: Json = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"name": "a", "namespace": "ns", "labels": {"team": "web"}},
    "spec": {
        "size": 1,
        "atomic": {"x": [1, 2]},
        "empty": {},
        "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53}],
        "kinds": ["b", "a"],
    },
}
OWNED: Json = {
    "f:metadata": {"f:labels": {".": {}, "f:team": {}}},
    "f:spec": {
        "f:size": {},
        "f:atomic": {},
        "f:empty": {},
        "f:ports": {
            'k:{"name":"http"}': {".": {}, "f:name": {}, "f:port": {}},
            'k:{"name":"dns"}': {".": {}, "f:name": {}, "f:port": {}},
        },
        "f:kinds": {'v:"a"': {}, 'v:"b"': {}},
    },
}


def entry(fields: Json, **more: str) -> Json:
    return {
        "manager": US,
        "operation": "Apply",
        "apiVersion": "example.com/v1",
        "fieldsV1": fields,
        **more,
    }


def standing() -> tuple[Json, Json]:
    """A manifest, and the object that it made, to which others added."""
    manifest, live = copy.deepcopy(MANIFEST), copy.deepcopy(MANIFEST)
    live["metadata"]["labels"]["others"] = "too"
    live["metadata"]["managedFields"] = [
        entry(
            {"f:metadata": {"f:labels": {"f:others": {}}}}, manager="kubectl", operation="Update"
        ),
        entry({"f:status": {}}, subresource="status"),
        entry(copy.deepcopy(OWNED)),
    ]
    live["spec"]["defaulted"] = True
    live["spec"]["ports"].insert(1, {"name": "theirs", "port": 7})
    live["spec"]["ports"][0]["protocol"] = "TCP"
    live["spec"]["kinds"].append("theirs")
    live["status"] = {"phase": "Ready"}
    return manifest, live


def test_what_others_added_does_not_matter() -> None:
    manifest, live = standing()
    assert stands(live, manifest, US)


def owned(live: Json) -> Json:
    fields: Json = live["metadata"]["managedFields"][2]["fieldsV1"]
    return fields


CHANGES: dict[str, Callable[[Json, Json], object]] = {
    "another value is wanted": lambda want, live: want["spec"].update(size=2),
    "somebody changed a value": lambda want, live: live["spec"].update(size=2),
    "one more field is wanted": lambda want, live: want["spec"].update(more=1),
    "one more field is wanted that others set": lambda want, live: want["metadata"][
        "labels"
    ].update(others="too"),
    "a field is no longer wanted": lambda want, live: want["spec"].pop("size"),
    "a label is no longer wanted": lambda want, live: want["metadata"].pop("labels"),
    "a whole part is no longer wanted": lambda want, live: want.pop("spec"),
    "a field is gone": lambda want, live: live["spec"].pop("size"),
    "somebody else took a field": lambda want, live: owned(live)["f:spec"].pop("f:size"),
    "a value within a whole": lambda want, live: live["spec"]["atomic"]["x"].append(3),
    "something for nothing": lambda want, live: want["spec"].update(empty={"x": 1}),
    "an item is changed": lambda want, live: want["spec"]["ports"][0].update(port=81),
    "an item of theirs is changed": lambda want, live: live["spec"]["ports"][0].update(port=81),
    "an item is no longer wanted": lambda want, live: want["spec"]["ports"].pop(),
    "an item is renamed": lambda want, live: want["spec"]["ports"][0].update(name="web"),
    "an item is there twice": lambda want, live: live["spec"]["ports"].append(
        {"name": "http", "port": 80}
    ),
    "items in another order": lambda want, live: want["spec"]["ports"].reverse(),
    "values in another order": lambda want, live: want["spec"]["kinds"].reverse(),
    "a value is gone": lambda want, live: live["spec"]["kinds"].remove("a"),
    "a list for a map": lambda want, live: want["metadata"].update(labels=["team"]),
    "a map for a value": lambda want, live: want["spec"].update(size={"a": 1}),
    "items that are known by their place": lambda want, live: owned(live)["f:spec"].update(
        {"f:ports": {"i:0": {}, "i:1": {}}}
    ),
    "it is being deleted": lambda want, live: live["metadata"].update(
        deletionTimestamp="2026-01-01T00:00:00Z"
    ),
    "another version": lambda want, live: want.update(apiVersion="example.com/v2"),
    "another name": lambda want, live: want["metadata"].update(name="b"),
    "never applied": lambda want, live: live["metadata"].pop("managedFields"),
    "made by an update": lambda want, live: live["metadata"]["managedFields"][2].update(
        operation="Update"
    ),
    "applied by somebody else": lambda want, live: live["metadata"]["managedFields"][2].update(
        manager="kubectl"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_to_be_applied(change: str) -> None:
    manifest, live = standing()
    CHANGES[change](manifest, live)
    assert not stands(live, manifest, US)


def test_an_object_of_which_nothing_is_said_has_no_manager() -> None:
    manifest = {**MANIFEST, "metadata": {"name": "a", "namespace": "ns"}}
    del manifest["spec"]
    live = copy.deepcopy(manifest)
    assert stands(live, manifest, US)
    live["metadata"]["managedFields"] = [entry({"f:spec": {"f:size": {}}})]
    assert not stands(live, manifest, US)
