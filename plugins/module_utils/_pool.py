# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LoadBalancerIPPool: its options, and the spec that they make.

What the API server's own rules refuse is refused here too, before any request, in the words of the options; and what
those rules cannot say (a reversed IPv6 range).
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._address import parse
from ansible_collections.baremetal.herald.plugins.module_utils._client import Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption
from ansible_collections.baremetal.herald.plugins.module_utils._names import GROUP, VERSION
from ansible_collections.baremetal.herald.plugins.module_utils._selector import (
    selector,
    selector_options,
)

POOL = Resource(GROUP, VERSION, "loadbalancerippools", "LoadBalancerIPPool")

_HIGHEST_PRIORITY = 65535


def pool_options() -> dict[str, Any]:
    """The options that make a pool's spec; defaults are those of the API."""
    return {
        "blocks": {"type": "list", "elements": "dict", "options": _block_options()},
        "exclude": {"type": "list", "elements": "dict", "options": _block_options()},
        "service_selector": {"type": "dict", "options": selector_options()},
        "allow_first_last_ips": {"type": "bool", "default": True},
        "avoid_buggy_ips": {"type": "bool", "default": False},
        "auto_assign": {"type": "bool", "default": True},
        "priority": {"type": "int", "default": 100},
        "disabled": {"type": "bool", "default": False},
    }


def pool_spec(params: dict[str, Any]) -> dict[str, Any]:
    """The spec in the API's words, every defaulted field in it. Raises BadOption."""
    if not params["blocks"]:
        raise BadOption("blocks", "at least one, such as {cidr: 192.0.2.0/28}", params["blocks"])
    if not 0 <= params["priority"] <= _HIGHEST_PRIORITY:
        raise BadOption("priority", f"a number from 0 to {_HIGHEST_PRIORITY}", params["priority"])
    spec: dict[str, Any] = {
        "blocks": _blocks("blocks", params["blocks"]),
        "allowFirstLastIPs": params["allow_first_last_ips"],
        "avoidBuggyIPs": params["avoid_buggy_ips"],
        "autoAssign": params["auto_assign"],
        "priority": params["priority"],
        "disabled": params["disabled"],
    }
    if params["exclude"]:
        spec["exclude"] = _blocks("exclude", params["exclude"])
    if params["service_selector"]:
        spec["serviceSelector"] = selector("service_selector", params["service_selector"])
    return spec


def _block_options() -> dict[str, Any]:
    return {"cidr": {"type": "str"}, "start": {"type": "str"}, "stop": {"type": "str"}}


def _blocks(field: str, blocks: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [_block(f"{field}[{index}]", block) for index, block in enumerate(blocks)]


def _block(field: str, params: dict[str, Any]) -> dict[str, str]:
    given = {key: value for key, value in params.items() if value is not None}
    if ("cidr" in given) == ("start" in given):
        raise BadOption(field, "either cidr or start", " and ".join(sorted(given)) or None)
    if "cidr" in given:
        if "stop" in given:
            raise BadOption(field + ".stop", "it together with start", "cidr")
        _network(field + ".cidr", given["cidr"])
        return given
    first = parse(field + ".start", given["start"])
    if "stop" in given:
        last = parse(field + ".stop", given["stop"])
        if first.version != last.version:
            raise BadOption(
                field + ".stop",
                f"an IPv{first.version} address as start is",
                given["stop"],
            )
        if int(last) < int(first):
            raise BadOption(
                field + ".stop",
                f"an address that is not below start ({first})",
                given["stop"],
            )
    return given


def _network(field: str, text: str) -> None:
    wanted = "a network such as 192.0.2.0/28 or 2001:db8:0:7::/112"
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit():
        raise BadOption(field, wanted, text)
    parse(field, address, wanted, text)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadOption(field, wanted, text) from None
    if network.network_address != ipaddress.ip_address(address):
        raise BadOption(field, str(network), text + ", which has bits set beyond its prefix")
