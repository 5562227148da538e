# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Whatever somebody writes into a Service, a pool or a policy, the agent goes on, and says what it does not understand.

From the JSON that an API server might send (with a schema that somebody loosened) through decoding to the decider of a
running cluster, in virtual time. A Service that is sound is served all the while.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.nonsense import json_of
from tests.sim.cluster import Cluster

from herald.core import events as ev
from herald.core.allocation.addresses import Malformed, parse_address, parse_block
from herald.core.allocation.requests import ANNOTATIONS, IPS
from herald.core.election.placement import compiled
from herald.core.model import Policy, Pool, Service
from herald.core.selectors import problems
from herald.kube.decode import decode
from herald.kube.fields import Undecodable

Json = dict[str, Any]

WORDS = (
    *("", " ", ",", "\x00", "\n", "☃", "a" * 300, "true", "-1", "1e9", "*", "k", "p", "IPv4"),
    *("192.0.2.1", "192.0.2.1,192.0.2.1", " 192.0.2.9 ", "192.0.2.300", "1.2.3", "010.0.0.1"),
    *("0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "192.0.2.1/24", "١٩٢.0.2.1"),
    *("2001:DB8::A", "2001:0db8:0000::000a", "::", "::1", "ff02::1", "::ffff:192.0.2.1"),
    *(
        "fe80::1%eth0",
        "::1.2.3.4",
        "2001:db8::/28",
        "10.0.0.0/8",
        "::/0",
        "0.0.0.0/0",
        "fe80::%1/64",
    ),
    *(",".join(f"10.{n}.0.1" for n in range(200)), "(", "[", "(?P<a>", "a{999999}", "^host0$"),
)
texts = st.sampled_from(WORDS) | st.text(max_size=20)
anything = json_of(texts)
NAMED = {"name": "x", "uid": "x", "resourceVersion": "1"}
names = st.sampled_from(("x", "y", "n" * 253, "web"))
labels = st.dictionaries(texts, texts, max_size=3)
selectors = anything | st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": labels,
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {"key": texts, "operator": texts}, optional={"values": st.lists(texts, max_size=3)}
            ),
            max_size=2,
        ),
    },
)


def metadata() -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {
            "namespace": st.sampled_from(("default", "other")),
            "name": names,
            "uid": names,
            "resourceVersion": st.just("1"),
        },
        optional={
            "labels": labels,
            "generation": anything,
            "creationTimestamp": texts,
        },
    )


services = st.fixed_dictionaries(
    {
        "metadata": st.tuples(
            metadata(), st.dictionaries(st.sampled_from(sorted(ANNOTATIONS)), texts, max_size=4)
        ).map(lambda both: {**both[0], "annotations": both[1]}),
        "spec": st.fixed_dictionaries(
            {"type": st.sampled_from(("LoadBalancer",) * 4 + ("ClusterIP",))},
            optional={
                "loadBalancerClass": st.sampled_from(("herald.dev/l2", "example.com/other"))
                | anything,
                "loadBalancerIP": texts,
                "ipFamilies": st.lists(st.sampled_from(("IPv4", "IPv6")) | texts, max_size=3),
                "ipFamilyPolicy": st.sampled_from(
                    ("SingleStack", "PreferDualStack", "RequireDualStack")
                )
                | texts,
                "externalIPs": st.lists(texts, max_size=3),
                "externalTrafficPolicy": texts,
                "selector": labels,
                "ports": anything,
            },
        ),
    },
    optional={
        "status": anything
        | st.fixed_dictionaries(
            {
                "loadBalancer": st.fixed_dictionaries(
                    {"ingress": st.lists(st.fixed_dictionaries({"ip": texts}), max_size=2)}
                )
            },
            optional={"conditions": anything},
        )
    },
)
blocks = st.lists(
    st.fixed_dictionaries({}, optional={"cidr": texts, "start": texts, "stop": texts}) | anything,
    max_size=3,
)
pools = st.fixed_dictionaries(
    {"metadata": metadata()},
    optional={
        "spec": st.fixed_dictionaries(
            {"blocks": blocks},
            optional={
                "exclude": blocks,
                "serviceSelector": selectors,
                "priority": anything,
                "autoAssign": anything,
                "disabled": anything,
                "allowFirstLastIPs": anything,
                "avoidBuggyIPs": anything,
            },
        )
    },
)
policies = st.fixed_dictionaries(
    {"metadata": metadata()},
    optional={
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "serviceSelector": selectors,
                "nodeSelector": selectors,
                "interfaces": st.lists(texts, max_size=3) | anything,
                "loadBalancerIPs": st.booleans() | anything,
                "externalIPs": st.booleans() | anything,
                "preferredNodes": anything
                | st.lists(
                    st.fixed_dictionaries({"nodeSelector": selectors, "weight": anything}),
                    max_size=2,
                ),
                "answerPing": st.booleans() | anything,
                "segmentHealth": st.booleans() | anything,
            },
        )
    },
)
ASKING = (
    IPS,
    "lbipam.cilium.io/ips",
    "io.cilium/lb-ipam-ips",
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
)
"""By which a Service asks for addresses: the first of them counts."""
KINDS: dict[str, ev.Kind] = {"service": Service, "pool": Pool, "policy": Policy}
objects = st.lists(
    st.tuples(st.just("service"), services)
    | st.tuples(st.just("pool"), pools)
    | st.tuples(st.just("policy"), policies),
    min_size=1,
    max_size=5,
)


