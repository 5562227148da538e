# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder costs, beside what it stands for; exit 1 where a bound is missed. As root.

Latency is between the kernel's two time stamps on the client's end of a veth pair: request out,
answer in. Beside Herald's stand the kernel's own answer for an address that it has, and the answer
of a loop in userland on a packet socket (what speakers without BPF do), asked in turns. Client and
loops have a core each, as on a network. The slowest answers are those of a node that has something
else to do, so all is asked twice: of a node at rest, and of one whose cores each have one busy
process. The bounds of medians are those at rest, that of the 99th percentile is of the node at work.

Floods are sent with one call for many requests, and nobody listens, so that it is the answering that
takes the time; those of Herald and of the kernel take turns, and the ratio is that of neighbours.
Frames that are none of ours are run through the program and through an empty one by
BPF_PROG_TEST_RUN. All bounds but that of filling are ratios or differences within the run.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from operator import truediv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agent/src")]

# ruff: noqa: E402
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from tests.bpf.conftest import loader, mounted_bpffs
from tests.bpf.frames import (
    OWN_MAC,
    PEER4,
    PEER6,
    PEER_MAC,
    VIP4,
    VIP6,
    arp,
    na_answer,
    ns,
    sllao,
    solicited_node,
)
from tests.bpf.kernel import HOUR, boottime
from tests.bpf.table import entry
from tests.bpf.wire import Wire, inside, ip, wire

from herald.core.kernel import EntryKey, EntryValue
from herald.datapath.bpf import obj_get, run_once
from herald.datapath.loader import load_program, program_pin
from herald.datapath.responder import Responder

ROUNDS, QUESTIONS = 10, 500  # of each kind in a round
FLOODS, BURSTS, BURST = 100, 100, 64  # of each kind, in turns: so many times so many requests
RUNS, REPEATS = 15, 100_000  # of each program
FILLS, FILLED = 20, 10_000
MOST = 65_536
FIRST4, FIRST6 = 0x0A000000, 0xFD01 << 112  # of many entries
OWN4, OWN6 = "192.0.2.50", "fd00:77::abcd:50"  # the kernel's own
USER4, USER6 = "192.0.2.60", "fd00:77::abcd:60"  # the userland loops'
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
PATIENCE = 20  # seconds
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
CORES = sorted(os.sched_getaffinity(0))
EMPTY = bytes.fromhex("b7000000ffffffff9500000000000000")  # r0 = TC_ACT_UNSPEC; exit


@dataclass(frozen=True)
class Verdict:
    """What was found beside its bound; ``unit`` follows the number."""

    what: str
    found: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def __str__(self) -> str:
        wanted = f"{'at least' if self.at_least else 'at most'} {self.bound:g}{self.unit}"
        said = "met" if self.met else "MISSED"
        return f"  {self.what:<44} {self.found:8.2f}{self.unit:<4} {wanted:<15} {said}"


@dataclass(frozen=True)
class Question:
    name: str
    frame: bytes
    is_answer: Callable[[bytes], bool]


def question(name: str, address: str) -> Question:
    """ARP request or neighbour solicitation, and the test for its answer."""
    packed = ip_address(address).packed
    if len(packed) == 4:
        return Question(
            f"ARP, {name}",
            bytes(arp(tpa=address)),
            lambda frame: (
                frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == packed
            ),
        )
    group, mac = solicited_node(address)
    return Question(
        f"NS, {name}",
        bytes(ns(sllao(), dst=mac, dest=group, target=address)),
        lambda frame: frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == packed,
    )


# --- Latency --------------------------------------------------------------------------------------


