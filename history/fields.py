"""For each field of every fact: what history keeps of it. A test fails for a field that is not here.

Revisioned: what an object is made of; a change of it writes a revision. State: how and where it is at the moment; a
guest's changes are its stays. Volatile: what moves while nobody does anything; the daily readings keep what a report
about the past asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from drivers.types import (
    AgentFact,
    ConsoleFact,
    DatastoreFact,
    DeviceFact,
    DiskFact,
    DisplayFact,
    Fact,
    FileSystemFact,
    GuestFact,
    GuestHardware,
    GuestLoadFact,
    GuestSnapshotFact,
    GuestStateFact,
    HostBusAdapterFact,
    HostFact,
    HostHardware,
    HostLoadFact,
    HostNicFact,
    HugepagesFact,
    ImageFact,
    NicFact,
    NumaCellFact,
    PciFact,
    PortGroupFact,
    SwitchFact,
    VolumeFact,
)


class Keep(Enum):
    REVISIONED = "revisioned"
    STATE = "state"
    VOLATILE = "volatile"


def _fields(*, revisioned: str = "", state: str = "", volatile: str = "") -> dict[str, Keep]:
    words = ((Keep.REVISIONED, revisioned), (Keep.STATE, state), (Keep.VOLATILE, volatile))
    return {name: keep for keep, names in words for name in names.split()}


KEPT: dict[type[Fact], dict[str, Keep]] = {
    GuestFact: _fields(
        revisioned="uuid name title notes vcpus memory_bytes autostart persistent architecture machine firmware "
        "cpu_mode snapshot_count passthrough disks nics hardware agent",
        state="ref host_ref state state_reason",
    ),
    GuestHardware: _fields(
        revisioned="cpu_sockets cpu_cores cpu_threads most_vcpus most_memory_bytes cpu_features features cpu_shares "
        "hugepages numa_cells balloon secure_boot tpm os os_type init boot metadata displays consoles devices snapshots"
    ),
    DiskFact: _fields(
        revisioned="target device bus source source_type format cache read_only shareable capacity_bytes serial wwn io "
        "discard boot_order servers backing encrypted"
    ),
    ImageFact: _fields(revisioned="source source_type format"),
    NicFact: _fields(
        revisioned="mac model kind network bridge link_up port_group virtual_port vlans native_vlan mtu boot_order",
        state="addresses",
        volatile="addresses_from device",  # who told last; the host's end is made anew at each start
    ),
    # Ports and terminals are given out anew at each start.
    DisplayFact: _fields(revisioned="kind address", volatile="port tls_port socket"),
    ConsoleFact: _fields(revisioned="kind target backend", volatile="source connected"),
    DeviceFact: _fields(revisioned="kind model detail count"),
    GuestSnapshotFact: _fields(revisioned="name parent created_at state notes current memory external"),
    # What is mounted inside comes and goes with every container a guest runs.
    AgentFact: _fields(revisioned="hostname os os_id kernel time_zone", volatile="file_systems"),
    FileSystemFact: _fields(volatile="mount kind devices total_bytes"),
    HostFact: _fields(
        revisioned="uuid name hypervisor hypervisor_version manager_version vendor model cpu_model cpu_sockets "
        "cpu_cores cpu_threads cpu_mhz memory_bytes architecture hardware",
        state="ref",
    ),
    HostHardware: _fields(
        revisioned="white_box serial board bios_version bios_date cpu_vendor cpu_flags virtualization "
        "virtualization_enabled iommu security_models guest_kinds machine_types numa hugepages nics adapters pci"
    ),
    NumaCellFact: _fields(revisioned="number memory_bytes cpus distances"),
    HugepagesFact: _fields(revisioned="page_bytes count"),
    # A bridge's link goes up with the first guest on it.
    HostNicFact: _fields(
        revisioned="name mac kind pci_address ports vlan physical_function", volatile="link_up speed_mbps"
    ),
    HostBusAdapterFact: _fields(revisioned="name kind pci_address wwnn wwpn fabric_wwn virtual_ports iqn"),
    PciFact: _fields(
        revisioned="address device_class vendor product driver numa_cell iommu_group virtual_functions "
        "most_virtual_functions physical_function mediated_types"
    ),
    # The capacity of a directory on ZFS or Btrfs moves with its neighbors.
    DatastoreFact: _fields(
        revisioned="uuid name technology storage_class path source active autostart kind format servers devices "
        "adapter initiator",
        state="ref host_ref",
        volatile="capacity_bytes available_bytes volumes volumes_cut",
    ),
    VolumeFact: _fields(volatile="key name path kind format capacity_bytes allocated_bytes backing"),
    SwitchFact: _fields(
        revisioned="uuid name kind bridge active autostart uplinks virtual_port vlans native_vlan port_groups "
        "addresses dhcp domain mtu managed mode trunk dhcp_hosts",
        state="ref host_ref",
    ),
    PortGroupFact: _fields(revisioned="name default vlans native_vlan virtual_port trunk"),
    GuestStateFact: _fields(state="ref host_ref uuid name state state_reason", volatile="load"),
    GuestLoadFact: _fields(
        volatile="cpu_time_ns memory_used_bytes disk_read_bytes disk_written_bytes net_received_bytes net_sent_bytes "
        "memory_bytes disk_reads disk_writes"
    ),
    HostLoadFact: _fields(volatile="ref cpu_busy_ns cpu_total_ns memory_used_bytes memory_bytes"),
}

Record = Callable[[Any], Any]


def revisioned(kind: type[Fact]) -> tuple[str, ...]:
    return tuple(name for name, keep in KEPT[kind].items() if keep is Keep.REVISIONED)


@cache
def record_of(kind: type[Fact], *without: str) -> Record:
    """What makes of a fact its revisioned fields, in a form that is encoded without what is empty.

    A fact all of whose fields are revisioned is its own record.
    """
    names = tuple(name for name in revisioned(kind) if name not in without)
    hints = get_type_hints(kind)
    inner = {name: make for name in names if (make := _inner_record(hints[name])) is not None}
    if not inner and len(names) == len(kind.__struct_fields__):
        return _itself
    fields = [(name, Any, _EMPTY.get(get_origin(hints[name]) or hints[name])) for name in names]
    shape = msgspec.defstruct(f"{kind.__name__}Record", fields, frozen=True, gc=False, omit_defaults=True)
    values_of = attrgetter(*names)
    if not inner:
        return lambda fact: shape(*values_of(fact))
    plan = [(position, inner[name]) for position, name in enumerate(names) if name in inner]

    def record(fact: Any) -> Any:
        values = list(values_of(fact))
        for position, make in plan:
            values[position] = make(values[position])
        return shape(*values)

    return record


# By type, what a record leaves out. Anything else is left out when it is none.
_EMPTY: dict[Any, Any] = {str: "", tuple: (), bool: False, int: 0}


def _itself(fact: Any) -> Any:
    return fact


def _inner_record(hint: Any) -> Record | None:
    """For a field that holds facts, or several, how each becomes its record; none when they are that already."""
    kinds = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and issubclass(one, Fact)]
    if not kinds:
        return None
    make = record_of(kinds[0])
    if make is _itself:
        return None
    if get_origin(hint) is tuple:
        return lambda facts: tuple(map(make, facts))
    return lambda fact: None if fact is None else make(fact)
