# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What somebody may write where nobody thought of it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Whatever JSON can say, briefly, with these texts."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    )
