"""The hosts' datastores: one that all of them see, and a local one each with a capacity of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.processes import run
from lab.state import Guest, Host, LabState, Place

SHARED_PATH = Path("/var/lib/libvirt/shared")
LOCAL_PATH = Path("/var/lib/libvirt/images")
BOOT_PATH = Path("/var/lib/libvirt/boot")
ARCHIVE_PATH = Path("/var/lib/libvirt/archive")
LOCAL_GIB_STEP = 2
ARCHIVE_GIB = 3


@dataclass(frozen=True, slots=True)
class Pool:
    """A libvirt storage pool as a host defines it; `source` is the XML that names what is not a folder."""

    name: str
    uuid: str
    path: Path | None  # of a folder
    shared: bool
    kind: str = "dir"
    source: str = ""

    @property
    def xml(self) -> str:
        target = f"<target><path>{self.path}</path></target>" if self.path else ""
        identity = f"<name>{self.name}</name><uuid>{self.uuid}</uuid>"
        return f"<pool type='{self.kind}'>{identity}{self.source}{target}</pool>"


def pools(place: Place, state: LabState, host: Host) -> list[Pool]:
    """A host's folders. A shared one has the same UUID everywhere: that is how a console knows it as one datastore."""
    found = [
        Pool("shared", place.uuid("pool", "shared"), SHARED_PATH, True),
        Pool("local", place.uuid("pool", "local", host.name), LOCAL_PATH, False),
    ]
    if "archive" in state.extras:
        found.append(Pool("archive", place.uuid("pool", "archive"), ARCHIVE_PATH, True))
    return found


def archive_image(place: Place) -> Path:
    return place.folder / "archive.img"


def make_archive(place: Place) -> None:
    """The second shared datastore."""
    _make_image(archive_image(place), ARCHIVE_GIB)


def local_image(place: Place, host: str) -> Path:
    return place.host(host) / "local.img"


def make_local(place: Place, host: Host) -> None:
    """A sparse ext4 image; its size differs from host to host so that nobody takes two for one."""
    _make_image(local_image(place, host.name), 4 + LOCAL_GIB_STEP * host.number)


def _make_image(image: Path, gib: int) -> None:
    with image.open("wb") as handle:
        handle.truncate(gib << 30)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0", image])


def disk_path(guest: Guest) -> Path | None:
    """Where the hosts see the guest's disk, when it is a file of theirs."""
    if guest.disk not in ("shared", "local"):
        return None
    return (SHARED_PATH if guest.disk == "shared" else LOCAL_PATH) / disk_name(guest)


def disk_format(guest: Guest) -> str:
    """Both formats of the field are in use: qcow2 for every second guest with a shared disk."""
    return "qcow2" if guest.disk == "shared" and guest.number % 2 else "raw"


def disk_name(guest: Guest) -> str:
    return f"{guest.name}.{'qcow2' if disk_format(guest) == 'qcow2' else 'img'}"


def make_disk(place: Place, guest: Guest) -> None:
    """Give the guest its own copy of the empty disk."""
    empty = place.boot / "disk.raw"
    if guest.disk == "local":
        _upload(place, guest, empty)
    elif guest.disk == "shared" and disk_format(guest) == "qcow2":
        run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", empty, place.shared / disk_name(guest)])
    elif guest.disk == "shared":
        run(["cp", "--sparse=always", empty, place.shared / disk_name(guest)])


def _upload(place: Place, guest: Guest, empty: Path) -> None:
    """A local datastore is mounted in its host alone, so the disk goes in through libvirt."""
    name, uri = disk_name(guest), place.unix_uri(guest.first_host)
    run(["virsh", "-c", uri, "vol-create-as", "local", name, str(empty.stat().st_size), "--format", "raw"])
    run(["virsh", "-c", uri, "vol-upload", "--sparse", name, empty, "--pool", "local"])


def remove_disk(place: Place, guest: Guest) -> None:
    """Remove the guest's disk if it is on the shared datastore; a local one goes with its host."""
    if guest.disk == "shared":
        (place.shared / disk_name(guest)).unlink(missing_ok=True)


def release_loops(place: Place) -> None:
    """Detach loop devices that a crash may have left on this lab's images."""
    for image in (*place.folder.glob("hosts/*/local.img"), archive_image(place)):
        for line in run(["losetup", "--associated", image]).splitlines():
            run(["losetup", "--detach", line.partition(":")[0]])


def remove_files(place: Place) -> None:
    """Remove the lab's folders; the cache stays."""
    shutil.rmtree(place.runtime, ignore_errors=True)
    shutil.rmtree(place.folder, ignore_errors=True)
