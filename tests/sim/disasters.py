# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What can befall a cluster, and schedules of it: drawn and shrunk by hypothesis, run in virtual time.

A schedule says everything: the same one always runs the same. What is printed of one that fails is Python, and can be
put into ``FOUND`` of test_schedules.py as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st
from tests.sim.api import Backup
from tests.sim.cluster import Cluster
from tests.sim.invariants import Violation
from tests.sim.machine import Machine

from herald.core import effects as fx
from herald.core import events as ev
from herald.core.election.placement import EXCLUDE_LABEL, OUT_OF_SERVICE_TAINT
from herald.core.leases import DURATION, EPOCH, INSTANCE, PRESENCE, RELEASED, Epoch
from herald.core.model import (
    IPAM_LEASE,
    MILLISECOND,
    SECOND,
    Lease,
    Node,
    PreferredNodes,
    Selector,
    Service,
    Taint,
    presence_lease_name,
)
from herald.core.settings import Settings

Mode = Literal["Withdraw", "Hold"]
MODES: tuple[Mode, ...] = ("Withdraw", "Hold")

RESTORING = 5 * SECOND // 2
"""How long the API server is away at the least while etcd is restored: longer than D."""
RESTARTED = 4 * SECOND
"""How long after a restore the agents are restarted."""
HEALED = 40.0
"""Seconds for which a cluster is looked at after everything was mended."""
SERVED = 25.0
"""Seconds after which all must be served then: an idle node's earlier boot is waited for 5 D, and as long nothing is
claimed after a restore."""


@dataclass(frozen=True)
class Disaster:
    after: int
    """Milliseconds since the one before began."""
    kind: str
    node: int = 0
    lasts: int = 1000
    """Milliseconds, where it ends by itself."""
    much: int = 0
    """How much, of what the kind is about."""


@dataclass(frozen=True)
class Schedule:
    mode: Mode
    disasters: tuple[Disaster, ...]
    seed: int = 0
    """Of everything that is random in the run itself: latencies, what is lost."""
    nodes: int = 3
    services: int = 1
    drift: bool = True
    gateway: bool = False
    hold_down: int = 120
    renew_budget: int = 50


Undo = Callable[[], object]
Begin = Callable[[Cluster, Machine, int], Undo | None]
"""Does it, to this node where it is one node's, so much; gives what ends it."""

KINDS: dict[str, Begin] = {}
ALIVE: set[str] = set()
"""Kinds that need the node's agent to run."""


def kind(name: str, *, alive: bool = False) -> Callable[[Begin], Begin]:
    def register(begin: Begin) -> Begin:
        KINDS[name] = begin
        if alive:
            ALIVE.add(name)
        return begin

    return register


# --- of one node --------------------------------------------------------------------------------------------


