# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Nonsense in a pool, a policy or a playbook is refused, and the one who wrote it is told which word it was."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import NODES
from witnessed import inventory_with, play, settled, standing, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Lab

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "playbooks/site.yml"
POOL, POLICY = "LoadBalancerIPPool", "L2AnnouncementPolicy"
V4, V6 = "192.168.77.", "fd77:77::"

SECRET = "not-to-be-shown"
WITHOUT_CREDENTIALS = "herald_agent_index: wanted a URL without credentials"

SOUND = {"blocks": [{"start": V4 + "250"}]}

Json = dict[str, Any]


def apply(lab: Lab, folder: Path, kind: str, spec: Json) -> tuple[int, str]:
    """`kubectl apply` of an object called `nonsense`: its exit status and all that it said."""
    file = folder / "object.json"
    metadata = {"name": "nonsense"}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "herald.dev/v1alpha1",
                "kind": kind,
                "metadata": metadata,
                "spec": spec,
            }
        )
    )
    done = lab.attempt("kubectl", "apply", "--filename", str(file))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "spec", "field", "wanted"),
    [
        (POOL, {"blocks": [{"cidr": "300.1.2.3/33"}]}, "spec.blocks[0].cidr", "wanted a network"),
        (POOL, {"blocks": [{"cidr": V4 + "9/24"}]}, "spec.blocks[0].cidr", "beyond its prefix"),
        (
            POOL,
            {"blocks": [{"start": V4 + "20", "stop": V4 + "10"}]},
            "spec.blocks[0].stop",
            "not below start",
        ),
        (
            POOL,
            {"blocks": [{"start": V4 + "20", "stop": V6 + "30"}]},
            "spec.blocks[0].stop",
            "the family of start",
        ),
        (
            POOL,
            {"blocks": [{"start": "192.168.077.20"}]},
            "spec.blocks[0].start",
            'found "192.168.077.20"',
        ),
        (
            POOL,
            {"blocks": [{"start": V6 + "1%eth0"}]},
            "spec.blocks[0].start",
            'found "fd77:77::1%',
        ),
        (POOL, {"blocks": [{"start": "::ffff:" + V4 + "1"}]}, "spec.blocks[0].start", "wanted an"),
        (POOL, {"blocks": [{"cidr": "gibt's nicht ☃"}]}, "spec.blocks[0].cidr", "found \"gibt's"),
        (
            POOL,
            {"blocks": [{"cidr": V4 + "0/24", "start": V4 + "1"}]},
            "spec.blocks[0]",
            "found both",
        ),
        (POOL, {"blocks": [{}]}, "spec.blocks[0]", "found neither"),
        (POOL, {"blocks": []}, "spec.blocks", "at least 1 items"),
        (
            POOL,
            {**SOUND, "exclude": [{"stop": V4 + "9"}]},
            "spec.exclude[0].stop",
            "wanted together with start",
        ),
        (POOL, {**SOUND, "priority": 70000}, "spec.priority", "65535"),
        (POOL, {**SOUND, "disabled": "yes"}, "spec.disabled", "boolean"),
        (POOL, {**SOUND, "dissabled": True}, "spec.dissabled", "unknown field"),
        (
            POOL,
            {**SOUND, "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
            "spec.serviceSelector.matchExpressions[0].operator",
            '"DoesNotExist"',
        ),
        (
            POOL,
            {**SOUND, "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.serviceSelector.matchExpressions[0].values",
            "wanted one or more with operator In",
        ),
        (
            POLICY,
            {"loadBalancerIPs": True, "preferredNodes": [{"nodeSelector": {}, "weight": 0}]},
            "spec.preferredNodes[0].weight",
            "greater than or equal to 1",
        ),
        (POLICY, {}, "spec.loadBalancerIPs", "wanted loadBalancerIPs or externalIPs"),
        (
            POLICY,
            {"loadBalancerIPs": True, "interfaces": ["eth["]},
            "spec.interfaces[0]",
            "missing closing ]",
        ),
    ],
    ids=[
        *("cidr", "host-bits", "reversed-range", "two-families", "leading-zero", "zone", "mapped"),
        *("unicode", "both-forms", "neither-form", "no-block", "stop-alone", "priority", "type"),
        *("misspelt", "operator", "values", "weight", "neither-kind", "expression"),
    ],
)
def test_api_server_refuses_nonsense_and_names_the_field(
    herald: Lab, tmp_path: Path, kind: str, spec: Json, field: str, wanted: str
) -> None:
    status, said = apply(herald, tmp_path, kind, spec)
    assert status != 0
    assert field in said
    assert wanted in said


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        (POOL, {"blocks": [{"start": V6 + "20", "stop": V6 + "10"}]}, "blocks[0]"),
        # Of RE2's syntax, and not of Python's.
        (POLICY, {"loadBalancerIPs": True, "interfaces": [r"\pN"]}, "interfaces[0]"),
    ],
    ids=["reversed-range-v6", "expression-of-another-dialect"],
)
def test_what_the_api_server_cannot_judge_becomes_a_condition(
    herald: Lab,
    wait_for: Callable[..., None],
    tmp_path: Path,
    kind: str,
    spec: Json,
    field: str,
) -> None:
    def ready() -> Json:
        conditions = herald.get(kind, "nonsense").get("status", {}).get("conditions", [])
        found: Json = next((c for c in conditions if c["type"] == "Ready"), {})
        return found

    status, said = apply(herald, tmp_path, kind, spec)
    assert status == 0, said
    try:
        wait_for("a condition", lambda: ready().get("status") == "False")
        assert field in ready()["message"]
    finally:
        herald.kubectl("delete", kind, "nonsense")


