"""The LXC host: control groups of its own, and a container.

Source: https://libvirt.org/drvlxc.html, cgroups(7), cgroup_namespaces(7)
"""

import contextlib
import ctypes
import os
import shutil
import tempfile
from pathlib import Path

from lab import hosts, network
from lab.processes import LabError, missing_sentence, run
from lab.state import Host, LabState, Place

CONTAINER = "box-01"
MEMORY = 64  # MiB
PATH = Path("/var/lib/libvirt/containers") / CONTAINER
CGROUPS = Path("/sys/fs/cgroup")
# Those that libvirt asks for.
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio")
CLONE_NEWCGROUP = 0x02000000  # Source: clone(2)
INIT = """\
#!/bin/sh
# The container's only program: takes its address, then counts on its console.
/bin/busybox --install -s /bin
ip link set lo up
ip link set eth0 up
ip addr add "$1" dev eth0
n=0
while :; do
  n=$((n + 1))
  echo "BOX $n"
  sleep 1
done
"""


def address(state: LabState) -> str:
    """The container's, behind those of all guests."""
    return str(network.guests(state.subnet)[network.LAST_GUEST + 1])


def container_xml(place: Place, state: LabState) -> str:
    prefix = network.guests(state.subnet).prefixlen
    return f"""<domain type='lxc'>
  <name>{CONTAINER}</name>
  <uuid>{place.uuid("guest", CONTAINER)}</uuid>
  <memory unit='MiB'>{MEMORY}</memory>
  <vcpu>1</vcpu>
  <os><type>exe</type><init>/init</init><initarg>{address(state)}/{prefix}</initarg></os>
  <devices>
    <filesystem type='mount'><source dir='{PATH}'/><target dir='/'/></filesystem>
    <interface type='network'><source network='guests'/></interface>
    <console type='pty'/>
  </devices>
</domain>
"""


def make(place: Place, state: LabState, host: Host) -> None:
    """Make the container's files, define it and start it.

    Raises: LabError
    """
    root = place.host(host.name) / "lib/containers" / CONTAINER
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError(missing_sentence(["busybox"]))
    shutil.copy2(busybox, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    virsh = ["virsh", "-q", "-c", hosts.unix_uri(place, host)]
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        file.write(container_xml(place, state))
        file.flush()
        run([*virsh, "define", file.name])
    run([*virsh, "start", CONTAINER])
    run([*virsh, "autostart", CONTAINER])


# -- control groups


def group(place: Place, host: str) -> str:
    """Their name on this machine."""
    return f"guesthouse-lab-{place.name}-{host}"


def hierarchies() -> dict[str, Path]:
    """This machine's hierarchies: one for each controller, or with version 2 one for all."""
    if (CGROUPS / "cgroup.controllers").exists():
        return {"": CGROUPS}
    return {name: CGROUPS / name for name in CONTROLLERS if (CGROUPS / name / "cgroup.procs").exists()}


def enter_groups(place: Place, host: str) -> list[str]:
    """As the host's first process: live in groups of its own, and see nothing above them. Returns the hierarchies.

    Raises: LabError where this machine has none.
    """
    found = hierarchies()
    if not found:
        raise LabError("This machine has no control groups below /sys/fs/cgroup, which containers need.")
    for path in found.values():
        _enter(path / group(place, host))
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWCGROUP):
        raise LabError(f"The host could not have control groups of its own: {os.strerror(ctypes.get_errno())}.")
    for name, path in found.items():
        if not name:  # version 2 lets processes be in leaves only, and the host's root group is to have others below
            _enter(path / group(place, host) / "init")
    return list(found)


def _enter(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.mems", "cpuset.cpus"):
        if (folder / name).exists() and not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())
    (folder / "cgroup.procs").write_text(str(os.getpid()))


def mount_groups(names: list[str]) -> None:
    """Show the host its own groups, as a machine has them."""
    if names == [""]:
        run(["mount", "-t", "cgroup2", "cgroup2", CGROUPS])
        return
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", CGROUPS])
    for name in names:
        (CGROUPS / name).mkdir()
        run(["mount", "-t", "cgroup", "-o", name, "cgroup", CGROUPS / name])


def remove_groups(place: Place) -> None:
    """Remove what hosts that are off have left of their groups."""
    for path in hierarchies().values():
        for folder in path.glob(f"guesthouse-lab-{place.name}-lxc-[0-9][0-9]"):
            for inner, _folders, _files in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):  # a group that still ends; the next `down` finds it
                    Path(inner).rmdir()
