# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What people do to Leases with kubectl: the address goes on or comes back, and two never answer for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from watched import (
    BEYOND,
    LEASES,
    MACS,
    NAMESPACE,
    assert_leases_agree,
    assert_one_at_a_time,
    await_health,
    lease_name,
    linger,
)

if TYPE_CHECKING:
    from pathlib import Path

    from watched import Watched

pytestmark = pytest.mark.lab

PRESENCE, VIP = "presence", "vip"
HANDS = {
    "a duration of nothing": (PRESENCE, "annotate", "herald.dev/duration-ms=1"),
    "a duration of garbage": (PRESENCE, "annotate", "herald.dev/duration-ms=⏱"),
    "no report": (PRESENCE, "annotate", "herald.dev/presence-"),
    "an instance of garbage": (PRESENCE, "annotate", "herald.dev/instance=garbage"),
    "another agent's instance": (PRESENCE, "annotate", "herald.dev/instance=another/process"),
    "its presence fenced": (PRESENCE, "patch", '{"spec": {"holderIdentity": ""}}'),
    "its presence under another name": (
        PRESENCE,
        "patch",
        '{"spec": {"holderIdentity": "nobody"}}',
    ),
    "its presence deleted": (PRESENCE, "delete"),
    "an epoch of garbage": (VIP, "annotate", "herald.dev/epoch=garbage"),
    "no epoch": (VIP, "annotate", "herald.dev/epoch-"),
    "another's epoch": (VIP, "annotate", "herald.dev/epoch={another}"),
    "an epoch of nobody": (VIP, "annotate", "herald.dev/epoch=of-before/3"),
    "a copy of when another let go": (
        VIP,
        "annotate",
        "herald.dev/epoch=",
        "herald.dev/released={another}",
    ),
    "the address's lease deleted": (VIP, "delete"),
    "the address's lease torn out": (VIP, "tear out"),
}
"""What is done to the holder's presence, or to the lease of the address it holds."""


def do(watched: Watched, whose: str, verb: str, *change: str) -> None:
    """By kubectl, which waits for what it deletes to be gone."""
    name = f"presence-{watched.holder}" if whose == PRESENCE else lease_name(watched.address)
    if verb == "tear out":
        do(watched, whose, "patch", '{"metadata": {"finalizers": null}}')
        verb = "delete"
    if verb == "annotate":
        another = next(node for node in MACS.values() if node != watched.holder)
        change = tuple(word.replace("{another}", epoch_of(watched, another)) for word in change)
    words = {"annotate": ("--overwrite",), "patch": ("--type=merge", "--patch"), "delete": ()}[verb]
    watched.lab.kubectl(verb, "lease", name, f"--namespace={NAMESPACE}", *words, *change)


def epoch_of(watched: Watched, node: str) -> str:
    presence = watched.lab.api.get(f"{LEASES}/presence-{node}")
    return f"{presence['metadata']['uid']}/{presence['spec'].get('leaseTransitions', 0)}"


def in_force(watched: Watched) -> bool:
    """Whoever holds the address by its lease lives, in the epoch that the lease names."""
    lease = watched.lab.lease(watched.address) or {"spec": {}}
    holder = lease["spec"].get("holderIdentity", "")
    presence = watched.lab.api.get(f"{LEASES}/presence-{holder}") if holder in MACS.values() else {}
    if not presence or presence["spec"].get("holderIdentity") != holder:
        return False
    named = lease["metadata"]["annotations"].get("herald.dev/epoch")
    return bool(named == epoch_of(watched, holder))


def test_no_hand_in_the_leases_makes_two_answer_or_lets_an_address_go(
    watched: Watched, tmp_path: Path
) -> None:
    with watched.answered(tmp_path) as answers:
        for what, hand in HANDS.items():
            do(watched, *hand)
            watched.wait_for(f"{what}: the address to be held", lambda: in_force(watched))
            linger(BEYOND)
            watched.wait_for(f"{what}: the address still to be held", lambda: in_force(watched))
        await_health(watched.lab)
        linger(BEYOND)
    assert_one_at_a_time(answers)
    assert_leases_agree(watched.lab)
