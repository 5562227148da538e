# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder on a wire: attached by tcx and by clsact, restarted, replaced, detached."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.bpf import test_arp, test_nd, test_ping
from tests.bpf.conftest import AGENT, ChangedSource, loader
from tests.bpf.frames import (
    MAC,
    OTHER_MAC,
    OWN_MAC,
    PEER4,
    PEER6,
    VIP4,
    VIP6,
    arp,
    arp_reply,
    na_answer,
    ns,
    ping4,
    ping4_reply,
    sllao,
)
from tests.bpf.kernel import HOUR, Kernel, boottime
from tests.bpf.table import counted, entry, left, prepare
from tests.bpf.wire import Wire, inside, ip, wire

from herald.core.effects import Announcement, SendFrames
from herald.core.events import FramesAnswer
from herald.core.kernel import EntryKey, KernelEventKind, Session
from herald.datapath import clsact, tcx
from herald.datapath.bpf import DatapathError, obj_get, obj_pin
from herald.datapath.loader import load_program, program_pin
from herald.datapath.responder import AttachBy, Responder
from herald.shell.counters import Counters
from herald.shell.hands import Hands

ASK, ANSWER = bytes(arp()), bytes(arp_reply())
BOTH = pytest.mark.parametrize("by", ["tcx", "clsact"])
ROWS = [
    *test_arp.ROWS, *test_nd.ROWS, *test_ping.PING4, *test_ping.PASSED4, *test_ping.PING6, *test_ping.PASSED6
]  # fmt: skip


@pytest.fixture
def cable() -> Iterator[Wire]:
    with wire() as laid:
        yield laid


@pytest.fixture
def responder(loaded_bpffs: Path, cable: Wire, by: AttachBy) -> Iterator[Responder]:
    """Attached, with both addresses, for an hour."""
    opened = Responder.open(loaded_bpffs, by)
    fill(opened, cable)
    opened.attach(cable.ifindex)
    try:
        yield opened
    finally:
        for ifindex in opened.attached() | {cable.ifindex}:
            opened.detach(ifindex)
        opened.set_entries(opened.entries().keys(), {})
        for _ in range(2):
            opened.set_own({})
        opened.set_session(0, 0, 0, hold=False)
        list(opened.events())
        opened.close()


def fill(responder: Responder, cable: Wire) -> None:
    now = boottime()
    responder.set_session(now + HOUR, 0, now, hold=False)
    responder.set_entries(
        (), {EntryKey(ip_address(vip), cable.ifindex): entry(now) for vip in (VIP4, VIP6)}
    )


