# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to the API that are no plain ones, by the library C(kubernetes).

It reads kubeconfigs of every kind (tokens, client certificates, exec plugins, OIDC) and makes the TLS pool; only that
is used of it.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.baremetal.herald.plugins.module_utils._client import Response
from ansible_collections.baremetal.herald.plugins.module_utils._errors import (
    BadConnection,
    HeraldError,
    Unreachable,
)
from ansible_collections.baremetal.herald.plugins.module_utils._https import CONNECT, READ


class LibraryTransport:
    """Sends by the library's pool and with the credentials of its C(Configuration)."""

    def __init__(self, configuration: Any, impersonate: list[tuple[str, str]]) -> None:
        from kubernetes.client.rest import RESTClientObject

        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._impersonate = impersonate

    def send(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Response:
        """See Transport."""
        import urllib3

        host = self._configuration.host.rstrip("/")
        sent = urllib3.HTTPHeaderDict(headers)
        for name, value in self._impersonate:
            sent.add(name, value)
        # Asked for every request: exec plugins and OIDC renew tokens here.
        for auth in self._configuration.auth_settings().values():
            if auth.get("value"):
                sent[auth["key"]] = auth["value"]
        try:
            answer = self._pool.request(
                method,
                host + target,
                body=body.encode("utf-8") if body is not None else None,
                headers=sent,
                timeout=urllib3.Timeout(connect=CONNECT, read=READ),
                retries=urllib3.Retry(total=None, connect=1, read=0, status=0, redirect=0, other=0),
            )
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise Unreachable(host, str(cause)) from error
        return Response(
            answer.status,
            {name.lower(): value for name, value in answer.headers.items()},
            answer.data.decode("utf-8", "replace"),
        )


def by_library(
    params: dict[str, Any], headers: list[tuple[str, str]]
) -> tuple[LibraryTransport, Any]:
    """A transport that sends these headers with every request, and its C(Configuration). Raises HeraldError."""
    _require_library()
    configuration = configure(params)
    try:
        return LibraryTransport(configuration, headers), configuration
    except Exception as error:
        raise BadConnection(
            f"The connection to {configuration.host} cannot be made from its options, such as proxy, client_cert and"
            f" ca_cert, or those of the kubeconfig: {type(error).__name__}: {error}"
        ) from error


def _require_library() -> None:
    """Raises HeraldError, which says what to install, where the C(kubernetes) library is missing."""
    try:
        importlib.import_module("kubernetes.config")
    except ImportError:
        raise HeraldError(missing_required_lib("kubernetes")) from None


def configure(params: dict[str, Any]) -> Any:
    """A C(Configuration) from module options. Raises BadConnection."""
    from kubernetes.client import Configuration

    configuration = Configuration()
    own = bool(params["host"])
    # Or else the library's own, http://localhost, stands for what a kubeconfig does not say.
    configuration.host = ""
    if not own or params["kubeconfig"] or params["context"]:
        _load(configuration, params)
    for option, attribute in (
        ("host", "host"),
        ("username", "username"),
        ("password", "password"),
        ("validate_certs", "verify_ssl"),
        ("ca_cert", "ssl_ca_cert"),
        ("client_cert", "cert_file"),
        ("client_key", "key_file"),
        ("proxy", "proxy"),
        ("no_proxy", "no_proxy"),
    ):
        if params[option] is not None:
            setattr(configuration, attribute, params[option])
    if not configuration.host:
        raise BadConnection("kubeconfig: wanted a cluster with a server, found none")
    for option in ("ca_cert", "client_cert", "client_key"):
        path = params[option]
        if path and not os.access(path, os.R_OK):
            raise BadConnection(f"{option}: wanted a readable file, found none at {path}")
    if params["api_key"]:
        # Two names of one thing, by the library's version; a kubeconfig's token may stand under either.
        bearer = "Bearer " + params["api_key"]
        configuration.api_key = {"authorization": bearer, "BearerToken": bearer}
        configuration.refresh_api_key_hook = None
    headers = {name: value for name, value in (params["proxy_headers"] or {}).items() if value}
    if headers:
        import urllib3

        configuration.proxy_headers = urllib3.util.make_headers(**headers)
    return configuration


def _load(configuration: Any, params: dict[str, Any]) -> None:
    from kubernetes import config as kubernetes_config

    kubeconfig = params["kubeconfig"]
    options = {
        "context": params["context"],
        "client_configuration": configuration,
        "persist_config": bool(params["persist_config"]),
    }
    try:
        if isinstance(kubeconfig, dict):
            kubernetes_config.load_kube_config_from_dict(kubeconfig, **options)
        elif kubeconfig:
            path = os.path.expanduser(str(kubeconfig))
            if not all(os.access(part, os.R_OK) for part in path.split(os.pathsep)):
                raise BadConnection(f"kubeconfig: wanted a readable file, found none at {path}")
            kubernetes_config.load_kube_config(path, **options)
        else:
            _load_default(configuration, options)
    except kubernetes_config.ConfigException as error:
        raise BadConnection(
            "kubeconfig: wanted one with a cluster, a user and the context {0}, found: {1}".format(
                params["context"] or "that it names as current", error
            )
        ) from error
    except HeraldError:
        raise
    # The library lets through whatever its parts say of a file that is none: YAML's errors, and those of what is read.
    except Exception as error:
        what = "what is given" if isinstance(kubeconfig, dict) else kubeconfig or "the default one"
        raise BadConnection(
            f"kubeconfig: wanted YAML with clusters, users and contexts, found {what}, which is not:"
            f" {type(error).__name__}: {error}"
        ) from error


def _load_default(configuration: Any, options: dict[str, Any]) -> None:
    """The kubeconfig of KUBECONFIG or ~/.kube/config; inside a pod, the pod's own credentials."""
    from kubernetes import config as kubernetes_config

    path = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    if any(os.access(part, os.R_OK) for part in path.split(os.pathsep)):
        kubernetes_config.load_kube_config(path, **options)
        return
    try:
        kubernetes_config.load_incluster_config(client_configuration=configuration)
    except kubernetes_config.ConfigException as error:
        raise BadConnection(
            f"No way to the Kubernetes API is known: wanted a kubeconfig, found none at {path}. Give one with the "
            "option kubeconfig, with K8S_AUTH_KUBECONFIG or KUBECONFIG; or give host with api_key or client_cert"
        ) from error
