# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the caller of address management may rely on, step by step."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.unit.core.ipam_rules import V4
from tests.unit.core.ipam_world import MAC, key_of, pool, service

from herald.core.allocation.assign import said_held
from herald.core.allocation.ipam import ALLOCATED, Decision, Ipam, Record, ingress_due
from herald.core.model import Condition, Service

S, T = key_of("s"), key_of("t")
ONE, TWO = ip_address("192.0.2.0"), ip_address("192.0.2.1")


def fresh(*objects: object) -> Ipam:
    ipam = Ipam(True, ())
    ipam.put_pool(V4)
    for each in objects:
        ipam.put_service(each)
    return ipam


def asked(ipam: Ipam) -> list[str]:
    """Who is to be decided; they are."""
    found = []
    for key in ipam.dirty():
        found.append(key[1])
        for record in ipam.decide(key).give:
            ipam.put_record(record)
    return found


def shows(each: Service, text: str) -> Service:
    return replace(each, ingress=(text,) if text else ())


def test_a_decision_changes_nothing() -> None:
    ipam = fresh(service("s"))
    assert ipam.decide(S) == ipam.decide(S)
    assert ipam.decide(S).give == (Record(ONE, "p", (S,)),)


def test_an_address_is_shown_only_when_its_record_was_seen() -> None:
    """A create that is refused must never have been in a status."""
    ipam = fresh(service("s"))
    (record,) = ipam.decide(S).give
    ipam.expect(record)
    waiting = ipam.decide(S)
    assert (waiting.addresses, waiting.give, waiting.settled) == ((), (), False)
    ipam.put_record(record)
    ipam.settle(ONE)
    done = ipam.decide(S)
    assert (done.addresses, done.give, done.settled) == ((ONE,), (), True)


def test_a_refused_create_is_tried_with_what_is_free_then() -> None:
    ipam = fresh(service("s"))
    (record,) = ipam.decide(S).give
    ipam.expect(record)
    ipam.put_record(Record(ONE, "p", (T,)))  # another allocator was faster
    ipam.settle(ONE)
    assert S in set(ipam.dirty())
    assert ipam.decide(S).give == (Record(TWO, "p", (S,)),)
    assert ipam.decide(T).release == (ONE,)


def test_while_a_create_is_under_way_nobody_else_gets_the_address() -> None:
    ipam = fresh(service("s"), service("t"))
    ipam.expect(*ipam.decide(S).give)
    assert ipam.decide(T).give == (Record(TWO, "p", (T,)),)


def test_an_address_that_is_replaced_is_left_when_the_new_one_is_sure() -> None:
    held = shows(service("s", ips="192.0.2.9"), "192.0.2.0")
    ipam = fresh(held)
    ipam.put_record(Record(ONE, "p", (S,)))
    (record,) = ipam.decide(S).give
    assert ipam.decide(S).release == ()
    ipam.expect(record)
    assert ipam.decide(S).release == ()
    ipam.put_record(record)
    ipam.settle(record.address)
    assert ipam.decide(S).release == (ONE,)
    assert ipam.decide(S).addresses == (record.address,)


def test_of_two_addresses_given_by_accident_one_goes() -> None:
    """The answer to the first create was lost; both were made."""
    ipam = fresh(service("s"))
    for address in (ONE, TWO):
        ipam.put_record(Record(address, "p", (S,)))
    assert ipam.decide(S).release == (TWO,)
    ipam.put_service(shows(service("s"), "192.0.2.1"))
    assert ipam.decide(S).release == (ONE,)


def test_who_is_gone_or_out_of_care_leaves_what_it_had() -> None:
    ipam = fresh(service("s"))
    ipam.put_record(Record(ONE, "p", (S, T)))
    assert ipam.decide(T) == Decision(release=(ONE,))
    ipam.put_service(service("s", type="ClusterIP"))
    assert ipam.decide(S) == Decision(release=(ONE,))
    assert not ipam.is_orphan(ONE)
    ipam.put_record(Record(ONE, "p", ()))
    assert ipam.is_orphan(ONE)
    ipam.drop_record(ONE)
    assert not ipam.is_orphan(ONE)


