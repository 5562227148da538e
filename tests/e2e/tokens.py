# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Tokens of agents with an end of the test's choosing: the API server itself gives none for less than ten minutes.

They are signed with the lab's key, so to the API server they are as good as those that it gave, until they end.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from herald_lab.layout import Lab as Layout
from watched import NAMESPACE

if TYPE_CHECKING:
    from conftest import Lab

FILE = "/var/lib/herald/token"


def given(lab: Lab, node: str, seconds: int = 3600) -> str:
    """A token as the API server gives it for the agent of a node."""
    answer = lab.api.request(
        "POST",
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/agent-{node}/token",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        },
    )
    token: str = answer["status"]["token"]
    return token


def ending(lab: Lab, node: str, seconds: float) -> str:
    """A token for the agent of a node that ends so many seconds from now, or has ended."""
    head, body, _ = given(lab, node).split(".")
    end = int(time.time() + seconds)
    issued = int(min(time.time(), end)) - 1
    claims = {**_decoded(body), "iat": issued, "nbf": issued, "exp": end}
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    pem = (Layout(lab.name).pki / "service-account.key").read_bytes()
    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def expiry(token: str) -> int:
    """When it ends, in seconds since 1970."""
    return int(_decoded(token.split(".")[1])["exp"])


def held(lab: Lab, node: str) -> str:
    """The token that the agent of a node has."""
    return lab.exec(node, "cat", FILE).strip()


def hand(lab: Lab, node: str, token: str) -> None:
    """Put a token in the place of the one that the agent of a node has, as its file was."""
    lab.exec(node, "sh", "-c", f"umask 077; printf %s {token} >{FILE}.new")
    lab.exec(node, "chown", "herald:herald", f"{FILE}.new")
    lab.exec(node, "mv", f"{FILE}.new", FILE)


def _decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
