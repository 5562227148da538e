# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Random frames: the responder and the reference agree on every one of them.

Frames are golden ones with bytes changed, cut, or put in from elsewhere, half of them with their
checksums mended, so that they get past the first check; the session changes meanwhile, and claims are
silenced and made anew. HERALD_FRAMES sets how many (default 20,000), HERALD_SEED which.
"""

from __future__ import annotations

import os
import random
from ipaddress import ip_address

import pytest
from tests.bpf import test_arp, test_nd, test_ping
from tests.bpf.frames import MAC, OTHER_MAC, OWN_MAC, PEER_MAC, SECOND_VIP4, SECOND_VIP6, VIP4, VIP6
from tests.bpf.kernel import HOUR, IFINDEX, PASS, SENT, Kernel, boottime
from tests.bpf.reference import IPV4, IPV6, Reference, State, checksum
from tests.bpf.table import entry

from herald.core.kernel import EntryKey, Session

FRAMES = int(os.environ.get("HERALD_FRAMES", "20000"))
SEED = int(os.environ.get("HERALD_SEED", "1"))
SHORTEST = {IPV4: 34, IPV6: 54}  # the kernel's test run refuses less

GOLDEN = [
    bytes(row.frame)
    for row in (*test_arp.ROWS, *test_nd.ROWS, *test_ping.PING4, *test_ping.PASSED4,
                *test_ping.PING6, *test_ping.PASSED6)
]  # fmt: skip
WORDS = [
    *(MAC(mac) for mac in (OWN_MAC, PEER_MAC, OTHER_MAC, "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00")),
    *(ip_address(vip).packed for vip in (VIP4, SECOND_VIP4, VIP6, SECOND_VIP6)),
    *(bytes([byte]) for byte in (0, 1, 2, 58, 64, 128, 129, 135, 136, 255)),
]


def mutate(rng: random.Random) -> bytes:
    """One frame."""
    frame = bytearray(rng.choice(GOLDEN))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 8))):
        at = rng.randrange(len(frame))
        match rng.randrange(6):
            case 0:
                frame[at] = rng.randrange(256)
            case 1:
                frame[at] ^= 1 << rng.randrange(8)
            case 2:
                word = rng.choice(WORDS)
                frame[at : at + len(word)] = word
            case 3:
                other = rng.choice(GOLDEN)
                frame[at:] = other[at:]
            case 4:
                del frame[max(at, 14) :]
            case 5:
                frame += rng.randbytes(rng.choice((1, 4, 8, 16)))
    if rng.random() < 0.5:
        mend(frame)
    shortest = SHORTEST.get(bytes(frame[12:14]), 14)
    return bytes(frame) + bytes(max(0, shortest - len(frame)))


def mend(frame: bytearray) -> None:
    """Right lengths and checksums."""
    if frame[12:14] == IPV4 and len(frame) >= 34:
        frame[16:18] = (len(frame) - 14).to_bytes(2, "big")
        frame[24:26] = bytes(2)
        frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
    if frame[12:14] == IPV6 and len(frame) >= 58:
        length = (len(frame) - 54).to_bytes(4, "big")
        frame[18:20] = length[2:]
        frame[56:58] = bytes(2)
        pseudo = bytes(frame[22:54]) + length + bytes([0, 0, 0, 58])
        frame[56:58] = checksum(pseudo + bytes(frame[54:])).to_bytes(2, "big")


def draw(rng: random.Random) -> State:
    return State(*(rng.random() < 0.5 for _ in range(4)))


def session(state: State, claimed: int) -> Session:
    """The same for the kernel."""
    now = boottime()
    return Session(
        deadline=now + (HOUR if state.valid else -1),
        fuse=now + (HOUR if state.burning else -1),
        renewed=claimed + state.confirmed,
        hold=state.hold,
    )


@pytest.mark.timeout(1800)
def test_random_frames_are_answered_as_the_reference_does(kernel: Kernel) -> None:
    rng = random.Random(SEED)
    vips = {ip_address(VIP4): True, ip_address(SECOND_VIP4): False,
            ip_address(VIP6): True, ip_address(SECOND_VIP6): False}  # fmt: skip
    reference = Reference(MAC(OWN_MAC), vips)
    claimed, answers, answers_held = 0, 0, 0

    for number in range(FRAMES):
        if not claimed or rng.random() < 0.02:  # all are claimed anew
            claimed += 1
            reference.silenced.clear()
            kernel.hold_entries(
                {EntryKey(at, IFINDEX): entry(claimed, ping=ping) for at, ping in vips.items()}
            )
            kernel.set_session(session(reference.state, claimed))
        if rng.random() < 0.05:
            reference.state = draw(rng)
            kernel.set_session(session(reference.state, claimed))
        frame = mutate(rng)
        wanted = reference.answer(frame)

        verdict, after = kernel.verdict(frame)

        if (verdict, after) != ((SENT, wanted) if wanted else (PASS, frame)):
            pytest.fail(
                f"frame {number} of seed {SEED}, {frame.hex()}, in {reference.state}, silenced "
                f"{reference.silenced}: wanted {wanted.hex() if wanted else 'passed'}, "
                f"found verdict {verdict}, {after.hex()}"
            )
        answers += wanted is not None
        answers_held += wanted is not None and not reference.state.valid

    assert answers > FRAMES // 50, "too few of the frames had an answer to compare"
    assert answers_held > FRAMES // 500, "too few of them past the deadline"
    conflicts = {
        address: seen.conflicts for address, seen in kernel.seen().items() if seen.conflicts
    }
    assert conflicts == reference.conflicts
    print(f"{FRAMES} frames, {answers} answered, {answers_held} of them past the deadline")
