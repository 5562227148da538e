# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Options and kubeconfigs to a connection, as kubernetes.core reads them; and the transport itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.baremetal.herald.plugins.module_utils import _connection, _library
from ansible_collections.baremetal.herald.plugins.module_utils._errors import (
    BadConnection,
    HeraldError,
    Unreachable,
)


def kubeconfig() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "a", "cluster": {"server": "https://a.example:6443"}},
            {"name": "b", "cluster": {"server": "https://b.example:6443"}},
        ],
        "users": [{"name": "u", "user": {"token": "from-file"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "a", "user": "u"}},
            {"name": "two", "context": {"cluster": "b", "user": "u"}},
        ],
    }


def params(**given: Any) -> dict[str, Any]:
    return {**dict.fromkeys(_connection.CONNECTION_SPEC), **given}


def token(configuration: Any) -> str:
    settings = configuration.auth_settings()
    return str(settings["BearerToken"]["value"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(kubeconfig()))
    return path


def test_a_kubeconfig_by_path_by_content_and_by_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(file))
    for given in (str(file), kubeconfig(), None):
        found = _library.configure(params(kubeconfig=given))
        assert (found.host, token(found)) == ("https://a.example:6443", "Bearer from-file")


def test_another_context(file: Path) -> None:
    found = _library.configure(params(kubeconfig=str(file), context="two"))
    assert found.host == "https://b.example:6443"


def test_options_win_over_the_kubeconfig(file: Path) -> None:
    found = _library.configure(
        params(kubeconfig=str(file), host="https://c.example", api_key="mine", validate_certs=False)
    )
    assert (found.host, token(found), found.verify_ssl) == (
        "https://c.example",
        "Bearer mine",
        False,
    )


def test_a_host_alone_needs_no_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    found = _library.configure(params(host="https://c.example", api_key="mine"))
    assert (found.host, token(found)) == ("https://c.example", "Bearer mine")
    assert found.verify_ssl


BAD = [
    pytest.param(
        {"kubeconfig": "/nowhere"},
        r"wanted a readable file, found none at /nowhere",
        id="no file",
    ),
    pytest.param(
        {"kubeconfig": kubeconfig(), "context": "three"},
        r"wanted .* the context three",
        id="no context",
    ),
    pytest.param(
        {"kubeconfig": {"kind": "Config"}}, r"kubeconfig: wanted one with a cluster", id="empty"
    ),
    pytest.param(
        {"host": "https://c", "ca_cert": "/nowhere"}, r"ca_cert: wanted a readable file", id="no CA"
    ),
    pytest.param(
        {"host": "https://c", "client_key": "/nowhere"},
        r"client_key: wanted a readable",
        id="no key",
    ),
]


@pytest.mark.parametrize(("given", "words"), BAD)
def test_what_leads_nowhere(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadConnection, match=words):
        _library.configure(params(**given))


def test_no_kubeconfig_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(
        BadConnection, match=r"found none at .*none\. Give one with the option kubeconfig"
    ):
        _library.configure(params())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kubernetes", "kubernetes.config"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HeraldError, match=r"Failed to import the required .*kubernetes"):
        _connection.client_of(params(host="https://c.example", username="u"), False)


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers))  # type: ignore[attr-defined]
        self.send_response(429)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing: the test says it all."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    found = HTTPServer(("127.0.0.1", 0), Echo)
    found.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def test_what_is_sent_and_what_comes_back(server: HTTPServer) -> None:
    host = f"http://127.0.0.1:{server.server_port}"
    configuration = _library.configure(params(host=host, api_key="mine"))
    impersonated = [
        ("Impersonate-User", "u"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    ]
    transport = _library.LibraryTransport(configuration, impersonated)
    answer = transport.send("GET", "/x?y=1", {"Accept": "application/json"}, None)
    assert (answer.status, answer.text, answer.headers["retry-after"]) == (429, "{}", "7")
    [(path, headers)] = server.seen  # type: ignore[attr-defined]
    assert path == "/x?y=1"
    assert headers["Authorization"] == "Bearer mine"
    assert headers["Impersonate-User"] == "u"
    assert headers.get_all("Impersonate-Group") == ["a", "b"]


def test_nobody_there() -> None:
    configuration = _library.configure(params(host="https://127.0.0.1:1", api_key="x"))
    transport = _library.LibraryTransport(configuration, [])
    with pytest.raises(
        Unreachable, match=r"https://127\.0\.0\.1:1 cannot be reached: .*[Rr]efused"
    ):
        transport.send("GET", "/version", {}, None)
