# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the agent counts, for Prometheus: read from the counters when somebody asks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from herald import __version__
from herald.core.kernel import Seen
from herald.core.model import SECOND, Address
from herald.shell.config import Listen
from herald.shell.counters import BUCKETS, Counters, Histogram


class Collector:
    def __init__(
        self,
        counters: Counters,
        seen: Callable[[], Mapping[Address, Seen]],
        waiting: Callable[[], int],
        clock: Callable[[], int],
    ) -> None:
        """``seen``: what the kernel counted; ``waiting``: how many events wait for the decider."""
        self._counters = counters
        self._seen = seen
        self._waiting = waiting
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        counters = self._counters
        info = InfoMetricFamily("herald_agent", "The agent that runs.")
        info.add_metric([], {"version": __version__})
        yield info
        yield from self._gauges(counters.status)
        yield _gauge(
            "herald_uptime_seconds",
            "Time since the agent started.",
            (self._clock() - counters.started) / SECOND,
        )
        yield _gauge("herald_waiting_events", "Events that wait for the decider.", self._waiting())
        yield _counter("herald_events", "Events that the decider took.", counters.events)
        yield _counter(
            "herald_loop_exceptions",
            "Exceptions in the decider; each is a defect.",
            counters.loop_exceptions,
        )
        yield _counter(
            "herald_attachments_restored",
            "Times that the responder was gone from an interface, or not first, and put back.",
            counters.restored,
        )
        yield from self._kernel()
        yield _labelled("herald_effects", "Effects carried out.", "effect", counters.effects)
        yield _labelled("herald_effect_errors", "Effects that failed.", "effect", counters.errors)
        yield _labelled(
            "herald_renewals", "Renewals of this node's presence.", "outcome", counters.renewals
        )
        yield _histogram(
            "herald_renewal_seconds",
            "Time from sending a renewal to its success.",
            counters.renewal_seconds,
        )

    def _kernel(self) -> Iterator[Metric]:
        """What the responder counted since boot."""
        seen = self._seen()
        yield _counter(
            "herald_answers",
            "ARP requests and neighbour solicitations that the responder answered.",
            self._counters.answers + sum(row.answered for row in seen.values()),
        )
        counts = {str(address): row.conflicts for address, row in seen.items() if row.conflicts}
        yield _labelled(
            "herald_conflicts", "Frames that claimed a held address elsewhere.", "address", counts
        )
        ages = GaugeMetricFamily(
            "herald_conflict_age_seconds",
            "Time since another station last claimed a held address.",
            labels=["address", "mac", "interface"],
        )
        for address, row in seen.items():
            if row.foreign_mac is not None:
                labels = [str(address), row.foreign_mac.hex(":"), _interface(row.foreign_ifindex)]
                ages.add_metric(labels, (self._clock() - row.foreign_at) / SECOND)
        yield ages

    def _gauges(self, status: Any) -> Iterator[Metric]:
        if status is None:
            return
        yield _gauge(
            "herald_held_addresses",
            "Addresses that this node announces.",
            len(getattr(status, "held", ())),
        )
        yield _gauge(
            "herald_cluster_addresses",
            "Addresses in the whole cluster.",
            getattr(status, "addresses", 0),
        )
        yield _gauge(
            "herald_announced_addresses",
            "Those of them that some node announces.",
            getattr(status, "announced", 0),
        )
        yield _gauge(
            "herald_validity_seconds",
            "What was left of the presence's validity when last looked at, once a second.",
            getattr(status, "valid_for_ms", 0) / 1000,
        )
        yield _gauge(
            "herald_problems", "Things that are not as they should be.", len(status.problems)
        )


def serve(collector: Collector, listen: Listen) -> Callable[[], None]:
    """Answer scrapes from a thread of its own; the returned function ends it. Raises OSError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    server, thread = start_http_server(listen.port, listen.host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _interface(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:  # it is gone
        return str(ifindex)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in sorted(dict(values).items()):
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    running = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*BUCKETS, float("inf")], histogram.counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), running))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
