# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a conversation with the API server looks like, whoever carries it.

The seam of this package: ``https.Https`` is the real transport, tests hand in one of their own. A call ends in
a ``Reply`` (the server said something) or in ``NoAnswer`` (nobody knows what became of it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from herald.core.events import Failed, Refused

Json: TypeAlias = Mapping[str, object]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_MESSAGE_MAX = 500


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """With its query, as it stands in the request line."""
    body: bytes = b""
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Reply:
    sent: int
    """Boottime nanoseconds just before the request left."""
    status: int
    body: bytes
    retry_after: float | None = None
    """Seconds, where the server asks for patience."""


class NoAnswer(Exception):
    """No server answered in time. Whether a write took effect is unknown."""


class Silence(NoAnswer):
    """A watch that was agreed on said nothing for longer than it may."""


class Stream(Protocol):
    """The lines of a watch, each one JSON document, as they come.

    Ends when the server ends the answer in order; raises NoAnswer when the connection breaks, Silence when
    nothing came for too long.
    """

    def __iter__(self) -> Iterator[bytes]: ...


class Connection(Protocol):
    """One connection of one thread; kept alive between calls, made anew as needed, and closed on any doubt."""

    def call(self, request: Request, deadline: int) -> Reply:
        """One request and its whole answer, before ``deadline`` (boottime nanoseconds), or NoAnswer."""

    def stream(self, request: Request, deadline: int, silence: float) -> Reply | Stream:
        """A watch: a Stream if the server agreed before ``deadline``, else the Reply that it gave instead.

        ``silence``: seconds without a byte after which the stream counts as broken.
        """

    def abort(self) -> None:
        """From any thread, for good: what is under way ends at once with NoAnswer, and so does every later call."""

    def close(self) -> None: ...


class Transport(Protocol):
    def open(self) -> Connection:
        """A connection for one thread. Nothing is sent yet."""


def is_answer(status: int) -> bool:
    """Whether a status is an API server's word (2xx or a refusal), not the sound of one that cannot speak.

    5xx and 429 say that the server is not able to answer; 1xx and 3xx do not come from API servers at all.
    """
    return (200 <= status < 300 or 400 <= status < 500) and status not in (408, _TOO_MANY_REQUESTS)


def refusal(reply: Reply) -> Refused | Failed | None:
    """What a reply that is no success means; None for a success (2xx)."""
    if 200 <= reply.status < 300:
        return None
    reason = f"{reply.status} {status_message(reply.body)}".rstrip()
    if reply.status == _UNAUTHORIZED:
        reason += (
            " (the token is not accepted: run the role baremetal.herald.agent to bring another)"
        )
    return Refused(reply.status, reason) if is_answer(reply.status) else Failed(reason)


def status_message(body: bytes) -> str:
    """The message of a ``metav1.Status``, or the beginning of whatever else came."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        return body[:_MESSAGE_MAX].decode("utf-8", "replace").strip()
    if isinstance(status, dict) and isinstance(message := status.get("message"), str):
        return message[:_MESSAGE_MAX]
    return ""
