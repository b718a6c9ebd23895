"""What a guest is made of beside disks and NICs, and what is passed to it from the host.

Source: https://libvirt.org/formatdomain.html#devices
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from drivers.libvirt.parse.common import pci_address
from drivers.libvirt.text import clean, whole
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.types import DeviceFact

LONGEST_DETAIL = 255
# With facts of their own, or nothing of the guest's.
_ELSEWHERE = frozenset(
    {
        "disk",
        "interface",
        "graphics",
        "serial",
        "parallel",
        "console",
        "channel",
        "hostdev",
        "tpm",
        "memballoon",
        "emulator",
        "redirfilter",
    }
)
# Where a kind says which one it is, when that is not its attribute `model`.
_MODELS: dict[str, tuple[str, str]] = {
    "video": ("model", "type"),
    "input": (".", "type"),
    "hub": (".", "type"),
    "redirdev": (".", "type"),
    "audio": (".", "type"),
    "smartcard": (".", "mode"),
    "shmem": ("model", "type"),
    "filesystem": ("driver", "type"),
    "pstore": (".", "backend"),
}
# What else is worth telling, as (name, path, attribute); no attribute is the element's text.
_DETAILS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "controller": (("type", ".", "type"), ("index", ".", "index")),
    "video": (("vram_kib", "model", "vram"), ("heads", "model", "heads"), ("accel3d", "model/acceleration", "accel3d")),
    "input": (("bus", ".", "bus"), ("source", "source", "dev"), ("source", "source", "evdev")),
    "redirdev": (("bus", ".", "bus"),),
    "watchdog": (("action", ".", "action"),),
    "rng": (("backend", "backend", "model"), ("source", "backend", "")),
    "sound": (("codec", "codec", "type"),),
    "memory": (("size_kib", "target/size", ""), ("cell", "target/node", ""), ("path", "source/path", "")),
    "vsock": (("cid", "cid", "address"),),
    "shmem": (("name", ".", "name"), ("size", "size", ""), ("unit", "size", "unit")),
    "iommu": (("intremap", "driver", "intremap"), ("caching_mode", "driver", "caching_mode")),
    "smartcard": (("type", ".", "type"),),
    "lease": (("lockspace", "lockspace", ""), ("key", "key", "")),
    "crypto": (("type", ".", "type"), ("backend", "backend", "model")),
    "pstore": (("path", "path", ""),),
}


def devices_of(node: Node) -> Iterator[DeviceFact]:
    """Every other device. What only carries other devices is counted by its model."""
    carriers: Counter[str] = Counter()
    for device in node.all("devices/*"):
        if device.tag in _ELSEWHERE:
            continue
        if device.tag == "controller" and device.get("type") == "pci":
            carriers[device.get("model", limit=64)] += 1
        else:
            yield _device(device)
    for model, count in sorted(carriers.items()):
        yield DeviceFact("controller", model, "type=pci", count)


def _device(device: Node) -> DeviceFact:
    kind = clean(device.tag, 32)
    path, attribute = _MODELS.get(kind, (".", "model"))
    details = _file_system(device) if kind == "filesystem" else _details(device, kind)
    model = device.get(attribute, path=path, limit=64) or device.get("type", limit=64)
    return DeviceFact(
        kind, model, clean(" ".join(f"{name}={value}" for name, value in details if value), LONGEST_DETAIL)
    )


def _details(device: Node, kind: str) -> Iterator[tuple[str, str]]:
    for name, path, attribute in _DETAILS.get(kind, ()):
        if path == "target/size":
            yield name, str(device.bytes(path, default_unit="KiB") // 1024 or "")
        else:
            yield name, device.get(attribute, path=path) if attribute else device.text(path)


def _file_system(device: Node) -> Iterator[tuple[str, str]]:
    """A directory, image or device of the host that the guest, mostly a container, mounts."""
    source = device.find("source")
    if source is not None:
        named = (source.get(name, limit=LONGEST_PATH) for name in ("dir", "file", "dev", "name", "socket", "usage"))
        yield "source", next((name for name in named if name), "")
    yield "target", device.get("dir", path="target", limit=LONGEST_PATH)
    yield "access", device.get("accessmode", limit=32)
    yield "read", "only" if device.has("readonly") else ""


def passed_through(node: Node) -> Iterator[str]:
    """The host's devices that the guest has to itself, by their kind and their address on the host."""
    for device in node.all("devices/hostdev"):
        yield host_device(device)
    for nic in node.all("devices/interface"):
        if nic.get("type") == "hostdev":
            yield f"{nic.get('type', path='source/address', limit=16) or 'pci'} {host_address(nic)}".strip()
    for disk in node.all("devices/disk"):
        if disk.get("type") == "nvme":
            yield f"nvme {host_address(disk)}".strip()


def host_device(device: Node) -> str:
    kind = device.get("type", limit=16) or device.get("mode", limit=16)
    return f"{kind} {host_address(device)}".strip()


def host_address(device: Node) -> str:
    """As the operating system's tools print it."""
    source = device.find("source")
    if source is None:
        return ""
    return _pci(source) or _usb(source) or _mediated(source) or _scsi(source) or _named(source)


def _pci(source: Node) -> str:
    address = source.find("address")
    return pci_address(address) if address is not None and address.get("slot") else ""


def _usb(source: Node) -> str:
    """The product, else the place on the bus, as lsusb prints them."""
    vendor, product = source.get("id", path="vendor", limit=8), source.get("id", path="product", limit=8)
    if vendor or product:
        return f"{vendor.removeprefix('0x')}:{product.removeprefix('0x')}"
    if not source.get("device", path="address"):
        return ""
    bus, device = (whole(source.get(name, path="address"), largest=999) for name in ("bus", "device"))
    return f"{bus:03}:{device:03}"


def _mediated(source: Node) -> str:
    return source.get("uuid", path="address", limit=36)


def _scsi(source: Node) -> str:
    adapter = source.get("name", path="adapter", limit=32)
    if not adapter:
        return source.get("wwpn", limit=64)
    numbers = (whole(source.get(name, path="address")) for name in ("bus", "target", "unit"))
    return ":".join([adapter, *map(str, numbers)])


def _named(source: Node) -> str:
    """An iSCSI target, or what a container gets: a block or character device, a network interface."""
    paths = (source.text(name, limit=LONGEST_DETAIL) for name in ("block", "char", "interface"))
    return source.get("name") or next((path for path in paths if path), "")
