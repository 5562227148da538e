# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The decider loop: the one thread that decides.

It waits for an event, for the deadline that the decider named or for the slow tick; gives each
event to the decider; carries the effects out in the order in which they were decided; and gives the
answers of kernel and devices back at once, before anything else that waits.

What always holds:

- A deadline that has come goes before the events that wait: a flood of them cannot delay a renewal.
- Nothing ends the loop but the decider's own Finish. An exception in the decider is logged and
  counted, and the next event finds the state as it is: everything is recomputed from it anyway.
- The watchdog hears from a round in which nothing was raised, and from nobody else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from herald.core.effects import Effect, Finish, LeaseRequest
from herald.core.events import Answer, Done, Event, Failed, Refused, Stop, Tick
from herald.core.model import MILLISECOND, SECOND
from herald.shell.counters import Counters
from herald.shell.inbox import Item, Question
from herald.shell.notify import Notifier
from herald.shell.report import headline

SLOW_TICK = 1 * SECOND
BATCH = 256
"""Events in one round at most, so that the watchdog and the slow tick have their turn."""
SHORTEST_WAIT = 2 * MILLISECOND
"""So that a deadline which stays in the past costs a little, not a core."""
LISTS_AFTER = 1 * SECOND
"""Lists and watches begin with the first renewal, or as soon as there is no presence to renew; after this time all the
same."""

log = logging.getLogger(__name__)


class Decider(Protocol):
    def step(self, event: Event, now: int) -> Sequence[Effect]: ...

    def next_deadline(self) -> int | None: ...

    def status(self, now: int) -> Any: ...


class Hands(Protocol):
    def carry_out(self, effect: Effect) -> Event | None: ...

    def reconcile(self) -> None: ...


class Source(Protocol):
    def get(self, seconds: float) -> Item | None: ...


class Runner:
    def __init__(
        self,
        decider: Decider,
        hands: Hands,
        inbox: Source,
        notifier: Notifier,
        counters: Counters,
        clock: Callable[[], int],
        begin_lists: Callable[[], None] = lambda: None,
    ) -> None:
        self._decider = decider
        self._hands = hands
        self._inbox = inbox
        self._notifier = notifier
        self._counters = counters
        self._clock = clock
        self._begin_lists: Callable[[], None] | None = begin_lists
        self._finish: Finish | None = None
        self._started = clock()
        self._slow = self._started + SLOW_TICK
        self._renewals: set[int] = set()
        self._reads: set[int] = set()
        """Of this node's presence."""
        self._problems: set[str] = set()
        self._renewed = self._absent = False
        self._raised = False

    def run(self) -> Finish:
        """Until the decider says that it is finished."""
        while self._finish is None:
            self.round()
        return self._finish

    def round(self) -> None:
        """Wait once, and deal with all that there is then."""
        item = self._inbox.get(self._patience() / SECOND)
        taken = 0
        while item is not None and self._finish is None:
            self._tick_if_due()
            self._take(item)
            taken += 1
            item = self._inbox.get(0) if taken < BATCH else None
        self._tick_if_due()

    # --- time -------------------------------------------------------------------------------------

    def _patience(self) -> int:
        """Nanoseconds to wait for an event."""
        now = self._clock()
        until = self._slow
        if (deadline := self._deadline()) is not None:
            until = min(until, deadline)
        return max(until - now, SHORTEST_WAIT)

    def _deadline(self) -> int | None:
        try:
            return self._decider.next_deadline()
        except Exception as error:
            self._exception("next_deadline", error)
            return None

    def _tick_if_due(self) -> None:
        if self._finish is not None:
            return
        now = self._clock()
        deadline = self._deadline()
        if now >= self._slow:
            self._slow = now + SLOW_TICK
            self._raised = False
            self._step(Tick())
            self._slowly()
            if not self._raised and self._notifier.watchdog_ns:
                self._notifier.watchdog()
        elif deadline is not None and now >= deadline:
            self._step(Tick())

    def _slowly(self) -> None:
        """What is done once a second."""
        try:
            self._hands.reconcile()
            if self._begin_lists is not None and self._clock() >= self._started + LISTS_AFTER:
                self._start_lists("no renewal has succeeded yet")
            self._counters.status = status = self._decider.status(self._clock())
            self._notifier.status(headline(status))
            self._log_problems(status.problems)
        except Exception as error:
            self._exception("slow tick", error)

    def _log_problems(self, found: Iterable[str]) -> None:
        """Each once when it comes and once when it is over; what stands after a colon may vary."""
        now = {text.partition(":")[0]: text for text in found}
        for name in now.keys() - self._problems:
            log.warning("problem", extra={"fields": {"is": now[name]}})
        for name in self._problems - now.keys():
            log.info("problem-over", extra={"fields": {"was": name}})
        self._problems = set(now)

    # --- events -----------------------------------------------------------------------------------

    def _take(self, item: Item) -> None:
        if isinstance(item, Question):
            try:
                item.answer.put(self._decider.status(self._clock()))
            except Exception as error:
                self._exception("status", error)
            return
        if isinstance(item, Stop):
            log.info("stopping")
            self._notifier.stopping("handing over")
        self._step(item)

    def _step(self, event: Event) -> None:
        """The event, then the answers that carrying out its effects brings, until there are
        none."""
        events = deque([event])
        while events and self._finish is None:
            current = events.popleft()
            self._counters.events += 1
            if isinstance(current, Answer):
                self._look_at_presence(current)
            for effect in self._effects_of(current):
                if isinstance(effect, Finish):
                    self._finish = effect
                elif isinstance(effect, LeaseRequest) and effect.own_connection:
                    (self._reads if effect.verb == "get" else self._renewals).add(effect.id)
                answer = self._hands.carry_out(effect)
                if answer is not None:
                    events.append(answer)
        if (self._renewed or self._absent) and self._begin_lists is not None:
            self._start_lists("renewed" if self._renewed else "there is no presence yet")

    def _effects_of(self, event: Event) -> Sequence[Effect]:
        try:
            return self._decider.step(event, self._clock())
        except Exception as error:
            self._exception(type(event).__name__, error)
            return ()

    def _look_at_presence(self, answer: Answer) -> None:
        if answer.request in self._reads:
            self._reads.remove(answer.request)
            outcome = answer.outcome
            self._absent = isinstance(outcome, Refused) and outcome.status == 404
            return
        if answer.request not in self._renewals:
            return
        self._renewals.remove(answer.request)
        if isinstance(answer.outcome, Done):
            self._counters.renewals["ok"] += 1
            self._counters.renewal_seconds.observe((self._clock() - answer.sent) / SECOND)
            self._renewed = True
        else:
            failed = isinstance(answer.outcome, Failed)
            self._counters.renewals["failed" if failed else "refused"] += 1

    def _start_lists(self, reason: str) -> None:
        begin, self._begin_lists = self._begin_lists, None
        if begin is not None:
            log.info("lists-begin", extra={"fields": {"reason": reason}})
            begin()

    # --- health -----------------------------------------------------------------------------------

    def _exception(self, where: str, error: Exception) -> None:
        self._raised = True
        self._counters.loop_exceptions += 1
        log.error("decider-raised", extra={"fields": {"at": where}}, exc_info=error)
