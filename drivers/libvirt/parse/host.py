"""Hosts."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable

from drivers.libvirt.parse.capabilities import (
    Topology,
    cpu_flags,
    cpu_model,
    guest_kinds,
    hugepages,
    iommu,
    machine_types,
    nominal_mhz,
    numa,
    security_models,
    topology,
    virtualization,
)
from drivers.libvirt.parse.common import KIB, LONGEST_NAME, MIB, clean_uuid, try_xml
from drivers.libvirt.parse.nodedevs import devices
from drivers.libvirt.parse.sysinfo import Firmware, firmware
from drivers.libvirt.raw import RawHost, RawPool
from drivers.libvirt.text import clean, whole
from drivers.libvirt.xml import Node, read_xml
from drivers.types import HostBusAdapterFact, HostFact, HostHardware, HostLoadFact, SwitchFact, SwitchKind

MOST_VCPUS = 65_535
_WITH_A_BRIDGE_OF_ITS_OWN = frozenset({SwitchKind.NAT, SwitchKind.ROUTED, SwitchKind.ISOLATED, SwitchKind.OPEN})


def host_ref(capabilities_xml: str, hostname: str) -> str:
    """The host's UUID; for a driver that has none (libvirt's own test driver), one made from its name."""
    return _ref(try_xml(capabilities_xml), hostname)


def _ref(capabilities: Node | None, hostname: str) -> str:
    found = clean_uuid(capabilities.text("host/uuid")) if capabilities else ""
    return found or str(uuids.uuid5(uuids.NAMESPACE_DNS, clean(hostname, LONGEST_NAME)))


def host_fact(raw: RawHost, made: frozenset[str] = frozenset(), iqns: tuple[str, ...] = ()) -> HostFact:
    """`made` names the network interfaces that libvirt made; `iqns` those with which the host signs in to storage."""
    capabilities = try_xml(raw.capabilities_xml) or read_xml("<capabilities/>")
    box = firmware(raw.sysinfo_xml)
    ref = _ref(capabilities, raw.hostname)
    architecture, _memory, _threads, mhz = (*raw.node, *[0] * 4)[:4]
    size = topology(capabilities) or _topology_of_node(raw.node)
    return HostFact(
        ref=ref,
        uuid=ref,
        name=clean(raw.hostname, LONGEST_NAME),
        hypervisor=clean(raw.hypervisor, LONGEST_NAME),
        hypervisor_version=version_of(raw.hypervisor_version),
        manager_version=version_of(raw.library_version),
        vendor=box.vendor,
        model=box.model,
        cpu_model=box.cpu_model or cpu_model(capabilities),
        cpu_sockets=min(size.sockets, MOST_VCPUS),
        cpu_cores=min(size.cores, MOST_VCPUS),
        cpu_threads=min(size.threads, MOST_VCPUS),
        cpu_mhz=nominal_mhz(capabilities, box.cpu_model) or whole(mhz, largest=1_000_000),
        memory_bytes=_host_memory(raw),
        architecture=clean(str(architecture), 32),
        hardware=_hardware(raw, capabilities, box, made, iqns),
    )


def made_bridges(switches: Iterable[SwitchFact]) -> frozenset[str]:
    """The bridges that libvirt makes for its networks. One of the host's own is only used."""
    return frozenset(switch.bridge for switch in switches if switch.bridge and switch.kind in _WITH_A_BRIDGE_OF_ITS_OWN)


def initiators(pools: Iterable[RawPool]) -> tuple[str, ...]:
    """The names under which a host signs in to its iSCSI pools' targets."""
    nodes = (try_xml(pool.xml) for pool in pools if "<initiator" in pool.xml)
    return tuple(sorted({node.get("name", path="source/initiator/iqn") for node in nodes if node} - {""}))


def _topology_of_node(node: tuple[str | int, ...]) -> Topology:
    """virNodeGetInfo's product, for a host that does not list its CPUs; its sockets are those of one NUMA cell."""
    _architecture, _memory, threads, _mhz, cells, sockets, cores, _per_core = (*node, *[0] * 8)[:8]
    count = max(1, whole(cells) * whole(sockets))
    return Topology(count, count * max(1, whole(cores)), whole(threads))


def _hardware(
    raw: RawHost, capabilities: Node, box: Firmware, made: frozenset[str], iqns: tuple[str, ...]
) -> HostHardware:
    found = devices(raw.devices, raw.interfaces, made)
    flags = cpu_flags(capabilities, raw.cpu_xml)
    cpu_vendor = capabilities.text("host/cpu/vendor", limit=64) or box.cpu_vendor
    virtual = virtualization(capabilities, flags, cpu_vendor)
    architecture = capabilities.text("host/cpu/arch", limit=32) or clean(str((*raw.node, "")[0]), 32)
    grouped = any(device.iommu_group is not None for device in found.pci)
    told = iommu(capabilities)
    return HostHardware(
        white_box=box.white_box,
        serial=box.serial,
        board=box.board,
        bios_version=box.bios_version,
        bios_date=box.bios_date,
        cpu_vendor=cpu_vendor,
        cpu_flags=flags,
        virtualization=virtual.name,
        virtualization_enabled=virtual.enabled,
        iommu=(grouped or None) if told is None else told,
        security_models=security_models(capabilities),
        guest_kinds=guest_kinds(capabilities),
        machine_types=machine_types(capabilities, architecture),
        numa=numa(capabilities, _host_memory(raw) if raw.memory_kib else 0),
        hugepages=hugepages(capabilities),
        nics=found.nics,
        adapters=found.adapters + tuple(HostBusAdapterFact(name=iqn, kind="iscsi", iqn=iqn) for iqn in iqns),
        pci=found.pci,
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
