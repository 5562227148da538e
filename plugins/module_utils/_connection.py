# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From module options to a connection, as C(kubernetes.core) reads them.

Where the way is a plain one (C(_plain)), the standard library goes it; any other, C(_library). Options win over
C(K8S_AUTH_*), these over the kubeconfig.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadConnection
from ansible_collections.baremetal.herald.plugins.module_utils._https import HttpsTransport
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
    # Not even compiled for a plain way: Ansible brings modules to a node as sources.
    from ansible_collections.baremetal.herald.plugins.module_utils._library import by_library

    transport, configuration = by_library(params, headers)
    return Client(transport, dry_run=dry_run), configuration


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
