# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From module options to a connection, as C(kubernetes.core) reads them.

The C(kubernetes) library reads kubeconfigs of every kind (tokens, client certificates, exec plugins, OIDC) and makes
the TLS pool; only that is used of it, and only where the way is no plain one (C(_plain)). Options win over
C(K8S_AUTH_*), these over the kubeconfig.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Response
from ansible_collections.baremetal.herald.plugins.module_utils._errors import (
    BadConnection,
    HeraldError,
    Unreachable,
)
from ansible_collections.baremetal.herald.plugins.module_utils._https import (
    CONNECT,
    READ,
    HttpsTransport,
)
from ansible_collections.baremetal.herald.plugins.module_utils._plain import plain


def _option(*variables: str, **more: Any) -> dict[str, Any]:
    names = ["K8S_AUTH_" + name for name in variables]
    return dict({"type": "str", "fallback": (env_fallback, names)}, **more)


# Every option has its own name's variable, and the one that the library's name has brought.
CONNECTION_SPEC: dict[str, Any] = {
    "kubeconfig": _option("KUBECONFIG", type="raw"),
    "context": _option("CONTEXT"),
    "host": _option("HOST"),
    "api_key": _option("API_KEY", no_log=True),
    "username": _option("USERNAME"),
    "password": _option("PASSWORD", no_log=True),
    "validate_certs": _option("VALIDATE_CERTS", "VERIFY_SSL", type="bool", aliases=["verify_ssl"]),
    "ca_cert": _option("CA_CERT", "SSL_CA_CERT", type="path", aliases=["ssl_ca_cert"]),
    "client_cert": _option("CLIENT_CERT", "CERT_FILE", type="path", aliases=["cert_file"]),
    "client_key": _option(
        "CLIENT_KEY", "KEY_FILE", type="path", no_log=False, aliases=["key_file"]
    ),
    "proxy": _option("PROXY"),
    "no_proxy": _option("NO_PROXY"),
    "proxy_headers": {
        "type": "dict",
        # Or else their variables count only where one of them is given as an option.
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": _option("PROXY_HEADERS_PROXY_BASIC_AUTH", no_log=True),
            "basic_auth": _option("PROXY_HEADERS_BASIC_AUTH", no_log=True),
            "user_agent": _option("PROXY_HEADERS_USER_AGENT"),
        },
    },
    "persist_config": _option("PERSIST_CONFIG", type="bool"),
    "impersonate_user": _option("IMPERSONATE_USER"),
    "impersonate_groups": _option("IMPERSONATE_GROUPS", type="list", elements="str"),
}


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


def connect(module: AnsibleModule) -> Client:
    """The client of a module that has C(CONNECTION_SPEC). Raises HeraldError."""
    return client_of(module.params, module.check_mode)[0]


def client_of(params: dict[str, Any], dry_run: bool) -> tuple[Client, Any]:
    """A client, and the C(Configuration) that it goes by or what stands for it. Raises HeraldError."""
    headers = _impersonation(params)
    _sendable("api_key", params["api_key"])
    way = plain(params)
    if way is not None:
        _sendable("kubeconfig: token", way.token)
        if way.token:
            headers.append(("Authorization", "Bearer " + way.token))
        return Client(HttpsTransport(way.host, way.context, headers), dry_run=dry_run), way
    require_library()
    configuration = configure(params)
    try:
        transport = LibraryTransport(configuration, headers)
    except Exception as error:
        raise BadConnection(
            f"The connection to {configuration.host} cannot be made from its options, such as proxy, client_cert and"
            f" ca_cert, or those of the kubeconfig: {type(error).__name__}: {error}"
        ) from error
    return Client(transport, dry_run=dry_run), configuration


def require_library() -> None:
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


def _sendable(field: str, value: str | None) -> None:
    """Raises BadConnection, which does not show it, where a value is none that a header can bear."""
    if value and not (value.isascii() and value.isprintable()):
        raise BadConnection(
            f"{field}: wanted one line of printable ASCII characters, found others (a line break at its end?)"
        )


def _impersonation(params: dict[str, Any]) -> list[tuple[str, str]]:
    user, groups = params["impersonate_user"], params["impersonate_groups"] or []
    _sendable("impersonate_user", user)
    for group in groups:
        _sendable("impersonate_groups", group)
    headers = [("Impersonate-User", user)] if user else []
    return headers + [("Impersonate-Group", group) for group in groups]
