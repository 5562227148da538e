# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who announces what, and moving it off a node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils import _announcements
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client, Resource
from ansible_collections.baremetal.herald.plugins.module_utils._errors import HeraldError
from ansible_collections.baremetal.herald.plugins.module_utils._kind_info import find
from ansible_collections.baremetal.herald.plugins.modules import node_maintenance
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import FakeApi, Object


def interface(name: str, number: int, **state: bool) -> Object:
    return {"name": name, "mac": f"02:00:00:00:00:0{number}", "up": True, "carrier": True, **state}


REPORT = json.dumps(
    {
        "interfaces": [
            interface("eth0", 1),
            interface("eth1", 2, carrier=False),
            interface("cni0", 3, plumbing=True),
        ]
    }
)


def presence(node: str, uid: str = "u1", transitions: int = 2) -> Object:
    return {
        "metadata": {
            "name": f"presence-{node}",
            "uid": uid,
            "annotations": {"herald.dev/presence": REPORT},
        },
        "spec": {"holderIdentity": node, "leaseTransitions": transitions},
    }


def vip(name: str = "vip-192.0.2.7", holder: str = "n1", epoch: str = "u1/2") -> Object:
    return {
        "metadata": {
            "name": name,
            "annotations": {
                "herald.dev/epoch": epoch,
                "herald.dev/pool": "p",
                "herald.dev/services": "a/b,c/d",
                "herald.dev/reason": "first announcement",
            },
        },
        "spec": {"holderIdentity": holder, "acquireTime": "2026-01-01T00:00:00.000000Z"},
    }


def left(by: str = "n1", holder: str = "", epoch: str = "") -> Object:
    """An address as a draining node leaves it; or as somebody has taken it since."""
    lease = vip(holder=holder, epoch=epoch)
    lease["metadata"]["annotations"]["herald.dev/reason"] = f"{by}: draining"
    return lease


def test_an_address_with_its_node_interfaces_and_services() -> None:
    [entry] = _announcements.addresses([vip(), presence("n1")])
    assert entry == {
        "address": "192.0.2.7",
        "node": "n1",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01"}],
        "since": "2026-01-01T00:00:00.000000Z",
        "reason": "first announcement",
        "pool": "p",
        "services": ["a/b", "c/d"],
    }


def test_an_external_address_is_one_too_and_what_is_set_aside_is_none() -> None:
    external, aside = vip(), vip("vip-192.0.2.8")
    external["metadata"]["annotations"] = {"herald.dev/external": "a/b,e/f"}
    aside["metadata"]["annotations"] = {
        "herald.dev/pool": "p",
        "herald.dev/conflict": "02:00:5e:00:00:01",
        "herald.dev/tried-for": "a/b",
    }
    [entry] = _announcements.addresses([external, aside])
    assert (entry["address"], entry["services"]) == ("192.0.2.7", ["a/b", "e/f"])


NOBODY = [
    pytest.param([vip(holder="")], id="no holder"),
    pytest.param([vip()], id="the holder has no presence"),
    pytest.param([vip(), presence("n1", transitions=3)], id="the holder is in another epoch"),
    pytest.param([vip(), presence("n1", uid="u2")], id="the holder's presence was made anew"),
    pytest.param([vip(epoch="nonsense"), presence("n1")], id="an epoch that nobody understands"),
]


@pytest.mark.parametrize("leases", NOBODY)
def test_an_address_that_nobody_announces(leases: list[Object]) -> None:
    [entry] = _announcements.addresses(leases)
    assert (entry["node"], entry["interfaces"]) == ("", [])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"interfaces": [1]}', "null"])
def test_a_report_that_somebody_garbled(text: str) -> None:
    garbled = presence("n1")
    garbled["metadata"]["annotations"]["herald.dev/presence"] = text
    [entry] = _announcements.addresses([vip(), garbled])
    assert (entry["node"], entry["interfaces"]) == ("n1", [])


def test_services_that_herald_speaks_of() -> None:
    condition = {
        "type": "herald.dev/Allocated",
        "status": "False",
        "reason": "NoPool",
        "message": "m",
    }
    ours: Object = {
        "metadata": {"namespace": "a", "name": "b"},
        "status": {"conditions": [condition, {"type": "other/One", "status": "True"}]},
    }
    other: Object = {"metadata": {"namespace": "a", "name": "c"}}
    assert _announcements.services([ours, other]) == [
        {
            "namespace": "a",
            "name": "b",
            "addresses": [],
            "conditions": {"Allocated": {"status": "False", "reason": "NoPool", "message": "m"}},
        }
    ]


