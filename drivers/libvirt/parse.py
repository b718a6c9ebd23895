"""From libvirt's answers to facts. Pure; trusts nothing: whatever a host sends becomes bounded values."""

from __future__ import annotations

import ipaddress
import re
import uuid as uuids
from collections.abc import Iterable
from typing import TypeVar

from drivers.libvirt import states
from drivers.libvirt.raw import RawGuest, RawHost, RawInventory, RawNetwork, RawPool, RawReading
from drivers.libvirt.text import clean, clean_notes, whole
from drivers.libvirt.xml import LONGEST_PATH, BrokenXML, Node, read_xml
from drivers.types import (
    DatastoreFact,
    DiskFact,
    GuestFact,
    GuestLoadFact,
    GuestState,
    GuestStateFact,
    HostFact,
    HostLoadFact,
    NicFact,
    Snapshot,
    StateReading,
    StorageClass,
    SwitchFact,
    SwitchKind,
    Technology,
)

T = TypeVar("T")
KIB = 1024
MIB = 1024 * 1024
LONGEST_NAME = 255
LONGEST_NOTES = 10_000
MOST_VCPUS = 65_535
MOST_ADDRESSES = 32
LONGEST_IP = 45  # an IPv6 address that ends as an IPv4 one
MOST_STATS = 1_024
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_TECHNOLOGIES: dict[str, Technology] = {
    "dir": Technology.LOCAL,
    "fs": Technology.LOCAL,
    "disk": Technology.LOCAL,
    "logical": Technology.LVM,
    "iscsi": Technology.ISCSI,
    "iscsi-direct": Technology.ISCSI,
    "scsi": Technology.SCSI,
    "rbd": Technology.RBD,
    "gluster": Technology.GLUSTER,
    "zfs": Technology.ZFS,
}
_NETFS_TECHNOLOGIES = {"nfs": Technology.NFS, "cifs": Technology.SMB, "glusterfs": Technology.GLUSTER}
_SAN = frozenset({Technology.ISCSI, Technology.FC, Technology.RBD})
_NAS = frozenset({Technology.NFS, Technology.SMB, Technology.GLUSTER})
_SWITCH_KINDS = {
    "": SwitchKind.ISOLATED,
    "nat": SwitchKind.NAT,
    "route": SwitchKind.ROUTED,
    "open": SwitchKind.OPEN,
    "bridge": SwitchKind.BRIDGED,
    "private": SwitchKind.MACVTAP,
    "vepa": SwitchKind.MACVTAP,
    "passthrough": SwitchKind.MACVTAP,
}


def snapshot_of(raw: RawInventory) -> Snapshot:
    """The inventory's facts. A guest whose description cannot be read is still there, with what is known."""
    host = host_fact(raw.host)
    guests = tuple(guest_fact(guest, host.ref) for guest in raw.guests)
    taps = _guest_devices(raw.guests)
    return Snapshot(
        read_started_at=raw.read_started_at,
        complete=raw.complete,
        hosts=(host,),
        guests=guests,
        datastores=_known(datastore_fact(pool, host.ref) for pool in raw.pools),
        switches=_known(switch_fact(network, host.ref, taps) for network in raw.networks),
    )


def reading_of(raw: RawReading, host_ref: str) -> StateReading:
    return StateReading(
        read_started_at=raw.read_started_at,
        complete=True,
        guests=tuple(state_fact(guest, host_ref) for guest in raw.guests),
        hosts=(host_load_fact(raw.host, host_ref),),
    )


