# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The playbook verify, run on the client: it passes where one node answers, and says what is wrong where not."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from herald_lab import ansible
from herald_lab.layout import NODES
from witnessed import standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab, Service

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
MACS = {node.name: node.mac for node in NODES}


@pytest.fixture
def served(
    herald: Lab, service: Callable[..., Service], wait_for: Callable[..., None]
) -> dict[str, str]:
    """The announcing node of each address of a Service."""
    _, addresses = service("verified", "--families", "RequireDualStack")
    for address in addresses:
        wait_for("a holder", lambda address=address: herald.holder(address) in MACS)
    return {address: herald.holder(address) for address in addresses}


def verify(
    lab: Lab, folder: Path, addresses: list[str], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the playbook in the client's seat, with the operator's kubeconfig."""
    local = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    probe = {**local, "herald_verify_interface": "lan", "herald_verify_addresses": addresses}
    hosts = {"hosts": {"localhost": local}, "children": {"herald_probes": {"hosts": {"c1": probe}}}}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": hosts}))
    kubeconfig = lab("run", "--", "sh", "-c", "echo $KUBECONFIG").strip()
    playbook = str(ROOT / "playbooks/verify.yml")
    command = ("ansible-playbook", "--inventory", str(inventory), playbook, *options)
    return lab.attempt("client", "--", *ansible.env(KUBECONFIG=kubeconfig), *command)


def test_one_node_answers_for_each_address(
    herald: Lab, served: dict[str, str], tmp_path: Path
) -> None:
    before = untouched(herald)
    for options in ([], ["--check", "--tags", "verify"]):
        done = verify(herald, tmp_path, list(served), *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(re.findall(r"changed=\d+", done.stdout.partition("PLAY RECAP")[2])) == {
            "changed=0"
        }
    assert untouched(herald) == before


def untouched(lab: Lab) -> dict[str, str]:
    """What a playbook could change, but what agents may still be saying of a new Service."""
    said = ("/services ", "/loadbalancerippools ")
    found = standing(lab, list(MACS))
    return {key: value for key, value in found.items() if not any(kind in key for kind in said)}


@contextmanager
def hushed(lab: Lab, node: str, address: str) -> Iterator[None]:
    """The switch drops what `node` answers for the address."""
    chain = f'type filter hook ingress device "vb-{node}" priority 0; arp saddr ip {address} drop;'
    lab("run", "--", "nft", f"table netdev hushed {{ chain answers {{ {chain} }}; }}")
    try:
        yield
    finally:
        lab("run", "--", "nft", "delete table netdev hushed")


@contextmanager
def taken(lab: Lab, node: str, address: str) -> Iterator[None]:
    """`node` has the address: its kernel answers."""
    lab.exec(node, "ip", "address", "add", f"{address}/32", "dev", "host0")
    try:
        yield
    finally:
        lab.exec(node, "ip", "address", "del", f"{address}/32", "dev", "host0")


@pytest.mark.parametrize(
    ("answers", "other_answers", "words"),
    [
        (True, True, "{address}: wanted one answering MAC, found 2"),
        (False, False, "{address}: wanted one answering MAC, found none"),
        (False, True, "{address}: wanted an answer of {holder} ({mac}"),
    ],
    ids=["two", "nobody", "another"],
)
def test_who_answers_wrongly_is_named(
    herald: Lab,
    served: dict[str, str],
    tmp_path: Path,
    answers: bool,
    other_answers: bool,
    words: str,
) -> None:
    address = next(address for address in served if "." in address)
    holder = served[address]
    other = next(name for name in MACS if name != holder)
    with ExitStack() as faults:
        if not answers:
            faults.enter_context(hushed(herald, holder, address))
        if other_answers:
            faults.enter_context(taken(herald, other, address))
        runs = [verify(herald, tmp_path, list(served), *options) for options in ([], ["--check"])]
    said = words.format(address=address, holder=holder, mac=MACS[holder])
    for done in runs:
        assert done.returncode != 0
        assert said in done.stdout, done.stdout
        assert not other_answers or MACS[other] in done.stdout


def test_an_address_that_herald_did_not_give_is_refused(
    herald: Lab, served: dict[str, str], tmp_path: Path
) -> None:
    done = verify(herald, tmp_path, [*served, "192.168.77.9"])
    assert done.returncode != 0
    assert "herald_verify_addresses: wanted addresses that Herald gave, found" in done.stdout
