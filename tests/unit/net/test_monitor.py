# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Looking at devices when something was heard, and in a network namespace of its own for real."""

from __future__ import annotations

import json
import queue
import socket
from ipaddress import ip_interface
from pathlib import Path

import pytest
from tests.unit.net.namespaces import PYTHON, run

from herald.core.election.placement import is_layer3
from herald.core.events import InterfacesSeen
from herald.core.model import Interface
from herald.net import monitor, watcher
from herald.net.messages import load
from herald.net.monitor import Monitor, read_link


class Notices:
    """Hears when the test says so."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.closed = False

    def say(self) -> None:
        self.theirs.send(b"changed")

    def fileno(self) -> int:
        return self.ours.fileno()

    def drain(self) -> None:
        try:
            while True:
                self.ours.recv(100)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.closed = True
        self.ours.close()
        self.theirs.close()


class Kernel:
    def __init__(self) -> None:
        self.interfaces = (Interface(1, "lo", b"", up=True, carrier=True),)
        self.fails = 0
        self.notices: list[Notices] = []
        self.posted: queue.Queue[InterfacesSeen] = queue.Queue()

    def read(self) -> tuple[Interface, ...]:
        if self.fails:
            self.fails -= 1
            raise OSError("no buffer space")
        return self.interfaces

    def subscribe(self) -> Notices:
        self.notices.append(Notices())
        return self.notices[-1]

    def add(self, index: int) -> None:
        new = Interface(index, f"eth{index}", bytes(6), up=True, carrier=True)
        self.interfaces = (*self.interfaces, new)

    def seen(self) -> tuple[Interface, ...]:
        return self.posted.get(timeout=10).interfaces


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def watching(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Monitor:
    monkeypatch.setattr(watcher, "RETRY", 0.01)
    monkeypatch.setattr(monitor, "SPACING", 0.01)
    return Monitor(kernel.posted.put, kernel.read, kernel.subscribe)


def test_the_devices_are_posted_at_the_start_and_after_a_change(
    kernel: Kernel, watching: Monitor
) -> None:
    watching.start()
    assert kernel.seen() == kernel.interfaces
    kernel.add(2)
    kernel.notices[0].say()
    assert kernel.seen() == kernel.interfaces
    watching.stop()
    assert kernel.notices[0].closed


def test_notices_that_change_nothing_are_not_passed_on(kernel: Kernel, watching: Monitor) -> None:
    watching.start()
    kernel.seen()
    kernel.notices[0].say()
    kernel.add(2)
    kernel.notices[0].say()
    assert kernel.seen() == kernel.interfaces
    watching.stop()
    assert kernel.posted.empty()


def test_without_a_notice_it_looks_again_all_the_same(
    kernel: Kernel, watching: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "RESYNC", 0.01)
    watching.start()
    kernel.seen()
    kernel.add(2)
    while kernel.seen() != kernel.interfaces:
        pass
    watching.stop()


def test_a_failure_begins_again_with_a_new_subscription(kernel: Kernel, watching: Monitor) -> None:
    kernel.fails = 2
    watching.start()
    assert kernel.seen() == kernel.interfaces
    watching.stop()
    assert [each.closed for each in kernel.notices] == [True, True, True]


@pytest.mark.parametrize(
    ("text", "ignores"), [("0\n", False), ("1\n", True), ("2\n", True), ("", False), (None, False)]
)
def test_whether_arp_is_answered_for_addresses_of_other_devices(
    tmp_path: Path, text: str | None, ignores: bool
) -> None:
    path = tmp_path / "arp_ignore"
    if text is not None:
        path.write_text(text)
    assert monitor.arp_ignore(path) is ignores


def test_a_monitor_that_never_started_stops(watching: Monitor) -> None:
    watching.stop()


# --- The real kernel ------------------------------------------------------------------------------

LOOK = """
import json, sys
from dataclasses import asdict
from herald.net.monitor import read_interfaces
seen = [asdict(each) for each in read_interfaces()]
json.dump(seen, sys.stdout, default=lambda v: v.hex(":") if isinstance(v, bytes) else str(v))
"""

SCENE = f"""
set -e
ip link set lo up
ip link add br0 type bridge
ip link add va type veth peer name vb address 02:00:00:00:00:0b
ip link set va master br0
ip link set br0 up
ip link set va up
ip link set vb up
ip address add 192.0.2.5/24 dev vb
ip address add 2001:db8::5/64 dev vb nodad
ip address add 10.9.9.1 peer 10.9.9.2/32 dev br0
ip link add quiet type veth peer name nocarrier
ip link set nocarrier up
ip route add default via 192.0.2.1 dev vb
ip -6 route add default via fe80::1 dev vb
ip route add default metric 9 nexthop via 192.0.2.2 dev vb nexthop via 10.9.9.2 dev br0
ip route add blackhole default metric 99
ip route add 198.51.100.0/24 via 192.0.2.77 dev vb
{PYTHON} -c "$LOOK"
"""


def test_what_the_kernel_says_is_understood() -> None:
    seen = {each["name"]: each for each in json.loads(run(SCENE, LOOK=LOOK))}
    assert set(seen) >= {"lo", "br0", "va", "vb", "quiet", "nocarrier"}
    lo, br0, va, vb = seen["lo"], seen["br0"], seen["va"], seen["vb"]
    assert lo["mac"] == ""
    assert vb["mac"] == "02:00:00:00:00:0b"
    assert (vb["up"], vb["carrier"], vb["kind"], vb["master"]) == (True, True, "veth", 0)
    assert {ip_interface(each) for each in vb["addresses"]} > {
        ip_interface("192.0.2.5/24"),
        ip_interface("2001:db8::5/64"),
    }
    assert (br0["kind"], va["master"]) == ("bridge", br0["index"])
    assert vb["gateways"] == ["192.0.2.1", "192.0.2.2", "fe80::1"]
    assert br0["gateways"] == ["10.9.9.2"]
    assert va["gateways"] == []
    assert "10.9.9.1/32" in br0["addresses"]
    assert (seen["quiet"]["up"], seen["quiet"]["carrier"]) == (False, False)
    assert (seen["nocarrier"]["up"], seen["nocarrier"]["carrier"]) == (True, False)


# --- Devices that a kernel may be built without ---------------------------------------------------


def new_link(index: int, name: str, *, master: int = 0, kind: str = "", under: str = "") -> bytes:
    """RTM_NEWLINK as a kernel with that kind of device sends it. ``under``: the master's kind."""
    message = load().link()
    message["index"], message["ifi_type"], message["flags"] = index, 1, 0x11043
    info = [("IFLA_INFO_KIND", kind)] * bool(kind) + [("IFLA_INFO_SLAVE_KIND", under)] * bool(under)
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", f"02:00:00:00:00:{index:02x}"),
        *([("IFLA_MASTER", master)] if master else []),
        *([("IFLA_LINK", 2)] if kind == "vlan" else []),
        *([("IFLA_LINKINFO", {"attrs": info})] if info else []),
    ]
    message.encode()
    return bytes(message.data)


