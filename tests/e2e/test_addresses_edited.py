# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of the addresses of living Services when they, or pools, are edited.

All scenarios are played at once, act by act, by kubectl in one cluster: first while agents see every edit, then while
none runs and they find what has changed as they start. It must end the same, and whom a scenario does not speak of
must be as before.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from kubectl import (
    CHECKED,
    NAMESPACE,
    OTHERS,
    POOL,
    Kubectl,
    addresses_of,
    condition_of,
    namespace,
    no_agent,
    pool,
    service,
)
from watched import lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubectl import Json

pytestmark = pytest.mark.lab

POOLS = "/apis/herald.dev/v1alpha1/loadbalancerippools"


@dataclass(frozen=True)
class Act:
    """What is typed, and what Services have by it. One that is not named has what it had."""

    typed: tuple[Json, ...]
    has: dict[str, str]
    """By Service: `addresses reason`, as in tests/unit/core; `-`: none; `untouched`: Herald says nothing of it."""
    says: dict[str, str] = field(default_factory=dict)
    """By Service: words of its condition."""
    deleted: tuple[str, ...] = ()
    """Services, before anything is applied."""
    unseen: dict[str, str] = field(default_factory=dict)
    """What differs where no agent runs meanwhile."""


def select(*names: str) -> Json:
    """A serviceSelector for these Services."""
    key = "io.kubernetes.service.name"
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(names)}]}


DUAL = {"ipFamilyPolicy": "RequireDualStack"}
SINGLE = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}
LOCAL = {"externalTrafficPolicy": "Local", "selector": {"app": "a"}}
NOT_SO_LOCAL = {"externalTrafficPolicy": "Local", "selector": {"app": "b"}}
CLUSTER_IP = {"type": "ClusterIP"}
OTHER_CLASS = {"loadBalancerClass": "example.com/other"}


def by_request(name: str, *blocks: str, **spec: object) -> Json:
    """A pool for who asks for it."""
    return pool(name, *({"cidr": cidr} for cidr in blocks), autoAssign=False, **spec)


def by_itself(name: str, cidr: str, **spec: object) -> Json:
    """A pool for those whom it selects."""
    return pool(name, {"cidr": cidr}, **spec)


def shares(name: str, port: int, address: str, spec: Json | None = None, **more: str) -> Json:
    """A Service that asks for an address, which it would share."""
    return service(name, {"ips": address, "sharing-key": "k", **more}, port, spec)


def consents(name: str, port: int, namespaces: str) -> Json:
    cross = {"sharing-cross-namespace": namespaces} if namespaces else {}
    return shares(name, port, "10.79.16.0", **cross)


