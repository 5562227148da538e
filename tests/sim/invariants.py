# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The five invariants of docs/design/election.md, asserted while a cluster runs.

Safety is looked at whenever it can begin to fail: after every change of a kernel, and when a node comes back to the
segment or is thawed (time alone only silences). Liveness is looked at every 50 ms, uniqueness and stickiness at every
write.

What may be excused is decided from what was done to the cluster, never from what agents say of themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.allocation.externals import external_addresses
from herald.core.leases import PRESENCE, REASON, Presence, held_by, services_of
from herald.core.model import (
    MILLISECOND,
    PRESENCE_PREFIX,
    SECOND,
    Address,
    Lease,
    Policy,
    Service,
    ServiceKey,
    vip_address,
    vip_lease_name,
)
from herald.core.settings import LATE_NEWS

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster
    from tests.sim.machine import Machine

SHARING_KEY = "herald.dev/sharing-key"
EVERY = 50 * MILLISECOND
SETTLING = SECOND // 2
FURTHER = SECOND // 5
"""For each node that is lost besides: it may stand before others in the order."""
NEVER = -(10**15)
FASTEST, SLOWEST = 1.05, 0.95
"""Rates of clocks: each may be off by 5 %, which is the most that the protocol takes for granted."""
ALONE = 5 * SECOND // 2
"""A node that nobody on the segment answers has fallen silent by then: a second of hearing, the fuse, and a half."""
REMEMBERED = 5
"""A node's trouble explains a move for so many D: idle nodes are waited for 5 D."""


class Violation(AssertionError):
    """An invariant of docs/design/election.md does not hold."""


@dataclass
class _Given:
    """An address."""

    dark_since: int | None = None
    holder: str = ""
    """The node that announced it last, by its lease."""
    edited_at: int = NEVER
    """Somebody wrote the lease by hand."""
    quiet: float = 0.0
    """When its holder let go of it last: for how long nothing had changed by which placement goes."""
    let_go_at: int = NEVER
    waits: int | None = None
    """Nobody has claimed it since its lease was edited, or came back with a backup: that takes as long as it takes to
    see what was done, and then this D, the longest that any presence has said meanwhile. None: somebody has."""
    unneeded_at: int = NEVER
    """Its Service was deleted."""
    rehomed_at: int = NEVER
    """Its Service became Local, or was so, or its endpoints went elsewhere."""
    claims: dict[str, int] = field(default_factory=dict)
    """By machine: when the claim began by which its kernel answers, in the cluster's time."""
    heard: dict[tuple[str, str], int] = field(default_factory=dict)
    """By sender and receiver: when the newest frame that has arrived was sent."""


