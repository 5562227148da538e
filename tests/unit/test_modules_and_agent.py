# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The modules read what the agents write, and share no code with them: here they agree."""

from __future__ import annotations

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils import (
    _announcements,
    _leases,
    _names,
)

from herald.core import leases, model
from herald.core.election.placement import why_out_of_service


@pytest.mark.parametrize("length", [1, 200, 201, 253])
def test_a_node_s_part_of_a_name(length: int) -> None:
    node = "n" * length
    assert _names.node_key(node) == model.node_key(node)


def test_names() -> None:
    assert _names.FINALIZER == model.FINALIZER
    assert _names.IPAM_LEASE == model.IPAM_LEASE
    assert _leases.PRESENCE == model.PRESENCE_PREFIX
    assert _leases.VIP == model.VIP_PREFIX


def test_a_claim_and_the_presence_that_it_counts_by() -> None:
    held = model.Lease("presence-n1", uid="u1", transitions=2)
    interfaces = (
        leases.PresenceInterface("eth0", "02:00:00:00:00:01", True, True, False, (), None),
        leases.PresenceInterface("eth1", "02:00:00:00:00:02", True, False, False, (), None),
        leases.PresenceInterface("cni0", "02:00:00:00:00:03", True, True, True, (), None),
    )
    presence = {
        "metadata": {
            "name": held.name,
            "uid": held.uid,
            "annotations": {
                leases.PRESENCE: leases.PresenceReport("n1", "0.1.0", False, interfaces).encode()
            },
        },
        "spec": {"holderIdentity": "n1", "leaseTransitions": held.transitions},
    }
    claim = {
        "metadata": {
            "name": "vip-192.0.2.7",
            "annotations": {
                leases.EPOCH: str(leases.Presence(held).epoch),
                leases.POOL: "p",
                leases.SERVICES: "a/b,c/d",
                leases.REASON: "first announcement",
            },
        },
        "spec": {"holderIdentity": "n1"},
    }
    assert _announcements.addresses([claim, presence]) == [
        {
            "address": "192.0.2.7",
            "node": "n1",
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01"}],
            "since": "",
            "reason": "first announcement",
            "pool": "p",
            "services": ["a/b", "c/d"],
        }
    ]


def test_an_address_that_a_draining_node_has_left() -> None:
    """The words after the node's name are why it may announce nothing."""
    report = leases.PresenceReport("n1", "0.1.0", True, ())
    presence = model.Lease("presence-n1", annotations={leases.PRESENCE: report.encode()})
    node = model.Node("n1", "u1", {}, {}, (), True)
    why = why_out_of_service(node, leases.Presence(presence))
    held = model.Lease("vip-192.0.2.7", holder="n1", annotations={leases.EPOCH: "u1/2"})
    left = leases.released(held, f"n1: {why}")
    notes = {"name": left.name, "annotations": dict(left.annotations)}
    lease = {"metadata": notes, "spec": {"holderIdentity": left.holder}}
    assert _announcements.left_by([lease], "n1") == ["192.0.2.7"]
    assert _announcements.left_by([lease], "n2") == []
