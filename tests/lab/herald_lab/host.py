# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the lab needs of the machine that it runs on: Linux, root, and some Debian packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from herald_lab.commands import LabError, patience, run
from herald_lab.layout import cgroup2

# Package: a program that it brings, by which its presence is known.
PACKAGES = {
    "conntrack": "conntrack",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "iproute2": "ip",
    "iputils-arping": "arping",
    "iputils-ping": "ping",
    "ndisc6": "ndisc6",
    "nftables": "nft",
    "openssh-client": "ssh-keygen",
    "openssl": "openssl",
    "procps": "sysctl",
    "systemd-container": "systemd-nspawn",
    "tcpdump": "tcpdump",
    "util-linux": "nsenter",
}
HEADERS = "linux-headers-amd64"  # what the nodes' bcc compiles against, by way of /usr/src
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 1024
"""A node uses some twenty; the usual 128 are gone with the second lab."""
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def prepare() -> None:
    """Have everything installed; a machine that has it all is left as it is, and not asked twice."""
    if os.geteuid():
        raise LabError("the lab makes network namespaces and containers: run it as root")
    os.environ["PATH"] = _PATH
    cgroup2()
    _allow_watches()
    missing = [name for name, program in PACKAGES.items() if not shutil.which(program)]
    if headers() is None:
        missing.append(HEADERS)
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(
            f"programs of these Debian packages are missing: {' '.join(missing)}; "
            "there is no apt-get here, so install their like by your own means"
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with patience(f"installing {' '.join(missing)}"):
        run("apt-get", "update", "-qq", env=quiet)
        run("apt-get", "install", "-qq", "--no-install-recommends", *missing, env=quiet)


def _allow_watches() -> None:
    """Every systemd of every node watches files by inotify, all of them as the machine's root."""
    if int(INOTIFY_INSTANCES.read_text()) < INOTIFY_WANTED:
        INOTIFY_INSTANCES.write_text(str(INOTIFY_WANTED))


def headers() -> Path | None:
    """The folder to be called /lib/modules/RELEASE/build: the running kernel's own, or any other.

    BPF programs that use nothing but uapi headers compile with those of any kernel.
    """
    own = Path("/lib/modules", os.uname().release, "build")
    if (own / "include").exists():
        return own.resolve()
    others = sorted(Path("/usr/src").glob("linux-headers-*-amd64"))
    return others[-1] if others else None
