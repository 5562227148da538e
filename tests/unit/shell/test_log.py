# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Lines for the journal, and for people."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator

import pytest

from herald.shell.log import set_up

Log = tuple[logging.Logger, Callable[[], list[str]]]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def log_to(environment: dict[str, str], level: str = "info") -> Log:
    stream = io.StringIO()
    set_up(level, stream, environment)
    return logging.getLogger("herald.test"), lambda: stream.getvalue().splitlines()


@pytest.fixture
def journal() -> Log:
    return log_to({"JOURNAL_STREAM": "8:12345"}, "debug")


def test_priorities_are_syslog_s(journal: Log) -> None:
    log, lines = journal
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "event")
    assert lines() == ["<7>event", "<6>event", "<4>event", "<3>event", "<3>event"]


def test_fields_are_key_value_and_quoted_where_they_must_be(journal: Log) -> None:
    log, lines = journal
    fields = {
        "address": "2001:db8::7",
        "seconds": 3,
        "reason": 'not "here"',
        "none": "",
        "a": "b=c",
    }
    log.info("claimed", extra={"fields": fields})
    assert lines() == [
        r'<6>claimed address=2001:db8::7 seconds=3 reason="not \"here\"" none="" a="b=c"'
    ]


def test_a_value_cannot_begin_a_line_of_its_own(journal: Log) -> None:
    log, lines = journal
    log.info("odd", extra={"fields": {"name": "a\n<0>forged", "other": "b\u2028c"}})
    assert lines() == [r'<6>odd name="a\n<0>forged" other="b\u2028c"']


def test_every_line_of_a_traceback_has_the_priority(journal: Log) -> None:
    log, lines = journal
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        log.exception("failed")
    assert lines()[0] == "<3>failed"
    assert all(line.startswith("<3>") for line in lines())
    assert "<3>ValueError: of two" in lines()


def test_a_person_sees_time_and_level() -> None:
    log, lines = log_to({})
    log.warning("event", extra={"fields": {"n": 1}})
    (line,) = lines()
    assert line.endswith(" warning event n=1")
    assert line[2] == line[5] == ":"


def test_what_is_below_the_level_is_not_said() -> None:
    log, lines = log_to({"JOURNAL_STREAM": "8:1"}, "warning")
    log.info("event")
    assert lines() == []
