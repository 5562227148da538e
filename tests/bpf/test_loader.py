# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
"""The loader: what it leaves pinned, what it keeps, and what it says when something is missing."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.bpf.conftest import LOADER, ChangedSource, loader
from tests.bpf.frames import OWN_MAC
from tests.bpf.table import entry

from herald.core.kernel import EntryKey
from herald.datapath import loader as loader_module
from herald.datapath.responder import DatapathError, Responder

PINS = {"vip4", "vip6", "seen4", "seen6", "own", "session", "events"}
ENTRIES = {EntryKey(ip_address("192.0.2.10"), 1): entry(mac=OWN_MAC)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_is_pinned_for_the_user_alone(bpffs: Path) -> None:
    nobody = pwd.getpwnam("nobody")

    done = loader(bpffs, "--user", "nobody")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = bpffs / "v1"
    program = loader_module.program_pin(bpffs).name
    assert names(bpffs) == {"v1"}
    assert names(folder) == PINS | {program}
    for path, mode in [(folder, 0o700), *[(folder / name, 0o600) for name in (*PINS, program)]]:
        info = path.stat()
        assert (info.st_uid, info.st_gid) == (nobody.pw_uid, nobody.pw_gid)
        assert stat.S_IMODE(info.st_mode) == mode


def test_where_everything_is_pinned_bcc_is_not_imported(bpffs: Path) -> None:
    assert loader(bpffs).returncode == 0
    without_bcc = (
        "import sys; sys.modules['bcc'] = None; "
        f"sys.path.insert(0, {str(LOADER.parent)!r}); import loader; "
        f"sys.exit(loader.main(['--bpffs', {str(bpffs)!r}]))"
    )

    done = subprocess.run(["/usr/bin/python3", "-c", without_bcc], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "pinned already\n"), done.stderr


def test_nothing_stays_mounted(bpffs: Path) -> None:
    """In a mount namespace where nobody else mounts anything, and whose mounts spread as a node's do."""
    mounts = "cat /proc/self/mounts"
    load = f"/usr/bin/python3 -I {LOADER} --bpffs {bpffs}"
    script = f"mount --make-rshared / && {mounts} && echo && {load} >&2 && {mounts}"

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("pinned ")
    before, after = (set(mounts.splitlines()) for mounts in done.stdout.split("\n\n"))
    assert after <= before  # a namespace that is deleted meanwhile is unmounted everywhere


def test_a_new_program_keeps_maps_and_entries(bpffs: Path, changed_source: ChangedSource) -> None:
    assert loader(bpffs).returncode == 0
    responder = Responder.open(bpffs, "auto")
    responder.set_entries((), ENTRIES)
    old = loader_module.program_pin(bpffs)

    done = loader(bpffs, source=changed_source(("ip.h", "ANSWER_TTL 64", "ANSWER_TTL 65")))

    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert len(names(bpffs / "v1") - PINS) == 1
    assert responder.entries() == ENTRIES
    responder.close()


def test_a_prepared_program_leaves_that_of_the_running_agent(
    bpffs: Path, changed_source: ChangedSource
) -> None:
    assert loader(bpffs).returncode == 0
    old = loader_module.program_pin(bpffs)
    newer = changed_source(("ip.h", "ANSWER_TTL 64", "ANSWER_TTL 65"))

    done = loader(bpffs, "--prepare", source=newer)

    assert (done.returncode, done.stderr) == (0, "")
    assert old.exists()
    assert len(names(bpffs / "v1") - PINS) == 2
    # An agent that starts once more meanwhile is as before; then the prepared one is at once there.
    assert loader(bpffs).stdout == "pinned already\n"
    assert loader(bpffs, "--prepare", source=newer).returncode == 0
    assert loader(bpffs, source=newer).stdout == "pinned already\n"
    assert not old.exists()


def test_a_map_of_another_shape_is_made_anew(bpffs: Path) -> None:
    assert loader(bpffs).returncode == 0
    (bpffs / "v1" / "vip4").unlink()
    fd = loader_module.obj_get(bpffs / "v1" / "vip6")
    loader_module.obj_pin(fd, bpffs / "v1" / "vip4")
    os.close(fd)
    with pytest.raises(DatapathError, match=r"map vip4: wanted .* found .* run the loader"):
        Responder.open(bpffs, "auto")

    done = loader(bpffs)

    assert done.returncode == 0, done.stderr
    Responder.open(bpffs, "auto").close()


