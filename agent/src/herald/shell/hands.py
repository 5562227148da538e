# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Carries effects out: the kernel's and the frames' at once and in order, the API's by handing them
on.

What always holds: no exception leaves ``carry_out``. What fails becomes the error answer that the
decider reckons with, or, where an effect has no answer, a line in the log and another try at the
slow tick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from herald.core.effects import (
    Announcement,
    CancelProbes,
    Effect,
    EmitEvent,
    Finish,
    JoinGroups,
    LeaseRequest,
    Note,
    PatchPolicy,
    PatchPool,
    PatchService,
    Probe,
    ProbeAddress,
    Relist,
    SendFrames,
    SendProbes,
    SetAttachments,
    SetEntries,
    SetSession,
    WatchServices,
)
from herald.core.events import (
    AddressProbed,
    Answer,
    AttachmentsSeen,
    Event,
    Failed,
    FramesAnswer,
    KernelAnswer,
    Kind,
)
from herald.core.kernel import EntryKey, EntryValue
from herald.core.model import MILLISECOND, Address
from herald.shell.counters import Counters
from herald.shell.log import LEVELS
from herald.shell.lookout import Found, Lookout

ATTACH_FOR = 250 * MILLISECOND
"""In one go: the kernel takes some milliseconds for each device, and a node may have hundreds, while a renewal is
due every half second. The rest follows at the next slow tick."""

log = logging.getLogger(__name__)
decisions = logging.getLogger("herald")


class Responder(Protocol):
    def set_session(self, deadline: int, fuse: int, renewed: int, hold: bool) -> None: ...

    def set_entries(
        self, remove: Collection[EntryKey], put: Mapping[EntryKey, EntryValue]
    ) -> None: ...

    def attach(self, ifindex: int) -> None: ...

    def detach(self, ifindex: int) -> None: ...

    def attached(self) -> Iterable[int]: ...


class Frames(Protocol):
    def send(self, announcements: Iterable[Announcement]) -> str: ...

    def probe(self, probes: Iterable[Probe]) -> str: ...


class Memberships(Protocol):
    def set(self, members: Iterable[tuple[Address, int]]) -> str: ...

    def reconcile(self) -> str: ...


class Duplicates(Protocol):
    def ask(self, number: int, address: Address, ifindex: int, kin: frozenset[str]) -> None: ...

    def cancel(self, numbers: frozenset[int]) -> None: ...


class Attachments(Protocol):
    def begin(self) -> None: ...

    def take(self) -> Found | None: ...

    def discard(self) -> None: ...


class Api(Protocol):
    def submit(
        self, effect: LeaseRequest | PatchService | PatchPool | PatchPolicy | EmitEvent
    ) -> None: ...

    def refresh(self, kind: Kind) -> None: ...

    def watch_services(self, *, all_types: bool) -> None: ...


