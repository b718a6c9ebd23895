"""The first process of a host: makes the host's own view of the machine, starts libvirtd, reaps, and waits.

It runs in namespaces of its own and sees the machine's file system; what a host must have for itself is laid
over it. When it ends, the kernel ends everything else in the host: that is the host's power switch.
"""

import contextlib
import encodings.idna  # noqa: F401 - in a root of another release there is no Python to load it from
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab import containers, ovs, roots, san, state, storage
from lab.processes import LabError, is_readable, run, succeeds
from lab.state import Host, LabState, Place

# Character devices a host has, with major and minor number. No kvm: an openable but useless /dev/kvm makes
# libvirt probe QEMU again for ten seconds at each definition.
# Source: Linux Documentation/admin-guide/devices.txt
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "net/tun": (10, 200),
    "fuse": (10, 229),
}
# A host of one kind has no driver of the other; libvirtd loads whatever it finds.
OTHER_DRIVER = {"kvm": "lxc", "lxc": "qemu", "storage": "*"}


def main(name: str, host: str, data: str, owner: str | None = None) -> None:
    """Become the host; ends when told to or when the owner has died."""
    place = Place(name, Path(data))
    lab = state.need(place)
    me = lab.host(host)
    socket.sethostname(me.fqdn)
    groups = containers.enter_groups(place, host) if me.role == "lxc" else []
    isolate_mounts()
    if me.release:
        enter_root(place, me)
    mount_system()
    if groups:
        containers.mount_groups(groups)
    mount_state(place, me)
    if me.role != "storage":
        mount_datastores(place, lab, me)
    mount_run(place, host)
    mount_devices(place.host(host))
    start_services(place, me)
    serve(int(owner) if owner else None, None if me.role == "storage" else start_libvirtd)


def mount(*args: str | Path) -> None:
    run(["mount", *args])


def isolate_mounts() -> None:
    """Nothing mounted from here on shows outside. In a chroot "/" may be no mount point; then each mount for itself."""
    if not succeeds(["mount", "--make-rprivate", "/"]):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            point = line.split()[4].encode().decode("unicode_escape")
            succeeds(["mount", "--make-private", point])


def mount_system() -> None:
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", "/sys")


def enter_root(place: Place, host: Host) -> None:
    """Go into a root of the host's own release. What it writes there is gone with its power, as this machine's /run."""
    layer = place.host(host.name) / "root"
    layer.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layer)
    upper, work, top = (layer / name for name in ("upper", "work", "top"))
    for made in (upper, work, top):
        made.mkdir()
    lower = roots.folder(place.cache, host.release)
    mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", top)
    for path in (place.folder, place.runtime, Path("/dev")):
        inner = top / path.relative_to("/")
        inner.mkdir(parents=True, exist_ok=True)
        mount("--bind", path, inner)
    for name in ("proc", "sys"):
        (top / name).mkdir(exist_ok=True)
    for driver in top.glob(f"usr/lib/*/libvirt/connection-driver/libvirt_driver_{OTHER_DRIVER[host.role]}.so"):
        driver.unlink()
    os.chroot(top)
    os.chdir("/")


def mount_state(place: Place, host: Host) -> None:
    """Lay the host's own /etc and libvirt folders over what is there."""
    folder = place.host(host.name)
    if host.release:
        shutil.copytree(folder / "etc", "/etc", dirs_exist_ok=True)
    else:
        _mount_etc(folder)
    binds = {
        "/etc/libvirt": folder / "libvirt",
        "/var/lib/libvirt": folder / "lib",
        "/var/cache/libvirt": folder / "cache",
        "/var/log/libvirt": folder / "log",
    }
    for target, source in binds.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)


def _mount_etc(folder: Path) -> None:
    """An overlay: single files mounted over /etc/passwd vanish as soon as a package manager renames it."""
    layer = folder / "etc-layer"
    layer.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layer)
    (layer / "work").mkdir()
    shutil.copytree(folder / "etc", layer / "upper")
    (layer / "upper/libvirt").mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/etc,upperdir={layer}/upper,workdir={layer}/work", "overlay", "/etc")


def mount_datastores(place: Place, lab: LabState, host: Host) -> None:
    """A shared datastore shows as a cluster file system, so that libvirt moves guests on it without force."""
    mount_image(storage.local_image(place, host.name), storage.LOCAL_PATH)
    mount_shared(place.shared, storage.SHARED_PATH)
    if "archive" in lab.extras:
        # All hosts get the same loop device, and so the one file system there is on it.
        inner = place.host(host.name) / "archive"
        mount_image(storage.archive_image(place), inner)
        mount_shared(inner, storage.ARCHIVE_PATH)
    storage.BOOT_PATH.mkdir(parents=True, exist_ok=True)
    mount("--bind", "-o", "ro", place.boot, storage.BOOT_PATH)


def mount_shared(folder: Path, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    run(["bindfs", "-o", "subtype=glusterfs,allow_other", folder, path])


def mount_image(image: Path, path: Path) -> None:
    """The image's loop device frees itself with its last mount, however the host ends."""
    path.mkdir(parents=True, exist_ok=True)
    with image.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # mount looks whether the image has a device before it takes one
        if not succeeds(["mount", "-o", "loop", image, path]):
            make_loop_nodes()
            mount("-o", "loop", image, path)


def mount_run(place: Place, host: str) -> None:
    mount("--bind", place.run(host), "/run")
    for name in ("libvirt", "lock"):
        Path("/run", name).mkdir(exist_ok=True)


def make_loop_nodes() -> None:
    """A static /dev, as containers have, lacks the nodes of loop devices that were made later."""
    for number in range(256):
        with contextlib.suppress(FileExistsError):
            os.mknod(f"/dev/loop{number}", 0o060600, os.makedev(7, number))


def mount_devices(folder: Path) -> None:
    """A small /dev of the host's own."""
    made = folder / "dev"
    made.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", made)
    for name in ("net", "pts", "shm"):
        (made / name).mkdir()
    for name, (major, minor) in DEVICES.items():
        os.mknod(made / name, 0o020666, os.makedev(major, minor))
        (made / name).chmod(0o666)
    (made / "ptmx").symlink_to("pts/ptmx")
    (made / "fd").symlink_to("/proc/self/fd")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", made / "pts")
    mount("--rbind", made, "/dev")


def start_services(place: Place, host: Host) -> None:
    """Start what is there before libvirtd."""
    if host.trunk:
        ovs.start()
    if host.role == "storage":
        san.start(place, host)


def serve(owner: int | None, start: Callable[[], int] | None) -> None:
    """Keep libvirtd where there is one, on request (SIGUSR1) start it again, and wait for the end."""
    wake, signaled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signaled)
    for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    libvirtd = start() if start else 0
    while True:
        select.select([wake] if owner is None else [wake, owner], [], [])
        received = _read(wake)
        gone = reap()
        if libvirtd in gone:
            libvirtd = 0
        if signal.SIGTERM in received or (owner is not None and is_readable(owner)):
            return
        if signal.SIGUSR1 in received and start and not libvirtd:
            libvirtd = start()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


def start_libvirtd() -> int:
    # Two of them on one pid file would refuse each other.
    Path("/run/libvirtd.pid").unlink(missing_ok=True)
    command = ["libvirtd", "--listen", "--pid-file", "/run/libvirtd.pid", "--config", "/etc/libvirt/libvirtd.conf"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True).pid


def reap() -> set[int]:
    """Take note of all children that ended: the first process of a host inherits every orphan."""
    ended = set()
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.add(pid)
    return ended


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LabError as error:
        sys.exit(str(error))
