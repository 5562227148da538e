# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The flow of present and absent: what is written, when, and against whom."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError, HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._runner import (
    Runner,
    Wanted,
    await_each,
    gone,
    has_condition,
)
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import (
    FakeApi,
    Object,
    refusal,
)

THINGS = Resource("example.com", "v1", "things", "Thing")
PATH = "/apis/example.com/v1/things"


def thing(name: str = "a", size: int = 1, **metadata: Any) -> tuple[str, Object]:
    return f"{PATH}/{name}", {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": name, **metadata},
        "spec": {"size": size},
    }


CASES = [
    # there, wanted, action, requests that write
    pytest.param(
        [], Wanted("a", spec={"size": 1}), "created", ["POST"], id="absent, wanted present"
    ),
    pytest.param([thing()], Wanted("a", spec={"size": 1}), "unchanged", [], id="present as wanted"),
    pytest.param([thing()], Wanted("a", spec={"size": 2}), "updated", ["PUT"], id="other spec"),
    pytest.param(
        [thing()], Wanted("a", spec={}), "updated", ["PUT"], id="a field that is left out goes"
    ),
    pytest.param(
        [thing(labels={"x": "1", "y": "2"})],
        Wanted("a", spec={"size": 1}, labels={"x": "1"}),
        "unchanged",
        [],
        id="others' labels are no difference",
    ),
    pytest.param(
        [thing(labels={"y": "2"})],
        Wanted("a", spec={"size": 1}, labels={"x": "1"}),
        "updated",
        ["PUT"],
        id="a label is added",
    ),
    pytest.param([thing()], Wanted("a", spec=None), "deleted", ["DELETE"], id="present, unwanted"),
    pytest.param([], Wanted("a", spec=None), "unchanged", [], id="absent, unwanted"),
    pytest.param(
        [thing(deletionTimestamp="now")],
        Wanted("a", spec=None),
        "unchanged",
        [],
        id="being deleted, unwanted",
    ),
]


@pytest.mark.parametrize(("there", "wanted", "action", "writes"), CASES)
@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "check mode"])
def test_flow(
    there: list[tuple[str, Object]], wanted: Wanted, action: str, writes: list[str], dry_run: bool
) -> None:
    api = FakeApi(*there)
    before = dict(api.objects)
    [outcome] = Runner(Client(api, dry_run), THINGS).run([wanted])
    assert outcome.action == action
    assert [method for method, _target in api.writes] == writes
    if dry_run:
        assert api.objects == before
        return
    again = Runner(Client(api), THINGS).run([wanted])
    assert again[0].action == "unchanged"
    live = api.objects.get(f"{PATH}/a")
    if wanted.spec is not None:
        assert live is not None
        assert live["spec"] == wanted.spec
        assert (wanted.labels or {}).items() <= live["metadata"].get("labels", {}).items()


def test_check_mode_says_what_the_run_then_does() -> None:
    wanted = [Wanted("a", spec={"size": 2}), Wanted("b", spec={}), Wanted("c", spec=None)]
    api = FakeApi(thing("a"), thing("c"))
    predicted = [outcome.action for outcome in Runner(Client(api, True), THINGS).run(wanted)]
    done = [outcome.action for outcome in Runner(Client(api), THINGS).run(wanted)]
    assert predicted == done == ["updated", "created", "deleted"]


def test_many_are_read_at_once_and_a_rerun_writes_nothing() -> None:
    wanted = [Wanted(str(number), spec={"size": number}) for number in range(20)]
    api = FakeApi()
    Runner(Client(api), THINGS).run(wanted)
    api.requests.clear()
    Runner(Client(api), THINGS).run(wanted)
    assert [method for method, _target in api.requests] == ["GET"]


def test_one_of_many_that_is_refused_is_said_and_those_before_it_are_done() -> None:
    api = FakeApi()

    def refuse(method: str, path: str) -> None:
        if method == "POST" and len(api.writes) == 3:
            api.refusals.append(refusal(422, "Invalid", "spec.size: wanted less"))

    api.before = refuse
    wanted = [Wanted(str(number), spec={"size": number}) for number in range(20)]
    with pytest.raises(ApiError, match=r"spec\.size: wanted less"):
        Runner(Client(api), THINGS).run(wanted)
    assert len(api.objects) >= 2
    api.before = lambda method, path: None
    actions = [outcome.action for outcome in Runner(Client(api), THINGS).run(wanted)]
    assert actions.count("created") + actions.count("unchanged") == 20
    assert len(api.objects) == 20


