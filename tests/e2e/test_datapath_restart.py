# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Agents come and go under a client that asks every millisecond: each request is answered, and nothing moves."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from watched import MACS, assert_leases_agree, await_health, linger

from herald.core.election.placement import order
from herald.net.frames import solicited_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service
    from watched import Watched

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "playbooks/site.yml"
PINS = "/sys/fs/bpf/herald"
UNIT = "herald-agent"
KILL = f"systemctl kill --kill-whom=main --signal=KILL {UNIT}"
OTHER = "/opt/herald/other"
PACKAGE = f"{OTHER}/lib/python3*/site-packages/herald"

# Another build beside the one that runs, whose responder is another program.
COPY = f"""
set -e
build=$(readlink -f /opt/herald/current)
cp -a "$build" {OTHER}
sed -i "s#$build#{OTHER}#" $(grep -lI "$build" {OTHER}/bin/*)
sed -i 's/ANSWER_TTL 64/ANSWER_TTL 65/' {PACKAGE}/datapath/bpf/ip.h
"""
# The same, and its maps have another layout: another folder of pins, everything carried over.
NEXT_LAYOUT = f"""
sed -i 's/LAYOUT_VERSION 1$/LAYOUT_VERSION 2/' {PACKAGE}/datapath/bpf/layout.h
sed -i 's/^LAYOUT_VERSION = 1$/LAYOUT_VERSION = 2/; s/^class LoaderError/LAYOUTS[2] = LAYOUTS[1]\\n&/' \
  {PACKAGE}/datapath/loader.py
"""
# As the role does it: what takes long first, then the link, then the process.
SWITCH = f"""
set -e
/usr/bin/python3 -I {PACKAGE}/datapath/loader.py --user herald --prepare
ln -sfn {OTHER} /opt/herald/current
systemctl reload {UNIT}
"""


@pytest.fixture
def shell(watched: Watched) -> Iterator[Callable[[str], str]]:
    """Runs a script on the announcing node; whatever build it is given, it ends with its own.

    The address is where its placement would have it, or it might move there meanwhile: once nodes have come or gone
    and two minutes have passed, addresses do (docs/design/election.md, Placement).
    """
    lab, address = watched.lab, watched.address
    best = order(address, dict.fromkeys(MACS.values(), 1))[0]
    if watched.holder != best:
        lab.exec(watched.holder, "systemctl", "restart", UNIT)  # hands over, to the best placed
        watched.wait_for("the address to be at its place", lambda: watched.holder == best)
        await_health(lab)

    def run(script: str) -> str:
        return lab.exec(best, "sh", "-c", script)

    build = run("readlink /opt/herald/current").strip()  # as the role wrote it
    yield run
    run(f"ln -sfn {build} /opt/herald/current; rm -rf {OTHER}; systemctl reload {UNIT}")
    await_health(lab, [best])


def program(shell: Callable[[str], str]) -> str:
    """The responder that is pinned, named by layout and source; there is one, or this fails."""
    (found,) = shell(f"find {PINS} -name 'responder-*'").split()
    return found


def pid(shell: Callable[[str], str]) -> str:
    return shell(f"systemctl show --property=MainPID --value {UNIT}").strip()


def unanswered(
    watched: Watched, shell: Callable[[str], str], folder: Path, do: Callable[[], object]
) -> tuple[int, int]:
    """Requests without an answer, of how many, while another process takes the agent's place."""
    lab, node = watched.lab, watched.holder
    before = pid(shell)
    with lab.meter(
        "answers", watched.address, "--interval-ms", "1", file=folder / "answers.json"
    ) as answers:
        linger(0.2)
        do()
        watched.wait_for("another process", lambda: pid(shell) not in ("0", before))
        await_health(lab, [node])
        linger(2.5)  # were the epoch lost, others would have claimed by now
    assert watched.holder == node, "the address moved"
    assert len(answers["macs"]) == 1, answers["macs"]
    assert_leases_agree(lab)
    return answers["requests"] - answers["answered"], answers["requests"]


