# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whatever somebody writes where an agent reads, its loop goes on, and it heals; what has no meaning is told.

An agent that announces an address and allocates, alone with the API server's JSON, which comes through decoding: each
field of each kind of object in turn is nonsense, be it such that the API server would store it, or not. (tests/sim has
whole clusters deal with nonsense.)
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.nonsense import json_of
from tests.unit.core.alone import ETH0, VIP_LEASE, Alone, holding, peer

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.allocation.addresses import Malformed, parse_address
from herald.core.allocation.ipam import ALLOCATED
from herald.core.allocation.requests import ANNOTATIONS, LOAD_BALANCER_IP
from herald.core.leases import (
    CONFLICT,
    DURATION,
    EPOCH,
    EXTERNAL,
    INSTANCE,
    POOL,
    PRESENCE,
    REASON,
    RELEASED,
    SERVICES,
    TRIED_FOR,
)
from herald.core.model import (
    SECOND,
    Endpoints,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
)
from herald.kube import encode
from herald.kube.decode import decode
from herald.kube.fields import Undecodable

Json = dict[str, Any]

WORDS = (
    *(
        "",
        " ",
        ",",
        "\x00",
        "\n",
        "☃",
        "a" * 300,
        "true",
        "True",
        "yes",
        "-1",
        "1e9",
        "*",
        "9" * 30,
    ),
    *("192.0.2.1", "198.51.100.7", "198.51.100.8,198.51.100.9", "192.0.2.300", "010.0.0.1"),
    *("0.0.0.0", "127.0.0.1", "224.0.0.1", "192.0.2.1/24", "١٩٢.0.2.1", "2001:DB8::A", "::1"),
    *("fe80::1%eth0", "::ffff:192.0.2.1", "198.51.100.0/24", "::/0", ",".join(["192.0.2.1"] * 200)),
    *(
        "/",
        "uid/",
        "/3",
        "uid/3",
        "uid/٣",
        "uid/99999999999",
        "uid-p-n2/0",
        "a/b/c",
        "../..",
        "x/..",
    ),
    *(
        "default/web",
        "default/web,default/odd",
        "default/WEB",
        " default/web , ",
        "☃/☃",
        "n1",
        "n2",
    ),
    *(
        "02:00:00:00:00:07",
        "02-00-00-00-00-07",
        "02:00:00:00:00:07:08",
        "pool",
        "Pool",
        "p; of pool q",
    ),
)
words = st.sampled_from(WORDS) | st.text(max_size=12)
anything = json_of(words)
ADDRESSES = (
    "herald.dev/ips",
    "lbipam.cilium.io/ips",
    "io.cilium/lb-ipam-ips",
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
)
"""By which a Service asks for addresses: the first of them counts."""
GIVEN = ("name", "namespace", "uid", "resourceVersion")
"""What the API server lets nobody change."""


def metadata(name: str, **rest: Any) -> Json:
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": "5", **rest}


def service(name: str, **spec: Any) -> Json:
    return {
        "metadata": metadata(name, namespace="default", labels={"a": "b"}, annotations={}),
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "herald.dev/l2",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "protocol": "TCP"}],
            "externalTrafficPolicy": "Cluster",
            "selector": {"a": "b"},
            **spec,
        },
    }


