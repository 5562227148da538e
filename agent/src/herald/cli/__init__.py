# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""heraldctl: what a person asks the agent on this node."""
