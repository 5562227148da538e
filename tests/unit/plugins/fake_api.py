# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""An API server at the transport's seam: stores objects, compares resourceVersions, and does as it is told."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.baremetal.herald.plugins.module_utils._client import Response

Object = dict[str, Any]
COLLECTIONS = {"things", "leases", "nodes", "services", "serviceaccounts", "roles", "rolebindings"}


class FakeApi:
    """Objects by path. C(before) is called with each request before it is served: the place for a rival's write."""

    def __init__(self, *objects: tuple[str, Object]) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.refusals: list[Response] = []
        self._version = 0
        self._one_at_a_time = threading.Lock()
        for path, obj in objects:
            self.put(path, obj)

    def put(self, path: str, obj: Object) -> Object:
        """Store an object as somebody else would."""
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"].setdefault("uid", f"uid-{self._version}")
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = stored
        return stored

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] != "GET"]

    def send(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Response:
        with self._one_at_a_time:
            return self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: str | None) -> Response:
        url = urlsplit(target)
        self.requests.append((method, target))
        self.before(method, url.path)
        if self.refusals:
            return self.refusals.pop(0)
        content = json.loads(body) if body else None
        # As the real one: a delete's options are in its body, if it has one, and nowhere else.
        options = content if method == "DELETE" and content else parse_qs(url.query)
        dry = options.get("dryRun") == ["All"]
        serve = getattr(self, f"_{method.lower()}")
        kept = copy.deepcopy(self.objects), self._version
        answer: Response = serve(url.path, content)
        if dry:
            self.objects, self._version = kept
        return answer

    def _get(self, path: str, _body: object) -> Response:
        if path in self.objects:
            return say(200, self.objects[path])
        items = [obj for at, obj in self.objects.items() if at.rpartition("/")[0] == path]
        if path.rpartition("/")[2] in COLLECTIONS:
            return say(200, {"items": items, "metadata": {}})
        return not_found(path)

    def _post(self, path: str, body: Object) -> Response:
        at = f"{path}/{body['metadata']['name']}"
        return conflict() if at in self.objects else say(201, self.put(at, body))

    def _put(self, path: str, body: Object) -> Response:
        live = self.objects.get(path)
        if live is None:
            return not_found(path)
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            return conflict()
        return say(200, self.put(path, body))

    def _patch(self, path: str, body: Object) -> Response:
        live = copy.deepcopy(self.objects.get(path))
        if live is None:
            return say(201, self.put(path, body))
        merged = {**live, **body, "metadata": {**live["metadata"], **body["metadata"]}}
        return say(200, live if merged == live else self.put(path, merged))

    def _delete(self, path: str, body: Object) -> Response:
        live = self.objects.get(path)
        if live is None:
            return not_found(path)
        if any(live["metadata"][key] != value for key, value in body["preconditions"].items()):
            return conflict()
        del self.objects[path]
        return say(200, {"status": "Success"})


def say(status: int, body: Object, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, names, json.dumps(body))


def refusal(status: int, reason: str, message: str, **details: Any) -> Response:
    return say(status, {"kind": "Status", "reason": reason, "message": message, "details": details})


def not_found(path: str) -> Response:
    name = path.rpartition("/")[2]
    return refusal(404, "NotFound", f'things "{name}" not found', name=name)


def conflict() -> Response:
    return refusal(409, "Conflict", "the object has been modified", name="x")
