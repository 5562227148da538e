# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a Service that no watch shows is gone: what is asked, and what is made of the answers."""

from __future__ import annotations

import pytest
from tests import services

from herald.core.allocation.absences import AGAIN, AT_ONCE, BELIEVED, Absences
from herald.core.effects import Effect, Note, ReadService
from herald.core.events import Answer, Done, Failed, Refused
from herald.core.outbox import Outbox

WEB = ("default", "web")
NOT_FOUND = Refused(404, "404 not found")


class Asked:
    """The absences, and an API server whose answers are the test's."""

    def __init__(self) -> None:
        self._out = Outbox()
        self.absences = Absences(self._out, lambda service: service.type == "LoadBalancer")
        self.open: list[ReadService] = []
        self.told: list[Effect] = []

    def verdicts(self, now: int = 0) -> list[tuple[str, str]]:
        found = self.absences.verdicts(now)
        for effect in self._out.drain():
            if isinstance(effect, ReadService):
                self.open.append(effect)
            else:
                self.told.append(effect)
        return [(key[1], service.type if service else "") for key, service in found]

    def answer(self, outcome: Done | Refused | Failed, now: int = 0) -> None:
        assert self.absences.answer(Answer(self.open.pop(0).id, now, outcome), now)


@pytest.fixture
def asked() -> Asked:
    asked = Asked()
    assert not asked.absences.sure([WEB])
    assert asked.verdicts() == []
    assert [effect.service for effect in asked.open] == [WEB]
    return asked


def test_one_that_is_not_found_is_gone_for_a_while(asked: Asked) -> None:
    asked.answer(NOT_FOUND)
    assert asked.verdicts(BELIEVED - 1) == [("web", "")]
    assert asked.absences.sure([WEB])
    asked.verdicts(BELIEVED)
    assert not asked.absences.sure([WEB])


def test_one_of_a_type_that_is_not_watched_is_gone_as_well_and_told_of(asked: Asked) -> None:
    asked.answer(Done(service=services.service(name="web", type="ClusterIP")))
    assert asked.verdicts() == [("web", "ClusterIP")]
    assert asked.absences.sure([WEB])


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Done(service=services.service(name="web")), 0),
        (Done(), 0),
        (Failed("no answer"), 0),
        (Refused(403, "403 cannot get services"), 1),
    ],
)
def test_any_other_answer_has_it_asked_again_later(
    asked: Asked, outcome: Done | Refused | Failed, told: int
) -> None:
    for turn in range(3):
        asked.answer(outcome, turn * AGAIN)
        assert asked.verdicts((turn + 1) * AGAIN - 1) == []
        assert not asked.absences.sure([WEB])
        assert not asked.open
        assert asked.absences.next_deadline() == (turn + 1) * AGAIN
        assert asked.verdicts((turn + 1) * AGAIN) == []
        assert len(asked.open) == 1
    assert len(asked.told) == told
    assert all(isinstance(note, Note) and note.fields["reason"] for note in asked.told)


def test_what_the_watch_shows_meanwhile_is_not_gone_whatever_is_answered(asked: Asked) -> None:
    asked.absences.seen(WEB)
    number = asked.open[0].id
    assert not asked.absences.answer(Answer(number, 0, NOT_FOUND), 0)
    assert asked.verdicts() == []
    assert not asked.absences.sure([WEB])


def test_only_so_many_are_asked_about_at_once_and_each_once(asked: Asked) -> None:
    keys = [("default", f"web{number}") for number in range(2 * AT_ONCE)]
    assert not asked.absences.sure(keys)
    assert not asked.absences.sure(keys)
    asked.verdicts()
    assert len(asked.open) == AT_ONCE
    assert asked.absences.next_deadline() is None
    gone = []
    while asked.open:
        asked.answer(NOT_FOUND)
        gone += asked.verdicts()
    assert sorted(gone) == sorted((name, "") for _, name in [WEB, *keys])
    assert asked.absences.sure([WEB, *keys])
