#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: manifest
short_description: Apply or remove Kubernetes manifests
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Brings Kubernetes objects to what manifests say, by server-side apply. Fields that the manifests do not mention, and
    that others set, are left alone.
  - The role P(baremetal.herald.cluster#role) installs Herald's own objects with it, so that the collection needs no
    other one.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
attributes:
  check_mode:
    support: full
    details:
      - The API server is asked by a dry run. For an object in a namespace that is not there yet, nothing can be asked;
        it is reported as created.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  definitions:
    description:
      - The manifests, applied in this order and removed in the opposite one.
    type: list
    elements: dict
    required: true
  state:
    description:
      - Whether the objects are there, as described, or not.
    type: str
    choices: [present, absent]
    default: present
  force_conflicts:
    description:
      - Whether fields that somebody else manages are taken over; if V(false), that is an error.
    type: bool
    default: true
  wait:
    description:
      - Whether to wait until CustomResourceDefinitions are served; with O(state=absent), until the objects are gone.
    type: bool
    default: true
  wait_timeout:
    description:
      - How long to wait, in seconds, for all objects together.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Have a namespace
  baremetal.herald.manifest:
    definitions:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: shop

- name: Have what a file says
  baremetal.herald.manifest:
    definitions: "{{ lookup('ansible.builtin.file', 'service.yaml') | from_yaml_all }}"
"""

RETURN = r"""
results:
  description: One entry for each manifest, in the order of O(definitions).
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The object's kind.
      type: str
      returned: always
    namespace:
      description: The object's namespace; empty where it has none.
      type: str
      returned: always
    name:
      description: The object's name.
      type: str
      returned: always
    action:
      description: C(created), C(updated), C(deleted) or C(unchanged).
      type: str
      returned: always
"""

from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._diff import diff
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._manifests import (
    Manifests,
    check,
    unready,
)
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._runner import await_each, gone


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            "definitions": {"type": "list", "elements": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force_conflicts": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    present = module.params["state"] == "present"
    definitions = module.params["definitions"]
    try:
        check(definitions)
        manifests = Manifests(connect(module), module.params["force_conflicts"])
        if present:
            outcomes = [manifests.apply(item) for item in definitions]
        else:
            outcomes = [manifests.remove(item) for item in reversed(definitions)][::-1]
        if module.params["wait"] and not module.check_mode:
            await_each(
                [
                    (f"{item['kind']} {item['metadata']['name']}", item)
                    for item, done in zip(definitions, outcomes)
                    if done.action != "unchanged" or done.after
                ],
                manifests.read,
                unready if present else gone,
                module.params["wait_timeout"],
            )
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=any(done.changed for done in outcomes),
        results=[
            {
                "kind": item["kind"],
                "namespace": item["metadata"].get("namespace") or "",
                "name": item["metadata"]["name"],
                "action": done.action,
            }
            for item, done in zip(definitions, outcomes)
        ],
        diff=[diff(done.before, done.after) for done in outcomes if done.changed],
    )


if __name__ == "__main__":
    main()
