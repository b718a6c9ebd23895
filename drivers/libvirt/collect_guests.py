"""Asks a host for its guests.

Round trips: a few for the host, then one for a guest's description, one more for the ARP table when the guest runs
and nothing better tells its addresses, and for guests with snapshots two and one for each snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt

from drivers.errors import AuthFailed, Busy, NotFound, NotSupported, Rejected
from drivers.libvirt.agents import Agents, address_pairs
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.reader import Reader

STATE = libvirt.VIR_DOMAIN_STATS_STATE
STATE_AND_LOAD = (
    STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
# Without it one incoming migration was seen to block a poll for 30.8 s.
NO_WAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
MOST_GUESTS = 20_000
MOST_SNAPSHOTS = 500  # of one guest
MOST_SNAPSHOTS_OF_A_HOST = 20_000
MOST_MACS = 64
_MAC = re.compile(r"<mac address=['\"]([0-9a-fA-F:]{17})['\"]")
_AGENT = re.compile(r"name=['\"]org\.qemu\.guest_agent\.\d+['\"]\s+state=['\"]connected['\"]")
_INNER_GUEST = re.compile(r"<(?:domain|inactiveDomain)[\s>]")
_INNER_GUESTS_END = ("</domain>", "</inactiveDomain>")
LONGEST_SNAPSHOT = 256 * 1024  # a name, notes and a line for each of 512 disks fit well

Stats = dict[str, int | str]


def all_stats(connection: Connection, groups: int = STATE_AND_LOAD) -> list[tuple[str, str, Stats]]:
    """State and load of every guest, as (UUID, name, figures): one round trip.

    Xen's and LXC's drivers have no such call; there it takes two a guest.
    """
    try:
        records = connection.call(connection.raw.getAllDomainStats, groups, NO_WAIT)
    except NotSupported:
        domains = connection.call(connection.raw.listAllDomains, 0)[:MOST_GUESTS]
        return [(domain.UUIDString(), domain.name(), _stats_of(connection, domain)) for domain in domains]
    return [(domain.UUIDString(), domain.name(), values) for domain, values in records[:MOST_GUESTS]]


def _stats_of(connection: Connection, domain: Any) -> Stats:
    with suppress(NotFound, NotSupported, Rejected, Busy):
        state, reason = connection.call(domain.state)
        _state, _most, memory_kib, _vcpus, cpu_time = connection.call(domain.info)
        return {"state.state": state, "state.reason": reason, "cpu.time": cpu_time, "balloon.rss": memory_kib}
    return {}


@dataclass(frozen=True, slots=True)
class _Described:
    """A guest with its description."""

    domain: Any
    uuid: str
    xml: str

    @property
    def runs(self) -> bool:
        return bool(self.domain.ID() >= 0)  # known from the list: no round trip


class GuestCollector:
    """One pass over a host's guests. `leases` are IP addresses by MAC address."""

    def __init__(self, reader: Reader, leases: Mapping[str, Sequence[str]], agents: Agents | None) -> None:
        self._reader = reader
        self._leases = leases
        self._agents = agents
        self._snapshots_left = MOST_SNAPSHOTS_OF_A_HOST

    def read(self) -> tuple[RawGuest, ...]:
        stats = {uuid: values for uuid, _name, values in all_stats(self._reader.connection)}
        described = self._described()
        asked = self._ask_agents(described)  # they answer while we read on
        autostart = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        persistent = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        with_snapshots = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
        snapshots = {guest.uuid: self._snapshots(guest) for guest in described if guest.uuid in with_snapshots}
        agents = self._agents.answers() if self._agents and asked else {}
        found = []
        for guest in described:
            count, current, texts = snapshots.get(guest.uuid, (0, "", ()))
            agent = agents.get(guest.uuid)
            leases = self._leased(guest)
            raw = RawGuest(
                uuid=guest.uuid,
                name=guest.domain.name(),
                xml=guest.xml,
                stats=stats.get(guest.uuid, {}),
                autostart=guest.uuid in autostart,
                persistent=guest.uuid in persistent,
                snapshot_count=count,
                current_snapshot=current,
                snapshots=texts,
                leases=leases,
                arp=self._by_arp(guest) if not leases and not (agent and agent.addresses) else (),
                agent=agent,
            )
            found.append(raw)
        return tuple(found)

    def _described(self) -> list[_Described]:
        domains = self._reader.call(self._reader.raw.listAllDomains, 0)
        self._reader.complete &= len(domains) <= MOST_GUESTS
        read = ((domain, self._reader.read(domain.XMLDesc, 0)) for domain in domains[:MOST_GUESTS])
        return [_Described(domain, domain.UUIDString(), xml) for domain, xml in read if xml is not None]

    def _marked(self, flag: int) -> frozenset[str]:
        """The UUIDs of the guests with a property, in one round trip."""
        return frozenset(domain.UUIDString() for domain in self._reader.call(self._reader.raw.listAllDomains, flag))

    def _ask_agents(self, guests: Sequence[_Described]) -> bool:
        if self._agents is None:
            return False
        return self._agents.start({g.uuid: g.domain.ID() for g in guests if g.runs and _AGENT.search(g.xml)})

    def _snapshots(self, guest: _Described) -> tuple[int, str, tuple[str, ...]]:
        """How many there are, the current one's name, and their descriptions."""
        listed = self._reader.read(guest.domain.listAllSnapshots, 0) or []
        wanted = sorted(listed, key=lambda one: str(one.getName()))[: min(MOST_SNAPSHOTS, self._snapshots_left)]
        self._snapshots_left -= len(wanted)
        texts = (str(self._reader.read(one.getXMLDesc, 0) or "") for one in wanted)
        current = self._reader.read(guest.domain.snapshotCurrent, 0) if wanted else None
        name = str(current.getName()) if current is not None else ""
        return len(listed), name, tuple(text for text in map(_without_guest, texts) if text)

    def _leased(self, guest: _Described) -> tuple[tuple[str, str], ...]:
        return tuple((mac, ip) for mac in _macs(guest.xml) for ip in self._leases.get(mac.lower(), ()))

    def _by_arp(self, guest: _Described) -> tuple[tuple[str, str], ...]:
        if not guest.runs or not _macs(guest.xml):
            return ()
        with suppress(NotSupported, Rejected, NotFound, Busy, AuthFailed):
            source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP
            return address_pairs(self._reader.call(guest.domain.interfaceAddresses, source))
        return ()


def _without_guest(text: str) -> str:
    """A snapshot's description without the guest as it was then: up to 100 KB each, of no use here."""
    start = _INNER_GUEST.search(text)
    end = max((text.rfind(tag) + len(tag) for tag in _INNER_GUESTS_END if tag in text), default=0)
    rest = text[: start.start()] + text[end:] if start and end > start.start() else text
    return rest if len(rest) <= LONGEST_SNAPSHOT else ""


def _macs(xml: str) -> list[str]:
    return _MAC.findall(xml[:1_000_000])[:MOST_MACS]
