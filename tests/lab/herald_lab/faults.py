# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Faults, as one would do them to a real node, and their repair; and faults of the API server.

power        the node's processes are gone at one stroke, and so is what its kernel held
cable        the switch port goes down: the node sees the loss of carrier
switch       the clients' switch drops the node's frames both ways; carrier stays
freeze       every process of the node stands still; its kernel goes on
api          the node's packets to and from the API server are dropped, nothing else
agent-kill   SIGKILL to the agent's main process; systemd will start it again
agent-stop   SIGSTOP to it: it hangs, until systemd's watchdog loses patience
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from herald_lab import cgroups, control, nodes
from herald_lab.commands import daemon, run, wait_until
from herald_lab.layout import API_PORT, GATE_PORT, NODES, Host, Lab

AGENT = "herald-agent.service"
_PARTITION = "herald_lab_partition"
_DIVERSION = "herald_lab_gate"
_FORWARDING, _BLOCKED = "3", "0"  # bridge(8), "state"


def power(lab: Lab, machine: Host) -> None:
    # The port first: a node that is ending must not be heard any more, not even for milliseconds.
    _bridge_port(lab, machine, _BLOCKED)
    cgroups.kill(lab.node_cgroup(machine.name))
    _unplug(lab, machine)
    cgroups.remove(lab.node_cgroup(machine.name))


def cable(lab: Lab, machine: Host) -> None:
    run("ip", "link", "set", machine.port, "down", netns=lab.netns)


def switch(lab: Lab, machine: Host) -> None:
    _bridge_port(lab, machine, _BLOCKED)


def freeze(lab: Lab, machine: Host) -> None:
    cgroups.freeze(lab.node_cgroup(machine.name))


def api(lab: Lab, machine: Host) -> None:
    rules = f"""
        table inet {_PARTITION} {{
            chain input {{
                type filter hook input priority -300; tcp sport {API_PORT} drop
            }}
            chain output {{
                type filter hook output priority -300; tcp dport {API_PORT} drop
            }}
        }}
    """
    run(*nodes.nft(lab, machine.name), "-f", "-", stdin=rules)


def agent_kill(lab: Lab, machine: Host) -> None:
    _signal_agent(lab, machine, "KILL")


def agent_stop(lab: Lab, machine: Host) -> None:
    _signal_agent(lab, machine, "STOP")


FAULTS: dict[str, Callable[[Lab, Host], None]] = {
    "power": power,
    "cable": cable,
    "switch": switch,
    "freeze": freeze,
    "api": api,
    "agent-kill": agent_kill,
    "agent-stop": agent_stop,
}


def heal(lab: Lab, machine: Host) -> None:
    """Undo every fault of the node, whichever it was; returns once the node is up."""
    cgroup = lab.node_cgroup(machine.name)
    if not cgroups.alive(cgroup):
        cgroups.remove(cgroup)
        _unplug(lab, machine)
        nodes.boot(lab, machine)
        nodes.wait(lab, machine)
        return
    cgroups.thaw(cgroup)
    if _link(lab, machine)["operstate"] == "UP":
        _bridge_port(lab, machine, _FORWARDING)
    # Else the bridge lets the port forward by itself as soon as the link is up, and refuses to before.
    run("ip", "link", "set", machine.port, "up", netns=lab.netns)
    run(*nodes.nft(lab, machine.name), "delete", "table", "inet", _PARTITION, check=False)
    _heal_agent(nodes.into(lab, machine.name))


def _heal_agent(inside: list[str]) -> None:
    """Go on, if it hangs; run, if it is meant to."""
    show = ("systemctl", "show", "--property=LoadState,UnitFileState", AGENT)
    state = run(*inside, *show).split()
    if "LoadState=loaded" not in state:
        return
    # With nothing to signal, it fails: the agent has ended meanwhile.
    run(*inside, "systemctl", "kill", "--kill-whom=main", "--signal=CONT", AGENT, check=False)
    if "UnitFileState=enabled" in state:
        run(*inside, "systemctl", "reset-failed", AGENT)
        run(*inside, "systemctl", "start", AGENT)


def _link(lab: Lab, machine: Host) -> dict[str, Any]:
    """The node's port at the switch."""
    found = json.loads(run("ip", "-j", "-d", "link", "show", machine.port, netns=lab.netns))
    return dict(found[0])


def node_state(lab: Lab, machine: Host) -> dict[str, Any]:
    """What the node suffers from, and whether its agent runs."""
    cgroup = lab.node_cgroup(machine.name)
    state: dict[str, Any] = {"addresses": machine.addresses, "mac": machine.mac, "faults": []}
    if not nodes.leader(lab, machine.name):
        return {**state, "faults": ["power"], "agent": None}
    found = state["faults"]
    if cgroups.frozen(cgroup):
        found.append("freeze")
    link = _link(lab, machine)
    if "UP" not in link["flags"]:
        found.append("cable")
    elif link["linkinfo"]["info_slave_data"]["state"] != "forwarding":
        found.append("switch")
    tables = run(*nodes.nft(lab, machine.name), "list", "tables")
    if _PARTITION in tables:
        found.append("api")
    agent = None
    if "freeze" not in found:
        show = ("systemctl", "show", "--property=LoadState,ActiveState,MainPID", AGENT)
        words = run(*nodes.into(lab, machine.name), *show)
        values = dict(line.split("=", 1) for line in words.splitlines())
        agent = values["ActiveState"] if values["LoadState"] == "loaded" else "not installed"
        if agent != "not installed" and _stopped(lab, machine, values["MainPID"]):
            found.append("agent-stop")
    return {**state, "agent": agent}


