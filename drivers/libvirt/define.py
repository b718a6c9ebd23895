"""New guests, clones, and forgetting a guest. Descriptions are built from validated parts; nobody's XML is taken.

Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import libvirt
from lxml import etree

from drivers.errors import DriverError, NotFound, NotSupported, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.devices import checked_disk, checked_nic, disk_element, next_target, nic_element, require_network
from drivers.libvirt.edit import KIB, LEAST_MEMORY_BYTES, MOST_VCPUS, require_free_name
from drivers.libvirt.jobs import NAMESPACE, OPERATION, require_idle
from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.refusals import asked
from drivers.libvirt.states import state_of
from drivers.libvirt.tasks import Calls, in_time, known_uuid
from drivers.libvirt.usage import every_description, find_by_path, images_below, require_unused, source_of
from drivers.libvirt.write_xml import (
    add,
    checked_mac,
    checked_name,
    checked_path,
    checked_word,
    element,
    notes_of,
    title_of,
    written,
)
from drivers.libvirt.xml import Node
from drivers.requests import CloneRequest, GuestRequest
from drivers.types import Finding, GuestState, Severity
from drivers.words import Parameters
from drivers.words import gettext_noop as _

LIBOSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
PC = ("i686", "x86_64")
ROOT_PORTS = 14  # of a PCI Express machine, one a device: what is added while the guest runs needs a free one
MOST_MEMORY_BYTES = 2**50
FORGET = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
FORGET_TEST = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA


@dataclass(frozen=True, slots=True)
class Ability:
    """What a host can run of one architecture, as its capabilities say. Pure."""

    architecture: str
    kind: str  # kvm, qemu, test
    machines: frozenset[str]
    host_memory_bytes: int

    @property
    def machine(self) -> str:
        """Its default for new guests; empty lets libvirt choose."""
        return "q35" if self.architecture in PC and "q35" in self.machines else ""


def ability_of(capabilities: str, architecture: str) -> Ability | None:
    """None when the host cannot run it."""
    node = try_xml(capabilities)
    if node is None:
        return None
    wanted = architecture or node.text("host/cpu/arch")
    memory = sum(cell.bytes("memory", default_unit="KiB") for cell in node.all("host/topology/cells/cell"))
    for guest in node.all("guest"):
        arch = guest.find("arch")
        if arch is None or guest.text("os_type") != "hvm" or arch.get("name") != wanted:
            continue
        kinds = [domain.get("type") for domain in arch.all("domain")]
        kind = next((kind for kind in ("kvm", "qemu", "test") if kind in kinds), "")
        machines = {one.element.text or "" for path in ("machine", "domain/machine") for one in arch.all(path)}
        return Ability(wanted, kind, frozenset(machines), memory) if kind else None
    return None


def guest_xml(request: GuestRequest, ability: Ability) -> str:
    """Raises: Rejected."""
    machine = request.machine or ability.machine
    root = element("domain", type=ability.kind)
    add(root, "name", checked_name(request.name))
    add(root, "uuid", known_uuid(request.uuid))
    _describe(root, request)
    add(root, "memory", str(request.memory_bytes // KIB), unit="KiB")
    add(root, "vcpu", str(request.vcpus))
    os = add(root, "os", firmware="efi" if request.uefi else "")
    add(os, "type", "hvm", arch=checked_word(ability.architecture), machine=machine and checked_word(machine))
    for device in ("hd", "cdrom"):
        add(os, "boot", dev=device)
    if ability.architecture in PC:
        features = add(root, "features")
        add(features, "acpi")
        add(features, "apic")
    if ability.kind == "kvm":
        add(root, "cpu", mode="host-model")
    add(root, "clock", offset="utc")
    for event, act in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        add(root, event, act)
    _add_devices(add(root, "devices"), request, ability, machine)
    return written(root)


def _describe(root: etree._Element, request: GuestRequest) -> None:
    if title := title_of(request.title):
        add(root, "title", title)
    if notes := notes_of(request.notes):
        add(root, "description", notes)
    if request.os:
        metadata = add(root, "metadata")
        about = etree.SubElement(metadata, f"{{{LIBOSINFO}}}libosinfo", nsmap={"libosinfo": LIBOSINFO})
        add(about, f"{{{LIBOSINFO}}}os", id=title_of(request.os))


def _add_devices(devices: etree._Element, request: GuestRequest, ability: Ability, machine: str) -> None:
    if "q35" in machine or machine.startswith("virt"):
        add(devices, "controller", type="pci", index="0", model="pcie-root")
        for _number in range(ROOT_PORTS):
            add(devices, "controller", type="pci", model="pcie-root-port")
    taken: list[str] = []
    for disk in request.disks:
        taken.append(next_target(disk.bus, taken))
        devices.append(disk_element(disk, taken[-1]))
    bus = _drive_bus(ability, machine)
    devices.append(_drive(request.iso_path, bus, next_target(bus, taken)))
    if "scsi" in {bus, *(disk.bus for disk in request.disks)}:
        add(devices, "controller", type="scsi", model="virtio-scsi")
    for nic in request.nics:
        devices.append(nic_element(nic))
    if ability.kind != "test":
        _add_usual(devices, request)


def _drive_bus(ability: Ability, machine: str) -> str:
    """What a CD drive can sit on: each kind of machine has one."""
    if ability.architecture not in PC:
        return "scsi"
    return "sata" if machine == "q35" or machine.startswith("pc-q35") else "ide"


def _drive(iso_path: str, bus: str, target: str) -> etree._Element:
    """A CD drive, empty or not: one cannot be added to a guest that runs."""
    root = element("disk", type="file", device="cdrom")
    add(root, "driver", name="qemu", type="raw")
    if iso_path:
        add(root, "source", file=checked_path(iso_path))
    add(root, "target", dev=target, bus=bus)
    add(root, "readonly")
    return root


def _add_usual(devices: etree._Element, request: GuestRequest) -> None:
    add(devices, "serial", type="pty")
    add(devices, "console", type="pty")
    add(add(devices, "channel", type="unix"), "target", type="virtio", name="org.qemu.guest_agent.0")
    if request.vnc:
        add(devices, "controller", type="usb", model="qemu-xhci")
        add(devices, "input", type="tablet", bus="usb")
        add(devices, "graphics", type="vnc", autoport="yes")
        add(
            add(devices, "video"),
            "model",
            type="vga" if not request.architecture or request.architecture in PC else "virtio",
        )
    add(devices, "memballoon", model="virtio")
    add(add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


class DefineCalls(Calls):
    """A session's new and forgotten guests."""

    forget = FORGET

    def check_guest(self, request: GuestRequest) -> tuple[Finding, ...]:
        with self._line(known_uuid(request.uuid)) as line:
            return tuple(_check(line, request))

    def define_guest(self, request: GuestRequest, not_after: float = math.inf) -> str:
        uuid = known_uuid(request.uuid)
        with self._line(uuid) as line:
            if _is_there(line, uuid, request.name):
                return uuid
            for finding in _check(line, request):
                if finding.severity is Severity.ERROR:
                    raise Rejected(finding.message, **dict(finding.parameters))
            xml = guest_xml(request, _require_ability(line, request))
            in_time(not_after)
            asked(line, line.raw.defineXML, xml)  # not by its schema, which refuses port groups that networks may have
            return uuid

    def clone_guest(self, guest_ref: str, request: CloneRequest, not_after: float = math.inf) -> str:
        uuid = known_uuid(request.uuid)
        checked_name(request.name)
        with self._guest(guest_ref) as (line, domain):
            if _is_there(line, uuid, request.name):
                return uuid
            _require_off(line, domain)
            require_free_name(line, request.name)
            node = try_xml(str(line.call(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)))
            if node is None:
                raise Rejected(_("The guest's definition cannot be read."))
            xml = clone_xml(node, request)
            for _target, path in request.disks:
                find_by_path(line, path)
                require_unused(line, path)
            in_time(not_after)
            asked(line, line.raw.defineXML, xml)
            return uuid

    def undefine_guest(self, guest_ref: str, not_after: float = math.inf) -> tuple[str, ...]:
        uuid = known_uuid(guest_ref)
        with self._line(uuid) as line:
            try:
                domain = line.call(line.raw.lookupByUUIDString, uuid)
            except NotFound:  # gone already
                return ()
            require_idle(line, domain)
            if state_of(line.call(domain.state)[0]) is not GuestState.OFF:
                raise Rejected(_("The guest is not off; power it off, then delete it."))
            node = try_xml(str(line.call(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)))
            images = tuple(_images(line, domain, node)) if node else ()
            in_time(not_after)
            asked(line, domain.undefineFlags, self.forget)
            return images


