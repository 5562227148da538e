# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""herald-agent: starts the parts in the order that a restart inside the deadline needs, and ends
them.

A restarted agent has what is left of its presence's validity (1.8 s at best) to renew it, while the
kernel goes on answering. So what the kernel holds is read first, the renewal leaves next, and all
that a renewal does not need comes after it: lists and watches, metrics, the control socket.
"""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from herald import __version__
from herald.core.events import AddressProbed, KernelRead, Stop
from herald.core.kernel import Seen
from herald.core.model import (
    Address,
    Endpoints,
    Lease,
    Node,
    Policy,
    Pool,
    Service,
    presence_lease_name,
)
from herald.core.step import Decider
from herald.datapath.responder import AttachBy, DatapathError, Responder
from herald.kube.client import KubeClient, KubeConfig
from herald.net.duplicates import Duplicates
from herald.net.groups import Groups
from herald.net.monitor import Monitor
from herald.net.segment import Ears
from herald.net.sender import Sender
from herald.shell.clock import boottime
from herald.shell.config import CONFIG_FILE, Config, ConfigError, load
from herald.shell.control import CONTROL_SOCKET, Control
from herald.shell.counters import Counters
from herald.shell.fdstore import FdStore
from herald.shell.hands import Hands
from herald.shell.identity import IdentityError, read_identity
from herald.shell.inbox import Inbox
from herald.shell.listener import Listener
from herald.shell.lock import LOCK_FILE, LockError, lock
from herald.shell.log import set_up
from herald.shell.notify import Notifier
from herald.shell.proving import ApiLatency, ProxyHealth
from herald.shell.runner import Runner

EX_UNAVAILABLE = 69
"""The kernel part is not there or cannot be used."""
EX_OSERR = 71
EX_TEMPFAIL = 75
"""Another agent runs, or the API server is too slow for the lease's duration: it may be otherwise soon."""
EX_CONFIG = 78
"""The configuration, the CA or the token cannot be used: a restart changes nothing."""

KINDS = (Lease, Node, Service, Endpoints, Pool, Policy)
"""In the order in which a decision needs them."""

log = logging.getLogger("herald")


