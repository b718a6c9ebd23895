"""Guests."""

from __future__ import annotations

from drivers.libvirt import states
from drivers.libvirt.parse.agent import agent_fact
from drivers.libvirt.parse.common import KIB, LONGEST_NAME, clean_uuid, try_xml
from drivers.libvirt.parse.devices import passed_through
from drivers.libvirt.parse.disks import MOST_STATS, disk_fact
from drivers.libvirt.parse.hardware import firmware_of, guest_hardware
from drivers.libvirt.parse.host import MOST_VCPUS
from drivers.libvirt.parse.nics import known_addresses, nic_fact
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.text import clean, clean_notes, whole
from drivers.libvirt.xml import Node, read_xml
from drivers.types import GuestFact, GuestLoadFact, GuestState, GuestStateFact

LONGEST_NOTES = 10_000


def guest_fact(raw: RawGuest, host: str) -> GuestFact:
    node = try_xml(raw.xml) or read_xml("<domain/>")
    state, reason = _state(raw)
    uuid = clean_uuid(raw.uuid)
    known = known_addresses(raw)
    disks = tuple(disk_fact(disk, raw.stats) for disk in node.all("devices/disk"))
    nics = tuple(nic_fact(nic, known) for nic in node.all("devices/interface"))
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
        firmware=firmware_of(node),
        cpu_mode=_cpu_mode(node),
        snapshot_count=whole(raw.snapshot_count, largest=100_000),
        passthrough=tuple(passed_through(node)),
        disks=disks,
        nics=nics,
        hardware=guest_hardware(raw, node, disks, nics),
        agent=agent_fact(raw.agent),
    )


def _state(raw: RawGuest) -> tuple[GuestState, str]:
    code, reason = whole(raw.stats.get("state.state", 0)), whole(raw.stats.get("state.reason", 0))
    return states.state_of(code), states.reason_of(code, reason)


def _cpu_mode(node: Node) -> str:
    model = node.text("cpu/model", limit=64)
    mode = node.get("mode", path="cpu", limit=32) or ("custom" if model else "")
    return f"{mode}: {model}" if mode == "custom" and model else mode


def state_fact(raw: RawGuest, host: str, *, with_load: bool = True) -> GuestStateFact:
    state, reason = _state(raw)
    uuid = clean_uuid(raw.uuid)
    return GuestStateFact(
        ref=uuid,
        host_ref=host,
        uuid=uuid,
        name=clean(raw.name, LONGEST_NAME) or uuid,
        state=state,
        state_reason=reason,
        load=_load(raw.stats) if with_load and state in {GuestState.RUNNING, GuestState.PAUSED} else None,
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
        memory_bytes=whole(stats.get("balloon.current", 0), scale=KIB),
        disk_reads=_total(stats, "block", "rd.reqs"),
        disk_writes=_total(stats, "block", "wr.reqs"),
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
