# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who this process is: the machine and boot that it runs in, and a nonce of its own."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from herald import __version__
from herald.core.model import Identity

MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class IdentityError(Exception):
    """The machine cannot be told apart from others."""


def read_identity(node: str, machine_id: Path = MACHINE_ID, boot_id: Path = BOOT_ID) -> Identity:
    """The identity of a new process on this machine and boot. Raises IdentityError.

    machine-id is hashed, not shown: machine-id(5) asks that it stay on its machine.
    """
    secret = f"herald {_id(machine_id)} {_id(boot_id)}"
    return Identity(
        node=node,
        machine=hashlib.sha256(secret.encode()).hexdigest()[:32],
        nonce=secrets.token_hex(8),
        version=__version__,
    )


def _id(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path}: wanted an id to tell machines apart, found {error}") from None
    # "uninitialized" stands in images that have not booted yet (machine-id(5)).
    if len(text.replace("-", "")) != 32:
        raise IdentityError(
            f"{path}: wanted 32 hexadecimal digits, found {text!r};"
            " systemd-machine-id-setup makes a machine-id"
        )
    return text