def test_a_record_without_anybody_is_to_be_freed_and_given_when_it_is_gone() -> None:
    ipam = fresh(service("s", ips="192.0.2.0"))
    ipam.put_record(Record(ONE, "p", ()))
    assert ipam.is_orphan(ONE)
    refused = ipam.decide(S).condition
    assert refused is not None
    assert (refused.reason, refused.message) == ("AddressTaken", "192.0.2.0 is being freed")
    ipam.drop_record(ONE)
    assert set(asked(ipam)) == {"s"}
    assert ipam.decide(S).addresses == (ONE,)


def test_a_stranger_answers_for_an_address_before_it_is_in_use() -> None:
    ipam = fresh(service("s"))
    ipam.put_record(*ipam.decide(S).give)
    ipam.set_aside(ONE, MAC, (S,))
    decision = ipam.decide(S)
    assert decision.release == (ONE,)
    assert decision.give == (Record(TWO, "p", (S,)),)
    ipam.put_record(*decision.give)
    ipam.drop_record(ONE)
    told = ipam.decide(S).condition
    assert told is not None
    assert told.reason == "Allocated"
    assert (
        told.message == "192.0.2.1 of pool p; 192.0.2.0 was left: 02:00:5e:00:00:01 answers for it"
    )
    assert ipam.pool_status("p").ips_available == "14"
    ipam.clear_aside(ONE)
    assert ipam.decide(S).condition.message == "192.0.2.1 of pool p"
    assert ipam.pool_status("p").ips_available == "15"


def test_a_stranger_moves_nobody_whose_address_is_in_use() -> None:
    ipam = fresh(shows(service("s"), "192.0.2.0"))
    ipam.put_record(Record(ONE, "p", (S,)))
    ipam.set_aside(ONE, MAC, (S,))
    assert ipam.decide(S).addresses == (ONE,)
    assert ipam.decide(S).release == ()


def test_a_change_asks_only_whom_it_concerns() -> None:
    services = [service(f"s{number}") for number in range(10)]
    ipam = fresh(*services)
    asked(ipam)
    assert asked(ipam) == []
    ipam.put_service(replace(services[3], labels={"a": "b"}))
    assert asked(ipam) == ["s3"]
    ipam.put_record(Record(ONE, "p", (key_of("s0"),)))
    assert asked(ipam) == []
    ipam.put_pool(pool("q", "198.51.100.0/30"))
    assert asked(ipam) == []
    ipam.put_pool(replace(V4, avoid_buggy_ips=True))
    assert len(asked(ipam)) == 10


def test_of_a_thousand_that_wait_one_is_asked_when_an_address_is_freed() -> None:
    ipam = Ipam(True, ())
    ipam.put_pool(pool("p", "192.0.2.0/31"))
    for number in range(1000):
        ipam.put_service(service(f"s{number:03}"))
    asked(ipam)
    ipam.drop_service(key_of("s000"))
    asked(ipam)
    ipam.drop_record(ONE)
    assert len(asked(ipam)) <= 3
    assert ipam.decide(key_of("s002")).addresses == (ONE,)


def test_a_partner_that_joins_does_not_have_all_others_asked_again() -> None:
    ipam = fresh(*(service(f"s{number}", key="k", ports=str(number + 1)) for number in range(10)))
    asked(ipam)
    ipam.put_service(service("z", key="k", ports="99"))
    assert set(asked(ipam)) == {"z"}
    assert ipam.decide(key_of("z")).addresses == (ONE,)


def test_what_is_the_same_twice_is_kept_once() -> None:
    """There are a hundred thousand of them, of which hardly any shares its address or has two."""
    ipam = fresh()
    record = Record(ONE, "p", (S,))
    ipam.put_record(record)
    shown = shows(service("s"), str(ONE))
    ipam.put_service(shown)
    book = ipam._book
    (key,) = book.services
    assert key is shown.key
    assert book.services[S].shown is book.given[S]
    assert book.entries[ONE].holders is record.services


