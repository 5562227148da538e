# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Names, addresses and folders of a lab.

Every lab has network namespaces, a cgroup and folders of its own, so several exist side by side;
addresses and names inside are the same in all of them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from herald_lab.commands import LabError

API_PORT = 6443
ANOTHER_API_PORT = 7443  # where a second API server listens, once it is started
GATE_PORT = 16443  # where the API server's faulty stand-in listens (gate.py)
SERVICE_RANGES = ("10.96.0.0/16", "fd00:96::/112")
BRIDGE = "br-lan"
NODE_LINK = "host0"  # systemd-nspawn's name for a container's end of its veth
MANAGEMENT_BRIDGE = "br-mgmt"
MANAGEMENT_LINK = "mgmt0"
STATE_ROOT = Path("/run/herald-lab")
DISK_ROOT = Path("/var/tmp/herald-lab")
SOURCES = Path(__file__).resolve().parent.parent  # tests/lab


@dataclass(frozen=True, slots=True)
class Host:
    """A machine on the lab's switch: the last part of its addresses says which."""

    name: str
    number: int

    @property
    def ipv4(self) -> IPv4Address:
        return IPv4Address(f"192.168.77.{self.number}")

    @property
    def ipv6(self) -> IPv6Address:
        return IPv6Address(f"fd77:77::{self.number}")  # ::11 is written as people read it

    @property
    def addresses(self) -> tuple[str, str]:
        return str(self.ipv4), str(self.ipv6)

    @property
    def mac(self) -> str:
        return f"02:77:00:00:00:{self.number:02}"

    @property
    def port(self) -> str:
        """The switch port: the bridge's end of the veth, as systemd-nspawn names it."""
        return f"vb-{self.name}"

    @property
    def management(self) -> IPv4Address:
        """Its address on the second network, where no client is."""
        return IPv4Address(f"192.168.78.{self.number}")

    @property
    def management_port(self) -> str:
        return f"vm-{self.name}"


API = Host("api", 1)
CLIENT = Host("client", 9)
NODES = (Host("n1", 11), Host("n2", 12), Host("n3", 13))


def node(name: str) -> Host:
    """The node of that name."""
    for host in NODES:
        if host.name == name:
            return host
    raise LabError(f"node: wanted one of {', '.join(h.name for h in NODES)}, found {name!r}")


@dataclass(frozen=True)
class Lab:
    """Where everything of the lab called `name` is."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", self.name):
            raise LabError(
                "lab name: wanted up to 32 lower-case letters, digits and inner dashes, "
                f"found {self.name!r}"
            )

    @property
    def state(self) -> Path:
        """Small files, secrets among them; gone with `lab down`, and with a reboot."""
        return STATE_ROOT / self.name

    @property
    def disk(self) -> Path:
        """The nodes' disks and etcd's: large, kept through a node's loss of power."""
        return DISK_ROOT / self.name

    @property
    def lock(self) -> Path:
        return STATE_ROOT / f"{self.name}.lock"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def release(self) -> str:
        """The Debian release of the nodes, as `lab up` noted it."""
        return (self.state / "release").read_text()

    @property
    def ready(self) -> Path:
        """Exists once `lab up` has come to its end."""
        return self.state / "ready"

    @property
    def netns(self) -> Path:
        return Path("/run/netns") / f"herald-{self.name}"

    @property
    def client_netns(self) -> Path:
        return Path("/run/netns") / f"herald-{self.name}-client"

    @cached_property
    def cgroup(self) -> Path:
        """Every process of the lab is in this cgroup or below: `lab down` ends no other."""
        return cgroup2() / "herald-lab" / self.name

    def node_cgroup(self, name: str) -> Path:
        return self.cgroup / "nodes" / name

    def node_disk(self, name: str) -> Path:
        return self.disk / "nodes" / name


def cgroup2() -> Path:
    """The cgroup v2 hierarchy: the only one, or beside the older ones (systemd's "hybrid")."""
    for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (folder / "cgroup.procs").exists() and (folder / "cgroup.controllers").exists():
            return folder
    raise LabError(
        "cgroups: wanted a cgroup2 file system at /sys/fs/cgroup or /sys/fs/cgroup/unified, "
        "found none; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    )


def cache() -> Path:
    """What is slow to make and depends on nothing but its recipe is kept here."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("HERALD_CACHE") or f"{home}/herald")
