# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands in Herald's Leases: presences, VIP leases, and their epochs.

Reading is total: whatever somebody wrote into an annotation, a value comes out, and what cannot be
understood counts as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from ipaddress import IPv4Interface, IPv6Interface
from sys import intern

from herald.core.alike import mapping_once
from herald.core.model import (
    FINALIZER,
    MILLISECOND,
    PRESENCE_PREFIX,
    SECOND,
    AddressOnLink,
    Identity,
    Lease,
    Owner,
    ServiceKey,
    ServiceKeys,
    presence_lease_name,
)

PRESENCE = "herald.dev/presence"
"""On a presence: what the node sees of itself and its segment, as JSON."""
INSTANCE = "herald.dev/instance"
"""On a presence: which process of the agent writes it."""
DURATION = "herald.dev/duration-ms"
"""On a presence: milliseconds without a renewal after which others may fence it."""
EPOCH = "herald.dev/epoch"
"""On a VIP lease: the life of the holder's presence by which it is held."""
POOL = "herald.dev/pool"
"""On a VIP lease: the pool that gave the address."""
SERVICES = "herald.dev/services"
"""On a VIP lease: namespace and name of the Services that have the address, separated by commas."""
RELEASED = "herald.dev/released"
"""On a VIP lease that its holder let go of: that holder's epoch, as its word that it answers no more."""
EXTERNAL = "herald.dev/external"
"""On a VIP lease: the Services that have the address as an external one (spec.externalIPs)."""
CONFLICT = "herald.dev/conflict"
"""On a VIP lease that nobody was given: the MAC of who answers for the address, which is set aside."""
TRIED_FOR = "herald.dev/tried-for"
"""Beside CONFLICT: the Services that were to have the address."""
REASON = "herald.dev/reason"
"""On a VIP lease: why it was last claimed or released, for people."""

MAX_DURATION = 3600 * SECOND
"""Nobody waits for longer: what says more was written by hand."""

_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
"""What can be the name of an object, or of its namespace."""
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One life of a presence: its object's uid and its ``leaseTransitions``."""

    uid: str
    transitions: int

    def __str__(self) -> str:
        return f"{self.uid}/{self.transitions}"

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> Epoch | None:
        """The same for all the leases of one holder."""
        uid, slash, transitions = text.rpartition("/")
        sound = transitions.isascii() and transitions.isdigit() and len(transitions) <= 10
        if not (uid and slash and sound):
            return None
        return Epoch(uid, int(transitions))


@dataclass(frozen=True, slots=True)
class PresenceInterface:
    """An interface as its node's presence tells it to the others."""

    name: str
    mac: str
    up: bool
    carrier: bool
    plumbing: bool
    """Container plumbing: announced on only where a policy names it."""
    addresses: tuple[AddressOnLink, ...]
    heard: bool | None
    """Whether somebody on its segment answers; None: not probed."""
    refused: str = ""
    """Why the responder could not be attached to it; empty: it is."""

    @property
    def usable(self) -> bool:
        return self.up and self.carrier and bool(self.mac) and not self.refused


@dataclass(frozen=True, slots=True)
class PresenceReport:
    """What a node tells of itself in its presence."""

    node: str
    version: str
    draining: bool
    """True: its addresses are to go elsewhere."""
    interfaces: tuple[PresenceInterface, ...]
    unproven: str = ""
    """What a node that has just begun has yet to prove before it is given an address; empty: nothing."""
    ipvs: str = ""
    """The device by which its own kernel answers for every IPv4 address of a load balancer (kube-proxy in ipvs
    mode without strictARP); empty: it does not."""

    def encode(self) -> str:
        return json.dumps(
            {
                "node": self.node,
                "version": self.version,
                "draining": self.draining,
                "unproven": self.unproven,
                "ipvs": self.ipvs,
                "interfaces": [
                    {
                        "name": i.name,
                        "mac": i.mac,
                        "up": i.up,
                        "carrier": i.carrier,
                        "plumbing": i.plumbing,
                        "addresses": [str(a) for a in i.addresses],
                        "heard": i.heard,
                        "refused": i.refused,
                    }
                    for i in self.interfaces
                ],
            },
            separators=(",", ":"),
        )


