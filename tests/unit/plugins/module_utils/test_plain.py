# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A plain way to the API says what the library would say of it; whatever is not plain is left to the library."""

from __future__ import annotations

import base64
import copy
import json
import select
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.baremetal.herald.plugins.module_utils import _connection, _library
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client
from ansible_collections.baremetal.herald.plugins.module_utils._errors import (
    BadConnection,
    Unreachable,
)
from ansible_collections.baremetal.herald.plugins.module_utils._https import HttpsTransport
from ansible_collections.baremetal.herald.plugins.module_utils._plain import plain
from ansible_collections.baremetal.herald.plugins.modules.cluster_info import authorities

Json = dict[str, Any]


def make_certificate(folder: Path, name: str) -> None:
    """One that is an authority, a server's at 127.0.0.1, and a client's: NAME.crt and NAME.key."""
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"))
    command = ("openssl", "req", "-x509", *key, "-days", "2", *subject, *files)
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        make_certificate(folder, name)
    (folder / "words.crt").write_text("# Autorité\n" + (folder / "one.crt").read_text())
    return folder


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def params(**given: Any) -> Json:
    return {**dict.fromkeys(_connection.CONNECTION_SPEC), **given}


def data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


@pytest.fixture
def kubeconfig(certificates: Path) -> Json:
    """A client certificate as files beside it, a token, and the authority as content."""
    authority = data(certificates / "one.crt")
    cluster = {"server": "https://a.example:6443", "certificate-authority-data": authority}
    other = {"server": "https://b.example", "certificate-authority": "two.crt"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "token",
        "clusters": [{"name": "a", "cluster": cluster}, {"name": "b", "cluster": other}],
        "users": [
            {"name": "token", "user": {"token": "from-file"}},
            {
                "name": "certificate",
                "user": {"client-certificate": "one.crt", "client-key": "one.key"},
            },
        ],
        "contexts": [
            {"name": "token", "context": {"cluster": "a", "user": "token", "namespace": "x"}},
            {"name": "files", "context": {"cluster": "b", "user": "certificate"}},
        ],
    }


@pytest.fixture
def file(kubeconfig: Json, certificates: Path) -> Path:
    path = certificates / "config"
    path.write_text(yaml.safe_dump(kubeconfig))
    return path


# --- what is plain is as the library has it -----------------------------------------------------