REFUSED = {
    "cidr": ("ip_pool", {"blocks": [{"cidr": "300.1.2.3/33"}]}, "blocks[0].cidr: wanted"),
    "reversed-range": (
        "ip_pool",
        {"blocks": [{"start": V4 + "20", "stop": V4 + "10"}]},
        "blocks[0].stop: wanted",
    ),
    "reversed-range-v6": (
        "ip_pool",
        {"blocks": [{"start": V6 + "20", "stop": V6 + "10"}]},
        "blocks[0].stop: wanted",
    ),
    "neither-kind": ("l2_policy", {}, "load_balancer_ips: wanted it or external_ips"),
    "expression": (
        "l2_policy",
        {"load_balancer_ips": True, "interfaces": ["eth["]},
        "interfaces[0]: wanted a regular expression",
    ),
}


@pytest.fixture(scope="module")
def refusals(herald: Lab, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """What the modules return for each of REFUSED, by one playbook."""
    folder = tmp_path_factory.mktemp("refusals")
    tasks: list[Json] = []
    for number, (module, options, _) in enumerate(REFUSED.values()):
        task = {f"baremetal.herald.{module}": {"name": "nonsense", **options}}
        tasks.append({**task, "register": f"case_{number}", "ignore_errors": True})
    results = ", ".join(f"case_{number}" for number in range(len(REFUSED)))
    content = "{{ [" + results + "] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(folder / "results")}})
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(json.dumps(play))
    herald.playbook(folder / "play.yml")
    found = json.loads((folder / "results").read_text())
    return dict(zip(REFUSED, found, strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_module_refuses_nonsense_in_the_words_of_its_options(refusals: Json, case: str) -> None:
    _, _, words = REFUSED[case]
    found = refusals[case]
    assert found["failed"]
    assert words in found["msg"]
    assert "Traceback" not in str(found)


# --- the way to the API server, as the operator gives it --------------------------------------


def kubeconfig(lab: Lab, folder: Path, change: Callable[[Json], None]) -> str:
    """The operator's kubeconfig with something changed; its path."""
    view = ("config", "view", "--raw", "--output", "json")
    found: Json = json.loads(lab.kubectl(*view))
    change(found)
    file = folder / "kubeconfig"
    file.write_text(json.dumps(found))
    return str(file)


def refused(lab: Lab, path: str, *arguments: str) -> str:
    """What site.yml says when it is run with that kubeconfig, and fails."""
    done = lab.attempt_playbook(SITE, *arguments, KUBECONFIG=path)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert "unreachable=0" in said
    return said


def test_playbook_says_that_there_is_no_kubeconfig(herald: Lab, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    said = refused(herald, missing)
    assert f"wanted a kubeconfig, found none at {missing}" in said


def test_playbook_says_that_the_api_server_cannot_be_reached(herald: Lab, tmp_path: Path) -> None:
    def nowhere(config: Json) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://192.168.77.1:1"

    said = refused(herald, kubeconfig(herald, tmp_path, nowhere))
    assert "https://192.168.77.1:1 cannot be reached" in said
    assert "Look whether it runs" in said


def test_playbook_says_that_the_token_is_wrong(herald: Lab, tmp_path: Path) -> None:
    def stranger(config: Json) -> None:
        config["users"][0]["user"] = {"token": "nonsense"}

    said = refused(herald, kubeconfig(herald, tmp_path, stranger))
    assert "does not accept these credentials" in said


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("herald_log_level=verbose", "value of herald_log_level must be one of"),
        ("herald_duration_ms=soon", "herald_duration_ms"),
        ("herald_agent_wheel=/no.whl", "wanted files at /no.whl"),
        ("herald_agent_wheelhouse=/no/wheels", "wanted a folder of wheels at /no/wheels"),
        (f"herald_agent_index=https://me:{SECRET}@index.example/simple", WITHOUT_CREDENTIALS),
        (f"herald_agent_index=//{SECRET}@index.example/simple", WITHOUT_CREDENTIALS),
    ],
)
def test_playbook_refuses_an_option_before_any_request(
    herald: Lab, option: str, words: str
) -> None:
    """There is no kubeconfig to send one by."""
    said = refused(herald, "/nowhere", "--tags", "agent", "--extra-vars", option)
    assert words in said
    assert "/nowhere" not in said
    assert SECRET not in said


def test_playbook_refuses_hosts_that_are_to_have_other_indexes(herald: Lab, tmp_path: Path) -> None:
    """What is installed is found out once, for all of them."""
    inventory = inventory_with(herald, tmp_path, "n2", herald_agent_index="https://i.example")
    run = play(herald, tmp_path, SITE, "--tags", "agent", inventory=inventory)
    assert run.status != 0
    assert "herald_agent_index: wanted the same for all hosts of the play" in run.said, run.said


# --- the cluster ------------------------------------------------------------------------------


@contextmanager
def kube_proxy(lab: Lab, mode: str, strict: str) -> Iterator[None]:
    """The cluster says, as kubeadm has it say, how its kube-proxy works."""
    path = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
    config = (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
        f"ipvs:\n  scheduler: ''\n  strictARP: {strict}\n"
        f"kind: KubeProxyConfiguration\nmode: {mode}\n"
    )
    metadata = {"name": "kube-proxy"}
    data = {"config.conf": config}
    lab.api.apply(
        path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )
    try:
        yield
    finally:
        lab.api.delete(path)


def refused_cluster(lab: Lab, folder: Path, task: str, *arguments: str) -> str:
    """What site.yml says when that task of the role `cluster` refuses the cluster, and nothing was written."""
    before = settled(lab, NODES)
    run = play(lab, folder, SITE, *arguments)
    assert run.status != 0
    assert {name for _, name in run.of("failed")} == {f"baremetal.herald.cluster : {task}"}, (
        run.said
    )
    assert run.changed == set()
    assert standing(lab, NODES) == before
    return run.said


def test_playbook_refuses_ipvs_without_strict_arp_and_writes_nothing(
    herald: Lab, tmp_path: Path
) -> None:
    with kube_proxy(herald, "ipvs", "false"):
        task = "Refuse a kube-proxy that would answer ARP itself"
        said = refused_cluster(herald, tmp_path, task)
    assert "kube-proxy: wanted ipvs.strictARP true with mode ipvs, found it false" in said


def test_playbook_takes_ipvs_with_strict_arp(herald: Lab, tmp_path: Path) -> None:
    with kube_proxy(herald, "ipvs", "true"):
        succeed(herald, tmp_path, SITE, "--tags", "cluster")


def test_playbook_refuses_a_cluster_that_is_too_old_and_writes_nothing(
    herald: Lab, tmp_path: Path
) -> None:
    """What the module finds there is told in its stead: it is all that the role knows of a cluster."""
    found = {
        "version": "1.31",
        "server": "https://old.example",
        "nodes": [*NODES],
        "kube_proxy": {},
    }
    told = ("--extra-vars", json.dumps({"herald_cluster": found}))
    said = refused_cluster(herald, tmp_path, "Refuse a cluster that is too old", *told)
    assert "Kubernetes: wanted 1.32 or newer" in said
    assert "found 1.31 at https://old.example" in said
