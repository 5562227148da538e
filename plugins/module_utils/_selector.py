# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, as options and as Kubernetes writes them."""

from __future__ import annotations

from typing import Any

from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption

_NEED_VALUES = ("In", "NotIn")


def selector_options() -> dict[str, Any]:
    """The suboptions of a selector."""
    return {
        "match_labels": {"type": "dict"},
        "match_expressions": {
            "type": "list",
            "elements": "dict",
            "options": {
                "key": {"type": "str", "required": True, "no_log": False},
                "operator": {
                    "type": "str",
                    "required": True,
                    "choices": ["In", "NotIn", "Exists", "DoesNotExist"],
                },
                "values": {"type": "list", "elements": "str"},
            },
        },
    }


def selector(field: str, params: dict[str, Any]) -> dict[str, Any]:
    """The selector in the API's words. Raises BadOption."""
    wanted: dict[str, Any] = {}
    if params.get("match_labels") is not None:
        wanted["matchLabels"] = {
            str(key): _text(value) for key, value in params["match_labels"].items()
        }
    if params.get("match_expressions") is not None:
        wanted["matchExpressions"] = [
            _requirement(f"{field}.match_expressions[{index}]", item)
            for index, item in enumerate(params["match_expressions"])
        ]
    return wanted


def _requirement(field: str, params: dict[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"key": params["key"], "operator": params["operator"]}
    if params["operator"] in _NEED_VALUES:
        if not params.get("values"):
            raise BadOption(
                field + ".values",
                "one or more with operator " + params["operator"],
                params.get("values"),
            )
        wanted["values"] = list(params["values"])
    elif params.get("values"):
        raise BadOption(
            field + ".values", "none with operator " + params["operator"], params["values"]
        )
    return wanted


def _text(value: object) -> str:
    """A label's value as YAML people mean it: C(true) is the text true."""
    return str(value).lower() if isinstance(value, bool) else str(value)
