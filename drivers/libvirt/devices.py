"""A guest's disks, CDs and network adapters: changed while it runs where libvirt can, and in what it starts from next.

Each description is looked at first, so that what was done before is not done again.
"""

from __future__ import annotations

import copy
import math
import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import libvirt
from lxml import etree

from drivers.errors import NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.edit import CONFIG, LIVE, Described, described, try_live
from drivers.libvirt.jobs import require_idle
from drivers.libvirt.refusals import asked
from drivers.libvirt.tasks import Calls, in_time
from drivers.libvirt.text import whole
from drivers.libvirt.usage import find_by_path, require_bridge, require_unused, source_of
from drivers.libvirt.write_xml import (
    add,
    checked_device,
    checked_mac,
    checked_name,
    checked_path,
    checked_word,
    element,
    written,
)
from drivers.libvirt.xml import Node
from drivers.requests import DiskRequest, Effect, NicRequest
from drivers.words import gettext_noop as _

PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}
CACHES = frozenset({"", "none", "writeback", "writethrough", "directsync"})
FORMATS = frozenset({"raw", "qcow2"})
Place = tuple[int, Node]
ANOTHER_HERE = _("The guest has another volume in this place; refresh, then try again.")


class DeviceCalls(Calls):
    """A session's edits of guests' devices."""

    @contextmanager
    def _devices_of(self, guest_ref: str) -> Iterator[tuple[Connection, Any, Described]]:
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            yield line, domain, described(line, domain)

    def change_media(
        self, guest_ref: str, target: str, path: str, force: bool = False, not_after: float = math.inf
    ) -> Effect:
        with self._devices_of(guest_ref) as (line, domain, both):
            drives = [(flag, drive) for flag, node in places(both) if (drive := _drive(node, target))]
            if not drives:
                raise Rejected(_("The guest has no CD drive of this name."))
            if path:
                find_by_path(line, checked_path(path))
            in_time(not_after)
            more = libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE if force else 0
            changes = [(flag, media_xml(drive, path)) for flag, drive in drives if source_of(drive) != path]
            return _change(line, domain.updateDeviceFlags, changes, both, more)

    def add_disk(self, guest_ref: str, disk: DiskRequest, not_after: float = math.inf) -> Effect:
        checked_disk(disk)
        with self._devices_of(guest_ref) as (line, domain, both):
            having = {flag: found for flag, node in places(both) if (found := _disk_of(node, disk.path))}
            target = next((one.get("dev", path="target") for one in having.values()), "") or free_target(both, disk.bus)
            if not having:
                require_bus(both, disk.bus)
                find_by_path(line, disk.path)
                if not disk.read_only:
                    require_unused(line, disk.path, but=domain.UUIDString())
            in_time(not_after)
            lacking = [(flag, disk_xml(disk, target)) for flag, _node in places(both) if flag not in having]
            return _change(line, domain.attachDeviceFlags, lacking, both)

    def remove_disk(self, guest_ref: str, target: str, path: str, not_after: float = math.inf) -> Effect:
        with self._devices_of(guest_ref) as (line, domain, both):
            having = [(flag, found) for flag, node in places(both) if (found := _disk_at(node, target))]
            if any(source_of(found) != path for _flag, found in having):
                raise Rejected(ANOTHER_HERE)
            in_time(not_after)
            effect = _change(line, domain.detachDeviceFlags, [(f, device_xml(d)) for f, d in having], both)
            return _still(line, domain, effect, lambda node: _disk_at(node, target))

    def grow_disk(
        self, guest_ref: str, target: str, capacity_bytes: int, not_after: float = math.inf, path: str = ""
    ) -> Effect:
        with self._devices_of(guest_ref) as (line, domain, both):
            disk = next((found for _flag, node in places(both) if (found := _disk_at(node, target))), None)
            if disk is None or disk.get("device") not in {"disk", ""}:
                raise Rejected(_("The guest has no disk of this name."))
            if path and source_of(disk) != path:
                raise Rejected(ANOTHER_HERE)
            volume = None if both.live else find_by_path(line, source_of(disk))
            now = line.call(volume.info)[1] if volume else line.call(domain.blockInfo, target, 0)[0]
            if whole(now) == capacity_bytes:
                return Effect.NOW
            if whole(now) > capacity_bytes:
                raise Rejected(_("A disk is never made smaller."))
            in_time(not_after)
            if volume:
                asked(line, volume.resize, capacity_bytes, 0)
            else:
                asked(line, domain.blockResize, target, capacity_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            return Effect.NOW

    def add_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        checked_nic(nic)
        with self._devices_of(guest_ref) as (line, domain, both):
            require_network(line, nic)
            lacking = [(flag, written(nic_element(nic))) for flag, node in places(both) if not _nic(node, nic.mac)]
            in_time(not_after)
            return _change(line, domain.attachDeviceFlags, lacking, both)

    def change_nic(self, guest_ref: str, nic: NicRequest, not_after: float = math.inf) -> Effect:
        checked_nic(nic)
        with self._devices_of(guest_ref) as (line, domain, both):
            having = [(flag, found) for flag, node in places(both) if (found := _nic(node, nic.mac))]
            if not having:
                raise Rejected(_("The guest has no network adapter with this MAC address."))
            require_network(line, nic)
            in_time(not_after)
            effects = [
                _change(line, domain.updateDeviceFlags, [(flag, changed_nic_xml(found, nic, live=flag == LIVE))], both)
                for flag, found in having
            ]
            later = any(flag == LIVE and found.get("type", path="model") != nic.model for flag, found in having)
            later = later or not _is_plugged(described(line, domain).live, nic)
            return Effect.AFTER_NEXT_START if later or Effect.AFTER_NEXT_START in effects else Effect.NOW

    def remove_nic(self, guest_ref: str, mac: str, not_after: float = math.inf) -> Effect:
        mac = checked_mac(mac)
        with self._devices_of(guest_ref) as (line, domain, both):
            having = [(flag, device_xml(found)) for flag, node in places(both) if (found := _nic(node, mac))]
            in_time(not_after)
            effect = _change(line, domain.detachDeviceFlags, having, both)
            return _still(line, domain, effect, lambda node: _nic(node, mac))


def places(both: Described) -> list[Place]:
    """The guest's descriptions, by the flag that means each."""
    return [(flag, node) for flag, node in ((LIVE, both.live), (CONFIG, both.stored)) if node is not None]


def _change(
    line: Connection, method: Callable[..., Any], changes: list[tuple[int, str]], both: Described, more: int = 0
) -> Effect:
    """Change each description that needs it: both in one call where they are changed alike, which libvirt does or
    leaves as a whole. Raises: DriverError."""
    if len(changes) > 1 and len({xml for _flag, xml in changes}) == 1:
        changes = [(LIVE | CONFIG, changes[0][1])]
    later = False
    for flags, xml in changes:
        if not flags & LIVE:
            asked(line, method, xml, flags | more)
        elif not try_live(line, method, xml, flags | more):
            later = True
            if not both.stored:
                raise Rejected(_("That cannot be done to a guest that runs, and the host forgets it when it is off."))
            if flags & CONFIG:
                asked(line, method, xml, CONFIG)
    return Effect.AFTER_NEXT_START if later else Effect.NOW


def _still(line: Connection, domain: Any, effect: Effect, find: Callable[[Node], Node | None]) -> Effect:
    """A guest is asked to let a device go; libvirt waits for it only a few seconds."""
    live = described(line, domain).live
    return Effect.AFTER_NEXT_START if live is not None and find(live) else effect


def _is_plugged(live: Node | None, nic: NicRequest) -> bool:
    """libvirt 9.0 says yes to another port group of the same network and leaves the guest in its old one."""
    now = _nic(live, nic.mac) if live else None
    return now is None or not nic.port_group or now.get("portgroup", path="source") == nic.port_group


# Finding


def _disk_at(node: Node, target: str) -> Node | None:
    return next((disk for disk in node.all("devices/disk") if disk.get("dev", path="target") == target), None)


def _drive(node: Node, target: str) -> Node | None:
    found = _disk_at(node, target)
    return found if found and found.get("device") in {"cdrom", "floppy"} else None


def _disk_of(node: Node, path: str) -> Node | None:
    return next((disk for disk in node.all("devices/disk") if source_of(disk) == path), None)


def _nic(node: Node, mac: str) -> Node | None:
    nics = node.all("devices/interface")
    return next((nic for nic in nics if nic.get("address", path="mac").lower() == mac.lower()), None)


def free_target(both: Described, bus: str) -> str:
    """The first name for a disk that neither description has."""
    return next_target(
        bus, {disk.get("dev", path="target") for _flag, node in places(both) for disk in node.all("devices/disk")}
    )


def next_target(bus: str, taken: Iterable[str]) -> str:
    """Raises: Rejected when there is none left."""
    used = set(taken)
    for letters in (*product(string.ascii_lowercase), *product(string.ascii_lowercase, repeat=2)):
        if (name := PREFIXES[bus] + "".join(letters)) not in used:
            return name
    raise Rejected(_("The guest has no free slot for another device."))


# Checking and writing


def checked_disk(disk: DiskRequest) -> None:
    """Raises: Rejected."""
    checked_path(disk.path)
    if disk.bus not in PREFIXES or disk.cache not in CACHES or disk.format not in FORMATS:
        raise Rejected(_("This is not a kind of disk that a guest can have here."))


def checked_nic(nic: NicRequest) -> None:
    """Raises: Rejected."""
    checked_mac(nic.mac)
    checked_word(nic.model)
    if bool(nic.network) == bool(nic.bridge) or (nic.port_group and not nic.network):
        raise Rejected(_("A network adapter is plugged into one network or one bridge."))
    for name, check in ((nic.network, checked_name), (nic.port_group, checked_name), (nic.bridge, checked_device)):
        if name:
            check(name)


def require_network(line: Connection, nic: NicRequest) -> None:
    """Raises: Rejected when the host has no such bridge or network, or it no such port group."""
    if not nic.network:
        require_bridge(line, nic.bridge)
        return
    try:
        network = line.call(line.raw.networkLookupByName, nic.network)
    except NotFound:
        raise Rejected(_("The host has no network %(name)s; create it first."), name=nic.network) from None
    if nic.port_group and f"<portgroup name='{nic.port_group}'" not in str(line.call(network.XMLDesc, 0)):
        raise Rejected(_("The network has no port group %(name)s."), name=nic.port_group)


def require_bus(both: Described, bus: str) -> None:
    """libvirt would store a disk that keeps the guest from starting. Raises: Rejected."""
    if bus == "ide" and not any(node.has("devices/controller[@type='ide']") for _flag, node in places(both)):
        raise Rejected(_("The guest's machine has no bus of this kind; choose another."))


def disk_element(disk: DiskRequest, target: str) -> etree._Element:
    root = element("disk", type="block" if disk.block else "file", device="disk")
    add(root, "driver", name="qemu", type=disk.format, cache=disk.cache, discard="unmap")
    add(root, "source", **{"dev" if disk.block else "file": disk.path})
    add(root, "target", dev=target, bus=disk.bus)
    if disk.read_only:
        add(root, "readonly")
    return root


def disk_xml(disk: DiskRequest, target: str) -> str:
    return written(disk_element(disk, target))


def media_xml(drive: Node, path: str) -> str:
    """The drive as it is, with other media."""
    root = copy.deepcopy(drive.element)
    for name in ("source", "backingStore", "mirror"):
        for part in root.findall(name):
            root.remove(part)
    root.set("type", "file")
    if path:
        root.insert(0, element("source", file=path))
    return written(root)


def device_xml(device: Node) -> str:
    return written(device.element)


def nic_element(nic: NicRequest) -> etree._Element:
    root = element("interface", type="network" if nic.network else "bridge")
    add(root, "mac", address=checked_mac(nic.mac))
    _plug(root, nic)
    add(root, "model", type=nic.model)
    return root


def _plug(root: etree._Element, nic: NicRequest) -> None:
    add(root, "source", network=nic.network, bridge=nic.bridge, portgroup=nic.port_group)
    if nic.bridge and nic.open_vswitch:
        add(root, "virtualport", type="openvswitch")
    add(root, "link", state="up" if nic.link_up else "down")


def changed_nic_xml(now: Node, nic: NicRequest, *, live: bool) -> str:
    """The adapter as it is, plugged as asked. A running guest keeps the model it sees."""
    root = copy.deepcopy(now.element)
    for name in ("source", "virtualport", "link", "vlan"):
        for part in root.findall(name):
            root.remove(part)
    root.set("type", "network" if nic.network else "bridge")
    _plug(root, nic)
    if not live:
        for part in root.findall("model"):
            root.remove(part)
        add(root, "model", type=nic.model)
    return written(root)