def test_c_and_python_disagreeing_is_refused(bpffs: Path, changed_source: ChangedSource) -> None:
    change = ("layout.h", "#define LAYOUT_ENTRIES 65536", "#define LAYOUT_ENTRIES 65535")
    source = changed_source(change)

    done = loader(bpffs, source=source)

    assert done.returncode == 1
    assert "map vip4: wanted MapShape" in done.stderr
    assert not (bpffs / "v1").exists()


def test_a_program_that_the_compiler_refuses_is_said_in_one_line(
    bpffs: Path, changed_source: ChangedSource
) -> None:
    done = loader(bpffs, source=changed_source(("arp.h", "ARPOP_REPLY", "ARPOP_NONSENSE")))

    assert done.returncode == 1
    assert "bcc cannot compile" in done.stderr
    assert "ARPOP_NONSENSE" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_program_that_the_kernel_refuses_is_said_in_one_line(
    bpffs: Path, changed_source: ChangedSource
) -> None:
    change = ("wire.h", "if (here + size > c->end)", "if (here + size < c->end)")
    unbounded = changed_source(change)

    done = loader(bpffs, source=unbounded)

    assert done.returncode == 1
    assert "the kernel refuses the responder: " in done.stderr
    assert "invalid access to packet" in done.stderr
    assert len(done.stderr.splitlines()) == 1


REFUSE = """
import errno

def refuse(code):
    loader.bpf_in_place = lambda command, attr: -getattr(errno, code)

def lockdown(state):
    return type("", (), {"exists": lambda: True, "read_text": lambda: state})

"""


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ("sys.modules['bcc'] = None", "install python3-bpfcc"),
        ("loader.find_headers = lambda release: None", "install linux-headers-amd64 (Debian)"),
        ("os.uname = lambda: type('', (), {'release': '5.4.0-42'})",
         "kernel too old: wanted 5.8 or newer, found 5.4.0-42"),
        ("os.geteuid = lambda: 1000", "wanted root, found uid 1000"),
        ("loader._libc.unshare = lambda flags: -1", "cannot have a mount namespace"),
        ("refuse('ENOSYS')", "it has no bpf(2): CONFIG_BPF_SYSCALL is wanted"),
        ("refuse('ENOMEM')", "no memory for the maps"),
        ("os.uname = lambda: type('', (), {'release': '5.10.0-28'}); refuse('EPERM')",
         "and room to lock memory (LimitMEMLOCK=infinity, or CAP_SYS_RESOURCE)"),
        ("refuse('EPERM')", "CAP_BPF (or CAP_SYS_ADMIN) and CAP_NET_ADMIN is wanted"),
        ("loader.LOCKDOWN = lockdown('none integrity [confidentiality]'); refuse('EPERM')",
         "lockdown: none integrity [confidentiality]"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(bpffs: Path, prepare: str, said: str) -> None:
    script = (
        f"import os, sys; sys.path.insert(0, {str(LOADER.parent)!r}); import loader\n{REFUSE}"
        f"{prepare}; sys.exit(loader.main(['--bpffs', {str(bpffs)!r}]))"
    )

    done = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, text=True)

    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("herald loader: ")


