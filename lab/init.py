"""The first process of a host: makes the host's own view of the machine, starts libvirtd, reaps, and waits.

It runs in namespaces of its own and sees the machine's file system; what a host must have for itself is laid
over it. When it ends, the kernel ends everything else in the host: that is the host's power switch.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from lab import storage
from lab.processes import LabError, is_readable, run, succeeds
from lab.state import DOMAIN, Place

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


def main(name: str, host: str, data: str, owner: str | None = None) -> None:
    """Become the host; ends when told to or when the owner has died."""
    place = Place(name, Path(data))
    socket.sethostname(f"{host}.{DOMAIN}")
    isolate_mounts()
    mount_state(place, host)
    mount_datastores(place, host)
    mount_devices(place.host(host))
    serve(int(owner) if owner else None)


def mount(*args: str | Path) -> None:
    run(["mount", *args])


def isolate_mounts() -> None:
    """Nothing mounted from here on shows outside. In a chroot "/" may be no mount point; then each mount for itself."""
    if not succeeds(["mount", "--make-rprivate", "/"]):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            point = line.split()[4].encode().decode("unicode_escape")
            succeeds(["mount", "--make-private", point])
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", "/sys")


def mount_state(place: Place, host: str) -> None:
    """Lay the host's own /etc, /run, /tmp and libvirt folders over the machine's.

    /etc is an overlay: single files mounted over /etc/passwd vanish as soon as a package manager renames it.
    """
    folder = place.host(host)
    layer = folder / "etc-layer"
    layer.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layer)
    (layer / "work").mkdir()
    shutil.copytree(folder / "etc", layer / "upper")
    (layer / "upper/libvirt").mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/etc,upperdir={layer}/upper,workdir={layer}/work", "overlay", "/etc")
    binds = {
        "/etc/libvirt": folder / "libvirt",
        "/var/lib/libvirt": folder / "lib",
        "/var/cache/libvirt": folder / "cache",
        "/var/log/libvirt": folder / "log",
    }
    for target, source in binds.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
    for path in (storage.SHARED_PATH, storage.LOCAL_PATH, storage.BOOT_PATH):
        path.mkdir(parents=True, exist_ok=True)


def mount_datastores(place: Place, host: str) -> None:
    """The shared datastore shows as a cluster file system, so that libvirt moves guests on it without force.

    The loop device of the local one frees itself with its last mount, however the host ends.
    """
    image = storage.local_image(place, host)
    if not succeeds(["mount", "-o", "loop", image, storage.LOCAL_PATH]):
        make_loop_nodes()
        mount("-o", "loop", image, storage.LOCAL_PATH)
    run(["bindfs", "-o", "subtype=glusterfs,allow_other", place.shared, storage.SHARED_PATH])
    mount("--bind", "-o", "ro", place.boot, storage.BOOT_PATH)
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


def serve(owner: int | None) -> None:
    """Keep libvirtd, on request (SIGUSR1) start it again, and wait for the end."""
    wake, signaled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signaled)
    for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    libvirtd = start_libvirtd()
    while True:
        select.select([wake] if owner is None else [wake, owner], [], [])
        received = _read(wake)
        gone = reap()
        if libvirtd in gone:
            libvirtd = 0
        if signal.SIGTERM in received or (owner is not None and is_readable(owner)):
            return
        if signal.SIGUSR1 in received and not libvirtd:
            libvirtd = start_libvirtd()


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