def test_somebody_elses_write_in_between_is_seen_and_kept() -> None:
    api = FakeApi(thing(labels={"mine": "1"}))
    rivals = [{"mine": "1", "theirs": "1"}]

    def rival(method: str, path: str) -> None:
        if method == "PUT" and rivals:
            api.put(*thing(labels=rivals.pop()))

    api.before = rival
    [outcome] = Runner(Client(api), THINGS).run([Wanted("a", spec={"size": 5})])
    assert outcome.action == "updated"
    live = api.objects[f"{PATH}/a"]
    assert live["spec"] == {"size": 5}
    assert live["metadata"]["labels"] == {"mine": "1", "theirs": "1"}


def test_an_object_made_in_between_is_taken_over() -> None:
    api = FakeApi()

    def rival(method: str, path: str) -> None:
        if method == "POST" and not api.objects:
            api.put(*thing(size=7))

    api.before = rival
    [outcome] = Runner(Client(api), THINGS).run([Wanted("a", spec={"size": 1})])
    assert outcome.action == "updated"


def test_an_object_removed_in_between_is_made_anew() -> None:
    api = FakeApi(thing())

    def rival(method: str, path: str) -> None:
        if method == "PUT":
            api.objects.clear()

    api.before = rival
    [outcome] = Runner(Client(api), THINGS).run([Wanted("a", spec={"size": 2})])
    assert outcome.action == "created"
    assert api.objects[f"{PATH}/a"]["spec"] == {"size": 2}


def test_a_rival_that_never_rests_is_said() -> None:
    api = FakeApi(thing())
    count = iter(range(100))

    def rival(method: str, path: str) -> None:
        if method == "PUT":
            api.put(*thing(annotations={"n": str(next(count))}))

    api.before = rival
    with pytest.raises(ApiError, match="changed the object at the same time"):
        Runner(Client(api), THINGS).run([Wanted("a", spec={"size": 2})])


def test_an_object_that_is_being_deleted_is_not_wanted_present() -> None:
    api = FakeApi(thing(deletionTimestamp="now", finalizers=["x/y"]))
    with pytest.raises(HeraldError, match=r"being deleted .*x/y"):
        Runner(Client(api), THINGS).run([Wanted("a", spec={})])


def test_a_refusal_ends_the_run_with_its_words() -> None:
    api = FakeApi()

    def refuse(method: str, path: str) -> None:
        if method == "POST":
            api.refusals.append(refusal(422, "Invalid", "spec.size: wanted less"))

    api.before = refuse
    with pytest.raises(ApiError, match=r"spec\.size: wanted less"):
        Runner(Client(api), THINGS).run([Wanted("a", spec={})])


# --- Waiting ----------------------------------------------------------------------------------------


def with_condition(status: str, seen: int = 1, generation: int = 1) -> Object:
    condition = {"type": "Ready", "status": status, "reason": "Why", "message": "because"}
    return {
        "metadata": {"name": "a", "generation": generation},
        "status": {"observedGeneration": seen, "conditions": [condition]},
    }


JUDGEMENTS = [
    pytest.param(None, "gone", id="no object"),
    pytest.param({"metadata": {"name": "a"}}, "no condition Ready", id="no status yet"),
    pytest.param(with_condition("False"), "because (Why)", id="false, with its reason"),
    pytest.param(
        with_condition("True", 1, 2), "speaks of generation 1", id="of an older generation"
    ),
    pytest.param(with_condition("True"), "", id="true"),
]


@pytest.mark.parametrize(("obj", "words"), JUDGEMENTS)
def test_conditions(obj: Object | None, words: str) -> None:
    said = has_condition("Ready")(obj)
    assert bool(said) == bool(words)
    assert words in said


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_waiting_ends_as_soon_as_all_are_as_wanted() -> None:
    clock = Clock()
    states = {
        "a": iter([with_condition("False")] * 3 + [with_condition("True")]),
        "b": iter([with_condition("True")]),
    }
    seen = await_each(
        [("a", "a"), ("b", "b")],
        lambda name: next(states[name]),
        has_condition("Ready"),
        60,
        clock,
        clock.sleep,
    )
    assert [obj and obj["status"]["conditions"][0]["status"] for obj in seen] == ["True", "True"]
    assert clock.now < 2


def test_waiting_in_vain_ends_in_time_and_says_what_is_missing() -> None:
    clock = Clock()
    with pytest.raises(HeraldError, match=r"Thing a: after 5 s it is still there, held by .*x/y"):
        await_each(
            [("Thing a", "a")],
            lambda _: {"metadata": {"finalizers": ["x/y"]}},
            gone,
            5,
            clock,
            clock.sleep,
        )
    assert clock.now == pytest.approx(5)
