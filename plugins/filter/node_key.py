# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter node_key; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_key
short_description: The part of an object's name that stands for a node
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Herald's ServiceAccounts are named C(agent-<key>), and the leases of presences C(presence-<key>). The key is the
    node's name up to 200 characters, and its first 183, a hyphen and a hash of the whole beyond.
options:
  _input:
    description:
      - A node's name.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the ServiceAccount of a node's agent
  ansible.builtin.debug:
    msg: "agent-{{ 'n1.example.com' | baremetal.herald.node_key }}"
    # => agent-n1.example.com
"""

RETURN = r"""
_value:
  description: The key.
  type: str
"""

from collections.abc import Callable

from ansible_collections.baremetal.herald.plugins.module_utils._names import node_key


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Filters by name."""
        return {"node_key": node_key}
