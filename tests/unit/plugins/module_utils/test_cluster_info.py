# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a cluster before Herald is installed in it: its version, its nodes, and how kube-proxy works."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.baremetal.herald.plugins.module_utils._client import Client
from ansible_collections.baremetal.herald.plugins.module_utils._errors import ApiError
from ansible_collections.baremetal.herald.plugins.modules.cluster_info import look
from ansible_collections.baremetal.herald.tests.unit.plugins.fake_api import (
    FakeApi,
    Object,
    refusal,
)

PROXY = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"

# As kubeadm writes it (kubernetes/cmd/kubeadm/app/componentconfigs), but for the keys that stand alike in all of them.
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
clientConnection:
  acceptContentTypes: ""
  burst: 0
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
conntrack:
  maxPerCore: null
iptables:
  masqueradeAll: false
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: {strict}
  syncPeriod: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
metricsBindAddress: ""
mode: {mode}
nodePortAddresses: null
winkernel:
  enableDSR: false
"""


def config(mode: str, strict: str = "false") -> Object:
    data = {
        "config.conf": CONFIG.format(mode=mode, strict=strict),
        "kubeconfig.conf": "apiVersion: v1\nkind: Config\n",
    }
    return {"metadata": {"name": "kube-proxy", "namespace": "kube-system"}, "data": data}


def cluster(minor: str = "30") -> FakeApi:
    api = FakeApi(
        ("/api/v1/nodes/n2", {"metadata": {"name": "n2"}}),
        ("/api/v1/nodes/n1", {"metadata": {"name": "n1"}}),
    )
    # No object, and answered as it is.
    api.objects["/version"] = {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.1"}
    return api


@pytest.mark.parametrize(
    ("minor", "version"), [("30", "1.30"), ("30+", "1.30"), ("9", "1.9"), ("30-eks-1", "1.30")]
)
def test_version_and_nodes(minor: str, version: str) -> None:
    found = look(Client(cluster(minor)))
    assert (found["version"], found["nodes"]) == (version, ["n1", "n2"])


PROXIES: dict[str, tuple[Object | None, dict[str, Any]]] = {
    "none": (None, {}),
    "of another shape": ({"metadata": {"name": "kube-proxy"}, "data": {"conf": "mode: ipvs"}}, {}),
    "without anything": ({"metadata": {"name": "kube-proxy"}}, {}),
    "the default": (config('""'), {"mode": "", "strict_arp": False}),
    "iptables": (config("iptables"), {"mode": "iptables", "strict_arp": False}),
    "nftables": (config("nftables"), {"mode": "nftables", "strict_arp": False}),
    "ipvs": (config("ipvs"), {"mode": "ipvs", "strict_arp": False}),
    "ipvs, in quotes": (config('"ipvs"'), {"mode": "ipvs", "strict_arp": False}),
    "ipvs with strictARP": (config("ipvs", "true"), {"mode": "ipvs", "strict_arp": True}),
}


@pytest.mark.parametrize("case", PROXIES)
def test_how_kube_proxy_works(case: str) -> None:
    stored, wanted = PROXIES[case]
    api = cluster()
    if stored is not None:
        api.put(PROXY, stored)
    assert look(Client(api))["kube_proxy"] == wanted


def refusing(status: int, reason: str) -> FakeApi:
    """A cluster that refuses to show that ConfigMap."""
    api = cluster()

    def refuse(_method: str, path: str) -> None:
        if path == PROXY:
            api.refusals.append(refusal(status, reason, "not for you"))

    api.before = refuse
    return api


def test_a_configuration_that_may_not_be_read_is_unknown() -> None:
    assert look(Client(refusing(403, "Forbidden")))["kube_proxy"] == {}


def test_any_other_failure_is_one() -> None:
    with pytest.raises(ApiError, match="not for you"):
        look(Client(refusing(422, "Invalid")))
