# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""This node's network: which devices there are, and the frames that leave them."""
