#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: What Herald must know of a cluster
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Says how the cluster's API is reached and verified, its version and nodes, and how kube-proxy works.
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
  - baremetal.herald._attributes.actiongroup_k8s
  - baremetal.herald._connection
"""

EXAMPLES = r"""
- name: Look at the cluster
  baremetal.herald.cluster_info:
  register: cluster

- name: Show its version
  ansible.builtin.debug:
    var: cluster.version
"""

RETURN = r"""
server:
  description: URL of the API server that answered.
  returned: success
  type: str
  sample: https://192.0.2.2:6443
ca:
  description: The CA certificates that the API server was verified by, in PEM; empty where the system's were used.
  returned: success
  type: str
version:
  description: The API server's version, major and minor.
  returned: success
  type: str
  sample: '1.32'
nodes:
  description: Names of the cluster's nodes.
  returned: success
  type: list
  elements: str
kube_proxy:
  description:
    - How kube-proxy works, where its ConfigMap is in C(kube-system) as C(kubeadm) puts it there; else empty.
  returned: success
  type: dict
  contains:
    mode:
      description: The mode; empty for the default.
      type: str
      returned: when known
    strict_arp:
      description: Whether C(ipvs.strictARP) is set.
      type: bool
      returned: when known
"""

import re

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    client_of,
)
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule

NODES = Resource("", "v1", "nodes", "Node")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


def main() -> None:
    """See DOCUMENTATION."""
    module = ClusterModule(argument_spec=dict(CONNECTION_SPEC), supports_check_mode=True)
    try:
        client, configuration = client_of(module.params, module.check_mode)
        info = look(client)
        info["server"] = configuration.host
        info["ca"] = authorities(configuration)
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **info)


def look(client: Client) -> dict:
    """What the API says. Raises HeraldError."""
    version = client.request("GET", "/version")
    minor = re.match(r"\d+", version["minor"])
    return {
        "version": f"{version['major']}.{minor.group() if minor else version['minor']}",
        "nodes": sorted(node["metadata"]["name"] for node in client.list(NODES)),
        "kube_proxy": kube_proxy(client),
    }


def kube_proxy(client: Client) -> dict:
    """Mode and strictARP from kubeadm's ConfigMap; nothing where there is none, or none that we may read."""
    try:
        found = client.get(CONFIG_MAPS, "kube-proxy", "kube-system")
    except ApiError as error:
        if error.status == 403:
            return {}
        raise
    text = ((found or {}).get("data") or {}).get("config.conf")
    if text is None:
        return {}
    # The two keys are all that is wanted of the file, and YAML is no part of Python.
    mode = re.search(r'^mode:\s*"?(\w*)"?\s*$', text, re.MULTILINE)
    strict = re.search(r"^\s+strictARP:\s*(\w+)\s*$", text, re.MULTILINE)
    return {
        "mode": mode.group(1) if mode else "",
        "strict_arp": bool(strict and strict.group(1) == "true"),
    }


def authorities(configuration: object) -> str:
    """The CA certificates of a connection, as text."""
    data = getattr(configuration, "ca_cert_data", None)
    if data:
        return data if isinstance(data, str) else data.decode("ascii")
    path = getattr(configuration, "ssl_ca_cert", None)
    if not path:
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    main()
