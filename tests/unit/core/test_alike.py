# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""However thousands of values are kept, they say what they said before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herald.core.alike import Texts, texts_once
from herald.core.model import Condition, Conditions, conditions_once

WORDS = st.text(alphabet="ab\n", max_size=3)


@given(st.dictionaries(WORDS, WORDS), st.dictionaries(WORDS, WORDS))
def test_texts_by_name_are_the_same_however_they_are_kept(one, other) -> None:
    kept = texts_once(one)
    assert dict(kept) == dict(kept.items()) == one
    assert list(kept) == list(one)
    assert repr(kept) == repr(one)
    assert kept == one
    assert one == kept
    assert (kept == texts_once(other)) is (one == other)
    assert all(kept.get(name, "-") == one.get(name, "-") for name in (*one, *other))


def test_of_labels_the_names_are_kept_once() -> None:
    one, other = texts_once({"app": "a", "pool": "p"}), texts_once({"app": "b", "pool": "p"})
    assert isinstance(one, Texts)
    assert isinstance(other, Texts)
    assert one._names is other._names


CONDITIONS = st.lists(
    st.builds(Condition, st.sampled_from("AB"), st.sampled_from(("True", "False")), WORDS, WORDS),
    max_size=3,
).map(tuple)


@given(CONDITIONS, CONDITIONS)
def test_conditions_are_the_same_however_they_are_kept(one, other) -> None:
    kept = conditions_once(one)
    assert tuple(kept) == one
    assert len(kept) == len(one)
    assert bool(kept) is bool(one)
    assert repr(kept) == repr(one)
    assert kept == one
    assert one == kept
    assert hash(kept) == hash(one)
    assert (kept == conditions_once(other)) is (one == other)
    assert all((each in kept) is (each in one) for each in (*one, *other))


def test_of_conditions_all_but_the_messages_is_kept_once() -> None:
    one, other = (
        conditions_once(tuple(Condition(kind, "True", "R", f"{n} {kind}") for kind in "AB"))
        for n in (1, 2)
    )
    assert isinstance(one, Conditions)
    assert isinstance(other, Conditions)
    assert one._kinds is other._kinds
