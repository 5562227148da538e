# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What agent.toml may say, and how what it may not is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from herald.core.model import SECOND
from herald.core.settings import Settings
from herald.shell.config import Api, Config, ConfigError, Listen, load, parse

FILE = Path("/etc/herald/agent.toml")

SHORTEST = """
node = "n1"
[api]
servers = ["https://192.0.2.1:6443"]
"""

LONGEST = """
node = "n1.example.com"
[api]
servers = ["https://192.0.2.1:6443", "https://[2001:db8::1]:6443", "https://api.example.com/"]
ca_file = "/a/ca.crt"
token_file = "/b/token"
[lease]
namespace = "other"
duration_ms = 5000
renew_budget = 10
on_api_loss = "Withdraw"
[service]
default_class = false
adopt_classes = ["metallb.io/metallb", "kube-vip.io/kube-vip-class"]
[datapath]
attach = "clsact"
bpffs = "/bpf"
[announce]
refresh_seconds = 30
rate = 500
[kube_proxy]
health_port = 0
[metrics]
listen = "[::1]:9000"
[log]
level = "debug"
"""


def test_two_settings_are_enough() -> None:
    assert parse(SHORTEST) == Config(
        node="n1",
        api=Api(
            servers=("https://192.0.2.1:6443",),
            ca_file=Path("/etc/herald/ca.crt"),
            token_file=Path("/var/lib/herald/token"),
        ),
        namespace="herald-system",
        settings=Settings(await_proxy=True, await_timing=True),
        attach="auto",
        bpffs=Path("/sys/fs/bpf/herald"),
        proxy_port=10256,
        metrics=Listen("127.0.0.1", 9955),
        log_level="info",
    )


def test_every_setting_is_taken() -> None:
    assert parse(LONGEST) == Config(
        node="n1.example.com",
        api=Api(
            servers=(
                "https://192.0.2.1:6443",
                "https://[2001:db8::1]:6443",
                "https://api.example.com/",
            ),
            ca_file=Path("/a/ca.crt"),
            token_file=Path("/b/token"),
        ),
        namespace="other",
        settings=Settings(
            duration_ns=5 * SECOND,
            renew_budget=10,
            on_api_loss="Withdraw",
            default_class=False,
            adopt_classes=("metallb.io/metallb", "kube-vip.io/kube-vip-class"),
            refresh_ns=30 * SECOND,
            announce_rate=500,
            await_timing=True,
        ),
        attach="clsact",
        bpffs=Path("/bpf"),
        proxy_port=0,
        metrics=Listen("::1", 9000),
        log_level="debug",
    )


def test_an_empty_listen_turns_the_metrics_off() -> None:
    assert parse(SHORTEST + '[metrics]\nlisten = ""').metrics is None


@pytest.mark.parametrize("name", ["n1", "a" * 63, ".".join(["a" * 63] * 3) + "." + "b" * 61])
def test_a_node_may_have_any_name_that_a_node_may_have(name: str) -> None:
    assert parse(SHORTEST.replace('"n1"', f'"{name}"')).node == name


API = 'servers = ["https://192.0.2.1:6443"]'

