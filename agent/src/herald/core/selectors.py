# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Label selectors, with the meaning and the validation that the API server gives them.

A custom resource's selector reaches the API server as plain strings and lists: it checks their types, not
their sense. So what ``apimachinery`` (``ValidateLabelSelector``) would refuse in a built-in resource is
refused here, by :func:`problems`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from herald.core.model import Labels, Requirement, Selector, Service

NAMESPACE_LABEL = "io.kubernetes.service.namespace"
NAME_LABEL = "io.kubernetes.service.name"

_PART = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_MAX = 253
_SHOWN_MAX = 64


def matches(selector: Selector, labels: Labels) -> bool:
    """Whether the selector selects what bears these labels; an empty selector selects everything.

    ``NotIn`` selects also what lacks the key. An operator that does not exist selects nothing.
    """
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            return False
    return all(_holds(requirement, labels) for requirement in selector.match_expressions)


def service_labels(service: Service) -> Labels:
    """The labels that selectors see of a Service: its own, and its namespace and name, which win."""
    labels = dict(service.labels.items())
    labels[NAMESPACE_LABEL], labels[NAME_LABEL] = service.namespace, service.name
    return labels


def problems(selector: Selector) -> list[str]:
    """What the API server would refuse in this selector: field, wanted, found. Empty: it is sound."""
    return [*_label_problems(selector.match_labels), *_expression_problems(selector)]


def _holds(requirement: Requirement, labels: Labels) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
        case _:
            return False


def _label_problems(labels: Labels) -> Iterator[str]:
    for key, value in labels.items():
        if not _is_key(key):
            yield f"matchLabels: wanted a label key, found {_shown(key)}"
        if not _is_value(value):
            yield f"matchLabels[{_shown(key)}]: wanted a label value, found {_shown(value)}"


def _expression_problems(selector: Selector) -> Iterator[str]:
    for index, requirement in enumerate(selector.match_expressions):
        field = f"matchExpressions[{index}]"
        if not _is_key(requirement.key):
            yield f"{field}.key: wanted a label key, found {_shown(requirement.key)}"
        match requirement.operator:
            case "In" | "NotIn":
                if not requirement.values:
                    yield f"{field}.values: wanted at least one for {requirement.operator}, found none"
            case "Exists" | "DoesNotExist":
                if requirement.values:
                    found = len(requirement.values)
                    yield f"{field}.values: wanted none for {requirement.operator}, found {found}"
            case _:
                found_text = _shown(requirement.operator)
                yield (
                    f"{field}.operator: wanted In, NotIn, Exists or DoesNotExist, found {found_text}"
                )
        for value in requirement.values:
            if not _is_value(value):
                yield f"{field}.values: wanted label values, found {_shown(value)}"


def _is_key(text: str) -> bool:
    """A qualified name: an optional DNS subdomain and a slash, and a part of up to 63 characters."""
    prefix, slash, name = text.rpartition("/")
    if slash and not (len(prefix) <= _SUBDOMAIN_MAX and _SUBDOMAIN.fullmatch(prefix)):
        return False
    return _PART.fullmatch(name) is not None


def _is_value(text: str) -> bool:
    return not text or _PART.fullmatch(text) is not None


def _shown(text: str) -> str:
    """Quoted, escaped and cut: whatever somebody wrote can stand in a message."""
    return ascii(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")
