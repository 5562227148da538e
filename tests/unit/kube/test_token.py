# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The agent's token: read when it changes, renewed in time, and never shown."""

from __future__ import annotations

import base64
import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kube.fakes import FakeTransport, fails, says

from herald.kube.token import LOOK, Claims, TokenFile, TokenRenewal, claims
from herald.kube.transport import NoAnswer

HOUR = 3600
ISSUED = 1_800_000_000
AUDIENCE = "https://kubernetes.default.svc"


def jwt(payload: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(payload)}.c2VjcmV0LXNpZ25hdHVyZQ"


def payload(issued: int = ISSUED, life: int = HOUR, **bound: object) -> dict[str, Any]:
    account = {"name": "agent-n1", "uid": "su"}
    about = {"namespace": "herald-system", "serviceaccount": account, **bound}
    return {"aud": [AUDIENCE], "iat": issued, "exp": issued + life, "kubernetes.io": about}


# --- what a token says ------------------------------------------------------------------------------------


def test_the_claims_of_a_bound_token() -> None:
    assert claims(jwt(payload())) == Claims(
        "herald-system", "agent-n1", (AUDIENCE,), ISSUED, ISSUED + HOUR, None
    )


@pytest.mark.parametrize(
    ("bound", "kind"),
    [
        ({"node": {"name": "n1", "uid": "nu"}}, "Node"),
        ({"secret": {"name": "n1", "uid": "nu"}}, "Secret"),
        ({"pod": {"name": "n1", "uid": "nu"}, "node": {"name": "x"}}, "Pod"),
    ],
)
def test_what_it_is_bound_to(bound, kind) -> None:
    found = claims(jwt(payload(**bound)))
    assert found is not None
    assert found.bound == {"apiVersion": "v1", "kind": kind, "name": "n1", "uid": "nu"}


@pytest.mark.parametrize(("life", "asked"), [(60, 600), (HOUR, HOUR), (365 * 24 * HOUR, 24 * HOUR)])
def test_the_lifetime_to_ask_for_is_its_own_within_limits(life, asked) -> None:
    found = claims(jwt(payload(life=life)))
    assert found is not None
    assert found.lifetime == asked


@pytest.mark.parametrize(
    "token",
    [
        "",
        "abc",
        "a.b.c",
        "a.e30.c",
        "ü.ü.ü",
        "a.W10.c",
        jwt("text"),
        jwt(payload() | {"exp": "soon"}),
        jwt(payload() | {"aud": 7}),
        jwt(payload() | {"kubernetes.io": {"namespace": "x"}}),
        jwt({"sub": "somebody", "exp": 1}),
    ],
)
def test_what_is_no_bound_token_has_no_claims(token) -> None:
    assert claims(token) is None


# --- the file ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first\n")
    return file


def test_a_changed_file_is_read_again(path: Path) -> None:
    file = TokenFile(path)
    assert file() == "first"
    path.write_text("another")
    assert file() == "another"
    (path.parent / "new").write_text("third")
    (path.parent / "new").replace(path)
    assert file() == "third"


def test_a_file_that_goes_or_spoils_leaves_the_token_there_was(path: Path) -> None:
    file = TokenFile(path)
    file()
    for spoil in (
        lambda: path.write_text(""),
        lambda: path.write_text("two words"),
        lambda: path.write_bytes(b"\xff\xfe"),
        path.unlink,
    ):
        spoil()
        assert file() == "first"


@pytest.mark.parametrize(
    "content", [b"", b"se cret", b"se\ncret", b"\xff\xfesecret", b"secret\x00x"]
)
def test_a_file_that_holds_no_token_is_refused_without_showing_it(path: Path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(OSError, match="wanted a token") as refused:
        TokenFile(path)()
    assert str(path) in str(refused.value)
    chain = [refused.value, refused.value.__cause__]
    assert not any("cret" in repr(each) for each in chain)


def test_no_file_is_an_error_that_names_it(path: Path) -> None:
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        TokenFile(path)()


def test_a_new_token_is_for_its_owner_alone_and_nothing_else_is_left(path: Path) -> None:
    file = TokenFile(path)
    file.replace("second")
    assert (file(), path.read_text()) == ("second", "second\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_token_that_cannot_be_written_is_used_all_the_same(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "gone" / "token")
    with pytest.raises(OSError, match="gone"):
        file.replace("second")
    assert file() == "second"


def test_a_token_is_not_shown(path: Path) -> None:
    file = TokenFile(path)
    assert file() not in repr(file)


# --- renewal ----------------------------------------------------------------------------------------------


class Clocks:
    """The wall clock in seconds, and the boot-time clock in nanoseconds, which goes with it."""

    def __init__(self, wall: float = ISSUED) -> None:
        self.seconds = wall
        self.boot = 0

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds
        self.boot += int(seconds * 1e9)


def renewal(
    path: Path, transport: FakeTransport, clocks: Clocks, part: float = 0.5
) -> TokenRenewal:
    return TokenRenewal(
        TokenFile(path),
        transport,
        clock=lambda: clocks.boot,
        wall=lambda: clocks.seconds,
        jitter=lambda low, high: low + (high - low) * part,
    )


def grant(token: str):
    return says(201, {"status": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}})


def test_a_token_is_renewed_after_two_thirds_of_its_life(path: Path) -> None:
    clocks, fresh = Clocks(), jwt(payload(ISSUED + 2400))
    path.write_text(jwt(payload(node={"name": "n1", "uid": "nu"})))
    transport = FakeTransport(grant(fresh))
    token = renewal(path, transport, clocks)
    waited = 0.0
    while transport.requests.empty():
        wait = token.step()
        waited += wait
        clocks.pass_by(wait)
        assert wait <= LOOK
    assert 0.6 * HOUR <= waited - wait <= 0.7 * HOUR
    request = transport.requests.get()
    assert request.method == "POST"
    assert request.path == "/api/v1/namespaces/herald-system/serviceaccounts/agent-n1/token"
    assert json.loads(request.body)["spec"] == {
        "audiences": [AUDIENCE],
        "expirationSeconds": HOUR,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "nu"},
    }
    assert path.read_text().strip() == fresh
    assert token.expires == ISSUED + 2400 + HOUR


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_the_moment_is_jittered(path: Path, part: float) -> None:
    clocks = Clocks(ISSUED + (0.6 + 0.1 * part) * HOUR - 10)
    path.write_text(jwt(payload()))
    assert renewal(path, FakeTransport(), clocks, part).step() == pytest.approx(10)


