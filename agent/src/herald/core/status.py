# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a Service's status says: its addresses and Allocated by the allocator, Announced by the holder.

Level-triggered: what it should say is compared with what it says, and only a difference is written, with the
resourceVersion of what was compared; after a write the Service is left alone until the watch shows a newer one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

from herald.core.allocation.addresses import Malformed, parse_address
from herald.core.allocation.allocator import Allocator
from herald.core.allocation.ipam import ALLOCATED, ORPHANED, Decision, ingress_due
from herald.core.effects import EmitEvent, PatchService
from herald.core.election.conflicts import REASON as CONFLICT
from herald.core.election.conflicts import Conflicts
from herald.core.election.lock import Lock
from herald.core.election.locks import Locks
from herald.core.election.observer import Observer
from herald.core.election.placement import policies_for
from herald.core.events import Answer, Failed, Refused
from herald.core.model import (
    MILLISECOND,
    SECOND,
    Address,
    Condition,
    Service,
    ServiceKey,
    by_number,
    vip_lease_name,
)
from herald.core.outbox import Outbox
from herald.core.world import World

ANNOUNCED = "herald.dev/Announced"
"""Whether its addresses are announced: by which node, interface and MAC, or why by none."""
IN_FLIGHT = 16
"""Status writes under way at once: a burst of changes costs paced writes."""
MANY = 4
"""Claims under way at once that are a lost node's addresses, as like as not."""
BURST = 500 * MILLISECOND
"""So many claims within that time are those of a burst of new Services, which come as fast as they are made."""
PUT_OFF = SECOND
"""What is for people waits until so long after many claims: the others' claims are under way then, too, and what is
written would share the API server and every agent's time with them."""
MOST_PUT_OFF = 30 * SECOND
"""And no longer, however many follow."""
ALLOCATING_PUT_OFF, ALLOCATING_MOST_PUT_OFF = 200 * MILLISECOND, 500 * MILLISECOND
"""The same where what is written gives addresses, too."""
LOOKED_AT = 200
"""Services whose status is looked at at once, so that renewals never wait for thousands of them."""
REMIND = 30 * 60 * SECOND
"""The API server forgets events after an hour: who has no address is told so often why, one after the other, spread
over that time."""
REMIND_PACE = SECOND // 5
"""But no faster: the writer lets through ten events a second, and half of them are left for what is new."""
WHY_NODES = 5
"""Nodes whose reason a condition names."""
WHY_MAX = 256
"""Characters of one node's reason."""


@dataclass(frozen=True, slots=True)
class _Sent:
    key: ServiceKey
    resource_version: int
    left: Service | None = None
    """A Service that is gone from the watch: nothing but what Herald said of it is taken away."""


