# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be read of a ServiceAccount's token without being able to verify it.

Only claims leave this module, never the token.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple


class Claims(NamedTuple):
    """Whose a token is, and until when. C(expires) is in seconds since 1970, 0 for a token without an end."""

    subject: str
    uid: str
    expires: int

    def as_dict(self) -> dict[str, Any]:
        """For a module's return value."""
        return self._asdict()


def claims(token: str) -> Claims | None:
    """The claims of a JSON Web Token (RFC 7519); None for whatever is none."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        account = (content.get("kubernetes.io") or {}).get("serviceaccount") or {}
        return Claims(
            str(content["sub"]), str(account.get("uid") or ""), int(content.get("exp") or 0)
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def fault(found: dict[str, Any] | None, subject: str, uid: str, now: float, margin: float) -> str:
    """Why the node needs a new token; nothing where the one it has will do.

    C(uid) is the ServiceAccount's: the API server refuses tokens of one that was deleted and made anew. C(now) is in
    seconds since 1970, by the clock of the asking side; C(margin), in seconds, is what must be left.
    """
    if not found:
        return "there is no readable token"
    if found["subject"] != subject:
        return f"the token is for {found['subject']}, wanted {subject}"
    if found["uid"] != uid:
        return f"the token is for an earlier ServiceAccount of that name (uid {found['uid']}, now {uid})"
    left = found["expires"] - now
    if found["expires"] and left < margin:
        return (
            f"the token ends in {left:.0f} s" if left > 0 else f"the token ended {-left:.0f} s ago"
        )
    return ""