BAD = [
    ('node = "n1"', "", "node", "the name of this Node", "nothing"),
    ('node = "n1"', 'node = ""', "node", "the name of this Node", "''"),
    ('node = "n1"', 'node = "N1"', "node", "the name of this Node", "'N1'"),
    ('node = "n1"', f'node = "{"a" * 254}"', "node", "at most 253 characters", "'aaa"),
    ('node = "n1"', "node = 1", "node", "the name of this Node", "1"),
    ('node = "n1"', 'nodes = "n1"', "node", "the name of this Node", "nothing"),
    (API, "", "api.servers", "a list of https://host:port", "nothing"),
    (API, "servers = []", "api.servers", "one at least", "none"),
    (API, 'servers = "https://a:1"', "api.servers", "a list of https://host:port", "'https://a:1'"),
    (API, 'servers = ["http://a:1"]', "api.servers[0]", "https://host:port", "'http://a:1'"),
    (
        API,
        'servers = ["https://a:1", "https://b:0"]',
        "api.servers[1]",
        "https://",
        "'https://b:0'",
    ),
    (API, 'servers = ["https://a:1/p"]', "api.servers[0]", "https://host:port", "'https://a:1/p'"),
    (API, 'servers = ["https://u:p@a"]', "api.servers[0]", "https://host:port", "'https://u:p@a'"),
    (API, 'servers = ["https://a:99999"]', "api.servers[0]", "https://", "'https://a:99999'"),
    (API, 'servers = ["https://[a"]', "api.servers[0]", "https://host:port", "'https://[a'"),
    (API, "servers = [1]", "api.servers[0]", "https://host:port", "1"),
    (API, f'{API}\nca_file = "ca.crt"', "api.ca_file", "an absolute path", "'ca.crt'"),
    (API, f"{API}\ntoken = 1", "api.token", "only ca_file, servers, token_file", "this key"),
    ("[api]", "[apo]\n[api]", "apo", "only announce, api,", "this key"),
    (API, f"{API}\n[lease]\nduration_ms = 499", "lease.duration_ms", "from 500 to 300000", "499"),
    (API, f"{API}\n[lease]\nduration_ms = 2.5", "lease.duration_ms", "a whole number", "2.5"),
    (API, f"{API}\n[lease]\nduration_ms = true", "lease.duration_ms", "a whole number", "True"),
    (API, f"{API}\n[lease]\nrenew_budget = 0", "lease.renew_budget", "from 1 to", "0"),
    (
        API,
        f"{API}\n[lease]\non_api_loss = 'hold'",
        "lease.on_api_loss",
        "'Hold' or 'Withdraw'",
        "'h",
    ),
    (API, f"{API}\n[lease]\nnamespace = 'a.b'", "lease.namespace", "a Namespace", "'a.b'"),
    (API, f"{API}\n[service]\ndefault_class = 1", "service.default_class", "true or false", "1"),
    (
        API,
        f"{API}\n[service]\nadopt_classes = ['a b']",
        "service.adopt_classes[0]",
        "like",
        "'a b'",
    ),
    (
        API,
        f"{API}\n[datapath]\nattach = 'xdp'",
        "datapath.attach",
        "'auto' or 'tcx' or 'c",
        "'xdp'",
    ),
    (
        API,
        f"{API}\n[kube_proxy]\nhealth_port = 65536",
        "kube_proxy.health_port",
        "to 65535",
        "65536",
    ),
    (API, f"{API}\n[announce]\nrefresh_seconds = 0", "announce.refresh_seconds", "from 1 to", "0"),
    (API, f"{API}\n[announce]\nrate = 9", "announce.rate", "a whole number from 10 to", "9"),
    (API, f"{API}\n[metrics]\nlisten = '9955'", "metrics.listen", "host:port", "'9955'"),
    (API, f"{API}\n[metrics]\nlisten = '::1:9955'", "metrics.listen", "[IPv6]:port", "'::1:9955'"),
    (API, f"{API}\n[metrics]\nlisten = 'a:65536'", "metrics.listen", "host:port", "'a:65536'"),
    (API, f"{API}\n[log]\nlevel = 'loud'", "log.level", "'info' or 'debug'", "'loud'"),
    ("[api]", "api = 1\n[lease]", "api", "a table", "1"),
]


@pytest.mark.parametrize(("good", "bad", "field", "wanted", "found"), BAD)
def test_a_bad_value_is_refused_with_file_field_wanted_and_found(
    good: str, bad: str, field: str, wanted: str, found: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(SHORTEST.replace(good, bad), FILE)
    assert refused.value.field == field
    message = str(refused.value)
    assert message.startswith(f"/etc/herald/agent.toml: {field}: wanted ")
    before, after = message.split(", found ", 1)
    assert wanted in before
    assert after.startswith(found)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted a readable file, found No such file"):
        load(tmp_path / "agent.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"node =", "wanted TOML, found an error: Invalid value"),
        (b"node = '\xff'", "wanted UTF-8 text"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(file)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(SHORTEST)
    assert load(file) == parse(SHORTEST)
