# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A small client of the lab's API server, for what the lab itself makes there."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from herald_lab import network
from herald_lab.commands import LabError
from herald_lab.layout import API_PORT, Lab

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_MANAGER = "fieldManager=herald-lab&force=true"


class Refused(LabError):
    """The API server said no: `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """Requests as the user of a client certificate of the lab."""

    def __init__(self, lab: Lab, user: str = "operator") -> None:
        self._lab = lab
        self._tls = ssl.create_default_context(cafile=str(lab.pki / "ca.crt"))
        self._kept = threading.local()
        self._tls.load_cert_chain(lab.pki / f"{user}.crt", lab.pki / f"{user}.key")

    def request(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        """One request; its answer. Refusals are `Refused`, an unreachable server a LabError."""
        kept: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        connection = kept or self.new_connection()
        try:
            if connection.sock is None:
                with network.entered(self._lab.netns):
                    connection.connect()
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"the API server does not answer ({error}); `lab status`") from error
        finally:
            if kept is None:
                connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, f"{method} {path}: {answer.status} {_message(text)}")
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        found: Object = json.loads(text) if is_json else {"text": text}
        return found

    @contextmanager
    def kept(self) -> Iterator[None]:
        """This thread's requests go over one connection: for one that makes many."""
        with closing(self.new_connection()) as self._kept.connection:
            try:
                yield
            finally:
                del self._kept.connection

    def new_connection(self) -> http.client.HTTPSConnection:
        """One that is not connected yet, which is to be done inside the lab's network namespace."""
        return http.client.HTTPSConnection("127.0.0.1", API_PORT, context=self._tls, timeout=30)

    def get(self, path: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self.request("GET", path)
        except Refused as error:
            if error.code == 404:
                return None
            raise

    def apply(self, path: str, body: Object) -> Object:
        """Server-side apply: makes the object, or brings our fields to what is given."""
        return self.request("PATCH", f"{path}?{_MANAGER}", body, APPLY)

    def delete(self, path: str) -> bool:
        """Whether there was anything to delete."""
        try:
            self.request("DELETE", path)
        except Refused as error:
            if error.code == 404:
                return False
            raise
        return True

    def ready(self) -> bool:
        try:
            return bool(self.request("GET", "/readyz")["text"] == "ok")
        except LabError:
            return False


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
