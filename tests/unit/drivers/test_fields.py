"""Every field of every fact is exercised by some recording or fixture: a field nobody fills cannot stay unnoticed."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.libvirt import parse
from drivers.libvirt.jobs import JobReading
from drivers.libvirt.migrate import progress_of
from drivers.libvirt.raw import RawAgent, RawBridge, RawGuest, RawHost, RawInventory, RawNetwork, RawPool, RawVolume
from drivers.types import (
    AgentFact,
    ConsoleFact,
    DatastoreFact,
    DeviceFact,
    DiskFact,
    DisplayFact,
    FileSystemFact,
    GuestFact,
    GuestHardware,
    GuestLoadFact,
    GuestSnapshotFact,
    GuestState,
    GuestStateFact,
    HostBusAdapterFact,
    HostFact,
    HostHardware,
    HostLoadFact,
    HostNicFact,
    HugepagesFact,
    ImageFact,
    MigrationPhase,
    MigrationProgress,
    NicFact,
    NumaCellFact,
    PciFact,
    PortGroupFact,
    Snapshot,
    StateReading,
    StorageClass,
    SwitchFact,
    SwitchKind,
    Technology,
    VolumeFact,
)
from tests.unit.drivers.pieces import pieces
from tests.unit.drivers.record import Recording

FIXTURES = Path(__file__).parent / "fixtures"
FACTS = (
    HostFact,
    HostHardware,
    NumaCellFact,
    HugepagesFact,
    HostNicFact,
    HostBusAdapterFact,
    PciFact,
    GuestFact,
    DiskFact,
    NicFact,
    AgentFact,
    ConsoleFact,
    DeviceFact,
    DisplayFact,
    FileSystemFact,
    GuestHardware,
    GuestSnapshotFact,
    ImageFact,
    DatastoreFact,
    VolumeFact,
    SwitchFact,
    PortGroupFact,
    GuestStateFact,
    GuestLoadFact,
    HostLoadFact,
    Snapshot,
    StateReading,
    MigrationProgress,
)
RECORDINGS = sorted((FIXTURES / "recordings").glob("*.json"))


def texts(folder: str) -> list[str]:
    return [path.read_text() for path in sorted((FIXTURES / folder).glob("*.xml"))]


def talkative() -> RawGuest:
    """A guest with snapshots, whose agent answers."""
    info: dict[str, int | str] = dict.fromkeys(
        ("hostname", "os.pretty-name", "os.id", "os.kernel-release", "timezone.name", "fs.0.mountpoint"), "x"
    )
    info |= {"fs.count": 1, "fs.0.fstype": "ext4", "fs.0.total-bytes": 1, "fs.0.disk.count": 1}
    info["fs.0.disk.0.alias"] = "vda"
    return RawGuest(
        "00000000-0000-4000-8002-000000000000",
        "talkative",
        (FIXTURES / "guests/everything.xml").read_text(),
        leases=(("52:54:00:bb:00:01", "192.0.2.1"),),
        agent=RawAgent(info),
        snapshots=tuple(texts("guests/snapshots")),
        current_snapshot="running",
    )


def handwritten() -> Snapshot:
    stats: dict[str, int | str] = {"state.state": 1, "state.reason": 1, "block.count": 1, "block.0.name": "vda"}
    stats["block.0.capacity"] = 1
    guests = [
        RawGuest(f"00000000-0000-4000-8000-{number:012}", "g", xml, stats, True, number % 2 == 0, number)
        for number, xml in enumerate(texts("guests"))
    ]
    guests.append(talkative())
    guests += [
        RawGuest(f"00000000-0000-4000-8001-{code:012}", f"state-{code}", stats={"state.state": code})
        for code in range(8)
    ]
    host = RawHost(
        "kvm-01",
        "QEMU",
        7002022,
        9000000,
        ("x86_64", 1, 2, 3, 1, 1, 1, 1),
        (FIXTURES / "hosts/two-sockets.xml").read_text(),
        (FIXTURES / "hosts/sysinfo-white-box.xml").read_text(),
        cpu_xml=(FIXTURES / "hosts/two-sockets-cpu.xml").read_text(),
        devices=pieces("nodedevs/server.xml"),
        interfaces=pieces("nodedevs/server-interfaces.xml"),
    )
    networks = [xml for xml in texts("networks") if xml.startswith("<network")]
    volumes = tuple(RawVolume("", "", xml) for xml in texts("volumes"))
    return parse.snapshot_of(
        RawInventory(
            datetime.now(UTC),
            True,
            host,
            tuple(guests),
            tuple(RawPool(xml, bool(number), bool(number), volumes) for number, xml in enumerate(texts("pools"))),
            tuple(RawNetwork(xml, bool(number), bool(number)) for number, xml in enumerate(networks)),
            (RawBridge("br1", (FIXTURES / "networks/br1-interface.xml").read_text()),),
        )
    )


def everything() -> Iterator[Any]:
    # What a host presents by TLS is read from the connection, see tests/contract/test_tls.py.
    yield msgspec.structs.replace(handwritten(), server_certificate="x509 AAAA")
    for path in RECORDINGS:
        recording = msgspec.json.decode(path.read_bytes(), type=Recording)
        snapshot = parse.snapshot_of(recording.inventory)
        yield snapshot
        yield parse.reading_of(recording.reading, snapshot.hosts[0].ref)
    figures = dict.fromkeys(
        (
            "data_total",
            "data_processed",
            "data_remaining",
            "memory_bps",
            "memory_dirty_rate",
            "memory_iteration",
            "downtime",
            "time_elapsed",
        ),
        1,
    )
    for paused in (False, True):
        yield progress_of(JobReading(active=True, outgoing=True, figures=figures), paused_for_switch=paused)
    # How an attempt ends is shown on real hosts, in tests/contract.
    yield MigrationProgress(
        MigrationPhase.ENDED, error="%(host)s.", error_parameters=(("host", "alpha"),), cancelled=True
    )


def names_of(kind: Any) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind.__struct_fields__) if issubclass(kind, msgspec.Struct) else []


def walk(value: Any) -> Iterator[tuple[str, str, Any]]:
    """(fact, field, value) of everything inside."""
    if names_of(type(value)):
        for name in names_of(type(value)):
            inner = getattr(value, name)
            yield type(value).__name__, name, inner
            yield from walk(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from walk(inner)


@pytest.fixture(scope="module")
def seen() -> dict[tuple[str, str], set[Any]]:
    values: dict[tuple[str, str], set[Any]] = defaultdict(set)
    for root in everything():
        for fact, field, value in walk(root):
            values[fact, field].add(value)
    return values


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_every_field_is_filled_by_something(fact: Any, seen: dict[tuple[str, str], set[Any]]) -> None:
    empty = {
        name
        for name in names_of(fact)
        if not any(value not in ("", 0, None, (), False) for value in seen[fact.__name__, name])
    }
    assert empty == set()


@pytest.mark.parametrize(
    "fact",
    [
        HostNicFact,
        GuestFact,
        GuestHardware,
        GuestSnapshotFact,
        DiskFact,
        NicFact,
        DatastoreFact,
        SwitchFact,
        PortGroupFact,
    ],
    ids=lambda f: f.__name__,
)
def test_every_yes_and_no_is_seen_both_ways(fact: Any, seen: dict[tuple[str, str], set[Any]]) -> None:
    questions = [field.name for field in msgspec.structs.fields(fact) if field.type is bool]
    assert questions
    assert {name: seen[fact.__name__, name] for name in questions} == {name: {True, False} for name in questions}


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        (("GuestFact", "state"), GuestState),
        (("SwitchFact", "kind"), SwitchKind),
        (("DatastoreFact", "technology"), Technology),
        (("DatastoreFact", "storage_class"), StorageClass),
    ],
)
def test_every_kind_is_seen(place: tuple[str, str], kinds: type[Enum], seen: dict[tuple[str, str], set[Any]]) -> None:
    assert seen[place] == set(kinds)


def test_the_recordings_are_whole() -> None:
    assert RECORDINGS
    for path in RECORDINGS:
        recording = msgspec.json.decode(path.read_bytes(), type=Recording)
        snapshot = parse.snapshot_of(recording.inventory)
        assert len(snapshot.guests) == len(recording.inventory.guests) > 0
        assert all(guest.disks and guest.machine and guest.architecture for guest in snapshot.guests)