YEAR = 8760 * HOUR


@pytest.mark.parametrize("ahead", [10 * HOUR, YEAR])
def test_after_a_renewal_this_nodes_wall_clock_does_not_matter(path: Path, ahead: int) -> None:
    clocks = Clocks(ISSUED + ahead)  # the token looks expired, and is renewed at once
    path.write_text(jwt(payload()))
    transport = FakeTransport(grant(jwt(payload(ISSUED + 60))))
    token = renewal(path, transport, clocks)
    token.step()
    transport.requests.get()
    clocks.pass_by(0.5 * HOUR)
    token.step()
    assert transport.requests.empty()
    clocks.pass_by(0.2 * HOUR)
    transport.then(grant(jwt(payload(ISSUED + 120))))
    token.step()
    assert transport.requests.qsize() == 1


@pytest.mark.parametrize("behind", [1000 * HOUR, YEAR])
def test_a_wall_clock_that_is_behind_does_not_put_renewal_off(path: Path, behind: int) -> None:
    clocks = Clocks(ISSUED - behind)
    path.write_text(jwt(payload()))
    transport = FakeTransport(grant(jwt(payload())))
    token = renewal(path, transport, clocks)
    token.step()
    clocks.pass_by(0.7 * HOUR)
    token.step()
    assert transport.requests.qsize() == 1


@pytest.mark.parametrize("off", [-YEAR, YEAR])
def test_a_wall_clock_that_is_set_between_renewals_neither_hastens_nor_delays_the_next(
    path: Path, off: int
) -> None:
    clocks = Clocks(ISSUED + 0.9 * HOUR)
    path.write_text(jwt(payload()))
    transport = FakeTransport(grant(jwt(payload(ISSUED + 3240))))
    token = renewal(path, transport, clocks)
    token.step()
    transport.requests.get()
    clocks.seconds += off
    clocks.pass_by(0.5 * HOUR)
    token.step()
    assert transport.requests.empty()
    clocks.pass_by(0.2 * HOUR)
    transport.then(grant(jwt(payload(ISSUED + 7200))))
    token.step()
    assert transport.requests.qsize() == 1


def test_a_token_that_an_administrator_puts_in_place_is_taken_up(path: Path) -> None:
    clocks = Clocks(ISSUED + 0.5 * HOUR)
    path.write_text(jwt(payload()))
    transport = FakeTransport()
    token = renewal(path, transport, clocks)
    token.step()
    path.write_text(jwt(payload(ISSUED + 1800)))
    clocks.pass_by(0.3 * HOUR)
    token.step()
    assert transport.requests.empty()
    assert token.expires == ISSUED + 1800 + HOUR


@pytest.mark.parametrize(
    "step",
    [
        fails(NoAnswer("connection reset")),
        says(403, {"message": "no"}),
        says(500),
        says(201, b"<html>"),
        says(201, []),
        says(201, {"status": {}}),
        grant("no-token-of-ours"),
    ],
)
def test_a_failed_renewal_is_tried_again_and_leaves_the_token(path: Path, step) -> None:
    clocks = Clocks(ISSUED + 0.9 * HOUR)
    present = jwt(payload())
    path.write_text(present)
    transport = FakeTransport(step, grant(jwt(payload(ISSUED + 3000))))
    token = renewal(path, transport, clocks)
    assert 30 <= token.step() <= 120
    assert path.read_text() == present
    clocks.pass_by(60)
    token.step()
    assert path.read_text() != present


@pytest.mark.parametrize("content", ["static-token", jwt(payload() | {"exp": 0})])
def test_a_token_without_an_end_is_used_as_it_is(path: Path, content) -> None:
    path.write_text(content)
    transport = FakeTransport()
    assert renewal(path, transport, Clocks()).step() == LOOK
    assert transport.requests.empty()


def test_no_log_line_has_a_token_in_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    present, fresh = jwt(payload()), jwt(payload(ISSUED + 3000))
    path.write_text(present)
    clocks = Clocks(ISSUED + 0.9 * HOUR)
    transport = FakeTransport(says(403, {"message": "no"}), says(201, {}), grant(fresh))
    token = renewal(path, transport, clocks)
    for _ in range(3):
        token.step()
        clocks.pass_by(100)
    path.chmod(0o600)
    assert len(caplog.records) == 3
    for secret in (present, fresh):
        for part in secret.split(".")[1:]:
            assert part not in caplog.text


def test_it_stops_at_once_also_inside_a_call(path: Path) -> None:
    path.write_text(jwt(payload()))
    transport = FakeTransport()
    token = renewal(path, transport, Clocks(ISSUED + HOUR))
    token.start()
    transport.requests.get(timeout=5)
    assert token.stop(5)
    assert transport.opened[0].closed
