"""What simulated hosts are built from: of plausible variety, the same for the same dice."""

from __future__ import annotations

import random

from drivers.types import (
    HostBusAdapterFact,
    HostHardware,
    HostNicFact,
    HugepagesFact,
    NumaCellFact,
    PciFact,
)

GIB = 1 << 30
CELLS = 2
FLAGS = (
    "3dnowprefetch abm adx aes apic arat avx avx2 bmi1 bmi2 clflush clflushopt clwb cmov cmp_legacy cr8legacy cx16 "
    "cx8 de erms f16c fma fpu fsgsbase fsrm fxsr fxsr_opt ibpb ibrs invpcid lahf_lm lm mca mce misalignsse mmx "
    "mmxext movbe msr mtrr nx osvw pae pat pcid pclmuldq pdpe1gb perfctr_core pge pku pni popcnt pse pse36 rdpid "
    "rdrand rdseed rdtscp sep sha-ni smap smep ssbd sse sse2 sse4.1 sse4.2 sse4a ssse3 stibp svm syscall topoext "
    "tsc umip vaes vme vpclmulqdq wbnoinvd xgetbv1 xsave xsavec xsaveerptr xsaveopt xsaves "
)
MACHINES = "microvm pc pc-i440fx-6.2 pc-i440fx-7.2 pc-q35-6.2 pc-q35-7.0 pc-q35-7.1 pc-q35-7.2 q35"
_ROOT = "0000:00:00.0"
_SATA, _NVME, _FC = "0000:00:17.0", "0000:41:00.0", "0000:d8:00.0"
_PORTS = {"eno1": "0000:3b:00.0", "eno2": "0000:3b:00.1"}


def make_hardware(dice: random.Random, *, memory_bytes: int, cpu_threads: int) -> HostHardware:
    """Two network ports in a bond below a bridge, two NUMA cells; some hosts reach a fabric, some are white boxes."""
    white_box = dice.random() < 0.25  # noqa: PLR2004 (one of four)
    has_fabric = dice.random() < 0.5  # noqa: PLR2004
    functions = dice.choice((0, 0, 2))
    digits = f"{dice.randrange(16**8):08x}"
    return HostHardware(
        white_box=white_box,
        serial="" if white_box else f"EX{digits.upper()}",
        board="Example Boards B2" if white_box else "Example Systems R1-MB",
        bios_version=f"2.{dice.randrange(20)}.{dice.randrange(10)}",
        bios_date=f"202{dice.randrange(1, 5)}-{dice.randrange(1, 13):02d}-15",
        cpu_vendor="AMD",
        cpu_flags=tuple(FLAGS.split()),
        virtualization="AMD-V",
        virtualization_enabled=True,
        iommu=not white_box,
        security_models=("apparmor", "dac"),
        guest_kinds=("i686 kvm", "i686 qemu", "x86_64 kvm", "x86_64 qemu"),
        machine_types=tuple(MACHINES.split()),
        numa=_cells(memory_bytes, cpu_threads),
        hugepages=(HugepagesFact(2 << 20, dice.choice((0, 0, 1024))), HugepagesFact(GIB, 0)),
        nics=_nics(digits, functions, both_up=dice.random() < 0.8),  # noqa: PLR2004
        adapters=_adapters(digits, has_fabric=has_fabric),
        pci=_pci(functions, has_fabric=has_fabric, has_iommu=not white_box),
    )


def _cells(memory_bytes: int, cpu_threads: int) -> tuple[NumaCellFact, ...]:
    """Each cell has its cores first, then their second threads, as Linux numbers them."""
    part = cpu_threads // (2 * CELLS)
    first, second = ([*range(n * part, (n + 1) * part)] for n in range(CELLS))
    return tuple(
        NumaCellFact(
            number=number,
            memory_bytes=memory_bytes // CELLS,
            cpus=tuple(cores + [cpu + CELLS * part for cpu in cores]),
            distances=tuple((other, 10 if other == number else 32) for other in range(CELLS)),
        )
        for number, cores in enumerate((first, second))
    )


def _nics(digits: str, functions: int, *, both_up: bool) -> tuple[HostNicFact, ...]:
    mac = f"02:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}:"
    ports = tuple(
        HostNicFact(name, f"{mac}{number:02x}", "ethernet", up, 25_000 if up else None, _PORTS[name])
        for number, (name, up) in enumerate((("eno1", True), ("eno2", both_up)))
    )
    virtual = tuple(
        HostNicFact(
            f"eno1v{number}",
            f"{mac}{16 + number:02x}",
            "vf",
            False,
            pci_address=_function(number),
            physical_function=_PORTS["eno1"],
        )
        for number in range(functions)
    )
    made = (
        HostNicFact("bond0", f"{mac}00", "bond", True, 50_000 if both_up else 25_000, ports=("eno1", "eno2")),
        HostNicFact("bond0.20", f"{mac}00", "vlan", True, ports=("bond0",), vlan=20),
        HostNicFact("br0", f"{mac}00", "bridge", True, ports=("bond0",)),
    )
    return tuple(sorted((*made, *ports, *virtual), key=lambda nic: nic.name))


def _function(number: int) -> str:
    return f"0000:3b:02.{number}"


def _adapters(digits: str, *, has_fabric: bool) -> tuple[HostBusAdapterFact, ...]:
    fibre = HostBusAdapterFact(
        name="host10",
        kind="fc",
        pci_address=_FC,
        wwnn=f"20000000{digits}",
        wwpn=f"21000000{digits}",
        fabric_wwn="1000c4f57c8d2a10",
        virtual_ports=254,
    )
    others = (HostBusAdapterFact("host0", "sata", _SATA), HostBusAdapterFact(_NVME, "nvme", _NVME))
    return (*others, fibre) if has_fabric else others


def _pci(functions: int, *, has_fabric: bool, has_iommu: bool) -> tuple[PciFact, ...]:
    network, storage = "Example Networks 25GbE", "Example Storage"
    told = [
        (_ROOT, "060000", "Advanced Micro Devices, Inc. [AMD]", "Starship/Matisse Root Complex", "", 0),
        (_SATA, "010601", storage, "SATA Controller", "ahci", 0),
        (_PORTS["eno1"], "020000", network, "Dual Port Adapter", "ice", 0),
        (_PORTS["eno2"], "020000", network, "Dual Port Adapter", "ice", 0),
        (_NVME, "010802", storage, "NVMe SSD 1.92TB", "nvme", 0),
        ("0000:c1:00.0", "030000", "ASPEED Technology", "ASPEED Graphics Family", "ast", 1),
    ]
    if has_fabric:
        told.append((_FC, "0c0400", "Example Fabrics", "32Gb Fibre Channel Adapter", "qla2xxx", 1))
    cards = [
        PciFact(
            address, kind, vendor, product, driver, cell, group if has_iommu else None, *_shared(address, functions)
        )
        for group, (address, kind, vendor, product, driver, cell) in enumerate(told)
    ]
    parts = [
        PciFact(
            address=_function(number),
            device_class="020000",
            vendor=network,
            product="Virtual Function",
            driver="iavf",
            numa_cell=0,
            iommu_group=32 + number if has_iommu else None,
            physical_function=_PORTS["eno1"],
        )
        for number in range(functions)
    ]
    return tuple(sorted(cards + parts, key=lambda card: card.address))


def _shared(address: str, functions: int) -> tuple[int, int]:
    """Virtual functions there are and may be."""
    if address not in _PORTS.values():
        return 0, 0
    return (functions if address == _PORTS["eno1"] else 0), 64
