# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The file system that all nodes start from: Debian, as small as a server that boots systemd can be.

Made once by debootstrap (about a minute, 0.5 GB) and kept in the cache under the hash of its
recipe. It is never written to: each node lays its own disk over it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from herald_lab import layout
from herald_lab.commands import LabError, patience, run
from herald_lab.programs import locked

RELEASES = ("bookworm", "trixie")
"""Debian 12, which nodes are unless another is asked for, and 13."""
# What a bare-metal server has before Herald comes, and what Herald's roles ask for: nodes are
# offline, like many racks.
PACKAGES = (
    "bpftool",
    "ca-certificates",
    "conntrack",
    "curl",
    "dbus",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "ndisc6",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-bpfcc",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tcpdump",
    "udev",
)
# Each node makes or is given its own; the rest is weight.
_DROPPED = (
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/lib/dbus/machine-id",
    "var/log/*.log",
)


def release(wanted: str) -> str:
    """The release to make nodes of: the one wanted, or the first where none is."""
    if wanted and wanted not in RELEASES:
        raise LabError(f"release: wanted one of {', '.join(RELEASES)}, found {wanted!r}")
    return wanted or RELEASES[0]


def mirror() -> str:
    """Where this machine's own apt gets Debian from; a mirror has all releases."""
    lines = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)")
    for line in lines.splitlines():
        site, suite, component, *origin = line.split(" ")
        # Security and updates are archives, or suites, of their own. Origin: empty before `apt-get update`.
        of_debian = " ".join(origin) in ("Debian", "")
        if of_debian and component == "main" and "-" not in suite and site.startswith("http"):
            return site.rstrip("/")
    raise LabError(
        "the nodes' file system: wanted a mirror of Debian (http or https, component main) among apt's sources, found "
        "none: see `apt-get indextargets`, and mend /etc/apt/sources.list"
    )


def folder(suite: str) -> Path:
    """The node root of a release, made if it is not there yet."""
    source = mirror()
    recipe = f"{suite} {source} {PACKAGES} {_DROPPED}"
    kept = layout.cache() / f"node-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with locked("node"):
        if not kept.exists():
            _make(kept, suite, source)
    return kept


def _make(kept: Path, suite: str, source: str) -> None:
    partial = kept.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    include = f"--include={','.join(PACKAGES)}"
    with patience(
        f"making the nodes' file system ({suite}) with debootstrap, once: about a minute"
    ):
        run("debootstrap", "--variant=minbase", include, suite, partial, source)
    for pattern in _DROPPED:
        for path in partial.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    partial.rename(kept)
