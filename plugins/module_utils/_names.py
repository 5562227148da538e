# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that the collection and the agent must agree on."""

from __future__ import annotations

import hashlib

NAMESPACE = "herald-system"
GROUP = "herald.dev"
VERSION = "v1alpha1"
FINALIZER = "herald.dev/lease"
IPAM_LEASE = "ipam"
AGENT = "agent-"
"""What the names of agents' ServiceAccounts, Roles and RoleBindings begin with."""

_KEY_MAX = 200
_KEY_HEAD = 183


def node_key(node: str) -> str:
    """The part of a Lease's or ServiceAccount's name that stands for a node.

    Node names have up to 253 characters, as object names have, and a prefix must fit before them: so it is the
    name up to 200 characters, and its first 183 and a hash beyond.
    """
    if len(node) <= _KEY_MAX:
        return node
    return "{0}-{1}".format(node[:_KEY_HEAD], hashlib.sha256(node.encode("utf-8")).hexdigest()[:16])


def service_account(node: str) -> str:
    """The ServiceAccount of a node's agent."""
    return AGENT + node_key(node)