@pytest.mark.parametrize(
    ("what", "link", "layer3"),
    [
        ("a physical device", new_link(2, "eth0"), True),
        ("a VLAN on it", new_link(3, "eth0.7", kind="vlan"), True),
        ("a bond", new_link(4, "bond0", kind="bond"), True),
        ("a bond's member", new_link(5, "eth1", master=4, under="bond"), False),
        ("a VLAN on a bond", new_link(6, "bond0.7", kind="vlan"), True),
        ("a bond that is a bridge's member", new_link(7, "bond1", kind="bond", master=8, under="bridge"), False),
        ("a bridge", new_link(8, "br0", kind="bridge"), True),
        ("a team's member", new_link(9, "eth3", master=10, under="team"), False),
        ("a device in a VRF", new_link(11, "eth4", master=12, under="vrf"), True),
        ("a dummy", new_link(13, "kube-ipvs0", kind="dummy"), False),
    ],
)  # fmt: skip
def test_vlans_and_bonds_are_announced_on_and_members_are_not(
    what: str, link: bytes, layer3: bool
) -> None:
    interface = read_link(link, {}, {})
    assert interface.mac.hex(":") == f"02:00:00:00:00:{interface.index:02x}"
    assert (interface.up, interface.carrier) == (True, True)
    assert is_layer3(interface) is layer3, what


WATCH = """
import queue, subprocess, sys
from herald.net.messages import load
from herald.net.monitor import Monitor, read_link
seen = queue.Queue()
monitor = Monitor(seen.put)
monitor.start()
def until(wanted):
    while not wanted(seen.get(timeout=10).interfaces):
        pass
until(lambda all: any(i.name == "lo" for i in all))
subprocess.run("ip link add va type veth peer name vb", shell=True, check=True)
until(lambda all: any(i.name == "va" for i in all))
subprocess.run("ip link set va up; ip link set vb up", shell=True, check=True)
until(lambda all: any(i.name == "va" and i.carrier for i in all))
subprocess.run("ip link set vb down", shell=True, check=True)
until(lambda all: any(i.name == "va" and i.up and not i.carrier for i in all))
subprocess.run("ip address add 192.0.2.5/24 dev va", shell=True, check=True)
until(lambda all: any(str(a) == "192.0.2.5/24" for i in all for a in i.addresses))
subprocess.run("ip link delete va", shell=True, check=True)
until(lambda all: all and not any(i.name == "va" for i in all))
monitor.stop()
print("ended")
"""


def test_changes_are_heard() -> None:
    assert run(f'{PYTHON} -c "$WATCH"', WATCH=WATCH) == "ended\n"


BARE = """
import sys
from herald.net.messages import load
link = load().link
print("pyroute2" in sys.modules, "pyroute2.ndb.main" in sys.modules)
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
print("pyroute2.ndb.main" in sys.modules, ifinfmsg is link)
"""


def test_only_the_messages_of_pyroute2_are_imported_and_the_rest_can_be() -> None:
    assert run(f'{PYTHON} -c "$BARE"', BARE=BARE) == "False False\nTrue True\n"
