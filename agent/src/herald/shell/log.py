# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Log lines for journald and for people: an event, then key=value.

``log.info("claimed", extra={"fields": {"address": …}})`` becomes ``claimed address=192.0.2.7``,
after a syslog priority where the journal reads it (sd-daemon(3)), after the time where a person
does.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_PLAIN = re.compile(r"[^\s=\"\\\x00-\x1f\x7f]+")


class KeyValueFormatter(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        fields: Mapping[str, object] = getattr(record, "fields", {})
        line = " ".join([text, *(f"{key}={_value(value)}" for key, value in fields.items())])
        lines = line.splitlines() or [""]
        if record.exc_info:
            lines += "".join(traceback.format_exception(*record.exc_info)).splitlines()
        return "\n".join(self._prefix(record) + each for each in lines)

    def _prefix(self, record: logging.LogRecord) -> str:
        if self._journal:
            return f"<{_priority(record.levelno)}>"
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        return f"{moment} {record.levelname.lower():7} "


def said_by(error: Exception) -> str:
    """What an exception says; where it says nothing, its kind."""
    return str(error) or type(error).__name__


def set_up(
    level: str = "info",
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send everything that is logged to stderr, in this form."""
    # Nothing here asks for threads, processes or callers: three system calls less a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValueFormatter(journal="JOURNAL_STREAM" in environment))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    # Its warnings about single connections are the transport's to judge and to log.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _priority(level: int) -> int:
    """syslog(3): LOG_ERR 3, LOG_WARNING 4, LOG_INFO 6, LOG_DEBUG 7."""
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7


def _value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
