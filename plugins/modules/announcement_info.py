#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: announcement_info
short_description: Who announces which address, and why
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Returns for each address that Herald gave which node announces it, and for each Service what Herald says of it.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
options:
  namespace:
    description:
      - The namespace of Herald's leases.
    type: str
    default: herald-system
"""

EXAMPLES = r"""
- name: See who announces what
  baremetal.herald.announcement_info:
  register: found

- name: Fail where an address is announced by nobody
  ansible.builtin.assert:
    that: found.addresses | rejectattr('node') | length == 0
"""

RETURN = r"""
addresses:
  description: One entry for each address.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: The address.
      type: str
      returned: always
      sample: 192.0.2.10
    node:
      description: The node that announces it; empty for none.
      type: str
      returned: always
    interfaces:
      description: Names and MACs of that node's interfaces that have carrier.
      type: list
      elements: dict
      returned: always
    since:
      description: When the node claimed it.
      type: str
      returned: always
    reason:
      description: Why it was last claimed or released.
      type: str
      returned: always
    pool:
      description: The pool that it is from.
      type: str
      returned: always
    services:
      description: Namespace and name of the Services that it was given to.
      type: list
      elements: str
      returned: always
services:
  description: One entry for each Service that Herald says anything of.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: The Service's namespace.
      type: str
      returned: always
    name:
      description: The Service's name.
      type: str
      returned: always
    addresses:
      description: Its addresses.
      type: list
      elements: str
      returned: always
    conditions:
      description: C(Allocated) and C(Announced), each with status, reason and message.
      type: dict
      returned: always
"""

from ansible_collections.baremetal.herald.plugins.module_utils._announcements import (
    addresses,
    services,
)
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._leases import LEASES, SERVICES
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._names import NAMESPACE


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(
        argument_spec={**CONNECTION_SPEC, "namespace": {"type": "str", "default": NAMESPACE}},
        supports_check_mode=True,
    )
    try:
        client = connect(module)
        found = {
            "addresses": addresses(client.list(LEASES, module.params["namespace"])),
            "services": services(client.list(SERVICES)),
        }
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