def filters(side: str = "ingress") -> list[str]:
    """Names of the clsact filters on the node's interface, in the order in which they run."""
    shown = subprocess.run(
        ["tc", "-json", "filter", "show", "dev", "node", side],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [
        found["options"]["bpf_name"]
        for found in json.loads(shown or "[]")
        if "bpf_name" in found.get("options", {})
    ]


def qdiscs() -> list[str]:
    shown = subprocess.run(
        ["tc", "-json", "qdisc", "show", "dev", "node"], check=True, capture_output=True, text=True
    ).stdout
    return [found["kind"] for found in json.loads(shown)]


def assert_silent(cable: Wire) -> None:
    """Nothing comes back before the answer to a later request, which the kernel itself gives."""
    ip("address", "add", "192.0.2.50/24", "dev", "node")
    mark, marked = bytes(arp(tpa="192.0.2.50")), bytes(arp_reply(spa="192.0.2.50"))
    assert cable.ask(ASK, mark, marked) == []


def chain(ifindex: int) -> list[int]:
    """Identifiers of the programs on an interface's tcx, in the order in which they run."""
    programs = (ctypes.c_uint32 * 8)()
    attr = struct.pack(
        "=IIIIQI",
        *(ifindex, tcx.BPF_TCX_INGRESS, 0, 0, ctypes.addressof(programs), len(programs)),
    )
    tcx.bpf(tcx.BPF_PROG_QUERY, attr)
    return [program for program in programs if program]


@contextmanager
def icmp(cable: Wire, family: int, protocol: int) -> Iterator[socket.socket]:
    """A socket of the client's own kernel, which has to find out the MAC by itself."""
    with inside(cable.client):
        opened = socket.socket(family, socket.SOCK_RAW, protocol)
    opened.settimeout(10)
    with opened:
        yield opened


def neighbour(cable: Wire, address: str) -> dict[str, object]:
    found = cable.run("ip", "-json", "neighbour", "show", address)
    return next(iter(json.loads(found.stdout)), {})


@BOTH
def test_a_linux_client_resolves_and_pings(responder: Responder, cable: Wire) -> None:
    request = struct.pack("!BBHHH", 8, 0, 0xF7FF - 7 - 1, 7, 1)
    with icmp(cable, socket.AF_INET, socket.IPPROTO_ICMP) as client:
        client.sendto(request, (VIP4, 0))
        packet, (source, _) = client.recvfrom(2048)

    assert source == VIP4
    assert packet[20:] == struct.pack("!BBHHH", 0, 0, 0xFFFF - 7 - 1, 7, 1)
    assert neighbour(cable, VIP4)["lladdr"] == OWN_MAC


@BOTH
def test_a_linux_client_resolves_and_pings_over_ipv6(responder: Responder, cable: Wire) -> None:
    cable.enable_ipv6(f"{PEER6}/64")
    with icmp(cable, socket.AF_INET6, socket.IPPROTO_ICMPV6) as client:
        client.sendto(struct.pack("!BBHHH", 128, 0, 0, 7, 1), (VIP6, 0))
        packet = b""
        while packet[:1] != b"\x81":  # the socket has copies of all ICMPv6
            packet, address = client.recvfrom(2048)

    assert address[0] == VIP6
    assert neighbour(cable, VIP6)["lladdr"] == OWN_MAC


@BOTH
def test_a_linux_client_cannot_take_the_address(responder: Responder, cable: Wire) -> None:
    """Its duplicate address detection is answered."""
    cable.enable_ipv6(f"{PEER6}/64")
    cable.run("ip", "address", "add", f"{VIP6}/64", "dev", "client")

    deadline = time.monotonic() + 20
    flags: dict[str, object] = {"tentative": True}
    while flags.get("tentative") and not flags.get("dadfailed"):
        assert time.monotonic() < deadline, "its detection came to no end"
        shown = json.loads(cable.run("ip", "-json", "address", "show", "dev", "client").stdout)
        flags = next(found for found in shown[0]["addr_info"] if found["local"] == VIP6)
        time.sleep(0.05)

    assert flags.get("dadfailed")
    assert KernelEventKind.PROBE in {event.kind for event in responder.events()}


@BOTH
def test_answers_on_the_wire_are_the_golden_ones(responder: Responder, cable: Wire) -> None:
    assert cable.ask(ASK, ASK, ANSWER) == []
    assert cable.receive() == ANSWER
    cable.send(bytes(ns(sllao())))
    assert cable.receive() == bytes(na_answer())


@BOTH
def test_every_row_of_the_tables_holds_on_the_wire(
    kernel: Kernel, loaded_bpffs: Path, cable: Wire, by: AttachBy
) -> None:
    """Behind each frame the kernel itself is asked for an address that it has: what came before is the answer."""
    ip("address", "add", "192.0.2.50/24", "dev", "node")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    mark, marked = bytes(arp(tpa="192.0.2.50")), bytes(arp_reply(spa="192.0.2.50"))
    attached = Responder.open(loaded_bpffs, by)
    attached.attach(cable.ifindex)
    try:
        for row in ROWS:
            kernel.clear()
            prepare(kernel, row, cable.ifindex)
            came = cable.ask(bytes(row.frame), mark, marked)
            assert came == ([bytes(row.answer)] if row.answer else []), row.description
            assert counted(kernel.seen()) == left(row), row.description
    finally:
        attached.detach(cable.ifindex)
        attached.close()


@BOTH
def test_the_first_answer_is_an_event(responder: Responder, cable: Wire) -> None:
    cable.send(ASK)
    cable.receive()

    assert responder.poll(5)
    assert [event.kind for event in responder.events()] == [KernelEventKind.FIRST_ANSWER]
    assert not responder.poll(0)


@BOTH
def test_silence_past_the_deadline(responder: Responder, cable: Wire) -> None:
    responder.set_session(0, 0, 0, hold=False)
    assert responder.session() == Session()
    assert_silent(cable)


@BOTH
@pytest.mark.parametrize(
    "tag",
    [
        pytest.param("8100 0007", id="802.1Q"),
        pytest.param("88a8 0007", id="802.1ad"),
        pytest.param("8100 a000", id="a priority alone"),
    ],
)
def test_a_tagged_request_is_left_to_the_vlan_device(
    responder: Responder, cable: Wire, tag: str
) -> None:
    """Where there is none, to nobody."""
    tagged = ASK[:12] + bytes.fromhex(tag) + ASK[12:]
    assert cable.ask(tagged, ASK, ANSWER) == []


@BOTH
def test_frames_too_short_for_their_protocol_are_passed(responder: Responder, cable: Wire) -> None:
    """The kernel's test run refuses these."""
    for frame in (bytes(ping4()), bytes(ns(sllao()))):
        for size in range(14, 54):
            assert cable.ask(frame[:size], ASK, ANSWER) == []


@BOTH
def test_a_flood_is_answered_one_by_one(responder: Responder, cable: Wire) -> None:
    def flood() -> None:
        for _ in range(1000):
            cable.send(ASK)
            assert cable.receive() == ANSWER

    flood()
    assert responder.seen()[ip_address(VIP4)].answered >= 1000


@BOTH
def test_attach_and_detach_may_be_repeated(responder: Responder, cable: Wire) -> None:
    responder.attach(cable.ifindex)
    assert responder.attached() == {cable.ifindex}
    for _ in range(2):
        responder.detach(cable.ifindex)
        assert responder.attached() == frozenset()
    assert qdiscs() == ["noqueue"]
    assert filters() == []


@BOTH
def test_no_such_interface_is_said(responder: Responder) -> None:
    with pytest.raises(DatapathError, match="interface 4242"):
        responder.attach(4242)
    responder.detach(4242)


@BOTH
def test_a_device_that_is_gone_is_no_longer_attached(responder: Responder, cable: Wire) -> None:
    ip("link", "delete", "node")

    assert responder.attached() == frozenset()
    responder.detach(cable.ifindex)


@BOTH
def test_a_restarted_agent_finds_it_all(
    responder: Responder, loaded_bpffs: Path, cable: Wire, by: AttachBy
) -> None:
    session, entries = responder.session(), responder.entries()

    again = Responder.open(loaded_bpffs, by)
    try:
        assert (again.session(), again.entries()) == (session, entries)
        cable.send(ASK)
        assert cable.receive() == ANSWER
        again.attach(cable.ifindex)
        assert again.attached() == {cable.ifindex}
        assert filters() == (["herald"] if by == "clsact" else [])
    finally:
        again.close()


@contextmanager
def asking(cable: Wire) -> Iterator[list[Exception]]:
    """A client that asks again as soon as it is answered; what it is given has its failures."""
    failures: list[Exception] = []
    ended = threading.Event()

    def ask() -> None:
        asked = 0
        while not ended.is_set() or asked < 500:
            cable.send(ASK)
            try:
                # Twice where two programs of ours are attached for a moment.
                while (frame := cable.receive()) != ANSWER:
                    assert frame[12:14] != ASK[12:14], frame.hex()
            except (AssertionError, TimeoutError) as failed:
                failures.append(failed)
                return
            asked += 1

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield failures
    finally:
        ended.set()
        client.join()


@BOTH
def test_every_request_is_answered_while_agents_come_and_go(
    responder: Responder, loaded_bpffs: Path, cable: Wire, by: AttachBy
) -> None:
    with asking(cable) as failures:
        for _ in range(20):
            again = Responder.open(loaded_bpffs, by)
            again.attach(cable.ifindex)
            fill(again, cable)
            again.close()

    assert failures == []


@pytest.mark.parametrize(("before", "by"), [("tcx", "clsact"), ("clsact", "tcx")])
def test_every_request_is_answered_while_the_way_of_attaching_changes(
    bpffs: Path, cable: Wire, before: AttachBy, by: AttachBy
) -> None:
    """clsact is there before: where it comes or goes, the kernel drops what is being sent."""
    subprocess.run(["tc", "qdisc", "add", "dev", "node", "clsact"], check=True)
    assert loader(bpffs).returncode == 0
    old = Responder.open(bpffs, before)
    fill(old, cable)
    old.attach(cable.ifindex)
    with asking(cable) as failures:
        new = Responder.open(bpffs, by)
        new.attach(cable.ifindex)
    try:
        assert failures == []
        assert (old.attached(), new.attached()) == (frozenset(), {cable.ifindex})
        assert filters() == (["herald"] if by == "clsact" else [])
    finally:
        for opened in (new, old):
            opened.detach(cable.ifindex)
            opened.close()


@pytest.mark.parametrize("before", ["tcx", "clsact"])
@BOTH
def test_what_an_agent_before_attached_can_be_detached(
    bpffs: Path, cable: Wire, before: AttachBy, by: AttachBy
) -> None:
    """Also on an interface that no policy selects any more, and on one that is gone."""
    ip("link", "add", "second", "type", "veth", "peer", "third")
    assert loader(bpffs).returncode == 0
    old = Responder.open(bpffs, before)
    for name in ("node", "second"):
        old.attach(socket.if_nametoindex(name))
    old.close()
    ip("link", "delete", "second")

    new = Responder.open(bpffs, by)

    assert new.attached() == {cable.ifindex}
    new.detach(cable.ifindex)
    new.close()
    assert filters() == []
    assert [path.name for path in (bpffs / "v1").glob("*-*")] == [program_pin(bpffs).name]


@BOTH
def test_a_new_program_takes_over_without_a_gap(
    bpffs: Path, cable: Wire, by: AttachBy, changed_source: ChangedSource
) -> None:
    assert loader(bpffs).returncode == 0
    old = Responder.open(bpffs, by)
    fill(old, cable)
    old.attach(cable.ifindex)
    newer = changed_source(("ip.h", "ANSWER_TTL 64", "ANSWER_TTL 65"))

    with asking(cable) as failures:
        assert loader(bpffs, source=newer).returncode == 0
        attach_as(newer, bpffs, cable, by)

    assert failures == []
    cable.send(bytes(ping4()))
    assert cable.receive() == bytes(ping4_reply(ttl=65))
    old.detach(cable.ifindex)
    old.close()


def attach_as(newer: Path, bpffs: Path, cable: Wire, by: AttachBy) -> None:
    """An agent of the version that this loader is of starts, attaches, and ends."""
    script = f"""
import importlib.util, sys
from pathlib import Path
sys.path[:0] = {[str(AGENT), *sys.path]!r}
name = "herald.datapath.loader"
spec = importlib.util.spec_from_file_location(name, {str(newer)!r})
sys.modules[name] = loader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loader)
import herald.datapath
herald.datapath.loader = loader
from herald.datapath.responder import Responder
new = Responder.open(Path({str(bpffs)!r}), {by!r})
new.attach({cable.ifindex})
assert new.attached() == {{{cable.ifindex}}}
"""
    subprocess.run([sys.executable, "-c", script], check=True)


LAYOUT_2 = (
    ("layout.h", "LAYOUT_VERSION 1", "LAYOUT_VERSION 2"),
    ("layout.h", "__u64 claimed;", "__u64 since;\n    __u64 claimed;"),
    ("layout.h", "LAYOUT_SIZE(entry, 16)", "LAYOUT_SIZE(entry, 24)"),
    ("layout.h", "LAYOUT_FIELD(entry, claimed, 8)", "LAYOUT_FIELD(entry, claimed, 16)"),
    ("../loader.py", "LAYOUT_VERSION = 1", "LAYOUT_VERSION = 2"),
    ("../loader.py", "_HASH, 8, 16,", "_HASH, 8, 24,"),
    ("../loader.py", "_HASH, 20, 16,", "_HASH, 20, 24,"),
    (
        "../loader.py",
        "LAYOUTS = {\n",
        """_ENTRY2 = Fields("=6sHQQ", ("mac", "flags", "since", "claimed"))
LAYOUTS = {
    2: {"vip4": _ENTRY2, "vip6": _ENTRY2, "seen4": _SEEN, "seen6": _SEEN, "own": _OWN,
        "session": _SESSION},
""",
    ),
)


@BOTH
@pytest.mark.parametrize("prepared", [True, False])
def test_another_layout_takes_over_without_a_gap(
    bpffs: Path, cable: Wire, changed_source: ChangedSource, by: AttachBy, prepared: bool
) -> None:
    """By tcx with the loader already, by clsact with the agent that it starts."""
    assert loader(bpffs).returncode == 0
    old = Responder.open(bpffs, by)
    fill(old, cable)
    old.attach(cable.ifindex)
    newer = changed_source(*LAYOUT_2)

    with asking(cable) as failures:
        if prepared:
            done = loader(bpffs, "--prepare", source=newer)
            assert done.returncode == 0, done.stderr
            # The agent that runs goes on with what it has.
            assert {path.name for path in bpffs.iterdir()} == {"v1", "v2"}
            assert old.attached() == {cable.ifindex}
            fill(old, cable)
        done = loader(bpffs, source=newer)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in bpffs.iterdir()} == {"v2"}
        attach_as(newer, bpffs, cable, by)

    assert ("already" in done.stdout) == prepared
    assert failures == []
    # The old maps are nobody's any more; the new ones hold the same.
    answered = old.seen()[ip_address(VIP4)].answered
    old.set_session(0, 0, 0, hold=False)
    cable.send(ASK)
    assert cable.receive() == ANSWER
    assert old.seen()[ip_address(VIP4)].answered == answered
    old.close()

    # An older loader does not know what a newer one left: it must not answer uncontrolled.
    assert loader(bpffs).returncode == 0
    assert {path.name for path in bpffs.iterdir()} == {"v1"}
    assert_silent(cable)


