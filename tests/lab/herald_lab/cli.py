# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `tests/lab/lab --help`."""

from __future__ import annotations

import argparse
import http
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from herald_lab import (
    access,
    cgroups,
    control,
    faults,
    layout,
    lifecycle,
    network,
    noderoot,
    nodes,
    programs,
    services,
)
from herald_lab.commands import LabError, become, inside
from herald_lab.layout import ANOTHER_API_PORT, NODES, Lab

Arguments = argparse.Namespace
_EPILOG = """\
A first walk:
  lab up                                 about 20 s; the first time ten minutes more
  lab kubectl get nodes
  lab run -- ansible-playbook -i <(lab inventory) playbooks/site.yml
  lab service web --udp --backends n2,n3
  lab client -- curl http://ADDRESS/
  lab fault n1 power                     and `lab heal n1`
  lab down

Several labs exist side by side under names of their own (--lab, or HERALD_LAB).
"""


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args(_words(sys.argv[1:]))
    try:
        if os.geteuid():
            raise LabError("the lab lives in network namespaces: run it as root")
        lab = Lab(arguments.lab)
        if arguments.exclusive:
            with lifecycle.exclusive(lab):
                arguments.action(lab, arguments)
        else:
            arguments.action(lab, arguments)
        sys.stdout.flush()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# --- commands ---------------------------------------------------------------------------------


def _up(lab: Lab, arguments: Arguments) -> None:
    lifecycle.up(lab, arguments.release)


def _down(lab: Lab, _: Arguments) -> None:
    lifecycle.down(lab)


def _prepare(_lab: Lab, arguments: Arguments) -> None:
    lifecycle.prepare(arguments.release)


def _status(lab: Lab, arguments: Arguments) -> None:
    state = lifecycle.status(lab)
    if arguments.json:
        print(json.dumps(state, indent=2))
    else:
        _print_status(state)
    if not state["up"]:
        raise SystemExit(3)


def _print_status(state: dict[str, Any]) -> None:
    if not state["up"]:
        print(f"{state['lab']}: {'left half-made; `lab down`' if state['half_made'] else 'down'}")
        return
    ready = "ready" if state["ready"] else "not ready"
    print(f"{state['lab']}: up, nodes of {state['release']}; API server {state['api']}, {ready}")
    for part, runs in state["control"].items():
        print(f"  {part:<25}{'runs' if runs else 'stopped'}")
    for name, found in state["nodes"].items():
        words = f"faults: {', '.join(found['faults'])}" if found["faults"] else "well"
        print(f"  {name:<5}{' '.join(found['addresses']):<28}{words}; agent: {found['agent']}")
    for key in ("kubeconfig", "logs", "netns", "client_netns"):
        print(f"  {key:<13}{state[key]}")


