# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Devices come, go, and change: the monitor's thread, the decider and the responder together keep up with them."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import pytest
from tests.bpf.frames import MAC, OTHER_MAC, OWN_MAC, VIP4, arp, arp_reply
from tests.bpf.kernel import HOUR, boottime
from tests.bpf.table import entry
from tests.bpf.wire import Wire, ip, wire

from herald.core.effects import SetAttachments
from herald.core.events import Event, InterfacesSeen, KernelRead
from herald.core.kernel import EntryKey, Session
from herald.core.model import Identity, Interface
from herald.core.settings import Settings
from herald.core.step import Decider
from herald.datapath import tcx
from herald.datapath.responder import AttachBy, Responder
from herald.net.monitor import Monitor
from herald.shell.counters import Counters
from herald.shell.hands import Hands

PROMISED = 1.0  # seconds from a change to the attachment that follows it
PATIENCE = 20.0  # seconds for the same, on a machine that is busy
ASK, ANSWER = bytes(arp()), bytes(arp_reply())


class Agent:
    """As much of the agent as follows devices."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.events: queue.Queue[Event] = queue.Queue()
        self.monitor = Monitor(self.events.put)
        self.counters = Counters()
        nobody = SimpleNamespace(reconcile=lambda: "", set=lambda _: "")
        self.hands = Hands(
            responder, nobody, nobody, nobody, nobody, self.counters, boottime, self.events.put
        )
        self.interfaces: dict[str, Interface] = {}
        self._decider = Decider(Settings(), Identity("n1", "machine", "nonce", "test"))
        self._take(KernelRead(Session(), {}))

    def _take(self, event: Event) -> None:
        if isinstance(event, InterfacesSeen):
            self.interfaces = {interface.name: interface for interface in event.interfaces}
        for effect in self._decider.step(event, boottime()):
            if isinstance(effect, SetAttachments):
                self.hands.carry_out(effect)

    def start(self) -> None:
        self.monitor.start()
        self.hands.start()

    def stop(self) -> None:
        self.monitor.stop()
        self.hands.stop()

    def follow(self, wanted: Callable[[], bool]) -> float:
        """Take what the monitor tells until it is so; the seconds that it took."""
        start = time.monotonic()
        while not wanted():
            assert time.monotonic() < start + PATIENCE, f"attached: {self.names()}"
            try:
                self._take(self.events.get(timeout=0.05))
            except queue.Empty:
                self.hands.reconcile()  # as once a second
        return time.monotonic() - start

    def names(self) -> set[str]:
        return {socket.if_indextoname(index) for index in self.responder.attached()}


@pytest.fixture
def cable() -> Iterator[Wire]:
    with wire() as laid:
        yield laid


@pytest.fixture(params=["tcx", "clsact"])
def agent(request: pytest.FixtureRequest, loaded_bpffs: Path, cable: Wire) -> Iterator[Agent]:
    """Attached to ``node``, which has an address as an announcing veth does."""
    by: AttachBy = request.param
    ip("address", "add", "192.0.2.1/24", "dev", "node")
    responder = Responder.open(loaded_bpffs, by)
    now = boottime()
    responder.set_session(now + HOUR, 0, now, hold=False)
    responder.set_entries((), {EntryKey(ip_address(VIP4), cable.ifindex): entry(now)})
    following = Agent(responder)
    following.start()
    try:
        following.follow(lambda: following.names() == {"node"})
        yield following
    finally:
        following.stop()
        for ifindex in responder.attached():
            responder.detach(ifindex)
        responder.set_entries(responder.entries().keys(), {})
        responder.set_session(0, 0, 0, hold=False)
        list(responder.events())
        responder.close()


def answer(cable: Wire) -> bytes:
    """What a request brings. A device that has just come up drops what is sent at once: ask again.

    (Bridges say things of their own, by IGMP and MLD.)
    """
    until = time.monotonic() + PATIENCE
    while True:
        cable.send(ASK)
        try:
            while (frame := cable.receive())[12:14] != ASK[12:14]:
                pass
            return frame
        except TimeoutError:
            assert time.monotonic() < until, "not answered"


def test_a_bridge_is_followed_and_its_members_are_not(agent: Agent, cable: Wire) -> None:
    """The member's MAC and address stay: it is the master that makes it none of ours."""
    ip("link", "add", "br0", "address", OTHER_MAC, "type", "bridge")
    agent.follow(lambda: agent.names() == {"node", "br0"})

    ip("link", "set", "node", "master", "br0")
    agent.follow(lambda: agent.names() == {"br0"})

    ip("link", "set", "br0", "up")
    now = boottime()
    bridge = socket.if_nametoindex("br0")
    agent.responder.set_entries((), {EntryKey(ip_address(VIP4), bridge): entry(now, mac=OTHER_MAC)})
    ip("link", "set", "node", "type", "bridge_slave", "state", "3")
    assert answer(cable) == bytes(arp_reply(own=OTHER_MAC))

    ip("link", "set", "node", "nomaster")
    agent.follow(lambda: agent.names() == {"node", "br0"})
    ip("link", "delete", "br0")
    agent.follow(lambda: agent.names() == {"node"})
    assert answer(cable) == ANSWER
    assert agent.counters.restored == 0, "what Herald did itself is nobody's interference"


