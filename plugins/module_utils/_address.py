# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses in options."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption


def parse(field: str, text: str, wanted: str = "", found: str = "") -> Any:
    """An address that Kubernetes takes for one too: no zone, no IPv4 inside IPv6. Raises BadOption."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text or getattr(address, "ipv4_mapped", None) is not None:
        raise BadOption(
            field, wanted or "an address such as 192.0.2.10 or 2001:db8::10", found or text
        )
    return address
