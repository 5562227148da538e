# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Label selectors mean, and are refused, as the API server has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.ipam_world import service

from herald.core.model import Requirement, Selector
from herald.core.selectors import matches, problems, service_labels


def selector(*requirements: Requirement, **labels: str) -> Selector:
    return Selector(labels, requirements)


WEB = {"app": "web", "tier": "front"}

MATCHES = [
    ("empty selects everything", selector(), {}, True),
    ("a label that fits", selector(app="web"), WEB, True),
    ("a label with another value", selector(app="mail"), WEB, False),
    ("a label that is missing", selector(zone="a"), WEB, False),
    ("all labels must fit", selector(app="web", tier="back"), WEB, False),
    ("In: one of them", selector(Requirement("app", "In", ("mail", "web"))), WEB, True),
    ("In: none of them", selector(Requirement("app", "In", ("mail",))), WEB, False),
    ("In: the key is missing", selector(Requirement("zone", "In", ("a",))), WEB, False),
    ("NotIn: none of them", selector(Requirement("app", "NotIn", ("mail",))), WEB, True),
    ("NotIn: one of them", selector(Requirement("app", "NotIn", ("web",))), WEB, False),
    ("NotIn: the key is missing", selector(Requirement("zone", "NotIn", ("a",))), WEB, True),
    ("Exists", selector(Requirement("app", "Exists")), WEB, True),
    ("Exists: the key is missing", selector(Requirement("zone", "Exists")), WEB, False),
    ("DoesNotExist", selector(Requirement("zone", "DoesNotExist")), WEB, True),
    ("DoesNotExist: it does", selector(Requirement("app", "DoesNotExist")), WEB, False),
    (
        "expressions are AND-ed",
        selector(Requirement("app", "Exists"), Requirement("z", "Exists")),
        WEB,
        False,
    ),
    (
        "labels and expressions are AND-ed",
        selector(Requirement("z", "Exists"), app="web"),
        WEB,
        False,
    ),
    ("an operator that does not exist", selector(Requirement("app", "Near", ("web",))), WEB, False),
    ("an empty value is a value", selector(app=""), {"app": ""}, True),
]


@pytest.mark.parametrize(
    ("chosen", "labels", "expected"), [row[1:] for row in MATCHES], ids=[r[0] for r in MATCHES]
)
def test_matches(chosen: Selector, labels: dict[str, str], expected: bool) -> None:
    assert matches(chosen, labels) is expected


LONG = "a" * 63
SOUND = [
    selector(app="web"),
    Selector({"example.com/app": "web", LONG: LONG, f"{'b' * 253}/{LONG}": ""}),
    selector(Requirement("a.b-c_d", "In", ("x", ""))),
    selector(Requirement("app", "NotIn", ("A.b-c_9",))),
    selector(Requirement("io.kubernetes.service.namespace", "Exists")),
]


@pytest.mark.parametrize("chosen", SOUND)
def test_sound(chosen: Selector) -> None:
    assert problems(chosen) == []


REFUSED = [
    (Selector({"": "x"}), "matchLabels: wanted a label key, found ''"),
    (Selector({"-a": "x"}), "matchLabels: wanted a label key, found '-a'"),
    (Selector({LONG + "a": "x"}), "matchLabels: wanted a label key, found 'aaa"),
    (Selector({"/a": "x"}), "matchLabels: wanted a label key, found '/a'"),
    (Selector({"Example.com/a": "x"}), "matchLabels: wanted a label key, found 'Example.com/a'"),
    (Selector({"a/b/c": "x"}), "matchLabels: wanted a label key, found 'a/b/c'"),
    (Selector({f"{'b' * 254}/a": "x"}), "matchLabels: wanted a label key, found 'bbb"),
    (Selector({"a\n": "x"}), "matchLabels: wanted a label key, found 'a\\n'"),
    (Selector({"ä": "x"}), "matchLabels: wanted a label key, found '\\xe4'"),
    (Selector({"a": "x y"}), "matchLabels['a']: wanted a label value, found 'x y'"),
    (Selector({"a": LONG + "a"}), "matchLabels['a']: wanted a label value, found 'aaa"),
    (Selector({"a": "x-"}), "matchLabels['a']: wanted a label value, found 'x-'"),
    (
        selector(Requirement("a", "In")),
        "matchExpressions[0].values: wanted at least one for In, found none",
    ),
    (
        selector(Requirement("a", "NotIn")),
        "matchExpressions[0].values: wanted at least one for NotIn, found none",
    ),
    (
        selector(Requirement("a", "Exists", ("x",))),
        "matchExpressions[0].values: wanted none for Exists, found 1",
    ),
    (
        selector(Requirement("a", "Exists"), Requirement("a", "in", ("x",))),
        "matchExpressions[1].operator: wanted In, NotIn, Exists or DoesNotExist, found 'in'",
    ),
    (
        selector(Requirement("a b", "Exists")),
        "matchExpressions[0].key: wanted a label key, found 'a b'",
    ),
    (
        selector(Requirement("a", "In", ("x!",))),
        "matchExpressions[0].values: wanted label values, found 'x!'",
    ),
]


@pytest.mark.parametrize(("chosen", "problem"), REFUSED)
def test_refused(chosen: Selector, problem: str) -> None:
    (found,) = problems(chosen)
    assert found.startswith(problem)


def test_pseudo_labels_win() -> None:
    labels = {
        "app": "web",
        "io.kubernetes.service.name": "other",
        "io.kubernetes.service.namespace": "other",
    }
    assert service_labels(service("shop/web", labels=labels)) == {
        "app": "web",
        "io.kubernetes.service.name": "web",
        "io.kubernetes.service.namespace": "shop",
    }


anything = st.text(max_size=20)


@given(
    st.dictionaries(anything, anything, max_size=3),
    st.lists(
        st.builds(Requirement, anything, anything, st.lists(anything, max_size=3).map(tuple)),
        max_size=3,
    ),
    st.dictionaries(anything, anything, max_size=3),
)
def test_total(
    labels: dict[str, str], requirements: list[Requirement], found: dict[str, str]
) -> None:
    """Whatever is written, there is an answer; and what is refused is told in printable ASCII."""
    chosen = Selector(labels, tuple(requirements))
    assert matches(chosen, found) in (True, False)
    assert all(each.isascii() and each.isprintable() for each in problems(chosen))
