"""New, cloned and forgotten simulated guests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from drivers.errors import NotFound, Rejected
from drivers.fake.model import FakeDisk, FakeGuest, FakeHost, FakeNic
from drivers.fake.ops_devices import checked_disk, free_target, make_disk, make_nic
from drivers.fake.ops_edit import LONGEST_NAME, MOST_VCPUS
from drivers.fake.ops_tasks import TaskCalls, find_guest, in_time, require_idle
from drivers.fake.ops_volumes import note_volume, require_unused, require_volume
from drivers.requests import CloneRequest, GuestRequest
from drivers.types import Finding, GuestState, Severity
from drivers.words import gettext_noop as _

_UUID_LENGTH = 36
_NO_SUCH_GUEST = _("This guest is not on this host any more.")


class DefineCalls(TaskCalls):
    def check_guest(self, request: GuestRequest) -> tuple[Finding, ...]:
        with self.acting("check_guest") as (_state, host, _fault):
            _known(request.uuid)
            return tuple(_check(host, request))

    def define_guest(self, request: GuestRequest, not_after: float = math.inf) -> str:
        with self.acting("define_guest") as (_state, host, _fault):
            if _is_there(host, _known(request.uuid), request.name):
                return request.uuid
            for finding in _check(host, request):
                if finding.severity is Severity.ERROR:
                    raise Rejected(finding.message, **dict(finding.parameters))
            in_time(not_after)
            host.guests[request.uuid] = _make(host, request)
            return request.uuid

    def clone_guest(self, guest_ref: str, request: CloneRequest, not_after: float = math.inf) -> str:
        with self.acting("clone_guest") as (_state, host, _fault):
            guest = find_guest(host, guest_ref)
            if _is_there(host, _known(request.uuid), request.name):
                return request.uuid
            require_idle(host, guest)
            if guest.state is not GuestState.OFF:
                raise Rejected(_("The guest is not off; power it off, then clone it."))
            _check_name(host, request.name)
            made = _clone(host, guest, request)
            in_time(not_after)
            host.guests[request.uuid] = made
            return request.uuid

    def undefine_guest(self, guest_ref: str, not_after: float = math.inf) -> tuple[str, ...]:
        with self.acting("undefine_guest") as (_state, host, _fault):
            guest = host.guests.get(_known(guest_ref))
            if guest is None:  # gone already
                return ()
            require_idle(host, guest)
            if guest.state is not GuestState.OFF:
                raise Rejected(_("The guest is not off; power it off, then delete it."))
            in_time(not_after)
            own = [disk for disk in guest.disks if _is_own(disk)]
            for disk in own:
                note_volume(host, disk)
            del host.guests[guest.uuid]
            return tuple(disk.source for disk in own)


def _known(uuid: str) -> str:
    """Raises: NotFound for what is no UUID."""
    if len(uuid) != _UUID_LENGTH or uuid.count("-") != 4:  # noqa: PLR2004
        raise NotFound(_NO_SUCH_GUEST)
    return uuid


def _is_own(disk: FakeDisk) -> bool:
    return bool(disk.source) and disk.device == "disk" and not disk.read_only and not disk.shareable


def _is_there(host: FakeHost, uuid: str, name: str) -> bool:
    """Raises: Rejected when another guest has this UUID."""
    guest = host.guests.get(uuid)
    if guest is not None and guest.name != name:
        raise Rejected(_("Another guest of this host has this UUID."))
    return guest is not None


def _make(host: FakeHost, request: GuestRequest) -> FakeGuest:
    disks: list[FakeDisk] = []
    for disk in request.disks:
        disks.append(make_disk(disk, disks, require_volume(host, disk.path).capacity_bytes))
    drive = FakeDisk(
        target=free_target("sata", disks),
        source=request.iso_path,
        device="cdrom",
        bus="sata",
        format="raw",
        read_only=True,
    )
    return FakeGuest(
        uuid=request.uuid,
        name=request.name,
        title=" ".join(request.title.split()),
        notes=request.notes.strip(),
        state=GuestState.OFF,
        state_reason="",
        vcpus=request.vcpus,
        memory_bytes=request.memory_bytes,
        firmware="uefi" if request.uefi else "bios",
        machine=request.machine or "pc-q35-7.2",
        disks=[*disks, drive],
        nics=[make_nic(host, nic) for nic in request.nics],
    )


def _clone(host: FakeHost, guest: FakeGuest, request: CloneRequest) -> FakeGuest:
    """Raises: Rejected."""
    copies = dict(request.disks)
    disks = [_copied(host, disk, copies.pop(disk.target, "")) for disk in guest.disks]
    if copies:
        raise Rejected(_("The guest has no disk %(disk)s; refresh, then try again."), disk=next(iter(copies)))
    if len(request.macs) != len(guest.nics) or len(set(request.macs)) != len(request.macs):
        raise Rejected(_("The guest has another number of network adapters; refresh, then try again."))
    nics = [_replugged(nic, mac) for nic, mac in zip(guest.nics, request.macs, strict=True)]
    return msgspec.structs.replace(
        guest,
        uuid=request.uuid,
        name=request.name,
        disks=disks,
        nics=nics,
        autostart=False,
        snapshots=[],
        snapshot_count=0,
        current_snapshot="",
        claim="",
        stamp="",
        state_reason="",
    )


def _copied(host: FakeHost, disk: FakeDisk, path: str) -> FakeDisk:
    if not path:
        if _is_own(disk):
            raise Rejected(_("Disk %(disk)s would belong to both guests; copy it first."), disk=disk.target)
        return msgspec.structs.replace(disk)
    require_volume(host, path)
    require_unused(host, path)
    return msgspec.structs.replace(disk, source=path)


def _replugged(nic: FakeNic, mac: str) -> FakeNic:
    return msgspec.structs.replace(nic, mac=mac.lower(), addresses=[])


def _check(host: FakeHost, request: GuestRequest) -> Iterator[Finding]:
    yield from _errors("guest_name", lambda: _check_name(host, request.name))
    yield from _errors("guest_memory", lambda: _require(request.memory_bytes >= 1 << 20, _NO_MEMORY))
    yield from _errors("guest_vcpus", lambda: _require(1 <= request.vcpus <= MOST_VCPUS, _NO_VCPUS))
    if request.architecture not in {"", "x86_64"}:
        yield _error("guest_architecture", Rejected(_("The host cannot run guests of this architecture.")))
    machines = host.hardware.machine_types
    if request.machine and machines and request.machine not in machines:
        yield _error("guest_machine", Rejected(_("The host has no machine %(name)s."), name=request.machine))
    paths = [disk.path for disk in request.disks]
    if len(set(paths)) != len(paths):
        yield _error("guest_disk", Rejected(_("A volume or a MAC address is given twice.")))
    for disk in request.disks:
        yield from _errors("guest_disk", partial(checked_disk, disk))
        yield from _errors("guest_disk", partial(require_volume, host, disk.path))
        if not disk.read_only:
            yield from _errors("guest_disk", partial(require_unused, host, disk.path))
    if request.iso_path:
        yield from _errors("guest_iso", lambda: require_volume(host, request.iso_path))
    for nic in request.nics:
        yield from _errors("guest_nic", partial(make_nic, host, nic))
    if {nic.mac.lower() for nic in request.nics} & set(_macs(host.guests.values())):
        yield Finding("guest_mac", Severity.WARNING, _("Another guest of this host has the same MAC address."))
    if request.memory_bytes > host.memory_bytes:
        yield Finding("guest_memory", Severity.WARNING, _("The guest gets more memory than the host has."))


_NO_MEMORY = _("This is not an amount of memory that a guest can have.")
_NO_VCPUS = _("This is not a number of virtual CPUs that a guest can have.")


def _macs(guests: Iterable[FakeGuest]) -> Iterator[str]:
    return (nic.mac for guest in guests for nic in guest.nics)


def _check_name(host: FakeHost, name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name or name != name.strip():
        raise Rejected(_("This is not the name of a guest."))
    if any(guest.name == name for guest in host.guests.values()):
        raise Rejected(_("Another guest of this host has this name; choose another."))


def _require(fits: bool, sentence: str) -> None:
    if not fits:
        raise Rejected(sentence)


def _errors(check: str, act: Callable[[], object]) -> Iterator[Finding]:
    try:
        act()
    except Rejected as error:
        yield _error(check, error)


def _error(check: str, error: Rejected) -> Finding:
    return Finding(check, Severity.ERROR, error.template, "", tuple(error.parameters.items()))
