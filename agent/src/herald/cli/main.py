# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""heraldctl: how the agent on this node does, and its few commands.

Standard library only, and quick: health checks call it. Exit status: 0 healthy or done, 1 not, 2
wrong usage, 3 the agent is not running.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from herald import __version__
from herald.cli.token import add_token_command

SOCKET = Path("/run/herald/control.sock")
ANSWER_LIMIT = 5.0
"""Seconds; the agent itself gives up asking its decider after 2."""
LOOK_EVERY = 0.25

OK, UNHEALTHY, NOT_RUNNING = 0, 1, 3

Json: TypeAlias = dict[str, Any]


class NotRunningError(Exception):
    """Nobody answers at the control socket; the message says what to do."""


class AskError(Exception):
    """The agent refused, or its answer makes no sense."""


class NoAnswerError(AskError):
    """The agent took the question and did not answer it: it hangs, or just makes way for a new process."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except NotRunningError as error:
        print(f"heraldctl: {error}", file=sys.stderr)
        return NOT_RUNNING
    except AskError as error:
        print(f"heraldctl: {error}", file=sys.stderr)
        return UNHEALTHY
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEALTHY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heraldctl",
        description="Ask the Herald agent on this node.",
        epilog="Exit status: 0 healthy or done, 1 not, 2 wrong usage, 3 the agent is not running.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--socket", type=Path, default=SOCKET, help="the agent's control socket (%(default)s)"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    status = commands.add_parser(
        "status", help="what the agent holds, and what is not as it should be"
    )
    status.add_argument("--json", action="store_true", help="print everything that it says")
    status.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for it to be healthy",
    )
    status.set_defaults(command=_status)

    announce = commands.add_parser(
        "announce", help="send the announcements of held addresses again"
    )
    announce.add_argument("address", nargs="?", metavar="ADDRESS", help="this one only")
    announce.set_defaults(command=_announce)

    add_token_command(commands)
    return parser


# --- Commands -------------------------------------------------------------------------------------


def _status(options: argparse.Namespace) -> int:
    answer = _wait_for_health(options.socket, options.wait)
    found = list(answer.get("problems", ()))
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in describe(answer):
            print(line)
    for problem in found:
        print(f"problem: {problem}", file=sys.stderr if options.json else sys.stdout)
    return UNHEALTHY if found else OK


def _wait_for_health(path: Path, seconds: float) -> Json:
    """The first healthy answer, or the last one when time is up."""
    until = time.monotonic() + seconds
    while True:
        try:
            answer = ask(path, {"do": "status"})
        except (NotRunningError, NoAnswerError):
            if time.monotonic() >= until:
                raise
        else:
            if not answer.get("problems") or time.monotonic() >= until:
                return answer
        time.sleep(LOOK_EVERY)


def _announce(options: argparse.Namespace) -> int:
    answer = ask(options.socket, {"do": "announce", "address": options.address})
    print(f"announced again: {answer['announced']}")
    return OK


def ask(path: Path, request: Json) -> Json:
    """One question, one answer. Raises NotRunningError, AskError or NoAnswerError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(ANSWER_LIMIT)
            agent.connect(str(path))
            agent.sendall(json.dumps(request).encode() + b"\n")
            with agent.makefile("rb") as answers:
                line = answers.readline()
    except PermissionError:
        raise AskError(
            f"{path}: not allowed; run it as root or as a member of group herald"
        ) from None
    except TimeoutError:
        raise NoAnswerError(f"{path}: the agent took the question and gave no answer") from None
    except OSError as error:
        raise NotRunningError(
            f"the agent is not running ({path}: {error.strerror});"
            " see `systemctl status herald-agent` and `journalctl -u herald-agent`"
        ) from None
    try:
        answer = json.loads(line)
    except ValueError:
        raise NoAnswerError(f"{path}: wanted a line of JSON, found {line[:80]!r}") from None
    if not isinstance(answer, dict):
        raise AskError(f"{path}: wanted a JSON object, found {line[:80]!r}")
    if "error" in answer:
        raise AskError(str(answer["error"]))
    return answer


# --- Words ----------------------------------------------------------------------------------------


def describe(answer: Json) -> list[str]:
    """The status as lines ``name: value``, whatever fields the agent's version has."""
    status: Json = answer.get("status") or {}
    lines = [f"version: {answer.get('version', 'unknown')}"]
    for name, value in status.items():
        if name == "problems":
            continue
        if isinstance(value, list):
            lines.append(f"{_words(name)}: {len(value)}")
            lines += [f"  {_item(each)}" for each in value]
        else:
            lines.append(f"{_words(name)}: {_plain(value)}")
    return lines


def _item(value: Any) -> str:
    if isinstance(value, dict):
        parts = [
            _plain(each) if number == 0 else f"{_words(name)} {_plain(each)}"
            for number, (name, each) in enumerate(value.items())
        ]
        return ", ".join(parts)
    return _plain(value)


def _plain(value: Any) -> str:
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case None | "":
            return "-"
        case list():
            return ", ".join(map(_plain, value)) or "-"
    return str(value)


def _words(name: str) -> str:
    """``valid_for_ms`` is ``valid for (ms)``."""
    text = name.replace("_", " ")
    return f"{text[:-3]} (ms)" if text.endswith(" ms") else text


if __name__ == "__main__":
    sys.exit(main())
