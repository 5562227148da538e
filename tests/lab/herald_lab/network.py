# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The lab's networks: a namespace with the switches, and one with the client.

Nothing touches the machine's own network. The nodes plug themselves in when they boot.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from herald_lab.commands import LabError, run
from herald_lab.layout import API, BRIDGE, CLIENT, MANAGEMENT_BRIDGE, Host, Lab

CLONE_NEWNET = 0x40000000  # sched.h

# Forwarding without a route out: what asks for the world outside learns at once that there is none.
_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.accept_dad": "0",
}


@contextmanager
def entered(netns: Path) -> Iterator[None]:
    """The calling thread in another network namespace: sockets opened here belong to it for good."""
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        try:
            with netns.open("rb") as there:
                _setns(there.fileno())
        except FileNotFoundError:
            raise LabError(f"{netns} is not there: `lab up` first") from None
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(descriptor: int) -> None:
    """setns(2), which the os module has only from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise LabError(f"cannot enter the lab's network: {os.strerror(code)} (are you root?)")


def make(lab: Lab) -> None:
    """Both namespaces, the switches, and the client plugged in."""
    for netns in (lab.netns, lab.client_netns):
        run("ip", "netns", "add", netns.name)
        run("ip", "link", "set", "lo", "up", netns=netns)
        run("sysctl", "-qw", *(f"{k}={v}" for k, v in _SYSCTLS.items()), netns=netns)
    batch = f"""
        link add {BRIDGE} address {API.mac} type bridge stp_state 0 forward_delay 0
        link set {BRIDGE} up
        {_addresses(API, BRIDGE)}
        link add {MANAGEMENT_BRIDGE} type bridge stp_state 0 forward_delay 0
        link set {MANAGEMENT_BRIDGE} up
        addr add {API.management}/24 dev {MANAGEMENT_BRIDGE}
        link add {CLIENT.port} type veth peer name lan address {CLIENT.mac} netns {lab.client_netns.name}
        link set {CLIENT.port} master {BRIDGE} up
    """
    run("ip", "-batch", "-", netns=lab.netns, stdin=batch)
    batch = f"""
        link set lan up
        {_addresses(CLIENT, "lan")}
        route add default via {API.ipv4}
        route add default via {API.ipv6}
    """
    run("ip", "-batch", "-", netns=lab.client_netns, stdin=batch)


def remove(lab: Lab) -> None:
    """Both namespaces and all that is in them; what is not there is no fault."""
    for netns in (lab.client_netns, lab.netns):
        if netns.exists():
            with suppress(LabError):  # made by half: a file that is no namespace
                for name in _links(netns):
                    run("ip", "link", "delete", name, netns=netns, check=False)
            run("ip", "netns", "delete", netns.name, check=False)
            netns.unlink(missing_ok=True)


def _links(netns: Path) -> list[str]:
    """Deleted one by one: a namespace's own end comes later, by the kernel's leave."""
    lines = run("ip", "-brief", "link", netns=netns).splitlines()
    return [name for line in lines if (name := line.split()[0].partition("@")[0]) != "lo"]


def _addresses(host: Host, link: str) -> str:
    return (
        f"addr add {host.ipv4}/24 dev {link}\n"
        f"addr add {host.ipv6}/64 dev {link} nodad"
    )  # fmt: skip