@dataclass(frozen=True)
class Presence:
    """A presence Lease, read."""

    lease: Lease

    @cached_property
    def report(self) -> PresenceReport:
        return _decode_report(self.lease.annotations.get(PRESENCE, ""), self.lease)

    @property
    def node(self) -> str:
        """Whose presence it is: the holder's, as far as the Lease's name bears that out."""
        return self.lease.holder if self.alive else self.report.node

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.lease.uid, self.lease.transitions)

    @property
    def alive(self) -> bool:
        """Nobody has fenced it, and it was not released."""
        holder = self.lease.holder
        return bool(holder) and presence_lease_name(holder) == self.lease.name

    @property
    def machine(self) -> str:
        return self.lease.annotations.get(INSTANCE, "").partition("/")[0]

    @property
    def nonce(self) -> str:
        return self.lease.annotations.get(INSTANCE, "").partition("/")[2]

    def duration(self, least: int) -> int:
        """How long, in nanoseconds, an observer must see no change of it.

        ``least``: what the observer itself was set to live by. A shorter one is not believed: it may have been
        written by hand, and its node not know of it.
        """
        said = parsed_duration(self.lease.annotations.get(DURATION, ""))
        if said is None:
            said = self.lease.duration_seconds * SECOND
        return max(least, min(said, MAX_DURATION))


def parsed_duration(text: str) -> int | None:
    """Nanoseconds, of milliseconds as a presence's annotation says them; None: it says none."""
    sound = text.isascii() and text.isdigit() and len(text) < 12
    return int(text) * MILLISECOND if sound else None


def _decode_report(text: str, lease: Lease) -> PresenceReport:
    fallback = PresenceReport(lease.name.removeprefix(PRESENCE_PREFIX), "", False, ())
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return fallback
    if not isinstance(data, dict):
        return fallback
    node, interfaces = data.get("node"), data.get("interfaces")
    return PresenceReport(
        node=node
        if isinstance(node, str) and presence_lease_name(node) == lease.name
        else fallback.node,
        version=_text(data, "version"),
        draining=data.get("draining") is True,
        interfaces=tuple(
            interface
            for item in (interfaces if isinstance(interfaces, list) else [])
            if (interface := _decode_interface(item)) is not None
        ),
        unproven=_text(data, "unproven"),
        ipvs=_text(data, "ipvs"),
    )


def _text(data: Mapping[str, object], key: str) -> str:
    """What an agent of another version does not say, or says in another way, counts as not said."""
    text = data.get(key)
    return text if isinstance(text, str) else ""


def _decode_interface(item: object) -> PresenceInterface | None:
    if not isinstance(item, dict):
        return None
    name, mac, heard = item.get("name"), item.get("mac"), item.get("heard")
    addresses = item.get("addresses")
    if not isinstance(name, str) or not isinstance(mac, str):
        return None
    return PresenceInterface(
        name=name,
        mac=mac,
        up=item.get("up") is True,
        carrier=item.get("carrier") is True,
        plumbing=item.get("plumbing") is True,
        addresses=tuple(
            address
            for text in (addresses if isinstance(addresses, list) else [])
            if (address := _on_link(text)) is not None
        ),
        heard=heard if isinstance(heard, bool) else None,
        refused=_text(item, "refused"),
    )


def _on_link(text: object) -> AddressOnLink | None:
    if not isinstance(text, str):
        return None
    for form in (IPv4Interface, IPv6Interface):
        try:
            return form(text)
        except ValueError:
            continue
    return None