@pytest.fixture
def dropper(loaded_bpffs: Path) -> Iterator[Path]:
    """Somebody else's program, which drops every frame: r0 = TC_ACT_SHOT; exit."""
    pin = loaded_bpffs.parent / "dropper"
    program = load_program(bytes.fromhex("b7000000020000009500000000000000"))
    obj_pin(program, pin)
    os.close(program)
    yield pin
    pin.unlink()


def add_filter(side: str, preference: int, program: Path) -> None:
    tc = ["tc", "filter", "add", "dev", "node", side, "pref", str(preference), "protocol", "all"]
    subprocess.run([*tc, "bpf", "direct-action", "object-pinned", str(program)], check=True)


@pytest.mark.parametrize("by", ["clsact"])
@pytest.mark.parametrize("preference", [1, 2])
def test_filters_of_others_are_left_alone(
    responder: Responder, loaded_bpffs: Path, cable: Wire, dropper: Path, preference: int
) -> None:
    """Also those that come at our own priority, and while another agent takes over."""
    add_filter("ingress", 2, dropper)
    add_filter("egress", preference, dropper)
    theirs = [name for name in filters() if name != "herald"]
    assert len(theirs) == 1
    assert filters() == ["herald", *theirs]

    again = Responder.open(loaded_bpffs, "clsact")
    again.attach(cable.ifindex)
    assert filters() == ["herald", *theirs]
    again.detach(cable.ifindex)
    again.close()

    assert (filters("ingress"), len(filters("egress"))) == (theirs, 1)
    assert "clsact" in qdiscs()
    subprocess.run(["tc", "qdisc", "delete", "dev", "node", "clsact"], check=True)


