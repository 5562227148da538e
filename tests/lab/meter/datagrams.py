# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams to some addresses, each from a source port of its own.

A port of its own means that no conntrack entry of a dead path helps or hurts the next datagram.
Ports are walked through one after the other from a random start, and none is used twice before all
others were, which at 1,000 datagrams a second takes 55 s: longer than a node remembers a flow of
one packet each way (30 s, nf_conntrack_udp_timeout).
"""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import socket
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clock import SO_TIMESTAMPNS, STAMP_SPACE, Clock
from gaps import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

PORTS = range(10_000, 65_536)


@dataclass(slots=True)
class _Probe:
    """A datagram under way (`socket` is open), or what became of it."""

    address: str
    payload: bytes
    sent: int
    socket: socket.socket | None
    rtt: int | None = None
    backend: str = ""


class Datagrams:
    """Sends datagrams, and knows which were answered within `limit` nanoseconds."""

    def __init__(
        self, addresses: Sequence[str], port: int, limit: int, clock: Clock, epoll: select.epoll
    ):
        self.port = port
        self.limit = limit
        self.clock = clock
        self.errors: dict[str, Counter[str]] = {address: Counter() for address in addresses}
        self.unanswered = set(addresses)  # nothing has come back from them yet
        self._epoll = epoll
        self._probes: dict[str, list[_Probe]] = {address: [] for address in addresses}
        self._sent = 0
        self._waiting: dict[int, _Probe] = {}
        self._unexpired: deque[_Probe] = deque()
        self._next_port = random.randrange(len(PORTS))
        self._run = os.urandom(8).hex().encode()  # tells this run's answers from an earlier one's

    @property
    def waiting(self) -> bool:
        """Some datagrams are neither answered nor lost yet."""
        return bool(self._waiting)

    def samples(self, address: str) -> list[Sample]:
        """What became of the datagrams to `address`, in the order of sending."""
        return [Sample(probe.sent, probe.rtt, probe.backend) for probe in self._probes[address]]

    def send(self, address: str) -> None:
        """One datagram, now. What the kernel refuses to send is a lost one."""
        endpoint = self._bound_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        payload = b"%s %d\n" % (self._run, self._sent)
        self._sent += 1
        probe = _Probe(address, payload, self.clock.now(), endpoint)
        self._probes[address].append(probe)
        try:
            endpoint.connect((address, self.port))
            endpoint.send(payload)
        except OSError as error:
            self.errors[address][_name(error)] += 1
            endpoint.close()
            probe.socket = None
            return
        self._waiting[endpoint.fileno()] = probe
        self._unexpired.append(probe)
        self._epoll.register(endpoint, select.EPOLLIN)

    def ready(self, descriptor: int) -> bool:
        """Take the answer, or the ICMP error, that waits at `descriptor`; False if not ours."""
        probe = self._waiting.get(descriptor)
        if probe is None or probe.socket is None:
            return False
        try:
            data, ancillary, _, _ = probe.socket.recvmsg(2048, STAMP_SPACE)
        except OSError as error:
            self.errors[probe.address][_name(error)] += 1
            self._forget(probe)
            return True
        if not data.startswith(probe.payload):
            self.errors[probe.address]["answered by something that is no echo server"] += 1
            return True
        rtt = max(0, self.clock.arrival(ancillary) - probe.sent)
        if rtt <= self.limit:
            self.unanswered.discard(probe.address)
            probe.rtt = rtt
            probe.backend = data[len(probe.payload) :].decode(errors="replace").strip()
        self._forget(probe)
        return True

    def expire(self, now: int) -> None:
        """Give up what was sent longer ago than the limit. Take in what waits before calling."""
        while self._unexpired and self._unexpired[0].sent + self.limit < now:
            probe = self._unexpired.popleft()
            if probe.socket is not None:
                self._forget(probe)

    def _forget(self, probe: _Probe) -> None:
        if probe.socket is not None:
            del self._waiting[probe.socket.fileno()]
            probe.socket.close()  # leaves the epoll set by itself
            probe.socket = None

    def _bound_socket(self, family: int) -> socket.socket:
        endpoint = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        endpoint.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for _ in PORTS:
            port = PORTS[self._next_port]
            self._next_port = (self._next_port + 1) % len(PORTS)
            try:
                endpoint.bind(("", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return endpoint
        raise OSError(errno.EADDRINUSE, f"no UDP port from {PORTS.start} up is free")


def allow_descriptors(wanted: int) -> None:
    """Let this process have `wanted` sockets open, or fail saying what to change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > hard:
        raise OSError(
            errno.EMFILE,
            f"up to {wanted} datagrams under way need as many sockets, the limit is {hard}: "
            "raise `ulimit -Hn`, or take a longer interval or a shorter limit",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
