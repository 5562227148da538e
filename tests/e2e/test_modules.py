# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The modules against a real API server: what check mode foretells, what a second run does, and what goes wrong.

Most of it in a lab of its own without Herald, whose agents would write to the same objects: one playbook does
everything, and keeps what each task returned.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import NODES, Lab
from herald_lab import layout, network
from herald_lab.api import MERGE
from watched import NAMESPACE as HERALD
from witnessed import RBAC, foretold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.lab

CRDS = Path(__file__).parents[2] / "roles/cluster/files/crds"
KINDS = "loadbalancerippools,l2announcementpolicies,configmaps,namespaces,nodes"
IDENTITIES = "serviceaccounts,roles,rolebindings"
MANY = 20
NOWHERE = {"host": "https://192.168.77.1:1", "api_key": "nobody's", "validate_certs": False}

Json = dict[str, Any]


def pool(name: str, number: int, **more: Any) -> Json:
    return {"name": name, "blocks": [{"cidr": f"10.77.{number}.0/24"}], **more}


def config_map(**data: str) -> Json:
    metadata = {"name": "modules", "namespace": "modules"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


# With a label: an object of which nothing is said has no manager at first, and gets one by a second apply.
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "modules", "labels": {"team": "web"}},
}
SELECTOR = {"match_labels": {"app": "web"}}


def identity(node: str) -> list[Json]:
    """What the role cluster makes for a node's agent, as far as its removal goes."""
    metadata = {
        "name": f"agent-{node}",
        "namespace": HERALD,
        "labels": {
            "app.kubernetes.io/part-of": "herald",
            "app.kubernetes.io/component": "agent",
        },
    }
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "Role", "name": f"agent-{node}"}
    rbac = {"apiVersion": f"{group}/v1", "metadata": metadata}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {**rbac, "kind": "Role", "rules": []},
        {**rbac, "kind": "RoleBinding", "roleRef": reference, "subjects": []},
    ]


CHANGES: dict[str, tuple[str, Json]] = {
    "pool-new": ("ip_pool", pool("a", 0)),
    "pool-changed": ("ip_pool", pool("a", 0, priority=5, labels={"team": "web"})),
    "pools": ("ip_pool", {"pools": [pool("a", 1), pool("b", 2), pool("c", 3, disabled=True)]}),
    "pool-gone": ("ip_pool", {"name": "a", "state": "absent", "wait": True}),
    "pools-gone": ("ip_pool", {"pools": [{"name": "b"}, {"name": "c"}], "state": "absent"}),
    "policy-new": ("l2_policy", {"name": "a", "load_balancer_ips": True}),
    "policy-changed": (
        "l2_policy",
        {"name": "a", "external_ips": True, "interfaces": ["^eth"], "node_selector": SELECTOR},
    ),
    "policies": (
        "l2_policy",
        {"policies": [{"name": name, "load_balancer_ips": True} for name in "ab"]},
    ),
    "policies-gone": (
        "l2_policy",
        {"policies": [{"name": "a"}, {"name": "b"}], "state": "absent", "wait": True},
    ),
    "manifests-new": ("manifest", {"definitions": [NAMESPACE, config_map(a="1")]}),
    "manifests-changed": ("manifest", {"definitions": [NAMESPACE, config_map(a="2", b="3")]}),
    "manifest-gone": ("manifest", {"definitions": [config_map()], "state": "absent"}),
    "identities-new": ("manifest", {"definitions": [*identity("n1"), *identity("n2")]}),
    "identity-left": ("agent_identities", {"nodes": ["n1"]}),
    "identity-gone": ("agent_identities", {"nodes": ["n1"], "state": "absent"}),
    "node-drained": ("node_maintenance", {"name": "n1", "state": "drained"}),
    "node-active": ("node_maintenance", {"name": "n1", "state": "active"}),
}