class Hands:
    """Used by the deciding thread alone; but ``problems`` may be asked for by any."""

    def __init__(
        self,
        responder: Responder,
        frames: Frames,
        groups: Memberships,
        duplicates: Duplicates,
        api: Api,
        counters: Counters,
        clock: Callable[[], int],
        tidy: Callable[[], None] = lambda: None,
        lookout: Attachments | None = None,
    ) -> None:
        """``tidy``: what else there is to do at the slow tick. ``lookout``: the seam for tests."""
        self._responder = responder
        self._frames = frames
        self._groups = groups
        self._duplicates = duplicates
        self._api = api
        self._counters = counters
        self._clock = clock
        self._tidy = tidy
        self._lookout: Attachments = lookout or Lookout(responder.attached)
        self._attachments: frozenset[int] | None = None
        self._attached: frozenset[int] = frozenset()
        """Where the responder was when last looked at."""
        self._refused: Mapping[int, str] = {}
        """By ifindex: why it could not be attached."""
        self._complaints: Mapping[str, str] = {}
        """Never changed in place: other threads go through it."""

    def carry_out(self, effect: Effect) -> Event | None:
        """The answer that is the next event; None where there is none, or where it comes later."""
        name = type(effect).__name__
        self._counters.effects[name] += 1
        try:
            answer = self._carry_out(effect)
        except Exception as error:
            log.warning("effect-failed", extra={"fields": {"effect": name, "error": _text(error)}})
            log.debug("effect-failed", exc_info=True)
            answer = self._error(effect, _text(error))
        if _failed(answer):
            self._counters.errors[name] += 1
        return answer

    def reconcile(self) -> Event | None:
        """At the slow tick: try again what has no answer of its own, and mend what the look that
        was begun at the last one found. The event that tells of a change, if there is one."""
        refused = self._refused
        if self._attachments is not None:
            if (found := self._lookout.take()) is not None:
                self._attach(self._attachments, found)
            self._lookout.begin()
        self._complain("JoinGroups", self._guarded(self._groups.reconcile))
        self._tidy()
        return AttachmentsSeen(self._refused) if self._refused != refused else None

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
            case SendFrames():
                return FramesAnswer(effect.id, self._frames.send(effect.announcements))
            case SendProbes():
                if error := self._frames.probe(effect.probes):
                    # Nobody will answer then, which is what the decider goes by.
                    log.debug("probes-failed", extra={"fields": {"error": error}})
            case ProbeAddress():
                self._duplicates.ask(effect.id, effect.address, effect.ifindex, effect.kin)
            case CancelProbes():
                self._duplicates.cancel(effect.ids)
            case SetAttachments():
                self._attachments = effect.interfaces
                self._attach(effect.interfaces, self._look())
                return AttachmentsSeen(self._refused)
            case JoinGroups():
                error = self._guarded(lambda: self._groups.set(effect.members))
                self._complain("JoinGroups", error)
            case Note():
                decisions.log(LEVELS[effect.level], effect.event, extra={"fields": effect.fields})
            case Finish():
                pass
            case _:
                self._ask_api(effect)
        return None

    def _ask_api(
        self,
        effect: LeaseRequest
        | PatchService
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
            case LeaseRequest() | PatchService() | PatchPool() | PatchPolicy():
                return Answer(effect.id, self._clock(), Failed(error))
        return None

    def _look(self) -> Found:
        try:
            return frozenset(self._responder.attached())
        except Exception as error:
            return error

    def _attach(self, wanted: frozenset[int], present: Found) -> None:
        """Set the attachments by difference. A device may go between the wish and the deed.

        A look that failed tells nothing: where the responder was seen it is taken to be still, until one succeeds.
        """
        errors = []
        if isinstance(present, Exception):
            self._refused = {
                ifindex: self._refused.get(ifindex, _text(present))
                for ifindex in wanted - self._attached
            }
            self._complain("SetAttachments", _text(present))
            return
        until = self._clock() + ATTACH_FOR
        for ifindex in sorted(present - wanted):
            if self._clock() < until:
                errors.append(self._guarded(self._responder.detach, ifindex))
        failed = {}
        for ifindex in sorted(wanted - present):
            if self._clock() >= until:
                failed[ifindex] = "its turn has not come"
            elif why_not := self._guarded(self._responder.attach, ifindex):
                errors.append(why_not)
                failed[ifindex] = why_not
        self._refused = failed
        # Detached behind our back, or somebody's program was placed before it.
        if restored := self._attached & wanted - present - failed.keys():
            self._counters.restored += len(restored)
            where = ", ".join(map(str, sorted(restored)))
            log.warning("attachment-restored", extra={"fields": {"interfaces": where}})
        self._attached = wanted - failed.keys()
        if present != wanted:
            self._lookout.discard()
        self._complain("SetAttachments", "; ".join(filter(None, errors)))

    def _guarded(self, function: Callable[..., str | None], *arguments: int) -> str:
        try:
            return function(*arguments) or ""
        except Exception as error:
            return _text(error)

    def _complain(self, name: str, error: str) -> None:
        """Log a failure when it comes and when it changes, not at every try."""
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


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
