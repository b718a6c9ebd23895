"""What a guest is made of beside disks and NICs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from drivers.libvirt.jobs import NAMESPACE as OUR_NAMESPACE
from drivers.libvirt.parse.common import whole_or_none
from drivers.libvirt.parse.consoles import consoles_of, displays_of
from drivers.libvirt.parse.devices import devices_of, host_device
from drivers.libvirt.parse.disks import boot_order
from drivers.libvirt.parse.host import MOST_VCPUS
from drivers.libvirt.parse.snapshots import snapshot_facts
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.text import clean, whole
from drivers.libvirt.xml import MOST_CHILDREN, Node
from drivers.types import DiskFact, GuestHardware, NicFact

_OSINFO = "libosinfo"
_GROUPS = frozenset({"hyperv", "kvm", "xen", "capabilities"})  # features that hold features
_OFF = frozenset({"off", "no", "deny"})


def guest_hardware(raw: RawGuest, node: Node, disks: Sequence[DiskFact], nics: Sequence[NicFact]) -> GuestHardware:
    sockets, cores, threads = _topology(node)
    return GuestHardware(
        cpu_sockets=sockets,
        cpu_cores=cores,
        cpu_threads=threads,
        most_vcpus=whole(node.text("vcpu"), largest=MOST_VCPUS),
        most_memory_bytes=node.bytes("maxMemory", default_unit="KiB") or node.bytes("memory", default_unit="KiB"),
        cpu_features=tuple(_cpu_features(node)),
        features=tuple(islice(_features(node), MOST_CHILDREN)),
        cpu_shares=whole_or_none(node.text("cputune/shares"), smallest=1),
        hugepages=node.has("memoryBacking/hugepages"),
        numa_cells=sum(1 for _cell in node.all("cpu/numa/cell")),
        balloon=node.get("model", path="devices/memballoon", limit=64),
        secure_boot=_secure_boot(node),
        tpm=", ".join(_tpms(node)),
        os=_os(node),
        os_type=node.text("os/type", limit=16),
        init=node.text("os/init"),
        boot=_boot(node, disks, nics),
        metadata=tuple(_name_spaces(node)),
        displays=tuple(displays_of(node)),
        consoles=tuple(consoles_of(node)),
        devices=tuple(devices_of(node)),
        snapshots=snapshot_facts(raw),
    )


def firmware_of(node: Node) -> str:
    """Empty for what has none: containers, and paravirtual guests that bring a boot loader."""
    if node.get("firmware", path="os") == "efi" or node.get("type", path="os/loader") == "pflash":
        return "uefi"
    if node.has("os/kernel"):
        return "direct kernel"
    return "" if node.text("os/type", limit=16) in {"exe", "linux", "xen", "uml"} else "bios"


def _secure_boot(node: Node) -> bool:
    """Switched on, with keys that make it matter, as far as the description tells."""
    features = {f.get("name", limit=32): f.get("enabled", limit=8) for f in node.all("os/firmware/feature")}
    if "secure-boot" in features:
        return features["secure-boot"] == "yes" and features.get("enrolled-keys") != "no"
    return node.get("secure", path="os/loader") == "yes" and features.get("enrolled-keys") != "no"


def _topology(node: Node) -> tuple[int, int, int]:
    topology = node.find("cpu/topology")
    if topology is None:
        return 0, 0, 0
    sockets, dies, clusters, cores, threads = (
        max(1, whole(topology.get(name, limit=16), largest=MOST_VCPUS))
        for name in ("sockets", "dies", "clusters", "cores", "threads")
    )
    return sockets, min(dies * clusters * cores, MOST_VCPUS), threads


def _cpu_features(node: Node) -> Iterator[str]:
    for feature in node.all("cpu/feature"):
        name = feature.get("name", limit=64)
        if name:
            yield f"{feature.get('policy', limit=16) or 'require'} {name}"


def _features(node: Node) -> Iterator[str]:
    for feature in node.all("features/*"):
        name = clean(feature.tag, 64)
        if name in _GROUPS:
            yield from (f"{name} {clean(one.tag, 64)}" for one in feature.all("*") if _is_on(one))
        elif _is_on(feature):
            yield name


def _is_on(feature: Node) -> bool:
    return (feature.get("state", limit=8) or feature.get("enabled", limit=8)) not in _OFF


def _tpms(node: Node) -> Iterator[str]:
    for tpm in node.all("devices/tpm", most=4):
        parts = (
            tpm.get("model", limit=32),
            tpm.get("version", path="backend", limit=8),
            tpm.get("type", path="backend", limit=16),
        )
        yield " ".join(part for part in parts if part)


def _boot(node: Node, disks: Sequence[DiskFact], nics: Sequence[NicFact]) -> tuple[str, ...]:
    """The guest's order of kinds, else that of its devices."""
    named = tuple(boot.get("dev", limit=16) for boot in node.all("os/boot", most=16))
    ordered = [(disk.boot_order, disk.target) for disk in disks]
    ordered += [(nic.boot_order, nic.mac) for nic in nics]
    ordered += [(boot_order(device), host_device(device)) for device in node.all("devices/hostdev")]
    ordered += [(boot_order(d), f"usb redirection {d.get('type', limit=16)}") for d in node.all("devices/redirdev")]
    return named or tuple(name for order, name in sorted((o, n) for o, n in ordered if o is not None))


def _os(node: Node) -> str:
    """What whoever made the guest chose in the osinfo database."""
    for metadata in node.all("metadata/*"):
        space, name = _split(metadata.tag)
        if name == _OSINFO:
            return metadata.get("id", path=f"{{{space}}}os" if space else "os")
    return ""


def _name_spaces(node: Node) -> Iterator[str]:
    """Who keeps something with the guest; our own mark comes and goes with each move."""
    spaces = {clean(_split(metadata.tag)[0], 255) for metadata in node.all("metadata/*")}
    yield from sorted(spaces - {"", OUR_NAMESPACE})


def _split(tag: str) -> tuple[str, str]:
    """(name space, name)."""
    space, _brace, name = tag.rpartition("}")
    return space.removeprefix("{"), name
