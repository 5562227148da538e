# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The lab's own certificate authority, the certificates of its parts, and kubeconfigs.

TLS is real, and verified by everybody, as in a user's cluster. Made by the `openssl` program, for
the lab needs nothing but the standard library.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from herald_lab.commands import run
from herald_lab.layout import API, API_PORT, SERVICE_RANGES, Lab

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_SERVICE_ADDRESSES = ("10.96.0.1", "fd00:96::1")  # the first of SERVICE_RANGES
_NAMES = (
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    "DNS:kubernetes.default.svc.cluster.local,DNS:localhost,DNS:api,"
    + ",".join(
        f"IP:{address}"
        for address in (*API.addresses, API.management, "127.0.0.1", "::1", *_SERVICE_ADDRESSES)
    )
)


def make(lab: Lab) -> None:
    """The authority, the API server's certificate, and the key that signs tokens."""
    assert len(SERVICE_RANGES) == len(_SERVICE_ADDRESSES)
    lab.pki.mkdir(mode=0o700)
    authority(lab.pki, "Herald lab CA")
    server(lab.pki)
    key = lab.pki / "service-account.key"
    run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)


def authority(folder: Path, name: str) -> None:
    """A certificate authority: ca.crt and ca.key."""
    rights = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
    _issue(folder, "ca", f"/CN={name}", rights, signer=None)


def server(folder: Path) -> None:
    """The API server's certificate by the authority of that folder: apiserver.crt and apiserver.key."""
    use = f"{_LEAF}extendedKeyUsage=serverAuth\nsubjectAltName={_NAMES}"
    _issue(folder, "apiserver", "/CN=kube-apiserver", use)


def client(lab: Lab, name: str, user: str, group: str = "") -> None:
    """A client certificate for `user`; files NAME.crt and NAME.key."""
    subject = (f"/O={group}" if group else "") + f"/CN={user}"
    _issue(lab.pki, name, subject, f"{_LEAF}extendedKeyUsage=clientAuth")


def kubeconfig(lab: Lab, name: str, server: str = f"https://{API.ipv4}:{API_PORT}") -> str:
    """A kubeconfig of the client certificate NAME, complete in itself (JSON is YAML)."""

    def data(file: str) -> str:
        return base64.b64encode((lab.pki / file).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    }
    return json.dumps(config, indent=2) + "\n"


_LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"


def _issue(
    folder: Path, name: str, subject: str, extensions: str, signer: str | None = "ca"
) -> None:
    """A key and a certificate for 30 days, signed by `signer`, or by itself."""
    config = folder / f"{name}.cnf"
    identifiers = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    config.write_text(f"[req]\ndistinguished_name=dn\n[dn]\n[ext]\n{identifiers}{extensions}\n")
    by = ("-CA", folder / f"{signer}.crt", "-CAkey", folder / f"{signer}.key") if signer else ()
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    run(
        *("openssl", "req", "-x509", *_KEY, *by, "-days", "30", "-subj", subject),
        *("-config", config, "-extensions", "ext", "-keyout", key, "-out", certificate),
    )
    config.unlink()
