# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One kind of object, kept in step: a list, then a watch from there, for ever, in a thread of its own.

The decider hears Listed once, then Changed and Removed; WatchBroken as soon as it may have missed something or
learns it late, and WatchResumed or Listed when it has missed nothing any more. An ordinary end of a watch, which
API servers bring about every few minutes, is resumed without a word.

What ends a watch's soundness: the connection (reset, refused, TCP keepalive); a refusal, or an answer that is
none (5xx, 429); 410; silence beyond ``Watched.silence``; and, for Leases, this agent's own write that does not come
back. The last three list anew: an API server whose etcd was restored to an older state has nothing to say about
a resourceVersion of the future.

After a restart an API server agrees to a watch from an older resourceVersion and then says in its first line that
it has expired: WatchResumed, WatchBroken and Listed within milliseconds.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from urllib.parse import urlencode

from herald.core.events import (
    Changed,
    Event,
    Key,
    Kind,
    KubeObject,
    Listed,
    Removed,
    WatchBroken,
    WatchResumed,
)
from herald.core.settings import LATE_NEWS
from herald.kube.clock import boottime
from herald.kube.decode import decode, key_of
from herald.kube.fields import Fields, Undecodable
from herald.kube.kinds import Watched
from herald.kube.times import Times
from herald.kube.transport import (
    Connection,
    NoAnswer,
    Reply,
    Request,
    Silence,
    Transport,
    refusal,
)

log = logging.getLogger(__name__)

PAGE = 200
"""Objects. A page is parsed as a whole, and what is kept of it lies between what is not: 5,000 Services cost
22 MB of memory in pages of 500, and 14 MB in pages of 200."""
WATCH_SECONDS = (300, 600)
"""The server ends a watch after a random time between these."""
ECHO = LATE_NEWS
"""Nanoseconds within which a Lease that this agent wrote must come back in its own watch."""
PATIENCE = 10.0
"""Seconds; no Retry-After is heeded beyond."""
_GONE = 410
_SHORT = 1_000_000_000
"""Nanoseconds; a watch that ended sooner, without a line, is followed by a pause."""


