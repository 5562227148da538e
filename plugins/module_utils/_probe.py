# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a segment by ARP and neighbour discovery who has an address, and hearing everybody who answers.

A host's own kernel keeps one answer of several; here all count. What is asked is what any neighbour asks, from the
interface's own MAC and address, so that nobody takes the question for a claim (RFC 826; RFC 4861, section 4.3). Where
the interface has no IPv4 address, it is an ARP probe (RFC 5227, section 2.1.1).
"""

from __future__ import annotations

import ipaddress
import select
import statistics
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

try:
    from scapy.arch import get_if_addr, get_if_hwaddr, in6_getifaddr
    from scapy.config import conf
    from scapy.layers.inet6 import (
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6NDOptDstLLAddr,
        ICMPv6NDOptSrcLLAddr,
        IPv6,
    )
    from scapy.layers.l2 import ARP, Ether

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
_IS_AT = 2
_ICMPV6 = b"\x3a"
_ADVERTISEMENT = b"\x88"
_NO_ADDRESS = "0.0.0.0"


@dataclass
class Found:
    """What was heard about one address."""

    address: str
    requests: int = 0
    asked_at: float = 0.0
    """When it was last asked for, in seconds since 1970."""
    round_trips: dict[str, list[float]] = field(default_factory=dict)
    """By answering MAC, in the order of their first answers; in seconds."""

    def hear(self, mac: str, at: float) -> None:
        """An answer came, at a time in seconds since 1970."""
        self.round_trips.setdefault(mac, []).append(max(0.0, at - self.asked_at))

    def result(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "address": self.address,
            "requests": self.requests,
            "answerers": [
                {
                    "mac": mac,
                    "answers": len(times),
                    "rtt_min": _milliseconds(min(times)),
                    "rtt_median": _milliseconds(statistics.median(times)),
                    "rtt_max": _milliseconds(max(times)),
                }
                for mac, times in self.round_trips.items()
            ],
        }


class Wire(Protocol):
    """The seam: a segment that can be asked and heard."""

    def ask(self, address: str) -> float:
        """Ask everybody for an address. Returns when, in seconds since 1970."""

    def hear(self, seconds: float) -> Iterable[tuple[str, str, float]]:
        """Answers (address, MAC, when) that come within so many seconds."""


def probe(
    wire: Wire, addresses: list[str], count: int, interval: float, timeout: float
) -> list[Found]:
    """Ask for each address C(count) times, C(interval) seconds apart, and listen C(timeout) seconds after the last."""
    found = {address: Found(address) for address in addresses}

    def listen(seconds: float) -> None:
        for address, mac, at in wire.hear(seconds):
            if address in found:
                found[address].hear(mac, at)

    for turn in range(count):
        for entry in found.values():
            entry.asked_at = wire.ask(entry.address)
            entry.requests += 1
            # Answers to a long list would not fit into the sockets' buffers.
            listen(0)
        listen(timeout if turn == count - 1 else interval)
    return list(found.values())


def complaints(found: list[Found], require_answer: bool) -> list[str]:
    """What is wrong with what was heard, in words; nothing if every address has one answering MAC."""
    said = []
    for entry in found:
        macs = list(entry.round_trips)
        if len(macs) > 1:
            said.append(
                f"{entry.address}: wanted one answering MAC, found {len(macs)} ({', '.join(macs)})"
            )
        elif require_answer and not macs:
            said.append(
                f"{entry.address}: wanted one answering MAC, found none after {entry.requests} requests"
            )
    return said


class Interface:
    """A Wire: scapy's packets on packet sockets that take ARP, and IPv6 where that is asked for, and nothing else."""

    def __init__(self, name: str, versions: set[int]) -> None:
        """Raises OSError where packet sockets are refused, and LookupError where there is no address to ask from."""
        self._mac = get_if_hwaddr(name)
        self._source4 = get_if_addr(name)
        self._source6 = _link_local(name)
        if 6 in versions and not self._source6:
            raise LookupError("a link-local IPv6 address")
        protocols = {4: ETH_P_ARP, 6: ETH_P_IPV6}
        self._sockets = {
            version: conf.L2socket(iface=name, type=protocols[version], promisc=False)
            for version in sorted(versions)
        }

    def close(self) -> None:
        """Give the sockets back."""
        for each in self._sockets.values():
            each.close()

    def ask(self, address: str) -> float:
        """See Wire."""
        version = ipaddress.ip_address(address).version
        if version == 4:
            frame = who_has(address, self._mac, self._source4)
        else:
            frame = solicitation(address, self._mac, self._source6)
        data = bytes(frame)
        at = time.time()
        self._sockets[version].send(data)
        return at

    def hear(self, seconds: float) -> Iterable[tuple[str, str, float]]:
        """See Wire."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            ready = select.select(list(self._sockets.values()), [], [], max(0.0, left))[0]
            if not ready:
                return
            for each in ready:
                _layer, data, at = each.recv_raw()
                # Taking a frame apart takes long, and most of IPv6 is none of our business.
                if data and may_answer(data):
                    heard = answer(Ether(data), self._mac)
                    if heard:
                        yield (*heard, float(at))
            if left <= 0:
                return


def who_has(address: str, mac: str, source: str) -> Any:
    """An ARP request to everybody."""
    request = ARP(op="who-has", hwsrc=mac, psrc=source or _NO_ADDRESS, pdst=address)
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / request


def solicitation(address: str, mac: str, source: str) -> Any:
    """A neighbour solicitation to the address's solicited-node group (RFC 4291, section 2.7.1)."""
    last = ipaddress.ip_address(address).packed[-3:]
    group = str(ipaddress.IPv6Address(b"\xff\x02" + b"\0" * 9 + b"\1\xff" + last))
    return (
        Ether(src=mac, dst="33:33:ff:" + last.hex(":"))
        / IPv6(src=source, dst=group, hlim=255)
        / ICMPv6ND_NS(tgt=address)
        / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    )


def answer(packet: Any, mac: str) -> tuple[str, str] | None:
    """The address that a frame says something of and the MAC that it gives for it, if it answers C(mac)'s question.

    Announcements to everybody are no answers.
    """
    if packet.dst.lower() != mac.lower():
        return None
    if ARP in packet and packet[ARP].op == _IS_AT:
        return packet[ARP].psrc, packet[ARP].hwsrc.lower()
    if ICMPv6ND_NA in packet and packet[ICMPv6ND_NA].S and packet[IPv6].hlim == 255:
        option = packet.getlayer(ICMPv6NDOptDstLLAddr)
        address = ipaddress.ip_address(packet[ICMPv6ND_NA].tgt)
        return str(address), (option.lladdr if option else packet.src).lower()
    return None


def may_answer(data: bytes) -> bool:
    """Whether a frame is ARP, or ICMPv6's neighbour advertisement (RFC 4861, section 4.4)."""
    protocol = int.from_bytes(data[12:14], "big")
    if protocol == ETH_P_IPV6:
        return data[20:21] == _ICMPV6 and data[54:55] == _ADVERTISEMENT
    return protocol == ETH_P_ARP


def _link_local(name: str) -> str:
    """The interface's own link-local address; empty for none."""
    for text, _scope, interface in in6_getifaddr():
        if interface == name and ipaddress.ip_address(text).is_link_local:
            return str(text)
    return ""


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
