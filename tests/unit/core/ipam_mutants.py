# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Promises of docs/design/addresses.md, each broken on purpose: the model must show every one.

A mutant is planted by replacing one function of the core, or of its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.unit.core.ipam_world import Allocator

from herald.core.allocation import assign, pools
from herald.core.allocation.assign import _Case
from herald.core.allocation.ipam import Ipam, Record
from herald.core.allocation.pools import Plan, Pools
from herald.core.allocation.sharing import Group, Member
from herald.core.model import Address, ServiceKey

Plant = Callable[[Any], None]
"""Given pytest's MonkeyPatch."""

MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


def _leave(patch: Any, unwanted: Callable[[_Case, Address], bool]) -> None:
    """A Service leaves what it has of such addresses."""
    sort = _Case._sort

    def picky(self: _Case, given: tuple[Address, ...]) -> None:
        sort(self, given)
        for address in [each for each in self.keep if unwanted(self, each)]:
            self._give_up(address)

    patch.setattr(_Case, "_sort", picky)


# --- No address twice, unless shared by the rules ----------------------------------------------------------


@mutant
def anybody_shares(patch: Any) -> None:
    patch.setattr(Group, "refusal", lambda *_: None)
    patch.setattr(Group, "leavers", lambda *_: set())


@mutant
def ports_do_not_matter(patch: Any) -> None:
    put = Group.put
    patch.setattr(Group, "put", lambda self, key, member: put(self, key, member._replace(ports=())))


@mutant
def nobody_has_to_leave(patch: Any) -> None:
    patch.setattr(Group, "leavers", lambda *_: set())


@mutant
def partners_leave_instead(patch: Any) -> None:
    """Of two who may not share it is the one that did not edit."""
    put = Group.put

    def turned(self: Group, key: ServiceKey, member: Member) -> None:
        edited, _, version = member.standing
        put(self, key, member._replace(standing=(-edited, "", -version)))

    patch.setattr(Group, "put", turned)


@mutant
def what_others_show_is_free(patch: Any) -> None:
    """Only records count: what is shown without one may be given to anybody."""
    shows = Ipam._shows
    patch.setattr(Ipam, "_shows", lambda self, key, before, after: shows(self, key, before, ()))


@mutant
def records_are_not_made_again(patch: Any) -> None:
    patch.setattr(_Case, "_adopted", lambda *_: None)


@mutant
def records_are_made_again_of_another_pool(patch: Any) -> None:
    """Whose the address is now counts, not who gave it: then a pool that is asked for moves it."""
    adopted = _Case._adopted

    def of_the_owner(self: _Case, address: Address) -> Record | None:
        record = adopted(self, address)
        if record is None or self.book.record(address):
            return record
        owners = self.book.pools.claimants(address)[:1]
        return replace(record, pool=owners[0].name if owners else "")

    patch.setattr(_Case, "_adopted", of_the_owner)


@mutant
def shown_before_recorded(patch: Any) -> None:
    conclude = _Case._conclude

    def at_once(self: _Case) -> Any:
        verdict = conclude(self)
        given = tuple(record.address for record in self.give)
        addresses = tuple(dict.fromkeys((*verdict.decision.addresses, *given)))
        return verdict._replace(
            decision=verdict.decision._replace(settled=True, addresses=addresses)
        )

    patch.setattr(_Case, "_conclude", at_once)


# --- None outside its pool ---------------------------------------------------------------------------------


@mutant
def reserved_are_given(patch: Any) -> None:
    patch.setattr(pools, "_inner", lambda span, pool: span.range)


@mutant
def disabled_pools_give(patch: Any) -> None:
    patch.setattr(Plan, "giving", property(lambda self: not self.problems))


# --- None changed without request --------------------------------------------------------------------------


@mutant
def unclaimed_are_left(patch: Any) -> None:
    """An address in use is left once no pool claims it."""
    _leave(patch, lambda case, address: not case.book.pools.claimants(address))


@mutant
def unselected_are_left(patch: Any) -> None:
    """A label or a selector by which the pool gives to the Service no more moves it."""
    _leave(
        patch,
        lambda case, address: (
            not any(map(case.offers.selected_by, case.book.pools.claimants(address)))
        ),
    )


@mutant
def only_who_gave_it_counts(patch: Any) -> None:
    """A pool that an address was kept for, since it had it, moves it when it has it no more."""
    fits = _Case._is_of_wanted_pool

    def forgetful(self: _Case, address: Address) -> bool:
        with patch.context() as during:
            during.setattr(assign, "said_held", lambda _: {})
            return fits(self, address)

    patch.setattr(_Case, "_is_of_wanted_pool", forgetful)


@mutant
def left_before_replaced(patch: Any) -> None:
    def at_once(self: _Case, mine: list[Address], fitting: list[Address], enough: int) -> None:
        for address in mine:
            if address not in fitting:
                self._give_up(address)

    patch.setattr(_Case, "_replace", at_once)


# --- Counts exact, and everything remembered ---------------------------------------------------------------


@mutant
def records_are_not_counted(patch: Any) -> None:
    patch.setattr(Ipam, "_count", lambda *_: None)


@mutant
def taken_is_forgotten_in_a_new_layout(patch: Any) -> None:
    """A pool that is edited takes all its addresses for free."""
    lay_out = Pools.lay_out
    patch.setattr(
        Pools,
        "lay_out",
        lambda self, taken: lay_out(self, {v: type(runs)() for v, runs in taken.items()}),
    )


@mutant
def a_restart_forgets_records(patch: Any) -> None:
    watch = Allocator._watch

    def forgetful(self: Allocator) -> None:
        with patch.context() as during:
            during.setattr(Ipam, "put_record", lambda *_: None)
            watch(self)

    patch.setattr(Allocator, "_watch", forgetful)


@mutant
def those_who_wait_are_not_asked_again(patch: Any) -> None:
    patch.setattr(Ipam, "_mark_waiting", lambda *_: None)
