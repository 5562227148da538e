# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ip_pool and l2_policy have in common: one object by name or a list, state, wait, and what is returned."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connect,
)
from ansible_collections.baremetal.herald.plugins.module_utils._diff import diff, plain
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption, HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule
from ansible_collections.baremetal.herald.plugins.module_utils._runner import (
    Outcome,
    Runner,
    Wanted,
    await_each,
    gone,
    has_condition,
)

SpecOf = Callable[[dict[str, Any]], dict[str, Any]]


def run(resource: Resource, plural: str, options: dict[str, Any], spec_of: SpecOf) -> None:
    """The whole of a module. C(plural) is the option that holds a list of objects."""
    item = {
        "name": {"type": "str"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
        **options,
    }
    module = ClusterModule(
        argument_spec={
            **CONNECTION_SPEC,
            **item,
            plural: {
                "type": "list",
                "elements": "dict",
                "options": {**item, "name": {"type": "str", "required": True}},
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wait": {"type": "bool", "default": False},
            "wait_condition": {"type": "str", "default": "Ready"},
            "wait_timeout": {"type": "int", "default": 60},
        },
        mutually_exclusive=[("name", plural)],
        required_one_of=[("name", plural)],
        supports_check_mode=True,
    )
    try:
        wanted = wanted_objects(module.params, plural, spec_of)
        client = connect(module)
        outcomes = Runner(client, resource).run(wanted)
        if module.params["wait"] and not module.check_mode:
            outcomes = _waited(client, resource, module.params, outcomes)
    except HeraldError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result(outcomes, single=module.params[plural] is None))


def wanted_objects(params: dict[str, Any], plural: str, spec_of: SpecOf) -> list[Wanted]:
    """What the options ask for. Raises BadOption, before any request is sent."""
    present = params["state"] == "present"
    items = [params] if params[plural] is None else params[plural]
    names = [item["name"] for item in items]
    for name in names:
        if names.count(name) > 1:
            raise BadOption(plural, "each name once", name)
    return [
        _wanted(item, present, "" if item is params else f"{plural}[{index}].", spec_of)
        for index, item in enumerate(items)
    ]


def result(outcomes: list[Outcome], single: bool) -> dict[str, Any]:
    """What the module returns."""
    entries = [
        {"name": outcome.name, "action": outcome.action, "resource": plain(outcome.after)}
        for outcome in outcomes
    ]
    return {
        "changed": any(outcome.changed for outcome in outcomes),
        "diff": [diff(outcome.before, outcome.after) for outcome in outcomes if outcome.changed],
        **(entries[0] if single else {"results": entries}),
    }


def _wanted(item: dict[str, Any], present: bool, prefix: str, spec_of: SpecOf) -> Wanted:
    if not present:
        return Wanted(item["name"], spec=None)
    try:
        spec = spec_of(item)
    except BadOption as error:
        raise HeraldError(prefix + str(error)) from error
    return Wanted(
        item["name"],
        spec=spec,
        labels={str(key): str(value) for key, value in (item["labels"] or {}).items()},
        annotations={str(key): str(value) for key, value in (item["annotations"] or {}).items()},
    )


def _waited(
    client: Client, resource: Resource, params: dict[str, Any], outcomes: list[Outcome]
) -> list[Outcome]:
    present = params["state"] == "present"
    states = await_each(
        [(f"{resource.kind} {outcome.name}", outcome.name) for outcome in outcomes],
        lambda name: client.get(resource, name),
        has_condition(params["wait_condition"]) if present else gone,
        params["wait_timeout"],
    )
    return [
        Outcome(done.name, done.action, done.before, state) for done, state in zip(outcomes, states)
    ]
