# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""pyroute2's classes for route netlink messages, and nothing else of it.

``import pyroute2`` runs the package's own ``__init__``, which imports every part of it: 12 MB and
90 ms of an agent that has 48 MB and, at a restart, less than two seconds. Its parts themselves need
each other sparingly, so they are imported with a package in place whose ``__init__`` has not run;
whoever imports pyroute2 later gets the whole.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec, module_from_spec
from typing import Any, NamedTuple

_PACKAGE = "pyroute2"


class Messages(NamedTuple):
    link: type[Any]
    """RTM_NEWLINK: pyroute2.netlink.rtnl.ifinfmsg."""
    address: type[Any]
    """RTM_NEWADDR: pyroute2.netlink.rtnl.ifaddrmsg."""
    route: type[Any]
    """RTM_NEWROUTE: pyroute2.netlink.rtnl.rtmsg."""


@cache
def load() -> Messages:
    """The classes. Call it from one thread."""
    bare = None
    if _PACKAGE not in sys.modules:
        spec = find_spec(_PACKAGE)
        if spec is not None:
            bare = sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg
    finally:
        if bare is not None:
            del sys.modules[_PACKAGE]
    return Messages(ifinfmsg, ifaddrmsg, rtmsg)
