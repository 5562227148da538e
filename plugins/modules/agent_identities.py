#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_identities
short_description: Remove the identities of nodes that run no agent any more
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Removes ServiceAccount, Role and RoleBinding of every agent but those of the nodes that are named, or of these
    alone. Tokens of a removed ServiceAccount are worth nothing from then on.
  - An identity whose agent is alive is kept, and named.
  - The role P(baremetal.herald.cluster#role) makes the identities, and removes those of nodes that left the inventory.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
attributes:
  check_mode:
    support: full
    details:
      - Every write is tried as a dry run.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  nodes:
    description:
      - Names of the nodes whose agents keep their identities, or lose them, as O(state) says.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) keeps the identities of the nodes that are named and removes all others, V(absent) removes those that
        are named and keeps all others.
      - In check mode, V(absent) takes no agent for alive, since it comes after the agents are stopped.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description:
      - The namespace of Herald's ServiceAccounts.
    type: str
    default: herald-system
"""

EXAMPLES = r"""
- name: Let go the identities of nodes that left
  baremetal.herald.agent_identities:
    nodes: [n1, n2, n3]

- name: Remove the identity of a node whose agent was removed
  baremetal.herald.agent_identities:
    nodes: [n1]
    state: absent
"""

RETURN = r"""
removed:
  description: Names of the ServiceAccounts, Roles and RoleBindings that were removed.
  returned: success
  type: list
  elements: str
  sample: [agent-n4]
living:
  description: Names of those that were kept only because their agent is alive.
  returned: success
  type: list
  elements: str
  sample: [agent-n5]
"""

import time
from typing import Callable

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._leases import (
    LEASES,
    PRESENCE,
    living,
)
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._names import (
    AGENT,
    NAMESPACE,
    service_account,
)

_RBAC = "rbac.authorization.k8s.io"
# What grants goes first, and the account last: where this is interrupted, it still says that there is more to remove.
KINDS = (
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding", namespaced=True),
    Resource(_RBAC, "v1", "roles", "Role", namespaced=True),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True),
)
OURS = "app.kubernetes.io/part-of=herald,app.kubernetes.io/component=agent"


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            "nodes": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "namespace": {"type": "str", "default": NAMESPACE},
        },
        supports_check_mode=True,
    )
    params = module.params
    absent = params["state"] == "absent"
    try:
        result = prune(connect(module), set(params["nodes"]), params["namespace"], absent=absent)
    except HeraldError as error:
        module.fail_json(msg=str(error))
    diff = {"before": {"identities": result["removed"]}, "after": {"identities": []}}
    module.exit_json(changed=bool(result["removed"]), diff=diff, **result)


def prune(
    client: Client,
    nodes: set[str],
    namespace: str,
    sleep: Callable[[float], None] = time.sleep,
    absent: bool = False,
) -> dict:
    """Remove the identities of all other nodes, or of these, whose agents are not alive. Raises HeraldError."""
    named = {service_account(node) for node in nodes}
    leaving = [
        (kind, item)
        for kind in KINDS
        for item in client.list(kind, namespace, labelSelector=OURS)
        if (item["metadata"]["name"] in named) == absent
    ]
    names = {item["metadata"]["name"] for _kind, item in leaving}
    presences = {PRESENCE + name[len(AGENT) :] for name in names}
    # A dry run happens while the agents run that the real one would have stopped.
    asked = names and not (absent and client.dry_run)
    leases = [
        lease
        for lease in (client.list(LEASES, namespace) if asked else [])
        if lease["metadata"]["name"] in presences
    ]
    alive = {service_account(node) for node in living(client, leases, namespace, sleep)}
    for kind, item in leaving:
        if item["metadata"]["name"] not in alive:
            client.delete(kind, item, namespace, strict=False)
    return {"removed": sorted(names - alive), "living": sorted(names & alive)}


if __name__ == "__main__":
    main()