@pytest.mark.parametrize("mode", [0o777, 0o000])
def test_wrong_permissions_are_put_right(bpffs: Path, mode: int) -> None:
    assert loader(bpffs, "--user", "nobody").returncode == 0
    folder = bpffs / "v1"
    for path in (*folder.iterdir(), folder):
        os.chown(path, 1, 1)
        path.chmod(mode)

    assert loader(bpffs, "--user", "nobody").stdout == "pinned already\n"

    uid = pwd.getpwnam("nobody").pw_uid
    found = {(path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
    assert found == {(uid, 0o600)}
    assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (uid, 0o700)


def test_pins_of_another_user_are_told_by_the_agent(bpffs: Path) -> None:
    assert loader(bpffs).returncode == 0
    bpffs.chmod(0o755)
    bpffs.parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        said = ""
        try:
            os.setresuid(*3 * [pwd.getpwnam("nobody").pw_uid])
            Responder.open(bpffs, "auto")
        except DatapathError as error:
            said = str(error)
        os._exit(0 if "Permission denied; run the loader" in said else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_bpffs_is_named(tmp_path: Path) -> None:
    done = loader(tmp_path / "herald")

    assert done.returncode == 1
    assert f"{tmp_path} is no bpffs: mount one (mount -t bpf bpf /sys/fs/bpf)" in done.stderr


def test_no_such_user_is_named(bpffs: Path) -> None:
    done = loader(bpffs, "--user", "no-such-user")

    assert done.returncode == 1
    assert "--user: there is no user 'no-such-user'" in done.stderr


def test_the_agent_says_that_the_loader_has_not_run(bpffs: Path) -> None:
    with pytest.raises(DatapathError, match="run the loader"):
        Responder.open(bpffs, "auto")


def test_the_way_to_the_pins_opens_for_the_user_s_group_alone(bpffs: Path) -> None:
    """systemd mounts /sys/fs/bpf with mode 0700."""
    above = bpffs.parent
    above.chmod(0o700)
    nobody = pwd.getpwnam("nobody")

    assert loader(bpffs, "--user", "nobody").returncode == 0

    info = above.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, nobody.pw_gid, 0o710)
    look = f"import os; os.listdir({str(bpffs / 'v1')!r})"
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    subprocess.run(["/usr/bin/python3", "-c", look], check=True, **as_nobody)
    assert loader(bpffs, "--remove").returncode == 0
    info = above.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, 0o700)


def test_remove_leaves_nothing(bpffs: Path) -> None:
    assert loader(bpffs).returncode == 0

    done = loader(bpffs, "--remove")

    assert done.returncode == 0, done.stderr
    assert not bpffs.exists()


def test_remove_of_nothing_is_no_error(bpffs: Path) -> None:
    assert loader(bpffs, "--remove").returncode == 0


def test_the_user_cannot_lead_root_elsewhere(bpffs: Path, tmp_path: Path) -> None:
    """The folder is the agent's, who could put a symbolic link in a pin's place."""
    precious = tmp_path / "precious"
    precious.touch(mode=0o644)
    assert loader(bpffs, "--user", "nobody").returncode == 0
    folder = bpffs / "v1"
    (folder / "events").unlink()
    for name in ("events", "link-7"):
        (folder / name).symlink_to(precious)

    done = loader(bpffs, "--user", "nobody")

    assert done.returncode == 0, done.stderr
    assert names(folder) == PINS | {loader_module.program_pin(bpffs).name}
    assert not (folder / "events").is_symlink()
    info = precious.stat()
    assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (0, 0o644)


def test_two_loaders_at_once_wait_for_each_other(bpffs: Path) -> None:
    command = ["/usr/bin/python3", "-I", str(LOADER), "--bpffs", str(bpffs)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(out.split()[1] for out, _ in said) == sorted(
        [str(loader_module.program_pin(bpffs)), "already"]
    )


def headers(root: Path, name: str) -> Path:
    folder = root / name
    (folder / "include/generated").mkdir(parents=True)
    (folder / "include/generated/autoconf.h").touch()
    (folder / "arch/x86/include/generated").mkdir(parents=True)
    return folder


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the made-up headers are x86's")
def test_the_nearest_headers_are_taken(tmp_path: Path) -> None:
    for name in (
        "linux-headers-5.10.0-1-amd64",
        "linux-headers-6.1.0-9-amd64",
        "linux-headers-6.12",
    ):
        headers(tmp_path, f"usr/src/{name}")
    (tmp_path / "usr/src/linux-headers-6.18-empty").mkdir()

    def nearest(release: str) -> str:
        found = loader_module.find_headers(release, tmp_path)
        assert found is not None
        return found.name

    assert nearest("6.18.44") == "linux-headers-6.12"
    assert nearest("6.2.0") == "linux-headers-6.1.0-9-amd64"
    assert nearest("5.15.0") == "linux-headers-5.10.0-1-amd64"
