# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a module hears by options and by the environment, and what of it is told to nobody."""

from __future__ import annotations

import contextlib
import json
from typing import Any, ClassVar

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.baremetal.herald.plugins.module_utils._connection import CONNECTION_SPEC
from ansible_collections.baremetal.herald.plugins.module_utils._module import ClusterModule

Json = dict[str, Any]

TOKEN, KEY, PASSWORD = "the-token-itself", "dGhlIGtleSBpdHNlbGY=", "it's\\me"
PATH = "/home/me/.kube/config"


def kubeconfig(**user: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "a", "cluster": {"server": "https://a.example:6443"}}],
        "users": [{"name": "administrator", "user": user}],
        "contexts": [{"name": "one", "context": {"cluster": "a", "user": "administrator"}}],
    }


class Logged(ClusterModule):
    """Keeps what it tells the system's log."""

    lines: ClassVar[list[str]] = []

    def log(self, msg: str, log_args: Any = None) -> None:
        self.lines.append(msg)


@pytest.fixture(autouse=True)
def _none_logged() -> None:
    Logged.lines.clear()


def said(capsys: pytest.CaptureFixture[str], **given: Any) -> str:
    """All that a module says that was given these options and ends: to the log, and to who called it."""
    with patch_module_args(given), contextlib.suppress(SystemExit):
        module = Logged(argument_spec=dict(CONNECTION_SPEC), supports_check_mode=True)
        module.exit_json(msg=f"found {module.params['kubeconfig']}")
    printed = capsys.readouterr().out
    assert "invocation" in json.loads(printed)
    return "\n".join([*Logged.lines, printed])


SECRET = [
    pytest.param({"token": TOKEN}, TOKEN, id="token"),
    pytest.param({"client-key-data": KEY}, KEY, id="key"),
    pytest.param({"username": "me", "password": PASSWORD}, PASSWORD, id="password"),
    pytest.param(
        {"exec": {"command": "login", "env": [{"name": "SECRET", "value": TOKEN}]}},
        TOKEN,
        id="plugin's environment",
    ),
    pytest.param(
        {"exec": {"command": "login", "args": ["--secret", TOKEN]}}, TOKEN, id="plugin's argument"
    ),
    pytest.param(
        {"auth-provider": {"name": "oidc", "config": {"refresh-token": TOKEN}}},
        TOKEN,
        id="provider's token",
    ),
    pytest.param(
        {"exec": {"command": "login", "args": [f"--id-token={TOKEN}"]}}, TOKEN, id="flag's value"
    ),
    pytest.param({"username": "me", "password": 730152648}, "730152648", id="password of digits"),
]


@pytest.mark.parametrize(("user", "secret"), SECRET)
@pytest.mark.parametrize("more", [{}, {"nonsense": 1}], ids=["sound", "refused"])
def test_what_is_secret_in_a_kubeconfig_is_told_to_nobody(
    capsys: pytest.CaptureFixture[str], user: Json, secret: str, more: Json
) -> None:
    """Also where the options are refused, before anything of them was looked at."""
    content = kubeconfig(**user)
    for given in (content, json.dumps(content, indent=1)):
        words = said(capsys, kubeconfig=given, **more)
        assert secret not in words.replace("\\\\", "\\")
        assert repr(secret)[1:-1] not in words


def test_what_is_no_secret_in_a_kubeconfig_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """All of the others are words of results, too: a cluster's URL, `v1`."""
    words = said(capsys, kubeconfig=kubeconfig(token=TOKEN, username="somebody"))
    for word in ("v1", "https://a.example:6443", "administrator", "somebody", "current-context"):
        assert word in words


def test_what_a_plugin_is_asked_for_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster's name is a word of its URL and of its nodes' names."""
    args = ["--region", "eu-west-1", "eks", "get-token", "--cluster-name", "production"]
    env = [{"name": "AWS_PROFILE", "value": "accounting"}]
    words = said(capsys, kubeconfig=kubeconfig(exec={"command": "aws", "args": args, "env": env}))
    for word in ("eu-west-1", "get-token", "production", "accounting"):
        assert word in words


def test_password_of_a_proxy_is_told_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    content = kubeconfig(token=TOKEN)
    content["clusters"][0]["cluster"]["proxy-url"] = f"http://me:{KEY}@proxy.example:3128"
    assert KEY not in said(capsys, kubeconfig=content)


def test_path_of_a_kubeconfig_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    words = said(capsys, kubeconfig=PATH)
    assert f"found {PATH}" in words
    assert f"kubeconfig={PATH}" in words


# --- the environment --------------------------------------------------------------------------

ENVIRONMENT = [
    # variable, value, option, what the module has of it
    ("KUBECONFIG", PATH, "kubeconfig", PATH),
    ("CONTEXT", "c", "context", "c"),
    ("HOST", "https://h", "host", "https://h"),
    ("API_KEY", "k", "api_key", "k"),
    ("USERNAME", "u", "username", "u"),
    ("PASSWORD", "p", "password", "p"),
    ("VALIDATE_CERTS", "no", "validate_certs", False),
    ("VERIFY_SSL", "no", "validate_certs", False),
    ("CA_CERT", "/ca", "ca_cert", "/ca"),
    ("SSL_CA_CERT", "/ca", "ca_cert", "/ca"),
    ("CLIENT_CERT", "/cert", "client_cert", "/cert"),
    ("CERT_FILE", "/cert", "client_cert", "/cert"),
    ("CLIENT_KEY", "/key", "client_key", "/key"),
    ("KEY_FILE", "/key", "client_key", "/key"),
    ("PROXY", "http://p", "proxy", "http://p"),
    ("NO_PROXY", "a,b", "no_proxy", "a,b"),
    ("PROXY_HEADERS_PROXY_BASIC_AUTH", "u:p", "proxy_headers.proxy_basic_auth", "u:p"),
    ("PROXY_HEADERS_BASIC_AUTH", "u:p", "proxy_headers.basic_auth", "u:p"),
    ("PROXY_HEADERS_USER_AGENT", "a", "proxy_headers.user_agent", "a"),
    ("PERSIST_CONFIG", "yes", "persist_config", True),
    ("IMPERSONATE_USER", "u", "impersonate_user", "u"),
    ("IMPERSONATE_GROUPS", "a,b", "impersonate_groups", ["a", "b"]),
]


def params(**given: Any) -> Json:
    with patch_module_args(given):
        found = Logged(argument_spec=dict(CONNECTION_SPEC)).params
    headers = found.pop("proxy_headers") or {}
    return {**found, **{f"proxy_headers.{name}": value for name, value in headers.items()}}


@pytest.mark.parametrize(
    ("variable", "value", "option", "wanted"), ENVIRONMENT, ids=[row[0] for row in ENVIRONMENT]
)
def test_option_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, option: str, wanted: object
) -> None:
    monkeypatch.setenv("K8S_AUTH_" + variable, value)
    assert {name: found for name, found in params().items() if found is not None} == {
        option: wanted
    }


def test_every_option_has_a_variable() -> None:
    assert {row[2].partition(".")[0] for row in ENVIRONMENT} == set(CONNECTION_SPEC)


def test_option_wins_over_the_environment_and_its_own_name_over_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", "/by-the-other-name")
    monkeypatch.setenv("K8S_AUTH_CA_CERT", "/by-its-own-name")
    assert params()["ca_cert"] == "/by-its-own-name"
    assert params(ca_cert="/by-option")["ca_cert"] == "/by-option"