# Before the CRDs are there, and while they are of another version.
MISSING: dict[str, tuple[str, Json, str]] = {
    "crds-missing": (
        "ip_pool",
        pool("a", 0),
        "does not serve it: install this collection's CRDs with its role baremetal.herald.cluster",
    ),
    "crds-of-another-version": (
        "l2_policy",
        {"name": "a", "load_balancer_ips": True},
        "serves herald.dev in v9, wanted v1alpha1: install this collection's CRDs",
    ),
}

REFUSED: dict[str, tuple[str, Json, str]] = {
    "no-rights": (
        "ip_pool",
        {**pool("a", 0), "impersonate_user": "nobody"},
        'User "nobody" cannot get resource "loadbalancerippools" in API group "herald.dev"',
    ),
    "no-right-to-write": (
        "ip_pool",
        {**pool("a", 0), "impersonate_user": "reader"},
        'User "reader" cannot create resource "loadbalancerippools" in API group "herald.dev"',
    ),
    "no-right-to-list": (
        "announcement_info",
        {"impersonate_user": "reader"},
        'User "reader" cannot list resource "leases" in API group "coordination.k8s.io"',
    ),
    "api-server-away": (
        "ip_pool",
        {**pool("a", 0), **NOWHERE},
        "The API server at https://192.168.77.1:1 cannot be reached",
    ),
    "kubeconfig-missing": (
        "l2_policy_info",
        {"kubeconfig": "/nowhere"},
        "kubeconfig: wanted a readable file, found none at /nowhere",
    ),
    "context-missing": ("ip_pool_info", {"context": "nonsense"}, "the context nonsense, found"),
    "token-wrong": (
        "ip_pool_info",
        {"api_key": "nonsense", "client_cert": "", "client_key": ""},
        "does not accept these credentials",
    ),
    # With no API server in reach: so they are refused before any request.
    "option-unknown": ("ip_pool", {**pool("a", 0), **NOWHERE, "blocs": []}, "blocs"),
    "option-of-another-type": (
        "ip_pool",
        {**pool("a", 0), **NOWHERE, "priority": "high"},
        "priority",
    ),
    "option-of-no-choice": (
        "node_maintenance",
        {"name": "n1", "state": "asleep", **NOWHERE},
        "state must be one of: drained, active",
    ),
    "options-that-exclude-each-other": (
        "ip_pool",
        {**pool("a", 0), "pools": [pool("b", 1)], **NOWHERE},
        "mutually exclusive: name|pools",
    ),
    "option-without-meaning": (
        "ip_pool",
        {"pools": [pool("a", 0), {"name": "b", "blocks": [{"cidr": "10.0.0.1/8"}]}], **NOWHERE},
        "pools[1].blocks[0].cidr: wanted 10.0.0.0/8",
    ),
    "node-unknown": (
        "node_maintenance",
        {"name": "n9", "state": "drained"},
        "name: wanted a node of the cluster, found 'n9'",
    ),
    "nobody-to-wait-for": (
        "ip_pool",
        {**pool("waited", 9), "wait": True, "wait_timeout": 1},
        "after 1 s it has no condition Ready; wanted True (is an agent running?)",
    ),
}

ASKING = {"ip_pool_info": "LoadBalancerIPPool", "l2_policy_info": "L2AnnouncementPolicy"}
ASKED: dict[str, Json] = {
    "all": {},
    "by name": {"name": "known"},
    "by no name": {"name": "nobody"},
    "by label": {"label_selectors": ["team in (web, shop)", "team!=shop"]},
    "by none": {"label_selectors": ["team=shop"]},
}

QUERIES = [*ASKING, "announcement_info", "cluster_info"]

RIGHTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HERALD}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "modules-reader"},
        "rules": [{"apiGroups": ["herald.dev"], "resources": ["*"], "verbs": ["get", "list"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "modules-reader"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "modules-reader",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    },
]


# Which is what the library kubernetes is for; what is plain goes without it.
SEVERAL_FILES = {"KUBECONFIG": "{{ lookup('env', 'KUBECONFIG') }}:/nowhere"}

GROUP_DEFAULTS = {"group/baremetal.herald.k8s": {"kubeconfig": "/of/the/group"}}


class Book:
    """A playbook whose every task's result is kept by a name."""

    def __init__(self) -> None:
        self._tasks: list[Json] = []
        self._names: list[str] = []

    def add(self, name: str, module: str, options: Json, **more: Any) -> None:
        variable = f"result_{len(self._names)}"
        self._names.append(name)
        self._tasks.append({module: options, "register": variable, "ignore_errors": True, **more})

    def herald(self, name: str, module: str, options: Json, **more: Any) -> None:
        self.add(name, f"baremetal.herald.{module}", options, **more)

    def look(self, name: str, **more: Any) -> None:
        """Keep every object's resourceVersion."""
        columns = "custom-columns=:.kind,:.metadata.name,:.metadata.resourceVersion"
        get = f"kubectl get --all-namespaces --no-headers --output {columns}"
        ours = "--selector app.kubernetes.io/component=agent"
        script = f"{get} {KINDS} && {get} {IDENTITIES} {ours}"
        self.add(name, "ansible.builtin.shell", {"cmd": script}, **more)

    def count(self, name: str) -> None:
        """Keep how many requests the API server has served."""
        argv = ["kubectl", "get", "--raw", "/metrics"]
        self.add(name, "ansible.builtin.command", {"argv": argv}, no_log=False)

    def run(self, lab: Lab, folder: Path) -> dict[str, Json]:
        results = (
            "{{ [" + ", ".join(f"result_{n}" for n in range(len(self._names))) + "] | to_json }}"
        )
        keep = {"ansible.builtin.copy": {"content": results, "dest": str(folder / "results")}}
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [*self._tasks, keep]}]
        (folder / "play.yml").write_text(json.dumps(play))
        lab.playbook(folder / "play.yml")
        found = json.loads((folder / "results").read_text())
        return dict(zip(self._names, found, strict=True))


@pytest.fixture(scope="module")
def bare() -> Iterator[Lab]:
    """A lab without Herald."""
    made = Lab(f"m{os.getpid()}")
    try:
        made("up", timeout=1800)
        yield made
    finally:
        made("down")


@pytest.fixture(scope="module")
def results(bare: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """What each task returned."""
    book = Book()
    crds = [yaml.safe_load(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))]
    policies = json.loads(json.dumps(crds[0]))
    policies["spec"]["versions"][0]["name"] = "v9"

    book.herald("crds-missing", *MISSING["crds-missing"][:2])
    book.herald("another version", "manifest", {"definitions": [policies]})
    book.herald("crds-of-another-version", *MISSING["crds-of-another-version"][:2])
    book.herald("no version", "manifest", {"definitions": [policies], "state": "absent"})
    book.herald("crds", "manifest", {"definitions": crds})
    book.herald("rights", "manifest", {"definitions": RIGHTS})
    # The API server tells which kinds there are, as kubectl asks it, a moment after it serves them.
    book.look("kinds", retries=30, delay=1)

    for name, (module, options) in CHANGES.items():
        book.look(f"{name}: before")
        book.herald(f"{name}: check", module, options, check_mode=True, diff=True)
        book.look(f"{name}: checked")
        book.herald(f"{name}: run", module, options, diff=True)
        book.look(f"{name}: done")
        book.herald(f"{name}: again", module, options, diff=True)
        book.look(f"{name}: done again")
    for name, (module, options, _) in REFUSED.items():
        book.herald(name, module, options)

    known = [pool("known", 77, labels={"team": "web"}), pool("other", 78)]
    book.herald("pools to ask for", "ip_pool", {"pools": known})
    policies_known = [
        {"name": "known", "load_balancer_ips": True, "labels": {"team": "web"}},
        {"name": "other", "load_balancer_ips": True},
    ]
    book.herald("policies to ask for", "l2_policy", {"policies": policies_known})
    for module in ASKING:
        for name, options in ASKED.items():
            book.herald(f"{module} {name}", module, options)

    for module in QUERIES:
        book.herald(f"{module}: check", module, {}, check_mode=True)
        book.herald(f"{module}: run", module, {})

    for turn in ("by several files", "by several files, again", "by one file"):
        way = {"environment": SEVERAL_FILES} if "several" in turn else {}
        book.herald(turn, "ip_pool", pool("several", 79, priority=7), **way)

    book.herald("group", "l2_policy_info", {}, module_defaults=GROUP_DEFAULTS)

    many = {"pools": [pool(f"many-{number}", number) for number in range(MANY)]}
    book.herald("many", "ip_pool", many)
    book.count("many: before")
    book.herald("many: again", "ip_pool", many)
    book.count("many: done again")
    return book.run(bare, tmp_path_factory.mktemp("modules"))