@BOTH
def test_programs_of_others_that_drop_cannot_hide_requests(
    responder: Responder, cable: Wire, dropper: Path, by: AttachBy
) -> None:
    if by == "tcx":
        subprocess.run(["tc", "qdisc", "add", "dev", "node", "clsact"], check=True)
    add_filter("ingress", 2 if by == "clsact" else 1, dropper)

    cable.send(ASK)

    assert cable.receive() == ANSWER
    # All else they see as before: they drop what the kernel itself would answer.
    ip("address", "add", "192.0.2.50/24", "dev", "node")
    assert cable.ask(bytes(arp(tpa="192.0.2.50")), ASK, ANSWER) == []
    subprocess.run(["tc", "qdisc", "delete", "dev", "node", "clsact"], check=True)


@pytest.mark.parametrize("by", ["tcx"])
def test_a_program_that_was_put_before_ours_is_overtaken(
    responder: Responder, cable: Wire, dropper: Path
) -> None:
    program = obj_get(dropper)
    before = struct.pack("=IIIII", program, cable.ifindex, tcx.BPF_TCX_INGRESS, tcx.BPF_F_BEFORE, 0)
    theirs = tcx.bpf(tcx.BPF_LINK_CREATE, before)
    (their_id, our_id) = chain(cable.ifindex)
    assert responder.attached() == frozenset()

    responder.attach(cable.ifindex)

    assert responder.attached() == {cable.ifindex}
    assert chain(cable.ifindex) == [our_id, their_id]
    cable.send(ASK)
    assert cable.receive() == ANSWER
    responder.detach(cable.ifindex)
    assert chain(cable.ifindex) == [their_id]
    os.close(theirs)
    os.close(program)