SCENARIOS: dict[str, tuple[Act, ...]] = {
    "a family is added, and taken away again": (
        Act(
            (by_request("a", "10.79.1.0/30", "fd79:1::/126"), service("a", {"pool": "a"})),
            {"a": "10.79.1.0 Allocated"},
        ),
        Act(
            (service("a", {"pool": "a"}, spec=DUAL),),
            {"a": "10.79.1.0,fd79:1:: Allocated"},
        ),
        Act(
            (service("a", {"pool": "a"}, spec=SINGLE),),
            {"a": "10.79.1.0 Allocated"},
        ),
    ),
    "a family is added that no pool has yet": (
        Act(
            (by_request("b", "10.79.2.0/30"), service("b", {"pool": "b"})),
            {"b": "10.79.2.0 Allocated"},
        ),
        Act(
            (service("b", {"pool": "b"}, spec=DUAL),),
            {"b": "10.79.2.0 NoPool"},
            {"b": "wanted IPv6 of pool b, found none in it; held: 10.79.2.0 of pool b"},
        ),
        Act(
            (by_request("b", "10.79.2.0/30", "fd79:2::/126"),),
            {"b": "10.79.2.0,fd79:2:: Allocated"},
        ),
    ),
    "of several addresses one is in no pool, then in one, and another is asked for no more": (
        Act(
            (by_request("c-1", "10.79.3.0/29"), service("c", {"ips": "10.79.3.9,10.79.3.1"})),
            {"c": "10.79.3.1 NoPool"},
            {"c": "10.79.3.9 is outside every pool; held: 10.79.3.1 of pool c-1"},
        ),
        Act(
            (by_request("c-2", "10.79.3.8/29"),),
            {"c": "10.79.3.9,10.79.3.1 Allocated"},
        ),
        Act(
            (service("c", {"ips": "10.79.3.9"}),),
            {"c": "10.79.3.9 Allocated"},
        ),
    ),
    "a request becomes nonsense, and is mended": (
        Act(
            (
                by_request("d", "10.79.4.0/28"),
                *(service(f"d{number}", {"ips": f"10.79.4.{number}"}) for number in range(1, 6)),
            ),
            {f"d{number}": f"10.79.4.{number} Allocated" for number in range(1, 6)},
        ),
        Act(
            (
                service("d1", {"ips": "10.79.4.300"}),
                service("d2", {"ips": "fd79:4::1"}),
                service("d3", {"pool": "no-such"}),
                service("d4", {"ips": "10.79.4.4", "sharing-cross-namespace": "No/Name"}),
                service("d5", {"ips": "10.79.4.5"}, spec={"loadBalancerIP": "10.79.04.5"}),
            ),
            {
                "d1": "10.79.4.1 InvalidRequest",
                "d2": "10.79.4.2 InvalidRequest",
                "d3": "10.79.4.3 NoPool",
                "d4": "10.79.4.4 InvalidRequest",
                "d5": "10.79.4.5 InvalidRequest",
            },
            {
                "d1": "herald.dev/ips: wanted an IPv4 or IPv6 address, found '10.79.4.300'; held: 10.79.4.1",
                "d2": "herald.dev/ips: wanted IPv4 (spec.ipFamilies), found fd79:4::1; held: 10.79.4.2",
                "d3": "herald.dev/pool: wanted a pool, found none named 'no-such'; held: 10.79.4.3",
                "d4": "herald.dev/sharing-cross-namespace: wanted names of namespaces or *, found 'No/Name'",
                "d5": "spec.loadBalancerIP: wanted an IPv4 or IPv6 address, found '10.79.04.5'; held: 10.79.4.5",
            },
        ),
        Act(
            (
                service("d1", {"ips": "10.79.4.11"}),
                *(service(f"d{number}", {"ips": f"10.79.4.{number}"}) for number in range(2, 6)),
            ),
            {
                "d1": "10.79.4.11 Allocated",
                **{f"d{number}": f"10.79.4.{number} Allocated" for number in range(2, 6)},
            },
        ),
    ),
    "an address is asked for that another has, until it leaves": (
        Act(
            (
                by_request("e", "10.79.5.0/30"),
                service("e1", {"ips": "10.79.5.1"}),
                service("e2", {"ips": "10.79.5.2"}),
            ),
            {"e1": "10.79.5.1 Allocated", "e2": "10.79.5.2 Allocated"},
        ),
        Act(
            (service("e2", {"ips": "10.79.5.1"}),),
            {"e2": "10.79.5.2 AddressTaken"},
            {"e2": "10.79.5.1 is held by Service addresses/e1; held: 10.79.5.2 of pool e"},
        ),
        Act((), {"e2": "10.79.5.1 Allocated"}, deleted=("e1",)),
    ),
    "another pool is asked for, and no more": (
        Act(
            (
                by_itself("f-1", "10.79.6.0/30", serviceSelector=select("f"), priority=1),
                by_request("f-2", "10.79.6.4/30"),
                service("f"),
            ),
            {"f": "10.79.6.0 Allocated"},
        ),
        Act((service("f", {"pool": "f-2"}),), {"f": "10.79.6.4 Allocated"}),
        Act((service("f"),), {"f": "10.79.6.4 Allocated"}),
    ),
    "another pool is asked for that is full, until one leaves it": (
        Act(
            (
                by_request("g-1", "10.79.7.0/30"),
                by_request("g-2", "10.79.7.4/32"),
                service("g1", {"pool": "g-2"}),
                service("g2", {"pool": "g-1"}),
            ),
            {"g1": "10.79.7.4 Allocated", "g2": "10.79.7.0 Allocated"},
        ),
        Act(
            (service("g2", {"pool": "g-2"}),),
            {"g2": "10.79.7.0 PoolExhausted"},
            {"g2": "no IPv4 address is free in pool g-2; held: 10.79.7.0 of pool g-1"},
        ),
        Act((), {"g2": "10.79.7.4 Allocated"}, deleted=("g1",)),
    ),
    "a better pool appears, and then it is the worse one": (
        Act(
            (
                by_itself(
                    "h-1", "10.79.8.0/30", serviceSelector=select("h1", "h2", "h3"), priority=2
                ),
                service("h1"),
            ),
            {"h1": "10.79.8.0 Allocated"},
        ),
        Act(
            (
                by_itself(
                    "h-2", "10.79.8.4/30", serviceSelector=select("h1", "h2", "h3"), priority=1
                ),
                service("h2"),
            ),
            {"h2": "10.79.8.4 Allocated"},
        ),
        Act(
            (
                by_itself(
                    "h-2", "10.79.8.4/30", serviceSelector=select("h1", "h2", "h3"), priority=3
                ),
                service("h3"),
            ),
            {"h3": "10.79.8.1 Allocated"},
        ),
    ),
    "the pool excludes what it gave, and does no more": (
        Act(
            (by_request("i", "10.79.9.0/30"), service("i1", {"pool": "i"})),
            {"i1": "10.79.9.0 Allocated"},
        ),
        Act(
            (
                by_request("i", "10.79.9.0/30", exclude=[{"start": "10.79.9.0"}]),
                service("i2", {"pool": "i"}),
            ),
            {"i1": "10.79.9.0 Orphaned", "i2": "10.79.9.1 Allocated"},
            {"i1": "10.79.9.0 of pool i, which no longer has it"},
        ),
        Act((by_request("i", "10.79.9.0/30"),), {"i1": "10.79.9.0 Allocated"}),
    ),
    "the pool selects the Service no more, and does again": (
        Act(
            (
                by_request("j", "10.79.10.0/30", serviceSelector=select("j1", "j2")),
                service("j1", {"pool": "j"}),
            ),
            {"j1": "10.79.10.0 Allocated"},
        ),
        Act(
            (
                by_request("j", "10.79.10.0/30", serviceSelector=select("j3")),
                service("j2", {"pool": "j"}),
            ),
            {"j1": "10.79.10.0 Orphaned", "j2": "- SelectorMismatch"},
            {"j1": "10.79.10.0 of pool j, which no longer selects the Service", "j2": "pool j"},
        ),
        Act(
            (by_request("j", "10.79.10.0/30", serviceSelector=select("j1", "j2")),),
            {"j1": "10.79.10.0 Allocated", "j2": "10.79.10.1 Allocated"},
        ),
    ),
    "a label is edited by which another pool selects the Service, and edited back": (
        Act(
            (
                *(
                    by_itself(f"k-{team}", cidr, serviceSelector={"matchLabels": {"team": team}})
                    for team, cidr in (("red", "10.79.11.0/30"), ("blue", "10.79.11.4/30"))
                ),
                service("k", labels={"team": "red"}),
            ),
            {"k": "10.79.11.0 Allocated"},
        ),
        Act(
            (service("k", labels={"team": "blue"}),),
            {"k": "10.79.11.0 Orphaned"},
            {"k": "10.79.11.0 of pool k-red, which no longer selects the Service"},
        ),
        Act((service("k", labels={"team": "red"}),), {"k": "10.79.11.0 Allocated"}),
    ),
    "the pool is disabled, and enabled": (
        Act(
            (by_request("l", "10.79.12.0/30"), service("l1", {"pool": "l"})),
            {"l1": "10.79.12.0 Allocated"},
        ),
        Act(
            (by_request("l", "10.79.12.0/30", disabled=True), service("l2", {"pool": "l"})),
            {"l2": "- NoPool"},
            {"l1": "10.79.12.0 of pool l", "l2": "wanted pool l, which is disabled"},
        ),
        Act((by_request("l", "10.79.12.0/30"),), {"l2": "10.79.12.1 Allocated"}),
    ),
    "the pool comes to reserve what it gave": (
        Act(
            (by_request("m", "10.79.13.0/30"), service("m1", {"pool": "m"})),
            {"m1": "10.79.13.0 Allocated"},
        ),
        Act(
            (
                by_request("m", "10.79.13.0/30", allowFirstLastIPs=False),
                service("m2", {"pool": "m"}),
            ),
            {"m2": "10.79.13.1 Allocated"},
        ),
    ),
    "of two that share one edits its port, and back: neither moves without need": (
        Act(
            (
                by_request("n", "10.79.14.0/30"),
                service("n1", {"pool": "n", "sharing-key": "n"}),
                service("n2", {"pool": "n", "sharing-key": "n"}, 443),
            ),
            {"n1": "10.79.14.0 Allocated", "n2": "10.79.14.0 Allocated"},
        ),
        Act(
            (service("n1", {"pool": "n", "sharing-key": "n"}, 443),),
            {"n1": "10.79.14.1 Allocated"},
        ),
        Act(
            (service("n1", {"pool": "n", "sharing-key": "n"}),),
            {"n1": "10.79.14.1 Allocated"},
        ),
    ),
    "of two that share one edits its key, and back": (
        Act(
            (
                by_request("o", "10.79.15.0/30"),
                shares("o1", 80, "10.79.15.0"),
                shares("o2", 443, "10.79.15.0"),
            ),
            {"o1": "10.79.15.0 Allocated", "o2": "10.79.15.0 Allocated"},
        ),
        Act(
            (shares("o1", 80, "10.79.15.0", **{"sharing-key": "another"}),),
            {"o1": "- SharingRefused"},
            {
                "o1": "held by Service addresses/o2: the same sharing key is wanted, found 'another' and 'k'"
            },
        ),
        Act((shares("o1", 80, "10.79.15.0"),), {"o1": "10.79.15.0 Allocated"}),
    ),
    "of two that share across namespaces one consents no more, and does again": (
        Act(
            (
                by_request("p", "10.79.16.0/30"),
                consents("p", 80, OTHERS),
                consents(f"{OTHERS}/p", 443, "*"),
            ),
            {"p": "10.79.16.0 Allocated", f"{OTHERS}/p": "10.79.16.0 Allocated"},
        ),
        Act(
            (consents("p", 80, ""),),
            {"p": "- SharingRefused"},
            {"p": f"sharing-cross-namespace must name namespace {OTHERS} on both sides"},
        ),
        Act((consents("p", 80, OTHERS),), {"p": "10.79.16.0 Allocated"}),
    ),
    "of two that share one edits its externalTrafficPolicy, and back": (
        Act(
            (
                by_request("q", "10.79.17.0/30"),
                shares("q1", 80, "10.79.17.0"),
                shares("q2", 443, "10.79.17.0"),
            ),
            {"q1": "10.79.17.0 Allocated", "q2": "10.79.17.0 Allocated"},
        ),
        Act(
            (shares("q1", 80, "10.79.17.0", LOCAL),),
            {"q1": "- SharingRefused"},
            {"q1": "the same externalTrafficPolicy is wanted, found Local and Cluster"},
        ),
        Act((shares("q1", 80, "10.79.17.0"),), {"q1": "10.79.17.0 Allocated"}),
    ),
    "of two that share with Local one edits its selector, and back": (
        Act(
            (
                by_request("r", "10.79.18.0/30"),
                shares("r1", 80, "10.79.18.0", LOCAL),
                shares("r2", 443, "10.79.18.0", LOCAL),
            ),
            {"r1": "10.79.18.0 Allocated", "r2": "10.79.18.0 Allocated"},
        ),
        Act(
            (shares("r1", 80, "10.79.18.0", NOT_SO_LOCAL),),
            {"r1": "- SharingRefused"},
            {"r1": "with externalTrafficPolicy Local the same selector is wanted, found another"},
        ),
        Act((shares("r1", 80, "10.79.18.0", LOCAL),), {"r1": "10.79.18.0 Allocated"}),
    ),
    "a Service is deleted, and made anew under its name with another wish": (
        Act(
            (
                by_request("s", "10.79.19.0/30"),
                service("s1", {"ips": "10.79.19.0"}),
                service("s2", {"ips": "10.79.19.0"}),
            ),
            {"s1": "10.79.19.0 Allocated", "s2": "- AddressTaken"},
            {"s2": "10.79.19.0 is held by Service addresses/s1"},
        ),
        Act(
            (service("s1", {"ips": "10.79.19.2"}),),
            {"s1": "10.79.19.2 Allocated", "s2": "10.79.19.0 Allocated"},
            deleted=("s1",),
        ),
    ),
    "a Service is deleted, and made anew as it was: another one, but to who did not see it": (
        Act(
            (
                by_request("t", "10.79.20.0/30"),
                service("t1", {"pool": "t"}),
                service("t2", {"ips": "10.79.20.1"}),
            ),
            {"t1": "10.79.20.0 Allocated", "t2": "10.79.20.1 Allocated"},
        ),
        Act((service("t2", {"pool": "t"}),), {"t2": "10.79.20.1 Allocated"}),
        Act(
            (service("t2", {"pool": "t"}),),
            {"t2": "10.79.20.0 Allocated"},
            deleted=("t1", "t2"),
            unseen={"t2": "10.79.20.1 Allocated"},
        ),
    ),
    "a Service comes into Herald's care, and leaves it as it was before": (
        Act(
            (
                by_request("u", "10.79.21.0/30"),
                service("u1", {"pool": "u"}, spec=CLUSTER_IP),
                service("u2", {"pool": "u"}, spec={"type": "NodePort"}),
            ),
            {"u1": "- untouched", "u2": "- untouched"},
        ),
        Act(
            (service("u1", {"pool": "u"}), service("u2", {"ips": "10.79.21.3"})),
            {"u1": "10.79.21.0 Allocated", "u2": "10.79.21.3 Allocated"},
        ),
        Act(
            (
                service("u1", {"pool": "u"}, spec=CLUSTER_IP),
                service("u2", {"pool": "u"}, spec={"type": "NodePort"}),
            ),
            {"u1": "- untouched", "u2": "- untouched"},
        ),
    ),
    "a Service becomes another implementation's, and Herald's again": (
        Act(
            (by_request("v", "10.79.22.0/30"), service("v", {"pool": "v"})),
            {"v": "10.79.22.0 Allocated"},
        ),
        Act(
            (service("v", {"pool": "v"}, spec=CLUSTER_IP), service("v", spec=OTHER_CLASS)),
            {"v": "- untouched"},
        ),
        Act(
            (service("v", spec=CLUSTER_IP), service("v", {"ips": "10.79.22.3"})),
            {"v": "10.79.22.3 Allocated"},
        ),
    ),
}


