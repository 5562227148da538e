# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The fault table (harm.py), on one address and on fifty at once, under both meters.

`make e2e` runs the essential faults on fifty addresses; `make faults` all of them on one and on
fifty, who answers captured for 30 s beyond the repair, and writes the table of results that
docs/measurements.md holds.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harm import FAULTS, configured, second_victim
from watched import (
    MACS,
    Watched,
    assert_leases_agree,
    await_health,
    linger,
    targets,
)

from herald.core.election.placement import order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab
    from harm import Fault
    from watched import Json

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WHOLE = os.environ.get("HERALD_FAULTS") == "all"
BEYOND = 30.0 if WHOLE else 3.0  # seconds for which answers are captured after the repair
ANSWERS = ("reply", "na")
RESULTS = Path(__file__).parents[2] / "build" / "faults"
MANY = 50
POOL = Path(__file__).parents[1] / "lab" / "many.yml"


@pytest.fixture(scope="module")
def crowd(herald: Lab, wait_for: Callable[..., None]) -> Iterator[Callable[[int], Watched]]:
    """So many addresses (1 or MANY) of Services on one backend, made once and taken away at last."""
    made: dict[int, Watched] = {}

    def make(count: int) -> Watched:
        if count not in made:
            options = ("--udp", "--annotation", "herald.dev/pool=many", "--copies", str(count))
            name = f"crowd{count}"
            addresses = herald("service", name, *options, "--wait", "60").split()
            made[count] = Watched(herald, wait_for, name, addresses, options)
        return made[count]

    herald.kubectl("apply", "--filename", str(POOL))
    try:
        yield make
    finally:
        for count in (1, MANY):
            herald("service", f"crowd{count}", "--delete")
        herald.kubectl("delete", "--filename", str(POOL))


CASES = [
    pytest.param(fault, count, id=f"{fault.name}-{count}")
    for fault in FAULTS
    for count in (1, MANY)
    if WHOLE or (count == MANY and fault.essential)
]


@pytest.mark.parametrize(("fault", "count"), CASES)
def test_fault(
    crowd: Callable[[int], Watched],
    tmp_path: Path,
    figure: Callable[[str], None],
    fault: Fault,
    count: int,
) -> None:
    watched = crowd(count)
    lab = watched.lab
    with configured(lab, fault.settings):
        node = prepare(watched, fault)
        before = watched.holders()
        with watched.answered(tmp_path) as answers:
            pace = 1.0 if fault.lossless and count == 1 else None  # 1,000 a second then, too
            with watched.metered(tmp_path, interval_ms=pace) as outage:
                with fault.harm(watched, node) as blow:
                    harmed = time.time()
                    after = watched.holders() if lab.api.ready() else {}
                    reasons = watched.reasons() if lab.api.ready() else {}
                await_health(lab)
                watched.wait_for("every address to be announced", watched.off)
            linger(BEYOND)
        assert_leases_agree(lab)
    row = result(fault, node, before, after or watched.holders(), outage, answers)
    if fault.recovers is not None:
        row["recovers_ms"], row["recovered_ms"] = fault.recovers, recovered(blow, outage, answers)
    figure(line(row))
    if WHOLE:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{FAULTS.index(fault):02}-{count:02}.json").write_text(json.dumps(row))
    judge(fault, row, outage, answers, node)
    if fault.moves:
        lost = {node, second_victim(node)} if fault.backends_harmed else {node}
        reasons = reasons or watched.reasons()
        assert all(reason.startswith(tuple(lost)) for reason in reasons.values()), reasons
    if fault.silent is not None:
        assert_silent(answers, harmed - fault.silent, harmed)


def prepare(watched: Watched, fault: Fault) -> str:
    """Every address on one node, backends on others; the node."""
    await_health(watched.lab)
    watched.wait_for("every address to be announced", watched.off)
    node = watched.holder
    if fault.displaced:
        node = order(watched.address, dict.fromkeys(MACS.values(), 1))[-1]
    watched.gather(node)
    spared = [name for name in MACS.values() if name != node]
    if fault.backends_harmed:
        spared.remove(second_victim(node))
    watched.serve_from(spared)
    return node


