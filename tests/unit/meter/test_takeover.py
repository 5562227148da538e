# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the takeover benchmark makes of what it saw of the Leases, and when it is content."""

from __future__ import annotations

import sys
from pathlib import Path
from queue import Queue

import pytest
from driver import DriverError

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from takeover import Seen, failures, taken_over

LOST = 100.0
RENEWED: Seen = (100.1, "presence-sim1", "sim1")  # its last, on its way as it was lost
FENCED: Seen = (102.0, "presence-sim1", "")
FIRST: Seen = (102.5, "vip-1", "sim2")
SECOND: Seen = (103.0, "vip-2", "sim3")


def seen(*events: Seen) -> Queue[Seen]:
    queue: Queue[Seen] = Queue()
    for event in events:
        queue.put(event)
    return queue


def test_claims_count_from_the_fence() -> None:
    found = taken_over(seen(RENEWED, FENCED, FIRST, SECOND), "sim1", 2, LOST, 0)
    assert (found.fence, found.claims) == (2.0, [0.5, 1.0])
    assert found.shares == {"sim2": 1, "sim3": 1}


def test_what_is_written_to_a_lease_beside_claims_changes_nothing() -> None:
    noise: list[Seen] = [
        (101.9, "vip-1", "sim1"),
        (102.1, "presence-sim2", "sim2"),
        (102.2, "vip-2", ""),
        FIRST,
        (102.9, "vip-1", "sim2"),
    ]
    found = taken_over(seen(FENCED, *noise, SECOND), "sim1", 2, LOST, 0)
    assert found.claims == [0.5, 1.0]


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([FENCED, FIRST], "wanted 2 addresses of sim1 claimed within 0 s, found 1; it was fenced"),
        ([RENEWED], "found 0; it was never fenced"),
        ([FIRST, SECOND, FENCED], "were claimed before it was fenced"),
    ],
)
def test_what_is_no_takeover_is_refused(events: list[Seen], complaint: str) -> None:
    with pytest.raises(DriverError, match=complaint):
        taken_over(seen(*events), "sim1", 2, LOST, 0)


def test_limits() -> None:
    third: Seen = (103.0, "vip-3", "sim3")
    found = taken_over(seen(FENCED, FIRST, SECOND, third), "sim1", 3, LOST, 0)
    assert failures(found, limit=1, share=1.5) == []
    assert failures(found, limit=0.9, share=0.8) == [
        "last claim 1.00 s after the fence, wanted 0.9 s",
        "wanted at most 1 addresses on a survivor, found 2",
    ]