def seen(result: Json) -> str:
    """What a look saw, which must not have failed."""
    assert not result["failed"], result
    found: str = result["stdout"]
    return found


def lasting(result: Json) -> Json:
    """A module's result without what the API server gives anew each time."""
    gone = {"uid", "resourceVersion", "creationTimestamp"}

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if key not in gone}
        return [clean(item) for item in value] if isinstance(value, list) else value

    found: Json = clean(result)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_check_mode_changes_nothing_and_foretells_the_run(
    results: dict[str, Json], name: str
) -> None:
    checked, ran = results[f"{name}: check"], results[f"{name}: run"]
    assert not ran["failed"], ran
    assert ran["changed"]
    before, after_check, after_run = (
        seen(results[f"{name}: {when}"]) for when in ("before", "checked", "done")
    )
    assert after_check == before
    assert after_run != before
    assert lasting(checked) == lasting(ran)


@pytest.mark.parametrize("name", CHANGES)
def test_second_run_is_ok(results: dict[str, Json], name: str) -> None:
    again = results[f"{name}: again"]
    assert not again["failed"], again
    assert not again["changed"]
    assert seen(results[f"{name}: done again"]) == seen(results[f"{name}: done"])


def test_second_run_of_many_sends_no_write(results: dict[str, Json]) -> None:
    assert results["many"]["changed"]
    assert not results["many: again"]["changed"]
    before, after = (
        requests(results[name]["stdout"]) for name in ("many: before", "many: done again")
    )
    assert before["POST"] >= MANY
    assert {verb for verb in after if after[verb] != before[verb]} == {"LIST"}
    assert after["LIST"] == before["LIST"] + 1


def requests(metrics: str) -> dict[str, int]:
    """By verb, how many requests for pools the API server has served."""
    found: dict[str, int] = {}
    for labels, number in re.findall(
        r"^apiserver_request_total\{(.*)\} (\S+)$", metrics, re.MULTILINE
    ):
        if 'resource="loadbalancerippools"' in labels:
            [verb] = re.findall(r'verb="(\w+)"', labels)
            found[verb] = found.get(verb, 0) + int(float(number))
    return found


@pytest.mark.parametrize("module", QUERIES)
def test_query_says_the_same_in_check_mode(results: dict[str, Json], module: str) -> None:
    checked, ran = results[f"{module}: check"], results[f"{module}: run"]
    assert not ran["failed"], ran
    assert not ran["changed"]
    assert checked == ran


