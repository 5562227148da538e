# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The only package that talks to the API server.

The shell uses ``client.KubeClient``; everything else here is behind it. What is learned goes to the decider
as ``core.events``, what is to be done comes as ``core.effects``.
"""