class Tap:
    """The client's end of the cable, where the kernel stamps what leaves and what comes."""

    def __init__(self, cable: Wire) -> None:
        self._cable = cable
        with inside(cable.client):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind(("client", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.settimeout(PATIENCE)

    def took(self, asked: Question) -> float:
        """Microseconds from question to answer."""
        self._cable.socket.send(asked.frame)
        try:
            start = self._stamped(asked.frame.__eq__)
            return (self._stamped(asked.is_answer) - start) / 1000
        except TimeoutError:
            raise SystemExit(f"{asked.name}: no answer in {PATIENCE} s") from None

    def _stamped(self, wanted: Callable[[bytes], bool]) -> int:
        while True:
            frame, control, _, _ = self._socket.recvmsg(2048, 64)
            if wanted(frame):
                seconds, nanoseconds = struct.unpack("=qq", control[0][2])
                return int(seconds * 10**9 + nanoseconds)

    def close(self) -> None:
        self._socket.close()


Latencies = dict[str, list[float]]


def print_latencies(found: Latencies) -> tuple[dict[str, float], dict[str, float]]:
    """Medians and 99th percentiles of each, in microseconds."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    p99s = {name: statistics.quantiles(values, n=100)[98] for name, values in found.items()}
    for name in found:
        print(f"  {name:<32} median {medians[name]:7.1f} µs   p99 {p99s[name]:7.1f} µs")
    return medians, p99s


@contextmanager
def process(core: int, loop: Callable[[], None]) -> Iterator[None]:
    """A child that does this on a core, and nothing else."""
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {core})
        while True:
            loop()
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def packet_socket(protocol: int) -> socket.socket:
    """On this end of the cable."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    raw.bind(("node", 0))
    # Room for a round of requests that the kernel answers, before a loop has its turn: the next may be its own.
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUESTIONS * 8192)
    return raw


@contextmanager
def userland_speakers() -> Iterator[None]:
    """Answer ARP for USER4, and NS for USER6, in a process for each; both wait on the same core."""
    wanted4, wanted6 = ip_address(USER4).packed, ip_address(USER6).packed
    own = bytes.fromhex(OWN_MAC.replace(":", ""))
    advertisement = bytes(na_answer(target=USER6))
    arps, packets = packet_socket(0x0806), packet_socket(0x86DD)

    def answer_arp() -> None:
        frame = arps.recv(2048)
        if frame[20:22] == b"\0\1" and frame[38:42] == wanted4:
            head = frame[6:12] + own + frame[12:20] + b"\0\2"
            arps.send(head + own + wanted4 + frame[22:32])

    def answer_ns() -> None:
        """There is one who asks, so that the answer is always the same."""
        frame = packets.recv(2048)
        if frame[54:55] == b"\x87" and frame[62:78] == wanted6:
            packets.send(advertisement)

    with arps, packets, process(CORES[-1], answer_arp), process(CORES[-1], answer_ns):
        yield


@contextmanager
def at_work() -> Iterator[None]:
    """Something else to do on every core, of no higher priority than ours: a node has pods."""
    with ExitStack() as stack:
        for core in CORES:
            stack.enter_context(process(core, lambda: None))
        yield


def ask_in_turns(tap: Tap, kinds: list[Question]) -> Latencies:
    found: Latencies = {kind.name: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            found[kind.name] += [tap.took(kind) for _ in range(QUESTIONS)]
    return found


def measure_latency(tap: Tap) -> Iterator[Verdict]:
    kinds = [
        question("Herald", VIP4),
        question("the kernel", OWN4),
        question("a loop in userland", USER4),
        question("Herald", VIP6),
        question("the kernel", OWN6),
        question("a loop in userland", USER6),
    ]
    os.sched_setaffinity(0, {CORES[0]})
    with userland_speakers():
        print(f"Answers to {ROUNDS * QUESTIONS} questions of each kind, on a veth pair:")
        medians, p99s_at_rest = print_latencies(ask_in_turns(tap, kinds))
        print("The same from a node whose cores are busy:")
        with at_work():
            _, p99s_at_work = print_latencies(ask_in_turns(tap, kinds))
    os.sched_setaffinity(0, CORES)
    for kind in ("ARP", "NS"):
        ratio = medians[f"{kind}, Herald"] / medians[f"{kind}, the kernel"]
        yield Verdict(f"{kind}: Herald's median, of the kernel's", ratio, 1.1, " x")
        at_rest, busy = (
            p99s[f"{kind}, a loop in userland"] / p99s[f"{kind}, Herald"]
            for p99s in (p99s_at_rest, p99s_at_work)
        )
        print(f"{kind}: the p99 of userland is {at_rest:.1f} x Herald's at rest")
        yield Verdict(
            f"{kind}: p99 of userland, of Herald's, at work", busy, 20, " x", at_least=True
        )


def measure_full_table(tap: Tap, responder: Responder, ifindex: int) -> Iterator[Verdict]:
    for kind, vip, first in (("ARP", VIP4, FIRST4), ("NS", VIP6, FIRST6)):
        others = entries(ifindex, MOST - 1, first)
        one, many = f"{kind}, one entry", f"{kind}, 65,536 entries"
        asked = question("one entry", vip)
        found: Latencies = {one: [], many: []}
        for _ in range(ROUNDS):
            found[one] += [tap.took(asked) for _ in range(QUESTIONS)]
            responder.set_entries((), others)
            found[many] += [tap.took(asked) for _ in range(QUESTIONS)]
            responder.set_entries(others.keys(), {})
        medians, _ = print_latencies(found)
        ratio = medians[many] / medians[one]
        yield Verdict(f"{kind}: median of 65,536 entries, of one's", ratio, 1.1, " x")


# --- Floods ---------------------------------------------------------------------------------------


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        *(("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32)),
        *(("parts", ctypes.c_void_p), ("part_count", ctypes.c_size_t)),
        *(("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t)),
        *(("flags", ctypes.c_int), ("sent", ctypes.c_uint32)),
    )


class Flooder:
    """The client's end, where nothing listens: many requests by one call, and answers counted."""

    def __init__(self, cable: Wire) -> None:
        with inside(cable.client):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind(("client", 0))
            self._counts = Path("/proc/thread-self/net/dev").open()  # noqa: SIM115
        # Else the kernel copies every request for the socket that the cable has.
        cable.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg

    def rate(self, frame: bytes) -> float:
        """Answers a second: BURSTS of requests, and the time until the last answer has come."""
        data = ctypes.create_string_buffer(frame, len(frame))
        part = (ctypes.c_size_t * 2)(ctypes.addressof(data), len(frame))
        message = _Message(parts=ctypes.addressof(part), part_count=1)
        messages = (_Message * BURST)(*itertools.repeat(message, BURST))
        before = self._received()
        start = time.perf_counter()
        for _ in range(BURSTS):
            if self._send(self._socket.fileno(), messages, BURST, 0) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        now = self._received()
        while True:
            end, last = time.perf_counter(), now
            time.sleep(0.001)
            if (now := self._received()) == last:
                return (last - before) / (end - start)

    def _received(self) -> int:
        self._counts.seek(0)
        return next(
            int(line.split(":")[1].split()[1]) for line in self._counts if "client:" in line
        )

    def close(self) -> None:
        self._counts.close()
        self._socket.close()


def measure_flood(cable: Wire) -> Iterator[Verdict]:
    print(f"Answers a second to {BURSTS * BURST} requests as fast as one core can send them:")
    frames = {"Herald": bytes(arp()), "the kernel": bytes(arp(tpa=OWN4))}
    flooder = Flooder(cable)
    found = {name: [flooder.rate(frame)] for name, frame in frames.items()}
    for _ in range(FLOODS):
        for name, frame in frames.items():
            found[name].append(flooder.rate(frame))
    flooder.close()
    for name, rates in found.items():
        print(f"  {name:<32} {statistics.median(rates):9.0f}")
    ratio = statistics.median(map(truediv, found["Herald"], found["the kernel"]))
    yield Verdict("Flood: Herald's answers, of the kernel's", ratio, 1, " x", at_least=True)


# --- Other frames, and filling --------------------------------------------------------------------


def measure_other_frames(bpffs: Path) -> Iterator[Verdict]:
    ours, empty = obj_get(program_pin(bpffs)), load_program(EMPTY)
    eth = Ether(dst=OWN_MAC, src=PEER_MAC)
    frames = {
        "TCP over IPv4": eth / IP(src=PEER4, dst=VIP4) / TCP() / bytes(1400),
        "TCP over IPv6": eth / IPv6(src=PEER6, dst=VIP6) / TCP() / bytes(1400),
        "neither IP nor ARP": Ether(dst=OWN_MAC, src=PEER_MAC, type=0x88CC) / bytes(46),
    }
    print("A frame that is none of ours, and the same through an empty program:")
    for name, frame in frames.items():
        # Alternating, and the best of each: what else runs on the machine only ever adds.
        runs = [
            [run_once(program, bytes(frame), 1, REPEATS)[2] for program in (ours, empty)]
            for _ in range(RUNS)
        ]
        with_ours, without = (min(column) for column in zip(*runs, strict=True))
        print(f"  {name:<32} {with_ours:4d} ns, empty {without:4d} ns")
        yield Verdict(f"{name}: more than an empty program", with_ours - without, 10, " ns")
    os.close(ours)
    os.close(empty)


def entries(ifindex: int, count: int, first: int = FIRST4) -> dict[EntryKey, EntryValue]:
    return {EntryKey(ip_address(first + n), ifindex): entry(7) for n in range(count)}


def measure_filling(responder: Responder, ifindex: int) -> Iterator[Verdict]:
    wanted = entries(ifindex, FILLED)
    times, busy = [], []
    for _ in range(FILLS):
        start, started = time.perf_counter(), time.thread_time()
        responder.set_entries((), wanted)
        times.append((time.perf_counter() - start) * 1000)
        busy.append((time.thread_time() - started) * 1000)
        responder.set_entries(wanted.keys(), {})
    print(
        f"10,000 entries from nothing: {min(times):.1f} to {max(times):.1f} ms, median "
        f"{statistics.median(times):.1f} ms, {statistics.median(busy):.1f} ms of a core"
    )
    yield Verdict("10,000 entries from nothing, median", statistics.median(times), 20, " ms")


@contextmanager
def answering(bpffs: Path, cable: Wire) -> Iterator[Responder]:
    """The responder for VIP4 and VIP6, and the node's kernel for addresses of its own."""
    done = loader(bpffs)
    assert done.returncode == 0, done.stderr
    for namespace, device in ((cable.name, "node"), (cable.client, "client")):
        with inside(namespace):
            for scope in ("all", device):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0")
    ip("address", "add", f"{OWN4}/24", "dev", "node")
    ip("address", "add", f"{OWN6}/64", "dev", "node", "nodad")
    ip("-n", cable.client, "address", "add", f"{PEER6}/64", "dev", "client", "nodad")
    responder = Responder.open(bpffs, "auto")
    now = boottime()
    responder.set_session(now + HOUR, 0, now, hold=False)
    responder.set_entries(
        (), {EntryKey(ip_address(vip), cable.ifindex): entry(now) for vip in (VIP4, VIP6)}
    )
    responder.attach(cable.ifindex)
    try:
        yield responder
    finally:
        responder.detach(cable.ifindex)
        responder.close()


def main() -> int:
    with (
        mounted_bpffs() as bpffs,
        wire() as cable,
        answering(bpffs, cable) as responder,
    ):
        verdicts = [
            *measure_other_frames(bpffs),
            *measure_filling(responder, cable.ifindex),
            *measure_flood(cable),
        ]
        tap = Tap(cable)
        verdicts += [
            *measure_latency(tap),
            *measure_full_table(tap, responder, cable.ifindex),
        ]
        tap.close()
    print("Bounds:", *verdicts, sep="\n")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
