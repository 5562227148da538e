# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain ways to the API: one kubeconfig file, a CA, a token or a client certificate; no plugin and no proxy.

Most are, and need no more than the standard library and YAML, while importing the library C(kubernetes) takes longer
than all else that a module does. Whatever is not known here to the letter is nobody's plain way, and left to that
library.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# Options that take the library; those of a plain way, and what they replace in a kubeconfig.
_OPTIONS = ("username", "password", "proxy", "no_proxy", "persist_config")
_FILES = ("certificate-authority", "client-certificate", "client-key")
_GIVEN = {"host": "server", **dict(zip(("ca_cert", "client_cert", "client_key"), _FILES))}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

# X509_V_FLAG_PARTIAL_CHAIN of OpenSSL; ssl.VERIFY_X509_PARTIAL_CHAIN since Python 3.10.
_PARTIAL_CHAIN = 0x80000

# All that may stand in a kubeconfig's entries.
_CONTEXT = {"cluster", "user", "namespace", "extensions"}
_CLUSTER = {"server", "extensions", _FILES[0], _FILES[0] + "-data"}
_USER = {"token", "extensions", *_FILES[1:], *(name + "-data" for name in _FILES[1:])}


class _NotPlain(Exception):
    """It takes the library."""


class Plain(NamedTuple):
    """A way to the API, with the names that the library's C(Configuration) has for the same."""

    host: str
    ca_cert_data: str
    token: str
    """Empty where a client certificate says who asks."""
    context: ssl.SSLContext


def plain(params: dict[str, Any]) -> Plain | None:
    """The way that options and kubeconfig say, where it is plain."""
    try:
        return _plain(params)
    except _NotPlain:
        return None


def _plain(params: dict[str, Any]) -> Plain:
    proxied = any(os.environ.get(name) or os.environ.get(name.lower()) for name in _PROXIES)
    headers = params["proxy_headers"] or {}
    special = any(params[name] for name in _OPTIONS) or any(headers.values())
    if proxied or special or params["validate_certs"] is False:
        raise _NotPlain
    found: dict[str, Any] = {}
    if not params["host"] or params["kubeconfig"] or params["context"]:
        found = _chosen(params["kubeconfig"], params["context"])
    for option, key in _GIVEN.items():
        if params[option] is not None:
            found.pop(key + "-data", None)
            found[key] = params[option]
    host = _text(found, "server")
    authority, certificate, key = (_pem(found, name) for name in _FILES)
    if not _is_plain_url(host) or not authority:
        raise _NotPlain
    if bool(certificate) != bool(key) or "ENCRYPTED" in key:
        raise _NotPlain
    token = params["api_key"] or _text(found, "token")
    return Plain(host, authority, token, _context(authority, certificate, key))


def _is_plain_url(host: str) -> bool:
    """Whether it is C(https://), a name or an address without a zone, a port perhaps, and a path perhaps."""
    try:
        url = urlsplit(host)
        name = (url.hostname or "").encode("idna")
        odd = "%" in host or "@" in url.netloc or url.query or url.fragment
        return url.scheme == "https" and bool(name) and url.port != 0 and not odd
    except ValueError:  # of the port, the brackets, or the name
        return False


def _chosen(given: Any, context: str | None) -> dict[str, Any]:
    """What a kubeconfig says of a context's cluster and user, files by their whole paths."""
    config, folder = _kubeconfig(given)
    chosen = _entry(config, "context", context or config.get("current-context"), _CONTEXT)
    found = {
        **_entry(config, "cluster", chosen.get("cluster"), _CLUSTER),
        **_entry(config, "user", chosen.get("user"), _USER),
    }
    for key in _FILES:
        if key in found:
            found[key] = os.path.join(folder, _text(found, key))
    return found


def _kubeconfig(given: Any) -> tuple[dict[str, Any], str]:
    """What a kubeconfig holds, and the folder that it speaks of files from."""
    if isinstance(given, dict):
        return given, ""
    path = os.path.expanduser(str(given or os.environ.get("KUBECONFIG") or "~/.kube/config"))
    if os.pathsep in path:
        raise _NotPlain
    try:
        import yaml
    except ImportError:
        raise _NotPlain from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(_read(path), loader)  # noqa: S506 - both are safe
    except yaml.YAMLError:
        raise _NotPlain from None
    if not isinstance(found, dict):
        raise _NotPlain
    return found, os.path.dirname(path)


def _entry(config: dict[str, Any], kind: str, name: Any, known: set[str]) -> dict[str, Any]:
    """The one entry of that name in the kubeconfig's list of contexts, clusters or users."""
    entries = config.get(kind + "s")
    if not name or not isinstance(entries, list):
        raise _NotPlain
    found = [entry for entry in entries if isinstance(entry, dict) and entry.get("name") == name]
    if len(found) != 1 or not isinstance(found[0].get(kind), dict) or set(found[0][kind]) - known:
        raise _NotPlain
    return found[0][kind]


def _text(mapping: dict[str, Any], key: str) -> str:
    found = mapping.get(key, "")
    if not isinstance(found, str):
        raise _NotPlain
    return found


def _pem(mapping: dict[str, Any], key: str) -> str:
    """A certificate or key by its content, or else by its file; empty where there is neither."""
    if key + "-data" in mapping:
        try:
            return base64.b64decode(_text(mapping, key + "-data")).decode("ascii")
        except ValueError:
            raise _NotPlain from None
    name = _text(mapping, key)
    return _read(name) if name else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        raise _NotPlain from None


def _context(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with a server of this CA that bears the host's name, and with this client certificate. As for
    kubectl, only a subject alternative name counts, and the CA may be an intermediate one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= _PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=authority)
        if certificate:
            # Python takes it from a file alone: one that only this user can read, and gone at once.
            with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
                file.write(certificate + "\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
    except (
        OSError,
        TypeError,
        ValueError,
    ):  # ssl.SSLError is the first; what is not ASCII one of the others
        raise _NotPlain from None
    return context