@pytest.mark.parametrize("module", ASKING)
def test_objects_are_found_by_name_and_by_label(results: dict[str, Json], module: str) -> None:
    found = {name: results[f"{module} {name}"] for name in ASKED}
    assert not any(result["failed"] or result["changed"] for result in found.values()), found
    names = {
        name: [obj["metadata"]["name"] for obj in result["resources"]]
        for name, result in found.items()
    }
    # Left out: all, and some that other cases have left.
    assert {"known", "other"} <= set(names.pop("all"))
    assert names == {"by name": ["known"], "by label": ["known"], "by no name": [], "by none": []}
    [known] = found["by name"]["resources"]
    assert known == found["by label"]["resources"][0]
    assert known["apiVersion"] == "herald.dev/v1alpha1"
    assert known["kind"] == ASKING[module]
    assert known["metadata"]["labels"] == {"team": "web"}
    assert known["spec"]


def test_a_way_by_the_library_leads_to_the_same(results: dict[str, Json]) -> None:
    made, again, plain = (
        results[name] for name in ("by several files", "by several files, again", "by one file")
    )
    assert not any(result["failed"] for result in (made, again, plain)), (made, again, plain)
    assert [result["action"] for result in (made, again, plain)] == [
        "created",
        "unchanged",
        "unchanged",
    ]
    assert made["resource"] == again["resource"] == plain["resource"]


def test_connection_is_said_once_for_the_action_group(results: dict[str, Json]) -> None:
    assert results["group"]["failed"]
    assert results["group"]["msg"].endswith("found none at /of/the/group")


@pytest.mark.parametrize("name", [*MISSING, *REFUSED])
def test_what_goes_wrong_is_said(results: dict[str, Json], name: str) -> None:
    words = {**MISSING, **REFUSED}[name][2]
    result = results[name]
    assert result["failed"]
    assert words in result["msg"]
    assert "Traceback" not in json.dumps(result)


# --- somebody else, between what is read and what is written ------------------------------------

MEDDLER_PORT = 7444
POOLS = "/apis/herald.dev/v1alpha1/loadbalancerippools"


def edit(lab: Lab, path: str, number: int) -> None:
    """Somebody sets a label on the object, each time another."""
    patch = {"metadata": {"labels": {"somebody": f"w{number}"}}}
    lab.api.request("PATCH", path, patch, MERGE)


def edit_once(lab: Lab, path: str, number: int) -> None:
    if number == 1:
        edit(lab, path, number)


def delete_once(lab: Lab, path: str, number: int) -> None:
    if number == 1:
        assert lab.api.delete(path)


def make_once(lab: Lab, path: str, number: int) -> None:
    if number == 1:
        spec = {"blocks": [{"cidr": "10.77.99.0/24"}]}
        body = {"apiVersion": "herald.dev/v1alpha1", "kind": "LoadBalancerIPPool", "spec": spec}
        labels = {"somebody": "w1"}
        name = path.rpartition("/")[2]
        lab.api.request("POST", POOLS, {**body, "metadata": {"name": name, "labels": labels}})


