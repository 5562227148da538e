# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""How the operator reaches the nodes: SSH keys, known hosts, and the Ansible inventory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from herald_lab import layout
from herald_lab.commands import run
from herald_lab.layout import NODES, Host, Lab


def make(lab: Lab) -> None:
    """The operator's key and the nodes' host keys, which are known before the first connection."""
    folder = lab.state / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("operator", *(host.name for host in NODES)):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
    with (folder / "known_hosts").open("w") as known:
        for host in NODES:
            kind, key, _ = (folder / f"{host.name}.pub").read_text().split()
            known.write(f"{','.join((host.name, *host.addresses))} {kind} {key}\n")


def ssh_options(lab: Lab) -> list[str]:
    """Options that make `ssh` work from the machine as from the lab's own network."""
    proxy = f"{layout.SOURCES / 'lab'} --lab {lab.name} connect %h %p"
    return [
        *("-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"),
        *("-o", f"UserKnownHostsFile={lab.state / 'ssh/known_hosts'}"),
        *("-o", "ProxyUseFdpass=yes", "-o", f"ProxyCommand={proxy}"),
    ]


def inventory(lab: Lab, nodes: Sequence[Host] = NODES) -> dict[str, Any]:
    """The nodes as an Ansible inventory (YAML reads JSON too)."""
    options = " ".join(f"'{word}'" if " " in word else word for word in ssh_options(lab))
    hosts = {host.name: {"ansible_host": str(host.ipv4)} for host in nodes}
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    return {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(lab.state / "ssh/operator"),
                "ansible_ssh_common_args": options,
                # Ansible calls its shared connections by address alone, and labs share addresses.
                "ansible_control_path_dir": str(lab.state / "ssh/control"),
                "ansible_pipelining": True,
            },
            "children": {
                "herald": {
                    "hosts": hosts,
                    "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
                }
            },
            "hosts": {"localhost": local},
        }
    }
