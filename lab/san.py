"""The storage machine: an iSCSI target and an NFS server, both in user space.

Source: tgtd(8), tgtadm(8), ganesha-core-config(8), ganesha-export-config(8), https://libvirt.org/storage.html
"""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab import storage
from lab.processes import LabError, run, succeeds, wait_for
from lab.state import Guest, Host, LabState, Place

POOL = "san"
NAME = "san-01"
ISCSI_PORT, NFS_PORT, MOUNT_PORT = 3260, 2049, 20048
LUNS = 3
LUN_BYTES = 200 << 20
GUEST_LUN = 1
EXPORT = Path("/srv/nfs")
READY = "ready"  # in the machine's /run, once it serves
START_SECONDS = 40
# Where the machine may not have it, as in a container, it would not start; version 4 does not ask for it.
GANESHA_MORE = {"bookworm": "", "trixie": "allow_set_io_flusher_fail = true;"}
GANESHA_CONF = """\
NFS_CORE_PARAM {{
  Protocols = 3;
  NFS_Port = {nfs};
  MNT_Port = {mount};
  Bind_addr = {address};
  Enable_NLM = false;
  Enable_RQUOTA = false;
  {more}
}}
EXPORT {{
  Export_Id = 1;
  Path = {export};
  Pseudo = {export};
  Protocols = 3;
  Transports = TCP;
  Access_Type = RW;
  Squash = None;
  FSAL {{ Name = VFS; }}
}}
"""


def iqn(lab: str, member: str = "luns") -> str:
    """The name of the target, or of a host that asks for it (RFC 3720 section 3.2.6.3.1)."""
    return f"iqn.2026-01.lab:{lab}:{member}"


def luns(place: Place) -> Path:
    return place.host(NAME) / "luns"


def export(place: Place) -> Path:
    return place.host(NAME) / "export"


def make(place: Place, state: LabState) -> None:
    """The disks of the storage machine, sparse."""
    if "iscsi" in state.extras:
        luns(place).mkdir()
        for number in range(1, LUNS + 1):
            with (luns(place) / f"{number}.img").open("wb") as lun:
                lun.truncate(LUN_BYTES)
    if "nfs" in state.extras:
        export(place).mkdir()


def write_disk(place: Place, guest: Guest) -> None:
    """Put the empty guest disk where the guest has its own."""
    empty = place.boot / "disk.raw"
    if guest.disk == "nfs":
        run(["cp", "--sparse=always", empty, export(place) / f"{guest.name}.img"])
    else:
        lun = luns(place) / f"{GUEST_LUN}.img"
        run(["dd", f"if={empty}", f"of={lun}", "bs=1M", "conv=notrunc,sparse", "status=none"])


def remove_disk(place: Place, guest: Guest) -> None:
    """The file on NFS; a LUN stays."""
    if guest.disk == "nfs":
        (export(place) / f"{guest.name}.img").unlink(missing_ok=True)


def disk_source(state: LabState, guest: Guest) -> str:
    """The disk in the guest's definition: QEMU itself is the client."""
    nfs = guest.disk == "nfs"
    name = f"{EXPORT}/{guest.name}.img" if nfs else f"{iqn(state.name)}/{GUEST_LUN}"
    port = "" if nfs else f" port='{ISCSI_PORT}'"  # libvirt takes none for NFS: the client asks rpcbind
    host = f"<host name='{state.host(NAME).address}'{port}/>"
    initiator = "" if nfs else f"<initiator><iqn name='{iqn(state.name, guest.name)}'/></initiator>"
    return f"<source protocol='{'nfs' if nfs else 'iscsi'}' name='{name}'>{host}{initiator}</source>"


def pool(place: Place, state: LabState, host: Host) -> storage.Pool:
    """The LUNs as a pool. Each host has defined it apart: only the target's name tells that they are the same."""
    source = (
        f"<source><host name='{state.host(NAME).address}' port='{ISCSI_PORT}'/><device path='{iqn(state.name)}'/>"
        f"<initiator><iqn name='{iqn(state.name, host.name)}'/></initiator></source>"
    )
    return storage.Pool(POOL, place.uuid("pool", POOL, host.name), None, True, "iscsi-direct", source)


# -- as the storage machine's first process


def start(place: Place, host: Host) -> None:
    """Start what it serves; it is ready once the file says so.

    Raises: LabError
    """
    if luns(place).is_dir():
        _start_target(place, host)
    if export(place).is_dir():
        _start_nfs(place, host)
    Path("/run", READY).touch()


def _launch(place: Place, *command: str) -> None:
    with (place.host(NAME) / "log" / f"{Path(command[0]).name}.log").open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _await(condition: Callable[[], bool], what: str) -> None:
    if not wait_for(condition, START_SECONDS, step=0.05):
        raise LabError(f"{what} did not come up.")


def _start_target(place: Place, host: Host) -> None:
    Path("/run/tgtd").mkdir(exist_ok=True)
    _launch(place, "tgtd", "--foreground", "--iscsi", f"portal={host.address}:{ISCSI_PORT}")
    admin = ["tgtadm", "--lld", "iscsi"]
    _await(lambda: succeeds([*admin, "--op", "show", "--mode", "target"]), "The iSCSI target")
    target = ["--tid", "1"]
    run([*admin, "--op", "new", "--mode", "target", *target, "--targetname", iqn(place.name)])
    for lun in sorted(luns(place).iterdir()):
        unit: list[str | Path] = ["--lun", lun.stem, "--backing-store", lun]
        run([*admin, "--op", "new", "--mode", "logicalunit", *target, *unit])
    run([*admin, "--op", "bind", "--mode", "target", *target, "--initiator-address", "ALL"])


def _start_nfs(place: Place, host: Host) -> None:
    EXPORT.mkdir(parents=True, exist_ok=True)
    run(["mount", "--bind", export(place), EXPORT])
    values = {"nfs": NFS_PORT, "mount": MOUNT_PORT, "address": host.address, "export": EXPORT}
    values["more"] = GANESHA_MORE[host.release]
    Path("/etc/ganesha.conf").write_text(GANESHA_CONF.format(**values))
    for folder in ("/var/lib/nfs/ganesha", "/run/ganesha"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    _launch(place, "rpcbind", "-f", "-w", "-h", host.address)
    log = place.host(NAME) / "log/ganesha.log"
    _launch(place, "ganesha.nfsd", "-F", "-f", "/etc/ganesha.conf", "-L", str(log), "-p", "/run/ganesha.pid")
    _await(lambda: _listens(host.address, NFS_PORT), "The NFS server")


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
