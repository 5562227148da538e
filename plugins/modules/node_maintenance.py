#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_maintenance
short_description: Move all addresses off a node, and let it have some again
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Drains a node of the addresses that it announces, by the annotation C(herald.dev/drain) of the Node. Each is handed
    over to another node without a request being lost. The node takes none until it is active again.
  - What no other node may announce stays, and is served on, which is an error with O(wait).
  - Pods are not moved; C(kubectl drain) does that.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - The node's name in Kubernetes.
    type: str
    required: true
  state:
    description:
      - V(drained) moves its addresses to other nodes, V(active) lets it have some again.
    type: str
    choices: [drained, active]
    required: true
  wait:
    description:
      - Whether to wait, with O(state=drained), until the last address has moved to another node.
    type: bool
    default: true
  wait_timeout:
    description:
      - How long to wait, in seconds.
    type: int
    default: 60
  namespace:
    description:
      - The namespace of Herald's leases.
    type: str
    default: herald-system
"""

EXAMPLES = r"""
- name: Move all addresses off the node before its switch is replaced
  baremetal.herald.node_maintenance:
    name: n1
    state: drained

- name: Let it have some again
  baremetal.herald.node_maintenance:
    name: n1
    state: active
"""

RETURN = r"""
addresses:
  description: The addresses that the node announces now; in check mode, those that it would.
  returned: success
  type: list
  elements: str
"""

import copy

from ansible_collections.baremetal.herald.plugins.module_utils._announcements import (
    held_by,
    left_by,
)
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._diff import diff
from ansible_collections.baremetal.herald.plugins.module_utils._errors import (
    ApiError,
    BadOption,
    HeraldError,
)
from ansible_collections.baremetal.herald.plugins.module_utils._leases import LEASES
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._names import NAMESPACE
from ansible_collections.baremetal.herald.plugins.module_utils._runner import await_each

NODES = Resource("", "v1", "nodes", "Node")
DRAIN = "herald.dev/drain"
TRIES = 5


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "active"], "required": True},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 60},
            "namespace": {"type": "str", "default": NAMESPACE},
        },
        supports_check_mode=True,
    )
    params = module.params
    drained = params["state"] == "drained"
    try:
        client = connect(module)
        before, after = mark(client, params["name"], drained)
        if drained and params["wait"] and not module.check_mode:
            await_empty(client, params)
        held = announced(client, params)
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=before != after, addresses=held, diff=diff(shown(before), shown(after))
    )


def mark(client: Client, name: str, drained: bool) -> tuple[dict, dict]:
    """Set or remove the annotation; the Node before and after. Raises HeraldError."""
    attempt = 0
    while True:
        attempt += 1
        node = client.get(NODES, name)
        if node is None:
            raise BadOption("name", "a node of the cluster", name)
        wanted = copy.deepcopy(node)
        notes = wanted["metadata"].setdefault("annotations", {})
        if drained:
            notes[DRAIN] = "true"
        else:
            notes.pop(DRAIN, None)
        if (node["metadata"].get("annotations") or {}) == notes:
            return node, node
        try:
            return node, client.replace(NODES, wanted)
        except ApiError as error:
            if not error.is_outrun or attempt == TRIES:
                raise


def announced(client: Client, params: dict) -> list:
    """The addresses that the node announces afterwards; a dry run waits for none to leave it. Raises HeraldError."""
    if client.dry_run and params["wait"] and params["state"] == "drained":
        return []
    return held_by(client.list(LEASES, params["namespace"]), params["name"])


def await_empty(client: Client, params: dict) -> None:
    """Raises HeraldError that names the addresses which have not moved in time."""

    def look(name: str) -> dict:
        leases = client.list(LEASES, params["namespace"])
        return {"held": held_by(leases, name), "left": left_by(leases, name)}

    def remaining(found: dict | None) -> str:
        held, left = (found or {}).get("held"), (found or {}).get("left")
        if held:
            return (
                f"it still announces {', '.join(held)}: wanted another node that may (are the others drained, "
                "excluded, without an interface that the policy names?), and this one's agent to run"
            )
        if left:
            return (
                f"nobody announces {', '.join(left)}, which it has left: wanted another node that may (the Service's "
                "condition herald.dev/Announced says why each does not), or this one active again"
            )
        return ""

    await_each(
        [(f"Node {params['name']}", params["name"])], look, remaining, params["wait_timeout"]
    )


def shown(node: dict) -> dict:
    """What of a Node this module is about."""
    notes = node["metadata"].get("annotations") or {}
    return {
        "kind": "Node",
        "metadata": {
            "name": node["metadata"]["name"],
            "annotations": {key: value for key, value in notes.items() if key == DRAIN},
        },
    }


if __name__ == "__main__":
    main()
