#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ip_pool
short_description: Manage pools of LoadBalancer addresses
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Makes, changes and removes C(LoadBalancerIPPool) objects, from which Herald gives addresses to Services of type
    C(LoadBalancer).
  - Addresses in use stay with their Services whatever becomes of the pool.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.object
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._object
  - baremetal.herald._connection
options:
  name:
    description:
      - Name of the pool. Either this or O(pools).
    type: str
  pools:
    description:
      - Several pools at once, each with the options of a single one. Faster than a loop.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the pool.
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
      blocks: &blocks
        description:
          - The addresses, given in this order, the lowest free address first.
          - Each block has either C(cidr), or C(start) with or without C(stop).
          - Needed with O(state=present).
        type: list
        elements: dict
        suboptions: &block
          cidr:
            description:
              - A network, such as V(192.0.2.0/28) or V(2001:db8:0:7::/112).
            type: str
          start:
            description:
              - The first address of a range; without C(stop), the only one.
            type: str
          stop:
            description:
              - The last address of the range, itself included.
            type: str
      exclude: &exclude
        description:
          - Addresses that are never given although a block holds them.
        type: list
        elements: dict
        suboptions: *block
      service_selector: &selector
        description:
          - Services that may have an address of this pool; left out, all.
          - The labels C(io.kubernetes.service.namespace) and C(io.kubernetes.service.name) stand for the Service's
            namespace and name.
        type: dict
        suboptions:
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
      allow_first_last_ips: &allow_first_last_ips
        description:
          - Whether the first and last address of a network are given too.
          - V(false) reserves them in networks of /30, /126 or larger; ranges, /31, /32, /127 and /128 are exempt.
        type: bool
        default: true
      avoid_buggy_ips: &avoid_buggy_ips
        description:
          - Whether addresses that end in C(.0) and C(.255) are never given.
        type: bool
        default: false
      auto_assign: &auto_assign
        description:
          - Whether Services that ask for nothing get an address of this pool; V(false) gives only on request.
        type: bool
        default: true
      priority: &priority
        description:
          - Pools with a lower number are asked first, from V(0) to V(65535); equal ones in the order of their names.
        type: int
        default: 100
      disabled: &disabled
        description:
          - Whether no new addresses are given; those in use stay.
        type: bool
        default: false
  labels: *labels
  annotations: *annotations
  blocks: *blocks
  exclude: *exclude
  service_selector: *selector
  allow_first_last_ips: *allow_first_last_ips
  avoid_buggy_ips: *avoid_buggy_ips
  auto_assign: *auto_assign
  priority: *priority
  disabled: *disabled
seealso:
  - module: baremetal.herald.l2_policy
"""

EXAMPLES = r"""
- name: Have a pool of 14 addresses
  baremetal.herald.ip_pool:
    name: office
    blocks:
      - cidr: 192.0.2.0/28
    allow_first_last_ips: false

- name: Have a dual-stack pool for one namespace, and wait until it is in use
  baremetal.herald.ip_pool:
    name: shop
    blocks:
      - start: 192.0.2.40
        stop: 192.0.2.59
      - cidr: 2001:db8:0:7::/112
    service_selector:
      match_labels:
        io.kubernetes.service.namespace: shop
    wait: true

- name: Have several at once
  baremetal.herald.ip_pool:
    pools:
      - name: first
        blocks: [{cidr: 192.0.2.64/28}]
        priority: 10
      - name: second
        blocks: [{cidr: 192.0.2.80/28}]

- name: Say once for all modules how the cluster is reached
  module_defaults:
    group/baremetal.herald.k8s:
      kubeconfig: ~/clusters/rack1.yml
  block:
    - name: Have a pool of one address
      baremetal.herald.ip_pool:
        name: single
        blocks: [{start: 192.0.2.99}]

- name: Remove a pool
  baremetal.herald.ip_pool:
    name: office
    state: absent
"""

RETURN = r"""
name:
  description: Name of the pool.
  returned: when O(name) is given
  type: str
action:
  description: What was done, or would be in check mode; C(created), C(updated), C(deleted) or C(unchanged).
  returned: when O(name) is given
  type: str
  sample: created
resource:
  description: The pool as it is now; empty when it is gone.
  returned: when O(name) is given
  type: dict
  sample:
    apiVersion: herald.dev/v1alpha1
    kind: LoadBalancerIPPool
    metadata:
      name: office
    spec:
      blocks:
        - cidr: 192.0.2.0/28
results:
  description: One entry for each pool, in the order of the options.
  returned: when O(pools) is given
  type: list
  elements: dict
  contains:
    name:
      description: Name of the pool.
      type: str
      returned: always
    action:
      description: C(created), C(updated), C(deleted) or C(unchanged).
      type: str
      returned: always
    resource:
      description: The pool as it is now; empty when it is gone.
      type: dict
      returned: always
"""

from ansible_collections.baremetal.herald.plugins.module_utils._kind_module import run
from ansible_collections.baremetal.herald.plugins.module_utils._pool import (
    POOL,
    pool_options,
    pool_spec,
)


def main() -> None:
    """See DOCUMENTATION."""
    run(POOL, "pools", pool_options(), pool_spec)


if __name__ == "__main__":
    main()
