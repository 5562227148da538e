# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""agent.toml: what it may say, and the one place that refuses what it may not.

Each error names the file, the field, what was wanted and what was found. Unknown keys are errors
too: a misspelt one would otherwise be a default that nobody chose.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast
from urllib.parse import urlsplit

from herald.core.model import MILLISECOND, SECOND
from herald.core.settings import Settings

if TYPE_CHECKING:
    from herald.datapath.responder import AttachBy

CONFIG_FILE = Path("/etc/herald/agent.toml")

OnApiLoss = Literal["Hold", "Withdraw"]
Level = Literal["debug", "info", "warning", "error"]

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(_LABEL)
_CLASS = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?")

T = TypeVar("T")


class ConfigError(ValueError):
    """A value that cannot be used."""

    def __init__(self, file: Path, field: str, wanted: str, found: object) -> None:
        where = f"{file}: {field}" if field else str(file)
        super().__init__(f"{where}: wanted {wanted}, found {found}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Api:
    servers: tuple[str, ...]
    """``https://host:port``, tried in turn."""
    ca_file: Path
    token_file: Path


@dataclass(frozen=True, slots=True)
class Listen:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Config:
    node: str
    """The name of the Node object; host and inventory may call this machine something else."""
    api: Api
    namespace: str
    settings: Settings
    attach: AttachBy
    bpffs: Path
    proxy_port: int
    """kube-proxy's health port on this node; 0: not to be asked."""
    metrics: Listen | None
    """None: off."""
    log_level: Level


def load(path: Path = CONFIG_FILE) -> Config:
    """Read and check the file. Raises ConfigError."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(path, "", "a readable file", error.strerror) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "UTF-8 text", "other bytes") from None
    try:
        return parse(text, path)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "", "TOML", f"an error: {error}") from None


def parse(text: str, path: Path = CONFIG_FILE) -> Config:
    """Check the text of a file called ``path``. Raises ConfigError or TOMLDecodeError."""
    top = _Table(path, "", tomllib.loads(text))
    api = top.table("api")
    lease = top.table("lease")
    service = top.table("service")
    datapath = top.table("datapath")
    proxy_port = top.table("kube_proxy").integer("health_port", 10256, 0, 65_535)
    announce = top.table("announce")
    config = Config(
        node=top.text("node", None, "the name of this Node, at most 253 characters", _is_subdomain),
        api=Api(
            servers=api.texts("servers", None, "https://host:port", _is_server, at_least=1),
            ca_file=api.path("ca_file", "/etc/herald/ca.crt"),
            token_file=api.path("token_file", "/var/lib/herald/token"),
        ),
        namespace=lease.text(
            "namespace",
            "herald-system",
            "the name of a Namespace",
            lambda text: bool(_NAMESPACE.fullmatch(text)),
        ),
        settings=Settings(
            duration_ns=lease.integer("duration_ms", 2000, 500, 300_000) * MILLISECOND,
            renew_budget=lease.integer("renew_budget", 50, 1, 100_000),
            on_api_loss=cast("OnApiLoss", lease.one_of("on_api_loss", "Hold", "Withdraw")),
            default_class=service.flag("default_class", True),
            adopt_classes=service.texts(
                "adopt_classes",
                (),
                "a loadBalancerClass, like example.com/lb",
                lambda text: bool(_CLASS.fullmatch(text)),
            ),
            await_proxy=proxy_port > 0,
            await_timing=True,
            refresh_ns=announce.integer("refresh_seconds", 90, 1, 86_400) * SECOND,
            announce_rate=announce.integer("rate", 2000, 10, 100_000),
        ),
        attach=cast("AttachBy", datapath.one_of("attach", "auto", "tcx", "clsact")),
        proxy_port=proxy_port,
        bpffs=datapath.path("bpffs", "/sys/fs/bpf/herald"),
        metrics=top.table("metrics").listen("listen", "127.0.0.1:9955"),
        log_level=cast(
            "Level", top.table("log").one_of("level", "info", "debug", "warning", "error")
        ),
    )
    top.refuse_the_rest()
    return config


class _Table:
    """Takes values out of a table by name; what is left at the end nobody asked for."""

    def __init__(self, file: Path, name: str, values: Mapping[str, object]) -> None:
        self._file = file
        self._name = name
        self._left = dict(values)
        self._asked: set[str] = set()
        self._tables: dict[str, _Table] = {}

    def table(self, key: str) -> _Table:
        if key not in self._tables:
            values = self._take(key, {}, "a table", dict)
            self._tables[key] = _Table(self._file, key, values)
        return self._tables[key]

    def text(self, key: str, default: str | None, wanted: str, good: Callable[[str], bool]) -> str:
        text = self._take(key, default, wanted, str)
        if not good(text):
            raise self._error(key, wanted, repr(text))
        return text

    def texts(
        self,
        key: str,
        default: tuple[str, ...] | None,
        wanted: str,
        good: Callable[[str], bool],
        at_least: int = 0,
    ) -> tuple[str, ...]:
        many = f"a list of {wanted}"
        values = self._take(key, None if default is None else list(default), many, list)
        if len(values) < at_least:
            raise self._error(key, f"{many}, one at least", "none")
        for number, value in enumerate(values):
            if not isinstance(value, str) or not good(value):
                raise self._error(f"{key}[{number}]", wanted, repr(value))
        return tuple(values)

    def path(self, key: str, default: str) -> Path:
        return Path(
            self.text(key, default, "an absolute path", lambda text: Path(text).is_absolute())
        )

    def flag(self, key: str, default: bool) -> bool:
        return self._take(key, default, "true or false", bool)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        wanted = f"a whole number from {low} to {high}"
        value = self._take(key, default, wanted, int)
        if not low <= value <= high:
            raise self._error(key, wanted, value)
        return value

    def one_of(self, key: str, default: str, *others: str) -> str:
        choices = (default, *others)
        return self.text(key, default, " or ".join(map(repr, choices)), choices.__contains__)

    def listen(self, key: str, default: str) -> Listen | None:
        wanted = 'host:port, [IPv6]:port, or "" for none'
        text = self.text(key, default, wanted, lambda _: True)
        if not text:
            return None
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise self._error(key, wanted, repr(text))
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise self._error(key, wanted, repr(text))
        return Listen(host, int(port))

    def refuse_the_rest(self) -> None:
        for key in self._left:
            raise self._error(key, f"only {', '.join(sorted(self._asked))}", "this key")
        for table in self._tables.values():
            table.refuse_the_rest()

    def _take(self, key: str, default: T | None, wanted: str, kind: type[T]) -> T:
        self._asked.add(key)
        if key not in self._left:
            if default is None:
                raise self._error(key, wanted, "nothing")
            return default
        value = self._left.pop(key)
        # bool is an int to Python, and not to anybody who writes a configuration.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._error(key, wanted, repr(value))
        return value

    def _error(self, key: str, wanted: str, found: object) -> ConfigError:
        field = f"{self._name}.{key}" if self._name else key
        return ConfigError(self._file, field, wanted, found)


def _is_subdomain(text: str) -> bool:
    """RFC 1123, as the names of Nodes."""
    return len(text) <= 253 and bool(_SUBDOMAIN.fullmatch(text))


def _is_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    return (
        url.scheme == "https"
        and bool(url.hostname)
        and (port is None or port > 0)
        and url.path in ("", "/")
        and not (url.query or url.fragment or url.username or url.password)
        and not any(letter.isspace() for letter in text)
    )