# --- the API server ---------------------------------------------------------------------------


def api_stop(lab: Lab) -> None:
    """The API server ends as abruptly as by a loss of power; connections to it are refused."""
    _divert(lab, None)
    control.stop_api(lab)


def api_start(lab: Lab, seats: int | None = None) -> None:
    """The API server runs, and nothing is in its way. `seats`: it is started again as a small one, that
    works on so many requests at a time."""
    _divert(lab, None)
    if seats:
        control.stop_api(lab)
    if not control.running(lab, "kube-apiserver"):
        control.start_api(lab, seats)
    control.wait(lab)


def api_fault(lab: Lab, *mode: str) -> None:
    """Put the gate, in that mode, between the nodes and the API server (gate.py)."""
    _divert(lab, None)
    socket = f"[::]:{GATE_PORT}"
    tls = ("--certificate", lab.pki / "apiserver.crt", "--key", lab.pki / "apiserver.key")
    script = Path(__file__).with_name("gate.py")
    ports = ("--port", str(GATE_PORT), "--to", str(API_PORT))
    argv: list[str | Path] = [sys.executable, "-I", script, *ports, *tls, *mode]
    daemon(argv, cgroup=_gate(lab), log=lab.logs / "gate.log", netns=lab.netns)
    listening = ("ss", "-Hltn", f"sport = :{GATE_PORT}")
    wait_until(
        f"the gate to listen on {socket} (see {lab.logs}/gate.log)",
        lambda: bool(run(*listening, netns=lab.netns).strip()),
        seconds=10,
    )
    _divert(lab, " ".join(mode))


def etcd_restart(lab: Lab) -> None:
    """etcd is killed and starts again on its data; returns once the API server is ready."""
    control.stop_etcd(lab)
    control.start_etcd(lab)
    control.wait(lab)


def etcd_restore(lab: Lab) -> None:
    """The control plane begins anew on the data that was put aside, and so does every kube-proxy that runs: what it
    watches from a revision of the future would tell it nothing. Returns once they know the Services."""
    control.restore(lab)
    running = [
        machine
        for machine in NODES
        if nodes.leader(lab, machine.name) and not cgroups.frozen(lab.node_cgroup(machine.name))
    ]
    for machine in running:
        run(*nodes.into(lab, machine.name), "systemctl", "restart", "kube-proxy")
    for machine in running:
        nodes.wait_for_proxy(lab, machine)


def api_state(lab: Lab) -> str:
    """`ok`, `stopped`, or the gate's mode."""
    if not control.running(lab, "kube-apiserver"):
        return "stopped"
    return _mode(lab).read_text() if cgroups.alive(_gate(lab)) else "ok"


def _divert(lab: Lab, mode: str | None) -> None:
    """Lead the nodes' connections to the gate, or (None) past it; existing ones break.

    Only what comes over the switch: the operator's own view of the API stays clear.
    """
    if mode is None:
        cgroups.remove(_gate(lab))  # while its last words still find their way through the rules
        run("nft", "delete", "table", "inet", _DIVERSION, netns=lab.netns, check=False)
        _mode(lab).unlink(missing_ok=True)
    else:
        rules = f"""
            table inet {_DIVERSION} {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    iifname != "lo" tcp dport {API_PORT} redirect to :{GATE_PORT}
                }}
            }}
        """
        run("nft", "-f", "-", netns=lab.netns, stdin=rules)
        _mode(lab).write_text(mode)
    _reset_connections(lab)


def _reset_connections(lab: Lab) -> None:
    """Reset the nodes' connections to the API server itself, as its end would.

    The kernel's connection tracking forgets them, too: else it would lead later segments past the
    rules that were changed meanwhile.
    """
    peers = [f"[::ffff:{address}]" for h in NODES for address in (h.ipv4, h.management)]
    peers += [f"[{h.ipv6}]" for h in NODES]
    theirs = " or ".join(f"dst {peer}" for peer in peers)
    run("ss", "-KHtn", f"sport = :{API_PORT} and ( {theirs} )", netns=lab.netns)
    for family in ("ipv4", "ipv6"):
        forget = ("conntrack", "-D", "-f", family, "-p", "tcp", "--dport", str(API_PORT))
        run(*forget, netns=lab.netns, check=False)  # exit 1: there was none


def _gate(lab: Lab) -> Path:
    return lab.cgroup / "gate"


def _mode(lab: Lab) -> Path:
    return lab.state / "gate-mode"


def _unplug(lab: Lab, machine: Host) -> None:
    """The cables of a node without power: its next start brings new ones of the same names."""
    for port in (machine.port, machine.management_port):
        run("ip", "link", "delete", port, netns=lab.netns, check=False)


def _bridge_port(lab: Lab, machine: Host, state: str) -> None:
    run("bridge", "link", "set", "dev", machine.port, "state", state, netns=lab.netns)


def _signal_agent(lab: Lab, machine: Host, signal: str) -> None:
    kill = ("systemctl", "kill", "--kill-whom=main", f"--signal={signal}", AGENT)
    run(*nodes.into(lab, machine.name), *kill)


def _stopped(lab: Lab, machine: Host, pid: str) -> bool:
    stat = run(*nodes.into(lab, machine.name), "cat", f"/proc/{pid}/stat", check=False)
    return stat.rpartition(") ")[2].startswith("T")
