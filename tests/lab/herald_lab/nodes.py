# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The nodes: containers that boot systemd, as near to a bare-metal server as one kernel allows.

Each has a disk that outlives a loss of power, network interfaces plugged into the lab's switches,
and a BPF file system that is made at its start and is gone with its kernel, so to say. All mounts
of a node live in a mount namespace of its own, so that nothing is left to unmount after its end.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from herald_lab import cgroups, host, layout, noderoot, programs
from herald_lab.commands import LabError, daemon, run, wait_until
from herald_lab.layout import (
    API,
    BRIDGE,
    CLIENT,
    MANAGEMENT_BRIDGE,
    MANAGEMENT_LINK,
    NODE_LINK,
    NODES,
    Host,
    Lab,
)

# Nothing in them serves a node of the lab, and three of them start on two cores.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "modprobe@.service",
    "sys-fs-fuse-connections.mount",
    "systemd-logind.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-update-utmp-runlevel.service",
)
_KUBE_PROXY = """\
[Unit]
Description=Kubernetes service proxy
After=network.target

[Service]
ExecStart=/usr/local/bin/kube-proxy --kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig \\
  --hostname-override={name} --proxy-mode=nftables --conntrack-max-per-core=0 \\
  --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
_NETWORK = """\
[Match]
Name={link}

[Link]
MACAddress={mac}

[Network]
Address={ipv4}/24
Address={ipv6}/64
Gateway={gateway4}
Gateway={gateway6}
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
IPv6DuplicateAddressDetection=0
DHCP=no
"""
_MANAGEMENT = """\
[Match]
Name={link}

