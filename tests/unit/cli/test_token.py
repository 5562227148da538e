# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whose token it is, and when it ends; never the token."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from herald.cli.main import main

NAME = "system:serviceaccount:herald-system:agent-n1"
SECRET = "c2lnbmF0dXJl"


def token(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.{SECRET}"


def in_an_hour() -> int:
    return int(time.time()) + 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(token(sub=NAME, exp=in_an_hour()) + "\n")
    return path


def test_it_says_whose_and_until_when(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--file", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "service account: herald-system/agent-n1"
    assert said[1].startswith("ends: 20")
    assert "min" in said[1]
    assert SECRET not in "".join(said)


def test_it_says_so_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--json", "--file", str(file)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["namespace"], said["service_account"]) == ("herald-system", "agent-n1")
    assert 3590 <= said["seconds_left"] <= 3600


def test_a_token_may_never_end(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(token(sub=NAME))
    assert main(["token", "--file", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "ends: never"
    assert main(["token", "--check", "--left", "1e9", "--file", str(file)]) == 0


CHECKS = [
    ({}, [], 0, ""),
    ({}, ["--service-account", "agent-n1"], 0, ""),
    ({}, ["--left", "600"], 0, ""),
    (
        {},
        ["--service-account", "agent-n2"],
        1,
        "wanted a token for herald-system/agent-n2, found one for herald-system/agent-n1",
    ),
    (
        {},
        ["--service-account", "agent-n1", "--namespace", "other"],
        1,
        "wanted a token for other/agent-n1, found one for herald-system/agent-n1",
    ),
    ({}, ["--left", "7200"], 1, "wanted one that is good for 7200 s more, found: "),
    ({"exp": 1}, [], 1, "wanted one that is good for 0 s more, found: ended "),
    ({"sub": "admin"}, [], 1, "wanted a ServiceAccount's token, found one for 'admin'"),
]


@pytest.mark.parametrize(("claims", "options", "status", "error"), CHECKS)
def test_check(
    file: Path,
    capsys: pytest.CaptureFixture[str],
    claims: dict[str, object],
    options: list[str],
    status: int,
    error: str,
) -> None:
    file.write_text(token(**({"sub": NAME, "exp": in_an_hour()} | claims)))
    assert main(["token", "--check", "--file", str(file), *options]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert error in captured.err
    assert bool(error) == bool(captured.err)


@pytest.mark.parametrize(
    "content", [b"", b"hunter2-hunter2", b"a.b.c", b"a.\xff\xff.c", b"a.e30.c", b"a.W10.c"]
)
def test_what_is_no_token_is_refused_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert main(["token", "--file", str(file)]) == 1
    captured = capsys.readouterr()
    assert "wanted a" in captured.err
    assert "hunter2" not in captured.err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--check", "--file", str(tmp_path / "none")]) == 1
    assert "none: No such file or directory" in capsys.readouterr().err
