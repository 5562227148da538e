# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that ip_pool and l2_policy share."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of C(module_utils/_kind_module.py)."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - Whether the objects are there, as described, or not.
      - The whole C(spec) is what this module says; options that are left out take their default.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until the condition of O(wait_condition) is met; with O(state=absent), until the objects are
        gone.
      - Conditions are set by the agents on the nodes, so there must be one.
    type: bool
    default: false
  wait_condition:
    description:
      - The condition to wait for.
    type: str
    default: Ready
  wait_timeout:
    description:
      - How long to wait, in seconds, for all objects together.
    type: int
    default: 60
"""
