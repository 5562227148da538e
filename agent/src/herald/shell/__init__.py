# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The process around the core: it starts, wires, waits, carries out and reports."""
