#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: purge
short_description: Remove what Herald's agents left in a cluster
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Removes the agents' leases with their finalizers, and takes Herald's addresses and conditions from the status of
    Services, and the annotation C(herald.dev/drain) from Nodes.
  - Refuses while an agent is alive, since its addresses would be announced on. Part of uninstalling.
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
  namespace:
    description:
      - The namespace of the leases.
    type: str
    default: herald-system
"""

EXAMPLES = r"""
- name: Remove what the agents left, once they are stopped
  baremetal.herald.purge:
"""

RETURN = r"""
leases:
  description: Names of the leases that were removed.
  returned: success
  type: list
  elements: str
services:
  description: Namespace and name of the Services whose status was changed.
  returned: success
  type: list
  elements: str
  sample: [default/web]
nodes:
  description: Names of the Nodes that were drained.
  returned: success
  type: list
  elements: str
  sample: [n1]
"""

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._leases import (
    LEASES,
    SERVICES,
    address,
    disown,
    is_ours,
    living,
    remove,
)
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._names import NAMESPACE

NODES = Resource("", "v1", "nodes", "Node")
DRAIN = "herald.dev/drain"


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={**CONNECTION_SPEC, "namespace": {"type": "str", "default": NAMESPACE}},
        supports_check_mode=True,
    )
    try:
        result = purge(connect(module), module.params["namespace"])
    except HeraldError as error:
        module.fail_json(msg=str(error))
    diff = {"before": result, "after": {what: [] for what in result}}
    module.exit_json(changed=any(result.values()), diff=diff, **result)


def purge(client: Client, namespace: str) -> dict:
    """Leases last: where this is interrupted, they still say which addresses are Herald's. Raises HeraldError."""
    leases = [lease for lease in client.list(LEASES, namespace) if is_ours(lease)]
    # A dry run happens while the agents run that the real one would have stopped.
    alive = [] if client.dry_run else living(client, leases, namespace)
    if alive:
        raise HeraldError(
            f"agents: wanted none alive, found those of {', '.join(alive)}; stop them (systemctl stop herald-agent), "
            "or remove them by the playbook uninstall"
        )
    addresses = {address(lease) for lease in leases} - {""}
    services = [
        f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        for service in client.list(SERVICES)
        if disown(client, service, addresses)
    ]
    nodes = [
        node["metadata"]["name"]
        for node in client.list(NODES)
        if DRAIN in (node["metadata"].get("annotations") or {})
    ]
    for name in nodes:
        client.patch(NODES, name, {"metadata": {"annotations": {DRAIN: None}}})
    for lease in leases:
        remove(client, lease, namespace)
    return {
        "leases": sorted(lease["metadata"]["name"] for lease in leases),
        "services": services,
        "nodes": nodes,
    }


if __name__ == "__main__":
    main()