@kind("power", alive=True)
def power(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Power lost; booted again."""
    machine.power_off()
    return lambda: machine.powered or machine.power_on()


@kind("kill", alive=True)
def kill(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """SIGKILL of the agent, in the middle of a decision; started again."""
    if much % 4:
        machine.break_after(much % 7, machine.kill)
    else:
        machine.kill()
    return lambda: _restart(machine)


def _restart(machine: Machine) -> None:
    if machine.powered:
        machine.kill()
        machine.start()


@kind("stop", alive=True)
def stop(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """SIGTERM of the agent; started again."""
    machine.stop()
    return lambda: _restart(machine)


@kind("pause", alive=True)
def pause(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """SIGSTOP of the agent, at once or between two effects; SIGCONT."""
    if much % 4:
        machine.break_after(much % 7, machine.pause)
    else:
        machine.pause()
    return machine.resume


@kind("freeze", alive=True)
def freeze(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """The whole node stands still, but its clock goes on."""
    machine.freeze()
    return machine.thaw


@kind("cut", alive=True)
def cut(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """No API server: both ways, only requests, only answers."""
    machine.cut(to_api=much % 4 == 2, from_api=much % 4 == 3)
    return machine.join


@kind("unplug", alive=True)
def unplug(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """The switch drops all its frames, both ways."""
    machine.unplug()
    return machine.plug


@kind("segment", alive=True)
def segment(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Cut from the segment, one way or both, but not from the API server."""
    where = cluster.segment
    if much % 3 != 1:
        where.mute.add(machine.name)
    if much % 3 != 2:
        where.deaf.add(machine.name)

    def mend() -> None:
        where.mute.discard(machine.name)
        where.deaf.discard(machine.name)
        machine.cluster.kernel_changed(machine)

    return mend


@kind("drain", alive=True)
def drain(cluster: Cluster, machine: Machine, much: int) -> Undo:
    cluster.drain(machine.node, drain=True)
    return lambda: cluster.drain(machine.node, drain=False)


@kind("lag", alive=True)
def lag(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Its watches are served by an API server that is behind."""
    machine.lag = (1 + much % 40) * 100 * MILLISECOND

    return lambda: _in_time_again(cluster, machine, "lag")


@kind("services lag", alive=True)
def services_lag(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Its watch of Services is behind those of all else."""
    machine.services_lag = (20 + much % 40) * 100 * MILLISECOND

    return lambda: _in_time_again(cluster, machine, "services_lag")


@kind("slow answers", alive=True)
def slow_answers(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """What it asks for is done at once; that it was done, it learns late."""
    machine.slow_answers = (1 + much % 24) * 100 * MILLISECOND

    return lambda: _in_time_again(cluster, machine, "slow_answers")


def _in_time_again(cluster: Cluster, machine: Machine, what: str) -> None:
    """What was on its way comes as late as it was to."""
    cluster.after(getattr(machine, what), cluster.disturbed)
    setattr(machine, what, 0)


@kind("forbidden", alive=True)
def forbidden(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """It may not write what names addresses."""
    machine.forbidden = True

    def allow() -> None:
        machine.forbidden = False

    return allow


@kind("watches")
def watches(cluster: Cluster, machine: Machine, much: int) -> None:
    """Its watches break, and where they were is compacted or not."""
    if much % 2:
        cluster.api.compact()
    cluster.reset_watches(machine)


@kind("refuse", alive=True)
def refuse(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Kernel or device take nothing, some of the time."""
    cluster.invariants.trouble[machine.node] = cluster.now
    one_in = 1 + much % 3
    kinds = (fx.SetSession | fx.SetEntries, fx.SetEntries, fx.SendFrames, fx.SetSession)
    what = kinds[much % 4]

    def refused(effect: fx.Effect) -> str:
        return "EBUSY" if isinstance(effect, what) and cluster.draw(1 / one_in) else ""

    machine.refuse = refused

    def take_again() -> None:
        cluster.invariants.trouble[machine.node] = cluster.now
        machine.refuse = lambda _: ""

    return take_again


# --- of the API server --------------------------------------------------------------------------------------


@kind("api")
def api(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """It is away."""
    cluster.api_away()
    return cluster.api_back


def _set(name: str, *values: float) -> Begin:
    def begin(cluster: Cluster, machine: Machine, much: int) -> Undo:
        setattr(cluster, name, values[much % len(values)])
        return lambda: setattr(cluster, name, 0)

    return begin


KINDS["answers lost"] = _set("lost_answers", 0.1, 0.2, 0.4, 1.0)
KINDS["requests late"] = _set("late_requests", 0.1, 0.2, 0.4, 1.0)
KINDS["errors"] = _set("errors", 0.2, 0.5, 0.8, 1.0)
KINDS["slow"] = _set("slow", *(each * MILLISECOND for each in (100, 300, 700, 1500)))


@kind("compact")
def compact(cluster: Cluster, machine: Machine, much: int) -> None:
    cluster.api.compact()


@kind("restore")
def restore(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """etcd is restored from a backup that was made when this began, for which the API server is stopped.

    Whoever had written since, but for Herald, does so again; what Herald wrote into Services is lost as well. Some
    seconds later somebody restarts the agents, as Kubernetes asks for: nothing shows them what Services were before.
    """
    return _restored(cluster, RESTORING)


BEYOND = "restore in haste"


@kind(BEYOND)
def restore_in_haste(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """The same in less than D, which the protocol takes for impossible; most of rule 10 holds all the same."""
    return _restored(cluster, RESTORING // 5)


def _restored(cluster: Cluster, takes: int) -> Undo:
    backup = cluster.api.backup()

    def stop() -> None:
        cluster.api_away()
        cluster.after(takes, start)

    def start() -> None:
        _set_back(cluster, backup)
        cluster.api_back()
        cluster.disturbed()
        for machine in cluster.machines.values():
            cluster.after(RESTARTED, lambda machine=machine: _restart_if_well(machine))

    return stop


def _restart_if_well(machine: Machine) -> None:
    if machine.agent is not None and not (machine.paused or machine.frozen or machine.stopping):
        _restart(machine)
        machine.cluster.disturbed()


def _set_back(cluster: Cluster, backup: Backup) -> None:
    there = dict(cluster.api.objects)
    cluster.restore(backup)
    for key, obj in list(cluster.api.objects.items()):
        if not isinstance(obj, Lease) and key not in there:
            _removed_again(cluster, obj)
    for key, obj in there.items():
        if not isinstance(obj, Lease):
            _written_again(cluster, obj, cluster.api.objects.get(key))


def _removed_again(cluster: Cluster, obj: ev.KubeObject) -> None:
    if isinstance(obj, Service):
        cluster.delete_service(obj.name)
    elif isinstance(obj, Node):
        cluster.delete_node(obj.name)
    else:
        cluster.api.remove(type(obj), obj.key)


def _written_again(cluster: Cluster, obj: ev.KubeObject, now: ev.KubeObject | None) -> None:
    if isinstance(obj, Service):
        known = now if isinstance(now, Service) else replace(obj, ingress=(), conditions=())
        obj = replace(known, external_traffic_policy=obj.external_traffic_policy)
    if obj != now:
        cluster.api.put(obj)


# --- of the segment -----------------------------------------------------------------------------------------


@kind("split")
def split(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Some nodes are kept apart from the others and from the clients."""
    names = list(cluster.machines)
    cluster.segment.apart = frozenset(n for i, n in enumerate(names) if much >> i & 1)

    def mend() -> None:
        cluster.segment.apart = frozenset()
        for each in cluster.machines.values():
            cluster.kernel_changed(each)

    return mend


@kind("frames")
def frames(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Frames get lost, or take long."""
    if much % 2:
        cluster.segment.loss = 0.1 * (1 + much % 6)
    else:
        cluster.segment.delay = (1 + much % 20) * 10 * MILLISECOND

    def mend() -> None:
        cluster.segment.loss, cluster.segment.delay = 0.0, 0

    return mend


# --- of Nodes and of what is served where -------------------------------------------------------------------

PREFERRED = PreferredNodes(Selector({"preferred": "yes"}), 100)


@kind("node")
def node(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Its Node says something else for a while, by which addresses go elsewhere, or come to it."""
    taint = Taint(OUT_OF_SERVICE_TAINT, "nodeshutdown", "NoExecute")
    fields: tuple[dict[str, object], ...] = (
        {"ready": False},
        {"ready": None},
        {"labels": {EXCLUDE_LABEL: ""}},
        {"labels": {"preferred": "yes"}},
        {"taints": (taint,)},
    )
    if PREFERRED not in cluster.policy.preferred_nodes:
        cluster.change_policy(preferred_nodes=(PREFERRED,))
    cluster.change_node(machine.node, **fields[much % len(fields)])
    return lambda: cluster.change_node(machine.node, ready=True, labels={}, taints=())


@kind("node removed")
def node_removed(cluster: Cluster, machine: Machine, much: int) -> Undo:
    """Somebody deletes its Node; the kubelet makes another one, at once or when it is started again."""
    cluster.delete_node(machine.node)
    if much % 4 == 0:
        cluster.register(machine.node)
    return lambda: cluster.node(machine.node) or cluster.register(machine.node)


@kind("endpoints")
def endpoints(cluster: Cluster, machine: Machine, much: int) -> Undo | None:
    """A Service is Local, and only some nodes have an endpoint of it."""
    names = sorted(s.name for s in cluster.services())
    if not names:
        return None
    name = names[much % len(names)]
    cluster.endpoints(name, *(n for i, n in enumerate(cluster.machines) if much >> i & 1))
    cluster.traffic_policy(name, "Local")

    def everywhere() -> None:
        if name in [s.name for s in cluster.services()]:
            cluster.traffic_policy(name, "Cluster")

    return everywhere


# --- of users -----------------------------------------------------------------------------------------------


@kind("service")
def service(cluster: Cluster, machine: Machine, much: int) -> Undo | None:
    """A Service is deleted, and made again."""
    names = sorted(s.name for s in cluster.services())
    if not names:
        return None
    name = names[much % len(names)]
    cluster.delete_service(name)
    return lambda: cluster.service(name)


@kind("hand on lease")
def hand_on_lease(cluster: Cluster, machine: Machine, much: int) -> None:
    """Somebody has a go at the lease of an address, or of the allocator."""
    names = [*sorted(cluster.vip_leases()), IPAM_LEASE]
    _by_hand(
        cluster,
        names[much % len(names)],
        (
            lambda name: cluster.edit(name, {}, holder=""),
            lambda name: cluster.edit(name, {EPOCH: None}),
            lambda name: cluster.edit(name, {EPOCH: "garbage"}),
            lambda name: cluster.edit(name, {}, holder="nobody", transitions=7),
            cluster.delete_lease,
        )[much % 5],
    )


@kind("hand on epoch")
def hand_on_epoch(cluster: Cluster, machine: Machine, much: int) -> None:
    """Somebody writes another epoch into an address's lease, puts an old copy back, or tears it out.

    (A copy has the transitions of its time. With those of now, it would be the holder's own word.) The one before, or
    one that never was.
    """
    names = sorted(cluster.vip_leases())
    presence = cluster.api.lease(presence_lease_name(machine.node))
    if not names or presence is None:
        return
    epoch = Epoch(presence.uid, presence.transitions)
    before = Epoch(presence.uid, max(0, presence.transitions - 1))
    never = Epoch(presence.uid, presence.transitions + 1)
    name = names[much // 5 % len(names)]
    lease = cluster.api.lease(name)
    turns = lease.transitions if lease is not None else 0
    let_go = {"holder": "", "transitions": max(0, turns - 1)}
    _by_hand(
        cluster,
        name,
        (
            lambda name: cluster.edit(name, {EPOCH: str(epoch)}),
            lambda name: cluster.edit(name, {EPOCH: str(before)}),
            lambda name: cluster.edit(name, {EPOCH: None, RELEASED: str(epoch)}, **let_go),
            lambda name: cluster.edit(name, {EPOCH: str(epoch)}, holder=machine.node),
            cluster.tear_out,
            lambda name: cluster.edit(name, {EPOCH: str(never)}),
        )[much % 6],
    )


@kind("hand on presence")
def hand_on_presence(cluster: Cluster, machine: Machine, much: int) -> None:
    """Somebody has a go at a node's presence."""
    _by_hand(
        cluster,
        presence_lease_name(machine.node),
        (
            lambda name: cluster.edit(name, {}, holder=""),
            lambda name: cluster.edit(name, {PRESENCE: "{"}),
            lambda name: cluster.edit(name, {DURATION: "1"}),
            lambda name: cluster.edit(name, {DURATION: "garbage", INSTANCE: None}),
            cluster.delete_lease,
            cluster.tear_out,
        )[much % 6],
    )


@kind("hand on instance")
def hand_on_instance(cluster: Cluster, machine: Machine, much: int) -> None:
    """Somebody writes into a node's presence that another process lives, on its machine or on another."""
    whose = ("another", f"machine-{machine.name}-{machine.boot}")[much % 2]
    name = presence_lease_name(machine.node)
    _by_hand(cluster, name, lambda name: cluster.edit(name, {INSTANCE: f"{whose}/process"}))


@kind("hand brings back")
def hand_brings_back(cluster: Cluster, machine: Machine, much: int) -> None:
    """Somebody puts a node's name back into a presence that was fenced, or released, or that he has cleared himself."""
    name = presence_lease_name(machine.node)
    lease = cluster.api.lease(name)
    if lease is not None and not lease.holder:
        _by_hand(cluster, name, lambda name: cluster.edit(name, {}, holder=machine.node))


def _by_hand(cluster: Cluster, name: str, edit: Callable[[str], object]) -> None:
    if cluster.api.lease(name) is not None:
        edit(name)


# --- schedules ----------------------------------------------------------------------------------------------

WEIGHTS = {
    "power": 2, "kill": 3, "pause": 3, "cut": 3, "unplug": 2, "stop": 2, "segment": 2, "freeze": 2,
    "answers lost": 2, "requests late": 2, "api": 2, BEYOND: 0,
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One disaster of a pattern: from and to, in the units of Disaster."""

    kind: str
    after: tuple[int, int] = (0, 1000)
    lasts: tuple[int, int] = (2000, 5000)
    much: tuple[int, int] = (0, 63)
    neighbour: int = 0
    """It befalls the node so many numbers after the one that the round is about."""


def schedules(mode: Mode) -> st.SearchStrategy[Schedule]:
    """Anything may happen."""
    disaster = st.builds(
        Disaster,
        after=st.one_of(st.integers(0, 100), st.integers(0, 1000), st.integers(0, 4000)),
        kind=st.sampled_from([name for name in KINDS for _ in range(WEIGHTS.get(name, 1))]),
        node=st.integers(0, 4),
        # Around D, the most can go wrong.
        lasts=st.one_of(
            st.integers(1, 500),
            st.integers(1700, 3000),
            st.integers(1, 3000),
            st.integers(1000, 12000),
        ),
        much=st.integers(0, 63),
    )
    return st.builds(
        Schedule,
        mode=st.just(mode),
        disasters=st.lists(disaster, min_size=3, max_size=24).map(tuple),
        seed=st.integers(0, 1 << 20),
        nodes=st.sampled_from([3, 2, 4, 5]),
        services=st.sampled_from([1, 2, 4, 8]),
        drift=st.sampled_from([True, True, True, False]),
        gateway=st.booleans(),
        hold_down=st.sampled_from([120, 3]),
    )


def pattern(
    mode: Mode, steps: tuple[Step, ...], nodes: int, renew_budget: int = 50, hold_down: int = 120
) -> st.SearchStrategy[Schedule]:
    """The same things happen to one node after the other, at other times."""

    def disaster(step: Step, node: int) -> st.SearchStrategy[Disaster]:
        return st.builds(
            Disaster,
            after=st.integers(*step.after),
            kind=st.just(step.kind),
            node=st.just(node + step.neighbour),
            lasts=st.integers(*step.lasts),
            much=st.integers(*step.much),
        )

    pause = st.just(Disaster(after=10_000, kind="compact"))
    parts = [
        each for node in range(nodes) for each in (*(disaster(step, node) for step in steps), pause)
    ]
    return st.builds(
        Schedule,
        mode=st.just(mode),
        disasters=st.tuples(*parts),
        seed=st.integers(0, 1 << 20),
        nodes=st.just(nodes),
        services=st.just(8),
        hold_down=st.just(hold_down),
        renew_budget=st.just(renew_budget),
    )


def run(schedule: Schedule) -> Cluster:
    """From a cluster's first second to 40 s after everything was mended; raises Violation, with the story."""
    cluster = Cluster(
        schedule.nodes,
        seed=schedule.seed,
        settings=Settings(
            on_api_loss=schedule.mode,
            hold_down_ns=schedule.hold_down * SECOND,
            renew_budget=schedule.renew_budget,
        ),
        drift=schedule.drift,
        gateway=schedule.gateway,
    )
    names = [f"web{i}" for i in range(schedule.services)]
    for name in names:
        cluster.service(name)
    story: list[str] = []
    try:
        cluster.start()
        cluster.run(3)
        _strike(cluster, schedule, story)
        cluster.run(SERVED)
        if schedule.renew_budget >= 50:
            # Else D is so long that some may be waited for still.
            _all_well(cluster, names)
        cluster.run(HEALED - SERVED)
        _all_well(cluster, names)
    except Violation as violation:
        raise Violation("\n".join([str(violation), *story])) from None
    return cluster


def _strike(cluster: Cluster, schedule: Schedule, story: list[str]) -> None:
    """Each begins in its time, and ends in its; what the last leave is mended at once."""
    machines = list(cluster.machines.values())
    running: dict[tuple[str, str], Undo] = {}

    def end(key: tuple[str, str]) -> None:
        if (undo := running.pop(key, None)) is not None:
            story.append(f"{cluster.now / SECOND:.3f} {' '.join(key)} ends")
            undo()
            cluster.disturbed()

    for disaster in schedule.disasters:
        cluster.run(disaster.after / 1000)
        machine = machines[disaster.node % len(machines)]
        key = disaster.kind, machine.name if disaster.kind in ALIVE else "-"
        alive = machine.agent is not None and not (machine.paused or machine.frozen)
        if key in running or (disaster.kind in ALIVE and not alive):
            continue
        story.append(f"{cluster.now / SECOND:.3f} {' '.join(key)}, {disaster.much}")
        cluster.disturbed()
        undo = KINDS[disaster.kind](cluster, machine, disaster.much)
        cluster.disturbed()
        if undo is not None:
            running[key] = undo
            cluster.after(
                disaster.lasts * MILLISECOND,
                lambda key=key, undo=undo: end(key) if running.get(key) is undo else None,
            )
    for key in list(running):
        end(key)
    for machine in machines:
        if not machine.powered:
            machine.power_on()
        elif machine.agent is None:
            machine.start()
    cluster.disturbed()


def _all_well(cluster: Cluster, names: list[str]) -> None:
    """Every Service is served, no other address is given, and every agent is there."""
    at = f"at {cluster.now / SECOND:.3f} s"
    for machine in cluster.machines.values():
        if not machine.may_announce():
            raise Violation(f"{at}: the agent of {machine.name} does not live: {machine.finished}")
    for name in names:
        if not cluster.served(name):
            raise Violation(f"{at}: {name} is not served")
    given = {f"vip-{address}" for name in names for address in cluster.get(name).ingress}
    if cluster.vip_leases() != given:
        raise Violation(f"{at}: leases {sorted(cluster.vip_leases())} for {sorted(given)}")