class Stage:
    """The scenarios as they are played."""

    def __init__(self, kubectl: Kubectl, wait_for: Callable[..., None], *, unseen: bool) -> None:
        self._kubectl = kubectl
        self._api = kubectl.lab.api
        self._wait_for = wait_for
        self._unseen = unseen
        self._has: dict[str, str] = {}
        self._says: dict[str, str] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._kubectl.apply(namespace(OTHERS), by_request("z", "10.79.0.0/29"))

    def play(self, number: int) -> None:
        """An act of every scenario. The first is seen by agents in any case."""
        unseen = self._unseen and number > 0
        with no_agent(self._kubectl.lab) if unseen else nullcontext():
            self._play(number, seen=not unseen)
        self._await_ends()

    def _play(self, number: int, *, seen: bool) -> None:
        acts = [scenario[number] for scenario in SCENARIOS.values() if number < len(scenario)]
        deleted = [name for act in acts for name in act.deleted]
        if deleted:
            self._kubectl("delete", "service", *deleted)
            self._has = {name: ends for name, ends in self._has.items() if name not in deleted}
        if seen:
            gone = {f"{NAMESPACE}/{name}" for name in deleted}
            self._wait_for(
                f"what {deleted} had to be freed",
                lambda: gone.isdisjoint(chain.from_iterable(self._recorded().values())),
            )
        typed = [each for act in acts for each in act.typed]
        pools = [each for each in typed if each["kind"] == POOL]
        if pools:
            self._kubectl.apply(*pools)
        if seen:
            self._await_pools()
        # When the last one has its address, the allocator has seen all others as they are now.
        last = service(f"z{number}", {"pool": "z"})
        self._kubectl.apply(*(each for each in typed if each["kind"] != POOL), last)
        self._has[f"z{number}"] = f"10.79.0.{number} Allocated"
        self._says = {}
        for act in acts:
            self._has |= act.has if seen else act.has | act.unseen
            self._says |= act.says

    def _await_pools(self) -> None:
        self._wait_for(
            "every pool's status to be that of its last edit",
            lambda: all(
                pool.get("status", {}).get("observedGeneration") == pool["metadata"]["generation"]
                for pool in self._api.request("GET", POOLS)["items"]
            ),
        )

    def _await_ends(self) -> None:
        """All have what they should, and it is announced; who kept an address has kept its record."""
        self._await_pools()
        for amiss in (self._amiss, self._unrecorded, self._silent):
            with suppress(pytest.fail.Exception):
                self._wait_for(amiss.__name__, lambda amiss=amiss: not amiss())
            assert amiss() == {}
        assert self._amiss() == {}
        records = self._kubectl.records()
        uids = {
            (name, address): records[lease_name(address)]["metadata"]["uid"]
            for name, address in self._held()
        }
        assert [each for each in uids if self._uids.get(each, uids[each]) != uids[each]] == []
        self._uids = uids

    def untouched(self) -> dict[str, Json]:
        """The Services of which Herald says nothing, but for what the API server notes of every write."""
        names = [name for name, ends in self._has.items() if ends == "- untouched"]
        found = {name: self._kubectl.get(name) for name in names}
        for each in found.values():
            for noted in ("managedFields", "resourceVersion"):
                del each["metadata"][noted]
        return found

    def _services(self) -> dict[str, Json]:
        return {
            prefix + each["metadata"]["name"]: each
            for space, prefix in ((NAMESPACE, ""), (OTHERS, f"{OTHERS}/"))
            for each in self._api.request("GET", f"/api/v1/namespaces/{space}/services")["items"]
        }

    def _held(self) -> Iterator[tuple[str, str]]:
        """Services, and addresses that they show."""
        for name, found in self._services().items():
            for address in addresses_of(found):
                yield name, address

    def _recorded(self) -> dict[str, list[str]]:
        """Records, and the Services that they name."""
        return {
            name: services.split(",")
            for name, lease in self._kubectl.records().items()
            if (services := lease["metadata"]["annotations"].get("herald.dev/services"))
        }

    def _amiss(self) -> dict[str, str]:
        """Services that have something else than they should, or are told something else: found, and wanted."""
        amiss, services = {}, self._services()
        assert services.keys() == self._has.keys()
        for name, ends in self._has.items():
            reason, message = condition_of(services[name], "Allocated")
            found = f"{','.join(addresses_of(services[name])) or '-'} {reason or 'untouched'}"
            words = self._says.get(name, "")
            if found != ends or words not in message:
                amiss[name] = f"{found} {message!r}; wanted {ends} {words!r}"
        return amiss

    def _unrecorded(self) -> dict[str, tuple[list[str], list[str]]]:
        """Records that do not name just those who show the address: named, and showing."""
        named, showing = self._recorded(), defaultdict[str, list[str]](list)
        for name, address in self._held():
            showing[lease_name(address)].append(name if "/" in name else f"{NAMESPACE}/{name}")
        return {
            each: (sorted(named.get(each, [])), sorted(showing[each]))
            for each in named.keys() | showing.keys()
            if sorted(named.get(each, [])) != sorted(showing[each])
        }

    def _silent(self) -> dict[str, str]:
        """Services with an address that nobody announces; Local ones have no endpoint, and nobody may."""
        services, records = self._services(), self._kubectl.records()
        return {
            name: address
            for name, address in self._held()
            if services[name]["spec"]["externalTrafficPolicy"] != "Local"
            and not records[lease_name(address)]["spec"].get("holderIdentity")
        }


@pytest.mark.parametrize("unseen", [False, True], ids=["seen", "while no agent runs"])
def test_an_edit_has_its_effect_and_no_other(
    kubectl: Kubectl, wait_for: Callable[..., None], *, unseen: bool
) -> None:
    stage = Stage(kubectl, wait_for, unseen=unseen)
    stage.play(0)
    for name in stage.untouched():
        kubectl.tell(name, CHECKED)
    before = stage.untouched()
    stage.play(1)
    stage.play(2)
    # Those that came and went are as they were, to the last field.
    assert stage.untouched() == before