@pytest.mark.parametrize("by", ["clsact"])
def test_a_filter_that_was_put_before_ours_is_overtaken(
    responder: Responder, cable: Wire, dropper: Path
) -> None:
    add_filter("ingress", 1, dropper)
    assert filters()[1:] == ["herald"]
    assert responder.attached() == frozenset()

    responder.attach(cable.ifindex)

    assert responder.attached() == {cable.ifindex}
    assert filters()[0] == "herald"
    assert len(filters()) == 2
    cable.send(ASK)
    assert cable.receive() == ANSWER
    subprocess.run(["tc", "qdisc", "delete", "dev", "node", "clsact"], check=True)


@pytest.mark.parametrize("by", ["tcx"])
def test_detached_behind_our_back_is_seen_and_mended(
    responder: Responder, loaded_bpffs: Path, cable: Wire
) -> None:
    fd = tcx.obj_get(loaded_bpffs / "v1" / f"link-{cable.ifindex}")
    tcx.bpf(tcx.BPF_LINK_DETACH, fd.to_bytes(4, "little"))

    assert responder.attached() == frozenset()
    responder.attach(cable.ifindex)
    assert responder.attached() == {cable.ifindex}
    cable.send(ASK)
    assert cable.receive() == ANSWER


@BOTH
def test_remove_detaches_and_unpins(cable: Wire, bpffs: Path, by: AttachBy) -> None:
    assert loader(bpffs).returncode == 0
    responder = Responder.open(bpffs, by)
    fill(responder, cable)
    responder.attach(cable.ifindex)
    cable.send(ASK)
    assert cable.receive() == ANSWER
    responder.close()

    done = loader(bpffs, "--remove")

    assert done.returncode == 0, done.stderr
    assert not bpffs.exists()
    assert qdiscs() == ["noqueue"]
    assert_silent(cable)