def _known(facts: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(fact for fact in facts if fact is not None)


def _try_xml(text: str) -> Node | None:
    try:
        return read_xml(text) if text else None
    except BrokenXML:
        return None


def clean_uuid(text: str) -> str:
    """A UUID in its standard spelling; empty for what is none."""
    try:
        return str(uuids.UUID(text.strip()))
    except ValueError:
        return ""


# Hosts


def host_ref(capabilities_xml: str, hostname: str) -> str:
    """The host's UUID; for a driver that has none (libvirt's own test driver), one made from its name."""
    node = _try_xml(capabilities_xml)
    found = clean_uuid(node.text("host/uuid")) if node else ""
    return found or str(uuids.uuid5(uuids.NAMESPACE_DNS, clean(hostname, LONGEST_NAME)))


def host_fact(raw: RawHost) -> HostFact:
    capabilities = _try_xml(raw.capabilities_xml)
    system = _try_xml(raw.sysinfo_xml)
    architecture, _memory, threads, mhz, cells, sockets, cores, _per_core = (*raw.node, *[0] * 8)[:8]
    ref = host_ref(raw.capabilities_xml, raw.hostname)
    socket_count = max(1, whole(cells) * whole(sockets))
    model = system.text("processor/entry[@name='version']") if system else ""
    return HostFact(
        ref=ref,
        uuid=ref,
        name=clean(raw.hostname, LONGEST_NAME),
        hypervisor=clean(raw.hypervisor, LONGEST_NAME),
        hypervisor_version=version_of(raw.hypervisor_version),
        manager_version=version_of(raw.library_version),
        vendor=system.text("system/entry[@name='manufacturer']") if system else "",
        model=system.text("system/entry[@name='product']") if system else "",
        cpu_model=model or (capabilities.text("host/cpu/model") if capabilities else ""),
        cpu_sockets=min(socket_count, MOST_VCPUS),
        cpu_cores=min(socket_count * max(1, whole(cores)), MOST_VCPUS),
        cpu_threads=whole(threads, largest=MOST_VCPUS),
        cpu_mhz=whole(mhz, largest=1_000_000),
        memory_bytes=_host_memory(raw),
        architecture=clean(str(architecture), 32),
    )


def _host_memory(raw: RawHost) -> int:
    """The kernel's own figure where there is one: the other is rounded to MiB."""
    total = whole(raw.memory_kib.get("total", 0), scale=KIB)
    return total or whole((*raw.node, 0, 0)[1], scale=MIB)


def version_of(number: int) -> str:
    """libvirt packs a version as major x 1,000,000 + minor x 1,000 + release."""
    number = whole(number)
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}" if number else ""


def host_load_fact(raw: RawHost, ref: str) -> HostLoadFact:
    idle = whole(raw.cpu_ns.get("idle", 0)) + whole(raw.cpu_ns.get("iowait", 0))
    busy = sum(whole(raw.cpu_ns.get(kind, 0)) for kind in ("user", "kernel", "intr"))
    memory = _host_memory(raw)
    free = sum(whole(raw.memory_kib.get(kind, 0), scale=KIB) for kind in ("free", "buffers", "cached"))
    return HostLoadFact(
        ref=ref,
        cpu_busy_ns=whole(busy),
        cpu_total_ns=whole(busy + idle),
        memory_used_bytes=max(0, memory - free) if raw.memory_kib else 0,
        memory_bytes=memory,
    )


# Guests


def guest_fact(raw: RawGuest, host: str) -> GuestFact:
    node = _try_xml(raw.xml) or read_xml("<domain/>")
    state, reason = _state(raw)
    uuid = clean_uuid(raw.uuid)
    return GuestFact(
        ref=uuid,
        host_ref=host,
        uuid=uuid,
        name=clean(raw.name, LONGEST_NAME) or uuid,
        title=node.text("title"),
        notes=clean_notes(node.raw_text("description"), LONGEST_NOTES),
        state=state,
        state_reason=reason,
        vcpus=whole(node.get("current", path="vcpu") or node.text("vcpu"), largest=MOST_VCPUS),
        memory_bytes=node.bytes("currentMemory", default_unit="KiB") or node.bytes("memory", default_unit="KiB"),
        autostart=raw.autostart,
        persistent=raw.persistent,
        architecture=node.get("arch", path="os/type", limit=32),
        machine=node.get("machine", path="os/type", limit=64),
        firmware=_firmware(node),
        cpu_mode=_cpu_mode(node),
        snapshot_count=whole(raw.snapshot_count, largest=100_000),
        passthrough=tuple(_passthrough(node)),
        disks=tuple(_disk(disk, raw.stats) for disk in node.all("devices/disk")),
        nics=tuple(_nic(nic, raw.addresses) for nic in node.all("devices/interface")),
    )


def _state(raw: RawGuest) -> tuple[GuestState, str]:
    code, reason = whole(raw.stats.get("state.state", 0)), whole(raw.stats.get("state.reason", 0))
    return states.state_of(code), states.reason_of(code, reason)


def _firmware(node: Node) -> str:
    if node.get("firmware", path="os") == "efi" or node.get("type", path="os/loader") == "pflash":
        return "uefi"
    return "direct kernel" if node.has("os/kernel") else "bios"


def _cpu_mode(node: Node) -> str:
    mode = node.get("mode", path="cpu", limit=32)
    model = node.text("cpu/model", limit=64)
    return f"{mode}: {model}" if mode == "custom" and model else mode


