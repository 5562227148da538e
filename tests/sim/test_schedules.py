# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Schedules of disasters, drawn by hypothesis: the five invariants hold at every instant, and all is served again.

One seed stands for a batch of 25 schedules of one mode: the even ones ``Withdraw``, the odd ones ``Hold``. ``make sim
SEEDS=10000`` runs so many schedules; ``make sim SEED=17`` the batch of that seed again, which fails, and shrinks, as
it did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings
from tests.sim.disasters import MODES, Disaster, Schedule, run, schedules

from herald.core.election import election, moves

BATCH = 25
SCHEDULES = int(os.environ.get("HERALD_SEEDS", "300"))
ONE = os.environ.get("HERALD_SEED", "")
BATCHES = [int(ONE)] if ONE else list(range(-(-SCHEDULES // BATCH)))


@pytest.fixture(autouse=True, scope="module")
def few_locks_at_a_time() -> Iterator[None]:
    """A step ends before it has looked at all locks, as it does with thousands of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(election, "BATCH", 3)
        patch.setattr(moves, "BATCH", 1)
        yield


# Schedules that once failed.
FOUND = {
    "a Service was told an address that a write without an answer was taking away from it": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=63, kind="frames", node=0, lasts=1700, much=23),
            Disaster(after=79, kind="slow", node=0, lasts=1, much=0),
            Disaster(after=0, kind="cut", node=4, lasts=127, much=18),
            Disaster(after=0, kind="segment", node=0, lasts=1, much=0),
            Disaster(after=42, kind="power", node=1, lasts=70, much=0),
            Disaster(after=72, kind="forbidden", node=0, lasts=1, much=50),
            Disaster(after=500, kind="requests late", node=0, lasts=2436, much=7),
            Disaster(after=668, kind="service", node=0, lasts=401, much=0),
            Disaster(after=27, kind="drain", node=0, lasts=1, much=0),
            Disaster(after=79, kind="segment", node=0, lasts=103, much=0),
            Disaster(after=880, kind="lag", node=0, lasts=1700, much=10),
            Disaster(after=0, kind="power", node=2, lasts=1, much=0),
            Disaster(after=100, kind="pause", node=0, lasts=1, much=0),
        ),
        seed=263,
        nodes=3,
        services=1,
        drift=True,
        hold_down=120,
        renew_budget=50,
    ),
    "a shorter D was said while the longer deadline was still being set": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=52, kind="unplug", node=3, lasts=1663, much=31),
            Disaster(after=854, kind="power", node=0, lasts=2500, much=48),
            Disaster(after=5, kind="requests late", node=0, lasts=2232, much=41),
            Disaster(after=89, kind="power", node=4, lasts=300, much=5),
        ),
        seed=532,
        services=8,
        hold_down=3,
    ),
    "a D that was said once only kept others waiting for the one before": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=0, kind="drain", node=1, lasts=9000),
            Disaster(after=20, kind="cut", node=0, lasts=5000),
            Disaster(after=10000, kind="drain", node=2, lasts=9000),
            Disaster(after=20, kind="cut", node=1, lasts=5000),
            Disaster(after=5000, kind="compact"),
        ),
        services=8,
    ),
    "a D of 1 ms, written by hand, was believed by who had seen no other": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=300, kind="stop", node=1, lasts=1000),
            Disaster(after=900, kind="cut", node=0, lasts=4000),
            Disaster(after=0, kind="hand on presence", node=0, much=2),
            Disaster(after=3000, kind="compact"),
        ),
        nodes=2,
        services=2,
    ),
    "what a short cut held up was compacted, and the watch told nothing of it for ever": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=0, kind="errors", node=1, lasts=663, much=10),
            Disaster(after=41, kind="cut", node=4, lasts=11095, much=61),
            Disaster(after=43, kind="service", node=2, lasts=36, much=49),
            Disaster(after=40, kind="compact", node=3, lasts=596, much=36),
        ),
        seed=243,
        nodes=4,
        services=2,
        hold_down=120,
    ),
    "a kernel that refused its deadline, and its agent announced on": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=1562, kind="kill", node=4, lasts=2954, much=30),
            Disaster(after=2, kind="freeze", node=4, lasts=2934, much=31),
            Disaster(after=76, kind="refuse", node=3, lasts=2934, much=51),
            Disaster(after=1562, kind="service", node=1, lasts=590, much=62),
        ),
        seed=22624,
        nodes=5,
        services=8,
    ),
    "a renewal arrived two seconds after the power of who had sent it was lost": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=284, kind="lag", node=1, lasts=176, much=10),
            Disaster(after=870, kind="requests late", node=1, lasts=2048, much=10),
            Disaster(after=145, kind="cut", node=2, lasts=2423, much=7),
            Disaster(after=835, kind="errors", node=2, lasts=1989, much=62),
            Disaster(after=14, kind="cut", node=0, lasts=2914, much=4),
            Disaster(after=547, kind="power", node=1, lasts=642, much=35),
        ),
        seed=44,
        drift=False,
        services=8,
        gateway=True,
        hold_down=3,
    ),
    "what the allocator wrote to a lease began its count anew, again and again": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=128, kind="pause", node=3, lasts=1400, much=49),
            Disaster(after=19, kind="power", node=4, lasts=921, much=47),
            Disaster(after=21, kind="stop", node=3, lasts=91, much=15),
            Disaster(after=52, kind="drain", node=3, lasts=188, much=0),
            Disaster(after=929, kind="compact", node=2, lasts=160, much=37),
            Disaster(after=133, kind="compact", node=1, lasts=7686, much=10),
            Disaster(after=381, kind="service", node=0, lasts=7776, much=53),
            Disaster(after=68, kind="hand on lease", node=0, lasts=249, much=7),
            Disaster(after=1392, kind="segment", node=1, lasts=128, much=19),
        ),
        seed=11255,
        nodes=4,
        services=2,
        hold_down=3,
    ),
    "a presence whose instance was edited by hand was fenced by its own node, with entries left": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=1277, kind="pause", node=1, lasts=65, much=4),
            Disaster(after=1386, kind="answers lost", node=1, lasts=3000, much=31),
            Disaster(after=220, kind="watches", node=1, lasts=583, much=7),
            Disaster(after=71, kind="stop", node=3, lasts=229, much=40),
            Disaster(after=86, kind="refuse", node=4, lasts=1938, much=51),
            Disaster(after=524, kind="compact", node=2, lasts=279, much=57),
            Disaster(after=316, kind="hand on lease", node=2, lasts=193, much=30),
            Disaster(after=84, kind="kill", node=3, lasts=166, much=25),
            Disaster(after=34, kind="stop", node=0, lasts=3035, much=49),
            Disaster(after=745, kind="cut", node=4, lasts=1001, much=11),
            Disaster(after=553, kind="hand on presence", node=1, lasts=1024, much=9),
            Disaster(after=314, kind="kill", node=2, lasts=2475, much=36),
            Disaster(after=74, kind="forbidden", node=3, lasts=2312, much=23),
            Disaster(after=74, kind="kill", node=1, lasts=199, much=63),
            Disaster(after=457, kind="service", node=1, lasts=1751, much=44),
            Disaster(after=17, kind="unplug", node=0, lasts=2604, much=29),
            Disaster(after=102, kind="freeze", node=1, lasts=239, much=22),
            Disaster(after=98, kind="pause", node=1, lasts=1383, much=44),
            Disaster(after=150, kind="slow answers", node=0, lasts=1536, much=45),
        ),
        seed=6576,
        nodes=4,
        services=8,
        gateway=True,
    ),
    "a lease was edited by hand, and nobody could see it for five seconds": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=1, kind="forbidden", node=3, lasts=358, much=3),
            Disaster(after=321, kind="unplug", node=2, lasts=165, much=38),
            Disaster(after=327, kind="power", node=0, lasts=1767, much=16),
            Disaster(after=324, kind="cut", node=0, lasts=1435, much=60),
            Disaster(after=26, kind="freeze", node=4, lasts=2627, much=33),
            Disaster(after=0, kind="api", node=1, lasts=11404, much=20),
            Disaster(after=649, kind="cut", node=1, lasts=119, much=32),
            Disaster(after=841, kind="segment", node=1, lasts=2394, much=54),
            Disaster(after=1843, kind="requests late", node=3, lasts=168, much=27),
            Disaster(after=77, kind="hand on lease", node=4, lasts=2008, much=46),
            Disaster(after=1237, kind="kill", node=4, lasts=2054, much=45),
            Disaster(after=709, kind="pause", node=3, lasts=203, much=3),
            Disaster(after=86, kind="watches", node=3, lasts=129, much=25),
            Disaster(after=1688, kind="slow", node=0, lasts=851, much=51),
            Disaster(after=614, kind="freeze", node=3, lasts=481, much=57),
            Disaster(after=59, kind="slow", node=4, lasts=4476, much=31),
            Disaster(after=88, kind="kill", node=1, lasts=2818, much=22),
            Disaster(after=241, kind="pause", node=2, lasts=126, much=11),
            Disaster(after=514, kind="refuse", node=2, lasts=2, much=16),
        ),
        seed=2871,
        services=4,
        hold_down=3,
    ),
    "an agent went on in its epoch, said the D of who holds nothing, and was lost": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=66, kind="freeze", node=3, lasts=1677, much=31),
            Disaster(after=17, kind="slow", node=3, lasts=2105, much=39),
            Disaster(after=1583, kind="errors", node=4, lasts=4, much=63),
            Disaster(after=46, kind="stop", node=1, lasts=218, much=61),
            Disaster(after=924, kind="errors", node=3, lasts=95, much=55),
            Disaster(after=0, kind="slow answers", node=2, lasts=1605, much=47),
            Disaster(after=145, kind="power", node=1, lasts=2161, much=54),
            Disaster(after=530, kind="stop", node=4, lasts=11999, much=18),
        ),
        seed=239,
        nodes=4,
        services=4,
        drift=False,
        gateway=True,
        hold_down=3,
    ),
    "all others on the segment stood still, and answered again before whom they had not answered asked": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=324, kind="cut", node=4, lasts=2698, much=62),
            Disaster(after=172, kind="stop", node=0, lasts=1000, much=45),
            Disaster(after=95, kind="watches", node=3, lasts=2564, much=52),
            Disaster(after=3332, kind="freeze", node=4, lasts=3314, much=50),
            Disaster(after=42, kind="service", node=1, lasts=93, much=23),
            Disaster(after=3332, kind="requests late", node=2, lasts=2006, much=37),
            Disaster(after=95, kind="freeze", node=3, lasts=2564, much=52),
            Disaster(after=397, kind="answers lost", node=4, lasts=2487, much=24),
            Disaster(after=95, kind="requests late", node=3, lasts=2564, much=52),
        ),
        seed=173,
        nodes=2,
        hold_down=3,
    ),
    "a D edited by hand was shorter than what the restarted node's kernel still had": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=60, kind="freeze", node=4, lasts=494, much=43),
            Disaster(after=42, kind="hand on lease", node=4, lasts=2158, much=1),
            Disaster(after=253, kind="cut", node=1, lasts=484, much=48),
            Disaster(after=22, kind="cut", node=4, lasts=67, much=8),
            Disaster(after=75, kind="answers lost", node=0, lasts=2191, much=16),
            Disaster(after=100, kind="requests late", node=1, lasts=92, much=46),
            Disaster(after=28, kind="kill", node=2, lasts=360, much=52),
            Disaster(after=38, kind="drain", node=4, lasts=1486, much=7),
            Disaster(after=375, kind="hand on presence", node=2, lasts=221, much=56),
            Disaster(after=26, kind="pause", node=3, lasts=455, much=60),
            Disaster(after=76, kind="freeze", node=3, lasts=1701, much=36),
            Disaster(after=218, kind="api", node=3, lasts=329, much=49),
        ),
        seed=4044,
        drift=False,
        gateway=True,
    ),
    "the node that an address was handed over to began anew before it claimed it": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=77, kind="power", node=2, lasts=1, much=0),
            Disaster(after=0, kind="pause", node=0, lasts=1, much=0),
            Disaster(after=2504, kind="stop", node=0, lasts=13, much=0),
            Disaster(after=1185, kind="lag", node=0, lasts=1, much=0),
            Disaster(after=1636, kind="kill", node=0, lasts=308, much=0),
            Disaster(after=789, kind="power", node=0, lasts=1, much=0),
        ),
        seed=855379,
        nodes=4,
        services=8,
        hold_down=3,
    ),
    "that a lease was not there was answered after it had been seen": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=229, kind="freeze", node=2, lasts=1724, much=0),
            Disaster(after=282, kind="errors", node=0, lasts=442, much=41),
            Disaster(after=689, kind="api", node=3, lasts=352, much=54),
            Disaster(after=1391, kind="slow answers", node=3, lasts=2922, much=34),
            Disaster(after=515, kind="service", node=0, lasts=25, much=40),
            Disaster(after=679, kind="requests late", node=0, lasts=4075, much=32),
            Disaster(after=178, kind="forbidden", node=4, lasts=2048, much=55),
            Disaster(after=3204, kind="unplug", node=4, lasts=241, much=27),
        ),
        seed=458,
        services=8,
        hold_down=3,
    ),
    "etcd was set back to when a lease was there that had gone, before who knew it had renewed": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=300, kind="endpoints", node=0, lasts=1755, much=17),
            Disaster(after=1715, kind="stop", node=0, lasts=1327, much=42),
            Disaster(after=45, kind="restore in haste", node=4, lasts=270, much=60),
            Disaster(after=15, kind="service", node=0, lasts=361, much=45),
            Disaster(after=565, kind="split", node=4, lasts=5000, much=23),
            Disaster(after=197, kind="cut", node=2, lasts=2048, much=39),
            Disaster(after=134, kind="services lag", node=2, lasts=1685, much=21),
            Disaster(after=64, kind="requests late", node=1, lasts=119, much=32),
            Disaster(after=626, kind="errors", node=2, lasts=2532, much=9),
        ),
        seed=1048576,
        nodes=5,
        services=8,
        gateway=True,
        hold_down=3,
    ),
    "etcd was set back while a node was frozen, whose watch then waited for what was long past": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=70, kind="errors", node=3, lasts=1000, much=32),
            Disaster(after=884, kind="freeze", node=1, lasts=1719, much=49),
            Disaster(after=152, kind="lag", node=2, lasts=364, much=23),
            Disaster(after=122, kind="drain", node=2, lasts=2905, much=37),
            Disaster(after=10, kind="restore in haste", node=4, lasts=1709, much=19),
            Disaster(after=951, kind="api", node=4, lasts=648, much=28),
            Disaster(after=56, kind="freeze", node=4, lasts=2847, much=49),
            Disaster(after=882, kind="hand on epoch", node=0, lasts=259, much=30),
            Disaster(after=694, kind="hand on presence", node=3, lasts=2525, much=8),
            Disaster(after=54, kind="split", node=4, lasts=152, much=31),
            Disaster(after=697, kind="unplug", node=2, lasts=362, much=41),
            Disaster(after=51, kind="lag", node=4, lasts=1388, much=3),
        ),
        seed=9561,
        nodes=4,
        services=1,
        drift=False,
        gateway=True,
        hold_down=3,
    ),
    "etcd was set back, and who had not joined yet claimed by a version that had been given again": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=199, kind="endpoints", node=4, lasts=3999, much=11),
            Disaster(after=267, kind="power", node=1, lasts=1700, much=33),
            Disaster(after=287, kind="unplug", node=3, lasts=2541, much=14),
            Disaster(after=55, kind="cut", node=1, lasts=95, much=23),
            Disaster(after=76, kind="kill", node=0, lasts=401, much=43),
            Disaster(after=56, kind="restore", node=3, lasts=11919, much=26),
            Disaster(after=112, kind="node removed", node=4, lasts=1043, much=45),
            Disaster(after=126, kind="slow", node=4, lasts=54, much=13),
            Disaster(after=148, kind="watches", node=2, lasts=13, much=2),
            Disaster(after=1810, kind="errors", node=3, lasts=203, much=24),
            Disaster(after=60, kind="segment", node=3, lasts=145, much=49),
        ),
        seed=617,
        nodes=4,
        services=4,
        drift=True,
        gateway=True,
        hold_down=3,
        renew_budget=50,
    ),
    "a node that was drained no more claimed while it was saying the duration of who holds nothing": Schedule(
        mode="Hold",
        disasters=(
            Disaster(after=890, kind="pause", node=1, lasts=247, much=43),
            Disaster(after=3156, kind="freeze", node=3, lasts=1876, much=7),
            Disaster(after=84, kind="watches", node=3, lasts=422, much=9),
            Disaster(after=34, kind="unplug", node=3, lasts=2659, much=59),
            Disaster(after=410, kind="errors", node=2, lasts=2639, much=0),
            Disaster(after=18, kind="hand on instance", node=4, lasts=1622, much=13),
            Disaster(after=38, kind="pause", node=1, lasts=34, much=54),
            Disaster(after=530, kind="lag", node=2, lasts=152, much=23),
            Disaster(after=303, kind="lag", node=0, lasts=1005, much=37),
            Disaster(after=100, kind="drain", node=2, lasts=3000, much=55),
            Disaster(after=100, kind="refuse", node=1, lasts=2280, much=43),
            Disaster(after=18, kind="answers lost", node=3, lasts=2893, much=25),
            Disaster(after=221, kind="watches", node=1, lasts=2269, much=62),
            Disaster(after=26, kind="unplug", node=2, lasts=402, much=58),
        ),
        seed=68220,
        nodes=3,
        services=8,
        drift=True,
        gateway=True,
        hold_down=3,
        renew_budget=50,
    ),
    "who began again claimed what a hand had given it, and its holder did not know": Schedule(
        mode="Withdraw",
        disasters=(
            Disaster(after=0, kind="unplug", node=0, lasts=1, much=0),
            Disaster(after=0, kind="slow answers", node=0, lasts=1, much=0),
            Disaster(after=0, kind="forbidden", node=0, lasts=1, much=0),
            Disaster(after=0, kind="api", node=0, lasts=1, much=0),
            Disaster(after=0, kind="hand on epoch", node=0, lasts=1, much=0),
            Disaster(after=0, kind="refuse", node=0, lasts=1, much=0),
            Disaster(after=71, kind="lag", node=0, lasts=1, much=0),
            Disaster(after=0, kind="cut", node=0, lasts=1, much=0),
            Disaster(after=0, kind="requests late", node=0, lasts=1, much=0),
            Disaster(after=0, kind="kill", node=0, lasts=1, much=0),
        ),
        seed=0,
        nodes=3,
        services=1,
        drift=True,
        gateway=False,
        hold_down=120,
        renew_budget=50,
    ),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", BATCHES)
def test_whatever_happens_the_invariants_hold(batch: int) -> None:
    @seed(batch)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules(MODES[batch % 2]))
    def hold(schedule: Schedule) -> None:
        run(schedule)

    try:
        hold()
    except BaseException as failure:
        failure.add_note(f"again: make sim SEED={batch}")
        raise


@pytest.mark.parametrize("schedule", FOUND.values(), ids=FOUND.keys())
def test_what_once_failed_holds(schedule: Schedule) -> None:
    run(schedule)
