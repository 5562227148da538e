# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""This node: what its presence tells the others, by which D it lives, and whether it hears its segment."""

from __future__ import annotations

from collections.abc import Mapping

from herald.core.election.candidates import Candidates
from herald.core.election.election import Election
from herald.core.election.placement import is_down, is_drained, is_layer3, is_plumbing
from herald.core.election.presence import IDLE, OwnPresence
from herald.core.election.segment import Segment, solicitations_of
from herald.core.kernelmap import KernelMap
from herald.core.leases import Presence, PresenceInterface, PresenceReport
from herald.core.model import SECOND, AddressOnLink, Identity, Interface, Owner
from herald.core.proof import Proof
from herald.core.settings import Settings
from herald.core.world import World

IPVS = "kube-ipvs0"
"""kube-proxy's device in ipvs mode, which bears the address of every Service."""


class OwnNode:
    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        world: World,
        presence: OwnPresence,
        election: Election,
        candidates: Candidates,
        segment: Segment,
        kernel: KernelMap,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._node = identity.node
        self._world = world
        self._presence = presence
        self._election = election
        self._candidates = candidates
        self._segment = segment
        self._kernel = kernel
        self._proof = Proof(settings, world, segment)
        self.stopping = False
        """It was told to stop: its addresses are to go elsewhere."""
        self._facts: tuple[object, ...] = ()
        """What the present report was made of."""
        self._presences: Mapping[str, Presence] = {}
        self._others: list[PresenceReport] = []
        self._asked: tuple[Mapping[int, Interface], list[PresenceReport]] = ({}, [])
        self._idle = False
        self._idle_due = 0

    @property
    def draining(self) -> bool:
        node = self._world.nodes.get(self._node)
        return self.stopping or (node is not None and (is_drained(node) or is_down(node)))

    @property
    def proven(self) -> bool:
        return self._proof.proven

    def tick(self, now: int) -> None:
        """Bring up to date what the presence says, and renew it if that is due."""
        self._watch_segment(now)
        if self._presence.resumed is not None and not self._presence.resumed.unproven:
            self._proof.accept()
        self._presence.belong_to(self._owner(), now)
        if self._world.knows_devices:
            # Until then a restarted agent says what it said before.
            self._describe(now)
            self._presence.describe(self._candidates.own_report, now)
        self._pace(now)
        self._presence.tick(now)

    def _watch_segment(self, now: int) -> None:
        """Ask whoever is there, and hold on to what is held while they answer and the API server does not."""
        if self._presences is not self._candidates.presences:
            self._presences = self._candidates.presences
            self._others = [p.report for name, p in self._presences.items() if name != self._node]
        if (self._world.interfaces, self._others) != self._asked:
            self._asked = (self._world.interfaces, self._others)
            solicitations = {
                interface.index: solicitations_of(interface, self._node, self._others)
                for interface in self._world.interfaces.values()
                if is_layer3(interface) and not is_plumbing(interface)
            }
            self._segment.watch(solicitations, now)
        # A renewal in time leaves more than half of D.
        late = (
            self._presence.epoch is not None
            and now >= self._presence.valid_until - self._presence.duration // 2
        )
        self._segment.tick(now, urgent=late)
        if late and self._settings.on_api_loss == "Hold":
            self._hold_on(now)

    def _hold_on(self, now: int) -> None:
        """Past the deadline nothing stays on a device that has no carrier, or is gone, and where nobody was heard for a
        second: this node would not hear there who takes the addresses over. It may go on elsewhere."""
        devices = self._kernel.devices()
        cut = {index for index in devices if self._world.looked and self._is_cut(index, now)}
        if cut and now >= self._presence.valid_until:
            self._kernel.leave(cut)
        self._presence.hold(now, hears=self._segment.hears(devices - cut, now))

    def _is_cut(self, index: int, now: int) -> bool:
        interface = self._world.interfaces.get(index)
        plugged = interface is not None and interface.has_wire
        return not plugged and not self._segment.hears([index], now)

    def next_deadline(self) -> int | None:
        return self._proof.next_deadline()

    def _describe(self, now: int) -> None:
        """What the presence says is made anew only where something of it has changed."""
        heard = self._segment.heard(now)
        facts = (
            self._world.interfaces,
            self._world.arp_ignore,
            self._world.attached,
            self._world.refused,
            heard,
            self.draining,
            self._proof.proven,
        )
        if facts != self._facts or not self._proof.proven:
            self._facts = facts
            self._candidates.own_report = self._report(heard, now)

    def _report(self, heard: Mapping[int, bool | None], now: int) -> PresenceReport:
        interfaces = tuple(
            self._told(interface, heard.get(interface.index))
            for interface in sorted(self._world.interfaces.values(), key=lambda i: i.index)
            if is_layer3(interface) or self._bears_addresses(interface)
        )
        return PresenceReport(
            node=self._node,
            version=self._identity.version,
            draining=self.draining,
            interfaces=interfaces,
            unproven=self._proof.missing(any(i.usable for i in interfaces), now),
            ipvs=""
            if self._world.arp_ignore
            else next((i.name for i in self._world.interfaces.values() if i.name == IPVS), ""),
        )

    def _bears_addresses(self, interface: Interface) -> bool:
        """Whether it has addresses that this node's kernel answers for on other devices."""
        return (
            not self._world.arp_ignore
            and interface.name != IPVS
            and any(_answered_elsewhere(address) for address in interface.addresses)
        )

    def _told(self, interface: Interface, heard: bool | None) -> PresenceInterface:
        announces = is_layer3(interface)
        return PresenceInterface(
            name=interface.name,
            mac=interface.mac.hex(":") if announces else "",
            up=interface.up,
            carrier=interface.carrier,
            plumbing=is_plumbing(interface),
            addresses=interface.addresses
            if announces
            else tuple(a for a in interface.addresses if _answered_elsewhere(a)),
            heard=heard,
            refused=self._why_unattached(interface) if announces else "",
        )

    def _why_unattached(self, interface: Interface) -> str:
        """Why it does not bear the responder; empty: it does."""
        if interface.index in (self._world.attached or ()):
            return ""
        return self._world.refused.get(interface.index, "its turn has not come")

    def _owner(self) -> Owner | None:
        node = self._world.nodes.get(self._node)
        return Owner(node.name, node.uid) if node is not None else None

    def _pace(self, now: int) -> None:
        """D as set, or longer where the cluster's renewals would exceed the budget; longer still while this node
        holds nothing."""
        announcing = self._candidates.announcing
        weighted = IDLE * announcing + max(0, len(self._candidates.presences) - announcing)
        budget = 4 * weighted * SECOND // (IDLE * self._settings.renew_budget)
        if now >= self._idle_due:
            self._idle_due = now + self._settings.duration_ns // 8
            self._idle = self._election.synced and self._election.idle
        busy = max(self._settings.duration_ns, budget)
        self._presence.live_by(busy, now, idle=self._idle)


def _answered_elsewhere(address: AddressOnLink) -> bool:
    """Linux answers ARP for any address of the host on any device; a link's own and the loopback's are nobody's
    load balancer."""
    return address.version == 4 and not (address.is_loopback or address.is_link_local)