PLAIN: dict[str, Callable[[Path], Json]] = {
    "a token": lambda folder: {"kubeconfig": str(folder / "config")},
    "a client certificate": lambda folder: {
        "kubeconfig": str(folder / "config"),
        "context": "files",
    },
    "the kubeconfig of the environment": lambda folder: {},
    "options that hold nothing": lambda folder: {
        "kubeconfig": str(folder / "config"),
        "proxy_headers": {"user_agent": None, "basic_auth": None},
    },
    "another host": lambda folder: {
        "kubeconfig": str(folder / "config"),
        "host": "https://c.example",
    },
    "another token": lambda folder: {"kubeconfig": str(folder / "config"), "api_key": "mine"},
    "another authority": lambda folder: {
        "kubeconfig": str(folder / "config"),
        "ca_cert": str(folder / "two.crt"),
    },
    "no client certificate": lambda folder: {
        "kubeconfig": str(folder / "config"),
        "context": "files",
        "client_cert": "",
        "client_key": "",
        "api_key": "mine",
    },
    "no kubeconfig": lambda folder: {
        "host": "https://c.example",
        "api_key": "mine",
        "ca_cert": str(folder / "one.crt"),
        "validate_certs": True,
    },
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_plain_way_is_as_the_library_has_it(
    case: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(file))
    given = params(**PLAIN[case](file.parent))
    found, wanted = plain(copy.deepcopy(given)), _library.configure(given)
    assert found is not None
    assert found.host == wanted.host
    assert authorities(found) == authorities(wanted)
    bearer = wanted.auth_settings().get("BearerToken", {}).get("value") or ""
    assert bearer.removeprefix("Bearer ") == found.token


def test_a_kubeconfig_by_its_content_is_left_as_it_is(kubeconfig: Json) -> None:
    given = params(kubeconfig=kubeconfig, host="https://c.example", api_key="mine")
    before = copy.deepcopy(given)
    found = plain(given)
    assert found is not None
    assert (found.host, found.token) == ("https://c.example", "mine")
    assert given == before


def test_the_library_is_not_imported_for_it(file: Path) -> None:
    """That is what it is for; in a process where nobody else has."""
    code = (
        "import sys\n"
        "from ansible_collections.baremetal.herald.plugins.module_utils import _connection\n"
        "given = dict.fromkeys(_connection.CONNECTION_SPEC)\n"
        f"_connection.client_of({{**given, 'kubeconfig': {str(file)!r}}}, False)\n"
        "assert not [name for name in sys.modules if name in ('kubernetes', 'urllib3') or name.endswith('._library')]\n"
        f"_connection.client_of({{**given, 'kubeconfig': {str(file)!r}, 'validate_certs': False}}, False)\n"
        "assert 'kubernetes' in sys.modules\n"
    )
    path = [entry for entry in sys.path if entry]
    command = (sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}")
    subprocess.run(command, check=True)


# --- what is not plain is the library's ----------------------------------------------------------


def of_user(**more: Any) -> Callable[[Json], None]:
    return lambda config: config["users"][0]["user"].update(more)


def of_cluster(**more: Any) -> Callable[[Json], None]:
    return lambda config: config["clusters"][0]["cluster"].update(more)


NOT_PLAIN: dict[str, Callable[[Json], None]] = {
    "an exec plugin": of_user(exec={"command": "aws"}),
    "OIDC": of_user(**{"auth-provider": {"name": "oidc"}}),
    "a token's file": of_user(tokenFile="/token"),
    "a password": of_user(username="u", password="p"),
    "a proxy": of_cluster(**{"proxy-url": "http://proxy"}),
    "another name in TLS": of_cluster(**{"tls-server-name": "api"}),
    "no verification": of_cluster(**{"insecure-skip-tls-verify": True}),
    "no TLS": of_cluster(server="http://a.example"),
    "a port that is none": of_cluster(server="https://a.example:port"),
    "a port beyond the last": of_cluster(server="https://a.example:99999"),
    "half an IPv6 address": of_cluster(server="https://[fd00::1"),
    "a name with an empty part": of_cluster(server="https://a..example:6443"),
    "an address with a zone": of_cluster(server="https://[fe80::1%25eth0]:6443"),
    "a user before the host": of_cluster(server="https://me:word@a.example"),
    "no host": of_cluster(server="https://:6443"),
    "no content": of_cluster(**{"certificate-authority-data": "!!"}),
    "another authority's rubbish": of_cluster(**{"certificate-authority-data": "cnViYmlzaA=="}),
    "an authority with words beside it": lambda config: config["clusters"][0].update(
        cluster={"server": "https://a.example", "certificate-authority": "words.crt"}
    ),
    "a number for a token": of_user(token=7),
    "the system's authorities": lambda config: config["clusters"][0]["cluster"].pop(
        "certificate-authority-data"
    ),
    "a certificate without a key": of_user(**{"client-certificate": "one.crt"}),
    "a certificate that is not there": of_user(
        **{"client-certificate": "none.crt", "client-key": "none.key"}
    ),
    "a key of another certificate": of_user(
        **{"client-certificate": "one.crt", "client-key": "two.key"}
    ),
    "no such context": lambda config: config.update({"current-context": "none"}),
    "two contexts of one name": lambda config: config["contexts"].append(config["contexts"][0]),
    "no list of users": lambda config: config.update(users={"token": {}}),
    "no context at all": lambda config: config.pop("current-context"),
    "no user": lambda config: config["contexts"][0]["context"].pop("user"),
}


@pytest.mark.parametrize("case", NOT_PLAIN)
def test_a_kubeconfig_that_is_not_plain(case: str, kubeconfig: Json, certificates: Path) -> None:
    NOT_PLAIN[case](kubeconfig)
    path = certificates / "not-plain"
    path.write_text(yaml.safe_dump(kubeconfig))
    assert plain(params(kubeconfig=str(path))) is None


@pytest.mark.parametrize(
    "more",
    [
        {"username": "u", "password": "p"},
        {"proxy": "http://proxy"},
        {"proxy_headers": {"user_agent": "x"}},
        {"persist_config": True},
        {"validate_certs": False},
        {"ca_cert": "/nowhere"},
        {"client_key": ""},
    ],
)
def test_an_option_that_is_not_plain(more: Json, file: Path) -> None:
    context = {"context": "files"} if "client_key" in more else {}
    assert plain(params(kubeconfig=str(file), **context, **more)) is None


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy"])
def test_a_proxy_of_the_environment(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy")
    assert plain(params(kubeconfig=str(file))) is None


@pytest.mark.parametrize(
    "text", [b"- a\n", b"a: [\n", b"\0", b"", b"banana", b"\x7fELF\x02\xff", b"clusters: 3", b"7"]
)
def test_a_file_that_is_no_kubeconfig(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(text)
    assert plain(params(kubeconfig=str(path))) is None
    with pytest.raises(BadConnection, match="kubeconfig: wanted") as refused:
        _connection.client_of(params(kubeconfig=str(path)), False)
    assert str(refused.value).count("\n") < 9


def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(BadConnection, match=f"found {tmp_path}, which is not: IsADirectoryError"):
        _connection.client_of(params(kubeconfig=str(tmp_path)), False)


def test_a_cluster_without_a_server(kubeconfig: Json) -> None:
    for cluster in kubeconfig["clusters"]:
        cluster["cluster"].pop("server")
    with pytest.raises(BadConnection, match="kubeconfig: wanted a cluster with a server"):
        _connection.client_of(params(kubeconfig=kubeconfig), False)
    elsewhere = params(kubeconfig=kubeconfig, host="https://c.example", persist_config=True)
    assert _library.configure(elsewhere).host == "https://c.example"


def test_a_proxy_that_is_none(file: Path) -> None:
    with pytest.raises(BadConnection, match=r"such as proxy, .*ProxySchemeUnknown"):
        _connection.client_of(params(kubeconfig=str(file), proxy="nonsense"), False)


def test_several_files(file: Path) -> None:
    assert plain(params(kubeconfig=f"{file}:{file}")) is None


def test_what_is_wrong_is_said_in_the_words_of_the_library(kubeconfig: Json) -> None:
    kubeconfig["current-context"] = "none"
    with pytest.raises(BadConnection, match="kubeconfig: wanted one with a cluster"):
        _connection.client_of(params(kubeconfig=kubeconfig), False)


# --- TLS ----------------------------------------------------------------------------------------


class Who(BaseHTTPRequestHandler):
    """Answers with the common name of the client's certificate, and what was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.seen.append((self.client_address[1], self.headers))
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/cut"):
            self.close_connection = True
            return
        subject = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
        said = {"who": subject[0][0][1], "path": self.path, "body": sent.decode()}
        body = json.dumps(said, ensure_ascii=False).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path.endswith("/last"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        # As a server that restarts closes what is idle, without a word.
        self.close_connection = self.close_connection or self.path.endswith("/idle")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing: the test says it all."""


class Server(ThreadingHTTPServer):
    seen: list[tuple[int, Any]]
    """The client's port and headers of every request."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    @property
    def ports(self) -> list[int]:
        return [asked[0] for asked in self.seen]

    def handle_error(self, *_: object) -> None:
        """A handshake that fails is what a test is about."""


@pytest.fixture
def server(certificates: Path) -> Iterator[Server]:
    """An API server whose authority is `one`, and knows clients of the same alone."""
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "one.crt")
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "one.crt", certificates / "one.key")
    found = Server(("127.0.0.1", 0), Who)
    found.seen = []
    found.socket = context.wrap_socket(found.socket, server_side=True)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def as_one(kubeconfig: Json, server: str, certificates: Path) -> Json:
    """The kubeconfig for that server, by the client certificate `one` as content."""
    kubeconfig["clusters"][0]["cluster"]["server"] = server
    kubeconfig["users"][0]["user"] = {
        "client-certificate-data": data(certificates / "one.crt"),
        "client-key-data": data(certificates / "one.key"),
    }
    return kubeconfig


@pytest.fixture
def client_of() -> Iterator[Callable[[Json], tuple[Client, Any]]]:
    """As `_connection` makes it; what it keeps is closed, as a module's end closes it."""
    made: list[Any] = []

    def make(given: Json) -> tuple[Client, Any]:
        client, way = _connection.client_of(given, False)
        made.append(client._transport)
        return client, way

    yield make
    for connection in (each for transport in made for each in transport._idle):
        connection.close()


@pytest.fixture
def client(client_of: Any, kubeconfig: Json, server: Server, certificates: Path) -> Any:
    return client_of(params(kubeconfig=as_one(kubeconfig, server.url, certificates)))[0]


def test_both_ends_are_verified(
    client_of: Any, kubeconfig: Json, server: Server, certificates: Path
) -> None:
    given = params(kubeconfig=as_one(kubeconfig, server.url, certificates))
    client, way = client_of(given)
    assert client.request("GET", "/")["who"] == "one"
    assert way.ca_cert_data == (certificates / "one.crt").read_text()


def test_a_server_of_another_authority_is_not_trusted(
    kubeconfig: Json, server: Server, certificates: Path
) -> None:
    given = params(
        kubeconfig=as_one(kubeconfig, server.url, certificates),
        ca_cert=str(certificates / "two.crt"),
    )
    assert plain(given) is not None
    client = _connection.client_of(given, False)[0]
    with pytest.raises(Unreachable, match="certificate verify failed"):
        client.request("GET", "/")


def test_a_server_of_another_name_is_not_trusted(
    kubeconfig: Json, server: Server, certificates: Path
) -> None:
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    client = _connection.client_of(
        params(kubeconfig=as_one(kubeconfig, elsewhere, certificates)), False
    )[0]
    with pytest.raises(Unreachable, match=r"[Hh]ostname|certificate"):
        client.request("GET", "/")


@pytest.mark.parametrize("host", ["https://[::1]", "https://[2001:db8::443]/prefix"])
def test_the_end_of_an_ipv6_address_is_no_port(
    host: str, client_of: Any, kubeconfig: Json, certificates: Path
) -> None:
    given = params(kubeconfig=as_one(kubeconfig, host, certificates))
    transport = client_of(given)[0]._transport
    assert isinstance(transport, HttpsTransport)
    assert (transport._url.hostname, transport._port) == (host[9:].partition("]")[0], 443)


def test_a_server_is_known_by_what_kubectl_knows_it_by(
    client_of: Any, kubeconfig: Json, server: Server, certificates: Path
) -> None:
    """By an alternative name and no common one; and an authority that is given need not be the topmost."""
    context = client_of(params(kubeconfig=as_one(kubeconfig, server.url, certificates)))[1].context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.verify_flags & 0x80000, "X509_V_FLAG_PARTIAL_CHAIN"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": SECRET + "\n"},
        {"api_key": SECRET + "ł"},
        {"impersonate_user": SECRET + "\r\nX: y"},
        {"impersonate_groups": ["a", SECRET + "\n"]},
    ],
)
@pytest.mark.parametrize("library", [False, True])
def test_what_no_header_can_bear_is_refused_and_not_shown(
    given: Json, library: bool, kubeconfig: Json
) -> None:
    more = {**given, "kubeconfig": kubeconfig, **({"persist_config": True} if library else {})}
    with pytest.raises(BadConnection, match="wanted one line of printable ASCII") as refused:
        _connection.client_of(params(**more), False)
    assert SECRET not in str(refused.value)


def test_a_token_that_no_header_can_bear_is_not_shown(kubeconfig: Json) -> None:
    kubeconfig["users"][0]["user"]["token"] = SECRET + "\n"
    with pytest.raises(BadConnection, match="kubeconfig: token: wanted one line") as refused:
        _connection.client_of(params(kubeconfig=kubeconfig), False)
    assert SECRET not in str(refused.value)


def test_nothing_is_left_of_a_key(
    kubeconfig: Json, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = params(kubeconfig=as_one(kubeconfig, "https://a.example", certificates))
    assert plain(given) is not None
    assert list(tmp_path.iterdir()) == []


# --- requests -----------------------------------------------------------------------------------


def test_what_is_asked_arrives_as_it_is(
    client_of: Any, kubeconfig: Json, server: Server, certificates: Path
) -> None:
    elsewhere = server.url + "/clusters/7/"
    given = params(
        kubeconfig=as_one(kubeconfig, elsewhere, certificates),
        api_key="mine",
        impersonate_user="u",
        impersonate_groups=["a", "b"],
    )
    client = client_of(given)[0]
    found = client.request("POST", "/x", {"y": "1 2"}, {"z": "Ä"})
    assert (found["path"], json.loads(found["body"])) == ("/clusters/7/x?y=1+2", {"z": "Ä"})
    headers = server.seen[0][1]
    assert headers["Host"] == server.url.removeprefix("https://")
    assert headers["Authorization"] == "Bearer mine"
    assert headers["Content-Type"] == "application/json"
    assert headers["Impersonate-User"] == "u"
    assert headers.get_all("Impersonate-Group") == ["a", "b"]


def test_a_connection_is_kept_until_the_other_end_closes_it(client: Any, server: Server) -> None:
    for path in ("/1", "/last", "/2", "/idle"):
        client.request("GET", path)
    first, last, second, idle = server.ports
    assert first == last != second == idle
    # The server's end of it comes when it comes; before that, it would have been an answer that did not come.
    kept = client._transport._idle[0].sock
    assert select.select([kept], [], [], 10)[0]
    client.request("GET", "/3")
    assert server.ports[-1] != idle


def test_what_may_have_taken_effect_is_not_sent_again(client: Any, server: Server) -> None:
    client.request("GET", "/1")
    with pytest.raises(Unreachable, match=f"{server.url} cannot be reached: .*without response"):
        client.request("POST", "/cut", body={})
    assert len(server.seen) == 2
    assert client.request("GET", "/2")["who"] == "one"


def test_threads_share_connections_and_never_one_at_once(client: Any, server: Server) -> None:
    with ThreadPoolExecutor(4) as workers:
        paths = [f"/{number}" for number in range(40)]
        found = list(workers.map(lambda path: client.request("GET", path)["path"], paths))
    assert found == paths
    assert len(set(server.ports)) <= 4


def test_nobody_there(kubeconfig: Json, certificates: Path) -> None:
    given = params(kubeconfig=as_one(kubeconfig, "https://127.0.0.1:1", certificates))
    with pytest.raises(
        Unreachable, match=r"https://127\.0\.0\.1:1 cannot be reached: .*[Rr]efused"
    ):
        _connection.client_of(given, False)[0].request("GET", "/version")