class _Unsound(Exception):
    """The attempt failed. ``relist`` where resuming would not help; ``pause``: seconds that the server asks for."""

    def __init__(self, reason: str, *, relist: bool = False, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.relist = relist
        self.pause = pause


class Reflector:
    def __init__(
        self,
        watched: Watched,
        transport: Transport,
        post: Callable[[Event], None],
        times: Times,
        *,
        wanted: Callable[[KubeObject], bool] | None = None,
        clock: Callable[[], int] = boottime,
        jitter: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """``wanted``: objects for which it says no are left out, as if they did not exist.

        ``sleep`` waits for so many seconds, or until the event.
        """
        self.watched = watched
        self.kind: Kind = watched.kind
        self._transport = transport
        self._post = post
        self._times = times
        self._wanted = wanted
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep
        self._thread = threading.Thread(
            target=self._run, name=f"watch {self.kind.__name__}", daemon=True
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connection: Connection = transport.open()
        self._cut = ""
        """Why another thread cut the connection; empty if none did."""
        self._refreshing = False
        self._seen = 0
        """The highest resourceVersion that came."""
        self._awaited: tuple[int, int] | None = None
        """A resourceVersion that this agent wrote and the watch has not shown, and when it was written."""
        # Written by its own thread alone:
        self._version = ""
        """The resourceVersion up to which everything has been told; empty where that must be listed."""
        self._told: set[Key] = set()
        """What the decider has of the wanted; kept only where something may be unwanted."""
        self._broken = False
        self._failures = 0

    # --- any thread -------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nothing is told from here on; the thread is about to end."""
        self._stopping.set()
        with self._lock:
            self._connection.abort()

    def join(self, seconds: float) -> bool:
        """Whether the thread has ended within so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def refresh(self) -> None:
        """List again now, because ``wanted`` has changed its mind. The watch stays sound."""
        with self._lock:
            self._refreshing = True
            self._connection.abort()

    def watch_instead(self, watched: Watched, wanted: Callable[[KubeObject], bool] | None) -> None:
        """List and watch this from now on."""
        with self._lock:
            self.watched, self._wanted = watched, wanted
        self.refresh()

    def wrote(self, version: int) -> None:
        """This agent's write was given that resourceVersion: the watch must show it before long."""
        now = self._clock()
        with self._lock:
            if self._broken or not self._version:
                self._awaited = None
            elif self._awaited is None or self._seen >= self._awaited[0]:
                self._awaited = (version, now)
            elif now - self._awaited[1] > ECHO:
                self._cut = f"a write of {ECHO // 1_000_000_000} s ago has not been shown"
                self._awaited = None
                self._connection.abort()

    # --- its own thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except _Unsound as trouble:
                self._failed(trouble)
            except NoAnswer as trouble:
                self._failed(_Unsound(str(trouble), relist=isinstance(trouble, Silence)))
            except Undecodable as trouble:
                self._failed(_Unsound(str(trouble), relist=True))
            except Exception as error:  # a bug of ours: say so, and go on by listing anew
                log.exception("watch failed kind=%s", self.kind.__name__)
                self._failed(_Unsound(f"{type(error).__name__}: {error}", relist=True))
        self._connection.close()

    def _list(self) -> None:
        objects: list[KubeObject] = []
        narrowed = bool(self.watched.selector)
        asked = self._clock()
        self._told.clear()
        more = ""
        while True:
            page = self._page(more)
            items = page.get("items") or []
            if not isinstance(items, list):
                raise _Unsound("items: wanted a list", relist=True)
            for item in items:
                if (value := self._value(item)) is not None:
                    objects.append(value)
            metadata = Fields(page).record("metadata")
            if not (more := metadata.text("continue")):
                break
        version = metadata.required("resourceVersion")
        self._times.only(self.kind, {each.key for each in objects})
        as_of = metadata.resource_version()
        self._tell(Listed(self.kind, tuple(objects), narrowed, asked, as_of))
        with self._lock:
            # Of what came before nothing counts: it may be of a future that an older etcd has not seen.
            self._seen, self._awaited = 0, None
        self._reached(version)
        self._broken = False

    def _page(self, more: str) -> dict[str, object]:
        query = {"limit": str(PAGE), "timeout": f"{self.watched.patience:g}s"}
        if more:
            query["continue"] = more
        reply = self._connection.call(self._request(query), self._deadline())
        self._check(reply)
        page = _parsed(reply.body)
        if not isinstance(page, dict):
            raise _Unsound("a list: wanted an object", relist=True)
        return page

    def _watch(self) -> None:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(self._jitter(*WATCH_SECONDS))),
        }
        started = self._clock()
        stream = self._connection.stream(
            self._request(query), self._deadline(), self.watched.silence
        )
        if isinstance(stream, Reply):
            self._check(stream)
            raise _Unsound("a watch: wanted a stream", relist=True)
        if self._broken:
            self._tell(WatchResumed(self.kind))
            self._broken = False
        lines = 0
        for line in stream:
            self._line(line)
            lines += 1
            self._failures = 0
        if not lines and self._clock() - started < _SHORT:
            self._pause(0.0)
        else:
            self._failures = 0

    def _line(self, line: bytes) -> None:
        event = _parsed(line)
        if not isinstance(event, dict) or not isinstance(item := event.get("object"), dict):
            raise _Unsound("an event of the watch: wanted type and object", relist=True)
        kind = event.get("type")
        if kind == "ERROR":
            code = item.get("code")
            raise _Unsound(f"{code} {item.get('message', '')}", relist=True)
        if kind in ("ADDED", "MODIFIED"):
            self._changed(item)
        elif kind == "DELETED":
            self._removed(key_of(self.kind, item))
        elif kind != "BOOKMARK":
            raise _Unsound(f"an event of the watch: unknown type {kind!r}", relist=True)
        self._reached(Fields(item).record("metadata").required("resourceVersion"))

    def _changed(self, item: dict[str, object]) -> None:
        value = self._value(item)
        if value is not None:
            self._tell(Changed(value))
        elif self._wanted is None or key_of(self.kind, item) in self._told:
            self._removed(key_of(self.kind, item))

    def _removed(self, key: Key) -> None:
        self._times.gone(self.kind, key)
        self._told.discard(key)
        self._tell(Removed(self.kind, key))

    def _value(self, item: object) -> KubeObject | None:
        """What an object says; None if that cannot be read, which for the decider is: it is not there."""
        try:
            value = decode(self.kind, item)
        except Undecodable as error:
            log.warning(
                "object skipped kind=%s %s reason=%s", self.kind.__name__, _named(item), error
            )
            return None
        if self._wanted is not None:
            if not self._wanted(value):
                return None
            self._told.add(value.key)
        if isinstance(item, dict):
            self._times.seen(self.kind, item)
        return value

    def _reached(self, version: str) -> None:
        self._version = version
        if version.isascii() and version.isdigit():
            with self._lock:
                self._seen = max(self._seen, int(version))

    def _tell(self, event: Event) -> None:
        if not self._stopping.is_set():
            self._post(event)

    def _failed(self, trouble: _Unsound) -> None:
        with self._lock:
            cut, self._cut = self._cut, ""
            refreshing, self._refreshing = self._refreshing, False
            if cut or refreshing:
                self._connection.close()
                self._connection = self._transport.open()
        if self._stopping.is_set():
            return
        if trouble.relist or cut or refreshing:
            self._version = ""
        if refreshing and not self._broken:
            return
        if not self._broken:
            self._broken = True
            self._tell(WatchBroken(self.kind, cut or str(trouble)))
        self._pause(trouble.pause)

    def _pause(self, asked: float) -> None:
        self._failures = min(self._failures + 1, 16)
        most = self.watched.retry_most
        delay = min(most, self.watched.retry_first * 2 ** (self._failures - 1))
        self._sleep(self._stopping, max(min(asked, PATIENCE), self._jitter(delay / 2, delay)))

    def _check(self, reply: Reply) -> None:
        if (no := refusal(reply)) is not None:
            pause = reply.retry_after or 0.0
            raise _Unsound(no.reason, relist=reply.status == _GONE, pause=pause)

    def _deadline(self) -> int:
        return self._clock() + int(self.watched.patience * 1e9)

    def _request(self, query: dict[str, str]) -> Request:
        if self.watched.selector:
            query["fieldSelector"] = self.watched.selector
        return Request("GET", f"{self.watched.path}?{urlencode(query)}")


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _Unsound(f"not JSON: {error}", relist=True) from error


def _named(item: object) -> str:
    """Which object it is, as far as that can be told."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict):
        return "name=?"
    return f"namespace={metadata.get('namespace', '')} name={metadata.get('name', '?')}"
