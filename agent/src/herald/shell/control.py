# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The control socket: what heraldctl asks the running agent.

One JSON object a line, one answer a line, then the connection ends. One thread serves one caller
after the other, each with a time limit, so that nobody can hold up more than the next caller.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from herald import __version__
from herald.core.events import AnnounceAgain, Event
from herald.shell.report import Json, as_json

CONTROL_SOCKET = Path("/run/herald/control.sock")
LIMIT = 2.0
"""Seconds for a caller to say what it wants, and for the decider to answer."""
_REQUEST_MAX = 4096

log = logging.getLogger(__name__)


class RequestError(Exception):
    """The caller asked for what there is not."""


class Control:
    def __init__(
        self,
        path: Path,
        ask: Callable[[float], Any | None],
        post: Callable[[Event], None],
        more_problems: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """``ask``: the decider's status, or None if it gave none in so many seconds. Raises
        OSError."""
        self._path = path
        self._ask = ask
        self._post = post
        self._more_problems = more_problems
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # Where it can be seen it can be connected to, by those who may.
        unseen = path.with_name(f".{path.name}")
        unseen.unlink(missing_ok=True)
        self._listener.bind(str(unseen))
        unseen.chmod(0o660)
        self._listener.listen(8)
        unseen.replace(path)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        # Wakes accept(); closing alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(2 * LIMIT)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                try:
                    self._serve(caller)
                except Exception as error:
                    log.debug("control-failed", extra={"fields": {"error": str(error)}})

    def _serve(self, caller: socket.socket) -> None:
        caller.settimeout(LIMIT)
        line = b""
        while not line.endswith(b"\n"):
            part = caller.recv(_REQUEST_MAX)
            line += part
            if not part or len(line) > _REQUEST_MAX:
                break
        try:
            answer = self.answer(line)
        except RequestError as error:
            answer = {"error": str(error)}
        caller.sendall(json.dumps(answer).encode() + b"\n")

    def answer(self, line: bytes) -> Json:
        """What is said to a request. Raises RequestError."""
        try:
            request = json.loads(line)
        except ValueError:
            raise RequestError("wanted one JSON object on a line") from None
        match request:
            case {"do": "status"}:
                return self._status()
            case {"do": "announce", "address": str() | None as address}:
                return self._announce(address)
        raise RequestError(
            'wanted {"do": "status"} or {"do": "announce", "address": ADDRESS or null}'
        )

    def _status(self) -> Json:
        about: Json = {"version": __version__, "process": os.getpid()}
        status = self._ask(LIMIT)
        if status is None:
            found = [f"the decider gave no answer within {LIMIT:g} s"]
            return about | {"status": None, "problems": found}
        problems = [*status.problems, *self._more_problems()]
        return about | {"status": as_json(status), "problems": problems}

    def _announce(self, text: str | None) -> Json:
        if text is None:
            self._post(AnnounceAgain())
            return {"announced": "all"}
        try:
            address = ip_address(text)
        except ValueError:
            raise RequestError(f"address: wanted an IP address, found {text!r}") from None
        status = self._ask(LIMIT)
        if status is not None and str(address) not in _held(as_json(status)):
            raise RequestError(f"{address}: this node does not announce it")
        self._post(AnnounceAgain(address))
        return {"announced": str(address)}


def _held(status: Json) -> set[str]:
    return {str(each.get("address")) for each in status.get("held", ()) if isinstance(each, dict)}