def result(
    fault: Fault,
    node: str,
    before: dict[str, str],
    after: dict[str, str],
    outage: Json,
    answers: Json,
) -> Json:
    """A row of the table. Lengths in ms, of each address its longest outage and its longest silence."""
    reports = targets(outage)
    gaps = [report["worst_gap_ms"] for report in reports]
    silences = [report["worst_silence_ms"] for report in targets(answers)]
    stalls = [stall["length_ms"] for report in reports for stall in report["meter"]["stalls"]]
    return {
        "fault": fault.name,
        "addresses": len(before),
        "node": node,
        "promised_ms": fault.unserved,
        "median_ms": statistics.median(gaps),
        "worst_ms": max(gaps),
        "unanswered_promised_ms": fault.unanswered,
        "unanswered_median_ms": statistics.median(silences),
        "unanswered_worst_ms": max(silences),
        "unanswered_in_a_row": in_a_row(answers),
        "sent": sum(report["sent"] for report in reports),
        "lost": sum(report["lost"] for report in reports),
        "skipped": reports[0]["meter"]["skipped"],
        "moved": sum(after[address] != holder for address, holder in before.items()),
        "verdicts": dict(Counter(report["verdict"] for report in targets(answers))),
        "violations": [v for report in targets(answers) for v in report["violations"]],
        "requests": sum(report["requests"] for report in targets(answers)),
        "tcp": dict(Counter(report["tcp"]["fate"] for report in reports)),
        "meter_stalled_ms": max(stalls, default=0.0),
    }


def line(row: Json) -> str:
    fates = ", ".join(f"{count} {fate}" for fate, count in row["tcp"].items())
    return (
        f"{row['fault']}, {row['addresses']} addresses: median {row['median_ms']:.0f} ms, worst "
        f"{row['worst_ms']:.0f} ms; {row['lost']} of {row['sent']} lost; nobody answered for "
        f"{row['unanswered_median_ms']:.0f} ms (median), {row['unanswered_worst_ms']:.0f} ms (worst); "
        f"{row['moved']} moved; "
        f"answers {row['verdicts']}; TCP {fates}; "
        f"meter skipped {row['skipped']}, stalled {row['meter_stalled_ms']:.0f} ms"
    )


def judge(fault: Fault, row: Json, outage: Json, answers: Json, node: str) -> None:
    """What is promised always, and what of this fault."""
    assert row["verdicts"] == {"one": row["addresses"]}, row["violations"]
    for report in targets(outage):
        assert report["answered"] > 0
        assert all(gap["opened"] and gap["closed"] for gap in report["gaps"]), report["gaps"]
        assert node not in report["backends"], "a backend on the faulty node spoils the measurement"
    if fault.moves is not None:
        assert row["moved"] == (row["addresses"] if fault.moves else 0)
    for report in targets(answers):
        assert all(silence["closed"] for silence in report["silences"]), report["silences"]
    if fault.lossless:
        assert row["lost"] == 0
    elif fault.unserved is not None:
        assert row["worst_ms"] <= fault.unserved
    if fault.unanswered == 0:
        # One question, or its answer, may get lost on its way where the machine is busy; not the next one, too.
        assert row["unanswered_in_a_row"] <= 1, silences_of(answers)
    elif fault.unanswered is not None:
        assert row["unanswered_worst_ms"] <= fault.unanswered, silences_of(answers)
    if fault.recovers is not None:
        assert row["recovered_ms"] <= fault.recovers


def in_a_row(answers: Json) -> int:
    """The most questions about one address, one after the other, to which nobody answered."""
    silences = [silence for report in targets(answers) for silence in report["silences"]]
    return max((silence["questions"] for silence in silences), default=0)


def silences_of(answers: Json) -> dict[str, list[Json]]:
    """By address, when nobody answered."""
    return {r["address"]: r["silences"] for r in targets(answers) if r["silences"]}


def recovered(blow: float, outage: Json, answers: Json) -> float:
    """Milliseconds from the last blow (Unix seconds) to the end of the last outage, or silence, of any address."""
    ends = [gap["end"] for report in targets(outage) for gap in report["gaps"]]
    ends += [silence["end"] for report in targets(answers) for silence in report["silences"]]
    return max(0.0, (max(ends, default=0.0) - blow) * 1000)


def assert_silent(answers: Json, start: float, end: float) -> None:
    """Nobody answered within these Unix seconds, although the meter asked."""
    for report in targets(answers):
        assert report["worst_pause_ms"] < (end - start) * 1000
        heard = [(when - start, mac) for when, mac, kind in report["heard"] if kind in ANSWERS]
        assert not [(when, mac) for when, mac in heard if 0 < when < end - start]
