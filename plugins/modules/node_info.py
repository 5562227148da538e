#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Whether a node can run Herald's agent
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Looks at kernel, BPF file system, systemd, Python, bcc and kernel headers of a node, and says what is in the way.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
options:
  python:
    description:
      - The interpreter that the agent is to run by.
    type: path
    default: /usr/bin/python3
"""

EXAMPLES = r"""
- name: See whether the node can run the agent
  baremetal.herald.node_info:
  register: node

- name: Say what is in the way
  ansible.builtin.debug:
    var: node.obstacles
"""

RETURN = r"""
obstacles:
  description: What is in the way that no package can remedy, each with what to do about it.
  returned: success
  type: list
  elements: str
missing:
  description: What packages are to bring; C(venv), C(bcc) or C(headers).
  returned: success
  type: list
  elements: str
kernel:
  description: The running kernel's release.
  returned: success
  type: str
  sample: 6.1.0-18-amd64
python:
  description: Version of the interpreter; empty where there is none.
  returned: success
  type: str
  sample: '3.11'
machine:
  description: The architecture.
  returned: success
  type: str
  sample: x86_64
systemd:
  description: Version of systemd; V(0) where it is not running.
  returned: success
  type: int
  sample: 252
free_mb:
  description: Room for the agent, in MB, on the disk of C(/opt).
  returned: success
  type: int
  sample: 5120
distribution:
  description: C(ID) of C(/etc/os-release).
  returned: success
  type: str
  sample: debian
distribution_version:
  description: C(VERSION_ID) of C(/etc/os-release).
  returned: success
  type: str
  sample: '12'
tested:
  description: Whether Herald is tested on this distribution.
  returned: success
  type: bool
"""

import glob
import os
import platform
import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baremetal.herald.plugins.module_utils._node import (
    TESTED,
    Facts,
    missing,
    obstacles,
    version,
)

# As the agent's loader looks for them.
HEADERS = (
    "/lib/modules/*/build/include/generated/autoconf.h",
    "/usr/src/linux-headers-*/include/generated/autoconf.h",
    "/usr/src/kernels/*/include/generated/autoconf.h",
    "/usr/src/linux-*-obj/*/*/include/generated/autoconf.h",
    "/sys/kernel/kheaders.tar.xz",
)
# The loader runs by the distribution's interpreter, to which bcc's binding belongs.
SYSTEM_PYTHON = "/usr/bin/python3"


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={"python": {"type": "path", "default": SYSTEM_PYTHON}},
        supports_check_mode=True,
    )
    path = module.params["python"]
    facts = Facts(
        kernel=os.uname().release,
        bpffs=has_bpffs(),
        systemd=systemd_version(module),
        python_path=path,
        python=version(ask(module, path, "import platform; print(platform.python_version())")),
        has_venv=bool(ask(module, path, "import venv, ensurepip; print(1)")),
        has_bcc=bool(
            ask(
                module,
                SYSTEM_PYTHON,
                "import importlib.util as u; print(1 if u.find_spec('bcc') else '')",
            )
        ),
        has_headers=any(glob.glob(pattern) for pattern in HEADERS),
        has_ipvs=os.path.exists("/sys/class/net/kube-ipvs0"),
        arp_ignore=arp_ignore(),
    )
    system = os_release()
    name, release = system.get("ID", ""), system.get("VERSION_ID", "")
    module.exit_json(
        changed=False,
        obstacles=obstacles(facts),
        missing=missing(facts),
        kernel=facts.kernel,
        python=".".join(str(number) for number in facts.python),
        machine=platform.machine(),
        systemd=facts.systemd,
        free_mb=free_mb(),
        distribution=name,
        distribution_version=release,
        tested=(name, release.split(".")[0]) in TESTED,
    )


def ask(module: AnsibleModule, python: str, question: str) -> str:
    """What a line of Python prints in an interpreter; nothing where it fails or there is none."""
    if not os.access(python, os.X_OK):
        return ""
    code, out, _err = module.run_command([python, "-I", "-c", question])
    return out.strip() if code == 0 else ""


def has_bpffs() -> bool:
    """Whether the BPF file system is mounted where it belongs."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(fields[1:3] == ["/sys/fs/bpf", "bpf"] for fields in map(str.split, mounts))


def free_mb() -> int:
    """What is free for a user's files where the agent is, or would be, installed."""
    path = next(path for path in ("/opt/herald", "/opt", "/") if os.path.isdir(path))
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize // 1_000_000


def arp_ignore() -> int:
    """The sysctl net.ipv4.conf.all.arp_ignore."""
    with open("/proc/sys/net/ipv4/conf/all/arp_ignore", encoding="ascii") as file:
        return int(file.read())


def systemd_version(module: AnsibleModule) -> int:
    """Its major version; 0 where it is not PID 1 (sd_booted(3))."""
    if not os.path.isdir("/run/systemd/system"):
        return 0
    _code, out, _err = module.run_command(["systemctl", "--version"])
    found = re.match(r"systemd (\d+)", out)
    return int(found.group(1)) if found else 0


def os_release() -> dict:
    """The fields of /etc/os-release, unquoted."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            pairs = [line.strip().split("=", 1) for line in file if "=" in line]
    except FileNotFoundError:
        return {}
    return {key: value.strip("\"'") for key, value in pairs}


if __name__ == "__main__":
    main()
