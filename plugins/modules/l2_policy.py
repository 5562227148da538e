#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: l2_policy
short_description: Manage which nodes announce which Services' addresses
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Makes, changes and removes C(L2AnnouncementPolicy) objects, which say which nodes announce the addresses of which
    Services by ARP and NDP, and on which interfaces.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.object
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._object
  - baremetal.herald._connection
options:
  name:
    description:
      - Name of the policy. Either this or O(policies).
    type: str
  policies:
    description:
      - Several policies at once, each with the options of a single one. Faster than a loop.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the policy.
        type: str
        required: true
      labels: &labels
        description:
          - Labels to have on the object; others are left alone.
        type: dict
      annotations: &annotations
        description:
          - Annotations to have on the object; others are left alone.
        type: dict
      service_selector: &service_selector
        description:
          - Services that the policy is for; left out, all.
          - The labels C(io.kubernetes.service.namespace) and C(io.kubernetes.service.name) stand for the Service's
            namespace and name.
        type: dict
        suboptions: &selector
          match_labels:
            description:
              - Labels that must all be there, with these values.
            type: dict
          match_expressions:
            description:
              - Requirements that must all be met.
            type: list
            elements: dict
            suboptions:
              key:
                description:
                  - The label.
                type: str
                required: true
              operator:
                description:
                  - How the label relates to C(values).
                type: str
                required: true
                choices: [In, NotIn, Exists, DoesNotExist]
              values:
                description:
                  - One or more values with C(In) and C(NotIn), else none.
                type: list
                elements: str
      node_selector: &node_selector
        description:
          - Nodes that may announce; left out, all.
        type: dict
        suboptions: *selector
      interfaces: &interfaces
        description:
          - Regular expressions (valid in RE2 and in Python, unanchored, up to 64 characters) of the interfaces to
            announce on; one that matches is enough.
          - Left out, every Layer-3 device with carrier but container plumbing.
        type: list
        elements: str
      load_balancer_ips: &load_balancer_ips
        description:
          - Whether addresses that Herald gave are announced.
          - This or C(external_ips) must be true with O(state=present).
        type: bool
        default: false
      external_ips: &external_ips
        description:
          - Whether the Services' C(spec.externalIPs) are announced.
        type: bool
        default: false
      preferred_nodes: &preferred_nodes
        description:
          - Nodes that get more addresses than others.
        type: list
        elements: dict
        suboptions:
          node_selector:
            description:
              - The nodes that are preferred.
            type: dict
            required: true
            suboptions: *selector
          weight:
            description:
              - How much, from V(1) to V(100).
            type: int
            required: true
      answer_ping: &answer_ping
        description:
          - Whether ICMP echo requests to the addresses are answered.
        type: bool
        default: true
      segment_health: &segment_health
        description:
          - Whether an interface on which nobody is heard, while other nodes hear each other, loses its addresses.
        type: bool
        default: true
  labels: *labels
  annotations: *annotations
  service_selector: *service_selector
  node_selector: *node_selector
  interfaces: *interfaces
  load_balancer_ips: *load_balancer_ips
  external_ips: *external_ips
  preferred_nodes: *preferred_nodes
  answer_ping: *answer_ping
  segment_health: *segment_health
seealso:
  - module: baremetal.herald.ip_pool
"""

EXAMPLES = r"""
- name: Announce every address that Herald gives, from any node
  baremetal.herald.l2_policy:
    name: everywhere
    load_balancer_ips: true

- name: Announce the shop's addresses from edge nodes, on their front interfaces
  baremetal.herald.l2_policy:
    name: shop
    load_balancer_ips: true
    external_ips: true
    service_selector:
      match_labels:
        io.kubernetes.service.namespace: shop
    node_selector:
      match_expressions:
        - key: example.com/role
          operator: In
          values: [edge]
    interfaces:
      - ^front[0-9]+$
    wait: true

- name: Remove a policy
  baremetal.herald.l2_policy:
    name: everywhere
    state: absent
"""

RETURN = r"""
name:
  description: Name of the policy.
  returned: when O(name) is given
  type: str
action:
  description: What was done, or would be in check mode; C(created), C(updated), C(deleted) or C(unchanged).
  returned: when O(name) is given
  type: str
  sample: created
resource:
  description: The policy as it is now; empty when it is gone.
  returned: when O(name) is given
  type: dict
  sample:
    apiVersion: herald.dev/v1alpha1
    kind: L2AnnouncementPolicy
    metadata:
      name: everywhere
    spec:
      loadBalancerIPs: true
results:
  description: One entry for each policy, in the order of the options.
  returned: when O(policies) is given
  type: list
  elements: dict
  contains:
    name:
      description: Name of the policy.
      type: str
      returned: always
    action:
      description: C(created), C(updated), C(deleted) or C(unchanged).
      type: str
      returned: always
    resource:
      description: The policy as it is now; empty when it is gone.
      type: dict
      returned: always
"""

from ansible_collections.baremetal.herald.plugins.module_utils._kind_module import run
from ansible_collections.baremetal.herald.plugins.module_utils._policy import (
    POLICY,
    policy_options,
    policy_spec,
)


def main() -> None:
    """See DOCUMENTATION."""
    run(POLICY, "policies", policy_options(), policy_spec)


if __name__ == "__main__":
    main()
