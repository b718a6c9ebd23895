"""The operations of a session as its user sees them; see `remote`."""

from __future__ import annotations

import math
from typing import Any

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


class RemoteOperations:
    """The methods of every protocol in `drivers.ops`, each with `deadline_s` beside."""

    def _call(self, op: str, args: tuple[object, ...], deadline_s: float | None) -> Any:
        raise NotImplementedError

    # TaskOps

    def prepare_operation(self, ref: str, *, deadline_s: float | None = None) -> None:
        self._call("prepare_operation", (ref,), deadline_s)

    def poll_task(self, ref: str, stamp: str, *, deadline_s: float | None = None) -> TaskProgress:
        return self._call("poll_task", (ref, stamp), deadline_s)  # type: ignore[no-any-return]

    # SnapshotOps

    def check_snapshot(
        self, guest_ref: str, request: SnapshotRequest, *, deadline_s: float | None = None
    ) -> tuple[Finding, ...]:
        return self._call("check_snapshot", (guest_ref, request), deadline_s)  # type: ignore[no-any-return]

    def create_snapshot(
        self,
        guest_ref: str,
        request: SnapshotRequest,
        stamp: str,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> TaskProgress:
        return self._call("create_snapshot", (guest_ref, request, stamp, not_after), deadline_s)  # type: ignore[no-any-return]

    def check_revert(
        self, guest_ref: str, snapshot: SnapshotRef, *, deadline_s: float | None = None
    ) -> tuple[Finding, ...]:
        return self._call("check_revert", (guest_ref, snapshot), deadline_s)  # type: ignore[no-any-return]

    def claim_guest(
        self, guest_ref: str, stamp: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("claim_guest", (guest_ref, stamp, not_after), deadline_s)

    def revert_snapshot(
        self,
        guest_ref: str,
        snapshot: SnapshotRef,
        stamp: str,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> TaskProgress:
        return self._call("revert_snapshot", (guest_ref, snapshot, stamp, not_after), deadline_s)  # type: ignore[no-any-return]

    def find_revert(
        self, guest_ref: str, snapshot: SnapshotRef, stamp: str, *, deadline_s: float | None = None
    ) -> RevertOutcome:
        return self._call("find_revert", (guest_ref, snapshot, stamp), deadline_s)  # type: ignore[no-any-return]

    def delete_snapshot(
        self,
        guest_ref: str,
        snapshot: SnapshotRef,
        stamp: str,
        children: bool = False,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> TaskProgress:
        return self._call("delete_snapshot", (guest_ref, snapshot, stamp, children, not_after), deadline_s)  # type: ignore[no-any-return]

    # EditOps

    def rename_guest(
        self, guest_ref: str, name: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("rename_guest", (guest_ref, name, not_after), deadline_s)

    def set_notes(
        self, guest_ref: str, title: str, notes: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("set_notes", (guest_ref, title, notes, not_after), deadline_s)

    def set_autostart(
        self, guest_ref: str, on: bool, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("set_autostart", (guest_ref, on, not_after), deadline_s)

    def set_memory(
        self,
        guest_ref: str,
        memory_bytes: int,
        most_bytes: int = 0,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> Effect:
        return self._call("set_memory", (guest_ref, memory_bytes, most_bytes, not_after), deadline_s)  # type: ignore[no-any-return]

    def set_vcpus(
        self, guest_ref: str, vcpus: int, most: int = 0, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("set_vcpus", (guest_ref, vcpus, most, not_after), deadline_s)  # type: ignore[no-any-return]

    # DeviceOps

    def change_media(
        self,
        guest_ref: str,
        target: str,
        path: str,
        force: bool = False,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> Effect:
        return self._call("change_media", (guest_ref, target, path, force, not_after), deadline_s)  # type: ignore[no-any-return]

    def add_disk(
        self, guest_ref: str, disk: DiskRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("add_disk", (guest_ref, disk, not_after), deadline_s)  # type: ignore[no-any-return]

    def remove_disk(
        self, guest_ref: str, target: str, path: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("remove_disk", (guest_ref, target, path, not_after), deadline_s)  # type: ignore[no-any-return]

    def grow_disk(
        self,
        guest_ref: str,
        target: str,
        capacity_bytes: int,
        not_after: float = math.inf,
        path: str = "",
        *,
        deadline_s: float | None = None,
    ) -> Effect:
        asked = (guest_ref, target, capacity_bytes, not_after, path)
        return self._call("grow_disk", asked, deadline_s)  # type: ignore[no-any-return]

    def add_nic(
        self, guest_ref: str, nic: NicRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("add_nic", (guest_ref, nic, not_after), deadline_s)  # type: ignore[no-any-return]

    def change_nic(
        self, guest_ref: str, nic: NicRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("change_nic", (guest_ref, nic, not_after), deadline_s)  # type: ignore[no-any-return]

    def remove_nic(
        self, guest_ref: str, mac: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> Effect:
        return self._call("remove_nic", (guest_ref, mac, not_after), deadline_s)  # type: ignore[no-any-return]

    # DefineOps

    def check_guest(self, request: GuestRequest, *, deadline_s: float | None = None) -> tuple[Finding, ...]:
        return self._call("check_guest", (request,), deadline_s)  # type: ignore[no-any-return]

    def define_guest(
        self, request: GuestRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> str:
        return self._call("define_guest", (request, not_after), deadline_s)  # type: ignore[no-any-return]

    def clone_guest(
        self, guest_ref: str, request: CloneRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> str:
        return self._call("clone_guest", (guest_ref, request, not_after), deadline_s)  # type: ignore[no-any-return]

    def undefine_guest(
        self, guest_ref: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> tuple[str, ...]:
        return self._call("undefine_guest", (guest_ref, not_after), deadline_s)  # type: ignore[no-any-return]

    # StorageOps

    def create_volume(
        self,
        request: VolumeRequest,
        stamp: str = "",
        again: bool = False,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> VolumeResult:
        asked = (request, stamp, again, not_after)
        return self._call("create_volume", asked, deadline_s)  # type: ignore[no-any-return]

    def complete_volume(
        self, request: VolumeRequest, stamp: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> VolumeResult:
        return self._call("complete_volume", (request, stamp, not_after), deadline_s)  # type: ignore[no-any-return]

    def claim_volume(
        self,
        request: VolumeRequest,
        stamp: str,
        again: bool = False,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> bool:
        asked = (request, stamp, again, not_after)
        return self._call("claim_volume", asked, deadline_s)  # type: ignore[no-any-return]

    def copy_volume(
        self,
        source: VolumeRef,
        request: VolumeRequest,
        stamp: str,
        again: bool = False,
        not_after: float = math.inf,
        *,
        deadline_s: float | None = None,
    ) -> TaskProgress:
        return self._call("copy_volume", (source, request, stamp, again, not_after), deadline_s)  # type: ignore[no-any-return]

    def find_volume(self, volume: VolumeRef, *, deadline_s: float | None = None) -> VolumeResult | None:
        return self._call("find_volume", (volume,), deadline_s)  # type: ignore[no-any-return]

    def delete_volume(self, volume: VolumeRef, not_after: float = math.inf, *, deadline_s: float | None = None) -> None:
        self._call("delete_volume", (volume, not_after), deadline_s)

    def refresh_datastore(self, datastore_uuid: str, *, deadline_s: float | None = None) -> None:
        self._call("refresh_datastore", (datastore_uuid,), deadline_s)

    def start_datastore(
        self, datastore_uuid: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("start_datastore", (datastore_uuid, not_after), deadline_s)

    def stop_datastore(
        self, datastore_uuid: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("stop_datastore", (datastore_uuid, not_after), deadline_s)

    def autostart_datastore(
        self, datastore_uuid: str, on: bool, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("autostart_datastore", (datastore_uuid, on, not_after), deadline_s)

    # ContentOps

    def resize_volume(
        self, volume: VolumeRef, capacity_bytes: int, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("resize_volume", (volume, capacity_bytes, not_after), deadline_s)

    def start_upload(
        self, volume: VolumeRef, total_bytes: int, stamp: str, offset: int = 0, *, deadline_s: float | None = None
    ) -> None:
        self._call("start_upload", (volume, total_bytes, stamp, offset), deadline_s)

    def send_upload(
        self, stamp: str, offset: int, piece: bytes, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> int:
        return self._call("send_upload", (stamp, offset, piece, not_after), deadline_s)  # type: ignore[no-any-return]

    def end_upload(self, stamp: str, *, deadline_s: float | None = None) -> None:
        self._call("end_upload", (stamp,), deadline_s)

    def abort_upload(self, stamp: str, *, deadline_s: float | None = None) -> None:
        self._call("abort_upload", (stamp,), deadline_s)

    # NetworkOps

    def create_network(
        self, request: NetworkRequest, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("create_network", (request, not_after), deadline_s)

    def start_network(self, network_uuid: str, not_after: float = math.inf, *, deadline_s: float | None = None) -> None:
        self._call("start_network", (network_uuid, not_after), deadline_s)

    def stop_network(self, network_uuid: str, not_after: float = math.inf, *, deadline_s: float | None = None) -> None:
        self._call("stop_network", (network_uuid, not_after), deadline_s)

    def autostart_network(
        self, network_uuid: str, on: bool, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("autostart_network", (network_uuid, on, not_after), deadline_s)

    def delete_network(
        self, network_uuid: str, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("delete_network", (network_uuid, not_after), deadline_s)