def presence_lease(
    base: Lease, identity: Identity, report: PresenceReport, duration: int, owner: Owner | None
) -> Lease:
    """The presence that this agent writes over ``base``; its epoch stays that of ``base``."""
    return replace(
        base.with_holder(identity.node),
        duration_seconds=-(-duration // SECOND),
        annotations={
            **base.annotations,
            PRESENCE: report.encode(),
            INSTANCE: f"{identity.machine}/{identity.nonce}",
            DURATION: str(duration // MILLISECOND),
        },
        finalizers=with_finalizer(base.finalizers),
        owners=_owned_by(owner, base.owners) if owner is not None else base.owners,
    )


def _owned_by(node: Owner, owners: tuple[Owner, ...]) -> tuple[Owner, ...]:
    """With this Node among the owners, and no earlier one of its name; others' stay."""
    if any(each.uid == node.uid for each in owners):
        return owners
    called = (node.api_version, node.kind, node.name)
    others = (each for each in owners if (each.api_version, each.kind, each.name) != called)
    return (*others, node)


def with_finalizer(finalizers: tuple[str, ...]) -> tuple[str, ...]:
    return finalizers if FINALIZER in finalizers else (*finalizers, FINALIZER)


def without_finalizer(lease: Lease) -> Lease:
    return replace(lease, finalizers=tuple(f for f in lease.finalizers if f != FINALIZER))


# --- VIP leases ----------------------------------------------------------------------------------------


class Given(Mapping[str, str]):
    """The annotations of a VIP lease whose Services are spelled as ``services_text`` does.

    They are kept as they are read, and spelled again for whoever asks for the text; what a lease says besides, many say
    alike. So the annotations of an address take 0.2 kB less than as a dict of texts.
    """

    __slots__ = ("_others", "services")

    def __init__(self, services: ServiceKeys, others: Mapping[str, str]) -> None:
        self.services = services
        self._others = others
        """All but SERVICES."""

    def items(self) -> ItemsView[str, str]:
        return {SERVICES: services_text(self.services), **self._others}.items()

    def __getitem__(self, name: str) -> str:
        return services_text(self.services) if name == SERVICES else self._others[name]

    def __iter__(self) -> Iterator[str]:
        yield SERVICES
        yield from self._others

    def __len__(self) -> int:
        return 1 + len(self._others)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Given):
            return (self.services, self._others) == (other.services, other._others)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as of any mapping

    def __repr__(self) -> str:
        return repr(dict(self))


def compact(annotations: Mapping[str, str]) -> Mapping[str, str]:
    """The same annotations of a Lease, in less memory where it is a VIP lease that was given to Services."""
    text = annotations.get(SERVICES, "")
    services = parsed_services(text)
    if not services or services_text(services) != text:
        return annotations
    others = dict(annotations)
    del others[SERVICES]
    return Given(services, mapping_once(others))


def held_by(lease: Lease) -> Epoch | None:
    """The epoch that a VIP lease was claimed in; None: it was released, or never claimed.

    The epoch decides, not ``holderIdentity``: whoever clears the name by hand has not silenced the node.
    """
    return Epoch.parse(lease.annotations.get(EPOCH, ""))


def services_of(lease: Lease) -> ServiceKeys:
    """The Services that were given this address."""
    if isinstance(lease.annotations, Given):
        return lease.annotations.services
    return parsed_services(lease.annotations.get(SERVICES, ""))


def external_to(lease: Lease) -> ServiceKeys:
    """The Services that have this address as an external one."""
    return parsed_services(lease.annotations.get(EXTERNAL, ""))


def parsed_services(text: str) -> ServiceKeys:
    """Services as an annotation names them, ``namespace/name`` by comma."""
    if not text:
        return ()
    return tuple(sorted(set(filter(None, map(parsed_service, text.split(","))))))


def parsed_service(text: str) -> ServiceKey | None:
    """``namespace/name``; None where no Service can be called so."""
    namespace, _, name = text.strip().partition("/")
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        return None
    return intern(namespace), intern(name)


def pool_of(lease: Lease) -> str:
    """The pool that gave the address; empty: the lease names none."""
    return parsed_pool(lease.annotations.get(POOL, ""))


@lru_cache(maxsize=1024)
def parsed_pool(text: str) -> str:
    """Empty where no pool can be called so. The same for all addresses of a pool."""
    return text if _NAME.fullmatch(text) else ""


def stranger_of(lease: Lease) -> str:
    """The MAC of who answers for an address that is set aside; empty: it is not."""
    mac = lease.annotations.get(CONFLICT, "")
    return mac if is_mac(mac) else ""


def is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None


def services_text(services: Iterable[ServiceKey]) -> str:
    return ",".join(map("/".join, sorted(services)))


def new_vip_lease(name: str, annotations: Mapping[str, str]) -> Lease:
    return annotated(Lease(name=name, finalizers=(FINALIZER,)), annotations)


def annotated(lease: Lease, annotations: Mapping[str, str]) -> Lease:
    """The lease with these annotations; one that is empty is taken away."""
    merged = {**lease.annotations, **annotations}
    return replace(
        lease,
        annotations={key: text for key, text in merged.items() if text or key not in annotations},
    )


def claimed(lease: Lease, node: str, epoch: Epoch, reason: str) -> Lease:
    """``lease`` as this node claims it in ``epoch``."""
    kept = {key: text for key, text in lease.annotations.items() if key != RELEASED}
    return replace(
        lease.with_holder(node),
        transitions=counted(lease.transitions) if lease.holder != node else lease.transitions,
        annotations={**kept, EPOCH: str(epoch), REASON: reason},
        finalizers=with_finalizer(lease.finalizers),
    )


def released(lease: Lease, reason: str) -> Lease:
    """``lease`` as its holder lets go of it, having silenced its kernel."""
    word = {EPOCH: "", RELEASED: lease.annotations.get(EPOCH, ""), REASON: reason}
    return replace(lease, holder="", annotations={**lease.annotations, **word})


def is_free(lease: Lease) -> bool:
    """Whether a VIP lease that names no epoch was never claimed, or let go of by its holder.

    Anything else was edited by hand, and whoever held it may not know yet.
    """
    untouched = not lease.holder and not lease.annotations.get(EPOCH, "")
    return untouched and (lease.transitions == 0 or RELEASED in lease.annotations)


def counted(transitions: int) -> int:
    """The next ``leaseTransitions``, an int32 in the API."""
    return (transitions + 1) % 2**31


def is_counted_on(before: int, transitions: int) -> bool:
    """Whether these ``leaseTransitions`` are later ones."""
    return 0 < (transitions - before) % 2**31 < 2**30
