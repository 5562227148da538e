# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The meters against a segment where it is known what happens, made for each test.

What no test of the product may ever show, two machines answering at once, is planted here, so that the
meters are known to see it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hosts import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESSES = ("192.168.99.50", "fd99::50")
PORT = 9000
NEVER = "02:99:00:00:00:99"  # a MAC that no host has


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment()
    try:
        made.make()
        yield made
    finally:
        made.remove()


class Listening:
    """answers.py on the client, listening when this returns."""

    def __init__(self, segment: Segment, tmp_path: Path, address: str, *words: object):
        self._json = tmp_path / "answers.json"
        self.process = segment.start(
            "client",
            "answers.py",
            address,
            "--json",
            self._json,
            "--name",
            "left=02:99:00:00:00:02",
            *words,
        )
        assert self.process.stderr is not None
        assert "listening" in self.process.stderr.readline()

    def result(self) -> tuple[int, dict[str, Any], str]:
        words, errors = self.process.communicate(timeout=60)
        assert self._json.exists(), errors
        return self.process.returncode, json.loads(self._json.read_text()), words

    def stop(self) -> tuple[int, dict[str, Any], str]:
        self.process.send_signal(signal.SIGTERM)
        return self.result()


@pytest.mark.parametrize("address", ADDRESSES)
def test_one_holder(segment: Segment, tmp_path: Path, address: str) -> None:
    segment.give("left", address)
    status, found, words = Listening(segment, tmp_path, address, "--seconds", 0.5).result()
    assert (status, found["verdict"], found["missed"]) == (0, "one", 0)
    assert [spell["mac"] for spell in found["spells"]] == [segment.mac("left")]
    assert found["requests"] == found["answered"] > 10
    assert "never two at once" in words


@pytest.mark.parametrize("address", ADDRESSES)
def test_two_holders_at_once_are_seen(segment: Segment, tmp_path: Path, address: str) -> None:
    segment.give("left", address)
    segment.give("right", address)
    status, found, words = Listening(segment, tmp_path, address, "--seconds", 0.5).result()
    assert (status, found["verdict"]) == (1, "two")
    assert {violation["rule"] for violation in found["violations"]} >= {"together"}
    assert {entry["mac"] for entry in found["macs"]} == {segment.mac("left"), segment.mac("right")}
    assert "TWO ANSWERED AT ONCE" in words


@pytest.mark.parametrize(
    "addresses", [("192.168.99.50", "192.168.99.51"), ("fd99::50", "fd99::51")]
)
def test_of_several_addresses_each_has_a_verdict_of_its_own(
    segment: Segment, tmp_path: Path, addresses: tuple[str, str]
) -> None:
    for address in addresses:
        segment.give("left", address)
    segment.give("right", addresses[1])
    listening = Listening(segment, tmp_path, ",".join(addresses), "--seconds", 0.5)
    status, found, _ = listening.result()
    first, second = found["targets"]
    assert (status, first["verdict"], second["verdict"]) == (1, "one", "two")
    assert first["requests"] == first["answered"] > 10
    assert abs(first["requests"] - second["requests"]) <= 1


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_second_holder_is_seen_although_it_answers_but_once(
    segment: Segment, tmp_path: Path, address: str
) -> None:
    """Not our requests but a neighbour's show it; the meter only listens."""
    segment.give("left", address)
    segment.give("right", address)
    listening = Listening(segment, tmp_path, address, "--passive")
    asker = segment.start("client", "answers.py", address, "--seconds", 0.001)
    asker.communicate(timeout=20)
    status, found, _ = listening.stop()
    assert (status, found["requests"], len(found["heard"])) == (1, 1, 2)


