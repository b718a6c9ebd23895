"""The contract for operations beside power and migration: one small protocol each, declared in `capabilities`.

Worked out so that an operation may be asked for again, by another worker after a crash, with nothing done twice:

- What is set to a value, is to be there, or is to be gone, may be asked for again: found as asked, nothing happens.
- What is new carries a name or UUID that the caller made, so that it is known again.
- What lasts is a *task* with a stamp, a random name made above. `start`-like calls return its first reading, within
  seconds; `poll_task` reads on. A reading `UNKNOWN` means that nothing of it is known to run: ask for the operation
  again with the same stamp, and it is begun, found running, or found done.
- Reverting cannot be told from the outside: see `SnapshotOps.revert_snapshot`.

`not_after`, in seconds of this machine's monotonic clock, is when the caller's right to act ends; a driver looks at it
last. Past it Busy is raised and nothing was done.

Everywhere: NotFound for an owner (guest, datastore) that is not there, Busy while another job holds it, Rejected with
the reason when it is refused, NotSupported for what this hypervisor cannot do.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from drivers.errors import ERRORS, DriverError
from drivers.requests import (
    CloneRequest,
    DiskRequest,
    Effect,
    GuestRequest,
    NetworkRequest,
    NicRequest,
    RevertOutcome,
    SnapshotRef,
    SnapshotRequest,
    TaskProgress,
    VolumeRef,
    VolumeRequest,
    VolumeResult,
)
from drivers.types import Finding


def error_in(reading: TaskProgress) -> DriverError | None:
    """What a task ended with; none while it runs and when it ended as asked."""
    kind = ERRORS.get(reading.error_code, DriverError)
    return kind(reading.error, **dict(reading.error_parameters)) if reading.error_code else None


@runtime_checkable
class TaskOps(Protocol):
    """Part of every session that has tasks or calls that may last."""

    def prepare_operation(self, ref: str) -> None:
        """Have ready what one call on this guest or datastore needs and takes time, as `prepare_power` does."""

    def poll_task(self, ref: str, stamp: str) -> TaskProgress:
        """Read a task of this guest or datastore. `ref` is the guest's, or the datastore's UUID."""


@runtime_checkable
class SnapshotOps(TaskOps, Protocol):
    """Whoever takes over asks again with the same stamp."""

    def check_snapshot(self, guest_ref: str, request: SnapshotRequest) -> tuple[Finding, ...]:
        """What speaks against it, before it is asked for; an error means that it would be refused."""

    def create_snapshot(
        self, guest_ref: str, request: SnapshotRequest, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        """Take it. The stamp is written into the guest before, and thereby into the snapshot.

        Asked again: ended when a snapshot of this name carries this stamp; running while it runs.
        Raises: Rejected when another snapshot has this name.
        """

    def check_revert(self, guest_ref: str, snapshot: SnapshotRef) -> tuple[Finding, ...]:
        """What speaks against it, such as an external snapshot that this version cannot revert to."""

    def claim_guest(self, guest_ref: str, stamp: str, not_after: float = math.inf) -> None:
        """Write the stamp into the guest, in place of any other. The caller notes that it did, then reverts."""

    def revert_snapshot(
        self, guest_ref: str, snapshot: SnapshotRef, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        """Bring the guest back, to the power state it had. Needs the guest to carry the stamp, which thereby goes.

        So an attempt is one shot. Whoever takes over and knows that the guest was claimed asks `find_revert`.

        Raises: Rejected when the guest does not carry the stamp.
        """

    def find_revert(self, guest_ref: str, snapshot: SnapshotRef, stamp: str) -> RevertOutcome:
        """What became of an attempt for which the guest had been claimed. When not done, it may be asked for again.

        May wait half a minute for the end of what runs: give it `deadline_s`. Raises: Busy while it still runs.
        """

    def delete_snapshot(
        self,
        guest_ref: str,
        snapshot: SnapshotRef,
        stamp: str,
        children: bool = False,
        not_after: float = math.inf,
    ) -> TaskProgress:
        """Delete it, with all that descend from it or else handing them to its parent.

        Asked again: ended when it is gone.
        """


@runtime_checkable
class EditOps(TaskOps, Protocol):
    """Settings of a guest. Each is set to a value, in the stored definition and live where that is possible.

    Whoever takes over asks again.
    """

    def rename_guest(self, guest_ref: str, name: str, not_after: float = math.inf) -> None:
        """Raises: Rejected unless the guest is off and without snapshots, and nobody else on the host has the name."""

    def set_notes(self, guest_ref: str, title: str, notes: str, not_after: float = math.inf) -> None:
        """Set both; empty removes. A title is one line."""

    def set_autostart(self, guest_ref: str, on: bool, not_after: float = math.inf) -> None: ...

    def set_memory(self, guest_ref: str, memory_bytes: int, most_bytes: int = 0, not_after: float = math.inf) -> Effect:
        """What the guest gets, and the most it may be given while it runs: 0 leaves that, or raises it to fit."""

    def set_vcpus(self, guest_ref: str, vcpus: int, most: int = 0, not_after: float = math.inf) -> Effect:
        """How many are switched on, and the most: 0 leaves that, or raises it to fit."""


@runtime_checkable
class DeviceOps(TaskOps, Protocol):
    """Disks, CDs and network adapters. Whoever takes over asks again.

    Each is done to the guest and to its stored definition where the hypervisor can, else to the definition alone.
    """

    def change_media(
        self,
        guest_ref: str,
        target: str,
        path: str,
        force: bool = False,
        not_after: float = math.inf,
    ) -> Effect:
        """Put an ISO into a CD drive; an empty `path` ejects.

        Raises: Rejected when the guest has locked the drive; with `force` it is not asked.
        """

    def add_disk(self, guest_ref: str, disk: DiskRequest, not_after: float = math.inf) -> Effect:
        """Add an existing volume. The guest that has it already, has it."""

    def remove_disk(self, guest_ref: str, target: str, path: str, not_after: float = math.inf) -> Effect:
        """Remove the disk at `target` if it is this one; the volume stays. After the next start: the guest may hold on.

        Raises: Rejected when another volume is there.
        """

    def grow_disk(
        self, guest_ref: str, target: str, capacity_bytes: int, not_after: float = math.inf, path: str = ""
    ) -> Effect:
        """Grow the disk at `target`, if it is this one where a `path` is given.

        Raises: Rejected when it is larger already, or another volume is there.
        """

    def add_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        """The guest that has one with this MAC address, has it."""

    def change_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        """Plug the adapter with this MAC address elsewhere, switch its link, or change its model."""

    def remove_nic(self, guest_ref: str, mac: str, not_after: float = math.inf) -> Effect: ...


@runtime_checkable
class DefineOps(TaskOps, Protocol):
    """Whoever takes over asks again."""

    def check_guest(self, request: GuestRequest) -> tuple[Finding, ...]:
        """What speaks against it: a name that is taken, a firmware or machine the host does not have …"""

    def define_guest(self, request: GuestRequest, not_after: float = math.inf) -> str:
        """Make it, off; its volumes are there before. Returns its reference.

        Asked again: the guest with this UUID is taken for it. Raises: Rejected when it has another name.
        """

    def clone_guest(self, guest_ref: str, request: CloneRequest, not_after: float = math.inf) -> str:
        """Make another like it, off. Returns its reference. Asked again: as `define_guest`.

        Raises: Rejected unless the guest is off, and `disks` and `macs` fit it.
        """

    def undefine_guest(self, guest_ref: str, not_after: float = math.inf) -> tuple[str, ...]:
        """Forget a guest that is off, with its firmware's variables, saved state and the records of its snapshots.

        Returns the paths of its disks, which stay: `delete_volume` then makes sure itself that no guest here has them.
        Note them before, too: one that is gone already has none.
        """


@runtime_checkable
class StorageOps(TaskOps, Protocol):
    """Volumes and pools. A datastore is named by its UUID."""

    def create_volume(
        self,
        request: VolumeRequest,
        stamp: str = "",
        again: bool = False,
        not_after: float = math.inf,
    ) -> VolumeResult:
        """Make it, a little smaller than asked: what has its name and the size of this stamp is it; see `marks`.

        Note the answer, then have it completed. Without a stamp, and where sizes cannot be chosen, it is made whole.

        Raises: Rejected when the name is another's, or there is no room; Unsure when asked again and whose it is
        cannot be told.
        """

    def complete_volume(self, request: VolumeRequest, stamp: str, not_after: float = math.inf) -> VolumeResult:
        """Give what `create_volume` made with this stamp the size that was asked for. Asked again: nothing happens.

        Raises: Unsure when something else has its name by now.
        """

    def claim_volume(
        self,
        request: VolumeRequest,
        stamp: str,
        again: bool = False,
        not_after: float = math.inf,
    ) -> bool:
        """Take a copy's name: make an empty volume of this stamp's size, which `copy_volume` then replaces.

        False where sizes cannot be chosen: nothing is made then, and who takes over a copy cannot tell whose it is.

        Raises: as `create_volume`.
        """

    def copy_volume(
        self,
        source: VolumeRef,
        request: VolumeRequest,
        stamp: str,
        again: bool = False,
        not_after: float = math.inf,
    ) -> TaskProgress:
        """Copy a volume's content, within one host. The stamp is the one of `claim_volume`.

        `again`: the name was claimed, or this was asked for before. Nobody can tell a whole copy from a broken one, so
        what stands there is deleted and copied anew, if it is the claim or has the size of the copy that replaced it;
        so use the copy only when this has ended.

        Raises: Rejected when the name is taken; Unsure when asked again and what has it is not known to be ours; Busy
        while the host still copies.
        """

    def find_volume(self, volume: VolumeRef) -> VolumeResult | None: ...

    def delete_volume(self, volume: VolumeRef, not_after: float = math.inf) -> None:
        """Delete its content for ever. Gone already: nothing happens.

        Raises: Rejected while a guest of this host has it, as a disk or below one. Other hosts are the caller's to ask.
        """

    def refresh_datastore(self, datastore_uuid: str) -> None: ...

    def start_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None: ...

    def stop_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None:
        """Raises: Rejected while a running guest of this host has a disk in it."""

    def autostart_datastore(self, datastore_uuid: str, on: bool, not_after: float = math.inf) -> None: ...


@runtime_checkable
class ContentOps(TaskOps, Protocol):
    """What is inside a volume. An upload is a stream of pieces, each a call of its own."""

    def resize_volume(self, volume: VolumeRef, capacity_bytes: int, not_after: float = math.inf) -> None:
        """Grow one that no running guest has. Raises: Rejected when it would shrink or is in use."""

    def start_upload(self, volume: VolumeRef, total_bytes: int, stamp: str, offset: int = 0) -> None:
        """Begin to write `total_bytes` into an existing volume, from `offset` on. Make it raw and as large before.

        Whoever takes over begins again at 0, or where it knows that it was written to.
        """

    def send_upload(self, stamp: str, offset: int, piece: bytes, not_after: float = math.inf) -> int:
        """Write on; at most LARGEST_PIECE bytes. Returns up to where it was taken: a piece told before is not written.

        Who wakes up late writes nothing: the volume may be a guest's disk by now.

        Raises: NotFound when the upload is not open here (any more); Rejected when a piece before it is missing.
        """

    def end_upload(self, stamp: str) -> None:
        """Close it; only now it is whole. Raises: Rejected when something is missing or was refused meanwhile."""

    def abort_upload(self, stamp: str) -> None:
        """Let go; the volume stays, half written."""


LARGEST_PIECE = 4 << 20


@runtime_checkable
class NetworkOps(TaskOps, Protocol):
    """Virtual switches, named by their UUID. Whoever takes over asks again."""

    def create_network(self, request: NetworkRequest, not_after: float = math.inf) -> None:
        """Define and start it. Asked again: the network with this UUID is taken for it, and started.

        Raises: Rejected when the name, the bridge or the address range is taken.
        """

    def start_network(self, network_uuid: str, not_after: float = math.inf) -> None: ...

    def stop_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        """Raises: Rejected while a running guest of this host is plugged into it."""

    def autostart_network(self, network_uuid: str, on: bool, not_after: float = math.inf) -> None: ...

    def delete_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        """Stop and forget it. Gone already: nothing happens. Raises: Rejected while a guest of this host is in it."""
