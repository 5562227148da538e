# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ip_pool_info and l2_policy_info have in common."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._diff import plain
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule


def run_info(resource: Resource) -> None:
    """The whole of a module."""
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            "name": {"type": "str"},
            "label_selectors": {"type": "list", "elements": "str", "default": []},
        },
        mutually_exclusive=[("name", "label_selectors")],
        supports_check_mode=True,
    )
    try:
        found = find(
            connect(module), resource, module.params["name"], module.params["label_selectors"]
        )
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, resources=found)


def find(
    client: Client, resource: Resource, name: str | None, selectors: list[str]
) -> list[dict[str, Any]]:
    """The object of that name, or all that the selectors let through, in the order of their names."""
    if name:
        one = client.get(resource, name)
        return [plain(one)] if one else []
    query = {"labelSelector": ",".join(selectors)} if selectors else {}
    return sorted(
        (plain(obj) for obj in client.list(resource, **query)),
        key=lambda obj: obj["metadata"]["name"],
    )
