# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""What roles say of themselves is what they do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import V1LeaseSpec

ROLES = Path(__file__).parents[2] / "roles"
PLAYBOOKS = ROLES.parent / "playbooks"
DISTRIBUTIONS = ROLES / "agent/vars/distributions"
MISSING = {"venv", "bcc", "headers"}  # what node_info may miss


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_documented_defaults_are_the_defaults_and_every_default_is_documented(role: str) -> None:
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    options = {
        name: option for spec in specs.values() for name, option in (spec["options"] or {}).items()
    }
    defaults = load(ROLES / role / "defaults/main.yml")
    assert set(defaults) <= set(options)
    for name, option in options.items():
        if "default" in option:
            assert defaults[name] == option["default"], name


@pytest.mark.parametrize("file", sorted(DISTRIBUTIONS.iterdir()), ids=lambda path: path.stem)
def test_every_distribution_names_its_python_and_all_packages(file: Path) -> None:
    found = load(file)["herald_distribution"]
    assert set(found) == {"python", "python_package", "packages"}
    assert set(found["packages"]) == MISSING


def test_distributions_that_are_promised_have_a_file() -> None:
    there = {path.stem for path in DISTRIBUTIONS.iterdir()}
    assert {"debian", "ubuntu", "redhat-9", "redhat", "other"} <= there


def plays(path: Path) -> list[dict[str, Any]]:
    """A playbook's plays, with those of what it imports."""
    found = []
    for entry in yaml.safe_load(path.read_text()):
        imported = entry.get("ansible.builtin.import_playbook")
        found += plays(path.parent / imported) if imported else [entry]
    return found


@pytest.mark.parametrize("playbook", sorted(PLAYBOOKS.glob("*.yml")), ids=lambda path: path.stem)
def test_every_play_has_tags_and_the_playbook_says_which(playbook: Path) -> None:
    [said] = re.findall(r"^# Tags: ([\w, ]+)\.", playbook.read_text(), re.MULTILINE)
    tags = [play["tags"] for play in plays(playbook)]
    assert all(tags)
    assert set(said.split(", ")) == {tag for each in tags for tag in each}


def test_admission_compares_every_field_of_a_lease() -> None:
    """Those too that the API server knows only by a feature gate, which no test with it can show."""
    policies = {
        item["metadata"]["name"]: item["spec"]
        for item in load(ROLES / "cluster/files/objects/admission.yaml")["items"]
        if item["kind"] == "ValidatingAdmissionPolicy"
    }
    [fence] = [v for v in policies["herald-presences"]["variables"] if v["name"] == "same"]
    [others] = [
        rule["expression"]
        for rule in policies["herald-locks"]["validations"]
        if "variables.after != variables.before" in rule["expression"]
    ]
    kept = set(V1LeaseSpec.attribute_map.values()) - {"holderIdentity", "acquireTime", "renewTime"}
    assert kept >= {"leaseDurationSeconds", "leaseTransitions"}
    for expression, fields in ((fence["expression"], kept), (others, kept | {"acquireTime"})):
        compared = re.findall(
            r"\bobject\.spec\.(\?(\w+)(?:\.orValue\([^)]*\))?) == oldObject\.spec\.(\S+)",
            expression,
        )
        assert {field for one, field, same in compared if one == same} == fields