def own_disks(node: Node) -> Iterator[str]:
    """The images a guest writes to: no CDs, nothing that is read only or shared."""
    for disk in node.all("devices/disk"):
        own = disk.get("device") in {"disk", ""} and not disk.has("readonly") and not disk.has("shareable")
        if own and (path := source_of(disk)):
            yield path


def _images(line: Connection, domain: Any, node: Node) -> Iterator[str]:
    """Its own disks, each with what it wrote to before an external snapshot; an image they were all made from stays."""
    snapshots = external_snapshots(line, domain)
    texts = (str(line.call(one.getXMLDesc, 0)) for one in snapshots)
    before = [guest for text in texts if (one := try_xml(text)) for guest in one.all("domain")]
    earlier = {path for guest in before for path in own_disks(guest)}
    for path in own_disks(node):
        yield path
        if earlier:
            yield from images_below(line, path, earlier)


def external_snapshots(line: Connection, domain: Any) -> list[Any]:
    try:
        return list(line.call(domain.listAllSnapshots, libvirt.VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL))
    except NotSupported:  # libvirt's test driver
        return []


def clone_xml(node: Node, request: CloneRequest) -> str:
    """The guest's description with what must differ. Raises: Rejected when `disks` and `macs` do not fit it."""
    root = copy.deepcopy(node.element)
    _set_text(root, "name", checked_name(request.name))
    _set_text(root, "uuid", known_uuid(request.uuid))
    _forget_stamps(root)
    for genid in root.findall("genid"):
        genid.text = None  # libvirt makes a new one
    for nvram in root.findall("os/nvram"):
        nvram.text = None
        for part in list(nvram):
            nvram.remove(part)
    _copy_disks(root, dict(request.disks))
    _new_macs(root, request.macs)
    for graphics in root.findall("devices/graphics[@autoport='yes']"):
        graphics.attrib.pop("port", "")
    return written(root)


