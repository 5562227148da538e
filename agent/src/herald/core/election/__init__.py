# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""Which node announces an address: presences and their epochs, locks on addresses, placement, what is sent."""
