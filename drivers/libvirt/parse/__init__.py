"""From libvirt's answers to facts. Pure; trusts nothing: whatever a host sends becomes bounded values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from drivers.libvirt.parse.bridges import bare_bridges
from drivers.libvirt.parse.guest import guest_fact, state_fact
from drivers.libvirt.parse.host import host_fact, host_load_fact, host_ref, initiators, made_bridges
from drivers.libvirt.parse.network import guest_devices, switch_fact
from drivers.libvirt.parse.storage import datastore_fact
from drivers.libvirt.raw import RawInventory, RawReading
from drivers.types import Snapshot, StateReading

T = TypeVar("T")


def snapshot_of(raw: RawInventory) -> Snapshot:
    """The inventory's facts. A guest whose description cannot be read is still there, with what is known."""
    ref = host_ref(raw.host.capabilities_xml, raw.host.hostname)
    guests = tuple(guest_fact(guest, ref) for guest in raw.guests)
    taps = guest_devices(guests)
    networks = _known(switch_fact(network, ref, taps) for network in raw.networks)
    host = host_fact(raw.host, taps | made_bridges(networks), initiators(raw.pools))
    return Snapshot(
        read_started_at=raw.read_started_at,
        complete=raw.complete,
        hosts=(host,),
        guests=guests,
        datastores=_known(datastore_fact(pool, host.ref, host.hardware.adapters) for pool in raw.pools),
        switches=networks + bare_bridges(guests, networks, raw.bridges, host.ref, taps),
    )


def reading_of(raw: RawReading, host_ref: str) -> StateReading:
    return StateReading(
        read_started_at=raw.read_started_at,
        complete=True,
        guests=tuple(state_fact(guest, host_ref, with_load=not raw.bare) for guest in raw.guests),
        hosts=(host_load_fact(raw.host, host_ref),),
    )


def _known(facts: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(fact for fact in facts if fact is not None)