def _exec(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    command = [*nodes.into(lab, arguments.node), *_command(arguments, "/bin/bash")]
    cgroups.join(lab.node_cgroup(arguments.node) / "seat")
    become(command)


def _client(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    cgroups.join(lab.cgroup / "seats")
    become([*inside(lab.client_netns), *_command(arguments, "/bin/bash")])


def _run(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    cgroups.join(lab.cgroup / "seats")
    become([*inside(lab.netns), *_command(arguments, "/bin/bash")], _operator(lab))


def _kubectl(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    cgroups.join(lab.cgroup / "seats")
    kubectl = str(programs.folder()["kubectl"])
    become([*inside(lab.netns), kubectl, *arguments.command], _operator(lab))


def _operator(lab: Lab) -> dict[str, str]:
    """The operator's environment; a proxy of the machine's has no way into the lab."""
    clean = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    path = f"{programs.folder()['kubectl'].parent}:{os.environ['PATH']}"
    return {**clean, "KUBECONFIG": str(lab.kubeconfig), "HERALD_LAB": lab.name, "PATH": path}


def _inventory(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    hosts = [layout.node(name) for name in arguments.nodes.split(",")]
    print(json.dumps(access.inventory(lab, hosts), indent=2))


def _ssh(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    host = layout.node(arguments.node)
    key = str(lab.state / "ssh/operator")
    become(["ssh", *access.ssh_options(lab), "-i", key, f"root@{host.ipv4}", *arguments.command])


def _connect(lab: Lab, arguments: Arguments) -> None:
    """Hand ssh a connection made inside the lab (ssh_config(5), ProxyUseFdpass)."""
    lifecycle.need(lab)
    with network.entered(lab.netns):
        connection = socket.create_connection((arguments.host, arguments.port), timeout=10)
    connection.setblocking(True)
    with socket.socket(fileno=os.dup(sys.stdout.fileno())) as ssh:
        socket.send_fds(ssh, [b"\0"], [connection.fileno()])


def _service(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    if arguments.delete:
        services.remove(lab, arguments.name, arguments.namespace)
        return
    wish = services.Wish(
        name=arguments.name,
        namespace=arguments.namespace,
        ports=services.parse_ports(arguments.ports, udp=arguments.udp),
        backends=tuple(layout.node(name) for name in arguments.backends.split(",")),
        annotations=dict(_pair(word) for word in arguments.annotation),
        labels=dict(_pair(word) for word in arguments.label),
        load_balancer_class=arguments.load_balancer_class,
        families=arguments.families,
        local=arguments.local,
        copies=arguments.copies,
    )
    services.make(lab, wish)
    if arguments.wait is not None:
        print("\n".join(services.wait_for_addresses(lab, wish, arguments.wait)))


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise LabError(f"wanted KEY=VALUE, found {word!r}")
    return key, value


def _fault(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    machine = layout.node(arguments.node)
    nodes.netns(lab, machine.name)  # without power there is nothing to harm
    moment = time.time()
    faults.FAULTS[arguments.kind](lab, machine)
    print(f"{machine.name}: {arguments.kind} at {moment:.3f}")


def _heal(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    for name in [host.name for host in NODES] if arguments.node == "all" else [arguments.node]:
        faults.heal(lab, layout.node(name))


def _api(lab: Lab, arguments: Arguments) -> None:
    lifecycle.need(lab)
    match arguments.what:
        case "stop":
            faults.api_stop(lab)
        case "start":
            faults.api_start(lab, arguments.seats)
        case "etcd-restart":
            faults.etcd_restart(lab)
        case "another":
            act = {"start": control.start_api, "stop": control.stop_api, "hang": control.freeze_api}
            act[arguments.act](lab, port=ANOTHER_API_PORT)
        case "backup":
            control.back_up(lab)
        case "restore":
            faults.etcd_restore(lab)
        case "slow":
            faults.api_fault(lab, "slow", f"{arguments.milliseconds:g}")
        case "errors":
            faults.api_fault(lab, "errors", str(arguments.code), "--share", f"{arguments.share:g}")
        case mode:
            faults.api_fault(lab, mode)


def _meter(program: str) -> Callable[[Lab, Arguments], None]:
    def action(lab: Lab, arguments: Arguments) -> None:
        lifecycle.need(lab)
        cgroups.join(lab.cgroup / "seats")
        script = str(layout.SOURCES / "meter" / program)
        become([*inside(lab.client_netns), sys.executable, script, *arguments.command])

    return action


def _command(arguments: Arguments, default: str) -> list[str]:
    return arguments.command or [default]


# --- the parser -------------------------------------------------------------------------------

# Everything after these commands (and exec's node) belongs to the program that they call.
_PASSING = {"exec": 1, "client": 0, "run": 0, "kubectl": 0, "outage": 0, "answers": 0, "ssh": 1}


def _words(argv: list[str]) -> list[str]:
    """Put a `--` before what is passed on, so that the parser leaves its options alone."""
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        position += 2 if argv[position] == "--lab" else 1
    if position >= len(argv) or argv[position] not in _PASSING:
        return argv
    start = position + 1 + _PASSING[argv[position]]
    own_help = argv[position + 1 : position + 2] in (["--help"], ["-h"])
    if own_help and argv[position] not in ("kubectl", "outage", "answers"):
        return argv
    rest = argv[start:]
    return [*argv[:start], "--", *(rest[1:] if rest[:1] == ["--"] else rest)]


def _number(low: float, high: float) -> Callable[[str], float]:
    def number(word: str) -> float:
        value = float(word)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"wanted {low:g} to {high:g}, found {word}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab",
        description="A bare-metal Kubernetes cluster in network namespaces of this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--lab",
        metavar="NAME",
        default=os.environ.get("HERALD_LAB", "lab"),
        help="which lab (HERALD_LAB, or `lab`)",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, action: Callable[[Lab, Arguments], None], text: str, *, exclusive: bool = False
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text}.")
        added.set_defaults(action=action, exclusive=exclusive)
        return added

    up = command("up", _up, "bring the lab up", exclusive=True)
    command("down", _down, "take it away, also half-made or crashed", exclusive=True)
    prepare = command(
        "prepare", _prepare, "make only what takes long: packages, control plane, node root"
    )
    for added in (up, prepare):
        added.add_argument(
            "--release",
            metavar="NAME",
            default=os.environ.get("HERALD_LAB_RELEASE", ""),
            help=f"Debian of the nodes: {', '.join(noderoot.RELEASES)} (HERALD_LAB_RELEASE, or the first)",
        )
    _add_status(command)
    _add_seats(command)
    _add_service(command)
    _add_faults(command)
    return parser


def _add_status(command: Callable[..., argparse.ArgumentParser]) -> None:
    status = command("status", _status, "what runs, and who suffers from what (exit 3: not up)")
    status.add_argument("--json", action="store_true", help="for programs")
    inventory = command("inventory", _inventory, "print the Ansible inventory of the nodes (JSON)")
    names = ",".join(host.name for host in NODES)
    inventory.add_argument("--nodes", metavar="N,…", default=names, help=f"of these ({names})")


def _add_seats(command: Callable[..., argparse.ArgumentParser]) -> None:
    rest: dict[str, Any] = {"nargs": "*", "metavar": "CMD"}
    names = [host.name for host in NODES]
    execute = command("exec", _exec, "run a program on a node, as root (bash)")
    execute.add_argument("node", choices=names)
    execute.add_argument("command", **rest)
    command("client", _client, "run a program on the client host (bash)").add_argument(
        "command", **rest
    )
    text = "run a program in the operator's seat: the lab's network, KUBECONFIG set (bash)"
    command("run", _run, text).add_argument("command", **rest)
    command("kubectl", _kubectl, "kubectl as the operator").add_argument("command", **rest)
    ssh = command("ssh", _ssh, "log in to a node by SSH, as Ansible does")
    ssh.add_argument("node", choices=names)
    ssh.add_argument("command", **rest)
    connect = command("connect", _connect, "for ssh: a ProxyCommand that leads into the lab")
    connect.add_argument("host")
    connect.add_argument("port", type=int)
    text = "outage ADDRESS PORT --seconds N [--json FILE]: measure it from the client"
    command("outage", _meter("outage.py"), text).add_argument("command", **rest)
    text = "answers ADDRESS --seconds N: who answers ARP or ND for it, seen from the client"
    command("answers", _meter("answers.py"), text).add_argument("command", **rest)


def _add_service(command: Callable[..., argparse.ArgumentParser]) -> None:
    add = command(
        "service",
        _service,
        "a LoadBalancer Service with echo backends on the nodes (made, or changed)",
        exclusive=True,
    ).add_argument
    add("name")
    add("--namespace", "-n", default="default", help="(default)")
    add("--backends", default="n1,n2,n3", metavar="NODES", help="where they run (n1,n2,n3)")
    add("--ports", default="http:80", help="KIND:PORT,…; KIND is http, tcp, udp (http:80)")
    add("--udp", action="store_true", help="also udp:9000,tcp:9000, which `lab outage` asks")
    add("--annotation", action="append", default=[], metavar="KEY=VALUE")
    add("--label", action="append", default=[], metavar="KEY=VALUE")
    add("--class", dest="load_balancer_class", metavar="CLASS", help="loadBalancerClass (none)")
    families = ("SingleStack", "PreferDualStack", "RequireDualStack", "IPv6")
    add("--families", choices=families, default="SingleStack", help="(SingleStack: IPv4)")
    add("--local", action="store_true", help="externalTrafficPolicy: Local")
    add("--copies", type=int, default=0, metavar="N", help="N alike, NAME-1 to NAME-N, one backend")
    add("--wait", type=float, metavar="SECONDS", help="wait for its addresses and print them")
    add("--delete", action="store_true", help="remove the Service and its backends")


def _add_faults(command: Callable[..., argparse.ArgumentParser]) -> None:
    names = [host.name for host in NODES]
    fault = command(
        "fault", _fault, "do a node harm, and print when (Unix seconds)", exclusive=True
    )
    fault.formatter_class = argparse.RawDescriptionHelpFormatter
    fault.epilog = (faults.__doc__ or "").partition("\n\n")[2]
    fault.add_argument("node", choices=names)
    fault.add_argument("kind", choices=list(faults.FAULTS))
    heal = command(
        "heal", _heal, "undo every fault of a node; returns once it is up", exclusive=True
    )
    heal.add_argument("node", choices=[*names, "all"])

    api = command("api", _api, "stop, hinder or restore the API server", exclusive=True)
    modes = api.add_subparsers(dest="what", required=True, metavar="WHAT")
    modes.add_parser("stop", help="it ends abruptly")
    start = modes.add_parser("start", help="it runs, and nothing is in its way")
    text = "start it again as a small one, that works on so many requests at a time"
    start.add_argument("--seats", type=int, metavar="N", help=text)
    text = "a second API server on the same data, for clients that are told of it"
    another = modes.add_parser("another", help=text)
    another.add_argument("act", choices=["start", "stop", "hang"])
    modes.add_parser("etcd-restart", help="etcd is killed and started again, on its data")
    modes.add_parser("backup", help="etcd's data is put aside as it is now")
    text = "the control plane begins anew on the data that was put aside, which is used up by that"
    modes.add_parser("restore", help=text)
    slow = modes.add_parser("slow", help="the nodes' requests reach it late")
    slow.add_argument("milliseconds", type=_number(0, 60_000), metavar="MS")
    errors = modes.add_parser("errors", help="the nodes get this HTTP status for an answer")
    codes = {int(status) for status in http.HTTPStatus if status >= 400}
    errors.add_argument("code", type=int, choices=sorted(codes), metavar="CODE", help="429, 500, …")
    errors.add_argument(
        "--share", type=_number(0, 1), default=1.0, help="of the connections, 0 to 1 (1)"
    )
    modes.add_parser("reset", help="the nodes' connections are reset")
    modes.add_parser("cut", help="and so they are, but in the middle of an answer")
    modes.add_parser("hang", help="the nodes' connections are taken, and never answered")