NODE = "/api/v1/nodes/n1"


def node(**annotations: str) -> tuple[str, Object]:
    return NODE, {"metadata": {"name": "n1", "annotations": {"x": "y", **annotations}}}


MARKS = [
    pytest.param({}, True, True, id="drain"),
    pytest.param({"herald.dev/drain": "true"}, True, False, id="drained already"),
    pytest.param({"herald.dev/drain": "true"}, False, True, id="let it have some again"),
    pytest.param({}, False, False, id="active already"),
]


@pytest.mark.parametrize(("there", "drained", "changed"), MARKS)
def test_marks(there: dict[str, str], drained: bool, changed: bool) -> None:
    api = FakeApi(node(**there))
    before, after = node_maintenance.mark(Client(api), "n1", drained)
    assert (before != after) == changed
    assert len(api.writes) == changed
    notes: dict[str, Any] = api.objects[NODE]["metadata"]["annotations"]
    assert notes == {"x": "y", **({"herald.dev/drain": "true"} if drained else {})}


def test_the_kubelets_writes_in_between_are_kept() -> None:
    api = FakeApi(node())
    rivals = ["z"]

    def rival(method: str, path: str) -> None:
        if method == "PUT" and rivals:
            api.put(*node(kubelet=rivals.pop()))

    api.before = rival
    node_maintenance.mark(Client(api), "n1", True)
    assert api.objects[NODE]["metadata"]["annotations"] == {
        "x": "y",
        "kubelet": "z",
        "herald.dev/drain": "true",
    }


def test_an_unknown_node_is_said() -> None:
    with pytest.raises(HeraldError, match="name: wanted a node of the cluster, found 'n9'"):
        node_maintenance.mark(Client(FakeApi()), "n9", True)


@pytest.mark.parametrize(
    ("dry_run", "state", "wait", "addresses"),
    [
        (True, "drained", True, []),
        (True, "drained", False, ["192.0.2.7"]),
        (True, "active", True, ["192.0.2.7"]),
        (False, "drained", True, ["192.0.2.7"]),
    ],
)
def test_what_is_announced_afterwards(
    dry_run: bool, state: str, wait: bool, addresses: list[str]
) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"
    api = FakeApi(
        *[(f"{path}/{lease['metadata']['name']}", lease) for lease in (vip(), presence("n1"))]
    )
    params = {"name": "n1", "namespace": "herald-system", "state": state, "wait": wait}
    assert node_maintenance.announced(Client(api, dry_run=dry_run), params) == addresses


WAITED = [
    pytest.param([], "", id="it had none"),
    pytest.param([vip(), presence("n1")], "it still announces 192.0.2.7: ", id="not let go"),
    pytest.param([left()], "nobody announces 192.0.2.7, which it has left: ", id="left to nobody"),
    pytest.param(
        [left(holder="n2", epoch="u2/2"), presence("n2", "u2")], "", id="moved to another node"
    ),
    pytest.param(
        [left(holder="n2", epoch="u2/1"), presence("n2", "u2")],
        "nobody announces 192.0.2.7",
        id="moved to another node, which is lost",
    ),
    pytest.param([left(by="n2")], "", id="left by another node"),
    pytest.param([vip(holder="")], "", id="nobody's for another reason"),
]


@pytest.mark.parametrize(("leases", "words"), WAITED)
def test_what_a_drain_waits_for(leases: list[Object], words: str) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/herald-system/leases"
    api = FakeApi(*[(f"{path}/{lease['metadata']['name']}", lease) for lease in leases])
    params = {"name": "n1", "namespace": "herald-system", "wait_timeout": 0}
    if not words:
        node_maintenance.await_empty(Client(api), params)
        return
    with pytest.raises(HeraldError, match=f"^Node n1: after 0 s {words}"):
        node_maintenance.await_empty(Client(api), params)


THINGS = Resource("example.com", "v1", "things", "Thing")


def test_info_of_one_of_none_and_of_all() -> None:
    path = "/apis/example.com/v1/things"
    api = FakeApi(
        *[(f"{path}/{name}", {"metadata": {"name": name, "managedFields": []}}) for name in "ba"]
    )
    client = Client(api)
    assert [obj["metadata"]["name"] for obj in find(client, THINGS, "a", [])] == ["a"]
    assert find(client, THINGS, "c", []) == []
    assert [obj["metadata"]["name"] for obj in find(client, THINGS, None, ["x=y"])] == ["a", "b"]
    assert "labelSelector=x%3Dy" in api.requests[-1][1]
    assert "managedFields" not in find(client, THINGS, "a", [])[0]["metadata"]
