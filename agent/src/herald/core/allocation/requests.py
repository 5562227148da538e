# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What a Service asks for: addresses, a pool, partners to share with, families.

Read from the annotations (Herald's own and, so that charts written for others work, those of Cilium and
MetalLB) and from the spec. Where an own annotation and an alias disagree, the own one is followed and a
note says so. A request that cannot be understood is told, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from herald.core.allocation.addresses import Malformed, family, parse_address, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from herald.core.allocation.ranges import Version
    from herald.core.model import Address, Labels, Service

IPS = "herald.dev/ips"
"""The addresses that it wants, separated by commas; ``spec.loadBalancerIP`` counts too."""
POOL = "herald.dev/pool"
"""The pool that it wants addresses of."""
SHARING_KEY = "herald.dev/sharing-key"
"""It shares an address with Services of the same key, where ports and policies allow it."""
SHARING_CROSS_NAMESPACE = "herald.dev/sharing-cross-namespace"
"""The other namespaces that it shares with, separated by commas, or ``*`` for all."""
LOAD_BALANCER_IP = "spec.loadBalancerIP"

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")

_ALIASES: Mapping[str, tuple[str, ...]] = {
    IPS: (
        "lbipam.cilium.io/ips",
        "io.cilium/lb-ipam-ips",
        "metallb.io/loadBalancerIPs",
        "metallb.universe.tf/loadBalancerIPs",
    ),
    POOL: (
        "metallb.io/address-pool",
        "metallb.universe.tf/address-pool",
    ),
    SHARING_KEY: (
        "lbipam.cilium.io/sharing-key",
        "io.cilium/lb-ipam-sharing-key",
        "metallb.io/allow-shared-ip",
        "metallb.universe.tf/allow-shared-ip",
    ),
    SHARING_CROSS_NAMESPACE: (
        "lbipam.cilium.io/sharing-cross-namespace",
        "io.cilium/lb-ipam-sharing-cross-namespace",
    ),
}
"""In the order of precedence."""

ANNOTATIONS = frozenset(_ALIASES) | {name for names in _ALIASES.values() for name in names}
"""All that address management reads of a Service."""


@dataclass(frozen=True, slots=True)
class Wanted:
    address: Address
    field: str
    """The annotation or field that asks for it."""


@dataclass(frozen=True, slots=True)
class Request:
    families: tuple[Version, ...]
    """In the order of the Service, without repetition, never empty."""
    policy: Literal["one", "some", "all"] = "one"
    """One family; what pools can give; all or none."""
    wanted: tuple[Wanted, ...] = ()
    pool: str = ""
    pool_field: str = POOL
    sharing_key: str = ""
    shares_with: frozenset[str] = frozenset()
    """Other namespaces that it agrees to share with; ``*`` for all."""
    problems: tuple[str, ...] = ()
    """What makes the request invalid: field, wanted, found."""
    notes: tuple[str, ...] = ()
    """What is worth an event, though the request is sound."""
    own: bool = False
    """Whether it asks Herald by name (``herald.dev/ips`` or ``herald.dev/pool``)."""

    def wanted_of(self, version: Version) -> tuple[Address, ...]:
        return tuple(each.address for each in self.wanted if each.address.version == version)


def parse_request(service: Service) -> Request:
    """What the Service asks for. Total: bad values become ``problems``."""
    plain = _plain(service.ip_families, service.ip_family_policy)
    if not service.load_balancer_ip and ANNOTATIONS.isdisjoint(service.annotations):
        return plain
    return _parsed(plain, tuple(service.annotations.items()), service.load_balancer_ip)


@lru_cache(maxsize=256)
def _parsed(
    plain: Request, annotated: tuple[tuple[str, str], ...], load_balancer_ip: str
) -> Request:
    """``plain`` with what annotations and spec ask for. Many Services ask for the same: they have it in common."""
    annotations = dict(annotated)
    notes: list[str] = []
    problems: list[str] = []
    ips = _read(annotations, IPS, notes)
    pool = _read(annotations, POOL, notes)
    wanted = _wanted(ips, problems)
    if load_balancer_ip:
        wanted += _wanted(_Value(LOAD_BALANCER_IP, load_balancer_ip), problems)
    for each in wanted:
        if each.address.version not in plain.families:
            asked = " and ".join(family(version) for version in plain.families)
            problems.append(f"{each.field}: wanted {asked} (spec.ipFamilies), found {each.address}")
    first = {each.address: each for each in reversed(wanted)}
    shares_with = _namespaces(_read(annotations, SHARING_CROSS_NAMESPACE, notes), problems)
    return Request(
        families=plain.families,
        policy=plain.policy,
        wanted=tuple(first[address] for address in dict.fromkeys(each.address for each in wanted)),
        pool=pool.text,
        pool_field=pool.field,
        sharing_key=_read(annotations, SHARING_KEY, notes).text,
        shares_with=shares_with,
        problems=tuple(problems),
        notes=tuple(notes),
        own=any(annotations.get(name, "").strip() for name in (IPS, POOL)),
    )


class _Value(NamedTuple):
    field: str
    text: str


def _read(annotations: Labels, own: str, notes: list[str]) -> _Value:
    """The value of an annotation or of the first of its aliases; blank is as good as absent."""
    found: _Value | None = None
    for name in (own, *_ALIASES[own]):
        text = annotations.get(name, "").strip()
        if not text:
            continue
        if found is None:
            found = _Value(name, text)
        elif text != found.text:
            notes.append(
                f"{found.field} is {shown(found.text)} and {name} is {shown(text)}:"
                f" {found.field} is followed"
            )
    return found or _Value(own, "")


def _wanted(value: _Value, problems: list[str]) -> list[Wanted]:
    wanted: list[Wanted] = []
    for text in filter(None, map(str.strip, value.text.split(","))):
        address = parse_address(text)
        if isinstance(address, Malformed):
            problems.append(f"{value.field}: {address.why}")
        else:
            wanted.append(Wanted(address, value.field))
    if value.text and not wanted and not problems:
        problems.append(f"{value.field}: wanted addresses, found {shown(value.text)}")
    return wanted


def _namespaces(value: _Value, problems: list[str]) -> frozenset[str]:
    names = frozenset(filter(None, map(str.strip, value.text.split(","))))
    for name in sorted(names - {"*"}):
        if not _NAMESPACE.fullmatch(name):
            problems.append(f"{value.field}: wanted names of namespaces or *, found {shown(name)}")
    return names


@lru_cache(maxsize=64)
def _plain(ip_families: tuple[Version, ...], ip_family_policy: str) -> Request:
    """A request for nothing but families. Most Services make no other: they have these in common."""
    families: tuple[Version, ...] = tuple(dict.fromkeys(ip_families)) or (4,)
    match ip_family_policy:
        case "RequireDualStack":
            return Request((families[0], 6 if families[0] == 4 else 4), "all")
        case "PreferDualStack":
            return Request(families, "some")
        case _:
            return Request(families[:1], "one")
