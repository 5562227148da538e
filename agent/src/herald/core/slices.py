# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The EndpointSlices of the cluster, and on which nodes each Service has endpoints.

Every agent has all of them, also of Services that are none of Herald's: by namespace, since a table of names costs half
of what one of pairs does.
"""

from __future__ import annotations

from collections.abc import Iterator

from herald.core.model import Endpoints, ServiceKey


class Slices:
    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, Endpoints]] = {}
        """By namespace."""
        self._of_service: dict[str, dict[str, tuple[Endpoints, ...]]] = {}
        """By namespace and name of the Service."""

    def __iter__(self) -> Iterator[ServiceKey]:
        """Namespace and name of each slice."""
        for namespace, slices in self._by_name.items():
            for name in slices:
                yield namespace, name

    def get(self, key: ServiceKey) -> Endpoints | None:
        namespace, name = key
        return self._by_name.get(namespace, {}).get(name)

    def nodes(self, service: ServiceKey, *, ending: bool) -> frozenset[str]:
        """Nodes with a ready endpoint of this Service; ``ending``: also those where one serves while it ends."""
        namespace, name = service
        slices = self._of_service.get(namespace, {}).get(name, ())
        return frozenset().union(*(s.nodes | s.ending if ending else s.nodes for s in slices))

    def put(self, new: Endpoints) -> bool:
        """True if it differs from what was known."""
        old = self.get(new.key)
        if old == new:
            return False
        if old is not None:
            self.drop(old.key)
        self._by_name.setdefault(new.namespace, {})[new.name] = new
        of_service = self._of_service.setdefault(new.namespace, {})
        of_service[new.service_name] = (*of_service.get(new.service_name, ()), new)
        return True

    def drop(self, key: ServiceKey) -> bool:
        """True if it was there."""
        old = self.get(key)
        if old is None:
            return False
        namespace, name = key
        slices, of_service = self._by_name[namespace], self._of_service[namespace]
        del slices[name]
        rest = tuple(each for each in of_service[old.service_name] if each is not old)
        if rest:
            of_service[old.service_name] = rest
        else:
            del of_service[old.service_name]
        if not slices:
            del self._by_name[namespace], self._of_service[namespace]
        return True
