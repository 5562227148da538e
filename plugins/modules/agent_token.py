#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_token
short_description: Give a node's agent a token
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Asks the API server (TokenRequest) for a token of the ServiceAccount of a node's agent, unless the one that the
    agent has will do. The agent renews it by itself long before it ends.
  - The token is in the return value, so a task that uses this module needs C(no_log=true).
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
attributes:
  check_mode:
    support: full
    details:
      - Says whether a token would be asked for, and asks for none.
  diff_mode:
    support: none
    details:
      - A token is never shown.
  idempotent:
    support: full
    details:
      - With the O(claims) of a token that will do, nothing is asked for.
options:
  node_name:
    description:
      - The node's name in Kubernetes.
    type: str
    required: true
  namespace:
    description:
      - The namespace of Herald's ServiceAccounts.
    type: str
    default: herald-system
  claims:
    description:
      - What M(baremetal.herald.agent_token_info) says of the token that the agent has.
    type: dict
    default: {}
  expiration_seconds:
    description:
      - How long the token is to last; the API server may give less.
    type: int
    default: 86400
  renew_before:
    description:
      - How many seconds the agent's token must have left for it to do.
    type: int
    default: 3600
seealso:
  - module: baremetal.herald.agent_token_info
"""

EXAMPLES = r"""
- name: See which token the agent has
  baremetal.herald.agent_token_info:
  register: current

- name: Ask for a token unless it will do
  baremetal.herald.agent_token:
    node_name: n1
    claims: "{{ current.claims }}"
  delegate_to: localhost
  no_log: true
  register: asked
"""

RETURN = r"""
token:
  description: The token.
  returned: when one was asked for
  type: str
reason:
  description: Why a token was asked for; empty where the agent's will do.
  returned: success
  type: str
  sample: there is no readable token
service_account:
  description: Name of the agent's ServiceAccount.
  returned: success
  type: str
  sample: agent-n1
"""

import time

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._names import (
    NAMESPACE,
    service_account,
)
from ansible_collections.baremetal.herald.plugins.module_utils._token import fault

ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            "node_name": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": NAMESPACE},
            "claims": {"type": "dict", "default": {}},
            "expiration_seconds": {"type": "int", "default": 86400},
            "renew_before": {"type": "int", "default": 3600, "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        result = settle(connect(module), module.params, time.time())
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def settle(client: Client, params: dict, now: float) -> dict:
    """Ask for a token where one is needed. C(now) is in seconds since 1970. Raises HeraldError."""
    name, namespace = service_account(params["node_name"]), params["namespace"]
    account = client.get(ACCOUNTS, name, namespace)
    if account is None:
        if client.dry_run:
            return {
                "changed": True,
                "service_account": name,
                "reason": "there is no ServiceAccount yet",
            }
        raise HeraldError(
            f"node_name: wanted a node whose agent has the ServiceAccount {name} in namespace {namespace}, found none "
            f"for {params['node_name']}: run the role baremetal.herald.cluster for it first"
        )
    subject = f"system:serviceaccount:{namespace}:{name}"
    reason = fault(
        params["claims"], subject, account["metadata"]["uid"], now, params["renew_before"]
    )
    result = {"changed": bool(reason), "service_account": name, "reason": reason}
    if reason and not client.dry_run:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": params["expiration_seconds"]},
        }
        answer = client.request("POST", ACCOUNTS.path(name, namespace, "token"), body=body)
        result["token"] = answer["status"]["token"]
    return result


if __name__ == "__main__":
    main()
