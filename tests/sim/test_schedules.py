# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Random disasters: at no instant do two kernels answer, and afterwards every Service is served again.

``HERALD_SEEDS=10000`` runs more of them; a seed that fails replays exactly.
"""

from __future__ import annotations

import os
import random
from typing import Literal

import pytest
from tests.sim.cluster import Cluster, Machine

from herald.core.events import Stop
from herald.core.model import Service
from herald.core.settings import Settings

SEEDS = int(os.environ.get("HERALD_SEEDS", "80"))


def disaster(cluster: Cluster, machine: Machine, rng: random.Random) -> str:
    """One thing that goes wrong, or right again, with one machine."""
    if not machine.powered:
        machine.power_on()
        return "power on"
    if machine.paused:
        machine.resume()
        return "resume"
    if machine.agent is None:
        machine.start()
        return "start"
    if not machine.plugged:
        machine.plug()
        return "plug"
    if not machine.reachable:
        machine.join()
        return "join"
    match rng.randrange(10):
        case 0:
            machine.power_off()
            return "power off"
        case 1 | 2:
            machine.kill()
            return "kill"
        case 3 | 4:
            machine.pause()
            return "pause"
        case 5 | 6:
            machine.cut()
            return "cut"
        case 7 | 8:
            machine.unplug()
            return "unplug"
        case _:
            machine.post(Stop())
            return "stop"


@pytest.mark.parametrize("mode", ["Withdraw", "Hold"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_one_answers_and_all_are_served_in_the_end(
    seed: int, mode: Literal["Withdraw", "Hold"]
) -> None:
    rng = random.Random(seed)
    cluster = Cluster(
        rng.choice([2, 3, 3, 5]),
        seed=seed,
        settings=Settings(on_api_loss=mode),
        drift=rng.choice([0, 0.024]),
        lost_answers=rng.choice([0, 0, 0.05, 0.2]),
    )
    names = [f"web{i}" for i in range(rng.choice([1, 4, 8]))]
    for name in names:
        cluster.service(name)
    cluster.start()
    cluster.run(rng.uniform(0, 5))
    story = []
    for _ in range(rng.randrange(4, 24)):
        if rng.random() < 0.1:
            (cluster.api_away if cluster.api.up else cluster.api_back)()
            story.append(f"{cluster.now / 1e9:.3f} api {cluster.api.up}")
        elif rng.random() < 0.1 and len(names) > 1:
            cluster.api.remove(Service, ("default", names[-1]))
            cluster.run(rng.uniform(0, 3))
            cluster.service(names[-1])
        else:
            machine = rng.choice(list(cluster.machines.values()))
            story.append(
                f"{cluster.now / 1e9:.3f} {machine.name} {disaster(cluster, machine, rng)}"
            )
        cluster.run(rng.choice([0.05, 0.3, 1, 2, 4]) * rng.random())
    cluster.lost_answers = 0
    cluster.api_back()
    for machine in cluster.machines.values():
        while (
            not machine.powered
            or machine.paused
            or not machine.agent
            or not machine.reachable
            or not machine.plugged
        ):
            disaster(cluster, machine, rng)
    try:
        cluster.run_until(lambda: cluster.served(*names), 25)
        cluster.run(5)
        assert cluster.served(*names)
        given = {f"vip-{address}" for name in names for address in cluster.get(name).ingress}
        assert cluster.vip_leases() == given
    except AssertionError as failure:
        raise AssertionError("\n".join([str(failure), *story])) from failure
