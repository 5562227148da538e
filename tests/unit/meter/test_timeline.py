# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A failover told and drawn: n1 loses power at 10 s, n2 serves again from 11.5 s on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from story import tell
from timeline import draw

ZERO = 1_700_000_000.0
N1, N2 = "02:77:00:00:00:11", "02:77:00:00:00:12"
POWER = {"time": ZERO + 10.0, "label": "power lost: n1"}


def outage(lost_from: float = 10.0, lost_to: float = 11.5) -> dict[str, Any]:
    """A report over 20 s at one datagram each 20 ms."""
    slots = [slot / 50 for slot in range(1000)]
    lost = [slot for slot in slots if lost_from <= slot < lost_to]
    closed = lost_to < 20
    gap = {
        "start": ZERO + lost_from - 0.02,
        "end": ZERO + min(lost_to, 19.98),
        "length_ms": (min(lost_to, 19.98) - lost_from + 0.02) * 1000,
        "lost": len(lost),
        "opened": True,
        "closed": closed,
        "stalled_ms": 0,
    }
    return {
        "address": "192.168.77.200",
        "port": 9000,
        "start": ZERO,
        "sent": 1000,
        "lost": len(lost),
        "gaps": [gap] if lost else [],
        "meter": {"stalls": []},
        "tcp": {"fate": "reset", "ended": ZERO + 11.7, "reason": "ECONNRESET", "pauses": []},
        "samples": [[ZERO + slot, None if slot in lost else 0.2, "n3"] for slot in slots],
    }


def answers(two: bool = False) -> dict[str, Any]:
    heard = [[ZERO + slot / 50, N1, "reply"] for slot in range(500)]
    heard += [[ZERO + 11.48, N2, "garp"]]
    heard += [[ZERO + slot / 50, N2, "reply"] for slot in range(575, 1000)]
    violations = [{"rule": "together", "time": ZERO + 12, "first": N1, "second": N2}] if two else []
    return {
        "address": "192.168.77.200",
        "start": ZERO,
        "verdict": "two" if two else "one",
        "answered": 925,
        "missed": 0,
        "worst_pause_ms": 20,
        "macs": [{"mac": N2, "name": "n2"}, {"mac": N1, "name": "n1"}],
        "spells": [
            {"mac": N1, "first": ZERO, "last": ZERO + 9.98},
            {"mac": N2, "first": ZERO + 11.5, "last": ZERO + 19.98},
        ],
        "violations": violations,
        "heard": heard,
    }


GOLDEN = """\
192.168.77.200 port 9000, time 0 is 2023-11-14 22:13:30 UTC

                    ▼ power lost: n1
    n1  ████████████
    n2                               ◆██████████████████
served  ████████████                  ██████████████████
  lost              ██████████████████
                   ╰───── 1.52 s ─────╯
        ┴───────────┴───────────┴───────────┴───────────
        -1         0 s         +1          +2

  outage of 1.52 s: 75 of 1000 requests lost
  n2 took over from n1: its first answer 1.52 s after the last of the old one, 1.50 s after \
'power lost: n1'
  never two at once: 925 ARP answers heard
  the TCP connection that was open before: reset at +1.70 s (ECONNRESET)"""


def drawn(*reports: Any, width: int = 56, colour: bool = False) -> str:
    return draw(tell(*reports), width, colour=colour)


def test_golden() -> None:
    assert drawn(outage(), answers(), [POWER]) == GOLDEN


def test_colour_changes_nothing_but_colour() -> None:
    coloured = drawn(outage(), answers(), [POWER], colour=True)
    assert coloured != GOLDEN
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == GOLDEN


@pytest.mark.parametrize("width", [20, 57, 80, 200])
def test_no_lane_is_wider_than_asked(width: int) -> None:
    picture, _ = drawn(outage(), answers(), [POWER], width=width).rsplit("\n\n", 1)
    lanes = picture.splitlines()[3:]
    assert max(map(len, lanes)) <= max(width, 28)  # 20 columns of time are the least


def test_two_at_once_is_said_and_marked() -> None:
    lines = drawn(outage(), answers(two=True), [POWER]).splitlines()
    assert any(line.split() == ["two", "‼"] for line in lines)
    assert "  TWO ANSWERED AT ONCE, 1 times" in lines
    assert not any("took over" in line or "never two" in line for line in lines)


@pytest.mark.parametrize(
    ("report", "figure"),
    [
        pytest.param(outage(lost_to=10), "no outage: 0 of 1000 requests lost", id="nothing lost"),
        pytest.param(
            outage(lost_to=30),
            "not served again: 10.00 s until the end of the measurement, 500 of 1000 requests lost",
            id="never served again",
        ),
    ],
)
def test_the_first_figure_is_the_outage(report: dict[str, Any], figure: str) -> None:
    assert tell(report, answers(), [POWER]).figures[0] == figure


def test_the_meter_s_own_stalls_are_told() -> None:
    report = outage() | {"meter": {"stalls": [{"length_ms": 40}, {"length_ms": 25}]}}
    assert tell(report, None, []).figures[-1] == "the outage meter itself stood still for 65 ms"


def test_a_move_without_an_outage_is_in_the_picture() -> None:
    story = tell(outage(lost_to=10), answers(), [])
    last_of_n1, first_of_n2 = story.lanes[0].answers[-1], story.lanes[1].answers[0]
    assert story.begin < last_of_n1 < first_of_n2 < story.end


def test_either_report_will_do_but_one_is_needed() -> None:
    assert "served" not in drawn(None, answers(), [])
    assert "n1" not in drawn(outage(), None, [])
    with pytest.raises(ValueError, match="found neither"):
        tell(None, None, [])