class StartError(Exception):
    """The agent cannot start; the message says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def collect_seldom() -> None:
    """Have Python look for cycles every 10,000 new objects, not every few hundred.

    What an agent knows of a cluster are objects by the million that stay, and hardly anything of it makes cycles: a
    quarter of the allocator's first sync would go into looking at them again and again.
    """
    gc.set_threshold(10_000)


def main(
    arguments: Sequence[str] | None = None,
    open_responder: Callable[[Path, AttachBy], Responder] = Responder.open,
) -> int:
    options = _options(arguments)
    if options.check:
        return _check(options.config)
    collect_seldom()
    notifier = Notifier()
    set_up()
    try:
        config = load(options.config)
        set_up(config.log_level)
        with ExitStack() as stack:
            return run(config, notifier, stack, options.run_dir, open_responder)
    except ConfigError as error:
        return _give_up(notifier, EX_CONFIG, str(error))
    except StartError as error:
        return _give_up(notifier, error.status, str(error))
    finally:
        notifier.close()


def run(
    config: Config,
    notifier: Notifier,
    stack: ExitStack,
    run_dir: Path,
    open_responder: Callable[[Path, AttachBy], Responder],
) -> int:
    """Until the decider has let go of everything; the exit status. Raises StartError."""
    # Blocked before the first thread, so that only the thread that waits for them gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    clock = boottime
    counters = Counters(started=clock())
    try:
        identity = read_identity(config.node)
        lock(run_dir / LOCK_FILE.name)
    except IdentityError as error:
        raise StartError(EX_OSERR, str(error)) from None
    except LockError as error:
        raise StartError(EX_TEMPFAIL, str(error)) from None
    inbox = Inbox()
    try:
        responder = open_responder(config.bpffs, config.attach)
    except DatapathError as error:
        raise StartError(EX_UNAVAILABLE, str(error)) from None
    stack.callback(responder.close)
    silenced = {address: seen.silenced for address, seen in responder.seen().items()}
    inbox.post(KernelRead(responder.session(), responder.entries(), silenced))
    client = _client(config, inbox)
    client.start()
    try:
        sender = stack.enter_context(Sender.open())
    except OSError as error:
        raise StartError(
            EX_OSERR, f"packet socket: {error.strerror}; the unit must grant CAP_NET_RAW"
        ) from None
    store = FdStore(notifier, f"groups-{identity.nonce}", clock)
    groups = Groups(keep=store.keep, drop=store.drop)
    stack.callback(groups.close)
    duplicates = Duplicates(
        lambda number, mac, error: inbox.post(AddressProbed(number, mac, error))
    )
    hands = Hands(
        responder, sender, groups, duplicates, client, counters, clock, inbox.post, store.tidy
    )
    decider = Decider(config.settings, identity)
    monitor = Monitor(inbox.post)
    listener = Listener(responder, inbox.post)
    late = _Late(config, run_dir, inbox, hands, counters, responder.seen, clock)

    proving: list[ProxyHealth | ApiLatency] = [
        ApiLatency(
            config.settings.duration_ns,
            inbox.post,
            client.latency_timer(presence_lease_name(config.node)),
            clock,
            EX_TEMPFAIL,
        )
    ]
    if config.proxy_port:
        proving.append(ProxyHealth(config.proxy_port, inbox.post, clock))

    def after_renewal() -> None:
        client.start(KINDS)
        late.start()
        for onlooker in proving:
            onlooker.start()

    runner = Runner(decider, hands, inbox, notifier, counters, clock, after_renewal)
    stack.callback(late.stop)
    for part in (hands, monitor, listener, Ears(inbox.post), duplicates):
        part.start()
        stack.callback(part.stop)
    for onlooker in proving:
        stack.callback(onlooker.stop)
    stack.callback(client.stop)
    # Before any part is stopped: none may go on waiting for room in the inbox.
    stack.callback(inbox.close)
    threading.Thread(target=_wait_for_stop, args=(inbox,), name="signals", daemon=True).start()
    log.info(
        "started",
        extra={"fields": {"node": config.node, "version": __version__, "nonce": identity.nonce}},
    )
    notifier.ready()
    finish = runner.run()
    notifier.stopping(finish.reason)
    level = logging.INFO if finish.status == 0 else logging.ERROR
    log.log(level, "finished", extra={"fields": {"reason": finish.reason, "status": finish.status}})
    return finish.status


class _Late:
    """What people and Prometheus ask; begun when the presence is safe, and never a reason to
    fail."""

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        inbox: Inbox,
        hands: Hands,
        counters: Counters,
        seen: Callable[[], Mapping[Address, Seen]],
        clock: Callable[[], int],
    ) -> None:
        self._config = config
        self._path = run_dir / CONTROL_SOCKET.name
        self._inbox = inbox
        self._hands = hands
        self._counters = counters
        self._seen = seen
        self._clock = clock
        self._stops: list[Callable[[], None]] = []
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="late", daemon=True)

    def start(self) -> None:
        """In a thread of its own, since imports take longer than the decider may be away."""
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()
        for stop in self._stops:
            stop()

    def _run(self) -> None:
        try:
            control = Control(self._path, self._inbox.ask, self._inbox.post, self._problems)
            control.start()
            self._stops.append(control.stop)
        except OSError as error:
            self._failed("control socket", f"{self._path}: {error.strerror}")
        if self._config.metrics is not None:
            try:
                self._serve_metrics()
            except OSError as error:
                listen = self._config.metrics
                self._failed("metrics", f"{listen.host}:{listen.port}: {error.strerror}")

    def _serve_metrics(self) -> None:
        # Here and not above: 2 MB that are spent only where metrics are on.
        from herald.shell import metrics

        if self._config.metrics is not None:
            collector = metrics.Collector(
                self._counters, self._seen, self._inbox.__len__, self._clock
            )
            self._stops.append(metrics.serve(collector, self._config.metrics))

    def _failed(self, what: str, error: str) -> None:
        self._problem = f"{what} not served: {error}"
        log.error("not-served", extra={"fields": {"what": what, "error": error}})

    def _problems(self) -> tuple[str, ...]:
        return (*self._hands.problems, *filter(None, [self._problem]))


_STOPPING = (signal.SIGTERM, signal.SIGINT)


def _wait_for_stop(inbox: Inbox) -> None:
    """A thread: every SIGTERM asks for the same hand-over, and none skips it."""
    while True:
        number = signal.sigwait(_STOPPING)
        log.info("signal", extra={"fields": {"name": signal.Signals(number).name}})
        inbox.post(Stop())


def _client(config: Config, inbox: Inbox) -> KubeClient:
    api = config.api
    _check_ca(api.ca_file)
    try:
        client = KubeClient(
            KubeConfig(
                node=config.node,
                servers=api.servers,
                ca_file=api.ca_file,
                token_file=api.token_file,
                namespace=config.namespace,
                duration=config.settings.duration_ns,
            ),
            inbox.post,
        )
    except (OSError, ValueError) as error:
        raise StartError(EX_CONFIG, f"API client: {error} (api.ca_file is {api.ca_file})") from None
    try:
        client.token()
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(
            EX_CONFIG,
            f"api.token_file: {api.token_file}: wanted a token, found: {reason};"
            " run the agent role again, which brings one",
        ) from None
    return client


def _check_ca(path: Path) -> None:
    """The client reads it at each connection, to follow a change; at the start it must be right."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        found = "something else"
    except OSError as error:
        found = error.strerror or str(error)
    else:
        return
    raise StartError(
        EX_CONFIG, f"api.ca_file: {path}: wanted the API server's CA (PEM), found: {found}"
    )


def _check(path: Path) -> int:
    try:
        load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    return 0


def _give_up(notifier: Notifier, status: int, message: str) -> int:
    log.error("cannot-start", extra={"fields": {"error": message, "status": status}})
    notifier.status(f"cannot start: {message}")
    return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="herald-agent", description="Herald's node agent.")
    parser.add_argument("--config", type=Path, default=CONFIG_FILE, metavar="FILE")
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=LOCK_FILE.parent,
        metavar="DIR",
        help="folder of the lock file and the control socket (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="judge the configuration and end: exit 0, or 78 and what is wrong with it",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