def test_auto_is_tcx_where_the_kernel_has_it(loaded_bpffs: Path, cable: Wire) -> None:
    responder = Responder.open(loaded_bpffs, "auto")
    responder.attach(cable.ifindex)
    try:
        assert filters() == ([] if tcx.supported() else ["herald"])
    finally:
        responder.detach(cable.ifindex)
        responder.close()


def test_auto_is_clsact_where_the_kernel_has_no_tcx(
    loaded_bpffs: Path, cable: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels 5.8 to 6.5."""
    monkeypatch.setattr(tcx, "supported", lambda: False)
    responder = Responder.open(loaded_bpffs, "auto")
    fill(responder, cable)
    responder.attach(cable.ifindex)
    try:
        assert filters() == ["herald"]
        assert responder.attached() == {cable.ifindex}
        cable.send(ASK)
        assert cable.receive() == ANSWER
    finally:
        responder.detach(cable.ifindex)
        responder.set_entries(responder.entries().keys(), {})
        responder.close()


@BOTH
def test_ten_thousand_entries_and_back(responder: Responder, cable: Wire) -> None:
    entries = {
        EntryKey(ip_address(base + n), cable.ifindex): entry(7)
        for base in (0x0A000000, 0xFD00 << 112)
        for n in range(5000)
    }
    responder.set_entries((), entries)
    assert entries.items() <= responder.entries().items()
    responder.set_entries([*entries, EntryKey(ip_address(PEER4), 3)], {})
    assert set(responder.entries()) == {
        EntryKey(ip_address(vip), cable.ifindex) for vip in (VIP4, VIP6)
    }


@pytest.mark.parametrize("by", ["tcx"])
def test_a_full_table_keeps_what_it_has_and_says_so(responder: Responder, cable: Wire) -> None:
    entries = {EntryKey(ip_address(0x0A000000 + n), cable.ifindex): entry(7) for n in range(65537)}

    with pytest.raises(
        DatapathError, match=r"map vip4 is full: it has room for 65536 .* 2 of 65537"
    ):
        responder.set_entries((), entries)

    assert EntryKey(ip_address(VIP4), cable.ifindex) in responder.entries()
    cable.send(ASK)
    assert cable.receive() == ANSWER


CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF = 12, 13, 39


def become_the_agent() -> None:
    """As the unit runs it: another user, three capabilities, no way to more."""
    libc = ctypes.CDLL(None, use_errno=True)
    nobody = pwd.getpwnam("nobody")
    pr_set_keepcaps, pr_set_no_new_privs = 8, 38
    assert libc.prctl(pr_set_keepcaps, 1, 0, 0, 0) == 0
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    wanted = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_BPF
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    header = struct.pack("=II", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = struct.pack("=IIIIII", low, low, 0, high, high, 0)
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    assert libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) == 0


@BOTH
def test_the_agent_needs_no_root(cable: Wire, bpffs: Path, by: AttachBy) -> None:
    assert loader(bpffs, "--user", "nobody").returncode == 0
    assert clsact.Clsact  # imported while the tests' Python may still be read
    child = os.fork()
    if child == 0:
        status = 1
        try:
            become_the_agent()
            agent = Responder.open(bpffs, by)
            fill(agent, cable)
            agent.attach(cable.ifindex)
            cable.send(ASK)
            assert cable.receive() == ANSWER
            assert agent.poll(5)
            assert len(list(agent.events())) == 1
            assert agent.seen()[ip_address(VIP4)].answered == 1
            assert agent.attached() == {cable.ifindex}
            agent.detach(cable.ifindex)
            agent.set_entries(agent.entries().keys(), {})
            assert agent.entries() == {}
            agent.set_session(0, 0, 0, hold=False)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@BOTH
def test_announcements_of_another_own_interface_are_no_conflict(
    responder: Responder, cable: Wire
) -> None:
    """Two interfaces of one node on one segment, in every form in which the agent learns a MAC."""
    ip("link", "add", "second", "address", OTHER_MAC, "type", "veth", "peer", "third")
    second = socket.if_nametoindex("second")
    other = MAC(OTHER_MAC)

    def conflicts() -> int:
        return conflicts_of_one_announcement(responder, cable, OTHER_MAC)

    responder.set_own({second: other})
    assert conflicts() == 0

    for _ in range(2):
        responder.set_own({})
    assert conflicts() == 1

    responder.learn_own({other: second})
    assert conflicts() == 0

    responder.set_entries((), {EntryKey(ip_address(VIP4), second): entry(boottime(), OTHER_MAC)})
    for _ in range(2):
        responder.set_own({})
    assert conflicts() == 0, "what is answered with is own"


@BOTH
def test_a_new_mac_of_another_own_interface_is_known_before_it_is_announced(
    responder: Responder, cable: Wire
) -> None:
    """And the one that it had is a stranger's once nothing is answered with it any more."""
    old, new = OTHER_MAC, "02:00:00:00:00:77"
    ip("link", "add", "second", "address", old, "type", "veth", "peer", "third")
    second = socket.if_nametoindex("second")
    here = EntryKey(ip_address(VIP4), second)
    nobody = SimpleNamespace(reconcile=lambda: "")
    heard: list[int] = []

    class Segment:
        """What `second` sends comes in by `node`."""

        def send(self, announcements: Iterable[Announcement]) -> str:
            for each in announcements:
                mac = each.mac.hex(":")
                heard.append(conflicts_of_one_announcement(responder, cable, mac))
            return ""

        def solicit(self, solicitations: object) -> str:
            return ""

    hands = Hands(
        responder, Segment(), nobody, nobody, nobody, Counters(), boottime, lambda event: None
    )

    def announce(mac: str) -> None:
        answer = hands.carry_out(SendFrames(1, (Announcement(here.address, second, MAC(mac)),)))
        assert answer == FramesAnswer(1)

    responder.set_own({second: MAC(old)})
    responder.set_entries((), {here: entry(boottime(), old)})
    ip("link", "set", "second", "address", new)
    announce(new)
    responder.set_own({second: MAC(new)})
    announce(old)
    responder.set_entries((), {here: entry(boottime(), new)})
    responder.set_own({second: MAC(new)})
    announce(old)
    announce(new)
    assert heard == [0, 0, 0, 0]

    for _ in range(2):
        responder.set_own({second: MAC(new)})
    assert conflicts_of_one_announcement(responder, cable, old) == 1
    assert conflicts_of_one_announcement(responder, cable, new) == 0


def conflicts_of_one_announcement(responder: Responder, cable: Wire, mac: str) -> int:
    """That it makes by coming in."""
    garp = bytes(arp(2, src=mac, spa=VIP4, tha=mac, tpa=VIP4))
    assert cable.ask(ASK, ASK, ANSWER) == []
    assert cable.receive() == ANSWER
    before = responder.seen()[ip_address(VIP4)].conflicts
    assert cable.ask(garp, ASK, ANSWER) == []
    return responder.seen()[ip_address(VIP4)].conflicts - before