@pytest.mark.parametrize(
    ("how", "prepare", "script"),
    [
        ("killed", "true", KILL),
        ("reloaded", "true", f"systemctl reload {UNIT}"),
        ("another layout", COPY + NEXT_LAYOUT, SWITCH),
    ],
)
def test_every_request_is_answered_while_the_agent_is(
    watched: Watched,
    shell: Callable[[str], str],
    tmp_path: Path,
    figure: Callable[[str], None],
    how: str,
    prepare: str,
    script: str,
) -> None:
    shell(prepare)
    before = program(shell)
    lost, asked = unanswered(watched, shell, tmp_path, lambda: shell(script))
    figure(f"agent {how}: {lost} of {asked} requests unanswered, one each millisecond")
    assert lost == 0
    assert asked > 1000
    after = program(shell)
    assert (after != before) == how.startswith("another"), (before, after)
    assert ("v2" in after) == (how == "another layout")


def test_every_request_is_answered_while_an_agent_that_attaches_by_clsact_is_killed(
    herald: Lab,
    watched: Watched,
    shell: Callable[[str], str],
    tmp_path: Path,
    figure: Callable[[str], None],
) -> None:
    """As on kernels before 6.6. The way back takes the filters away; clsact itself goes with Herald."""

    def attached() -> tuple[bool, bool]:
        """By a link, by a filter."""
        filters = shell("tc filter show dev host0 ingress")
        return bool(shell(f"find {PINS} -name 'link-*'")), "herald direct-action" in filters

    only = ("--limit", f"{watched.holder},localhost")
    assert attached() == (True, False)
    try:
        herald.playbook(SITE, *only, "-e", "herald_attach=clsact")
        watched.wait_for("filters in the place of links", lambda: attached() == (False, True))
        lost, asked = unanswered(watched, shell, tmp_path, lambda: shell(KILL))
        assert attached() == (False, True)
    finally:
        herald.playbook(SITE, *only)
    figure(f"agent killed, by clsact: {lost} of {asked} requests unanswered, one each millisecond")
    assert lost == 0
    assert asked > 1000
    watched.wait_for("links in the place of filters", lambda: attached() == (True, False))


def test_the_group_of_an_ipv6_address_is_heard_while_the_agent_is_killed(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None]
) -> None:
    """Else NIC filters, and switches that snoop, would keep the questions from the responder."""
    _, (address,) = service("six", "--families", "IPv6")
    group = solicited_node(IPv6Address(address)).packed.hex()
    heard = f"grep -Eq 'host0 +{group}' /proc/net/igmp6 && echo heard || echo missed"
    wait_for(f"a holder of {address}", lambda: herald.holder(address) in MACS.values())
    node = herald.holder(address)
    wait_for("its group", lambda: "heard" in herald.exec(node, "sh", "-c", heard))

    said = herald.exec(
        node,
        "sh",
        "-c",
        f"""
        pid() {{ systemctl show --property=MainPID --value {UNIT}; }}
        before=$(pid)
        {KILL}
        while {heard}; now=$(pid); [ "$now" = 0 ] || [ "$now" = "$before" ]; do :; done
        {heard}
        """,
    ).split()

    assert set(said) == {"heard"}
    assert len(said) > 3
    await_health(herald, [node])


def test_every_request_is_answered_while_the_role_changes_the_configuration(
    herald: Lab,
    watched: Watched,
    shell: Callable[[str], str],
    tmp_path: Path,
    figure: Callable[[str], None],
) -> None:
    def configure() -> None:
        """Anew, and back again."""
        only = ("--limit", f"{watched.holder},localhost")
        try:
            herald.playbook(SITE, *only, "-e", "herald_log_level=debug")
        finally:
            herald.playbook(SITE, *only)

    lost, asked = unanswered(watched, shell, tmp_path, configure)
    figure(f"agent configured anew, twice: {lost} of {asked} unanswered, one each millisecond")
    assert lost == 0
