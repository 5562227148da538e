# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AnsibleModule of every module that has C(CONNECTION_SPEC): it tells nobody what is secret in a kubeconfig.

Given as content, one holds tokens and keys among words that results are made of (a cluster's URL, C(v1)). With
C(no_log) of the whole option these would be blanked out of results, too, and a path out of errors that are about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# Where nothing secret stands, by key, with all that is below. Whatever is not known here is secret.
_OPEN = {
    *("apiVersion", "kind", "preferences", "clusters", "contexts", "current-context", "extensions"),
    *("name", "username", "as", "as-uid", "as-groups", "as-user-extra"),
    *("client-certificate", "client-certificate-data", "client-key", "tokenFile"),
    *("command", "interactiveMode", "installHint", "provideClusterInfo"),
}
_SURE = {"token", "password"}
_WORD = 8  # characters: what is shorter is a word rather than a secret, where it may be either


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
    if key in _OPEN:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _within(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner, key)
    elif isinstance(value, str) and value and (key in _SURE or len(value) >= _WORD):
        yield value
