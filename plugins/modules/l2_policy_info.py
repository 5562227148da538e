#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: l2_policy_info
short_description: Read policies of announcement
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Returns C(L2AnnouncementPolicy) objects with their status.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
options:
  name:
    description:
      - Name of the policy; left out, all.
    type: str
  label_selectors:
    description:
      - Only objects with these labels, such as V(team=web) or V(tier in (a,b)).
    type: list
    elements: str
    default: []
seealso:
  - module: baremetal.herald.l2_policy
"""

EXAMPLES = r"""
- name: Read them all
  baremetal.herald.l2_policy_info:
  register: found

- name: Show how many Services they announce
  ansible.builtin.debug:
    msg: "{{ item.metadata.name }}: {{ item.status.services }}"
  loop: "{{ found.resources }}"
"""

RETURN = r"""
resources:
  description: The objects, in the order of their names; none where there is none of that name.
  returned: success
  type: list
  elements: dict
  sample:
    - apiVersion: herald.dev/v1alpha1
      kind: L2AnnouncementPolicy
      metadata:
        name: office
"""

from ansible_collections.baremetal.herald.plugins.module_utils._kind_info import run_info
from ansible_collections.baremetal.herald.plugins.module_utils._policy import POLICY


def main() -> None:
    """See DOCUMENTATION."""
    run_info(POLICY)


if __name__ == "__main__":
    main()
