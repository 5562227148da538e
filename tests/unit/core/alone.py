# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One agent alone: its kernel, its devices, its API server and its clock are the test's.

Kernel and frames are confirmed at once unless they are held back. Requests wait in ``pending`` until the test
answers them, or lets the store answer (``serve``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from typing import TypeVar

from tests import services

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.election.placement import EXCLUDE_LABEL
from herald.core.kernel import EntryKey, EntryValue, Session
from herald.core.leases import (
    EPOCH,
    POOL,
    SERVICES,
    Presence,
    PresenceInterface,
    PresenceReport,
    new_vip_lease,
    presence_lease,
)
from herald.core.model import (
    IPAM_LEASE,
    MILLISECOND,
    SECOND,
    Block,
    Endpoints,
    Identity,
    Interface,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
    presence_lease_name,
    vip_lease_name,
)
from herald.core.settings import Settings
from herald.core.step import Decider

VIP = ip_address("198.51.100.7")
VIP_LEASE = vip_lease_name(VIP)
MAC = bytes.fromhex("020000000001")
ETH0 = Interface(2, "eth0", MAC, up=True, carrier=True, addresses=(IPv4Interface("192.0.2.1/24"),))
ME = Identity("n1", "machine-1", "nonce-1", "0.1.0")
PRESENCE_LEASE = presence_lease_name("n1")
KEY = EntryKey(VIP, 2)
BLOCK = Block(cidr="198.51.100.0/24")

E = TypeVar("E")


def service(**changes: object) -> Service:
    return services.service(**{"resource_version": 5, "ingress": (str(VIP),), **changes})


def node(name: str, **changes: object) -> Node:
    return replace(Node(name, f"uid-{name}", {}, {}, (), ready=True), **changes)  # type: ignore[arg-type]


def peer(name: str, number: int, duration: int = 1000 * SECOND, **changes: object) -> Lease:
    """Another node's presence, alive and able to announce; it need not be renewed for as long as its duration."""
    eth0 = PresenceInterface(
        "eth0",
        f"02:00:00:00:00:{number:02x}",
        up=True,
        carrier=True,
        plumbing=False,
        addresses=(IPv4Interface(f"192.0.2.{number}/24"),),
        heard=True,
    )
    report = PresenceReport(name, "0.1.0", False, (eth0,))
    base = Lease(presence_lease_name(name), uid=f"uid-p-{name}", resource_version=10)
    identity = Identity(name, f"machine-{name}", f"nonce-{name}", "0.1.0")
    lease = presence_lease(base, identity, report, duration, None)
    return replace(lease, **changes)  # type: ignore[arg-type]


class Alone:
    def __init__(
        self,
        settings: Settings | None = None,
        *,
        session: Session | None = None,
        entries: dict[EntryKey, EntryValue] | None = None,
        identity: Identity = ME,
    ) -> None:
        self.now = 1000 * SECOND
        self.agent = Decider(settings or Settings(on_api_loss="Withdraw"), identity)
        self.session, self.entries = session or Session(), dict(entries or {})
        self.store: dict[str, Lease] = {}
        self.objects: dict[ev.Kind, dict[ev.Key, ev.KubeObject]] = {}
        """What the API server has shown, by kind."""
        self.version = 100
        self.pending: list[fx.LeaseRequest] = []
        self.done: list[fx.Effect] = []
        """Every effect, in its order, since last cleared."""
        self.keeps_back: Callable[[fx.Effect], bool] = lambda _: False
        """Effects, but for requests about Leases, that are not confirmed yet; ``confirm`` does."""
        self.kept_back: list[fx.Effect] = []
        self.allocator: Lease | None = None
        self.gone: set[ev.Key] = set()
        """What was removed."""
        self.attachments = fx.SetAttachments(0, {})
        """The newest."""
        self.neighbours = True
        """Whoever is asked on the segment answers."""
        self.silent = 0
        """Nobody does on that device."""
        self.post(ev.KernelRead(self.session, dict(self.entries)))

    # --- what happens to it -------------------------------------------------------------------------------

    def post(self, *events: ev.Event) -> None:
        waiting = list(events)
        while waiting:
            event = waiting.pop(0)
            self._note(event)
            for effect in self.agent.step(event, self.now):
                self.done.append(effect)
                if isinstance(effect, fx.LeaseRequest):
                    self.pending.append(effect)
                elif self.keeps_back(effect):
                    self.kept_back.append(effect)
                else:
                    waiting += self._carry_out(effect)

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.Listed():
                self.objects[event.kind] = {each.key: each for each in event.objects}
            case ev.Changed():
                self.objects.setdefault(type(event.object), {})[event.object.key] = event.object
                self.gone.discard(event.object.key)
            case ev.Removed():
                self.gone.add(event.key)
                self.objects.get(event.kind, {}).pop(event.key, None)

    def _carry_out(self, effect: fx.Effect) -> list[ev.Event]:
        """Leases are listed again by the test."""
        match effect:
            case fx.Relist() if effect.kind is not Lease:
                return [ev.Listed(effect.kind, tuple(self.objects[effect.kind].values()))]
            case fx.SetSession():
                self.session = effect.session
                return [ev.KernelAnswer(effect.id)]
            case fx.SetEntries():
                for key in effect.remove:
                    self.entries.pop(key, None)
                self.entries.update(effect.put)
                return [ev.KernelAnswer(effect.id)]
            case fx.SetAttachments():
                self.attachments = effect
                return [self.attached()]
            case fx.SendFrames():
                return [ev.FramesAnswer(effect.id)]
            case fx.ProbeAddress():
                return [ev.AddressProbed(effect.id, None)]
            case fx.PatchService():
                return self._patch(effect)
            case fx.PatchPool() | fx.PatchPolicy():
                return [ev.Answer(effect.id, self.now, ev.Done())]
            case fx.ReadService():
                return [ev.Answer(effect.id, self.now, self._read(effect))]
            case fx.SendSolicitations() if self.neighbours:
                return [
                    ev.SegmentHeard(p.ifindex, p.target, self.now)
                    for p in effect.solicitations
                    if p.ifindex != self.silent
                ]
        return []

    def attached(self, refused: Mapping[int, str] | None = None) -> ev.AttachmentsSeen:
        """The responder is on all devices that it shall be on but these."""
        wish, refused = self.attachments, refused or {}
        return ev.AttachmentsSeen(wish.id, frozenset(wish.interfaces) - refused.keys(), refused)

    def _patch(self, effect: fx.PatchService) -> list[ev.Event]:
        if effect.service.key in self.gone:
            return [ev.Answer(effect.id, self.now, ev.Refused(404, "not found"))]
        kept = {c.type: c for c in effect.service.conditions if c.type not in effect.drop}
        kept.update({c.type: c for c in effect.conditions})
        ingress = effect.service.ingress if effect.ingress is None else effect.ingress
        self.version += 1
        patched = replace(
            effect.service,
            resource_version=self.version,
            ingress=ingress,
            conditions=tuple(kept.values()),
        )
        return [ev.Answer(effect.id, self.now, ev.Done()), ev.Changed(patched)]

    def _read(self, effect: fx.ReadService) -> ev.Done | ev.Refused:
        found = self.objects.get(Service, {}).get(effect.service)
        return (
            ev.Done(service=found) if isinstance(found, Service) else ev.Refused(404, "not found")
        )

    def confirm(self) -> None:
        """What was kept back is carried out now."""
        self.keeps_back = lambda _: False
        kept, self.kept_back = self.kept_back, []
        self.post(*(event for effect in kept for event in self._carry_out(effect)))

    def advance(self, nanoseconds: int) -> None:
        """Time passes, with a Tick wherever the agent asked for one."""
        end = self.now + nanoseconds
        while (due := self.agent.next_deadline()) is not None and due <= end:
            self.now = max(self.now + 1_000_000, due)
            if self.now > end:
                break
            self.post(ev.Tick())
        self.now = end
        self.post(ev.Tick())

    def live(self, nanoseconds: int) -> None:
        """The same, with an API server that answers everything."""
        end = self.now + nanoseconds
        while self.now < end:
            self.serve()
            self.advance(min(10 * MILLISECOND, end - self.now))
        self.serve()

    def learn(self, *others: Lease, services: tuple[Service, ...] = (), **lists: object) -> None:
        """Everything is listed, and the devices are seen; the other nodes are alive."""
        nodes = [node("n1"), *(node(lease.holder) for lease in others)]
        if self.allocator is not None:
            nodes.append(node("n9", labels={EXCLUDE_LABEL: ""}))
            others = (*others, self.allocator)
        self.store.update({lease.name: lease for lease in others})
        self.post(
            ev.InterfacesSeen((ETH0,)),
            ev.Listed(Node, tuple(nodes)),
            ev.Listed(Policy, (Policy("all", "p", 1, 1, load_balancer_ips=True),)),
            ev.Listed(Pool, (Pool("pool", "q", 1, 1, "2026-01-01T00:00:00Z", (BLOCK,)),)),
            ev.Listed(Endpoints, ()),
            ev.Listed(Service, services),
            ev.Listed(Lease, tuple(self.store.values())),
        )

    # --- the API server -----------------------------------------------------------------------------------

    def request(self, name: str) -> fx.LeaseRequest:
        """The request about that Lease that is under way."""
        found = [request for request in self.pending if request.lease.name == name]
        assert len(found) == 1, (name, found)
        return found[0]

    def asked(self, name: str) -> bool:
        return any(request.lease.name == name for request in self.pending)

    def answer(
        self,
        request: fx.LeaseRequest,
        outcome: ev.Done | ev.Refused | ev.Failed,
        sent: int | None = None,
    ) -> None:
        self.pending.remove(request)
        self.post(ev.Answer(request.id, self.now if sent is None else sent, outcome))

    def put(self, lease: Lease) -> Lease:
        """Somebody writes a Lease; the watch does not say so yet."""
        self.version += 1
        uid = lease.uid or f"uid-{self.version}"
        self.store[lease.name] = replace(lease, uid=uid, resource_version=self.version)
        return self.store[lease.name]

    def show(self, lease: Lease) -> None:
        """Somebody writes a Lease, and the watch shows it."""
        self.post(ev.Changed(self.put(lease)))

    def outcome(self, request: fx.LeaseRequest) -> ev.Done | ev.Refused:
        """What the store makes of a request."""
        lease, known = request.lease, self.store.get(request.lease.name)
        if request.verb == "get":
            return ev.Done(known) if known else ev.Refused(404, "not found")
        if request.verb == "create":
            return ev.Refused(409, "exists") if known else ev.Done(self.put(lease), created=True)
        if known is None:
            return ev.Refused(404, "not found")
        if (lease.uid, lease.resource_version) != (known.uid, known.resource_version):
            return ev.Refused(409, "conflict")
        deleting = known.deleting or request.verb == "delete"
        if deleting and not lease.finalizers:
            del self.store[lease.name]
            self.version += 1
            return ev.Done(replace(lease, deleting=True, resource_version=self.version))
        return ev.Done(self.put(replace(lease, deleting=deleting)))

    def serve(self, *names: str) -> None:
        """Answer what is asked, of these Leases or of all, until nothing more is."""
        while wanted := [r for r in self.pending if not names or r.lease.name in names]:
            self.answer(wanted[0], self.outcome(wanted[0]))

    # --- ready-made ---------------------------------------------------------------------------------------

    def given(self, epoch: str = "") -> Lease:
        """A VIP lease of the Service, held by that epoch."""
        text = {POOL: "pool", SERVICES: "default/web", EPOCH: epoch}
        holder = "n1" if epoch else ""
        return self.put(replace(new_vip_lease(VIP_LEASE, text), holder=holder))

    def effects(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.done if isinstance(effect, kind)]

    @property
    def held(self) -> bool:
        return KEY in self.entries

    @property
    def report(self) -> PresenceReport:
        """What it would say of itself now."""
        return self.agent._candidates.own_report


def joined(*others: Lease, settings: Settings | None = None, allocates: bool = False) -> Alone:
    """An agent that is live and knows all that there is: these other nodes, and nothing to announce.

    Unless it allocates, a node that announces nothing does (n9, on the same segment).
    """
    alone = Alone(settings)
    if not allocates:
        alone.allocator = peer("n9", 9)
        text = {EPOCH: str(Presence(alone.allocator).epoch)}
        alone.put(replace(new_vip_lease(IPAM_LEASE, text), holder="n9"))
    alone.learn(*others)
    alone.live(100 * MILLISECOND)
    return alone


def holding(*others: Lease, settings: Settings | None = None, allocates: bool = False) -> Alone:
    """The same, and it announces VIP for a Service."""
    alone = joined(*others, settings=settings, allocates=allocates)
    alone.post(ev.Changed(alone.given()), ev.Changed(service()))
    alone.live(SECOND)
    assert alone.held
    return alone
