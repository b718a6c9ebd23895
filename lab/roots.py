"""Roots of Debian releases, from which hosts run that are not of this machine's own libvirt and QEMU.

The packages are unpacked and not set up, into the cache: nothing of them is installed on this machine, and no service
of theirs is ever started here.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from lab import state
from lab.processes import LabError, run

DEFAULT_MIRROR = "http://deb.debian.org/debian"
OLDEST = "bookworm"
PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-driver-lxc",
    "libvirt-daemon-driver-storage-iscsi-direct",
    "libvirt-clients",
    "qemu-system-x86",
    "qemu-utils",
    "qemu-block-extra",  # QEMU's own iSCSI and NFS clients
    "openvswitch-switch",
    "tgt",  # iSCSI target
    "nfs-ganesha",
    "nfs-ganesha-vfs",  # its exports of folders
    "rpcbind",  # where NFS clients ask for its port
    "nfs-common",  # mount.nfs, for pools on a machine whose kernel has an NFS client
    "dash",  # the shell by which dnsmasq calls libvirt
    "dnsmasq-base",
    "iptables",
    "nftables",
    "iproute2",
    "bindfs",
    "mount",
    "busybox-static",
)
# Parts of libvirt that are packages of their own from Debian 13 on.
SPLIT = {
    "bookworm": (),
    "trixie": tuple(f"libvirt-daemon-driver-{name}" for name in ("network", "storage", "nodedev", "secret")),
}
# Names that only setting up the packages would make.
LINKS = {
    "bin/sh": "dash",
    "etc/mtab": "/proc/self/mounts",
    "usr/sbin/iptables": "iptables-nft",
    "usr/sbin/ip6tables": "ip6tables-nft",
    "usr/sbin/ovs-vswitchd": "/usr/lib/openvswitch-switch/ovs-vswitchd",
    "var/run": "/run",
}
UNPACK_SECONDS = 1800


def own_release() -> str:
    """The release that is nearest to this machine's: its own where the lab knows it."""
    text = Path("/etc/os-release").read_text()
    return next((name for name in SPLIT if f"VERSION_CODENAME={name}\n" in text), OLDEST)


def packages(release: str) -> list[str]:
    return sorted({*PACKAGES, *SPLIT[release]})


def folder(cache: Path, release: str) -> Path:
    """Where the root is; what is made from other packages or links is another root."""
    content = repr((packages(release), LINKS))
    return cache / f"root-{release}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def prepare(cache: Path, release: str) -> Path:
    """The root, unpacked once.

    Raises: LabError
    """
    wanted = folder(cache, release)
    with state.lock(f"root-{release}"):
        if not wanted.exists():
            cache.mkdir(parents=True, exist_ok=True)
            for unfinished in cache.glob(f"new-root-{release}-*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            _unpack(release, wanted)
    return wanted


def _unpack(release: str, wanted: Path) -> None:
    draft = Path(tempfile.mkdtemp(dir=wanted.parent, prefix=f"new-root-{release}-"))
    try:
        command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(packages(release))}"]
        run([*command, release, draft / "root", mirror()], timeout=UNPACK_SECONDS)
        for name, target in LINKS.items():
            _link(draft / "root" / name, target)
        (draft / "root").rename(wanted)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _link(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    if not path.is_symlink():
        path.symlink_to(target)


def mirror() -> str:
    """The Debian mirror this machine uses, if it uses one."""
    try:
        shown = run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"])
    except LabError:
        return DEFAULT_MIRROR
    found = [line.split()[2] for line in shown.splitlines() if line.startswith("Debian Debian ")]
    return found[0] if found else DEFAULT_MIRROR
