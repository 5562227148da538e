# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Sees what ansible-playbook does, task by task, for a test; and does something to it at the right moment.

WITNESS_FILE: where every result goes, one JSON object a line.
WITNESS_AT: the words of a task; when it begins (the first time, or the WITNESS_NTH), ansible-playbook is killed, or
WITNESS_DO, a command, is run first.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: witness
type: aggregate
short_description: Tells a test what happens
description: See the module's docstring.
"""


def changes(result: Any) -> list[Any]:
    """Of whatever a task changed, item by item if it is a loop: the item, and what comes of it by its diff."""
    found = result._result
    each = found.get("results", []) if result._task.loop is not None else [found]
    return [
        [str(one.get("item", "")), outcomes(one.get("diff"))] for one in each if one.get("changed")
    ]


def outcomes(diff: Any) -> list[Any]:
    """What stands afterwards: objects, and texts of files. Not what was before, which in check mode a task before has
    not touched, nor files' attributes, which a file that is not there yet does not have."""
    entries = diff if isinstance(diff, list) else [diff or {}]
    return [
        after
        for entry in entries
        if (after := entry.get("after")) != entry.get("before")
        and not (isinstance(after, dict) and "path" in after)
    ]


class CallbackModule(CallbackBase):
    """Called by ansible-playbook with whatever happens."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "witness"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._file = Path(os.environ["WITNESS_FILE"])
        self._at = os.environ.get("WITNESS_AT", "")
        self._left = int(os.environ.get("WITNESS_NTH", "1"))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._begin(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._begin(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._note(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._note(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._note(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._note(result, "unreachable")

    def _begin(self, task: Any) -> None:
        self._write({"task": task.get_name(), "host": "", "status": "begun"})
        if not self._at or not task.get_name().endswith(self._at):
            return
        self._left -= 1
        if self._left:
            return
        if command := os.environ.get("WITNESS_DO"):
            subprocess.run(shlex.split(command), check=True, stdin=subprocess.DEVNULL)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, result: Any, status: str) -> None:
        task, host = result._task.get_name(), result._host.get_name()
        self._write({"task": task, "host": host, "status": status, "changes": changes(result)})

    def _write(self, entry: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")
