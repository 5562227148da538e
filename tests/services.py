# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The plain Service that tests of the agent begin with: what it says beside that is the test's own."""

from __future__ import annotations

from dataclasses import replace

from herald.core.model import Service, ServicePort

PLAIN = Service(
    namespace="default",
    name="web",
    uid="uid-web",
    resource_version=0,
    labels={},
    annotations={},
    type="LoadBalancer",
    load_balancer_class=None,
    load_balancer_ip="",
    ip_families=(4,),
    ip_family_policy="SingleStack",
    external_ips=(),
    ports=(ServicePort("TCP", 80),),
    external_traffic_policy="Cluster",
    selector={},
    ingress=(),
    conditions=(),
    deleting=False,
)


def service(**fields: object) -> Service:
    return replace(PLAIN, **fields)  # type: ignore[arg-type]
