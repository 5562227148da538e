# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The lab: a bare-metal Kubernetes cluster in network namespaces of one machine."""
