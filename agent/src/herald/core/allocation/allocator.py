# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The work of the one agent that holds the lease ``ipam``: VIP leases made, shared and freed; statuses of pools.

An address is given by *creating* its VIP lease (rule 6 of docs/design/election.md): names are unique in etcd, so
two allocators at once cannot give one address to two unrelated Services. Before that the segments on which this
node would announce it are asked whether somebody has it already. If so, a VIP lease without Services sets it aside
(so that the next allocator knows), until nobody answers any more. An agent that does not allocate keeps none of
this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import NamedTuple

from herald.core.allocation.absences import Absences
from herald.core.allocation.externals import Externals, external_addresses
from herald.core.allocation.inquiries import Inquiries
from herald.core.allocation.ipam import ALLOCATED, Decision, Ipam, Record, needs_records
from herald.core.allocation.policies import PolicyReports
from herald.core.effects import EmitEvent, PatchPolicy, PatchPool
from herald.core.election.lock import Lock
from herald.core.election.locks import Locks
from herald.core.election.placement import policies_for
from herald.core.events import AddressProbed, Answer, Done
from herald.core.leases import (
    CONFLICT,
    EXTERNAL,
    POOL,
    SERVICES,
    TRIED_FOR,
    parsed_services,
    pool_of,
    services_text,
    stranger_of,
)
from herald.core.model import (
    IPAM_LEASE,
    SECOND,
    Address,
    Policy,
    Pool,
    PoolStatus,
    Service,
    ServiceKey,
    by_number,
    vip_address,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.settings import Settings
from herald.core.world import World

BATCH = 100
"""Decisions, and addresses freed, in one step, so that renewals never wait behind a burst of Services."""
REPORT_PACE = SECOND
"""Between two rounds of looking at the statuses of pools and policies, and after a write that failed."""
IN_FLIGHT = 16
"""Writes of these under way at once: a burst of changes costs paced writes."""
ASK_AGAIN = 60 * SECOND
"""Between two questions whether those who answer for addresses that are set aside are still there."""


class _Report(NamedTuple):
    """The status of a pool or a policy."""

    kind: type[Pool | Policy]
    name: str


class Allocator:
    def __init__(
        self,
        settings: Settings,
        world: World,
        locks: Locks,
        segments: Callable[[Service | None], frozenset[int]],
        kin: Callable[[], frozenset[str]],
        outbox: Outbox,
    ) -> None:
        """``segments``: the devices on which this node would announce a Service; None: any. ``kin``: the MACs of this
        node, and of the others that live."""
        self._settings = settings
        self._world = world
        self._locks = locks
        self._segments = segments
        self._out = outbox
        self._ipam: Ipam | None = None
        self._expected: set[Address] = set()
        self._frees_due: set[Address] = set()
        """Addresses whose lease may have to go, if it names nobody."""
        self._inquiries = Inquiries(outbox, kin)
        self._asking: dict[Address, Record] = {}
        """What is to be recorded if nobody answers."""
        self._ask_again_at = 0
        self._noted: dict[ServiceKey, tuple[str, ...]] = {}
        """What was told of requests that are sound."""
        self._externals = Externals()
        self._externals_due: set[Address] = set()
        """Addresses whose lease may have to say something else of the Services that it is external to."""
        self._policy_reports = PolicyReports(world, self._announces)
        self._patches: dict[int, _Report] = {}
        """Those that are being written."""
        self._reports: deque[_Report] = deque()
        """Those that are still to be looked at in this round."""
        self._pools_in_doubt: set[str] = set()
        """Whose status was not written, or has changed: the next round looks at them, as at every policy."""
        self._reports_due = 0
        self._more = False
        self._since = 0
        """The resourceVersion of the lease ``ipam`` when this term began: what an allocator before this one may have
        sent starts from nothing newer."""
        self.decided: set[ServiceKey] = set()
        """Services decided anew since the caller last took them: their status may have to change."""
        self._absences = Absences(outbox, lambda each: each.is_watched(all_types=world.all_types))
        self.left: list[Service] = []
        """Found to be of a type that is not watched any more, since the caller last took them."""

    @property
    def active(self) -> bool:
        return self._ipam is not None

    def lead(self, leads: bool, now: int) -> None:
        """Begin or end the work, as the lease ``ipam`` is gained or lost."""
        if leads == self.active:
            return
        self._out.note("allocate" if leads else "stop allocating")
        self._ipam = None
        self._expected.clear()
        self._frees_due.clear()
        self._inquiries.clear()
        self._asking.clear()
        self._absences.clear()
        self.left.clear()
        self._ask_again_at = now + ASK_AGAIN
        self._more = False
        for lock in self._locks.by_name.values():
            # What an allocator wanted of leases ends with its term, and what it sent may come to pass.
            lock.wants, lock.doomed = None, False
            if leads and lock.lease is not None:
                lock.distrusted = max(lock.distrusted, lock.lease.resource_version)
        own = self._locks.by_name[IPAM_LEASE].lease
        self._since = own.resource_version if own is not None else 0
        self._reports_due = now
        self._reports.clear()
        self._pools_in_doubt.clear()
        self._noted.clear()
        self._externals = Externals()
        self._externals_due.clear()
        if leads:
            self._ipam = Ipam(self._settings.default_class, self._settings.adopt_classes)
            for pool in self._world.pools.values():
                self._ipam.put_pool(pool)
            for name in self._locks.by_name:
                self.lease_changed(name)
            for service in self._world.services.values():
                self._ipam.put_service(service)
                problems = self._put_external(self._ipam, service)
                self._tell_notes(self._ipam, service, problems, told=self._was_known(service))

    def decision(self, key: ServiceKey) -> Decision | None:
        """What the Service shall hold; None where this agent does not allocate."""
        return self._ipam.decide(key) if self._ipam is not None else None

    def is_sure(self, address: Address) -> bool:
        """Whether nothing of before can take the address away from whom its lease names; if it may, the lease is
        written once more, which ends that (every write is bound to the version that it was made from)."""
        lock = self._locks.get(vip_lease_name(address))
        if lock is None or lock.lease is None:
            return False
        if lock.lease.resource_version <= self._since:
            lock.distrusted = max(lock.distrusted, lock.lease.resource_version)
        if not lock.in_doubt:
            return True
        if lock.request is None and lock.wants is None:
            lock.wants = {}
            self._locks.recheck([lock.name])
        return False

    # --- what it is told -----------------------------------------------------------------------------------

    def service_changed(self, key: ServiceKey) -> None:
        if self._ipam is None:
            return
        service = self._world.services.get(key)
        if service is None:
            if self._ipam.cares_for(key) or self._locks.of_service(key):
                self._absences.doubt(key)
            self._ipam.drop_service(key)
            self._noted.pop(key, None)
            self._externals_due |= self._externals.put(key, ())
        else:
            self._absences.seen(key)
            self._ipam.put_service(service)
            # Also what it had before this agent knew it, and whoever waited for that to be told.
            self._tend(lock for lock in self._locks.of_service(key) if key in lock.external)
            self._tell_notes(self._ipam, service, self._put_external(self._ipam, service))

    def policies_changed(self) -> None:
        """Other external addresses may be announced than before."""
        if self._ipam is not None:
            for service in self._world.services.values():
                if service.external_ips:
                    self._tell_notes(self._ipam, service, self._put_external(self._ipam, service))

    def _put_external(self, ipam: Ipam, service: Service) -> tuple[str, ...]:
        """Services of another load balancer's class are left to it, with all their addresses. What of the external
        addresses that are to be announced is none."""
        if service.type == "LoadBalancer" and not ipam.in_care(service):
            addresses, problems = frozenset[Address](), tuple[str, ...]()
        else:
            addresses, problems = external_addresses(service, self._world.policies.values())
        news = self._externals.put(service.key, addresses)
        if news:
            self._externals_due |= news
            self.decided.add(service.key)
        return problems

    def _tell_notes(
        self, ipam: Ipam, service: Service, problems: tuple[str, ...], *, told: bool = False
    ) -> None:
        """Events of what is new in the notes of a Service's request, and in the problems of its external addresses.
        ``told``: an allocator before this one did."""
        notes = *ipam.notes(service.key), *problems
        before = self._noted.pop(service.key, ())
        if notes:
            self._noted[service.key] = notes
        for note in notes if not told else ():
            if note not in before:
                self._out.add(EmitEvent(service.key, service.uid, "Warning", "Notice", note))

    def _was_known(self, service: Service) -> bool:
        """Whether an allocator before this one knew the Service, by its condition or a lease that names it.

        Not exactly: what was edited while nobody allocated is never told, and what was told of a Service that has
        neither (of another type, without an address that could be announced) is told again.
        """
        decided = any(condition.type == ALLOCATED for condition in service.conditions)
        return decided or bool(self._locks.of_service(service.key))

    def external(self, key: ServiceKey) -> frozenset[Address]:
        """The external addresses that are to be announced for a Service."""
        return self._externals.of(key)

    def pool_changed(self, name: str) -> None:
        if self._ipam is None:
            return
        pool = self._world.pools.get(name)
        if pool is None:
            self._ipam.drop_pool(name)
        else:
            self._ipam.put_pool(pool)
            # Its status may say something else than the one that was written last.
            self._pools_in_doubt.add(name)

    def lease_changed(self, name: str) -> None:
        """The VIP lease of that name is there, says something else, or is gone."""
        lock = self._locks.get(name)
        address = lock.address if lock is not None else vip_address(name)
        if self._ipam is None or address is None:
            return
        lease = lock.lease if lock is not None else None
        if lease is not None:
            self._asking.pop(address, None)
        if lock is None or lease is None:
            self._ipam.drop_record(address)
            if lock is None or lock.wants is None:
                self._ipam.clear_aside(address)
        elif lock.external and not lock.services:
            self._ipam.drop_record(address)
            self._ipam.clear_aside(address)
        elif not lock.services and (mac := stranger_of(lease)):
            self._ipam.drop_record(address)
            tried_for = parsed_services(lease.annotations.get(TRIED_FOR, ""))
            self._ipam.set_aside(address, mac, tried_for)
        else:
            self._ipam.put_record(Record(address, pool_of(lease), lock.services))
            self._ipam.clear_aside(address)
        self._externals_due.add(address)
        self._frees_due.add(address)
        under_way = address in self._asking or (lock is not None and lock.wants is not None)
        if address in self._expected and not under_way:
            self._expected.discard(address)
            self._ipam.settle(address)

    def probed(self, answer: AddressProbed) -> None:
        self._inquiries.answer(answer)

    def answer(self, answer: Answer, now: int) -> bool:
        if self._absences.answer(answer, now):
            return True
        patched = self._patches.pop(answer.request, None)
        if patched is None:
            return False
        if not isinstance(answer.outcome, Done):
            self._reports_due = now + REPORT_PACE
            if patched.kind is Pool:
                self._pools_in_doubt.add(patched.name)
        return True

    # --- what is due -----------------------------------------------------------------------------------------

    def next_deadline(self, now: int) -> int | None:
        if self._ipam is None:
            return None
        if self._more:
            return now
        deadlines = (
            None if self._reports_wait else self._reports_due,
            self._inquiries.next_deadline(),
            self._absences.next_deadline(),
            self._ask_again_at if self._ipam.strangers else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def tick(self, now: int) -> None:
        """Take up to BATCH decisions. To be called only while this node holds the lease and is live."""
        if self._ipam is None:
            return
        self._inquire(self._ipam, now)
        self._follow_absences(self._ipam, now)
        taken = 0
        for key in self._ipam.dirty():
            self._carry_out(self._ipam, key, self._ipam.decide(key))
            taken += 1
            if taken == BATCH:
                break
        self._more = taken == BATCH
        self._free(self._ipam)
        for address in self._externals_due:
            self._tend_external(address)
        self._externals_due.clear()
        self._report(self._ipam, now)

    def _free(self, ipam: Ipam) -> None:
        """Have the leases go of up to BATCH addresses that nobody has. What a write that is under way holds up comes
        back by ``lease_changed``."""
        orphans = set(filter(ipam.is_orphan, self._frees_due))
        due = nsmallest(BATCH, orphans, key=by_number)
        self._frees_due = orphans.difference(due)
        self._more = self._more or bool(self._frees_due)
        for address in due:
            lock = self._locks.want(vip_lease_name(address))
            if lock is None or lock.doomed or lock.wants or address in self._expected:
                continue
            if not self._are_gone(lock.external):
                continue
            self._out.note("free", address=str(address))
            if self._externals.has(address):
                lock.wants = {SERVICES: "", POOL: ""}
            else:
                lock.doomed = True
            self._locks.recheck([lock.name])

    def _carry_out(self, ipam: Ipam, key: ServiceKey, decision: Decision) -> None:
        self.decided.add(key)
        for record in decision.give:
            self._write(record)
        for address in decision.addresses:
            if (lock := self._locks.get(vip_lease_name(address))) is not None:
                lock.doomed = False
        # Who is only not to be seen keeps what it has; once it is known to be gone, it is decided anew.
        if not decision.release or not self._are_gone((key,)):
            return
        service = self._world.services.get(key)
        if service is not None and needs_records(service, decision):
            # The watch will show its new status, and it is decided anew.
            return
        for address in decision.release:
            lock = self._locks.get(vip_lease_name(address))
            # As it will be: others may leave, too, by a write that is under way.
            shared = ipam.record(address)
            if shared is not None and lock is not None and lock.lease is not None:
                self._write(shared.left(key))

    def _write(self, record: Record) -> None:
        lock = self._locks.want(vip_lease_name(record.address))
        if lock is None or self._ipam is None:
            return
        self._ipam.expect(record)
        self._expected.add(record.address)
        lock.doomed = False
        if lock.lease is not None or lock.wants is not None or self._ipam.shown(record.address):
            self._want(lock, record)
        else:
            self._ask(record)
        self._locks.recheck([lock.name])

    def _want(self, lock: Lock, record: Record) -> None:
        lock.wants = {
            **(lock.wants or {}),
            POOL: record.pool,
            SERVICES: services_text(record.services),
            CONFLICT: "",
            TRIED_FOR: "",
        }

    def _tend(self, locks: Iterable[Lock]) -> None:
        self._externals_due.update(lock.address for lock in locks if lock.address is not None)

    def _tend_external(self, address: Address) -> None:
        """Make the address's lease say for whom it is external; nobody: it goes, unless it was given to somebody."""
        name = vip_lease_name(address)
        lock = self._locks.want(name) if self._externals.has(address) else self._locks.get(name)
        if lock is None:
            return
        services = self._externals.named(address, lock.external)
        if lock.external == services or not self._are_gone(lock.external):
            return
        # Who holds it goes by what it says, and lets go of it; then it can be deleted.
        aside = {CONFLICT: "", TRIED_FOR: ""}
        lock.wants = {**(lock.wants or aside), EXTERNAL: services_text(services)}
        lock.doomed = not (services or lock.services or lock.wants.get(SERVICES))
        if lock.doomed:
            self._out.note("free", address=str(address))
        self._locks.recheck([name])

    # --- is it really gone? -----------------------------------------------------------------------------------

    def _are_gone(self, keys: Iterable[ServiceKey]) -> bool:
        """Whether nothing speaks for those of them that the watch does not show; what is not known is asked."""
        return self._absences.sure(key for key in keys if key not in self._world.services)

    def _follow_absences(self, ipam: Ipam, now: int) -> None:
        for key, service in self._absences.verdicts(now):
            ipam.ask_again(key)
            self._tend(self._locks.of_service(key))
            if service is not None:
                self.left.append(service)

    # --- is it free on the segment? --------------------------------------------------------------------------

    def _ask(self, record: Record) -> None:
        """The address is given for the first time: only if nobody on the segment has it."""
        if record.address not in self._asking:
            services = [self._world.services.get(key) for key in record.services]
            on = {index for each in services if each is not None for index in self._segments(each)}
            self._inquiries.ask(record.address, on, self._own_mac(record.address))
        self._asking[record.address] = record

    def _own_mac(self, address: Address) -> bytes | None:
        """Of the device of this node that has the address: it need not answer what its own node asks."""
        for interface in self._world.interfaces.values():
            if any(each.ip == address for each in interface.addresses):
                return interface.mac
        return None

    def _inquire(self, ipam: Ipam, now: int) -> None:
        if now >= self._ask_again_at:
            self._ask_again_at = now + ASK_AGAIN
            on = self._segments(None)
            for address in ipam.strangers:
                self._inquiries.ask(address, on, self._own_mac(address))
        for address, mac in self._inquiries.verdicts(now):
            record = self._asking.pop(address, None)
            lock = self._locks.want(vip_lease_name(address))
            if lock is None:
                continue
            if record is not None and lock.lease is None:
                self._want(lock, record)
                if mac is not None:
                    self._set_aside(ipam, record, lock, mac.hex(":"))
            elif record is None and mac is None and address in ipam.strangers:
                self._out.note("no longer set aside", address=str(address))
                lock.doomed = True
            self._locks.recheck([lock.name])

    def _set_aside(self, ipam: Ipam, record: Record, lock: Lock, mac: str) -> None:
        address = record.address
        self._out.note("set aside", level="warning", address=str(address), mac=mac)
        lock.wants = {
            POOL: record.pool,
            CONFLICT: mac,
            TRIED_FOR: services_text(record.services),
        }
        ipam.set_aside(address, mac, record.services)
        self._expected.discard(address)
        self._frees_due.add(address)
        ipam.settle(address)
        for key in record.services:
            if (service := self._world.services.get(key)) is not None:
                message = (
                    f"{address} of pool {record.pool} is answered for by {mac}: it is set aside"
                )
                self._out.add(EmitEvent(key, service.uid, "Warning", "AddressConflict", message))

    def _announces(self, policy: Policy, service: Service) -> bool:
        """Whether the policy has any address of the Service announced."""
        given = self._ipam is not None and self._ipam.in_care(service)
        external = bool(self._externals.of(service.key))
        return bool(policies_for(service, (policy,), given=given, external=external))

    # --- statuses of pools and policies ----------------------------------------------------------------------

    @property
    def _reports_wait(self) -> bool:
        """Whether nothing more is written before an answer comes; a round begins when the one before is answered."""
        return len(self._patches) >= (IN_FLIGHT if self._reports else 1)

    def _report(self, ipam: Ipam, now: int) -> None:
        """Write what is not as it should be: in rounds, so that none is written twice at once."""
        if now < self._reports_due or self._reports_wait:
            return
        if not self._reports:
            pools = self._pools_in_doubt.union(ipam.dirty_pools())
            self._pools_in_doubt.clear()
            self._reports.extend(_Report(Pool, name) for name in sorted(pools))
            self._reports.extend(_Report(Policy, name) for name in self._world.policies)
        while self._reports and not self._reports_wait:
            report = self._reports.popleft()
            if report.kind is Pool:
                self._patch_pool(report, ipam.pool_status(report.name))
            else:
                self._patch_policy(report, now)
        if not self._reports:
            self._reports_due = now + REPORT_PACE

    def _patch_pool(self, report: _Report, status: PoolStatus | None) -> None:
        pool = self._world.pools.get(report.name)
        if status is None or pool is None or pool.status == status:
            return
        number = self._out.new_id()
        self._patches[number] = report
        self._out.add(PatchPool(number, pool.name, pool.resource_version, status))

    def _patch_policy(self, report: _Report, now: int) -> None:
        policy = self._world.policies.get(report.name)
        if policy is None or policy.deleting:
            return
        status = self._policy_reports.status(policy, now)
        if policy.status == status:
            return
        number = self._out.new_id()
        self._patches[number] = report
        self._out.add(PatchPolicy(number, policy.name, policy.resource_version, status))
