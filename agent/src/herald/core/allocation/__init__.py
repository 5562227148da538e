# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Who is given which address, and why not: pools, requests, sharing, families; and the one agent that allocates."""