def _set_text(root: etree._Element, path: str, text: str) -> None:
    found = root.find(path)
    if found is None:
        found = etree.SubElement(root, path)
    found.text = text


def _forget_stamps(root: etree._Element) -> None:
    for namespace in (NAMESPACE, OPERATION):
        for part in root.findall(f"metadata/{{{namespace}}}attempt"):
            parent = part.getparent()
            if parent is not None:
                parent.remove(part)


def _copy_disks(root: etree._Element, copies: dict[str, str]) -> None:
    for disk in root.findall("devices/disk"):
        one = Node(disk)
        target = one.get("dev", path="target")
        path = copies.pop(target, "")
        shared = one.get("device") in {"cdrom", "floppy"} or one.has("readonly") or one.has("shareable")
        if not path:
            if shared:
                continue
            raise Rejected(_("Disk %(disk)s would belong to both guests; copy it first."), disk=target)
        for name in ("source", "backingStore", "mirror"):
            for part in disk.findall(name):
                disk.remove(part)
        attribute = "dev" if one.get("type") == "block" else "file"
        disk.set("type", "block" if attribute == "dev" else "file")
        disk.insert(0, element("source", **{attribute: checked_path(path)}))
    if copies:
        raise Rejected(_("The guest has no disk %(disk)s; refresh, then try again."), disk=next(iter(copies)))


def _new_macs(root: etree._Element, macs: Iterable[str]) -> None:
    found = root.findall("devices/interface")
    new = [checked_mac(mac) for mac in macs]
    if len(found) != len(new) or len(set(new)) != len(new):
        raise Rejected(_("The guest has another number of network adapters; refresh, then try again."))
    for nic, mac in zip(found, new, strict=True):
        for part in nic.findall("mac"):
            nic.remove(part)
        nic.insert(0, element("mac", address=mac))
        for part in nic.findall("target"):
            nic.remove(part)


def _is_there(line: Connection, uuid: str, name: str) -> bool:
    """Raises: Rejected when another guest has this UUID."""
    try:
        domain = line.call(line.raw.lookupByUUIDString, uuid)
    except NotFound:
        return False
    if domain.name() != name:
        raise Rejected(_("Another guest of this host has this UUID."))
    return True


def _require_off(line: Connection, domain: Any) -> None:
    require_idle(line, domain)
    if state_of(line.call(domain.state)[0]) is not GuestState.OFF:
        raise Rejected(_("The guest is not off; power it off, then clone it."))
    try:
        saved = line.call(domain.hasManagedSaveImage)
    except NotSupported:
        saved = 0
    if saved:
        raise Rejected(_("The guest's memory is saved on the host; start it and power it off, then clone it."))


