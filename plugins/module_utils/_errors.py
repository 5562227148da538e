# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between a module and the API server, and what a person should do about it.

Every error is an exception with one text that says what was wanted, what was found, and what to do; the modules hand
it to C(fail_json) unchanged.
"""

from __future__ import annotations


class HeraldError(Exception):
    """An error whose text is fit for the person who runs the playbook."""


class BadOption(HeraldError):
    """A module option that cannot be meant; found before any request is sent."""

    def __init__(self, field: str, wanted: str, found: object) -> None:
        super().__init__(f"{field}: wanted {wanted}, found {_shown(found)}")


class BadConnection(HeraldError):
    """The options and the kubeconfig do not say how to reach an API server."""


class Unreachable(HeraldError):
    """No answer came: refused, timed out, no route, not trusted."""

    def __init__(self, host: str, why: str) -> None:
        text = "The API server at {0} cannot be reached: {1}. ".format(host, why.rstrip("."))
        if "certificate" in why.lower():
            text += "Give the CA that signed its certificate with ca_cert, or a kubeconfig of this cluster."
        else:
            text += "Look whether it runs and whether this host may reach it, or name another with host or kubeconfig."
        super().__init__(text)


class ApiError(HeraldError):
    """An answer that is a refusal. C(status) is the HTTP status, C(reason) Kubernetes' word for it.

    C(served): where a kind is not served, the versions of its group that are.
    """

    def __init__(
        self, status: int, method: str, path: str, answer: object, served: list[str] | None = None
    ) -> None:
        self.status = status
        self.path = path
        self.served = served or []
        fields = answer if isinstance(answer, dict) else {}
        self.reason = str(fields.get("reason") or "")
        self.details = fields.get("details") or {}
        self.words = str(fields.get("message") or answer or "no text in the answer").strip()
        super().__init__(f"{self.words}{self._advice()} ({method} {path}: {status})")

    @property
    def is_kind_missing(self) -> bool:
        """Whether the API server does not serve this kind at all, rather than hold no such object."""
        return self.status == 404 and not self.details.get("name")

    @property
    def is_outrun(self) -> bool:
        """Whether somebody else's write, or removal, came first: to be decided anew on what is there now."""
        return self.status == 409 or (self.status == 404 and not self.is_kind_missing)

    @property
    def is_namespace_missing(self) -> bool:
        """Whether the namespace that the object would be in is not there."""
        return self.status == 404 and self.details.get("kind") == "namespaces"

    def _advice(self) -> str:
        if self.status == 401:
            return (
                ". The API server does not accept these credentials: wanted a token or client certificate that it "
                "knows and that has not expired; renew it, or name another kubeconfig or context"
            )
        if "NamespaceTerminating" in [
            cause.get("reason") for cause in self.details.get("causes") or []
        ]:
            return ". Run this again when the namespace is gone"
        if self.status == 403:
            return (
                ". Grant this verb on this resource to that user, or use a kubeconfig that has it"
            )
        if self.is_kind_missing and self.path.startswith("/apis/herald.dev/"):
            wanted = self.path.split("/")[3]
            said = "does not serve it"
            if self.served and wanted not in self.served:
                said = f"serves herald.dev in {', '.join(self.served)}, wanted {wanted}"
            return (
                f". The API server {said}: install this collection's CRDs with its role "
                "baremetal.herald.cluster"
            )
        if self.is_kind_missing:
            return ". The API server does not serve this kind: wanted Kubernetes 1.32 or newer"
        if self.status == 409:
            return ". Somebody else changed the object at the same time; run this again"
        if self.status == 429 or self.status >= 500:
            return (
                ". The API server could not serve the request just now; run this again when it can"
            )
        return ""


def _shown(found: object) -> str:
    return "nothing" if found is None else repr(found)
