# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A read of one Lease, timed; only what came from the store counts."""

from __future__ import annotations

import pytest
from tests.unit.kube.fakes import FakeConnection, FakeTransport

from herald.kube.latency import LIMIT, LatencyTimer
from herald.kube.transport import NoAnswer, Reply, Request


@pytest.mark.parametrize(
    ("status", "took"), [(200, 7), (404, 7), (401, None), (429, None), (503, None)]
)
def test_only_what_the_store_says_is_timed(status: int, took: int | None) -> None:
    clock = iter([100, 112])
    transport = FakeTransport(lambda _, __: Reply(105, status, b"{}"))
    timer = LatencyTimer(transport, "herald-system", "presence-n1", lambda: next(clock))
    assert timer.once() == took
    request = transport.requests.get_nowait()
    assert request.path.startswith(
        "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases/presence-n1?"
    )
    assert "resourceVersion" not in request.path
    assert transport.opened[0].deadlines == [100 + LIMIT]


def test_no_answer_is_no_time() -> None:
    def silent(_: FakeConnection, __: Request) -> Reply:
        raise NoAnswer("reset")

    assert LatencyTimer(FakeTransport(silent), "ns", "presence-n1", lambda: 0).once() is None
