# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The agent's identity: a bound, expiring token in a file, renewed by the agent itself long before it ends.

The renewed token is asked for by TokenRequest with what the present one says about itself (ServiceAccount,
audiences, lifetime, the object that it is bound to), so nothing of that is configured twice. A token without
an expiry, or one that is no JWT, is used as it is.

Nothing here ever logs, raises or shows a token.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from herald.kube.clock import boottime
from herald.kube.fields import Fields, Undecodable
from herald.kube.transport import Json, NoAnswer, Request, Transport, refusal

log = logging.getLogger(__name__)

LIFETIME_MIN = 600
LIFETIME_MAX = 86400
"""Seconds; the API server issues no token for less, and Herald's admission rules let none be asked for more."""
RETRY = (30.0, 120.0)
"""Seconds between attempts to renew, at random between these."""
LOOK = 300.0
"""Seconds; how often to look whether somebody has put another token in place."""
RENEW_AT = (0.6, 0.7)
"""The part of a token's life after which it is renewed, at random between these."""
CALL_LIMIT = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Claims:
    """What a ServiceAccount's token says about itself. Read, not verified: that is the API server's to do."""

    namespace: str
    account: str
    audiences: tuple[str, ...]
    issued: int
    expires: int
    """Unix seconds, as ``issued``."""
    bound: Json | None
    """A ``boundObjectRef``."""

    @property
    def lifetime(self) -> int:
        return min(max(self.expires - self.issued, LIFETIME_MIN), LIFETIME_MAX)


def claims(token: str) -> Claims | None:
    """The claims of a bound token; None for a token of any other kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if not isinstance(payload, dict):
            return None
        fields = Fields(payload)
        about = fields.record("kubernetes.io")
        audiences = (
            (payload["aud"],) if isinstance(payload.get("aud"), str) else fields.texts("aud")
        )
        return Claims(
            namespace=about.required("namespace"),
            account=about.record("serviceaccount").required("name"),
            audiences=audiences,
            issued=fields.number("iat"),
            expires=fields.number("exp"),
            bound=_bound(about),
        )
    except (ValueError, binascii.Error):  # Undecodable is one
        return None


def _bound(about: Fields) -> Json | None:
    """What a token of the same binding asks for. A Pod's binding covers its Node."""
    for claim, kind in (("pod", "Pod"), ("secret", "Secret"), ("node", "Node")):
        if claim in about:
            bound = about.record(claim)
            return {
                "apiVersion": "v1",
                "kind": kind,
                "name": bound.required("name"),
                "uid": bound.text("uid"),
            }
    return None


class TokenFile:
    """The token of the moment. Read again when the file changes; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._identity: tuple[int, int, int] | None = None
        self._token = ""

    def __repr__(self) -> str:
        return f"TokenFile({str(self.path)!r})"

    def __call__(self) -> str:
        """The token; OSError if there is no file, or it holds what cannot be a token, and never was another."""
        with self._lock:
            try:
                stat = self.path.stat()
                identity = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
                if identity != self._identity:
                    token = self.path.read_text("ascii").strip()
                    if not token or any(c.isspace() or not c.isprintable() for c in token):
                        raise OSError(f"{self.path}: wanted a token, found something else")
                    self._token, self._identity = token, identity
            except (OSError, UnicodeDecodeError) as error:
                if not self._token:
                    # Not the decoder's own message: it quotes what it read.
                    if isinstance(error, UnicodeDecodeError):
                        raise OSError(
                            f"{self.path}: wanted a token, found something else"
                        ) from None
                    raise
            return self._token

    def replace(self, token: str) -> None:
        """Take a new token: at once in memory, and whole or not at all in the file (0600)."""
        with self._lock:
            self._token = token
            descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".token-")
            try:
                with os.fdopen(descriptor, "w") as file:  # mkstemp makes it 0600
                    file.write(token + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                    stat = os.fstat(file.fileno())
                Path(temporary).replace(self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise
            self._identity = (stat.st_mtime_ns, stat.st_ino, stat.st_size)


class TokenRenewal:
    """Renews the token of a TokenFile after about two thirds of its life, in a thread of its own."""

    def __init__(
        self,
        file: TokenFile,
        transport: Transport,
        *,
        clock: Callable[[], int] = boottime,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._file = file
        self._transport = transport
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._connection = transport.open()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="token", daemon=True)
        self._known = ""
        self._due = 0
        self.expires = 0
        """Unix seconds when the present token ends; 0 where that is not known."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> bool:
        """Whether the thread has ended within so many seconds."""
        self._stopping.set()
        self._connection.abort()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self.step())
        self._connection.close()

    def step(self) -> float:
        """Renew if it is time; returns the seconds until the next look."""
        try:
            token = self._file()
            present = claims(token)
            if token != self._known:
                self._take_up(token, present)
            if present is None or not present.expires:
                return LOOK
            if (left := self._due - self._clock()) > 0:
                return min(left / 1e9, LOOK)
            self._renew(present)
            return LOOK
        except (NoAnswer, OSError, ValueError) as error:
            log.warning("token not renewed, trying again reason=%s", error)
            return self._jitter(*RETRY)

    def _take_up(self, token: str, present: Claims | None) -> None:
        """A token that was not here before: at the start, or put in place by an administrator."""
        self._known = token
        self.expires = 0
        if present is None or not present.expires:
            log.info("token is not renewed: wanted one that expires, from TokenRequest")
            return
        self.expires = present.expires
        part = self._jitter(*RENEW_AT)
        left = present.issued + part * (present.expires - present.issued) - self._wall()
        # A clock that is behind the issuer's must not put renewal off for longer than the token lives.
        self._due = self._clock() + int(min(max(left, 0.0), part * present.lifetime) * 1e9)

    def _renew(self, present: Claims) -> None:
        fresh_token = self._ask(present)
        fresh = claims(fresh_token)
        if fresh is None or not fresh.expires:
            raise Undecodable("status.token: wanted a token that expires, found another")
        # From here on by the boot-time clock: right whatever this node's wall clock says.
        self._due = self._clock() + int(self._jitter(*RENEW_AT) * fresh.lifetime * 1e9)
        self._known = fresh_token
        self.expires = fresh.expires
        try:
            self._file.replace(fresh_token)
        except OSError as error:
            log.error("token not written path=%s reason=%s", self._file.path, error)
        log.info("token renewed account=%s lifetime_seconds=%d", fresh.account, fresh.lifetime)

    def _ask(self, present: Claims) -> str:
        spec: dict[str, object] = {
            "audiences": list(present.audiences),
            "expirationSeconds": present.lifetime,
        }
        if present.bound is not None:
            spec["boundObjectRef"] = present.bound
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = "/api/v1/namespaces/{}/serviceaccounts/{}/token".format(
            *map(quote, (present.namespace, present.account))
        )
        request = Request("POST", path, json.dumps(body).encode())
        reply = self._connection.call(request, self._clock() + CALL_LIMIT)
        if (no := refusal(reply)) is not None:
            raise NoAnswer(no.reason)
        answer = json.loads(reply.body)
        if not isinstance(answer, dict):
            raise Undecodable("TokenRequest: wanted an object")
        return Fields(answer).record("status").required("token")
