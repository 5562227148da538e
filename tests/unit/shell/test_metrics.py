# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from herald.core.kernel import Seen
from herald.core.model import SECOND, Address
from herald.shell.config import Listen
from herald.shell.counters import Counters
from herald.shell.metrics import Collector, serve


@dataclass(frozen=True)
class Status:
    held: tuple[str, ...] = ("192.0.2.7", "192.0.2.8")
    addresses: int = 9
    announced: int = 8
    valid_for_ms: int = 1750
    problems: tuple[str, ...] = ("one",)


@pytest.fixture
def counters() -> Counters:
    counters = Counters(started=10 * SECOND, events=7, loop_exceptions=1, status=Status())
    counters.restored = 1
    counters.answers = 100
    counters.effects["SetSession"] = 3
    counters.errors["SendFrames"] = 2
    counters.renewals["ok"] = 2
    counters.renewal_seconds.observe(0.02)
    counters.renewal_seconds.observe(9.0)
    return counters


def seen() -> dict[Address, Seen]:
    """One address that nobody else claims, and one that somebody did ten seconds ago."""
    foreign = bytes.fromhex("020000000909")
    return {
        IPv4Address("192.0.2.7"): Seen(5, 0, 0, None, 0, 0),
        IPv6Address("2001:db8::7"): Seen(2, 3, 0, foreign, 30 * SECOND, 1),
    }


def collector(counters: Counters) -> Collector:
    return Collector(counters, seen, lambda: 4, lambda: 40 * SECOND)


def scrape(counters: Counters) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector(counters))  # type: ignore[arg-type]
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_every_number_has_its_metric(counters: Counters) -> None:
    found = scrape(counters)
    expected = {
        "herald_held_addresses": 2,
        "herald_cluster_addresses": 9,
        "herald_announced_addresses": 8,
        "herald_validity_seconds": 1.75,
        "herald_problems": 1,
        "herald_uptime_seconds": 30,
        "herald_waiting_events": 4,
        "herald_events_total": 7,
        "herald_loop_exceptions_total": 1,
        "herald_attachments_restored_total": 1,
        "herald_answers_total": 107,
        'herald_conflicts_total{address="2001:db8::7"}': 3,
        'herald_conflict_age_seconds{address="2001:db8::7",interface="lo",mac="02:00:00:00:09:09"}': 10,
        'herald_effects_total{effect="SetSession"}': 3,
        'herald_effect_errors_total{effect="SendFrames"}': 2,
        'herald_renewals_total{outcome="ok"}': 2,
        'herald_renewal_seconds_bucket{le="0.01"}': 0,
        'herald_renewal_seconds_bucket{le="0.025"}': 1,
        'herald_renewal_seconds_bucket{le="2.5"}': 1,
        'herald_renewal_seconds_bucket{le="+Inf"}': 2,
        "herald_renewal_seconds_count": 2,
        "herald_renewal_seconds_sum": 9.02,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_names_are_prefixed_and_end_in_their_unit(counters: Counters) -> None:
    names = {re.sub(r"[{].*", "", name) for name in scrape(counters)}
    unit = re.compile(
        r"herald_\w+_(addresses|seconds|events|total|info|bucket|count|sum)|herald_problems"
    )
    assert [name for name in names if not unit.fullmatch(name)] == []


def test_before_the_first_status_there_are_no_gauges_of_it() -> None:
    assert "herald_held_addresses" not in scrape(Counters())


def test_they_are_served_until_stopped(counters: Counters) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = serve(collector(counters), Listen("127.0.0.1", port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    stop()
    assert "herald_held_addresses 2.0" in text
    assert "process_resident_memory_bytes" in text
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_an_error(counters: Counters) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            serve(collector(counters), Listen("127.0.0.1", taken.getsockname()[1]))
