# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.kube.servers import ApiServer, Exchange, make_certificate


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def ca_file(certificates: tuple[Path, Path]) -> Path:
    return certificates[0]


@pytest.fixture
def serve(certificates: tuple[Path, Path]) -> Iterator[Callable[..., ApiServer]]:
    """``serve(handler)``: an API server on loopback, gone after the test."""
    servers: list[ApiServer] = []

    def start(handler: Callable[[Exchange], None], **options: bool) -> ApiServer:
        servers.append(ApiServer(certificates[1], handler, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5)
    assert [thread.name for thread in left if thread.is_alive()] == []
