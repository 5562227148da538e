# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Carries effects out: entries, session and frames at once and in order; what may wait, by handing
it on.

What always holds: ``carry_out`` waits for nobody, and no exception leaves it. What fails becomes the
error answer that the decider reckons with, or, where an effect has no answer, a line in the log and
another try at the slow tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from herald.core.effects import (
    Announcement,
    CancelProbes,
    Effect,
    EmitEvent,
    Finish,
    ForgetSeen,
    JoinGroups,
    LeaseRequest,
    Note,
    PatchPolicy,
    PatchPool,
    PatchService,
    ProbeAddress,
    ReadService,
    Relist,
    SendFrames,
    SendSolicitations,
    SetAttachments,
    SetEntries,
    SetSession,
    Solicitation,
    WatchServices,
)
from herald.core.events import (
    AddressProbed,
    Answer,
    Event,
    Failed,
    FramesAnswer,
    KernelAnswer,
    Kind,
)
from herald.core.kernel import EntryKey, EntryValue
from herald.core.model import Address
from herald.shell import attacher
from herald.shell.attacher import Attacher
from herald.shell.counters import Counters
from herald.shell.log import LEVELS, said_by
from herald.shell.worker import Worker

Members: TypeAlias = frozenset[tuple[Address, int]]

log = logging.getLogger(__name__)
decisions = logging.getLogger("herald")