@contextmanager
def meddled(lab: Lab, path: str, meddle: Callable[[Lab, str, int], None]) -> Iterator[list[int]]:
    """The API server at another port, where somebody else is a little faster than every write: `meddle` comes before
    it, with its number. The status of the answer to each write."""
    place = layout.Lab(lab.name)
    numbers, answers = count(1), list[int]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if writes := self.command != "GET":
                meddle(lab, path, next(numbers))
            server = lab.api.new_connection()
            with network.entered(place.netns):
                server.connect()
            kind = self.headers.get("Content-Type", "application/json")
            server.request(self.command, self.path, body or None, {"Content-Type": kind})
            answer = server.getresponse()
            text = answer.read()
            server.close()
            if writes:
                answers.append(answer.status)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(place.pki / "apiserver.crt", place.pki / "apiserver.key")
    with network.entered(place.netns):
        server = ThreadingHTTPServer(("127.0.0.1", MEDDLER_PORT), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Race:
    """What is asked for, what somebody else does, and what the API server answers to the module's writes."""

    module: str
    options: Json
    meddle: Callable[[Lab, str, int], None]
    answers: list[int]
    path: str = f"{POOLS}/raced"
    there: bool = True
    """Whether the object is there before."""


RAISED = pool("raced", 80, priority=7)
RACES = {
    "a pool that is edited": Race("ip_pool", RAISED, edit_once, [409, 200]),
    "a pool that is deleted": Race("ip_pool", RAISED, delete_once, [404, 201]),
    "a pool that is made": Race("ip_pool", RAISED, make_once, [409, 200], there=False),
    "a pool that is edited all the while": Race("ip_pool", RAISED, edit, [409] * 5),
    "a removal of what is edited": Race(
        "ip_pool", {"name": "raced", "state": "absent"}, edit_once, [409, 200]
    ),
    "a node that is edited": Race(
        "node_maintenance",
        {"name": "n2", "state": "drained", "wait": False},
        edit_once,
        [409, 200],
        "/api/v1/nodes/n2",
    ),
}


@pytest.mark.parametrize("name", RACES)
def test_what_somebody_else_writes_meanwhile_is_never_lost(
    bare: Lab, results: dict[str, Json], tmp_path: Path, name: str
) -> None:
    race = RACES[name]
    ca = str(layout.Lab(bare.name).pki / "ca.crt")
    way = {"host": f"https://127.0.0.1:{MEDDLER_PORT}", "ca_cert": ca, "api_key": "anybody's"}
    bare.api.delete(f"{POOLS}/raced")
    book = Book()
    if race.there:
        book.herald("before", "ip_pool", pool("raced", 80, priority=1))
    book.herald("raced", race.module, {**race.options, **way})
    with meddled(bare, race.path, race.meddle) as answers:
        raced = book.run(bare, tmp_path)["raced"]
    assert answers == race.answers, raced
    found = bare.api.get(race.path)
    labels = found["metadata"].get("labels", {}) if found else {}
    if race.meddle is edit:
        assert raced["failed"]
        assert "Somebody else changed the object at the same time; run this again" in raced["msg"]
        assert found
        assert (labels["somebody"], found["spec"]["priority"]) == ("w5", 1)
        return
    assert not raced["failed"], raced
    assert raced["changed"]
    if race.options.get("state") == "absent":
        assert found is None
        return
    assert found
    assert labels.get("somebody") == (None if race.meddle is delete_once else "w1")
    if race.module == "ip_pool":
        assert (found["spec"]["blocks"], found["spec"]["priority"]) == (RAISED["blocks"], 7)
    else:
        assert found["metadata"]["annotations"]["herald.dev/drain"] == "true"


# --- where agents have a say ---------------------------------------------------------------------


def test_check_mode_foretells_what_waits_for_agents(herald: Lab, tmp_path: Path) -> None:
    """It waits for nobody itself: what it foretells is not there."""
    policy = {"name": "foretold", "external_ips": True, "wait": True}
    wanted = {"ip_pool": pool("foretold", 81, wait=True), "l2_policy": policy}
    tasks = [{f"baremetal.herald.{module}": options} for module, options in wanted.items()]
    tasks.append({"baremetal.herald.agent_identities": {"nodes": [*NODES]}})
    file = tmp_path / "play.json"
    file.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    account, role, binding = identity("n9")
    left = {
        f"/api/v1/namespaces/{HERALD}/serviceaccounts/agent-n9": account,
        f"{RBAC}/namespaces/{HERALD}/roles/agent-n9": role,
        f"{RBAC}/namespaces/{HERALD}/rolebindings/agent-n9": binding,
    }
    try:
        for path, body in left.items():
            herald.api.apply(path, body)
        assert len(foretold(herald, tmp_path, file).changed) == len(tasks)
        for kind in ("lbpool", "l2policy"):
            status = herald.get(kind, "foretold")["status"]
            assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    finally:
        for kind in ("lbpool", "l2policy"):
            herald.kubectl("delete", kind, "foretold", "--ignore-not-found")
        for path in left:
            herald.api.delete(path)
