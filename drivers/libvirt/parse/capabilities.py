"""What a host's processor, memory and hypervisor can do.

Source: https://libvirt.org/formatcaps.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.text import clean, whole
from drivers.libvirt.xml import Node
from drivers.types import HugepagesFact, NumaCellFact

MOST_CPUS = 8_192  # what Linux can be built for
MOST_FEATURES = 2_048
MOST_CELLS = 1_024
MOST_MACHINES = 2_048
LONGEST_SIBLINGS = 512
_WORD = 64
_FASTEST_MHZ = 1_000_000
_BY_FLAG = {"vmx": "VT-x", "svm": "AMD-V"}
_BY_VENDOR = {"Intel": "VT-x", "AMD": "AMD-V"}
_HARDWARE_KINDS = frozenset({"kvm", "hvf", "bhyve", "nvmm", "whpx", "hyperv"})
_NOMINAL = re.compile(r"@\s*(\d{1,2}(?:\.\d{1,3})?)\s*GHz")


@dataclass(frozen=True, slots=True)
class Topology:
    """Of the whole host. A core is counted once however many threads it has; what is offline is not counted."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class Virtualization:
    name: str
    enabled: bool | None


def topology(capabilities: Node) -> Topology | None:
    """From the single CPUs; None when the host does not list them.

    virNodeGetInfo counts sockets per NUMA cell and, for anything irregular (cores of two kinds, CPUs offline), reports
    one socket of single-threaded cores. Here every CPU says its package and which CPUs share its core; one that says
    neither is offline.
    """
    cpus = [cpu for cell in _cells(capabilities) for cpu in _cpus(cell) if cpu.get("socket_id", limit=_WORD)]
    if not cpus:
        return None
    sockets = {cpu.get("socket_id", limit=_WORD) for cpu in cpus}
    return Topology(len(sockets), len({_core(cpu) for cpu in cpus}), len(cpus))


def _core(cpu: Node) -> tuple[str, ...]:
    siblings = cpu.get("siblings", limit=LONGEST_SIBLINGS)
    names = ("socket_id", "die_id", "cluster_id", "core_id")
    return (siblings,) if siblings else tuple(cpu.get(name, limit=_WORD) for name in names)


def numa(capabilities: Node, host_memory_bytes: int) -> tuple[NumaCellFact, ...]:
    """The cells. One that is alone has all memory: the host's own figure, which says memory plugged in later at once.

    On a virtual machine whose memory grows the kernel's figure for its only cell was seen to move between two polls.
    """
    described = tuple(_cells(capabilities))
    alone = host_memory_bytes if len(described) == 1 else 0
    cells = (
        NumaCellFact(
            number=whole(cell.get("id", limit=_WORD)),
            memory_bytes=alone or cell.bytes("memory", default_unit="KiB"),
            cpus=tuple(sorted({whole(cpu.get("id", limit=_WORD)) for cpu in _cpus(cell)})),
            distances=tuple(sorted(_distances(cell))),
        )
        for cell in described
    )
    return tuple(sorted(cells, key=lambda cell: cell.number))


def _distances(cell: Node) -> Iterator[tuple[int, int]]:
    for sibling in cell.all("distances/sibling", most=MOST_CELLS):
        yield whole(sibling.get("id", limit=_WORD)), whole(sibling.get("value", limit=_WORD))


def hugepages(capabilities: Node) -> tuple[HugepagesFact, ...]:
    """All sizes above the ordinary one, with how many pages are set apart; how many of them are free moves."""
    counts: Counter[int] = Counter()
    for cell in _cells(capabilities):
        for pages in cell.all("pages"):
            counts[_page_bytes(pages)] += whole(pages.raw_text("."))
    for pages in capabilities.all("host/cpu/pages"):
        counts[_page_bytes(pages)] += 0
    sizes = sorted(size for size in counts if size)
    return tuple(HugepagesFact(size, whole(counts[size])) for size in sizes[1:])