def _passthrough(node: Node) -> Iterable[str]:
    for device in node.all("devices/hostdev"):
        yield f"{device.get('type', limit=16) or device.get('mode', limit=16)} {_device_address(device)}".strip()
    for nic in node.all("devices/interface"):
        if nic.get("type") == "hostdev":
            yield f"pci {_device_address(nic)}".strip()


def _device_address(device: Node) -> str:
    """As the operating system's tools print it."""
    parts = {name: whole_hex(device.get(name, path="source/address")) for name in ("domain", "bus", "slot", "function")}
    if device.find("source/address") is not None and device.get("slot", path="source/address"):
        return f"{parts['domain']:04x}:{parts['bus']:02x}:{parts['slot']:02x}.{parts['function']:x}"
    vendor, product = device.get("id", path="source/vendor", limit=8), device.get("id", path="source/product", limit=8)
    if vendor or product:
        return f"{vendor.removeprefix('0x')}:{product.removeprefix('0x')}"
    return device.get("uuid", path="source/address", limit=36) or device.get("name", path="source/adapter", limit=32)


def whole_hex(text: str) -> int:
    """A number as `0x0a` or `10`; 0 for what is none."""
    try:
        return min(max(0, int(text[:10], 0)), 0xFFFF) if text else 0
    except ValueError:
        return 0


def _disk(disk: Node, stats: dict[str, int | str]) -> DiskFact:
    target = disk.get("dev", path="target", limit=64)
    source = _disk_source(disk)
    return DiskFact(
        target=target,
        device=disk.get("device", limit=16) or "disk",
        bus=disk.get("bus", path="target", limit=16),
        source=source,
        source_type=disk.get("type", limit=16) if source else "",
        format=disk.get("type", path="driver", limit=16),
        cache=disk.get("cache", path="driver", limit=16),
        read_only=disk.has("readonly"),
        shareable=disk.has("shareable"),
        capacity_bytes=_capacity(target, stats) if source else None,
    )


def _disk_source(disk: Node) -> str:
    source = disk.find("source")
    if source is None:
        return ""
    kind = disk.get("type")
    if kind == "volume":
        pool, volume = source.get("pool"), source.get("volume", limit=LONGEST_PATH)
        return f"{pool}/{volume}" if pool or volume else ""
    if kind == "network":
        protocol, name = source.get("protocol", limit=16), source.get("name", limit=LONGEST_PATH)
        return f"{protocol}:{name}" if protocol or name else ""
    attribute = {"block": "dev", "dir": "dir"}.get(kind, "file")
    return source.get(attribute, limit=LONGEST_PATH)


def _capacity(target: str, stats: dict[str, int | str]) -> int | None:
    for number in range(whole(stats.get("block.count", 0), largest=MOST_STATS)):
        if target and stats.get(f"block.{number}.name") == target:
            return whole(stats.get(f"block.{number}.capacity", 0)) or None
    return None


def _nic(nic: Node, addresses: tuple[tuple[str, str], ...]) -> NicFact:
    mac = nic.get("address", path="mac", limit=17).lower()
    kind = nic.get("type", limit=16)
    device = nic.get("dev", path="source", limit=64)
    return NicFact(
        mac=mac if _MAC.fullmatch(mac) else "",
        model=nic.get("type", path="model", limit=32),
        kind=kind,
        network=nic.get("network", path="source") if kind == "network" else "",
        bridge=nic.get("bridge", path="source", limit=64) or (device if kind == "direct" else ""),
        link_up=nic.get("state", path="link") != "down",
        addresses=_addresses(mac, addresses),
    )


