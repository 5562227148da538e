# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""``heraldctl token``: whose the token in the agent's file is, and when it ends. It is never
shown."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOKEN_FILE = Path("/var/lib/herald/token")
_SUBJECT = "system:serviceaccount:"


class TokenError(Exception):
    """The file holds no token that can be read; the message never quotes it."""


@dataclass(frozen=True, slots=True)
class Token:
    namespace: str
    account: str
    expires: int | None
    """Unix seconds; None: never."""

    def left(self, now: float) -> float | None:
        """Seconds until it ends, negative since it has; None: it never does."""
        return None if self.expires is None else self.expires - now


def read_token(path: Path) -> Token:
    """What the token says about itself; the API server alone can say whether it is true.

    Raises TokenError.
    """
    try:
        text = path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise TokenError(f"{path}: wanted a token, found other bytes") from None
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}") from None
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _token(path, claims)
    except (IndexError, ValueError, AttributeError):
        raise TokenError(f"{path}: wanted a JSON Web Token, found something else") from None


def _token(path: Path, claims: dict[str, Any]) -> Token:
    subject = str(claims.get("sub", ""))
    namespace, colon, account = subject.removeprefix(_SUBJECT).partition(":")
    if not subject.startswith(_SUBJECT) or not colon:
        raise TokenError(f"{path}: wanted a ServiceAccount's token, found one for {subject!r}")
    expires = claims.get("exp")
    return Token(namespace, account, None if expires is None else int(expires))


def add_token_command(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "token", help="whose the agent's token is, and when it ends"
    )
    parser.add_argument("--file", type=Path, default=TOKEN_FILE, help="(%(default)s)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--check",
        action="store_true",
        help="print nothing but what is wrong; exit 1 if anything is",
    )
    parser.add_argument(
        "--service-account", metavar="NAME", help="whom the token should be for (with --check)"
    )
    parser.add_argument(
        "--namespace", default="herald-system", metavar="NAME", help="(%(default)s; with --check)"
    )
    parser.add_argument(
        "--left",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long it should still be good (with --check)",
    )
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    try:
        token = read_token(options.file)
    except TokenError as error:
        print(f"heraldctl: {error}", file=sys.stderr)
        return 1
    if options.check:
        problem = _problem(token, options)
        if problem:
            print(f"heraldctl: {options.file}: {problem}", file=sys.stderr)
        return 1 if problem else 0
    left = token.left(time.time())
    if options.json:
        print(
            json.dumps(
                {
                    "namespace": token.namespace,
                    "service_account": token.account,
                    "expires": None if token.expires is None else _when(token.expires),
                    "seconds_left": None if left is None else round(left),
                }
            )
        )
        return 0
    print(f"service account: {token.namespace}/{token.account}")
    if token.expires is None:
        print("ends: never")
    else:
        print(f"ends: {_when(token.expires)} ({_span(left or 0.0)})")
    return 0


def _problem(token: Token, options: argparse.Namespace) -> str:
    if options.service_account:
        wanted = (options.namespace, options.service_account)
        if (token.namespace, token.account) != wanted:
            found = f"{token.namespace}/{token.account}"
            return f"wanted a token for {'/'.join(wanted)}, found one for {found}"
    left = token.left(time.time())
    if left is not None and left <= options.left:
        return f"wanted one that is good for {options.left:g} s more, found: {_span(left)}"
    return ""


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(seconds: float) -> str:
    """Two units are enough for anybody."""
    size = int(abs(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, size = divmod(size, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    text = " ".join(parts[:2])
    return f"ended {text} ago" if seconds <= 0 else f"{text} left"