class Invariants:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._given: dict[Address, _Given] = {}
        self._bearers: dict[Address, set[Machine]] = {}
        """Machines whose kernel has an entry."""
        self._announced: dict[tuple[str, Address, int], int] = {}
        """By machine, address and ifindex: its clock when it last sent a frame."""
        self._claimed: dict[tuple[str, Address], int] = {}
        """By machine: ``claimed`` of the newest entry that was seen."""
        self.disturbed_at = 0
        """When something was last done to the cluster, or stopped being done."""
        self.changed_at = 0
        """When a presence last changed but by being renewed, or a Node or a policy as placement reads them."""
        self.trouble: dict[str, int] = {}
        """By node: when something that may take an address from it was last the matter. (An API server that is away
        for all is none: who was well before is not lost when it is back.)"""
        self._alone_at: dict[str, int] = {}
        """By node: when nobody on its segment could answer it, last."""
        self._said: dict[str, tuple[int, int, int]] = {}
        """By presence: its resourceVersion when last looked at, the D that it says, and that which it said before."""
        self._alone_since: dict[str, int] = {}
        self._latched: set[str] = set()
        """Machines that were alone past their deadline, and have not been valid since."""
        self._watch_time()

    # --- safety -----------------------------------------------------------------------------------------------

    def kernel_changed(self, machine: Machine, addresses: Iterable[Address] | None = None) -> None:
        """``addresses``: those whose entries changed; None: none did, but all may answer now."""
        for address in () if addresses is None else addresses:
            self._bear(machine, address)
        if not machine.powered:
            for bearers in self._bearers.values():
                bearers.discard(machine)
        if addresses is None:
            addresses = {key.address for key in machine.kernel.entries}
        for address in addresses:
            if len(self._bearers.get(address, ())) > 1:
                self._one_answers(address)

    def _bear(self, machine: Machine, address: Address) -> None:
        bearers = self._bearers.setdefault(address, set())
        claim = machine.kernel.claim_of(address)
        if not claim:
            bearers.discard(machine)
            return
        bearers.add(machine)
        if self._claimed.get((machine.name, address)) == claim:
            return
        # A new claim has filled it. Its first frame must have left before (rule 4).
        self._claimed[machine.name, address] = claim
        given = self._given.setdefault(address, _Given())
        given.claims[machine.name] = self._cluster.now
        for key, value in machine.kernel.entries.items():
            if key.address == address and value.claimed == claim:
                said = self._announced.get((machine.name, address, key.ifindex), 0)
                if said < claim:
                    self._fail(f"{machine.name} answers for {address} before its first frame")

    def announced(self, machine: Machine, frame: fx.Announcement) -> None:
        """Nobody announces past its deadline, nor what another node answers.

        Unless it was stopped between deciding on the frame and sending it: docs/design/election.md does not promise it.
        """
        now = machine.clock()
        self._announced[machine.name, frame.address, frame.ifindex] = now
        if machine.belated:
            return
        if now >= machine.kernel.session.deadline:
            self._fail(f"{machine.name} announces {frame.address} past its deadline")
        others = [o for o in self._answering(frame.address) if o is not machine]
        # In Hold it is this very frame that silences the superseded node.
        if others and self._cluster.settings.on_api_loss == "Withdraw":
            self._fail(f"{machine.name} announces {frame.address}, answered by {_names(others)}")

    def frame_arrived(
        self, sender: Machine, receiver: Machine, address: Address, sent: int
    ) -> None:
        given = self._given.setdefault(address, _Given())
        given.heard[sender.name, receiver.name] = sent
        if len(self._bearers.get(address, ())) > 1:
            self._one_answers(address)

    def _answering(self, address: Address) -> list[Machine]:
        hold = self._cluster.settings.on_api_loss == "Hold"
        return [
            machine
            for machine in self._bearers.get(address, ())
            # In Withdraw also what answers behind a dead switch port, where nobody hears it, counts.
            if machine.answers_frames
            and (machine.plugged or not hold)
            and machine.kernel.answers_for(address, machine.clock())
        ]

    def _one_answers(self, address: Address) -> None:
        answering = self._answering(address)
        if len(answering) < 2:
            return
        if self._cluster.settings.on_api_loss == "Withdraw":
            self._fail(f"{address} is answered by {_names(answering)}")
        given = self._given[address]
        *older, newest = sorted(answering, key=lambda machine: given.claims[machine.name])
        claimed = newest.global_time(newest.kernel.claim_of(address))
        for machine in older:
            if machine.clock() < machine.kernel.session.deadline:
                self._fail(f"{address} is answered by {_names(answering)}, all within validity")
            if given.heard.get((newest.name, machine.name), -1) >= claimed:
                self._fail(
                    f"{address} is answered by {machine.name}, which has heard {newest.name} claim it"
                )

    def _hold(self, machine: Machine) -> None:
        """What is held past the deadline was confirmed by a renewal; and nothing is, from when nobody is heard until
        a renewal makes it valid again (rule 8): the late answer of an earlier one does not."""
        now, name = self._cluster.now, machine.name
        if not machine.powered or machine.clock() < machine.kernel.session.deadline:
            self._latched.discard(name)
            self._alone_since.pop(name, None)
            return
        if machine.alone and not machine.frozen:
            since = self._alone_since.setdefault(name, now)
            if now - since > ALONE:
                self._latched.add(name)
        else:
            self._alone_since.pop(name, None)
        for address in machine.kernel.answers(machine.clock()):
            if name in self._latched:
                self._fail(f"{name} answers for {address} although it was cut off from all")
            if self._given[address].claims[name] > machine.renewed:
                self._fail(f"{name} holds {address}, which no renewal has confirmed")

    # --- liveness ---------------------------------------------------------------------------------------------

    def _watch_time(self) -> None:
        self._cluster.after(EVERY, self._watch_time)
        now = self._cluster.now
        cluster = self._cluster
        for machine in cluster.machines.values():
            if not (machine.well and cluster.api_sound and cluster.segment.whole):
                self.trouble[machine.node] = now
            if machine.alone:
                self._alone_at[machine.node] = now
        for machine in cluster.machines.values():
            self._hold(machine)
        eligible = [m for m in cluster.machines.values() if m.may_announce()]
        names = {m.node for m in eligible}
        hindered = any(
            m.forbidden or m.slow_answers or m.lag or m.services_lag
            for m in cluster.machines.values()
        )
        calm = cluster.api_well and cluster.segment.whole and bool(eligible) and not hindered
        said = self._longest_said()
        for address, given in self._given.items():
            if given.waits is not None:
                given.waits = max(given.waits, said)
            if not calm or self._served(address) or not cluster.wanted(address, names):
                given.dark_since = None
                continue
            if given.dark_since is None:
                given.dark_since = now
            since = max(given.dark_since, self.disturbed_at)
            lost = len(cluster.machines) - len(eligible)
            wait = self._longest()
            if given.waits is not None:
                wait = self._by_the_slowest(LATE_NEWS + given.waits)
            bound = wait + SETTLING + FURTHER * max(0, lost - 1)
            if now - since > bound + EVERY:
                self._fail(
                    f"{address} has had no announcer for {(now - since) / SECOND:.2f} s,"
                    f" bound {bound / SECOND:.2f} s, eligible: {_names(eligible)}"
                )

    def ended(self, machine: Machine) -> None:
        """No agent ends untold, but where another one lives under its node's name."""
        machines = self._cluster.machines.values()
        alone = all(other.node != machine.node for other in machines if other is not machine)
        if alone and not machine.stopping:
            self._fail(f"the agent of {machine.name} ends, and nobody told it to")

    def _longest(self) -> int:
        """The D by which those live that hold something, as it is set, or stretched by the budget for renewals; by the
        slowest of their clocks."""
        settings = self._cluster.settings
        stretched = 4 * len(self._cluster.machines) * SECOND // settings.renew_budget
        return self._by_the_slowest(max(settings.duration_ns, stretched))

    def _by_the_slowest(self, duration: int) -> int:
        """How long that is by the slowest of the nodes' clocks."""
        return int(duration / min(machine.rate for machine in self._cluster.machines.values()))

    def _longest_said(self) -> int:
        """The longest D that any presence says, or has said just before: agents count by the longer one."""
        default = self._cluster.settings.duration_ns
        known, self._said = self._said, {}
        for lease in self._cluster.presences():
            said = known.get(lease.name, (0, default, default))
            if lease.resource_version != said[0]:
                said = lease.resource_version, Presence(lease).duration(default), said[1]
            self._said[lease.name] = said
        return max((max(last, before) for _, last, before in self._said.values()), default=default)

    def _served(self, address: Address) -> bool:
        return any(machine.plugged for machine in self._answering(address))

    # --- what a write proves ------------------------------------------------------------------------------------

    def sent(self, machine: Machine, request: fx.LeaseRequest) -> None:
        """Others conclude from a write that this node's kernel is silent, or will be: it must be so before it is
        sent (rules 1, 2 and 5)."""
        known, kernel = self._cluster.api.lease(request.lease.name), machine.kernel
        if known is None or request.verb != "update":
            return
        # What is refused proves nothing.
        if request.lease.resource_version not in (0, known.resource_version):
            return
        if (address := vip_address(known.name)) is not None:
            lets_go = held_by(known) is not None and held_by(request.lease) is None
            if lets_go and kernel.claim_of(address):
                self._fail(f"{machine.name} lets go of {address} while it has an entry for it")
        elif known.holder == machine.node and request.own_connection:
            ends = request.lease.holder != known.holder or (
                request.lease.transitions != known.transitions
            )
            if ends and (kernel.entries or kernel.session.deadline):
                self._fail(f"{machine.name} ends its epoch while its kernel may answer")
            says = Presence(request.lease).duration(0)
            # Others count from when they see this, which is later than now.
            if kernel.session.deadline > machine.clock() + says * 9 // 10:
                self._fail(f"{machine.name} says a D of {says / SECOND} s and answers for longer")

    def _claimed_lawfully(self, address: Address, lease: Lease, before: Lease) -> None:
        """Nobody claims what an epoch has that lives (rules 3 and 4), nor while others would wait for him by the D of
        a node that holds nothing."""
        epoch, claimer = held_by(before), held_by(lease)
        if claimer in (None, epoch):
            return
        for presence in map(Presence, self._cluster.presences()):
            if presence.epoch == claimer and presence.duration(0) > self._longest() * 5 // 4:
                self._fail(f"{lease.holder} claims {address} and says {presence.duration(0)} ns")
            if presence.alive and presence.epoch == epoch:
                self._fail(f"{lease.holder} claims {address}, whose holder {presence.node} lives")

    # --- uniqueness and stickiness ------------------------------------------------------------------------------

    def written(self, obj: ev.KubeObject, before: ev.KubeObject | None) -> None:
        if isinstance(obj, Service):
            known = before.ingress if isinstance(before, Service) else ()
            self._given_once(obj, set(obj.ingress) - set(known))
        elif isinstance(obj, Lease) and obj.name.startswith(PRESENCE_PREFIX):
            if not isinstance(before, Lease) or _says(obj) != _says(before):
                self.changed_at = self._cluster.now
        elif isinstance(obj, Lease) and (address := vip_address(obj.name)) is not None:
            if not self._share(services_of(obj)):
                self._fail(f"{address} is given to {sorted(services_of(obj))}")
            self._moved(address, obj, new=before is None)
            if isinstance(before, Lease):
                self._claimed_lawfully(address, obj, before)
                if held_by(obj) not in (None, held_by(before)):
                    self._claimed_after_hand(self._given[address])

    def _claimed_after_hand(self, given: _Given) -> None:
        """From now on it is as any other: what it had no announcer for was the wait."""
        if given.waits is not None:
            given.waits = given.dark_since = None

    def _given_once(self, service: Service, new: set[str]) -> None:
        """No two Services that do not share it have it, and the lease of what is new says whose it is."""
        for other in self._cluster.services():
            both = set(other.ingress) & set(service.ingress)
            if both and not self._share({other.key, service.key}):
                self._fail(f"{sorted(both)} is given to {other.key} and to {service.key}")
        for text in new:
            address = ip_address(text)
            lease = self._cluster.api.lease(vip_lease_name(address))
            edited = self._recently(self._given.setdefault(address, _Given()).edited_at)
            if not edited and (lease is None or service.key not in services_of(lease)):
                self._fail(f"{service.key} is told {address}, whose lease does not say so")

    def _share(self, keys: Collection[ServiceKey]) -> bool:
        """Whether these Services say that they share an address. (That they may is tests/unit/core's to say.)"""
        found = [self._cluster.api.objects.get((Service, key)) for key in keys]
        said = [s.annotations.get(SHARING_KEY) for s in found if isinstance(s, Service)]
        return len(said) < 2 or (len(set(said)) == 1 and said[0] is not None)

    def _recently(self, when: int) -> bool:
        """Whether what happened then may still be what moves an address."""
        return self._cluster.now - when < self._remembered

    @property
    def _remembered(self) -> int:
        return (REMEMBERED + 2) * self._cluster.settings.duration_ns

    def edited(self, address: Address) -> None:
        """Somebody writes its lease by hand, of which whoever held it may not know yet."""
        given = self._given.setdefault(address, _Given())
        given.edited_at, given.waits = self._cluster.now, given.waits or 0

    def freed(self, address: Address) -> None:
        """No agent frees what a Service has."""
        if self._recently(self._given.setdefault(address, _Given()).edited_at):
            return
        policies = [each for each in self._cluster.api.objects.values() if isinstance(each, Policy)]
        for service in self._cluster.services():
            if str(address) in service.ingress or address in external_addresses(service, policies):
                self._fail(f"{address} is freed, which {service.key} has")

    def unneeded(self, address: Address) -> None:
        given = self._given.setdefault(address, _Given())
        given.unneeded_at = self._cluster.now

    def rehomed(self, address: Address) -> None:
        self._given.setdefault(address, _Given()).rehomed_at = self._cluster.now

    def _moved(self, address: Address, lease: Lease, *, new: bool) -> None:
        given = self._given.setdefault(address, _Given())
        if new:
            given.holder = ""
        # By a clock that may run faster than ours.
        quiet = (self._cluster.now - self.changed_at) * FASTEST
        if held_by(lease) is None:
            given.quiet, given.let_go_at = quiet, self._cluster.now
        if held_by(lease) is None or lease.holder == given.holder:
            return
        old, given.holder = given.holder, lease.holder
        if not old:
            return
        reason = lease.annotations.get(REASON, "")
        excused = self._recently(self.trouble.get(old, NEVER)) or self._recently(given.edited_at)
        if reason.startswith(f"{old}: better placed"):
            # Who claims it may have begun anew since.
            excused = excused or max(quiet, given.quiet) >= self._cluster.settings.hold_down_ns
        elif reason.startswith(f"{old}: nobody on the segment answers"):
            excused = excused or self._recently(self._alone_at.get(old, NEVER))
        elif reason.startswith(f"{old}: externalTrafficPolicy is Local"):
            excused = excused or self._recently(given.rehomed_at)
        elif reason == f"{old}: no Service needs it":
            # Whoever claims it then may have been kept from it for long.
            excused = given.let_go_at - given.unneeded_at < self._remembered
        elif reason != f"{old} was lost":
            excused = bool(reason) and (excused or self._cluster.is_out(old))
        if not excused:
            self._fail(f"{address} moved from {old} to {lease.holder} for no reason ({reason!r})")

    def _fail(self, what: str) -> None:
        raise Violation(f"at {self._cluster.now / SECOND:.3f} s: {what}")


def _says(presence: Lease) -> tuple[object, ...]:
    text = presence.annotations.get(PRESENCE)
    return presence.uid, presence.transitions, presence.holder, text


def _names(machines: Iterable[Machine]) -> list[str]:
    return sorted(machine.name for machine in machines)
