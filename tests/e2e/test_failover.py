# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of an address whose announcing node suffers: served again soon, and never by two."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from watched import (
    BEYOND,
    assert_leases_agree,
    assert_one_at_a_time,
    assert_served_again,
    await_health,
    linger,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Lab
    from watched import Json, Watched

pytestmark = pytest.mark.lab

RUNS = int(os.environ.get("HERALD_FAILOVER_RUNS", "10"))
MEDIAN, WORST = 2000.0, 2500.0  # ms: promised with the default settings; worst is D + 0.5 s


@pytest.mark.parametrize("kind", ["power", "cable", "switch", "freeze", "agent-stop"])
def test_address_moves_once_and_is_served_again_after(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None], kind: str
) -> None:
    node = watched.holder
    outage, answers = watched.suffer(node, kind, tmp_path)
    figure(f"{kind}: {outage['worst_gap_ms']:.0f} ms; TCP connection {outage['tcp']['fate']}")
    assert_served_again(outage, node)
    assert_one_at_a_time(answers)
    assert_leases_agree(watched.lab)
    assert watched.holder != node, "the address moved back without a reason"


@pytest.mark.timeout(120 + 60 * RUNS)
@pytest.mark.parametrize("kind", ["power", "switch"])
def test_outage_is_two_seconds_at_most_of(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None], kind: str
) -> None:
    found = []
    for _ in range(RUNS):
        node = watched.move_backends_off_the_holder()
        outage, answers = watched.suffer(node, kind, tmp_path, beyond=0)
        assert_served_again(outage, node)
        assert_one_at_a_time(answers)
        found.append(outage["worst_gap_ms"])
    median, worst = statistics.median(found), max(found)
    each = " ".join(f"{length:.0f}" for length in found)
    figure(f"{kind}, {RUNS} times: median {median:.0f} ms, worst {worst:.0f} ms ({each})")
    assert_leases_agree(watched.lab)
    assert median <= MEDIAN
    assert worst <= WORST


# --- a restart of the agent -------------------------------------------------------------------


@contextmanager
def both_cores_busy() -> Iterator[None]:
    """Two processes of ordinary priority that do nothing but count, for as long as the block."""
    count = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(count) for _ in range(2)]
    try:
        yield
        assert all(process.poll() is None for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def process_of(lab: Lab, node: str) -> str:
    shown = ("systemctl", "show", "--property=MainPID", "--value", "herald-agent")
    return lab.exec(node, *shown).strip()


def identity(lease: Json) -> tuple[object, ...]:
    """What a new epoch, or a new claim, would change."""
    spec = lease["spec"]
    annotations = lease["metadata"]["annotations"]
    changing = (spec["holderIdentity"], spec.get("leaseTransitions"), spec["acquireTime"])
    return (lease["metadata"]["uid"], *changing, annotations.get("herald.dev/epoch"))


def kill_agent(watched: Watched, tmp_path: Path) -> Json:
    """Kill the announcing node's agent under both meters; nothing may move. The outage report."""
    lab, node = watched.lab, watched.holder
    process, presence, lease = process_of(lab, node), lab.presence(node), watched.lease()
    with watched.answered(tmp_path) as answers, watched.metered(tmp_path) as outage:
        lab("fault", node, "agent-kill")
        watched.wait_for(
            "systemd to start the agent again", lambda: process_of(lab, node) not in ("0", process)
        )
        await_health(lab, [node])
        linger(BEYOND)  # were the epoch lost, others would claim within it
    assert identity(lab.presence(node)) == identity(presence), "a new epoch began"
    assert identity(watched.lease()) == identity(lease), "the address was claimed anew"
    nonce = lab.presence(node)["metadata"]["annotations"]["herald.dev/instance"]
    assert nonce != presence["metadata"]["annotations"]["herald.dev/instance"]
    assert_one_at_a_time(answers)
    assert_leases_agree(lab)
    return outage


def test_killed_agent_goes_on_in_the_same_epoch_and_nothing_is_lost(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    outage = kill_agent(watched, tmp_path)
    figure(f"agent-kill: {outage['lost']} of {outage['sent']} datagrams lost")
    assert outage["lost"] == 0


def test_killed_agent_goes_on_in_the_same_epoch_while_both_cores_are_busy(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with both_cores_busy():
        outage = kill_agent(watched, tmp_path)
    figure(f"agent-kill, cores busy: {outage['lost']} of {outage['sent']} datagrams lost")
    assert outage["lost"] == 0


def test_stopped_agent_hands_over_and_nothing_is_lost(
    watched: Watched, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lab, node = watched.lab, watched.holder
    with watched.answered(tmp_path) as answers:
        with watched.metered(tmp_path) as outage:
            lab.exec(node, "systemctl", "stop", "herald-agent")
            try:
                assert watched.holder not in ("", node), "stopped, and nobody took over"
            finally:
                lab.exec(node, "systemctl", "start", "herald-agent")
        await_health(lab, [node])
        linger(BEYOND)
    tcp = outage["tcp"]
    figure(
        f"systemctl stop: {outage['lost']} of {outage['sent']} datagrams lost; "
        f"TCP connection {tcp['fate']} {tcp['reason']}"
    )
    assert outage["lost"] == 0
    assert_one_at_a_time(answers)
    assert_leases_agree(lab)