class ServiceStatus:
    def __init__(
        self,
        world: World,
        locks: Locks,
        observer: Observer,
        allocator: Allocator,
        conflicts: Conflicts,
        describe: Callable[[Lock], str],
        outbox: Outbox,
    ) -> None:
        """``describe``: on which interfaces, with which MACs, this node announces a held lock, and why."""
        self._world = world
        self._locks = locks
        self._observer = observer
        self._allocator = allocator
        self._conflicts = conflicts
        self._describe = describe
        self._out = outbox
        self._marked: dict[ServiceKey, None] = {}
        self._sent: dict[int, _Sent] = {}
        self._busy: dict[ServiceKey, int] = {}
        """The resourceVersion that was written over; nothing more until the watch shows another."""
        self._left: dict[ServiceKey, Service] = {}
        self._retry_at = 0
        self._rush_from = 0
        """Since when there are many claims; 0: there are not."""
        self._quiet_at = 0
        """When what is for people may be written, if no claim follows."""
        self._claims = 0
        self._begun: deque[int] = deque(maxlen=MANY)
        """When the last claims were begun."""
        self._leaving = False
        """Then nothing is put off: there may be no later."""
        self._untold: list[EmitEvent] = []
        self._lacking: dict[ServiceKey, Condition] = {}
        """Who has not all addresses that it asks for, and why, in the order in which they are told again."""
        self._reminded_at = 0
        """When one of them was told again."""

    def mark(self, keys: Iterable[ServiceKey]) -> None:
        """What these Services' status should say may have changed."""
        self._marked.update(dict.fromkeys(keys))

    def service_changed(self, key: ServiceKey) -> None:
        self._busy.pop(key, None)
        self._marked[key] = None

    def left(self, services: Iterable[Service]) -> None:
        """These, as they are now, are of a type that is not watched any more: what Herald said of them must go.
        (Their addresses the API server takes away itself.)"""
        self._left.update((service.key, service) for service in services)

    def answer(self, answer: Answer, now: int) -> bool:
        sent = self._sent.pop(answer.request, None)
        if sent is None:
            return False
        outcome = answer.outcome
        # A conflict, or a Service that is gone, the watch will show; another one has the name of one that left.
        # Anything else is tried again.
        final = (404, 409) if sent.left is None else (404, 409, 422)
        if isinstance(outcome, Failed) or (
            isinstance(outcome, Refused) and outcome.status not in final
        ):
            if self._busy.get(sent.key) == sent.resource_version:
                del self._busy[sent.key]
            self._retry_at = now + SECOND
            if sent.left is not None:
                self._left[sent.key] = sent.left
            else:
                self._marked[sent.key] = None
        return True

    def next_deadline(self) -> int | None:
        if (self._marked or self._left) and len(self._sent) < IN_FLIGHT:
            return max(self._retry_at, self._put_off_until)
        if self._untold:
            return self._put_off_until
        return max(self._remind_at, self._put_off_until) if self._lacking else None

    @property
    def _remind_at(self) -> int:
        return self._reminded_at + max(REMIND // len(self._lacking), REMIND_PACE)

    @property
    def _put_off_until(self) -> int:
        if not self._rush_from or self._leaving:
            return 0
        most = ALLOCATING_MOST_PUT_OFF if self._allocator.active else MOST_PUT_OFF
        return min(self._quiet_at, self._rush_from + most)

    def leave(self) -> None:
        """This agent is about to end."""
        self._leaving = True

    def tell(self, event: EmitEvent) -> None:
        """Send it as soon as there is time for what is for people."""
        self._untold.append(event)

    def tick(self, now: int, *, claiming: int, claims: int) -> None:
        """``claiming``: how many claims of this node are under way. ``claims``: how many it has begun in all."""
        self._begun.extend([now] * min(claims - self._claims, MANY))
        self._claims = claims
        self._note_rush(claiming, now)
        if now < self._put_off_until:
            return
        for event in self._untold:
            self._out.add(event)
        self._untold.clear()
        self._remind(now)
        if now < self._retry_at:
            return
        if not self._allocator.active:
            self._left.clear()
        for key in list(self._left):
            if len(self._sent) >= IN_FLIGHT:
                return
            left = self._left.pop(key)
            if key not in self._world.services:
                self._clean(left)
        for key in list(islice(self._marked, LOOKED_AT)):
            if len(self._sent) >= IN_FLIGHT:
                return
            del self._marked[key]
            service = self._world.services.get(key)
            if service is not None and key not in self._busy:
                self._write(service)
        if not self._marked:
            self._marked.clear()  # it keeps the room that it once had for thousands until then

    def _note_rush(self, claiming: int, now: int) -> None:
        burst = len(self._begun) == MANY and now - self._begun[0] <= BURST
        if claiming >= MANY or (claiming and self._rush_from):
            quiet_at = now + (ALLOCATING_PUT_OFF if self._allocator.active else PUT_OFF)
        elif burst and not self._allocator.active:
            quiet_at = self._begun[-1] + PUT_OFF
        else:
            if now >= self._quiet_at:
                self._rush_from = 0
            return
        self._rush_from = self._rush_from or now
        self._quiet_at = max(self._quiet_at, quiet_at)

    def _clean(self, service: Service) -> None:
        kinds = tuple(c.type for c in service.conditions if c.type in (ALLOCATED, ANNOUNCED))
        if not kinds:
            return
        number = self._out.new_id()
        self._sent[number] = _Sent(service.key, service.resource_version, service)
        # Whatever else has become of it meanwhile: nobody writes these but Herald.
        self._out.add(PatchService(number, replace(service, resource_version=0), None, (), kinds))

    def _write(self, service: Service) -> None:
        decision = self._allocator.decision(service.key)
        if decision is not None and not decision.settled:
            return
        self._note_lacking(service.key, decision)
        wanted: list[Condition] = []
        drop: list[str] = []
        ingress: tuple[str, ...] | None = None
        has = {condition.type: condition for condition in service.conditions}
        if decision is not None:
            ingress = ingress_due(service, decision)
            told = decision.addresses if ingress else ()
            if [address for address in told if not self._allocator.is_sure(address)]:
                # The answer to what makes it sure brings us back here.
                return
            if decision.condition is not None:
                wanted.append(decision.condition)
            elif ALLOCATED in has:
                drop.append(ALLOCATED)
        addresses = self._addresses(service, decision)
        announced = self._announced(service, addresses, decision)
        if announced is not None:
            wanted.append(announced)
        elif decision is not None and not addresses and ANNOUNCED in has:
            drop.append(ANNOUNCED)
        changed = tuple(condition for condition in wanted if has.get(condition.type) != condition)
        if not changed and not drop and ingress is None:
            return
        number = self._out.new_id()
        self._sent[number] = _Sent(service.key, service.resource_version)
        self._busy[service.key] = service.resource_version
        self._out.add(PatchService(number, service, ingress, changed, tuple(drop)))
        self._tell(service, ingress, changed, decision)

    def _note_lacking(self, key: ServiceKey, decision: Decision | None) -> None:
        why = decision.condition if decision is not None else None
        if why is not None and why.status == "False":
            self._lacking[key] = why
        else:
            self._lacking.pop(key, None)

    def _tell(
        self,
        service: Service,
        ingress: tuple[str, ...] | None,
        changed: tuple[Condition, ...],
        decision: Decision | None,
    ) -> None:
        """Events beside a status write: addresses given, what keeps them from being given, that no pool stands behind
        them any more, and that all is well again."""
        before = {condition.type: condition.reason for condition in service.conditions}
        if ingress:
            told = decision.condition if decision is not None else None
            met = told is not None and told.status == "True"
            message = told.message if told is not None and met else ", ".join(ingress)
            self._event(service, "Normal", "Allocated", message)
        for condition in changed:
            was = before.get(condition.type, "")
            if condition.status == "False" or (condition.reason == ORPHANED and was != ORPHANED):
                self._event(service, "Warning", condition.reason, condition.message)
            elif condition.type == ALLOCATED and was not in ("", condition.reason) and not ingress:
                self._event(service, "Normal", condition.reason, condition.message)

    def _remind(self, now: int) -> None:
        """Tell the next one of those who have no address why; one that is gone by then drops out."""
        if not self._allocator.active:
            self._lacking.clear()
        if not self._lacking:
            self._reminded_at = now
        elif now >= self._remind_at:
            self._reminded_at = now
            key = next(iter(self._lacking))
            why = self._lacking.pop(key)
            service = self._world.services.get(key)
            if service is not None:
                self._lacking[key] = why
                self._event(service, "Warning", why.reason, why.message)

    def _event(self, service: Service, kind: str, reason: str, message: str) -> None:
        self._out.add(
            EmitEvent(
                service.key,
                service.uid,
                "Warning" if kind == "Warning" else "Normal",
                reason,
                message,
            )
        )

    def _addresses(self, service: Service, decision: Decision | None) -> tuple[Address, ...]:
        """What is announced of the Service: what it was given, then its external addresses."""
        given = decision.addresses if decision is not None else _parsed(service.ingress)
        external: Iterable[Address] = self._locks.external(service.key)
        if decision is not None:
            external = self._allocator.external(service.key)
        others = sorted(set(external) - set(given), key=by_number)
        return (*given, *others)

    def _announced(
        self, service: Service, addresses: tuple[Address, ...], decision: Decision | None
    ) -> Condition | None:
        """The condition, where it is this agent's to write: the holder of the Service's first address writes
        it, and where nobody may hold it, the allocator."""
        if not addresses:
            return None
        lock = self._locks.get(vip_lease_name(addresses[0]))
        if lock is None or service.key not in lock.keys:
            return None
        if lock.held and lock.announced:
            conflict = self._conflicts.text(addresses)
            said = "; ".join(filter(None, (self._by_whom(addresses), conflict)))
            return Condition(ANNOUNCED, "True", CONFLICT if conflict else "Announced", said)
        if decision is None or self._observer.counts(lock.holder) or lock.placement.order:
            return None
        if not lock.placement.why_not:
            # Nobody has looked yet: this node at least would have its reason.
            return None
        external = service.key in lock.external
        if not policies_for(service, self._world.policies.values(), external=external):
            return Condition(
                ANNOUNCED, "False", "NoPolicy", "no L2AnnouncementPolicy selects this Service"
            )
        return Condition(ANNOUNCED, "False", "NoEligibleNode", _why(lock))

    def _by_whom(self, addresses: tuple[Address, ...]) -> str:
        parts = []
        for address in addresses:
            lock = self._locks.get(vip_lease_name(address))
            if lock is not None and lock.held:
                parts.append(f"{address} by {self._describe(lock)}")
            elif lock is not None and lock.lease is not None and lock.lease.holder:
                parts.append(f"{address} by {lock.lease.holder}")
            else:
                parts.append(f"{address} by nobody yet")
        return "; ".join(parts)


def _why(lock: Lock) -> str:
    why = [each for each in sorted(lock.placement.why_not.items()) if each[1]]
    more = f", and {len(why) - WHY_NODES} more" if len(why) > WHY_NODES else ""
    named = (f"{node}: {_plain(reason)}" for node, reason in why[:WHY_NODES])
    return "; ".join(named) + more


def _plain(reason: str) -> str:
    """Escaped and cut: it may be what somebody wrote into a presence."""
    return reason[:WHY_MAX].encode("ascii", "backslashreplace").decode()


def _parsed(texts: tuple[str, ...]) -> tuple[Address, ...]:
    found = map(parse_address, texts)
    return tuple(address for address in found if not isinstance(address, Malformed))