[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
DHCP=no
"""
_SYSCTLS = """\
net.ipv4.ip_forward=1
net.ipv6.conf.all.forwarding=1
"""
# Mounts, then systemd-nspawn in this shell's place. $1: disk, $2: lower folder, $3: folder for
# mounts; the rest is nspawn's command line.
_BOOT = """\
set -e
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/bpf
mount -t bpf -o mode=700 bpf /run/bpf
shift 2
exec "$@"
"""


def make(lab: Lab, machine: Host) -> None:
    """The node's disk: what makes it this node and no other."""
    disk = lab.node_disk(machine.name)
    for name in ("upper", "work", "root"):
        (disk / name).mkdir(parents=True)
    top = disk / "upper"
    _put(top / "etc/hostname", f"{machine.name}\n")
    _put(top / "etc/hosts", _hosts())
    _put(top / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    _put(top / "etc/sysctl.d/50-lab.conf", _SYSCTLS)
    # It must sort before systemd's own 80-container-host0.network.
    _put(top / "etc/systemd/network/10-lan.network", _network(machine))
    management = _MANAGEMENT.format(link=MANAGEMENT_LINK, address=machine.management)
    _put(top / "etc/systemd/network/10-management.network", management)
    _put(top / "root/.ssh/authorized_keys", (lab.state / "ssh/operator.pub").read_text(), 0o600)
    (top / "root").chmod(0o700)
    (top / "root/.ssh").chmod(0o700)
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        key = lab.state / f"ssh/{machine.name}{suffix}"
        _put(top / f"etc/ssh/ssh_host_ed25519_key{suffix}", key.read_text(), mode)
    kubeconfig = lab.pki / "kube-proxy.kubeconfig"
    _put(top / "etc/kubernetes/kube-proxy.kubeconfig", kubeconfig.read_text(), 0o600)
    units = top / "etc/systemd/system"
    _put(units / "kube-proxy.service", _KUBE_PROXY.format(name=machine.name))
    _link(units / "multi-user.target.wants/kube-proxy.service", "../kube-proxy.service")
    shipped = Path("/lib/systemd/system")
    for unit in ("multi-user.target.wants/systemd-networkd.service",):
        _link(units / unit, str(shipped / Path(unit).name))
    for unit in _MASKED:
        _link(units / unit, "/dev/null")
    (top / "var/log/journal").mkdir(parents=True)  # the journal, too, outlives a loss of power


def boot(lab: Lab, machine: Host) -> None:
    """Give the node power; returns at once."""
    disk = lab.node_disk(machine.name)
    command: list[str | Path] = [
        *("systemd-nspawn", "--boot", "--directory", disk / "root", "--machine", machine.name),
        *("--register=no", "--keep-unit", f"--network-bridge={BRIDGE}", "--capability=all"),
        f"--network-veth-extra={machine.management_port}:{MANAGEMENT_LINK}",
        "--system-call-filter=bpf perf_event_open",
        "--bind=/run/bpf:/sys/fs/bpf",
        "--bind-ro=/usr/src",
        f"--bind-ro={_modules(lab)}:/lib/modules",
        f"--bind-ro={programs.folder()['kube-proxy']}:/usr/local/bin/kube-proxy",
        f"--bind-ro={layout.SOURCES / 'meter'}:/opt/lab/meter",
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only"),
    ]
    # systemd-nspawn would choose the older hierarchy on a "hybrid" machine; and it locks a name.
    settings = ("env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0")
    private = ("unshare", "--mount", "--propagation=private", "--", "/bin/sh", "-c", _BOOT, "boot")
    daemon(
        [*settings, *private, disk, noderoot.folder(lab.release), *command],
        cgroup=lab.node_cgroup(machine.name),
        log=lab.logs / f"{machine.name}.log",
        netns=lab.netns,
    )


def wait(lab: Lab, machine: Host, *, seconds: float = 60) -> None:
    """Plug it into the second network; wait until systemd has started everything, and name what
    failed."""
    group = lab.node_cgroup(machine.name)

    def powered() -> None:
        if not cgroups.alive(group):
            log = lab.logs / f"{machine.name}.log"
            raise LabError(f"{machine.name} ended while it booted; see {log}")

    def started() -> bool:
        powered()
        return leader(lab, machine.name) > 0

    def booted() -> bool:
        powered()
        inside = into(lab, machine.name)
        state = run(*inside, "systemctl", "is-system-running", check=False).strip()
        if state == "degraded":
            failed = run(*inside, "systemctl", "--failed", "--plain", "--no-legend").strip()
            raise LabError(f"{machine.name} has booted, but units failed: {failed}")
        return state == "running"

    wait_until(f"systemd in {machine.name} to come up", started, seconds=seconds)
    plug = ("ip", "link", "set", machine.management_port, "master", MANAGEMENT_BRIDGE, "up")
    run(*plug, netns=lab.netns)
    wait_until(f"{machine.name} to finish booting", booted, seconds=seconds, interval=0.2)


def wait_for_proxy(lab: Lab, machine: Host, *, seconds: float = 60) -> None:
    """Wait until kube-proxy has brought the cluster's Services into the node's kernel."""
    ask = (
        "curl",
        "-sf",
        "-m",
        "2",
        "-o",
        "/dev/null",
        "http://127.0.0.1:10256/healthz",
        "-w",
        "ok",
    )

    def healthy() -> bool:
        return run(*into(lab, machine.name), *ask, check=False) == "ok"

    wait_until(f"kube-proxy on {machine.name} to be healthy", healthy, seconds=seconds)


def leader(lab: Lab, name: str) -> int:
    """The process that is the node's PID 1, or 0 while there is none."""
    for pid in cgroups.pids(lab.node_cgroup(name) / "payload/init.scope"):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        if f"NSpid:\t{pid}\t1\n" in status:
            return pid
    return 0


def into(lab: Lab, name: str) -> list[str]:
    """The start of a command line that runs as root inside the node."""
    pid = leader(lab, name)
    if not pid:
        raise LabError(f"{name} has no power, or is just starting; `lab heal {name}` boots it")
    if cgroups.frozen(lab.node_cgroup(name)):
        raise LabError(f"{name} is frozen and would not answer; `lab heal {name}` thaws it")
    clean = ("HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
             "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}")  # fmt: skip
    return ["nsenter", f"--target={pid}", "--all", "--", "env", "-i", "-C", "/root", *clean]


def nft(lab: Lab, name: str) -> list[str]:
    """The node's own nft in its network, also while it is frozen: the machine's fails at what a newer one has made."""
    pid = leader(lab, name)
    if not pid:
        raise LabError(f"{name} has no power; `lab heal {name}` boots it")
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--", "/usr/sbin/nft"]


def netns(lab: Lab, name: str) -> Path:
    """The node's network namespace, for programs of the machine."""
    pid = leader(lab, name)
    if not pid:
        raise LabError(f"{name} has no power; `lab heal {name}` boots it")
    return Path(f"/proc/{pid}/ns/net")


def _modules(lab: Lab) -> Path:
    """A /lib/modules in which the running kernel's `build` leads to kernel headers."""
    folder = lab.disk / "modules"  # not below /run, which the nodes' mounts hide
    release = folder / os.uname().release
    if not release.exists():
        headers = host.headers()
        if headers is None:
            raise LabError(
                f"kernel headers: wanted some under /usr/src ({host.HEADERS}), found none"
            )
        release.mkdir(parents=True)
        common = headers.with_name(headers.name.replace("-amd64", "-common"))
        (release / "build").symlink_to(headers)
        (release / "source").symlink_to(common if common.exists() else headers)
    return folder


def _hosts() -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {h.name}" for h in (API, CLIENT, *NODES) for address in h.addresses]
    return "\n".join(lines) + "\n"


def _network(machine: Host) -> str:
    return _NETWORK.format(
        link=NODE_LINK,
        mac=machine.mac,
        ipv4=machine.ipv4,
        ipv6=machine.ipv6,
        gateway4=API.ipv4,
        gateway6=API.ipv6,
    )


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
