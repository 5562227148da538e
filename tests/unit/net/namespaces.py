# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Scripts in network namespaces of their own, where the kernel is the real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import herald

PYTHON = sys.executable

TWO_HOSTS = """
set -e
unshare --net sleep 60 &
other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
ip link add va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b
ip link set vb netns $other
there="nsenter --target $other --net"
$there ip address add 192.0.2.2/24 dev vb
$there ip address add 2001:db8::2/64 dev vb nodad
$there ip link set vb up
ip address add 192.0.2.1/24 dev va
ip address add 2001:db8::1/64 dev va nodad
ip link set va up
"""
"""``va`` with 192.0.2.1 and 2001:db8::1 here; beyond it a host with .2 and ::2, entered by ``$there``."""


def run(script: str, **environment: str) -> str:
    """What a shell script in a new network namespace printed; its programs find ``herald``."""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-c", script],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(Path(herald.__file__).parent.parent),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
