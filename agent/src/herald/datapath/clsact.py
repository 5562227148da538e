# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The responder as a classifier of clsact: for kernels before tcx, or by configuration.

Ours are the filters of kind bpf and name ``herald``, priority 1, with a handle of their own. No
other filter is ever replaced or removed, and clsact goes with our filter only where nobody else has
one in it.

A filter outlives the agent. A pin ``clsact-<ifindex>`` says where one is, so that the next agent puts
its own program in its place at once, and that one which attaches by tcx removes it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from herald.datapath.bpf import DatapathError, hint, obj_pin
from herald.datapath.loader import FILTER, FILTER_NAME, interface_pin

_INGRESS = 0xFFFFFFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
_EGRESS = 0xFFFFFFF3
_HANDLE = 0x4845  # "HE"
_PRIORITY = 1
_ETH_P_ALL = 0x0003


class Clsact:
    """Attachments of one program as clsact filters, which live as long as their devices.

    Used by one thread; another may look meanwhile where pyroute2 has a socket for each thread (since 0.9).
    """

    def __init__(self, folder: Path, program: int) -> None:
        self._folder = folder
        self._program = program
        self._netlink = IPRoute()
        self._put: set[int] = set()
        """Where this process put its program: elsewhere a filter of ours may run an older one."""

    def attach(self, ifindex: int) -> None:
        """Have the program on an interface. Raises DatapathError."""
        try:
            present = self._has_ours(ifindex)
            first = present and self._is_first(ifindex)
            if first and ifindex in self._put:
                return
            if present and not first:
                self.remove_filter(ifindex)  # what is added last at a priority runs first
                present = False
            if not present:
                self._ensure_qdisc(ifindex)
            self._netlink.tc(
                "replace-filter" if present else "add-filter",
                "bpf",
                ifindex,
                _HANDLE,
                parent=_INGRESS,
                prio=_PRIORITY,
                protocol=_ETH_P_ALL,
                fd=self._program,
                name=FILTER_NAME,
                classid=1,
                direct_action=True,
            )
            self._mark(ifindex)
        except NetlinkError as failed:
            raise DatapathError(_said(ifindex, failed)) from failed
        except OSError as failed:
            raise DatapathError(f"clsact on interface {ifindex}: {hint(failed)}") from failed
        self._put.add(ifindex)

    def detach(self, ifindex: int) -> None:
        """Have nothing of ours on an interface. Raises DatapathError."""
        self.remove_filter(ifindex)
        self._remove_qdisc(ifindex)

    def _remove_qdisc(self, ifindex: int) -> None:
        try:
            if self._has_qdisc(ifindex) and not self._in_use(ifindex):
                self._netlink.tc("del", "clsact", ifindex)
        except NetlinkError as failed:
            if failed.code not in (errno.ENODEV, errno.ENOENT):
                raise DatapathError(_said(ifindex, failed)) from failed

    def remove_filter(self, ifindex: int) -> None:
        """The same, but clsact stays, as the kernel drops what is being sent while it comes or goes.

        (qdisc_graft in net/sched/sch_api.c deactivates the device, whichever qdisc it is.)
        """
        self._put.discard(ifindex)
        try:
            if self._has_ours(ifindex):
                self._netlink.tc(
                    "del-filter",
                    "bpf",
                    ifindex,
                    _HANDLE,
                    parent=_INGRESS,
                    prio=_PRIORITY,
                    protocol=_ETH_P_ALL,
                )
        except NetlinkError as failed:
            if failed.code not in (errno.ENODEV, errno.ENOENT):
                raise DatapathError(_said(ifindex, failed)) from failed
        interface_pin(self._folder, FILTER, ifindex).unlink(missing_ok=True)

    def attached(self) -> frozenset[int]:
        """The interfaces that the program is first on now, by the kernel's word."""
        put = tuple(self._put)  # at once: another thread may look while one attaches
        return frozenset(ifindex for ifindex in put if self._is_first(ifindex))

    def close(self) -> None:
        """Let go of the netlink socket; filters stay."""
        self._netlink.close()

    def _mark(self, ifindex: int) -> None:
        pin = interface_pin(self._folder, FILTER, ifindex)
        pin.unlink(missing_ok=True)
        obj_pin(self._program, pin)

    def _ensure_qdisc(self, ifindex: int) -> None:
        try:
            self._netlink.tc("add", "clsact", ifindex)
        except NetlinkError as failed:
            if failed.code != errno.EEXIST:
                raise

    def _has_qdisc(self, ifindex: int) -> bool:
        return any(
            message.get_attr("TCA_KIND") == "clsact"
            for message in self._netlink.get_qdiscs(index=ifindex)
        )

    def _filters(self, ifindex: int, parent: int) -> Iterator[Any]:
        try:
            for message in list(self._netlink.get_filters(index=ifindex, parent=parent)):
                # A priority's own message has no handle.
                if message["handle"]:
                    yield message
        except NetlinkError as failed:
            if failed.code not in (errno.ENODEV, errno.EINVAL, errno.ENOENT):
                raise

    def _in_use(self, ifindex: int) -> bool:
        return any(True for parent in (_INGRESS, _EGRESS) for _ in self._filters(ifindex, parent))

    def _has_ours(self, ifindex: int) -> bool:
        return any(_is_ours(message) for message in self._filters(ifindex, _INGRESS))

    def _is_first(self, ifindex: int) -> bool:
        """Is nobody's filter before ours, that could hide requests from it?"""
        first = next(self._filters(ifindex, _INGRESS), None)
        return first is not None and _is_ours(first)


def _is_ours(message: Any) -> bool:
    options = message.get_attr("TCA_OPTIONS")
    return (
        message.get_attr("TCA_KIND") == "bpf"
        and message["handle"] == _HANDLE
        and message["info"] >> 16 == _PRIORITY
        and options is not None
        and options.get_attr("TCA_BPF_NAME") == FILTER_NAME
    )


def _said(ifindex: int, failed: NetlinkError) -> str:
    if failed.code == errno.EPERM:
        return f"clsact on interface {ifindex}: not permitted; CAP_NET_ADMIN is wanted"
    if failed.code == errno.ENOENT:  # of a qdisc, or of a classifier
        return (
            f"clsact on interface {ifindex}: the kernel has no such thing: CONFIG_NET_SCH_INGRESS "
            "and CONFIG_NET_CLS_BPF are wanted (modules sch_ingress and cls_bpf)"
        )
    return (
        f"clsact on interface {ifindex}: {failed.args[-1]} (errno {failed.code}); look with "
        "'tc filter show dev DEVICE ingress' whether another program has priority 1"
    )
