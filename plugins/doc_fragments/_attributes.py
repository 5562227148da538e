# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules do in check mode, with diffs, and at a second run."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes; a module overrides the support and details of its own."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what would change without changing anything.
  diff_mode:
    description: Says what changed, or would change, in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
"""

    ACTIONGROUP_K8S = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/baremetal.herald.k8s) in C(module_defaults) to set the connection options once.
    support: full
    membership:
      - baremetal.herald.k8s
"""

    OBJECT = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - The API server itself is asked, by a dry run, what would become of the change; so what it would refuse is
        refused in check mode too.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A second run reads, and sends no write.
"""

    QUERY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Only reads.
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: full
"""
