"""Guests' disks."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.libvirt.parse.common import whole_or_none
from drivers.libvirt.parse.devices import host_address
from drivers.libvirt.text import clean, whole
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.types import DiskFact, ImageFact

MOST_STATS = 1_024
MOST_SERVERS = 16
MOST_IMAGES = 64
HIGHEST_PORT = 65_535
MOST_BOOTABLE = 10_000


def disk_fact(disk: Node, stats: dict[str, int | str]) -> DiskFact:
    target = disk.get("dev", path="target", limit=64)
    source = image_source(disk)
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
        serial=disk.text("serial", limit=64),
        wwn=disk.text("wwn", limit=32),
        io=disk.get("io", path="driver", limit=16),
        discard=disk.get("discard", path="driver", limit=16),
        boot_order=boot_order(disk),
        servers=_servers(disk),
        backing=tuple(_backing(disk)),
        encrypted=disk.has("encryption") or disk.has("source/encryption"),
    )


def boot_order(device: Node) -> int | None:
    return whole_or_none(device.get("order", path="boot"), smallest=1, largest=MOST_BOOTABLE)


def image_source(image: Node) -> str:
    """Where a disk or an image under it is: path, pool/volume or protocol:name; empty for an empty drive."""
    source = image.find("source")
    if source is None:
        return ""
    kind = image.get("type")
    if kind == "volume":
        pool, volume = source.get("pool"), source.get("volume", limit=LONGEST_PATH)
        return f"{pool}/{volume}" if pool or volume else ""
    if kind == "network":
        protocol, name = source.get("protocol", limit=16), source.get("name", limit=LONGEST_PATH)
        return f"{protocol}:{name}" if protocol or name else ""
    if kind == "nvme":
        address = host_address(image)
        return f"{address}/{whole(source.get('namespace'))}" if address else ""
    attribute = {"block": "dev", "dir": "dir", "vhostuser": "path", "vhostvdpa": "dev"}.get(kind, "file")
    return source.get(attribute, limit=LONGEST_PATH)


def _servers(disk: Node) -> tuple[str, ...]:
    return tuple(name for name in map(server_name, disk.all("source/host", most=MOST_SERVERS)) if name)


def server_name(host: Node) -> str:
    """`name:port`, or the path of a socket."""
    name, port = host.get("name"), whole_or_none(host.get("port"), largest=HIGHEST_PORT)
    if not name:
        return host.get("socket")
    shown = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return clean(f"{shown}:{port}" if port else shown, 255)


def _backing(disk: Node) -> Iterator[ImageFact]:
    """The images under the disk's own, nearest first; a chain's end is an empty element."""
    image = disk.find("backingStore")
    for _number in range(MOST_IMAGES):
        if image is None or not image.has("source"):
            return
        yield ImageFact(image_source(image), image.get("type", limit=16), image.get("type", path="format", limit=16))
        image = image.find("backingStore")


def _capacity(target: str, stats: dict[str, int | str]) -> int | None:
    for number in range(whole(stats.get("block.count", 0), largest=MOST_STATS)):
        if target and stats.get(f"block.{number}.name") == target:
            return whole(stats.get(f"block.{number}.capacity", 0)) or None
    return None