@pytest.mark.parametrize("address", ADDRESSES)
def test_taking_turns_is_seen(segment: Segment, tmp_path: Path, address: str) -> None:
    """The holders are never heard at the same time, but one of them comes back too soon."""
    segment.give("left", address)
    segment.give("right", address)
    segment.drop("right")
    listening = Listening(segment, tmp_path, address)
    for silent, heard in (("left", "right"), ("right", "left")):
        time.sleep(0.2)
        segment.drop(silent)
        segment.forward(heard)
    time.sleep(0.2)
    status, found, _ = listening.stop()
    assert status == 1
    assert {violation["rule"] for violation in found["violations"]} == {"interleaved"}


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_lawful_move(segment: Segment, tmp_path: Path, address: str) -> None:
    segment.give("left", address)
    segment.give("right", address)
    segment.drop("right")
    listening = Listening(segment, tmp_path, address)
    time.sleep(0.2)
    segment.drop("left")
    segment.forward("right")
    time.sleep(0.2)
    status, found, _ = listening.stop()
    assert (status, found["verdict"]) == (0, "one")
    assert [spell["mac"] for spell in found["spells"]] == [
        segment.mac("left"),
        segment.mac("right"),
    ]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_silence_lasts_as_long_as_frames_are_dropped(
    segment: Segment, tmp_path: Path, address: str
) -> None:
    """Although the client has a neighbour entry that would outlast it."""
    segment.give("left", address)
    listening = Listening(segment, tmp_path, address)
    time.sleep(0.2)
    before = time.time()
    segment.drop("left")
    out = time.time()
    time.sleep(0.5)
    back = time.time()
    segment.forward("left")
    forth = time.time()
    time.sleep(0.2)
    status, found, words = listening.stop()
    assert (status, found["verdict"]) == (0, "one")
    [silence] = found["silences"]
    interval = (10 + found["worst_pause_ms"]) / 1000
    assert before <= silence["start"] <= out + interval
    assert back <= silence["end"] <= forth + interval
    assert silence["closed"]
    assert found["worst_silence_ms"] == silence["length_ms"]
    assert f"nobody answered for {silence['length_ms']:.0f} ms" in words


@pytest.mark.parametrize("address", ADDRESSES)
def test_nobody(segment: Segment, tmp_path: Path, address: str) -> None:
    status, found, words = Listening(segment, tmp_path, address, "--seconds", 0.2).result()
    assert (status, found["verdict"], found["heard"]) == (3, "nobody", [])
    assert "nobody answered" in words


@pytest.mark.parametrize("address", ADDRESSES)
def test_asking_leaves_the_client_s_neighbour_entry_alone(
    segment: Segment, tmp_path: Path, address: str
) -> None:
    """Otherwise the meter would end the outage that it is to measure."""
    segment.give("left", address)
    new = ("neigh", "replace", address, "lladdr", NEVER, "dev", "eth0", "nud", "reachable")
    segment.ip("client", *new)
    status, _, _ = Listening(segment, tmp_path, address, "--seconds", 0.3).result()
    assert status == 0
    assert NEVER in segment.ip("client", "neigh", "show", address)


def test_announcements_are_told_from_answers(segment: Segment, tmp_path: Path) -> None:
    segment.give("left", ADDRESSES[0])
    listening = Listening(segment, tmp_path, ADDRESSES[0], "--passive")
    garp = ["arping", "-q", "-U", "-c", "1", "-I", "eth0", "-s", ADDRESSES[0], ADDRESSES[0]]
    subprocess.run([*segment.seat("left"), *garp], check=True)
    status, found, words = listening.stop()
    assert (status, found["spells"]) == (3, [])
    assert [kind for _, _, kind in found["heard"]] == ["garp"]
    assert f"left {segment.mac('left')}: 0 answers, 1 announcements" in words


def test_an_interface_that_is_not_there(segment: Segment) -> None:
    process = segment.start("client", "answers.py", ADDRESSES[0], "--interface", "eth9")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "No such device" in errors


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_outage_lasts_as_long_as_frames_are_dropped(
    segment: Segment, tmp_path: Path, address: str
) -> None:
    segment.give("left", address)
    segment.start("left", "echo.py", "--name", "left", "--udp", PORT, "--tcp", PORT)
    report = tmp_path / "outage.json"
    meter = segment.start("client", "outage.py", address, PORT, "--seconds", 600, "--json", report)
    assert meter.stderr is not None
    assert "answered" in meter.stderr.readline()
    before = time.time()
    segment.drop("left")
    out = time.time()
    time.sleep(0.5)
    back = time.time()
    segment.forward("left")
    _wait_until_served(segment, address)
    meter.send_signal(signal.SIGINT)
    words, errors = meter.communicate(timeout=20)
    assert meter.returncode == 0, errors
    found = json.loads(report.read_text())
    gap = max(found["gaps"], key=lambda gap: gap["length_ms"])
    assert before - 0.05 <= gap["start"] <= out
    assert gap["end"] >= back
    assert gap["length_ms"] >= (back - out) * 1000
    assert (gap["opened"], gap["closed"]) == (True, True)
    assert f"gap of {gap['length_ms']:.0f} ms" in words


def _wait_until_served(segment: Segment, address: str) -> None:
    """A second meter is answered, and both are given the time for a few datagrams more."""
    probe = segment.start("client", "outage.py", address, PORT, "--seconds", 20, "--no-tcp")
    assert probe.stderr is not None
    assert "answered" in probe.stderr.readline()
    probe.send_signal(signal.SIGINT)
    probe.communicate(timeout=20)