CONDITION = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
SHOWN: Json = {
    "loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]},
    "conditions": [{**CONDITION, "type": ALLOCATED}],
}
NODE: Json = {
    "metadata": metadata("n1", labels={"zone": "a"}, annotations={"herald.dev/drain": "false"}),
    "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
POOL_JSON: Json = {
    "metadata": metadata("pool", generation=1, creationTimestamp="2026-01-01T00:00:00Z"),
    "spec": {
        "blocks": [{"cidr": "198.51.100.0/24"}, {"start": "203.0.113.1", "stop": "203.0.113.9"}],
        "exclude": [{"cidr": "198.51.100.0/32"}],
        "serviceSelector": {
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
        },
        "allowFirstLastIPs": True,
        "avoidBuggyIPs": False,
        "autoAssign": True,
        "priority": 100,
        "disabled": False,
    },
    "status": {
        "ipsTotal": "265",
        "ipsUsed": "1",
        "ipsAvailable": "264",
        "observedGeneration": 1,
        "conditions": [CONDITION, {**CONDITION, "type": "Conflict"}],
    },
}
POLICY: Json = {
    "metadata": metadata("all", generation=1),
    "spec": {
        "serviceSelector": {"matchLabels": {"a": "b"}},
        "nodeSelector": {"matchExpressions": [{"key": "zone", "operator": "Exists", "values": []}]},
        "interfaces": ["^eth[0-9]$"],
        "loadBalancerIPs": True,
        "externalIPs": True,
        "preferredNodes": [
            {"weight": 10, "nodeSelector": {"matchLabels": {"zone": "a"}}},
            {"weight": 10, "nodeSelector": {"matchLabels": {"zone": "b"}}},
        ],
        "answerPing": True,
        "segmentHealth": True,
    },
    "status": {"services": 1, "nodes": 2, "observedGeneration": 1, "conditions": [CONDITION]},
}
SLICE: Json = {
    "metadata": metadata(
        "web-x", namespace="default", labels={"kubernetes.io/service-name": "web"}
    ),
    "endpoints": [
        {
            "nodeName": "n1",
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
        }
    ],
}
OBJECTS: list[tuple[ev.Kind, Json]] = [
    (Service, service("web", externalIPs=["203.0.113.200"]) | {"status": SHOWN}),
    (Service, service("odd", loadBalancerIP="198.51.100.9")),
    (Node, NODE),
    (Node, {**NODE, "metadata": metadata("n2", labels={"zone": "b"}, annotations={})}),
    (Pool, POOL_JSON),
    (Pool, {**POOL_JSON, "metadata": metadata("other", generation=1)}),
    (Policy, POLICY),
    (Endpoints, SLICE),
]
surrogates = st.text(st.characters(codec=None, categories=("Cs", "Ll", "Cc")), max_size=300)
INTERFACE: Json = {
    "name": "eth0",
    "mac": "02:00:00:00:00:02",
    "up": True,
    "carrier": True,
    "plumbing": False,
    "addresses": ["192.0.2.2/24", "fe80::1%eth0/64", "198.51.100.7/24"],
    "heard": True,
    "refused": "",
}
REPORT: Json = {
    "node": "n2",
    "version": "0.1.0",
    "draining": False,
    "interfaces": [INTERFACE],
    "unproven": "",
    "ipvs": "",
}
VIP_TEXTS = (EPOCH, POOL, SERVICES, RELEASED, EXTERNAL, CONFLICT, TRIED_FOR, REASON)
PRESENCE_TEXTS = (PRESENCE, INSTANCE, DURATION)
LEASES = {
    VIP_LEASE: VIP_TEXTS,
    "presence-n1": PRESENCE_TEXTS,
    "presence-n2": PRESENCE_TEXTS,
    "ipam": VIP_TEXTS,
}


def started(*, allocates: bool = True) -> Alone:
    """It announces VIP for "web", and allocates (or n9 does, of which nothing more is heard). n2 is lost before long:
    an epoch that nobody knows is over after the longest D."""
    return holding(peer("n2", 2, duration=5 * SECOND), allocates=allocates)


def write(alone: Alone, kind: ev.Kind, written: Json) -> None:
    """Somebody writes an object. What cannot be decoded is left out; the reflector logs why."""
    why = ""
    try:
        value = decode(kind, written)
    except Undecodable as refusal:
        why = str(refusal)
    if why:
        assert re.search("wanted .*, found ", why, re.DOTALL)
    elif isinstance(value, Lease):
        alone.show(replace(value, uid=alone.store[value.name].uid))
    else:
        alone.post(ev.Changed(value))


def as_json(lease: Lease) -> Json:
    return encode.lease(lease, "herald-system", "")


def live(alone: Alone, seconds: int) -> None:
    """As ``Alone.live``, with an API server that takes its time."""
    for _ in range(5 * seconds):
        alone.serve()
        alone.advance(SECOND // 5)
    alone.serve()


def goes_on(alone: Alone) -> None:
    """It lives on: what it wants written can be written, and is no storm."""
    live(alone, 3)
    alone.agent.status(alone.now)
    for effect in alone.done:
        check_writable(effect)
    alone.done.clear()
    live(alone, 2)
    assert len(alone.effects(fx.LeaseRequest)) + len(alone.effects(fx.PatchService)) < 60


def check_writable(effect: fx.Effect) -> None:
    """JSON of a size and in letters that the API server takes, at the path of what can be an object."""
    names: tuple[str, ...] = ()
    written: Json = {}
    match effect:
        case fx.LeaseRequest():
            names, written = (effect.lease.name,), as_json(effect.lease)
        case fx.PatchService():
            names, written = effect.service.key, encode.service_status(effect, "now")
        case fx.PatchPool():
            times = dict.fromkeys(("Ready", "Conflict"), "now")
            names, written = (effect.name,), encode.pool_status(effect, times)
        case fx.PatchPolicy():
            names, written = (effect.name,), encode.policy_status(effect, {"Ready": "now"})
        case fx.EmitEvent():
            names, written = effect.service, encode.event(effect, "n1", name="x", now="now")
        case fx.ReadService():
            names = effect.service
    assert all(re.fullmatch("[-.a-z0-9]+", name) for name in names), names
    assert len(json.dumps(written, ensure_ascii=False).encode()) < 32768, written


def places(written: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that somebody may write in an object."""
    names: Any = written if isinstance(written, dict) else range(len(written))
    for name in names:
        if path == ("metadata",) and name in GIVEN:
            continue
        yield (*path, name)
        if isinstance(written[name], dict | list):
            yield from places(written[name], (*path, name))


def spoil(draw: st.DrawFn, written: Json, nonsense: st.SearchStrategy[Any] = anything) -> Json:
    written = copy.deepcopy(written)
    for _ in range(draw(st.integers(1, 3))):
        if not (paths := sorted(places(written), key=str)):
            break
        *parents, last = draw(st.sampled_from(paths))
        place: Any = written
        for part in parents:
            place = place[part]
        place[last] = draw(words if isinstance(place[last], str) else nonsense)
    return written


@st.composite
def objects(draw: st.DrawFn) -> tuple[ev.Kind, Json]:
    kind, written = draw(st.sampled_from(OBJECTS))
    if kind is Service:
        annotations = draw(st.dictionaries(st.sampled_from(sorted(ANNOTATIONS)), words, max_size=3))
        written = {**written, "metadata": {**written["metadata"], "annotations": annotations}}
    return kind, spoil(draw, written)


@st.composite
def leases(draw: st.DrawFn, alone: Alone) -> Json:
    name = draw(st.sampled_from(sorted(LEASES)))
    written = as_json(alone.store[name])
    annotations = draw(st.dictionaries(st.sampled_from(LEASES[name]), words, max_size=3))
    if PRESENCE in LEASES[name] and draw(st.booleans()):
        annotations[PRESENCE] = json.dumps(spoil(draw, REPORT, surrogates | anything))
    written["metadata"].setdefault("annotations", {}).update(annotations)
    return spoil(draw, written) if draw(st.booleans()) else written


FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@FEW
@given(st.lists(objects(), min_size=1, max_size=3), st.booleans())
def test_nonsense_in_objects_ends_no_loop_and_is_over_with_them(
    written: list[tuple[ev.Kind, Json]], allocates: bool
) -> None:
    alone = started(allocates=allocates)
    before = [each for there in alone.objects.values() for each in there.values()]
    for kind, each in written:
        write(alone, kind, each)
    goes_on(alone)
    alone.post(*map(ev.Changed, before))
    live(alone, 5)
    assert alone.held


@FEW
@given(st.data(), st.booleans())
def test_nonsense_in_leases_ends_no_loop_and_heals(data: st.DataObject, allocates: bool) -> None:
    alone = started(allocates=allocates)
    for _ in range(data.draw(st.integers(1, 2))):
        write(alone, Lease, data.draw(leases(alone)))
        alone.live(SECOND // 10)
        if not alone.store.keys() >= LEASES.keys():
            # It was deleted as it was told to be.
            break
    goes_on(alone)
    if alone.agent.next_deadline() is None:
        # Another instance is said to live here.
        return
    live(alone, 25)
    # What an address is given to, only an allocator mends.
    assert alone.held or not allocates


# --- what is told -----------------------------------------------------------------------------------------

NAME = "[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"
KEYS = rf"\s*({NAME}/{NAME})?\s*(,\s*({NAME}/{NAME})?\s*)*"
UNDERSTOOD = {
    EPOCH: r"(?s).+/[0-9]{1,10}",
    RELEASED: r"(?s).+/[0-9]{1,10}",
    POOL: NAME,
    SERVICES: KEYS,
    EXTERNAL: KEYS,
    TRIED_FOR: KEYS,
    CONFLICT: "[0-9a-f]{2}(:[0-9a-f]{2}){5}",
    INSTANCE: r"(?s)[^/]+/.+",
    DURATION: "[0-9]{1,11}",
}
"""What has a meaning in an annotation of a Lease; so has what is empty."""


@FEW
@given(st.sampled_from(sorted(LEASES)), st.data())
def test_what_has_no_meaning_in_a_lease_is_told(name: str, data: st.DataObject) -> None:
    alone = started()
    annotation = data.draw(st.sampled_from([each for each in LEASES[name] if each in UNDERSTOOD]))
    text = data.draw(words)
    lease = alone.store[name]
    alone.show(replace(lease, annotations={**lease.annotations, annotation: text}))
    told = [note.fields for note in alone.effects(fx.Note) if note.event == "not understood"]
    if not text or re.fullmatch(UNDERSTOOD[annotation], text):
        assert not told
    else:
        (fields,) = told
        assert fields["name"] == name
        assert re.fullmatch(f"{annotation}: wanted .+, found ['\"].*", str(fields["why"]))


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("[]", "wanted a JSON object, found '[]'"),
        ("{", "wanted a JSON object, found '{'"),
        ("[" * 5000, f"wanted a JSON object, found '{'[' * 64}\\u2026'"),
        ('{"interfaces":{}}', "interfaces: wanted a list, found '{}'"),
        ('{"interfaces":[5]}', "interfaces[0].name: wanted a string, found '5'"),
        (
            '{"interfaces":[{"name":"eth0"}]}',
            "interfaces[0].mac: wanted a string, found 'null'",
        ),
    ],
)
def test_what_has_no_meaning_in_a_report_is_told(report: str, told: str) -> None:
    alone = started()
    lease = alone.store["presence-n2"]
    alone.show(replace(lease, annotations={**lease.annotations, PRESENCE: report}))
    (note,) = (note for note in alone.effects(fx.Note) if note.event == "not understood")
    assert str(note.fields["why"]).startswith(f"{PRESENCE}: {told}")


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("false", True), ("yes", False)])
def test_a_drain_that_is_none_is_told_once(text: str, meant: bool) -> None:
    alone = started()
    for version in ("6", "7"):
        drained = metadata("n2", annotations={"herald.dev/drain": text}, labels={"v": version})
        write(alone, Node, {"metadata": drained})
    told = [note.fields["why"] for note in alone.effects(fx.Note) if note.event == "not understood"]
    assert told == ([] if meant else ["herald.dev/drain: wanted true or false, found 'yes'"])


def test_an_address_in_a_status_that_has_a_zone_ends_no_loop() -> None:
    """Nor where another allocates, and the status is gone by."""
    alone = started(allocates=False)
    spoilt = service("odd") | {"status": {"loadBalancer": {"ingress": [{"ip": "fe80::1%eth0"}]}}}
    write(alone, Service, spoilt)
    goes_on(alone)


def test_what_a_presence_says_of_its_node_is_written_escaped_and_cut() -> None:
    """JSON may have half a surrogate pair, which cannot be written anywhere; and a presence has room for much."""
    alone = started()
    refused = {**INTERFACE, "refused": "\ud800☃" + "x" * 100_000}
    lease = alone.store["presence-n2"]
    report = json.dumps({**REPORT, "interfaces": [refused]})
    alone.show(replace(lease, annotations={**lease.annotations, PRESENCE: report}))
    alone.post(ev.InterfacesSeen((replace(ETH0, carrier=False),)))
    live(alone, 3)
    for effect in alone.done:
        check_writable(effect)
    (why,) = (
        condition.message
        for effect in alone.effects(fx.PatchService)
        for condition in effect.conditions
        if condition.reason == "NoEligibleNode"
    )
    assert "n2: the responder cannot be attached to eth0: \\ud800\\u2603xxx" in why


def test_an_external_address_with_leading_zeros_is_told() -> None:
    """The API server takes it: older clusters have such."""
    alone = started()
    alone.post(ev.Changed(Policy("all", "p", 2, 2, load_balancer_ips=True, external_ips=True)))
    listed = [decode(Service, service("odd", externalIPs=["203.0.113.9", "010.0.0.1"]))]
    alone.post(ev.Listed(Service, (*alone.objects[Service].values(), *listed)))
    live(alone, 2)
    told = [(each.service, each.message) for each in alone.effects(fx.EmitEvent)]
    why = "spec.externalIPs[1]: wanted an IPv4 or IPv6 address, found '010.0.0.1'"
    assert told.count((("default", "odd"), why)) == 1
    assert "vip-203.0.113.9" in alone.store


@FEW
@given(
    st.dictionaries(st.sampled_from(sorted(ANNOTATIONS)), words, max_size=4),
    st.just("") | words,
)
def test_what_has_no_meaning_in_a_request_is_told(annotations: dict[str, str], ip: str) -> None:
    alone = started()
    written = service("odd", loadBalancerIP=ip)
    written["metadata"]["annotations"] = annotations
    write(alone, Service, written)
    live(alone, 2)
    read = [
        (field, parse_address(text))
        for field, texts in (asked(annotations), (LOAD_BALANCER_IP, ip))
        if texts
        for text in list(filter(None, map(str.strip, texts.split(",")))) or ["none"]
    ]
    # The Service is of IPv4; that is told after what is no address.
    wrong = [field for field, each in read if isinstance(each, Malformed)]
    wrong += [field for field, each in read if isinstance(each, IPv6Address)]
    told = [
        condition
        for effect in alone.effects(fx.PatchService)
        if effect.service.name == "odd"
        for condition in effect.conditions
        if condition.type == ALLOCATED
    ]
    if wrong:
        (why,) = told
        assert (why.status, why.reason) == ("False", "InvalidRequest")
        assert re.match(f"{re.escape(wrong[0])}: wanted .+, found ", why.message)
    else:
        assert not [
            each for each in told if each.message.startswith((*ADDRESSES, LOAD_BALANCER_IP))
        ]


def asked(annotations: dict[str, str]) -> tuple[str, str]:
    """The annotation by which addresses are asked for, the own one first, and what it says."""
    texts = ((name, annotations.get(name, "")) for name in ADDRESSES)
    return next(((name, text) for name, text in texts if text.strip()), ("", ""))
