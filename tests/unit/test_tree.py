# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What every file of the tree keeps to, and no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LICENCES = {
    "plugins": "GPL-3.0-or-later",
    "bpf": "GPL-2.0-or-later OR Apache-2.0",
}
SOURCES = {".py", ".c", ".h", ".go", ".sh", ".yml", ".yaml", ".toml"}


def tree_files() -> list[Path]:
    """Every text file that is in the repository or about to be, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (Path(name) for name in sorted(set(listed.split("\0")) - {""}))
    return [path for path in paths if (ROOT / path).is_file()]


def is_lock(path: Path) -> bool:
    """A list of Python packages with hashes."""
    return path.suffix == ".txt" and ("requirements" in path.stem or "requirements" in path.parts)


def is_core(path: Path) -> bool:
    """A module of the pure core."""
    return path.match("agent/src/herald/core/*.py")


def is_source(path: Path) -> bool:
    """A source file of ours: known by its suffix, or a script by its first line."""
    if "fragments" in path.parts or path.parts[0] == "LICENSES":
        return False
    return path.suffix in SOURCES or (ROOT / path).read_bytes().startswith(b"#!")


FILES = tree_files()


@pytest.mark.parametrize("path", [*filter(is_source, FILES)], ids=str)
def test_source_names_its_licence(path: Path) -> None:
    expected = LICENCES.get(path.parts[0], "Apache-2.0")
    head = (ROOT / path).read_text(encoding="utf-8").splitlines()[:12]
    assert any(line.endswith(f"SPDX-License-Identifier: {expected}") for line in head), (
        f"{path}: wanted 'SPDX-License-Identifier: {expected}' among the first 12 lines"
    )


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name.endswith(".txt") and "requirements" in str(path)],
    ids=str,
)
def test_locked_requirements_name_no_index(path: Path) -> None:
    assert "://" not in (ROOT / path).read_text(encoding="utf-8")


def is_for_python_3_9(path: Path) -> bool:
    """What runs on the nodes' own Python, as ruff is told in pyproject.toml."""
    return path.suffix == ".py" and (
        path.parts[0] == "plugins" or path == Path("agent/src/herald/datapath/loader.py")
    )


@pytest.mark.parametrize("path", [*filter(is_for_python_3_9, FILES)], ids=str)
def test_what_runs_on_nodes_has_the_syntax_of_python_3_9(path: Path) -> None:
    """Whether or not this machine has a Python 3.9, which `make sanity` would use as well."""
    ast.parse((ROOT / path).read_text(encoding="utf-8"), feature_version=(3, 9))


def test_newer_syntax_would_be_refused() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass\n", feature_version=(3, 9))


def test_the_responder_includes_its_own_headers_and_those_of_the_uapi_alone() -> None:
    """Which are among any kernel's headers, and the same whatever kernel runs."""
    included = {
        line
        for path in FILES
        if path.match("bpf/*.[ch]")
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*#\s*include", line)
    }
    own = {f'#include "{path.name}"' for path in FILES if path.match("bpf/*.h")}
    uapi = {line for line in included if re.fullmatch(r"#include <uapi/linux/\w+\.h>", line)}
    assert own
    assert uapi
    assert included == own | uapi


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.match("agent/src/herald/core/*.py")], ids=str
)
def test_core_imports_the_standard_library_only(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"herald"}
    imported = {
        name
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {name for name in imported if name.split(".")[0] not in allowed}
