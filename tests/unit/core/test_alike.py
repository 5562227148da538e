# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""However thousands of values are kept, they say what they said before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herald.core.alike import Texts, texts_once

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
