# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""A node that lacks something says what, where an operator looks first: `systemctl status herald-agent`, and the
playbook. Once it is there, the agent is well without more ado."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from watched import HERALDCTL, await_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "playbooks/site.yml"
NODE = "n3"
UNIT = "herald-agent"
DROP_IN = f"/run/systemd/system/{UNIT}.service.d"
PINS = "/sys/fs/bpf/herald"
HEADERS = ("/lib/modules", "/usr/src")


@pytest.fixture
def node(herald: Lab) -> Iterator[Callable[..., str]]:
    """Runs a shell script on a node that is to be broken; afterwards it is whole, and its agent well."""

    def script(text: str, *, check: bool = True) -> str:
        return herald.exec(NODE, "sh", "-c", text, check=check)

    await_health(herald, [NODE])
    yield script
    for folder in HEADERS:
        script(f"while findmnt --types tmpfs {folder}; do umount {folder}; done")
    script(f"rm -rf {DROP_IN}; systemctl daemon-reload; systemctl reset-failed {UNIT}", check=False)
    script(f"systemctl restart {UNIT}")
    await_health(herald, [NODE])


def told(script: Callable[..., str]) -> str:
    return script(f"systemctl status --no-pager --full --lines 20 {UNIT}", check=False)


def tells(script: Callable[..., str], *words: str) -> bool:
    """Whether one look at it is enough: a unit that is tried again and again says it each time."""
    found = told(script)
    return all(word in found for word in words)


def restart(script: Callable[..., str]) -> None:
    """It may fail: what it says then is what the test is about."""
    script(f"systemctl restart {UNIT}", check=False)


def test_unreachable_api_server_is_told_and_forgotten_once_it_is_back(
    herald: Lab, node: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    with herald.fault(NODE, "api"):
        wait_for("it to be told", lambda: "cannot renew" in status_line(node))
        status = herald.attempt("exec", NODE, "--", HERALDCTL, "status")
        assert status.returncode == 1
        assert "problem: cannot renew" in status.stdout
    await_health(herald, [NODE])
    wait_for("it to be forgotten", lambda: "cannot renew" not in status_line(node))


def test_wrong_token_is_told_and_the_playbook_gives_a_good_one(
    herald: Lab, node: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    try:
        node("printf nonsense > /var/lib/herald/token")
        restart(node)
        wait_for(
            "it to be told",
            lambda: tells(node, "the token is not accepted", "run the role baremetal.herald.agent"),
        )
    finally:
        herald.playbook(SITE, "--limit", NODE)
    await_health(herald, [NODE])


def test_missing_pins_are_told_and_the_loader_makes_them(
    node: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    node(f"mkdir -p {DROP_IN}; printf '[Service]\\nExecStartPre=\\n' > {DROP_IN}/no-loader.conf")
    node(f"systemctl daemon-reload; systemctl stop {UNIT}; rm -rf {PINS}/*")
    restart(node)
    wait_for("it to be told", lambda: tells(node, PINS, "No such file", "run the loader"))
    node(f"rm -r {DROP_IN}; systemctl daemon-reload; systemctl reset-failed {UNIT}", check=False)
    node(f"systemctl restart {UNIT}")
    node(f"{HERALDCTL} status --wait 30")


def test_missing_kernel_headers_are_told_with_the_package_that_brings_them(
    herald: Lab, node: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    node(f"systemctl stop {UNIT}; rm -rf {PINS}/*")
    for folder in HEADERS:
        node(f"mount -t tmpfs tmpfs {folder}")
    restart(node)
    wait_for("it to be told", lambda: tells(node, "no kernel headers", "linux-headers-amd64"))

    done = herald.attempt_playbook(SITE, "--limit", NODE)
    assert done.returncode != 0
    assert "cannot install linux-headers-amd64" in done.stdout + done.stderr


def test_missing_bpf_file_system_is_told_by_unit_and_playbook(herald: Lab) -> None:
    def node(text: str, *, check: bool = True) -> str:
        return herald.exec(NODE, "sh", "-c", text, check=check)

    try:
        node(f"systemctl stop {UNIT}; umount --lazy /sys/fs/bpf")
        restart(node)
        assert "/sys/fs/bpf" in told(node)
        done = herald.attempt_playbook(SITE, "--limit", NODE)
        assert done.returncode != 0
        assert "mount -t bpf bpf /sys/fs/bpf" in done.stdout + done.stderr
    finally:
        # The lab's own mount comes back with a boot.
        with herald.fault(NODE, "power"):
            pass
        await_health(herald, [NODE])


def status_line(script: Callable[..., str]) -> str:
    """What the agent says of itself."""
    return script(f"systemctl show --property=StatusText --value {UNIT}")
