"""Disks, CDs and network adapters of simulated guests: hot-plugged where QEMU can, else at the next start."""

from __future__ import annotations

import math
import string

import msgspec

from drivers.errors import Rejected
from drivers.fake.model import FakeDisk, FakeGuest, FakeHost, FakeNic
from drivers.fake.ops_edit import waiting_of
from drivers.fake.ops_tasks import UP, TaskCalls
from drivers.fake.ops_volumes import note_volume, require_unused, require_volume, resize
from drivers.requests import DiskRequest, Effect, NicRequest
from drivers.words import gettext_noop as _

PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}
PLUGGABLE = frozenset({"virtio", "scsi", "usb"})


class DeviceCalls(TaskCalls):
    def change_media(
        self, guest_ref: str, target: str, path: str, force: bool = False, not_after: float = math.inf
    ) -> Effect:
        with self._editing("change_media", guest_ref, not_after) as (host, guest):
            drive = next((disk for disk in guest.disks if disk.target == target and disk.device == "cdrom"), None)
            if drive is None:
                raise Rejected(_("The guest has no CD drive of this name."))
            if path:
                require_volume(host, path)
            if drive.locked and drive.source != path and not force:
                raise Rejected(_("The guest has locked the drive; eject it there, or force it."))
            drive.source, drive.locked = path, False
            return Effect.NOW

    def add_disk(self, guest_ref: str, disk: DiskRequest, not_after: float = math.inf) -> Effect:
        checked_disk(disk)
        with self._editing("add_disk", guest_ref, not_after) as (host, guest):
            if any(one.source == disk.path for one in guest.disks):
                return Effect.NOW
            later = later_disks(guest)
            if any(one.source == disk.path for one in later):
                return Effect.AFTER_NEXT_START
            volume = require_volume(host, disk.path)
            if not disk.read_only:
                require_unused(host, disk.path, but=guest.uuid)
            made = make_disk(disk, [*guest.disks, *later], volume.capacity_bytes)
            return _put_disks(guest, now=disk.bus in PLUGGABLE, disks=[*later, made], added=made)

    def remove_disk(self, guest_ref: str, target: str, path: str, not_after: float = math.inf) -> Effect:
        with self._editing("remove_disk", guest_ref, not_after) as (host, guest):
            later = later_disks(guest)
            for disk in (disk for disk in (*guest.disks, *later) if disk.target == target):
                if disk.source != path:
                    raise Rejected(_("The guest has another volume in this place; refresh, then try again."))
                note_volume(host, disk)
            rest = [disk for disk in later if disk.target != target]
            going = next((disk for disk in guest.disks if disk.target == target), None)
            if guest.state not in UP or going is None or going.bus in PLUGGABLE:
                guest.disks = [disk for disk in guest.disks if disk.target != target]
                _keep_waiting(guest, rest)
                return Effect.NOW
            waiting_of(guest).disks = rest
            return Effect.AFTER_NEXT_START

    def grow_disk(
        self, guest_ref: str, target: str, capacity_bytes: int, not_after: float = math.inf, path: str = ""
    ) -> Effect:
        with self._editing("grow_disk", guest_ref, not_after) as (host, guest):
            disk = next((one for one in guest.disks if one.target == target and one.device == "disk"), None)
            if disk is None:
                raise Rejected(_("The guest has no disk of this name."))
            if path and disk.source != path:
                raise Rejected(_("The guest has another volume in this place; refresh, then try again."))
            if (disk.capacity_bytes or 0) > capacity_bytes:
                raise Rejected(_("A disk is never made smaller."))
            resize(host, disk.source, capacity_bytes)
            return Effect.NOW

    def add_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        with self._editing("add_nic", guest_ref, not_after) as (host, guest):
            made = make_nic(host, nic)
            if not any(one.mac == made.mac for one in guest.nics):
                guest.nics = [*guest.nics, made]
            return Effect.NOW

    def change_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        with self._editing("change_nic", guest_ref, not_after) as (host, guest):
            made = make_nic(host, nic)
            old = next((one for one in guest.nics if one.mac == made.mac), None)
            if old is None:
                raise Rejected(_("The guest has no network adapter with this MAC address."))
            made.addresses = old.addresses
            later = guest.state in UP and made.model != old.model
            now = msgspec.structs.replace(made, model=old.model) if later else made
            if later:
                waiting_of(guest).nics = [made if one.mac == made.mac else one for one in guest.nics]
            guest.nics = [now if one.mac == made.mac else one for one in guest.nics]
            return Effect.AFTER_NEXT_START if later else Effect.NOW

    def remove_nic(self, guest_ref: str, mac: str, not_after: float = math.inf) -> Effect:
        with self._editing("remove_nic", guest_ref, not_after) as (_host, guest):
            guest.nics = [one for one in guest.nics if one.mac != mac.lower()]
            return Effect.NOW


def later_disks(guest: FakeGuest) -> list[FakeDisk]:
    """What it will have at its next start."""
    waiting = guest.waiting.disks if guest.waiting else None
    return guest.disks if waiting is None else waiting


def _put_disks(guest: FakeGuest, *, now: bool, disks: list[FakeDisk], added: FakeDisk) -> Effect:
    if guest.state not in UP or now:
        guest.disks = [*guest.disks, added]
        _keep_waiting(guest, disks)
        return Effect.NOW
    waiting_of(guest).disks = disks
    return Effect.AFTER_NEXT_START


def _keep_waiting(guest: FakeGuest, disks: list[FakeDisk]) -> None:
    if guest.waiting and guest.waiting.disks is not None:
        guest.waiting.disks = disks


def checked_disk(disk: DiskRequest) -> None:
    """Raises: Rejected."""
    if disk.bus not in PREFIXES or disk.format not in {"raw", "qcow2"} or not disk.path.startswith("/"):
        raise Rejected(_("This is not a kind of disk that a guest can have here."))


def make_disk(disk: DiskRequest, others: list[FakeDisk], capacity_bytes: int) -> FakeDisk:
    return FakeDisk(
        target=free_target(disk.bus, others),
        source=disk.path,
        bus=disk.bus,
        format=disk.format,
        cache=disk.cache or "none",
        read_only=disk.read_only,
        capacity_bytes=capacity_bytes,
    )


def free_target(bus: str, others: list[FakeDisk]) -> str:
    taken = {one.target for one in others}
    return next(name for letter in string.ascii_lowercase if (name := PREFIXES[bus] + letter) not in taken)


def make_nic(host: FakeHost, nic: NicRequest) -> FakeNic:
    """Raises: Rejected."""
    if bool(nic.network) == bool(nic.bridge) or (nic.port_group and not nic.network):
        raise Rejected(_("A network adapter is plugged into one network or one bridge."))
    _check_mac(nic.mac)
    if nic.network:
        switch = next((one for one in host.switches if one.name == nic.network), None)
        if switch is None:
            raise Rejected(_("The host has no network %(name)s; create it first."), name=nic.network)
        if nic.port_group and nic.port_group not in {group.name for group in switch.port_groups}:
            raise Rejected(_("The network has no port group %(name)s."), name=nic.port_group)
    return FakeNic(
        mac=nic.mac.lower(),
        network=nic.network,
        bridge=nic.bridge,
        link_up=nic.link_up,
        model=nic.model,
        port_group=nic.port_group,
    )


def _check_mac(mac: str) -> None:
    """Raises: Rejected."""
    parts = mac.split(":")
    if len(parts) != 6 or not all(len(part) == 2 and set(part.lower()) <= set("0123456789abcdef") for part in parts):  # noqa: PLR2004
        raise Rejected(_("This is not the MAC address of a network adapter."))
