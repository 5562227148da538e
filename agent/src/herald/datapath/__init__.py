# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder in the kernel: compiled and pinned by ``loader``, driven by ``responder``."""