def decoded(written: list[tuple[str, Json]]) -> list[ev.KubeObject]:
    found = []
    for kind, json in written:
        try:
            found.append(decode(KINDS[kind], json))
        except Undecodable as refusal:
            # The reflector logs it and leaves the object out.
            why = str(refusal)
        else:
            continue
        assert all(word in why for word in ("wanted", "found")), why
    return found


@given(objects)
@example(
    [
        (
            "service",
            {
                "metadata": {
                    "namespace": "x",
                    "name": "x",
                    "resourceVersion": "1",
                    "annotations": {IPS: "☃"},
                },
                "spec": {"type": "LoadBalancer"},
            },
        )
    ]
)
@example([("pool", {"metadata": NAMED, "spec": {"blocks": [{"cidr": "192.0.2.1/24"}]}})])
@example([("policy", {"metadata": NAMED, "spec": {"interfaces": ["("]}})])
@example([("policy", {"metadata": NAMED, "spec": {"nodeSelector": {"matchLabels": {"☃": ""}}}})])
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_agent_goes_on_and_says_what_it_does_not_understand(
    written: list[tuple[str, Json]],
) -> None:
    cluster = Cluster(1)
    cluster.service("sound")
    cluster.start()
    cluster.run_until(lambda: cluster.served("sound"), 15)
    for each in decoded(written):
        cluster.api.put(each)
    cluster.run(3)
    assert cluster.served("sound")
    for (kind, _), found in list(cluster.api.objects.items()):
        if kind is Service and isinstance(found, Service):
            check_service(found)
        elif isinstance(found, Pool | Policy):
            assert found.status is not None, found
            (ready,) = (each for each in found.status.conditions if each.type == "Ready")
            if fields := not_understood(found):
                assert ready.status == "False", ready
                assert any(field in ready.message for field in fields), (fields, ready)
                assert "wanted" in ready.message, ready
                assert "found" in ready.message, ready


def not_understood(written: Pool | Policy) -> list[str]:
    """The fields that have no meaning, as they are called in the resource."""
    selectors = {"serviceSelector": written.service_selector}
    fields = []
    if isinstance(written, Pool):
        for name, spans in (("blocks", written.blocks), ("exclude", written.exclude)):
            read = enumerate(map(parse_block, spans))
            fields += [f"{name}[{index}]" for index, span in read if isinstance(span, Malformed)]
    else:
        selectors["nodeSelector"] = written.node_selector
        read = enumerate(map(compiled, written.interfaces))
        fields += [f"interfaces[{index}]" for index, expression in read if expression is None]
    return fields + [name for name, selector in selectors.items() if problems(selector)]


def check_service(service: Service) -> None:
    """Whoever is Herald's has a condition (or another balancer's address); a bad address is named with its field."""
    conditions = {each.type: each for each in service.conditions}
    if service.type != "LoadBalancer" or service.load_balancer_class not in (
        None,
        "",
        "herald.dev/l2",
    ):
        return
    told = conditions.get("herald.dev/Allocated")
    if told is None:
        assert service.ingress
        return
    annotated = ((name, service.annotations.get(name, "")) for name in ASKING)
    asking = next((each for each in annotated if each[1].strip()), (IPS, ""))
    wrong = [
        field
        for field, texts in (asking, ("spec.loadBalancerIP", service.load_balancer_ip))
        for text in map(str.strip, texts.split(","))
        if text and isinstance(parse_address(text), Malformed)
    ]
    if wrong and not service.deleting:
        assert told.status == "False"
        assert told.reason == "InvalidRequest"
        assert f"{wrong[0]}: wanted" in told.message
        assert "found" in told.message
