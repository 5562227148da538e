# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What an operator sets about decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from herald.core.model import SECOND

LATE_NEWS = 2 * SECOND
"""How late the watch of Leases may tell a node of something: what it wrote itself must be back by then, or it lists."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in nanoseconds."""

    duration_ns: int = 2 * SECOND
    """D: how long an observer must see no change of a presence before it fences it."""
    renew_budget: int = 50
    """Renewals a second in the whole cluster; more announcing nodes than it allows renew less often."""
    on_api_loss: Literal["Hold", "Withdraw"] = "Hold"
    default_class: bool = True
    """Take Services without a loadBalancerClass too."""
    adopt_classes: tuple[str, ...] = ()
    hold_down_ns: int = 120 * SECOND
    """How long membership must have been quiet before addresses move for a better placement."""
    refresh_ns: int = 90 * SECOND
    """How often a held address is announced again."""
    await_proxy: bool = False
    """Whether a node that has just begun waits for word of kube-proxy's health (ProxySeen)."""
    await_timing: bool = False
    """Whether a node that has just begun waits for word of the API server's latency (ApiTimed)."""
    announce_rate: int = 2000
    """Addresses announced in a second, at the most."""
