# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The control plane: etcd, kube-apiserver, kube-controller-manager, and what stands in the cluster.

All listen inside the lab's namespace only. Nobody heartbeats the Nodes, for there is no kubelet, so
the controllers that would call them dead are left out.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from herald_lab import cgroups, pki, programs
from herald_lab.api import MERGE, Api
from herald_lab.commands import LabError, daemon, wait_until
from herald_lab.layout import API, API_PORT, NODES, SERVICE_RANGES, Host, Lab

OPERATORS = "lab:operators"
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "validatingadmissionpolicy-status-controller",
)


def make(lab: Lab) -> None:
    """Certificates and kubeconfigs, once in a lab's life."""
    pki.make(lab)
    pki.client(lab, "bootstrap", "lab-bootstrap", "system:masters")
    pki.client(lab, "operator", "operator", OPERATORS)
    for part in ("kube-controller-manager", "kube-proxy"):
        pki.client(lab, part, f"system:{part}")
        (lab.pki / f"{part}.kubeconfig").write_text(pki.kubeconfig(lab, part))
    lab.kubeconfig.write_text(pki.kubeconfig(lab, "operator"))
    lab.kubeconfig.chmod(0o600)


def start(lab: Lab) -> None:
    """Start etcd, the API server and the controllers; returns at once."""
    start_etcd(lab)
    start_api(lab)
    _start(
        lab,
        "kube-controller-manager",
        f"--kubeconfig={lab.pki}/kube-controller-manager.kubeconfig",
        f"--service-account-private-key-file={lab.pki}/service-account.key",
        f"--root-ca-file={lab.pki}/ca.crt",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    )


def start_etcd(lab: Lab) -> None:
    """Start etcd alone, on the data that is there; returns at once."""
    _start(
        lab,
        "etcd",
        *("--data-dir", lab.disk / "etcd", "--name", "lab", "--unsafe-no-fsync"),
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=lab=http://127.0.0.1:2380",
        "--log-level=warn",
    )


def stop_etcd(lab: Lab) -> None:
    """etcd is gone from one moment to the next; its data stays."""
    cgroups.remove(_cgroup(lab, "etcd"))


def back_up(lab: Lab) -> None:
    """Put etcd's data aside, as it is now; etcd is away for that long."""
    stop_etcd(lab)
    try:
        shutil.rmtree(_backup(lab), ignore_errors=True)
        shutil.copytree(lab.disk / "etcd", _backup(lab))
    finally:
        start_etcd(lab)
    wait(lab)


def restore(lab: Lab) -> None:
    """The whole control plane begins anew, on the data that was put aside, and which are not aside any more then."""
    if not _backup(lab).exists():
        raise LabError("there is no backup; `lab api backup` makes one")
    for part in ("kube-controller-manager", "kube-apiserver", "etcd"):
        cgroups.remove(_cgroup(lab, part))
    shutil.rmtree(lab.disk / "etcd")
    _backup(lab).rename(lab.disk / "etcd")
    start(lab)
    wait(lab)


def _backup(lab: Lab) -> Path:
    return lab.disk / "etcd-backup"


def start_api(lab: Lab, seats: int | None = None, port: int = API_PORT) -> None:
    """Start the API server alone; returns at once. `seats`: how many requests it works on at a time,
    shared out among its priority levels (600 if not said). `port`: another one, for one more API server."""
    limits = (f"--max-requests-inflight={seats}", "--max-mutating-requests-inflight=0")
    one_more = ("--endpoint-reconciler-type=none",)
    _start(
        lab,
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={port}",
        f"--advertise-address={API.ipv4}",
        f"--client-ca-file={lab.pki}/ca.crt",
        f"--tls-cert-file={lab.pki}/apiserver.crt",
        f"--tls-private-key-file={lab.pki}/apiserver.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={lab.pki}/service-account.key",
        f"--service-account-signing-key-file={lab.pki}/service-account.key",
        f"--service-cluster-ip-range={','.join(SERVICE_RANGES)}",
        "--profiling=false",
        *(limits if seats else ()),
        *(one_more if port != API_PORT else ()),
        name=_api(port),
    )


def stop_api(lab: Lab, port: int = API_PORT) -> None:
    """The API server is gone from one moment to the next, as with its machine."""
    cgroups.remove(_cgroup(lab, _api(port)))


def freeze_api(lab: Lab, port: int) -> None:
    """The API server hangs: its kernel takes connections and bytes, and nothing ever comes back."""
    cgroups.freeze(_cgroup(lab, _api(port)))


def _api(port: int) -> str:
    return "kube-apiserver" if port == API_PORT else f"kube-apiserver-{port}"


def running(lab: Lab, part: str) -> bool:
    return cgroups.alive(_cgroup(lab, part))


def wait(lab: Lab, *, user: str = "operator", seconds: float = 60) -> Api:
    """Wait until the API server is ready, and fail at once if it has ended."""
    api = Api(lab, user)

    def ready() -> bool:
        if not running(lab, "kube-apiserver"):
            raise LabError(f"kube-apiserver ended:\n{_tail(lab, 'kube-apiserver')}")
        return api.ready()

    wait_until("the API server to be ready", ready, seconds=seconds, interval=0.2)
    return api


def furnish(lab: Lab) -> None:
    """The operator's rights, by an identity that is then thrown away, and the Nodes."""
    api = wait(lab, user="bootstrap")
    name = "lab-operators"
    rbac = "rbac.authorization.k8s.io"
    api.apply(
        f"/apis/{rbac}/v1/clusterrolebindings/{name}",
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": OPERATORS}],
        },
    )
    for suffix in ("key", "crt"):
        (lab.pki / f"bootstrap.{suffix}").unlink()
    api = Api(lab)
    wait_until("the operator's rights to hold", lambda: _allowed(api), seconds=10)
    for host in NODES:
        _make_node(api, host)


def _allowed(api: Api) -> bool:
    try:
        return api.get("/api/v1/nodes") is not None
    except LabError:
        return False


def _make_node(api: Api, host: Host) -> None:
    """A Node that is Ready, as a kubelet would say."""
    path = f"/api/v1/nodes/{host.name}"
    labels = {"kubernetes.io/hostname": host.name, "kubernetes.io/os": "linux"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": host.name, "labels": labels}}
    api.apply(path, node)
    addresses = [{"type": "InternalIP", "address": address} for address in host.addresses]
    addresses.append({"type": "Hostname", "address": host.name})
    ready = {"type": "Ready", "status": "True", "reason": "Lab", "message": "made by the lab"}
    status = {"addresses": addresses, "conditions": [ready]}
    # Not by apply: it holds addresses of one type for the same one, which they are not.
    api.request("PATCH", f"{path}/status", {"status": status}, MERGE)
    # Admission has marked it "not ready yet".
    api.request("PATCH", path, {"spec": {"taints": None}}, MERGE)


def _start(lab: Lab, part: str, *options: str | Path, name: str = "") -> None:
    """`name`: of its cgroup and log, if it is not the part's."""
    argv = [programs.folder()[part], *options]
    name = name or part
    daemon(argv, cgroup=_cgroup(lab, name), log=lab.logs / f"{name}.log", netns=lab.netns)


def _cgroup(lab: Lab, part: str) -> Path:
    return lab.cgroup / part


def _tail(lab: Lab, part: str) -> str:
    tail = ("tail", "-n", "15", str(lab.logs / f"{part}.log"))
    return subprocess.run(tail, capture_output=True, text=True, check=False).stdout
