# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Nodes that exist only in one process: the agent's real core, loop and API client, several times
over; kernel, devices and segment are made up.

What they ask of an API server is what as many machines would ask. What they cost in time is not:
all share one interpreter.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Interface
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agent" / "src"))

from herald.core.effects import Announcement, Solicitation
from herald.core.events import AddressProbed, InterfacesSeen, KernelRead, SegmentHeard
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.model import (
    Address,
    Endpoints,
    Identity,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
)
from herald.core.settings import Settings
from herald.core.step import Decider
from herald.kube.client import KubeClient, KubeConfig
from herald.shell.clock import boottime
from herald.shell.counters import Counters
from herald.shell.hands import Hands
from herald.shell.inbox import Inbox
from herald.shell.notify import Notifier
from herald.shell.runner import Runner

IFINDEX = 2
KINDS = (Lease, Node, Service, Endpoints, Pool, Policy)


class Kernel:
    """The responder's maps, as values."""

    def __init__(self) -> None:
        self.entries: dict[EntryKey, EntryValue] = {}
        self._attached: set[int] = set()

    @property
    def addresses(self) -> set[Address]:
        return {key.address for key in list(self.entries)}

    def set_session(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None:
        """Nobody asks this kernel for an answer."""

    def set_entries(self, remove: Collection[EntryKey], put: Mapping[EntryKey, EntryValue]) -> None:
        for key in remove:
            self.entries.pop(key, None)
        self.entries.update(put)

    def attach(self, ifindex: int) -> None:
        self._attached.add(ifindex)

    def detach(self, ifindex: int) -> None:
        self._attached.discard(ifindex)

    def attached(self) -> Iterable[int]:
        return tuple(self._attached)

    def learn_own(self, macs: Mapping[bytes, int]) -> None:
        """Nobody hears another here."""

    def set_own(self, macs: Mapping[int, bytes]) -> None:
        """The same."""

    def forget_seen(self, addresses: Collection[Address]) -> int:
        return 0


class Segment:
    """Every node on it that lives answers every question; frames are accepted, and nobody looks."""

    def __init__(self, alive: Callable[[Address], bool], hear: Callable[[SegmentHeard], None]):
        self._alive = alive
        self._hear = hear

    def send(self, announcements: Iterable[Announcement]) -> str:
        return ""

    def solicit(self, solicitations: Iterable[Solicitation]) -> str:
        for each in solicitations:
            if self._alive(each.target):
                self._hear(SegmentHeard(each.ifindex, each.target, boottime()))
        return ""


class Duplicates:
    """Nobody on the segment has an address that is to be given."""

    def __init__(self, hear: Callable[[AddressProbed], None]) -> None:
        self._hear = hear

    def ask(self, number: int, address: Address, ifindex: int, kin: frozenset[str]) -> None:
        self._hear(AddressProbed(number, None))

    def cancel(self, numbers: frozenset[int]) -> None:
        pass


class Groups:
    """Multicast groups, which only IPv6 needs."""

    def set(self, members: Iterable[tuple[Address, int]]) -> str:
        return ""

    def reconcile(self) -> str:
        return ""


class Agent:
    """A node and its agent, from `start` to `kill`."""

    def __init__(
        self, name: str, number: int, config: KubeConfig, settings: Settings, fleet: Fleet
    ) -> None:
        self.name = name
        self.address = IPv4Interface((int(fleet.network.ip) + number, 16))
        self.mac = bytes([2, 0x98, 0, 0, number >> 8, number & 255])
        self.kernel = Kernel()
        self.counters = Counters(started=boottime())
        self._inbox = Inbox()
        self._client = KubeClient(config, self._inbox.post)
        hands = Hands(
            self.kernel,
            Segment(fleet.alive, self._inbox.post),
            Groups(),
            Duplicates(self._inbox.post),
            self._client,
            self.counters,
            boottime,
            self._inbox.post,
        )
        hands.start()
        self._hands = hands
        decider = Decider(settings, Identity(name, f"machine-{name}", "1", "bench"))
        self._runner = Runner(
            decider,
            hands,
            self._inbox,
            Notifier(),
            self.counters,
            boottime,
            lambda: self._client.start(KINDS),
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.dead = True

    def start(self) -> None:
        self.dead = False
        self._inbox.post(KernelRead(Session(), {}))
        device = Interface(
            IFINDEX, "host0", self.mac, up=True, carrier=True, addresses=(self.address,)
        )
        self._inbox.post(InterfacesSeen((device,)))
        self._client.start()
        self._thread.start()

    def kill(self) -> None:
        """As by loss of power: it says nothing to anybody."""
        self.dead = True
        self._thread.join(5)
        self._inbox.close()
        self._hands.stop()
        self._client.stop()

    def _run(self) -> None:
        while not self.dead:
            self._runner.round()


class Fleet:
    """So many nodes, by name."""

    network = IPv4Interface("10.98.0.0/16")

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self._by_address: dict[Address, Agent] = {}
        logging.getLogger("herald").setLevel(logging.ERROR)

    def add(self, name: str, config: KubeConfig, settings: Settings) -> Agent:
        agent = Agent(name, len(self.agents) + 1, config, settings, self)
        self.agents[name] = agent
        self._by_address[agent.address.ip] = agent
        return agent

    def alive(self, address: Address) -> bool:
        agent = self._by_address.get(address)
        return agent is not None and not agent.dead

    @property
    def living(self) -> list[Agent]:
        return [agent for agent in self.agents.values() if not agent.dead]

    def announced(self) -> set[Address]:
        return {address for agent in self.living for address in agent.kernel.addresses}

    def start(self) -> None:
        """All of them."""
        for agent in self.agents.values():
            agent.start()

    def kill(self) -> None:
        """All of them, at the end."""
        for agent in self.living:
            agent.kill()
