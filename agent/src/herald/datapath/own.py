# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The MACs of this node's announcing interfaces, for the responder to tell from those of others.

Two interfaces on one segment hear each other's announcements, which are no conflict. So a MAC must
be known before the first frame that bears it, and for as long as anything may bear it still: some
interfaces share one (VLANs), and one that was changed is answered with until its entries are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from herald.datapath import layout
from herald.datapath.bpf import HashMap


class OwnMacs:
    """The pinned map ``own``. One thread may put while another sets."""

    def __init__(self, path: Path) -> None:
        self._map = HashMap(path)
        self._doubtful: frozenset[bytes] = frozenset()

    def put(self, interfaces: Mapping[bytes, int]) -> None:
        """Add MACs, each with its interface. Raises DatapathError."""
        self._map.put(
            [layout.OWN_KEY.pack(mac) for mac in interfaces],
            [layout.OWN_IFINDEX.pack(ifindex) for ifindex in interfaces.values()],
        )

    def set(self, interfaces: Mapping[bytes, int], used: Callable[[], Collection[bytes]]) -> None:
        """Have these; one that is neither among them nor ``used`` goes when that is so twice running.

        Not at once: what was sent may be on its way, and what is put may belong to a device that is
        not told here yet. ``used`` is asked only where there is any other. Raises DatapathError.
        """
        self.put(interfaces)
        known = (layout.OWN_KEY.unpack(key)[0] for key, _ in self._map.items())
        others = frozenset(known) - interfaces.keys()
        if others:
            others = others.difference(used())
        self._map.remove([layout.OWN_KEY.pack(mac) for mac in others & self._doubtful])
        self._doubtful = others

    def close(self) -> None:
        """Let go of it; the pin stays."""
        self._map.close()
