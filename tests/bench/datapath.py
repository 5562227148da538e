# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the responder costs: latency of an answer, other frames' delay, filling the maps. As root.

Latency is between the kernel's two time stamps on the client's end of a veth pair: request out,
answer in. Beside Herald's stand the kernel's own answer for an address that it has, and the answer
of a loop in userland on a packet socket (what speakers without BPF do). Frames that are none of
ours are run through the program and through an empty one by BPF_PROG_TEST_RUN.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
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
    ns,
    sllao,
    solicited_node,
)
from tests.bpf.kernel import HOUR, boottime
from tests.bpf.table import entry
from tests.bpf.wire import Wire, inside, ip, wire

from herald.core.kernel import EntryKey
from herald.datapath.bpf import obj_get, run_once
from herald.datapath.loader import load_program, program_pin
from herald.datapath.responder import Responder

QUESTIONS = 5000
OWN4, OWN6 = "192.0.2.50", "fd00:77::abcd:50"  # the kernel's own
USER4 = "192.0.2.60"  # the userland loop's
SO_TIMESTAMPNS = 35
EMPTY = bytes.fromhex("b7000000ffffffff9500000000000000")  # r0 = TC_ACT_UNSPEC; exit


def latencies(cable: Wire, question: bytes, is_answer: Callable[[bytes], bool]) -> list[float]:
    """Microseconds from question to answer, by the kernel's time stamps."""
    with inside(cable.client):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.bind(("client", 0))
    tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    tap.settimeout(2)

    def stamped(wanted: Callable[[bytes], bool]) -> int:
        while True:
            frame, control, _, _ = tap.recvmsg(2048, 64)
            if wanted(frame):
                seconds, nanoseconds = struct.unpack("=qq", control[0][2])
                return int(seconds * 10**9 + nanoseconds)

    found = []
    for _ in range(QUESTIONS):
        cable.socket.send(question)
        asked = stamped(lambda frame: frame == question)
        found.append((stamped(is_answer) - asked) / 1000)
    tap.close()
    return found


def answers_arp(address: str) -> Callable[[bytes], bool]:
    packed = ip_address(address).packed
    return lambda frame: (
        frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == packed
    )


def answers_ns(address: str) -> Callable[[bytes], bool]:
    packed = ip_address(address).packed
    return lambda frame: frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == packed


def row(name: str, values: list[float]) -> tuple[float, float]:
    median = statistics.median(values)
    p99 = statistics.quantiles(values, n=100)[98]
    print(f"  {name:<36} median {median:7.1f} µs   p99 {p99:7.1f} µs")
    return median, p99