class Responder(attacher.Responder, Protocol):
    def set_session(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None: ...

    def set_entries(
        self, remove: Collection[EntryKey], put: Mapping[EntryKey, EntryValue]
    ) -> None: ...

    def forget_seen(self, addresses: Collection[Address]) -> int: ...

    def learn_own(self, macs: Mapping[bytes, int]) -> None: ...


class Frames(Protocol):
    def send(self, announcements: Iterable[Announcement]) -> str: ...

    def solicit(self, solicitations: Iterable[Solicitation]) -> str: ...


class Memberships(Protocol):
    def set(self, members: Iterable[tuple[Address, int]]) -> str: ...

    def reconcile(self) -> str: ...


class Duplicates(Protocol):
    def ask(self, number: int, address: Address, ifindex: int, kin: frozenset[str]) -> None: ...

    def cancel(self, numbers: frozenset[int]) -> None: ...


class Api(Protocol):
    def submit(
        self,
        effect: LeaseRequest | PatchService | ReadService | PatchPool | PatchPolicy | EmitEvent,
    ) -> None: ...

    def refresh(self, kind: Kind) -> None: ...

    def watch_services(self, *, all_types: bool) -> None: ...


class Hands:
    """Used by the deciding thread alone, and by two of its own; but ``problems`` may be asked for by any."""

    def __init__(
        self,
        responder: Responder,
        frames: Frames,
        groups: Memberships,
        duplicates: Duplicates,
        api: Api,
        counters: Counters,
        clock: Callable[[], int],
        post: Callable[[Event], None],
        tidy: Callable[[], None] = lambda: None,
        worker: type[Worker[Any]] = Worker,
    ) -> None:
        """``post``: takes what is answered later. ``tidy``: what else there is to do with groups, once a second.
        ``worker``: the seam for tests."""
        self._responder = responder
        self._frames = frames
        self._groups = groups
        self._duplicates = duplicates
        self._api = api
        self._counters = counters
        self._clock = clock
        self._tidy = tidy
        attachments = Attacher(
            responder,
            post,
            lambda error: self._complain("SetAttachments", error),
            counters,
            clock,
        )
        self._attaching = worker("attach", attachments.set)
        self._joining = worker("groups", self._join)
        self._joined: Members | None = None
        self._lock = threading.Lock()
        self._complaints: Mapping[str, str] = {}
        """Never changed in place: other threads go through it."""

    def start(self) -> None:
        self._attaching.start()
        self._joining.start()
        self._joining.want(frozenset())

    def stop(self) -> None:
        self._attaching.stop()
        self._joining.stop()

    def carry_out(self, effect: Effect) -> Event | None:
        """The answer that is the next event; None where there is none, or where it comes later."""
        name = type(effect).__name__
        self._counters.effects[name] += 1
        try:
            answer = self._carry_out(effect)
        except Exception as error:
            said = said_by(error)
            log.warning("effect-failed", extra={"fields": {"effect": name, "error": said}})
            log.debug("effect-failed", exc_info=True)
            answer = self._error(effect, said)
        if _failed(answer):
            self._counters.errors[name] += 1
        return answer

    def reconcile(self) -> None:
        """At the slow tick: look whether attachments and groups are as they were wished, and mend them."""
        self._attaching.again()
        self._joining.again()

    def _carry_out(self, effect: Effect) -> Event | None:
        match effect:
            case SetSession():
                session = effect.session
                self._responder.set_session(
                    session.deadline, session.fuse, session.renewed, session.hold
                )
                return KernelAnswer(effect.id)
            case SetEntries():
                self._responder.set_entries(effect.remove, effect.put)
                return KernelAnswer(effect.id)
            case ForgetSeen():
                self._counters.answers += self._responder.forget_seen(effect.addresses)
            case SendFrames():
                self._responder.learn_own({each.mac: each.ifindex for each in effect.announcements})
                return FramesAnswer(effect.id, self._frames.send(effect.announcements))
            case SendSolicitations():
                self._solicit(effect)
            case ProbeAddress():
                self._duplicates.ask(effect.id, effect.address, effect.ifindex, effect.kin)
            case CancelProbes():
                self._duplicates.cancel(effect.ids)
            case SetAttachments():
                self._attaching.want(effect)
            case JoinGroups():
                self._joining.want(effect.members)
            case Note():
                decisions.log(LEVELS[effect.level], effect.event, extra={"fields": effect.fields})
            case Finish():
                pass
            case _:
                self._ask_api(effect)
        return None

    def _solicit(self, effect: SendSolicitations) -> None:
        if error := self._frames.solicit(effect.solicitations):
            # Nobody will answer then, which is what the decider goes by.
            log.debug("solicitations-failed", extra={"fields": {"error": error}})

    def _ask_api(
        self,
        effect: LeaseRequest
        | PatchService
        | ReadService
        | PatchPool
        | PatchPolicy
        | EmitEvent
        | Relist
        | WatchServices,
    ) -> None:
        match effect:
            case Relist():
                self._api.refresh(effect.kind)
            case WatchServices():
                self._api.watch_services(all_types=effect.all_types)
            case _:
                self._api.submit(effect)

    def _error(self, effect: Effect, error: str) -> Event | None:
        match effect:
            case SetSession() | SetEntries():
                return KernelAnswer(effect.id, error)
            case SendFrames():
                return FramesAnswer(effect.id, error)
            case ProbeAddress():
                return AddressProbed(effect.id, None, error)
            case LeaseRequest() | PatchService() | ReadService() | PatchPool() | PatchPolicy():
                return Answer(effect.id, self._clock(), Failed(error))
        return None

    def _join(self, members: Members) -> None:
        again, self._joined = members is self._joined, members
        try:
            error = self._groups.reconcile() if again else self._groups.set(members)
        except Exception as raised:
            error = said_by(raised)
        self._complain("JoinGroups", error)
        self._tidy()

    def _complain(self, name: str, error: str) -> None:
        """Log a failure when it comes and when it changes, not at every try."""
        with self._lock:
            if error:
                self._counters.errors[name] += 1
            if error == self._complaints.get(name, ""):
                return
            self._complaints = {**self._complaints, name: error}
        if error:
            log.warning("effect-failed", extra={"fields": {"effect": name, "error": error}})
        else:
            log.info("effect-recovered", extra={"fields": {"effect": name}})

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be done at the moment, for people."""
        return tuple(f"{name}: {error}" for name, error in self._complaints.items() if error)


def _failed(answer: Event | None) -> bool:
    match answer:
        case KernelAnswer() | FramesAnswer() | AddressProbed():
            return bool(answer.error)
        case Answer():
            return isinstance(answer.outcome, Failed)
    return False
