# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""An agent that stands still: its kernel answers until the deadline of its last renewal, and not a millisecond more.

The deadline is known exactly: it stands in the kernel, beside the moment before the renewal was sent that it counts
from, and the stopped agent cannot change it. Answers are stamped as they leave the node, on its switch port, by the
same machine's clock. What is uncertain is how far the time of day, which stamps frames, is steered away meanwhile from
the boot-time clock, which deadlines count by; that is measured and allowed for.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from herald_lab import layout
from watched import assert_one_at_a_time, await_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from watched import Watched

pytestmark = pytest.mark.lab

ANSWERS = Path(__file__).parents[1] / "lab/meter/answers.py"
SESSION = "/sys/fs/bpf/herald/v1/session"
DURATION = 2.0  # seconds: D as it is set by default
MILLISECOND = 0.001
STEERED = 0.0002  # seconds: far more than a clock is steered by in a few


def session(watched: Watched, node: str) -> dict[str, float]:
    """What the node's kernel holds, in seconds of CLOCK_BOOTTIME."""
    look = ("bpftool", "--json", "map", "lookup", "pinned", SESSION, "key", *"0000")
    found = json.loads(watched.lab.exec(node, *look))["value"]
    words = bytes(int(byte, 16) for byte in found)
    names = ("deadline", "fuse", "renewed", "mode")
    return {
        name: int.from_bytes(words[8 * at : 8 * at + 8], sys.byteorder) / 1e9
        for at, name in enumerate(names)
    }


def time_of_day_at_boot() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def test_stopped_agent_is_answered_for_until_its_deadline_and_no_longer(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lab, node = watched.lab, watched.holder
    host = layout.node(node)
    port = ("--", sys.executable, str(ANSWERS), watched.address, "--interface", host.port)
    with (
        lab.meter("run", *port, "--passive", file=tmp_path / "port.json") as at_the_port,
        lab.meter(
            "answers", watched.address, "--interval-ms", "1", file=tmp_path / "client.json"
        ) as at_the_client,
    ):
        boot = time_of_day_at_boot()
        with lab.fault(node, "agent-stop"):
            stopped = session(watched, node)
            watched.wait_for(
                "another node to announce it", lambda: watched.holder not in ("", node)
            )
            assert session(watched, node) == stopped
        steered = abs(time_of_day_at_boot() - boot)
        await_health(lab, [node])

    answers = [
        when for when, mac, kind in at_the_port["heard"] if (mac, kind) == (host.mac, "reply")
    ]
    after_renewal = max(answers) - (boot + stopped["renewed"])
    figure(
        f"agent-stop: last answer {after_renewal * 1000:.3f} ms after the last renewal was sent "
        f"(0.9 D is {900 * DURATION:.0f} ms; clock steered by {steered * 1e6:.0f} µs)"
    )
    assert steered < STEERED
    assert stopped["deadline"] - stopped["renewed"] == pytest.approx(0.9 * DURATION, abs=1e-6)
    assert after_renewal <= 0.9 * DURATION + MILLISECOND + steered
    # It was asked and answered all the while, so the last answer is not early by chance.
    assert after_renewal >= 0.9 * DURATION - 0.1
    assert at_the_client["requests"] > at_the_client["answered"] > len(answers) > 500
    assert_one_at_a_time(at_the_client)