def test_batches() -> None:
    """Who is not taken from the queue stays in it."""
    ipam = fresh(*(service(name) for name in "abcd"))
    dirty = ipam.dirty()
    assert [next(dirty)[1], next(dirty)[1]] == ["a", "b"]
    assert [key[1] for key in ipam.dirty()] == ["c", "d"]


def test_who_stays_in_a_record_is_asked_when_it_says_something_else() -> None:
    """Two allocators at once may have put two on one address that cannot share it; and a pool's name."""
    ipam = fresh(service("s", key="k"), service("t", key="k"))
    ipam.put_record(Record(ONE, "p", (S,)))
    ipam.put_service(service("s", key="k", labels={"a": "b"}, ports="443"))
    ipam.put_service(service("s", key="k"))
    asked(ipam)
    ipam.drop_record(TWO)
    asked(ipam)
    ipam.put_record(Record(ONE, "p", (S, T)))
    assert set(asked(ipam)) == {"s", "t"}
    assert ipam.decide(S).release == (ONE,)
    assert ipam.decide(T).addresses == (ONE,)
    ipam.put_record(Record(ONE, "q", (T,)))
    assert "t" in asked(ipam)


def test_a_quarrel_that_ends_has_the_other_one_asked() -> None:
    quarrel = service("s", key="k"), service("t", key="k")
    ipam = fresh(*quarrel)
    ipam.put_record(Record(ONE, "p", (S, T)))
    list(ipam.dirty())
    assert ipam.decide(T).release == (ONE,)
    ipam.put_service(service("s", key="k", ports="443"))
    assert T in set(ipam.dirty())
    assert ipam.decide(T).release == ()


def test_who_shows_an_address_is_asked_when_its_record_goes() -> None:
    shown = shows(service("s", lb_class="herald.dev/l2"), "192.0.2.0")
    ipam = fresh(service("t"))
    ipam.put_record(Record(ONE, "p", (T,)))
    ipam.put_service(shown)
    asked(ipam)
    assert ipam.decide(S).addresses == (TWO,)
    ipam.drop_record(ONE)
    assert S in set(ipam.dirty())


def test_a_quarrel_that_begins_has_the_one_asked_who_must_leave() -> None:
    """The Service that was written first is learnt last."""
    ipam = fresh(replace(service("t", key="k"), resource_version=2))
    ipam.put_record(Record(ONE, "p", (S, T)))
    list(ipam.dirty())
    assert ipam.decide(T).release == ()
    ipam.put_service(replace(service("s", key="k"), resource_version=1))
    assert T in set(ipam.dirty())
    assert ipam.decide(T).release == (ONE,)
    assert ipam.decide(S).release == ()


@pytest.mark.timeout(120)
def test_ten_thousand_pools() -> None:
    """Each Service is given an address of the pool that its label selects; an edit concerns that pool alone."""
    ipam = Ipam(True, ())
    pools = [
        pool(f"p{number}", f"10.{number >> 8}.{number & 255}.0/30", select={"pool": f"p{number}"})
        for number in range(10_000)
    ]
    for each in pools:
        ipam.put_pool(each)
    for number in range(0, 10_000, 100):
        ipam.put_service(service(f"s{number}", labels={"pool": f"p{number}"}))
    assert len(set(asked(ipam))) == 100
    told = [ipam.decide(key_of(name)).condition for name in ("s0", "s5100", "s9900")]
    assert [each.message for each in told if each] == [
        "10.0.0.0 of pool p0",
        "10.19.236.0 of pool p5100",
        "10.38.172.0 of pool p9900",
    ]
    list(ipam.dirty_pools())
    ipam.put_pool(replace(pools[5100], disabled=True, generation=2))
    assert list(ipam.dirty_pools()) == ["p5100"]


