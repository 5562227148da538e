# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Herald's node agent: LoadBalancer addresses for bare-metal Kubernetes on Layer 2."""

__version__ = "0.1.0"
