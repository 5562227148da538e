# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""One fault on the node that announces an address, or several, under both meters, in the lab.

Everything of a trial goes into one folder: outage.json and answers.json (the meters' reports) and
events.json (what was done, and how the lease's holder changed), as timeline.py reads them.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driver import (
    LAB,
    PATIENCE,
    DriverError,
    background,
    eventually,
    last_words,
    lease,
    node_names,
    read,
    short,
    stop,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ECHO = 9000  # `lab service --udp`
TWO, NOBODY = 1, 3  # exit statuses of answers.py that are results, not failures


@dataclass
class Trial:
    """What happened to `address` and to `more`, which `holder` announced at first."""

    address: str
    holder: str
    folder: Path
    more: Sequence[str] = ()
    rate: int = 1000  # datagrams a second at most, to all addresses together
    events: list[dict[str, Any]] = field(default_factory=list)
    moved: threading.Event = field(default_factory=threading.Event)  # the lease names another
    outage: dict[str, Any] = field(default_factory=dict)  # of one address; of more, see `outages`
    answers: dict[str, Any] = field(default_factory=dict)

    def note(self, label: str, moment: float | None = None) -> None:
        """Something happened, at `moment` (Unix seconds), or now."""
        self.events.append({"time": moment or time.time(), "label": label})

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def options(self) -> list[str]:
        """What timeline.py wants, to draw this trial."""
        names = ("outage", "answers", "events")
        return [f"--{name}={short(self.file(name))}" for name in names]

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Both meters run during the block, and the lease is watched; then the reports are there.

        The backends have to run on other nodes than the holder: what is measured is to be the
        announcement's outage alone. The block begins once the first datagram is answered.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        eventually(self._calm, f"an undisturbed service of {self.address} without {self.holder}")
        count = 1 + len(self.more)
        asks = ("--interval-ms", str(max(10, count)))  # 1,000 a second at most
        every = ("--interval-ms", f"{max(10, 1000 * count / self.rate):g}")
        asked = (
            LAB,
            "answers",
            self._all,
            *asks,
            *node_names(),
            "--json",
            str(self.file("answers")),
        )
        sent = (LAB, "outage", self._all, str(ECHO), *every, "--json", str(self.file("outage")))
        with (
            background(*asked, ready="listening") as answers,
            background(*sent, "--seconds", "3600", ready="is answered") as outage,
            self._watched(),
        ):
            yield
            stop(outage)
            stop(answers)
            if outage.returncode:
                raise DriverError(f"the outage meter failed: {last_words(outage)}")
            if answers.returncode not in (0, TWO, NOBODY):
                raise DriverError(f"nothing is known of who answered: {last_words(answers)}")
        self.outage = json.loads(self.file("outage").read_text())
        self.answers = json.loads(self.file("answers").read_text())
        self.file("events").write_text(json.dumps(self.events) + "\n")

    def wait_for_move(self) -> None:
        """Until the lease names another holder."""
        if not self.moved.wait(PATIENCE):
            raise DriverError(
                f"nobody took {self.address} over from {self.holder} within {PATIENCE:g} s: see "
                f"`{LAB} kubectl -n herald-system get lease`, and what the survivors say: "
                f"`{LAB} exec NODE -- journalctl -u herald-agent`"
            )

    @property
    def outages(self) -> list[dict[str, Any]]:
        """What the outage meter reports of each address."""
        found: list[dict[str, Any]] = self.outage.get("targets", [self.outage])
        return found

    @property
    def verdict(self) -> str:
        """Who answered: of all addresses the verdict that is furthest from "one"."""
        verdicts = {report["verdict"] for report in self.answers.get("targets", [self.answers])}
        return next((bad for bad in ("two", "incomplete", "nobody") if bad in verdicts), "one")

    @property
    def worst(self) -> float:
        """The worst gap of the service in seconds, 0 for none; one that did not end is infinite."""
        gaps = [gap for report in self.outages for gap in report["gaps"]]
        if not all(gap["closed"] for gap in gaps):
            return float("inf")
        return max((gap["length_ms"] / 1000 for gap in gaps), default=0.0)

    @property
    def _all(self) -> str:
        return ",".join((self.address, *self.more))

    def _calm(self) -> bool:
        """Nothing is lost, and the holder serves nothing.

        kube-proxy follows a change of backends a second or more behind; what it still sends to a
        backend that is gone is no loss of the announcement's.
        """
        report = self.file("calm")
        short_look = ("--seconds", "0.5", "--limit-ms", "300", "--no-tcp")
        read(LAB, "outage", self.address, str(ECHO), *short_look, "--json", str(report))
        found = json.loads(report.read_text())
        return found["lost"] == 0 and self.holder not in found["backends"]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Follow the lease by a single process: polling would cost the nodes' own cores."""
        line = '--output=jsonpath={.spec.holderIdentity}{"\\n"}'
        with background(*lease(self.address), "--watch", line) as watch:
            begun = threading.Event()
            reader = threading.Thread(target=self._follow, args=(watch, begun), daemon=True)
            reader.start()
            if not begun.wait(PATIENCE):
                raise DriverError(f"no word of the lease of {self.address} in {PATIENCE:g} s")
            yield
            stop(watch)
            reader.join(PATIENCE)

    def _follow(self, watch: subprocess.Popen[str], begun: threading.Event) -> None:
        assert watch.stdout is not None
        holder = self.holder
        for line in watch.stdout:
            begun.set()
            if (found := line.strip()) and found != holder:
                holder = found
                self.note(f"lease: {holder}")
                self.moved.set()