def _require_ability(line: Connection, request: GuestRequest) -> Ability:
    ability = ability_of(str(line.call(line.raw.getCapabilities)), request.architecture)
    if ability is None:
        raise Rejected(_("The host cannot run guests of this architecture."))
    return ability


def _check(line: Connection, request: GuestRequest) -> Iterator[Finding]:
    wrong = tuple(_check_parts(request))
    yield from wrong
    if wrong:  # nobody is asked for what cannot be
        return
    try:
        require_free_name(line, request.name)
    except Rejected as error:
        yield _error("guest_name", error)
    yield from _check_ability(line, request)
    yield from _check_devices(line, request)


def _check_parts(request: GuestRequest) -> Iterator[Finding]:
    """What no host would have. Pure."""
    checks: list[tuple[str, Callable[[], object]]] = [
        ("guest_name", partial(checked_name, request.name)),
        ("guest_memory", partial(_require, LEAST_MEMORY_BYTES <= request.memory_bytes < MOST_MEMORY_BYTES, _NO_MEMORY)),
        ("guest_vcpus", partial(_require, 1 <= request.vcpus <= MOST_VCPUS, _NO_VCPUS)),
        *(("guest_disk", partial(checked_disk, disk)) for disk in request.disks),
        *(("guest_nic", partial(checked_nic, nic)) for nic in request.nics),
    ]
    if request.iso_path:
        checks.append(("guest_iso", partial(checked_path, request.iso_path)))
    if request.machine:
        checks.append(("guest_machine", partial(checked_word, request.machine)))
    for name, check in checks:
        try:
            check()
        except Rejected as error:
            yield _error(name, error)


_NO_MEMORY = _("This is not an amount of memory that a guest can have.")
_NO_VCPUS = _("This is not a number of virtual CPUs that a guest can have.")


def _require(fits: bool, sentence: str) -> None:
    if not fits:
        raise Rejected(sentence)


def _check_ability(line: Connection, request: GuestRequest) -> Iterator[Finding]:
    try:
        ability = _require_ability(line, request)
    except Rejected as error:
        yield _error("guest_architecture", error)
        return
    if request.machine and ability.machines and request.machine not in ability.machines:
        yield _error("guest_machine", Rejected(_("The host has no machine %(name)s."), name=request.machine))
    if request.uefi and not _has_uefi(line, request, ability):
        yield _error(
            "guest_firmware", Rejected(_("The host has no UEFI firmware for this machine; install OVMF there."))
        )
    if 0 < ability.host_memory_bytes < request.memory_bytes:
        yield Finding("guest_memory", Severity.WARNING, _("The guest gets more memory than the host has."))


def _has_uefi(line: Connection, request: GuestRequest, ability: Ability) -> bool:
    machine = request.machine or ability.machine or None
    try:
        text = line.call(line.raw.getDomainCapabilities, None, ability.architecture, machine, ability.kind, 0)
    except (NotSupported, Rejected):
        return False
    node = try_xml(str(text))
    return node is not None and any(
        (value.element.text or "") == "efi" for value in node.all("os/enum[@name='firmware']/value")
    )


def _check_devices(line: Connection, request: GuestRequest) -> Iterator[Finding]:
    paths = [disk.path for disk in request.disks]
    if len(set(paths)) != len(paths) or len({nic.mac.lower() for nic in request.nics}) != len(request.nics):
        yield _error("guest_disk", Rejected(_("A volume or a MAC address is given twice.")))
    for path, check in (*((path, "guest_disk") for path in paths), (request.iso_path, "guest_iso")):
        try:
            if path:
                find_by_path(line, checked_path(path))
        except Rejected as error:
            yield _error(check, error)
    for disk in request.disks:
        try:
            if not disk.read_only:
                require_unused(line, disk.path)
        except Rejected as error:
            yield _error("guest_disk", error)
    yield from _check_nics(line, request)


def _check_nics(line: Connection, request: GuestRequest) -> Iterator[Finding]:
    for nic in request.nics:
        try:
            require_network(line, nic)
        except Rejected as error:
            yield _error("guest_nic", error)
    wanted = {nic.mac.lower() for nic in request.nics}
    if wanted and any(
        nic.get("address", path="mac").lower() in wanted
        for _domain, node in every_description(line)
        for nic in node.all("devices/interface")
    ):
        yield Finding("guest_mac", Severity.WARNING, _("Another guest of this host has the same MAC address."))


def _error(check: str, error: DriverError) -> Finding:
    parameters: Parameters = tuple(error.parameters.items())
    return Finding(check, Severity.ERROR, error.template, "", parameters)
