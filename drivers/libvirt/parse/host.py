"""Hosts."""

from __future__ import annotations

import uuid as uuids

from drivers.libvirt.parse.common import KIB, LONGEST_NAME, MIB, clean_uuid, try_xml
from drivers.libvirt.raw import RawHost
from drivers.libvirt.text import clean, whole
from drivers.types import HostFact, HostLoadFact

MOST_VCPUS = 65_535


def host_ref(capabilities_xml: str, hostname: str) -> str:
    """The host's UUID; for a driver that has none (libvirt's own test driver), one made from its name."""
    node = try_xml(capabilities_xml)
    found = clean_uuid(node.text("host/uuid")) if node else ""
    return found or str(uuids.uuid5(uuids.NAMESPACE_DNS, clean(hostname, LONGEST_NAME)))


def host_fact(raw: RawHost) -> HostFact:
    capabilities = try_xml(raw.capabilities_xml)
    system = try_xml(raw.sysinfo_xml)
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
