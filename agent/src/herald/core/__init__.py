# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What decides: values in, values out; no clock, socket, file, thread, random or log.

Times are integers: nanoseconds of the node's CLOCK_BOOTTIME.
"""
