# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""An agent's token: renewed long before it ends, worth nothing after, seen by nobody; and what it lets an agent do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tokens
from test_admission import Bearer
from watched import NAMESPACE, await_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab
    from watched import Watched

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SITE = ROOT / "playbooks/site.yml"
RIGHTS = ROOT / "docs/rights.md"
NODES = "/api/v1/nodes"


def test_agent_renews_a_short_lived_token_long_before_it_ends(
    watched: Watched, tmp_path: Path, wait_for: Callable[..., None], figure: Callable[[str], None]
) -> None:
    lab, node = watched.lab, watched.holder
    with watched.metered(tmp_path) as outage:
        short = tokens.ending(lab, node, 30)
        assert Bearer(lab, short)("GET", NODES).status == 200
        tokens.hand(lab, node, short)
        lab.exec(node, "systemctl", "restart", "herald-agent")
        wait_for("the agent to renew it", lambda: tokens.held(lab, node) != short, seconds=30)
        left = tokens.expiry(short) - time.time()
        renewed = tokens.held(lab, node)
        wait_for("its end", lambda: time.time() > tokens.expiry(short) + 1, seconds=60)
        await_health(lab, [node])
    figure(f"token of 30 s: renewed {left:.0f} s before its end")
    assert left > 0
    assert tokens.expiry(renewed) - time.time() > 500
    assert Bearer(lab, renewed)("GET", NODES).status == 200
    assert outage["gaps"] == []
    mode = lab.exec(node, "stat", "--format", "%a %U %G", tokens.FILE).strip()
    assert mode == "600 herald herald"


def test_an_ended_token_is_worth_nothing_and_the_role_gives_another_that_nobody_sees(
    herald: Lab, wait_for: Callable[..., None]
) -> None:
    node = "n3"
    ended = tokens.ending(herald, node, -60)
    assert Bearer(herald, ended)("GET", NODES).status == 401
    herald.exec(node, "systemctl", "stop", "herald-agent")
    tokens.hand(herald, node, ended)
    herald.exec(node, "systemctl", "start", "herald-agent", check=False)
    show = ("systemctl", "show", "--property=StatusText", "herald-agent")
    wait_for("the unit to say so", lambda: "token" in herald.exec(node, *show))

    with command_lines() as seen:
        said = herald.playbook(SITE, "--limit", node, "-vvv", "--diff")
    await_health(herald)
    assert any("ansible-playbook" in line for line in seen)
    assert any("herald-agent" in line for line in seen)
    token = tokens.held(herald, node)
    assert token != ended
    for secret in (token, ended):
        body = secret.split(".")[1]
        assert body not in said
        assert body not in herald.exec(node, "journalctl", "--no-pager", "--output=cat")
        assert not [line for line in seen if body in line]


def test_a_secret_on_a_command_line_would_be_seen() -> None:
    secret = "planted-on-purpose"
    with command_lines() as seen:
        subprocess.run(["/bin/sh", "-c", "sleep 0.2; :", secret], check=True)
    assert any(secret in line for line in seen)


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Every process's command line while the block runs, of this machine and of the nodes, whose processes it sees.
    Looked at a hundred times a second: what is over sooner may go unseen."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


# --- what an agent may do: docs/rights.md -----------------------------------------------------


def rights(lab: Lab, folder: Path, namespace: str) -> str:
    """`kubectl auth can-i --list` with the token of the agent of n1, its lines sorted."""
    view = json.loads(lab.kubectl("config", "view", "--raw", "--output", "json"))
    view["users"][0]["user"] = {"token": tokens.held(lab, "n1")}
    file = folder / "kubeconfig"
    file.touch(0o600)
    file.write_text(json.dumps(view))
    asked = ("auth", "can-i", "--list", "--namespace", namespace)
    head, *lines = lab.kubectl("--kubeconfig", str(file), *asked).splitlines()
    return "\n".join(re.sub(r" +$", "", line) for line in (head, *sorted(lines)))


@pytest.mark.parametrize("namespace", [NAMESPACE, "default"])
def test_documentation_says_what_an_agent_may_do(
    herald: Lab, tmp_path: Path, namespace: str
) -> None:
    """HERALD_WRITE_DOCS=1 writes it there."""
    begin = f"$ kubectl auth can-i --list --namespace {namespace}\n"
    before, _, rest = RIGHTS.read_text().partition(begin)
    assert rest, f"{RIGHTS}: wanted the line {begin}"
    documented, fence, after = rest.partition("\n```")
    found = rights(herald, tmp_path, namespace)
    if os.environ.get("HERALD_WRITE_DOCS"):
        RIGHTS.write_text(before + begin + found + fence + after)
        documented = found
    assert found == documented, (
        f"{RIGHTS} is not what an agent may do: HERALD_WRITE_DOCS=1 mends it"
    )
