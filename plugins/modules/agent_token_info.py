#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_token_info
short_description: Whose token an agent has, and until when
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Reads on a node the claims of the token that Herald's agent uses. The token itself is never returned.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
options:
  path:
    description:
      - The token's file.
    type: path
    default: /var/lib/herald/token
seealso:
  - module: baremetal.herald.agent_token
"""

EXAMPLES = r"""
- name: See until when the agent's token lasts
  baremetal.herald.agent_token_info:
  register: token
"""

RETURN = r"""
claims:
  description: What the token says; empty where there is none, or none that can be read.
  returned: success
  type: dict
  contains:
    subject:
      description: The user that it stands for.
      type: str
      returned: when there is a token
      sample: system:serviceaccount:herald-system:agent-n1
    uid:
      description: The ServiceAccount's uid.
      type: str
      returned: when there is a token
    expires:
      description: When it ends, in seconds since 1970; V(0) for never.
      type: int
      returned: when there is a token
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baremetal.herald.plugins.module_utils._token import claims


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": "/var/lib/herald/token"}},
        supports_check_mode=True,
    )
    path = module.params["path"]
    try:
        with open(path, encoding="utf-8") as file:
            found = claims(file.read())
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"path: wanted a readable token at {path}, found: {error}")
    module.exit_json(changed=False, claims=found.as_dict() if found else {})


if __name__ == "__main__":
    main()
