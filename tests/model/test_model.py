# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""spin proves herald.pml within the bounds of README.md, and refutes every variant that leaves a rule out.

``HERALD_MODEL=deep`` adds the bounds that take longer (and up to 7 GB each).
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("herald.pml")
DEEPER = os.environ.get("HERALD_MODEL") == "deep"
MEMORY_MIB = 7000 if DEEPER else 3500
SECONDS = 3600 if DEEPER else 600

WITHDRAW = ("DURATION=3",)
HOLD = ("DURATION=3", "HOLD")
TWO = ("NODES=2", "ADDRESSES=2")

GOOD = {
    "withdraw, 2 nodes, 3 faults": (*WITHDRAW, "NODES=2", "MAX_FAULTS=3"),
    "withdraw, 3 nodes, 1 fault": (*WITHDRAW, "NODES=3", "MAX_FAULTS=1"),
    "hold, 2 nodes, 2 faults": (*HOLD, "NODES=2", "MAX_FAULTS=2"),
    "hold, 3 nodes, 1 fault": (*HOLD, "NODES=3", "MAX_FAULTS=1"),
    "withdraw, 2 nodes, 2 addresses, 1 fault": (*WITHDRAW, *TWO, "MAX_FAULTS=1"),
    "hold, 2 nodes, 2 addresses, 1 fault": (*HOLD, *TWO, "MAX_FAULTS=1"),
    "found again, 2 nodes, 2 faults": (*WITHDRAW, "NODES=2", "MAX_FAULTS=2", "LIVENESS"),
    "found again, 3 nodes, 1 fault": (*WITHDRAW, "NODES=3", "MAX_FAULTS=1", "LIVENESS"),
    "found again, 2 nodes, 2 addresses, 1 fault": (*WITHDRAW, *TWO, "MAX_FAULTS=1", "LIVENESS"),
    "found again in hold, 2 nodes, 2 faults": (*HOLD, "NODES=2", "MAX_FAULTS=2", "LIVENESS"),
}
DEEP = {
    "withdraw, 2 nodes, 4 faults": (*WITHDRAW, "NODES=2", "MAX_FAULTS=4"),
    "withdraw, 3 nodes, 2 faults": (*WITHDRAW, "NODES=3", "MAX_FAULTS=2"),
    "withdraw, 2 nodes, D of 10 ticks": ("DURATION=10", "NODES=2", "MAX_FAULTS=1"),
    "hold, 2 nodes, 3 faults": (*HOLD, "NODES=2", "MAX_FAULTS=3"),
    "withdraw, 2 nodes, 2 addresses, 2 faults": (*WITHDRAW, *TWO, "MAX_FAULTS=2"),
    "found again in hold, 3 nodes, 1 fault": (*HOLD, "NODES=3", "MAX_FAULTS=1", "LIVENESS"),
}
if DEEPER:
    GOOD |= DEEP

IN_BOTH = (
    "NO_MARGIN",
    "VALID_FROM_ANSWER",
    "FENCE_WITHOUT_CAS",
    "PUT_WITHOUT_RV",
    "FILL_ON_READ",
    "LATE_ANSWER_FILLS",
    "EPOCH_NOT_COMPARED",
    "RELEASE_BEFORE_REMOVAL",
    "LEAVE_BEFORE_SILENCE",
    "RESTART_WITHOUT_CAS",
)
IN_HOLD = (
    "HOLD_IGNORES_CONFLICTS",
    "HOLD_WITHOUT_LATCH",
    "HOLD_SILENCES_ONLY_ARMED",
    "HOLD_WITHOUT_HEARING",
    "FILL_BEFORE_PAIR",
    "CONFIRMED_SINCE_CLAIM",
    "LATE_ANSWER_HOLDS",
)
BETWEEN_ADDRESSES = {
    "CLAIM_FILLS_ANOTHER": WITHDRAW,
    "EPOCH_OF_ANOTHER": WITHDRAW,
    "CLAIM_ENDS_EVERY_SILENCE": HOLD,
}
"""What is confused between two addresses: with one alone there is nothing to break."""


@dataclass(frozen=True)
class Verdict:
    errors: int
    depth: int
    states: int
    said: str


def check(where: Path, *macros: str, shortest: bool) -> Verdict:
    """Generate, compile and run the verifier: breadth first where the shortest trail is wanted."""
    defines = [f"-D{macro}" for macro in macros]
    run(where, "spin", "-a", *defines, str(MODEL))
    order = ["-DBFS"] if shortest else []
    options = ["-O2", "-w", "-DSAFETY", "-DNOCLAIM", f"-DMEMLIM={MEMORY_MIB}", *order]
    run(where, "gcc", *options, "-o", "pan", "pan.c")
    said = run(where, "nice", "-n", "19", "./pan", "-m2000000", "-n")
    found = re.search(r"depth reached (\d+), errors: (\d+)", said)
    states = re.search(r"^ *([\d.e+]+) states, stored", said, re.MULTILINE)
    assert found, said
    assert states, said
    return Verdict(int(found[2]), int(found[1]), int(float(states[1])), said)


def run(where: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=where, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    said = done.stdout + done.stderr
    # pan itself ends with 0 whether or not it found errors.
    assert done.returncode == 0, f"{' '.join(command)}: {said}"
    return said


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("macros", GOOD.values(), ids=GOOD.keys())
def test_the_protocol_holds(macros: tuple[str, ...], tmp_path: Path) -> None:
    verdict = check(tmp_path, *macros, shortest=False)
    assert verdict.errors == 0, verdict.said
    # Exhaustive: neither cut off by depth nor by memory, and not an empty search either.
    assert "search not completed" not in verdict.said
    assert "max search depth too small" not in verdict.said
    assert "out of memory" not in verdict.said
    assert verdict.states > 10_000
    print(f"{verdict.states} states, depth {verdict.depth}, errors: 0")


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("variant", [*IN_BOTH, *IN_HOLD])
def test_without_the_rule_two_nodes_answer(variant: str, tmp_path: Path) -> None:
    mode = HOLD if variant in IN_HOLD else WITHDRAW
    refute(tmp_path, variant, *mode, "NODES=2", "MAX_FAULTS=2")


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(("variant", "mode"), BETWEEN_ADDRESSES.items(), ids=BETWEEN_ADDRESSES)
def test_with_two_addresses_confused_two_nodes_answer(
    variant: str, mode: tuple[str, ...], tmp_path: Path
) -> None:
    refute(tmp_path, variant, *mode, *TWO, "MAX_FAULTS=1")


def refute(where: Path, variant: str, *macros: str) -> None:
    verdict = check(where, *macros, variant, shortest=True)
    assert verdict.errors >= 1, f"{variant} is not refuted: {verdict.said}"
    assert "assertion violated" in verdict.said
    print(f"{variant}: refuted by {verdict.depth} steps ({verdict.states} states)")


@pytest.mark.timeout(SECONDS)
def test_silence_is_not_called_service(tmp_path: Path) -> None:
    """The bound of the search for an announcer can be missed: one tick less is refuted."""
    macros = (*WITHDRAW, "NODES=2", "MAX_FAULTS=2", "LIVENESS", "WITHIN=2")
    assert check(tmp_path, *macros, shortest=True).errors >= 1
