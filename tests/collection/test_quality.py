# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What Ansible's own tools say of the published collection."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from published import ROOT, run, tarball

if TYPE_CHECKING:
    from collections.abc import Callable


def test_sanity_has_no_remark_and_nothing_is_ignored(
    installed: Path, ansible_test: Callable[..., str], interpreters: dict[str, Path]
) -> None:
    said = ansible_test("sanity")
    assert not list((installed / "tests/sanity").glob("ignore*"))
    ran = set(re.findall(r'Running sanity test "([\w-]+)"', said))
    assert ran == set(
        re.findall(r"^([a-z0-9-]+)$", ansible_test("sanity", "--list-tests"), re.MULTILINE)
    )
    imported = re.findall(r'Running sanity test "import" on Python ([\d.]+)', said)
    assert set(interpreters) <= set(imported)


def test_units_pass_by_the_oldest_and_the_newest_python(
    ansible_test: Callable[..., str], interpreters: dict[str, Path]
) -> None:
    versions = list(interpreters)
    for version in dict.fromkeys((versions[0], versions[-1])):
        said = ansible_test("units", "--venv", "--python", version)
        assert f"Unit test module_utils with Python {version}" in said
        assert re.search(r"^=+ \d+ passed in ", said, re.MULTILINE), said


def test_galaxy_takes_it(tmp_path: Path) -> None:
    """All that Galaxy's importer looks at, but ansible-test, which it would run in a container."""
    settings = {
        "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path),
    }
    command = ("python", "-m", "galaxy_importer.main", str(tarball()))
    said = run(*command, folder=tmp_path, **settings)
    assert "Importer processing completed successfully" in said
    assert "...ansible-lint run complete" in said
    assert not re.findall("^(?:WARNING|ERROR).*", said, re.MULTILINE)
    found = json.loads((tmp_path / "importer_result.json").read_text())
    documented = {
        entry["content_name"] for entry in found["docs_blob"]["contents"] if entry["doc_strings"]
    }
    assert documented >= {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}


def test_only_what_is_needed_is_published() -> None:
    with tarfile.open(tarball()) as archive:
        names = {Path(name) for name in archive.getnames()}
    assert {name.parts[0] for name in names} <= {
        *("MANIFEST.json", "FILES.json", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
        "CODE_OF_CONDUCT.md",
        *("LICENSE", "LICENSES", "docs", "meta", "plugins", "roles", "playbooks", "changelogs"),
    }
    assert any(name.match("roles/agent/files/herald_agent-*.whl") for name in names)
