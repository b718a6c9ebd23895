"""Guests."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from drivers.libvirt import states
from drivers.libvirt.parse.common import KIB, LONGEST_NAME, clean_uuid, try_xml
from drivers.libvirt.parse.host import MOST_VCPUS
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.text import clean, clean_notes, whole
from drivers.libvirt.xml import LONGEST_PATH, Node, read_xml
from drivers.types import DiskFact, GuestFact, GuestLoadFact, GuestState, GuestStateFact, NicFact

LONGEST_NOTES = 10_000
MOST_ADDRESSES = 32
LONGEST_IP = 45  # an IPv6 address that ends as an IPv4 one
MOST_STATS = 1_024
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def guest_fact(raw: RawGuest, host: str) -> GuestFact:
    node = try_xml(raw.xml) or read_xml("<domain/>")
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
