# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AnsibleModule of every module that has C(CONNECTION_SPEC): it tells nobody what is secret in a kubeconfig.

Given as content, one holds tokens and keys among words that results are made of (a cluster's URL, C(v1)). With
C(no_log) of the whole option these would be blanked out of results, too, and a path out of errors that are about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# By key, or by the name of a plugin's variable or flag; a file's name is none.
_SECRET = re.compile(
    r"(?i)(token|passw|secret|credential|key-data|(access|api)[-_]?key)(?!-?_?file)"
)


class ClusterModule(AnsibleModule):
    """Options are logged, and returned as the invocation, by the constructor already: where it refuses one."""

    def _load_params(self) -> None:
        super()._load_params()
        for secret in secrets(self.params.get("kubeconfig")):
            # As it is, and as it stands in what is logged of a dictionary.
            self.no_log_values.update((secret, repr(secret)[1:-1]))


def secrets(kubeconfig: Any) -> Iterator[str]:
    """What is secret in an option C(kubeconfig): nothing of a path, all of a text that is none."""
    if not isinstance(kubeconfig, str):
        yield from _within(kubeconfig, "")
    elif "\n" in kubeconfig or "{" in kubeconfig:
        yield kubeconfig


def _within(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        named = str(value.get("name", ""))
        for name, inner in value.items():
            yield from _within(inner, named if name == "value" else str(name))
    elif isinstance(value, list):
        for before, inner in zip(["", *value], value):
            if key == "args":
                yield from _argument(str(before), str(inner))
            else:
                yield from _within(inner, key)
    elif key.endswith("-url"):
        yield from re.findall(r"//[^/@:]*:([^/@]+)@", str(value))
    elif value and _SECRET.search(key):
        yield str(value)


def _argument(before: str, argument: str) -> Iterator[str]:
    """Of C(--flag=value) and of C(--flag value)."""
    flag, _equals, given = argument.partition("=")
    if flag.startswith("-"):
        if given and _SECRET.search(flag):
            yield given
    elif before.startswith("-") and "=" not in before and _SECRET.search(before):
        yield argument