def _page_bytes(pages: Node) -> int:
    scale = {"b": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    return whole(pages.get("size", limit=_WORD), scale=scale.get(pages.get("unit", limit=_WORD) or "KiB", 0))


def cpu_model(capabilities: Node) -> str:
    """libvirt's name for the nearest model it knows; s390 and 32-bit ARM hosts only say `host`."""
    told = capabilities.text("host/cpu/model")
    return "" if told == "host" else told


def cpu_flags(capabilities: Node, cpu_xml: str) -> tuple[str, ...]:
    """What the processor has, by libvirt's names. Empty when the host does not tell all of them.

    For a processor with a model the capabilities alone list only what goes beyond it. The expanded list lacks the few
    that libvirt keeps from guests, which the capabilities have.
    """
    expanded = try_xml(cpu_xml)
    if expanded is None and capabilities.has("host/cpu/model"):
        return ()
    found = _features(capabilities, "host/cpu/feature") | (_features(expanded, "feature") if expanded else set())
    return tuple(sorted(found))


def _features(node: Node, path: str) -> set[str]:
    features = node.all(path, most=MOST_FEATURES)
    had = (feature for feature in features if feature.get("policy", limit=_WORD) not in {"disable", "forbid"})
    return {feature.get("name", limit=_WORD) for feature in had} - {""}


def virtualization(capabilities: Node, flags: tuple[str, ...], cpu_vendor: str) -> Virtualization:
    """Present by the processor's flag, enabled when the hypervisor offers guests that use it."""
    enabled = _uses_hardware(capabilities)
    known = _features(capabilities, "host/cpu/feature").union(flags)
    name = next((name for flag, name in _BY_FLAG.items() if flag in known), "")
    if not name and enabled:
        name = _BY_VENDOR.get(cpu_vendor, "")
    return Virtualization(name, enabled)


def _uses_hardware(capabilities: Node) -> bool | None:
    kinds = {kind for _architecture, kind in _guest_kinds(capabilities)}
    if kinds & _HARDWARE_KINDS or _has_xen_hvm(capabilities):
        return True
    return False if "qemu" in kinds else None


def _has_xen_hvm(capabilities: Node) -> bool:
    guests = (guest for guest in capabilities.all("guest") if guest.text("os_type", limit=_WORD) == "hvm")
    return any(domain.get("type", limit=_WORD) == "xen" for guest in guests for domain in guest.all("arch/domain"))


def iommu(capabilities: Node) -> bool | None:
    return {"yes": True, "no": False}.get(capabilities.get("support", path="host/iommu", limit=_WORD))


def security_models(capabilities: Node) -> tuple[str, ...]:
    named = {model.text("model", limit=_WORD) for model in capabilities.all("host/secmodel")}
    return tuple(sorted(named - {"", "none"}))


def guest_kinds(capabilities: Node) -> tuple[str, ...]:
    kinds = {f"{architecture} {kind}" for architecture, kind in _guest_kinds(capabilities) if architecture and kind}
    return tuple(sorted(kinds))


def _guest_kinds(capabilities: Node) -> Iterator[tuple[str, str]]:
    for arch in capabilities.all("guest/arch"):
        for domain in arch.all("domain"):
            yield arch.get("name", limit=_WORD), domain.get("type", limit=_WORD)


def machine_types(capabilities: Node, architecture: str) -> tuple[str, ...]:
    """Of one architecture, aliases such as `q35` among them."""
    found: set[str] = set()
    for arch in capabilities.all("guest/arch"):
        if arch.get("name", limit=_WORD) == architecture:
            machines = arch.all(".//machine", most=MOST_MACHINES)
            found.update(clean(machine.raw_text("."), _WORD) for machine in machines)
    return tuple(sorted(found - {""}))


def nominal_mhz(capabilities: Node | None, cpu_model: str) -> int:
    """The clock the processor is sold with; 0 when nothing tells.

    virNodeGetInfo reads the speed of this very moment from /proc/cpuinfo, which would differ at each poll.
    """
    named = _NOMINAL.search(cpu_model)
    if named:
        return round(float(named[1]) * 1000)
    counter = capabilities.get("frequency", path="host/cpu/counter[@name='tsc']", limit=_WORD) if capabilities else ""
    return min((whole(counter) + 500_000) // 1_000_000, _FASTEST_MHZ)


def _cells(capabilities: Node) -> Iterator[Node]:
    return capabilities.all("host/topology/cells/cell", most=MOST_CELLS)


def _cpus(cell: Node) -> Iterator[Node]:
    return cell.all("cpus/cpu", most=MOST_CPUS)
