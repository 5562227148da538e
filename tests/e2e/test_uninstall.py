# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""playbooks/uninstall.yml leaves nothing behind, and Herald can be installed again. The last test by its name: it takes
away what the others stand on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from watched import NAMESPACE, await_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
NODES = ("n1", "n2", "n3")
FILES = "find / -xdev -path /var/log -prune -o -iname '*herald*' -print"
VOLATILE = "find /run /tmp /dev/shm /sys/fs/bpf -iname '*herald*'"
# How many programs there are on the tcx ingress of a device: bpf(2), BPF_PROG_QUERY. This system's tools show none.
ATTACHED = """
import ctypes, platform, socket, struct
ids = (ctypes.c_uint32 * 64)()
wanted = struct.pack("=IIIIQI36x", socket.if_nametoindex("host0"), 46, 0, 0, ctypes.addressof(ids), 64)
attributes = ctypes.create_string_buffer(wanted, 64)
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
assert libc.syscall(number, 16, attributes, 64) == 0, ctypes.get_errno()
print(struct.unpack_from("=I", attributes, 24)[0])
"""


def test_uninstall_leaves_nothing_and_herald_can_be_installed_again(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None]
) -> None:
    name, (address,) = service("web")
    wait_for("the address to be announced", lambda: herald.holder(address) in NODES)

    assert [attached(herald, node) for node in NODES] == ["1", "1", "1"]

    herald.playbook(PLAYBOOKS / "uninstall.yml")
    try:
        for node in NODES:
            assert left_on(herald, node) == {}, node
        assert left_in_the_cluster(herald) == {}
        assert given(herald, name) == []
        recap = herald.playbook(PLAYBOOKS / "uninstall.yml").partition("PLAY RECAP")[2]
        assert re.findall(r"changed=(\d+)", recap) == ["0"] * 4, recap
    finally:
        herald.playbook(PLAYBOOKS / "site.yml")
    await_health(herald)
    wait_for("the Service to have an address again", lambda: given(herald, name) != [])
    (again,) = given(herald, name)
    page = ("client", "--", "curl", "-s", "-m", "2", f"http://{again}/")
    wait_for("the client to get a page", lambda: herald.attempt(*page).returncode == 0)


def left_on(lab: Lab, node: str) -> dict[str, str]:
    """Everything on a node that bears Herald's name, by where it was looked for."""
    found = {
        "units": lab.exec(node, "systemctl", "list-units", "--all", "--no-legend", "*herald*"),
        "unit files": lab.exec(
            node, "systemctl", "list-unit-files", "--no-legend", "*herald*", check=False
        ),
        "files": lab.exec(node, "sh", "-c", FILES),
        "volatile files": lab.exec(node, "sh", "-c", VOLATILE, check=False),
        "users": lab.exec(node, "getent", "passwd", "herald", check=False),
        "groups": lab.exec(node, "getent", "group", "herald", check=False),
        "processes": lab.exec(node, "pgrep", "--list-full", "herald", check=False),
        "tcx programs": attached(lab, node).replace("0", ""),
        "tc filters": lab.exec(node, "tc", "filter", "show", "dev", "host0", "ingress"),
        "clsact": "".join(
            line for line in lab.exec(node, "tc", "qdisc", "show").splitlines() if "clsact" in line
        ),
    }
    return {place: words for place, words in found.items() if words.strip()}


def attached(lab: Lab, node: str) -> str:
    return lab.exec(node, "/usr/bin/python3", "-I", "-c", ATTACHED).strip()


def left_in_the_cluster(lab: Lab) -> dict[str, str]:
    kinds = (
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "clusterroles",
        "clusterrolebindings",
        "namespaces",
        "flowschemas",
    )
    found = {kind: lab.kubectl("get", kind, "--output", "name") for kind in kinds}
    found = {
        kind: "\n".join(line for line in names.splitlines() if "herald" in line)
        for kind, names in found.items()
    }
    found["leases"] = lab.kubectl(
        "get", "leases", "--namespace", NAMESPACE, "--output", "name", "--ignore-not-found"
    )
    return {kind: names for kind, names in found.items() if names.strip()}


def given(lab: Lab, service: str) -> list[str]:
    status = lab.get("service", service)["status"]
    return [entry["ip"] for entry in status.get("loadBalancer", {}).get("ingress", [])]