def test_what_is_said_does_not_hang_on_the_order_of_hearing() -> None:
    """A watch tells in the order of making, a list by name: a restart must find the same words."""
    pools = [pool(name, "198.18.0.0/28", exclude="198.18.0.0/28") for name in ("b", "a")]
    strangers = [(ip_address(f"198.51.100.{number}"), MAC, (S,)) for number in (9, 1)]
    holders = [
        replace(service(name, ips="203.0.113.1"), ingress=("203.0.113.1",), load_balancer_class="x")
        for name in ("v", "u")
    ]
    told = []
    for order in (1, -1):
        ipam = fresh(*holders[::order], service("s", ips="198.18.0.9,203.0.113.1"))
        for each in (*pools[::order], pool("c", "203.0.113.0/24")):
            ipam.put_pool(each)
        for aside in strangers[::order]:
            ipam.set_aside(*aside)
        condition = ipam.decide(S).condition
        assert condition is not None
        told.append(condition.message)
    assert told[0] == told[1]
    for words in ("pool a excludes", "default/u", "198.51.100.1 was left"):
        assert words in told[0]


@pytest.mark.parametrize(
    ("status", "message", "held"),
    [
        ("True", "192.0.2.0 of pool p", True),
        ("True", "192.0.2.1 of pool p; 192.0.2.0, which is in no pool", True),
        (
            "True",
            "192.0.2.1 of pool p; 192.0.2.0 was left: 02:00:00:00:00:09 answers for it",
            False,
        ),
        ("True", "192.0.2.1 of pool p", False),
        ("True", "192.0.2.00 of pool p", False),
        ("False", "192.0.2.9 is held by Service a/b; held: 192.0.2.0 of pool p", True),
        ("False", "192.0.2.0 is held by Service a/b; held: 192.0.2.1 of pool p", False),
        ("False", "192.0.2.0 of pool p", False),
    ],
)
def test_a_condition_names_what_is_held(status: str, message: str, held: bool) -> None:
    told = Condition(ALLOCATED, status, "Allocated", message)  # type: ignore[arg-type]
    each = replace(service("s", shows="192.0.2.1,192.0.2.0"), conditions=(told,))
    assert ("192.0.2.0" in said_held(each)) is held


SHOWN = tuple(f"192.0.2.{number}" for number in (7, 1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        (SHOWN, SHOWN),
        (SHOWN[:6], SHOWN[:5]),
        ((*SHOWN, "203.0.113.9"), SHOWN[:5]),
        (("203.0.113.9", *SHOWN[1:]), SHOWN[:5]),
        ((), SHOWN[:5]),
    ],
)
@pytest.mark.parametrize(("before", "after"), [("", "; no IPv6"), ("a; and 9 more; held: ", "")])
def test_a_condition_means_all_that_it_counts_where_the_status_has_as_many(
    shown: tuple[str, ...], meant: tuple[str, ...], before: str, after: str
) -> None:
    named = "; ".join(f"{address} of pool p" for address in SHOWN[:5])
    message = f"{before}{named}; and 2 more{after}"
    told = Condition(ALLOCATED, "False" if before else "True", "Allocated", message)
    each = replace(service("s"), ingress=shown, conditions=(told,))
    assert said_held(each).keys() == set(meant)


def test_however_much_is_missing_the_condition_says_what_is_held() -> None:
    long = pool("p" * 250, "192.0.2.0/28")
    wanted = ",".join((*SHOWN[:5], *(f"198.51.100.{number}" for number in range(8))))
    other = pool("q" * 250, "198.51.100.0/28", select={"a": "b"})
    ipam = Ipam(True, ())
    for each in (long, other):
        ipam.put_pool(each)
    ipam.put_service(service("s", ips=wanted))
    for record in ipam.decide(S).give:
        ipam.put_record(record)
    told = ipam.decide(S).condition
    assert told is not None
    assert len(told.message) <= 2048
    assert said_held(replace(service("s"), conditions=(told,))).keys() == set(SHOWN[:5])


def test_what_another_balancer_has_written_is_not_taken_away() -> None:
    ours = service("s", shows="192.0.2.0", ours=True)
    assert ingress_due(ours, Decision()) == ()
    for shown in (("203.0.113.9",), ("192.0.2.0", "203.0.113.9")):
        assert ingress_due(replace(ours, ingress=shown), Decision()) is None
    assert ingress_due(replace(ours, served_otherwise=True), Decision()) is None
    assert ingress_due(ours, Decision(release=(ONE,))) == ()
