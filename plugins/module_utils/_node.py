# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node must have to run the agent, judged from plain values."""

from __future__ import annotations

import re
from typing import NamedTuple

OLDEST_KERNEL = (5, 8)
"""The ring buffer map, and CAP_BPF."""
OLDEST_PYTHON = (3, 11)
TESTED = {("debian", "12"), ("debian", "13")}


class Facts(NamedTuple):
    """What was found on the node; versions as tuples of numbers, () for not there."""

    kernel: str
    bpffs: bool
    systemd: int
    python_path: str
    python: tuple[int, ...]
    has_venv: bool
    has_bcc: bool
    has_headers: bool
    has_ipvs: bool = False
    """Whether kube-proxy works by ipvs here: its device kube-ipvs0, which has every Service's address."""
    arp_ignore: int = 1
    """net.ipv4.conf.all.arp_ignore; 0 answers ARP for addresses of any device."""


def version(text: str) -> tuple[int, ...]:
    """Major and minor version at the start of a text."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def obstacles(facts: Facts) -> list[str]:
    """Why this node cannot run the agent whatever is installed: what was wanted, what found, what to do."""
    found = []
    if version(facts.kernel) < OLDEST_KERNEL:
        found.append(
            f"kernel: wanted {_dotted(OLDEST_KERNEL)} or newer, found {facts.kernel}; boot a newer one"
        )
    if not facts.bpffs:
        found.append(
            "/sys/fs/bpf: wanted the BPF file system, found none; mount it (mount -t bpf bpf /sys/fs/bpf), or in a "
            "container have it mounted by the host"
        )
    if facts.has_ipvs and not facts.arp_ignore:
        found.append(
            "kube-proxy: wanted ipvs.strictARP true with mode ipvs, found kube-ipvs0 and net.ipv4.conf.all.arp_ignore "
            "0: the node answers ARP for every address itself; set it in kube-proxy's configuration and restart it"
        )
    if not facts.systemd:
        found.append(
            "systemd: wanted as PID 1, found another; Herald's agent is supervised by systemd"
        )
    if facts.python < OLDEST_PYTHON:
        was = _dotted(facts.python) if facts.python else "none"
        found.append(
            f"herald_python: wanted Python {_dotted(OLDEST_PYTHON)} or newer at {facts.python_path}, found {was}; "
            "install one (RHEL 9: python3.11) and name its path in herald_python"
        )
    return found


def missing(facts: Facts) -> list[str]:
    """What a package can bring, by what it is for: C(venv), C(bcc), C(headers)."""
    have = {"venv": facts.has_venv, "bcc": facts.has_bcc, "headers": facts.has_headers}
    return [name for name, there in have.items() if not there]


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