@contextmanager
def userland_speaker() -> Iterator[None]:
    """Answers ARP for USER4 in a process of its own, on this end of the cable."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    raw.bind(("node", 0))
    child = os.fork()
    if child == 0:
        wanted, own = ip_address(USER4).packed, bytes.fromhex(OWN_MAC.replace(":", ""))
        while True:
            frame = raw.recv(2048)
            if frame[20:22] == b"\0\1" and frame[38:42] == wanted:
                head = frame[6:12] + own + frame[12:20] + b"\0\2"
                raw.send(head + own + wanted + frame[22:32])
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raw.close()


def ask_ns(address: str) -> bytes:
    group, mac = solicited_node(address)
    return bytes(ns(sllao(), dst=mac, dest=group, target=address))


def fill(responder: Responder, ifindex: int, count: int) -> float:
    """Seconds that it takes."""
    entries = {EntryKey(ip_address(0x0A000000 + n), ifindex): entry(7) for n in range(count)}
    start = time.perf_counter()
    responder.set_entries((), entries)
    return time.perf_counter() - start


def flood(cable: Wire, question: bytes, seconds: float) -> float:
    """Answers a second while requests come as fast as one sender can."""
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            cable.socket.send(question)

    sender = threading.Thread(target=send)
    before = received(cable)
    start = time.perf_counter()
    sender.start()
    time.sleep(seconds)
    ended.set()
    sender.join()
    return (received(cable) - before) / (time.perf_counter() - start)


def received(cable: Wire) -> int:
    with inside(cable.client):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split(":")[1].split()[1]) for line in lines if "client:" in line)


def measure_latency(responder: Responder, cable: Wire) -> None:
    print(f"Answers to {QUESTIONS} questions, on a veth pair:")
    herald = row("ARP, Herald", latencies(cable, bytes(arp()), answers_arp(VIP4)))
    kernel = row("ARP, the kernel", latencies(cable, bytes(arp(tpa=OWN4)), answers_arp(OWN4)))
    with userland_speaker():
        question = bytes(arp(tpa=USER4))
        user = row("ARP, a loop in userland", latencies(cable, question, answers_arp(USER4)))
    print(f"  Herald / kernel: {herald[0] / kernel[0]:.2f} (median); "
          f"userland / Herald: {user[1] / herald[1]:.1f} (p99)")  # fmt: skip
    herald = row("NS, Herald", latencies(cable, ask_ns(VIP6), answers_ns(VIP6)))
    kernel = row("NS, the kernel", latencies(cable, ask_ns(OWN6), answers_ns(OWN6)))
    print(f"  Herald / kernel: {herald[0] / kernel[0]:.2f} (median)")
    took = fill(responder, cable.ifindex, 65535)
    row("ARP, Herald, 65,536 entries", latencies(cable, bytes(arp()), answers_arp(VIP4)))
    print(f"  (filled in {took * 1000:.0f} ms)")


def measure_flood(cable: Wire) -> None:
    print("Answers a second under a flood of requests from one sender:")
    for name, address in (("Herald", VIP4), ("the kernel", OWN4)):
        print(f"  {name:<36} {flood(cable, bytes(arp(tpa=address)), 2):9.0f}")


def measure_other_frames(bpffs: Path) -> None:
    print("Frames that are none of ours (against an empty program):")
    ours, empty = obj_get(program_pin(bpffs)), load_program(EMPTY)
    eth = Ether(dst=OWN_MAC, src=PEER_MAC)
    frames = {
        "TCP over IPv4": eth / IP(src=PEER4, dst=VIP4) / TCP() / bytes(1400),
        "TCP over IPv6": eth / IPv6(src=PEER6, dst=VIP6) / TCP() / bytes(1400),
        "neither IP nor ARP": Ether(dst=OWN_MAC, src=PEER_MAC, type=0x88CC) / bytes(46),
    }
    for name, frame in frames.items():
        # Alternating, and the best of each: what else runs on the machine only ever adds.
        runs = [
            [run_once(program, bytes(frame), 1, 100_000)[2] for program in (ours, empty)]
            for _ in range(15)
        ]
        with_ours, without = (min(column) for column in zip(*runs, strict=True))
        print(f"  {name:<36} {with_ours:4d} ns, empty {without:4d} ns, {with_ours - without:+d} ns")
    os.close(ours)
    os.close(empty)


def measure_filling(responder: Responder, ifindex: int) -> None:
    times = []
    for _ in range(5):
        times.append(fill(responder, ifindex, 10_000))
        responder.set_entries([key for key in responder.entries() if str(key.address) != VIP4], {})
    print(f"10,000 entries from nothing: {min(times) * 1000:.1f} to {max(times) * 1000:.1f} ms")


def main() -> None:
    with mounted_bpffs() as bpffs, wire() as cable:
        done = loader(bpffs)
        assert done.returncode == 0, done.stderr
        responder = Responder.open(bpffs, "auto")
        for end in ("node", cable.client):
            with inside(cable.name if end == "node" else end):
                for scope in ("all", "node" if end == "node" else "client"):
                    Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0")
        ip("address", "add", f"{OWN4}/24", "dev", "node")
        ip("address", "add", f"{OWN6}/64", "dev", "node", "nodad")
        ip("-n", cable.client, "address", "add", f"{PEER6}/64", "dev", "client", "nodad")
        now = boottime()
        responder.set_session(now + HOUR, 0, now, hold=False)
        responder.set_entries(
            (), {EntryKey(ip_address(vip), cable.ifindex): entry(now) for vip in (VIP4, VIP6)}
        )
        responder.attach(cable.ifindex)
        measure_other_frames(bpffs)
        measure_filling(responder, cable.ifindex)
        responder.set_entries((), {EntryKey(ip_address(VIP6), cable.ifindex): entry(now)})
        measure_flood(cable)
        measure_latency(responder, cable)
        responder.detach(cable.ifindex)
        responder.close()


if __name__ == "__main__":
    main()
