# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small API client: JSON in, JSON out, errors as exceptions, one connection kept.

It knows paths, verbs and Kubernetes' optimistic locking, and nothing of connections: a transport is handed in
(C(_connection) makes the real one, the tests a fake). No typed models, no discovery of what is already known.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, HeraldError

APPLY = "application/apply-patch+yaml"
JSON = "application/json"
STRATEGIC = "application/strategic-merge-patch+json"
MANAGER = "baremetal.herald"

_TRIES = 4
_LONGEST_PAUSE = 10.0  # seconds


class Response(NamedTuple):
    """What a transport brings back; header names in lower case."""

    status: int
    headers: dict[str, str]
    text: str


class Transport(Protocol):
    """The seam: sends one request and brings back whatever the server said."""

    def send(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Response:
        """Send a request to C(target), path and query. Raises Unreachable where no answer came."""


class Resource(NamedTuple):
    """A kind as the API server's paths name it. The core group is the empty string."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = False

    @property
    def api_version(self) -> str:
        """As manifests write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", namespace: str = "", subresource: str = "") -> str:
        """The path of the collection or, with a name, of one object of it."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)


class Client:
    """Requests to one API server.

    With C(dry_run) every write is only tried: the server validates, defaults and admits it as ever, and stores
    nothing. That is check mode, predicted by the one who would do it.
    """

    def __init__(
        self, transport: Transport, dry_run: bool = False, sleep: Any = time.sleep
    ) -> None:
        self._transport = transport
        self._sleep = sleep
        self._kinds: dict[str, dict[str, Resource]] = {}
        self.dry_run = dry_run

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        """One object; None where there is none. A kind that is not served is an error."""
        try:
            return self.request("GET", resource.path(name, namespace))
        except ApiError as error:
            if error.status == 404 and not error.is_kind_missing:
                return None
            raise

    def list(self, resource: Resource, namespace: str = "", **query: str) -> list[dict[str, Any]]:
        """All objects of a kind, read in pages."""
        items: list[dict[str, Any]] = []
        query = dict(query, limit="500")
        while True:
            page = self.request("GET", resource.path(namespace=namespace), query=query)
            for item in page.get("items") or []:
                items.append(
                    dict({"apiVersion": resource.api_version, "kind": resource.kind}, **item)
                )
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    def create(
        self, resource: Resource, body: dict[str, Any], namespace: str = ""
    ) -> dict[str, Any]:
        """Make an object. Somebody having made it meanwhile is a 409."""
        return self._write("POST", resource.path(namespace=namespace), body)

    def replace(
        self, resource: Resource, body: dict[str, Any], namespace: str = ""
    ) -> dict[str, Any]:
        """Replace an object by C(body), which carries the resourceVersion that it was read with (else 409)."""
        return self._write("PUT", resource.path(body["metadata"]["name"], namespace), body)

    def apply(
        self, resource: Resource, body: dict[str, Any], namespace: str = "", force: bool = True
    ) -> dict[str, Any]:
        """Server-side apply: the fields of C(body) become ours and get its values; others stay."""
        query = {"force": "true" if force else "false"}
        return self._write(
            "PATCH", resource.path(body["metadata"]["name"], namespace), body, query, APPLY
        )

    def patch(
        self,
        resource: Resource,
        name: str,
        patch: dict[str, Any],
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Strategic merge patch; with a resourceVersion in it, somebody else's write is a 409."""
        path = resource.path(name, namespace, subresource)
        return self._write("PATCH", path, patch, content_type=STRATEGIC)

    def delete(
        self, resource: Resource, live: dict[str, Any], namespace: str = "", strict: bool = True
    ) -> None:
        """Delete the object that was read, it being gone is fine; C(strict): only as it was read (else 409)."""
        metadata = live["metadata"]
        preconditions = {"uid": metadata["uid"]}
        if strict:
            preconditions["resourceVersion"] = metadata["resourceVersion"]
        body = {"propagationPolicy": "Background", "preconditions": preconditions}
        try:
            self._write("DELETE", resource.path(metadata["name"], namespace), body)
        except ApiError as error:
            if error.status != 404:
                raise

    def kind(self, api_version: str, kind: str) -> Resource:
        """The resource of a manifest's C(apiVersion) and C(kind), asked from the API server once per group."""
        kinds = self._kinds.get(api_version)
        if kinds is None:
            kinds = self._kinds[api_version] = self._discover(api_version)
        if kind not in kinds:
            raise HeraldError(
                f"kind: wanted one that the API server serves in {api_version}, found {kind}"
            )
        return kinds[kind]

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """One request. Refusals raise ApiError; only those that ask to come back (429, 503) are sent again."""
        target = path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": JSON}
        text = None
        if body is not None:
            headers["Content-Type"] = content_type
            text = json.dumps(body)
        for attempt in range(_TRIES):
            answer = self._transport.send(method, target, headers, text)
            if answer.status not in (429, 503) or attempt == _TRIES - 1:
                break
            self._sleep(_pause(answer.headers.get("retry-after"), attempt))
        try:
            content = json.loads(answer.text) if answer.text else {}
        except ValueError:
            content = answer.text
        if 200 <= answer.status < 300 and isinstance(content, dict):
            return content
        error = ApiError(answer.status, method, path, content)
        if error.is_kind_missing and path.startswith("/apis/"):
            error = ApiError(answer.status, method, path, content, self._versions(path))
        raise error

    def _write(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        query: dict[str, str] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        query = dict(query or {})
        # The API server reads a delete's options from its body alone, if it has one.
        if self.dry_run and method == "DELETE":
            body = {**body, "dryRun": ["All"]}
        elif self.dry_run:
            query["dryRun"] = "All"
        if method != "DELETE":
            query["fieldManager"] = MANAGER
            query["fieldValidation"] = "Strict"
        return self.request(method, path, query, body, content_type)

    def _versions(self, path: str) -> list[str]:
        """The versions in which a path's API group is served; none where it is not."""
        group = "/".join(path.split("/")[:3])
        answer = self._transport.send("GET", group, {"Accept": JSON}, None)
        try:
            return [str(item["version"]) for item in json.loads(answer.text)["versions"]]
        except (ValueError, KeyError, TypeError):
            return []

    def _discover(self, api_version: str) -> dict[str, Resource]:
        group, _slash, version = api_version.rpartition("/")
        path = "/apis/" + api_version if group else "/api/" + version
        served = self.request("GET", path).get("resources") or []
        return {
            item["kind"]: Resource(
                group, version, item["name"], item["kind"], bool(item.get("namespaced"))
            )
            for item in served
            if "/" not in item["name"]
        }


def _pause(retry_after: str | None, attempt: int) -> float:
    """Seconds to wait before the next attempt, by the server's word or doubling from half a second."""
    try:
        wanted = float(retry_after or "")
    except ValueError:
        wanted = 0.5 * 2**attempt
    return max(0.0, min(wanted, _LONGEST_PAUSE))
