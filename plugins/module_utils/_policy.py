# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""L2AnnouncementPolicy: its options, and the spec that they make. See C(_pool)."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._client import Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption
from ansible_collections.baremetal.herald.plugins.module_utils._names import GROUP, VERSION
from ansible_collections.baremetal.herald.plugins.module_utils._selector import (
    selector,
    selector_options,
)

POLICY = Resource(GROUP, VERSION, "l2announcementpolicies", "L2AnnouncementPolicy")

_LONGEST_EXPRESSION = 64
_HIGHEST_WEIGHT = 100


def policy_options() -> dict[str, Any]:
    """The options that make a policy's spec; defaults are those of the API."""
    return {
        "service_selector": {"type": "dict", "options": selector_options()},
        "node_selector": {"type": "dict", "options": selector_options()},
        "interfaces": {"type": "list", "elements": "str"},
        "load_balancer_ips": {"type": "bool", "default": False},
        "external_ips": {"type": "bool", "default": False},
        "preferred_nodes": {
            "type": "list",
            "elements": "dict",
            "options": {
                "node_selector": {"type": "dict", "required": True, "options": selector_options()},
                "weight": {"type": "int", "required": True},
            },
        },
        "answer_ping": {"type": "bool", "default": True},
        "segment_health": {"type": "bool", "default": True},
    }


def policy_spec(params: dict[str, Any]) -> dict[str, Any]:
    """The spec in the API's words, every defaulted field in it. Raises BadOption."""
    if not params["load_balancer_ips"] and not params["external_ips"]:
        raise BadOption("load_balancer_ips", "it or external_ips (or both) to be true", "neither")
    spec: dict[str, Any] = {
        "loadBalancerIPs": params["load_balancer_ips"],
        "externalIPs": params["external_ips"],
        "answerPing": params["answer_ping"],
        "segmentHealth": params["segment_health"],
    }
    if params["service_selector"]:
        spec["serviceSelector"] = selector("service_selector", params["service_selector"])
    if params["node_selector"]:
        spec["nodeSelector"] = selector("node_selector", params["node_selector"])
    if params["interfaces"]:
        spec["interfaces"] = [
            _expression(f"interfaces[{index}]", text)
            for index, text in enumerate(params["interfaces"])
        ]
    if params["preferred_nodes"]:
        spec["preferredNodes"] = [
            _preferred(f"preferred_nodes[{index}]", item)
            for index, item in enumerate(params["preferred_nodes"])
        ]
    return spec


def _expression(field: str, text: str) -> str:
    if not 0 < len(text) <= _LONGEST_EXPRESSION:
        raise BadOption(field, f"an expression of 1 to {_LONGEST_EXPRESSION} characters", text)
    try:
        re.compile(text)
    except re.error as error:
        raise BadOption(
            field, "a regular expression such as ^eth[0-9]+$", f"{text} ({error})"
        ) from error
    return text


def _preferred(field: str, params: dict[str, Any]) -> dict[str, Any]:
    if not 1 <= params["weight"] <= _HIGHEST_WEIGHT:
        raise BadOption(
            field + ".weight", f"a number from 1 to {_HIGHEST_WEIGHT}", params["weight"]
        )
    return {
        "nodeSelector": selector(field + ".node_selector", params["node_selector"]),
        "weight": params["weight"],
    }