def _addresses(mac: str, addresses: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found = dict.fromkeys(_clean_ip(ip) for owner, ip in addresses if owner.lower() == mac)
    return tuple(ip for ip in found if ip)[:MOST_ADDRESSES]


def _clean_ip(text: str) -> str:
    """The address in one spelling; a zone means something inside the guest only, and may be any text."""
    address = text[: LONGEST_IP + 1].partition("%")[0]
    try:
        return str(ipaddress.ip_address(address)) if len(address) <= LONGEST_IP else ""
    except ValueError:
        return ""


def state_fact(raw: RawGuest, host: str) -> GuestStateFact:
    state, reason = _state(raw)
    uuid = clean_uuid(raw.uuid)
    return GuestStateFact(
        ref=uuid,
        host_ref=host,
        uuid=uuid,
        name=clean(raw.name, LONGEST_NAME) or uuid,
        state=state,
        state_reason=reason,
        load=_load(raw.stats) if state in {GuestState.RUNNING, GuestState.PAUSED} else None,
    )


def _load(stats: dict[str, int | str]) -> GuestLoadFact | None:
    """The counters; None when the host kept some back, as it does while a job holds the guest: zeros would lie."""
    disks = range(whole(stats.get("block.count", 0), largest=MOST_STATS))
    if disks and not any(f"block.{number}.rd.bytes" in stats for number in disks):
        return None
    return GuestLoadFact(
        cpu_time_ns=whole(stats.get("cpu.time", 0)),
        memory_used_bytes=_memory_used(stats),
        disk_read_bytes=_total(stats, "block", "rd.bytes"),
        disk_written_bytes=_total(stats, "block", "wr.bytes"),
        net_received_bytes=_total(stats, "net", "rx.bytes"),
        net_sent_bytes=_total(stats, "net", "tx.bytes"),
    )


def _memory_used(stats: dict[str, int | str]) -> int:
    """As the guest sees it, when its balloon driver tells; else what it takes of the host."""
    available, usable = (whole(stats.get(f"balloon.{name}", 0), scale=KIB) for name in ("available", "usable"))
    if available and usable:
        return max(0, available - usable)
    return whole(stats.get("balloon.rss", 0), scale=KIB)


def _total(stats: dict[str, int | str], group: str, name: str) -> int:
    count = whole(stats.get(f"{group}.count", 0), largest=MOST_STATS)
    return whole(sum(whole(stats.get(f"{group}.{number}.{name}", 0)) for number in range(count)))


# Datastores and switches


def datastore_fact(raw: RawPool, host: str) -> DatastoreFact | None:
    node = _try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    technology = _technology(node)
    capacity = node.bytes("capacity", default_unit="bytes")
    return DatastoreFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        technology=technology,
        storage_class=_storage_class(technology),
        path=node.text("target/path", limit=LONGEST_PATH),
        source=_pool_source(node),
        active=raw.active,
        capacity_bytes=capacity,
        available_bytes=min(node.bytes("available", default_unit="bytes"), capacity),
    )


def _technology(node: Node) -> Technology:
    kind = node.get("type", limit=32)
    if kind == "netfs":
        return _NETFS_TECHNOLOGIES.get(node.get("type", path="source/format"), Technology.NFS)
    if kind == "scsi" and node.get("type", path="source/adapter") == "fc_host":
        return Technology.FC
    return _TECHNOLOGIES.get(kind, Technology.OTHER)


def _storage_class(technology: Technology) -> StorageClass:
    if technology in _NAS:
        return StorageClass.NAS
    return StorageClass.SAN if technology in _SAN else StorageClass.DAS


def _pool_source(node: Node) -> str:
    """`server:/export`, the volume group, the target or the device: whatever tells two datastores apart."""
    host = node.get("name", path="source/host")
    what = (
        node.get("path", path="source/dir", limit=LONGEST_PATH)
        or node.get("path", path="source/device", limit=LONGEST_PATH)
        or node.text("source/name")
    )
    return f"{host}:{what}" if host and what else host or what


def switch_fact(raw: RawNetwork, host: str, taps: frozenset[str]) -> SwitchFact | None:
    node = _try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    bridge = node.get("name", path="bridge", limit=64)
    return SwitchFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        kind=_switch_kind(node, bridge),
        bridge=bridge,
        active=raw.active,
        autostart=raw.autostart,
        uplinks=_uplinks(node, raw.bridge_xml, taps),
    )


def _switch_kind(node: Node, bridge: str) -> SwitchKind:
    forward = node.find("forward")
    mode = (forward.get("mode", limit=16) or "nat") if forward else ""
    kind = _SWITCH_KINDS.get(mode, SwitchKind.OTHER)
    return SwitchKind.MACVTAP if kind is SwitchKind.BRIDGED and not bridge else kind


def _uplinks(node: Node, bridge_xml: str, taps: frozenset[str]) -> tuple[str, ...]:
    named = [node.get("dev", path="forward", limit=64)]
    named += [device.get("dev", limit=64) for name in ("interface", "pf") for device in node.all(f"forward/{name}")]
    bridge = _try_xml(bridge_xml)
    if bridge:
        named += [port.get("name", limit=64) for port in bridge.all("bridge/interface")]
    return tuple(name for name in dict.fromkeys(named) if name and name not in taps)


def _guest_devices(guests: Iterable[RawGuest]) -> frozenset[str]:
    """The host's devices that are guests' own ends: ports of a bridge, but no uplinks."""
    nodes = (_try_xml(guest.xml) for guest in guests)
    return frozenset(
        nic.get("dev", path="target", limit=64) for node in nodes if node for nic in node.all("devices/interface")
    )