def test_a_new_name_changes_nothing(agent: Agent, cable: Wire) -> None:
    ip("link", "set", "node", "down")
    ip("link", "set", "node", "name", "uplink")
    ip("link", "set", "uplink", "up")
    agent.follow(lambda: agent.names() == {"uplink"})
    assert answer(cable) == ANSWER


def test_a_new_mac_is_told(agent: Agent, cable: Wire) -> None:
    """The election fills the entry anew with it: see tests/unit/core/test_interfaces.py."""
    ip("link", "set", "node", "address", OTHER_MAC)
    agent.follow(lambda: agent.interfaces["node"].mac == MAC(OTHER_MAC))


@pytest.mark.parametrize(
    ("kind", "attached"),
    [
        (("macvlan0", "link", "node", "type", "macvlan", "mode", "bridge"), True),
        (("br9", "type", "bridge"), True),
        (("second", "type", "veth", "peer", "third"), False),
    ],
)
def test_a_device_that_comes_and_goes(agent: Agent, kind: tuple[str, ...], attached: bool) -> None:
    """Attached at once also while it is down; a veth without an address is a pod's."""
    name = kind[0]
    words = ("link", "add", *kind[1:3], "name", name, *kind[3:]) if kind[1] == "link" else (
        "link", "add", *kind)  # fmt: skip
    ip(*words)
    if attached:
        agent.follow(lambda: agent.names() == {"node", name})
    else:
        ip("link", "add", "br9", "type", "bridge")  # what comes later is seen later
        agent.follow(lambda: "br9" in agent.names())
        assert agent.names() == {"node", "br9"}
    ip("link", "delete", name)
    agent.follow(lambda: name not in {device for _, device in socket.if_nameindex()})
    agent.follow(lambda: name not in agent.names())


def test_a_device_without_a_mac_is_left_alone(agent: Agent) -> None:
    ip("tuntap", "add", "tun0", "mode", "tun")
    ip("link", "set", "tun0", "up")
    ip("link", "add", "br9", "type", "bridge")
    agent.follow(lambda: "br9" in agent.names())
    assert agent.names() == {"node", "br9"}


@pytest.mark.parametrize("mtu", [68, 1281, 9000, 65535])
def test_any_mtu_will_do(agent: Agent, cable: Wire, mtu: int) -> None:
    ip("link", "set", "node", "mtu", str(mtu))
    assert answer(cable) == ANSWER


@pytest.mark.parametrize(
    ("change", "undo", "as_changed"),
    [
        pytest.param(
            "link add br8 type bridge",
            "link delete br8",
            lambda agent: agent.names() == {"node", "br9", "br8"},
            id="comes, and goes",
        ),
        pytest.param(
            "link set br9 name br8",
            "link set br8 name br9",
            lambda agent: agent.interfaces.keys() >= {"node", "br8"},
            id="gets a new name",
        ),
        pytest.param(
            f"link set node address {OTHER_MAC}",
            f"link set node address {OWN_MAC}",
            lambda agent: agent.interfaces["node"].mac == MAC(OTHER_MAC),
            id="gets a new MAC",
        ),
        pytest.param(
            "link set node master br9",
            "link set node nomaster",
            lambda agent: agent.names() == {"br9"},
            id="joins a bridge, and leaves it",
        ),
    ],
)
def test_what_a_device_does_is_followed_within_a_second(
    agent: Agent, change: str, undo: str, as_changed: Callable[[Agent], bool]
) -> None:
    """The middle one of several: what else runs on the machine delays one or the other."""
    ip("link", "add", "br9", "address", "02:00:00:00:00:09", "type", "bridge")
    agent.follow(lambda: agent.names() == {"node", "br9"})
    before = dict(agent.interfaces)
    took, undone = [], []
    for _ in range(5):
        ip(*change.split())
        took.append(agent.follow(lambda: as_changed(agent)))
        ip(*undo.split())
        undone.append(
            agent.follow(lambda: same(agent.interfaces, before) and len(agent.names()) == 2)
        )
    assert median(took) < PROMISED
    assert median(undone) < PROMISED


def same(one: dict[str, Interface], other: dict[str, Interface]) -> bool:
    """The same devices with the same MACs and masters."""
    return {name: (each.mac, each.master) for name, each in one.items()} == {
        name: (each.mac, each.master) for name, each in other.items()
    }


def test_five_hundred_devices_are_attached_to_and_left(agent: Agent, cable: Wire) -> None:
    adds = "\n".join(f"link add br{number} group 5 type bridge" for number in range(500))
    subprocess.run(["ip", "-batch", "-"], input=adds, text=True, check=True)
    agent.follow(lambda: len(agent.responder.attached()) == 501)

    assert answer(cable) == ANSWER
    assert agent.hands.problems == ()

    ip("link", "delete", "group", "5")
    agent.follow(lambda: agent.names() == {"node"})


def test_what_others_take_away_is_put_back_and_counted(
    agent: Agent, cable: Wire, loaded_bpffs: Path
) -> None:
    link = loaded_bpffs / "v1" / f"link-{cable.ifindex}"
    if link.exists():
        fd = tcx.obj_get(link)
        tcx.bpf(tcx.BPF_LINK_DETACH, fd.to_bytes(4, "little"))
        os.close(fd)
    else:
        subprocess.run(["tc", "qdisc", "delete", "dev", "node", "clsact"], check=True)
    assert agent.names() == set()

    agent.follow(lambda: agent.names() == {"node"} and agent.counters.restored == 1)

    assert answer(cable) == ANSWER
