# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What the shell holds: starts the reflectors, hands effects to the writer, renews the token, stops it all."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from herald import __version__
from herald.core.events import Event, Kind, KubeObject
from herald.core.model import Lease, Service
from herald.kube.clock import boottime
from herald.kube.https import Https
from herald.kube.kinds import watched
from herald.kube.latency import LatencyTimer
from herald.kube.reflector import Reflector
from herald.kube.times import Times
from herald.kube.token import TokenFile, TokenRenewal
from herald.kube.transport import Transport
from herald.kube.writer import KubeEffect, Writer

STOP_LIMIT = 2.0
"""Seconds for each thread to end."""


@dataclass(frozen=True, slots=True)
class KubeConfig:
    node: str
    servers: tuple[str, ...]
    """``https://HOST:PORT``, tried in turn."""
    ca_file: Path
    token_file: Path
    namespace: str = "herald-system"
    duration: int = 2_000_000_000
    """Nanoseconds of D, by which the patience of the Lease watch is set."""


class KubeClient:
    """Events go to ``post``, from several threads; it may block, and must not once the shell has called stop."""

    def __init__(
        self,
        config: KubeConfig,
        post: Callable[[Event], None],
        *,
        transport: Transport | None = None,
        clock: Callable[[], int] = boottime,
    ) -> None:
        """ValueError names the setting that is wrong. ``transport``: the seam for tests."""
        self._config = config
        self._post = post
        self._clock = clock
        self._times = Times()
        self.token = TokenFile(config.token_file)
        self._transport: Transport = transport or Https(
            config.servers,
            config.ca_file,
            self.token,
            user_agent=f"herald-agent/{__version__} ({config.node})",
            # Agents begin with different servers, the same one at each start.
            first=zlib.crc32(config.node.encode()),
            clock=clock,
        )
        self._reflectors: dict[Kind, Reflector] = {}
        self._writer = Writer(
            self._transport,
            post,
            self._times,
            namespace=config.namespace,
            node=config.node,
            wrote=self._wrote,
            clock=clock,
        )
        self.renewal = TokenRenewal(self.token, self._transport, clock=clock)

    def start(
        self,
        kinds: Iterable[Kind] = (),
        *,
        wanted: dict[Kind, Callable[[KubeObject], bool]] | None = None,
    ) -> None:
        """Begin: requests can be submitted, these kinds are listed and watched.

        May be called again for further kinds: an agent that restarts renews before it lists. ``wanted``: by
        kind, which objects the decider is told of; when that changes its mind, call refresh.
        """
        if not self._writer.started:
            self._writer.start()
            self.renewal.start()
        for kind in kinds:
            if kind in self._reflectors:
                continue
            reflector = Reflector(
                watched(
                    kind,
                    namespace=self._config.namespace,
                    duration=self._config.duration,
                    all_services=False,
                ),
                self._transport,
                self._post,
                self._times,
                wanted=(wanted or {}).get(kind),
                clock=self._clock,
            )
            self._reflectors[kind] = reflector
            reflector.start()

    def submit(self, effect: KubeEffect) -> None:
        """Begin to carry out an effect; its Answer comes as an event. Never blocks."""
        self._writer.submit(effect)

    def latency_timer(self, lease: str) -> LatencyTimer:
        """Times requests about a Lease, on a connection of its own."""
        return LatencyTimer(self._transport, self._config.namespace, lease, self._clock)

    def refresh(self, kind: Kind) -> None:
        """List a kind again, because ``wanted`` now says something else, or what was seen holds no more. (Who has not
        begun yet lists anyway.)"""
        if (reflector := self._reflectors.get(kind)) is not None:
            reflector.refresh()

    def watch_services(self, *, all_types: bool) -> None:
        """List and watch Services anew: those of every type that matter, or those of type LoadBalancer alone."""
        kind = watched(
            Service,
            namespace=self._config.namespace,
            duration=self._config.duration,
            all_services=all_types,
        )
        self._reflectors[Service].watch_instead(kind, matters if all_types else None)

    def stop(self) -> bool:
        """End all threads and close all connections; whether all have ended in time. No event is posted after."""
        for reflector in self._reflectors.values():
            reflector.stop()
        ended = [self._writer.stop(STOP_LIMIT), self.renewal.stop(STOP_LIMIT)]
        ended += [reflector.join(STOP_LIMIT) for reflector in self._reflectors.values()]
        return all(ended)

    def _wrote(self, version: int) -> None:
        if (reflector := self._reflectors.get(Lease)) is not None:
            reflector.wrote(version)


def matters(service: KubeObject) -> bool:
    """Of Services of every type, those that the decider is told of."""
    return isinstance(service, Service) and service.is_watched(all_types=True)
