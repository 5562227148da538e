# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The reference documentation is built from the sources, without a warning, and has them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from published import ROOT, run

PAGES = {
    "kinds": ["LoadBalancerIPPool", "spec.blocks[].cidr", "L2AnnouncementPolicy", "status.nodes"],
    "playbooks": ["baremetal.herald.site", "herald_kubeconfig", "--limit n1"],
    "annotations": ["herald.dev/ips", "metallb.io/loadBalancerIPs", "herald.dev/drain"],
    "configuration": ["lease.duration_ms", "herald_duration_ms", "from 500 to 300000"],
    "collection/agent_role": ["herald_duration_ms"],
    "collection/cluster_role": ["herald_nodes"],
}


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    run(str(ROOT / "scripts/make-docs"), str(folder), folder=ROOT)
    return folder / "html"


@pytest.mark.parametrize("page", PAGES)
def test_page_has_what_its_source_has(html: Path, page: str) -> None:
    text = (html / f"{page}.html").read_text()
    for words in PAGES[page]:
        assert words in text


def test_defaults_of_playbooks_are_what_holds_where_nothing_is_set(html: Path) -> None:
    text = (html / "playbooks.html").read_text()
    cells = [re.sub(r"<[^>]+>", "", c).strip() for c in re.findall(r"(?s)<td>(.*?)</td>", text)]
    found = set(zip(cells[::2], cells[1::2], strict=True))
    assert found >= {
        ("herald_serial", "1"),
        ("herald_kubeconfig", ""),
        ("herald_pipelining", "true"),
    }
    assert {name for name, _ in found} <= {
        *("herald_group", "herald_kubeconfig", "herald_context", "herald_node_name"),
        *("herald_drain", "herald_serial", "herald_pipelining"),
    }


@pytest.mark.parametrize(
    ("kind", "files"), [("module", "modules/*.py"), ("filter", "filter/*.py"), ("role", "*/meta")]
)
def test_ansible_doc_renders_everything_without_a_warning(
    installed: Path, tmp_path: Path, kind: str, files: str
) -> None:
    folder = installed if kind == "role" else installed / "plugins"
    paths = sorted((folder / "roles" if kind == "role" else folder).glob(files))
    names = [path.parent.name if kind == "role" else path.stem for path in paths]
    assert names
    plugins = [f"baremetal.herald.{name}" for name in names]
    home = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}
    said = run("ansible-doc", "--type", kind, *plugins, folder=tmp_path, **home)
    assert "WARNING" not in said
    assert [name for name in plugins if name not in said] == []


def test_every_module_has_a_page(html: Path) -> None:
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    pages = {path.stem.removesuffix("_module") for path in html.glob("collection/*_module.html")}
    assert pages == modules
