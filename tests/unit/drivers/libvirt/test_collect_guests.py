"""How a host is asked for its guests: libvirt's own test driver answers, and hosts that lack a call."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from drivers.errors import NotFound, NotSupported
from drivers.libvirt import collect_guests
from drivers.libvirt.collect_guests import GuestCollector, all_stats
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.guest import guest_fact
from drivers.libvirt.raw import RawAgent, RawGuest
from drivers.libvirt.reader import Reader
from drivers.types import Endpoint, Transport

SNAPSHOT = "<domainsnapshot><name>{}</name><description>&lt;/domain&gt;</description></domainsnapshot>"


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    connection = Connection(Endpoint(kind="libvirt", transport=Transport.TEST, uri="test:///default"))
    yield connection
    for domain in connection.raw.listAllDomains():
        for snapshot in domain.listAllSnapshots():
            snapshot.delete(0)
    connection.close()


@pytest.fixture
def calls(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The round trips, by method."""
    counted: Counter[str] = Counter()
    call = connection.call

    def count(method: Any, *args: Any) -> Any:
        counted[method.__name__] += 1
        return call(method, *args)

    monkeypatch.setattr(connection, "call", count)
    return counted


def collect(connection: Connection, leases: dict[str, list[str]] | None = None, agents: Any = None) -> RawGuest:
    reader = Reader(connection)
    (guest,) = GuestCollector(reader, leases or {}, agents).read()
    assert reader.complete
    return guest


def test_a_running_guest_costs_two_round_trips(connection: Connection, calls: Counter[str]) -> None:
    guest = collect(connection)
    assert guest.arp == (("aa:bb:cc:dd:ee:ff", "192.168.122.3"),)
    assert calls == {"getAllDomainStats": 1, "listAllDomains": 4, "XMLDesc": 1, "interfaceAddresses": 1}


def test_a_guest_with_a_lease_costs_one(connection: Connection, calls: Counter[str]) -> None:
    guest = collect(connection, {"aa:bb:cc:dd:ee:ff": ["192.0.2.7"]})
    assert (guest.leases, guest.arp) == ((("aa:bb:cc:dd:ee:ff", "192.0.2.7"),), ())
    assert calls["interfaceAddresses"] == 0


def test_snapshots_come_without_the_guest_in_them(connection: Connection, calls: Counter[str]) -> None:
    domain = connection.raw.lookupByName("test")
    for name in ("first", "second"):
        domain.snapshotCreateXML(SNAPSHOT.format(name), 0)
    guest = collect(connection)
    assert (guest.snapshot_count, guest.current_snapshot, len(guest.snapshots)) == (2, "second", 2)
    assert not any("<domain " in text or "<domain>" in text or "<devices>" in text for text in guest.snapshots)
    assert (calls["listAllSnapshots"], calls["getXMLDesc"], calls["snapshotCurrent"]) == (1, 2, 1)
    assert [(s.name, s.parent, s.current) for s in guest_fact(guest, "h").hardware.snapshots] == [
        ("first", "", False),
        ("second", "first", True),
    ]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "<s><name>a</name><domain type='kvm'><a/></domain><inactiveDomain><b/></inactiveDomain>\n</s>",
            "<s><name>a</name>\n</s>",
        ),
        ("<s><domain>", "<s><domain>"),
        ("</domain><domain>", "</domain><domain>"),
        ("<domains/></domain>", "<domains/></domain>"),
        ("<domain>" * 500_000, ""),
        ("", ""),
    ],
)
def test_the_guest_inside_a_snapshot_is_cut_out(said: str, kept: str) -> None:
    assert collect_guests._without_guest(said) == kept


def test_the_snapshots_of_a_host_are_bounded(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_guests, "MOST_SNAPSHOTS_OF_A_HOST", 1)
    domain = connection.raw.lookupByName("test")
    for name in ("b", "a"):
        domain.snapshotCreateXML(SNAPSHOT.format(name), 0)
    guest = collect(connection)
    assert (guest.snapshot_count, len(guest.snapshots)) == (2, 1), "counted, but not all described"
    assert "<name>a</name>" in guest.snapshots[0]


def test_a_snapshot_that_vanishes_meanwhile_is_not_there(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.raw.lookupByName("test").snapshotCreateXML(SNAPSHOT.format("gone"), 0)

    def vanish(_snapshot: Any, _flags: int) -> str:
        error = libvirt.libvirtError("")
        error.err = (libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT, libvirt.VIR_FROM_DOMAIN_SNAPSHOT, "", 2, "", "", "", 0, 0)
        raise error

    monkeypatch.setattr(libvirt.virDomainSnapshot, "getXMLDesc", vanish)
    assert collect(connection).snapshots == ()


class Asked:
    """Stands in for the agents; remembers who was to be asked."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}

    def start(self, runs: dict[str, int]) -> bool:
        self.runs = runs
        return bool(runs)

    def answers(self) -> dict[str, RawAgent]:
        return dict.fromkeys(self.runs, RawAgent({}, (("aa:bb:cc:dd:ee:ff", "192.0.2.9"),)))


@pytest.mark.parametrize(
    ("state", "is_asked"), [(" state='connected'", True), (" state='disconnected'", False), ("", False)]
)
def test_only_connected_agents_are_asked(
    connection: Connection, calls: Counter[str], monkeypatch: pytest.MonkeyPatch, state: str, is_asked: bool
) -> None:
    channel = f"<channel><target type='virtio' name='org.qemu.guest_agent.0'{state}/></channel>"
    describe = libvirt.virDomain.XMLDesc

    def with_channel(domain: Any, flags: int) -> str:
        return str(describe(domain, flags)).replace("</devices>", channel + "</devices>")

    with_channel.__name__ = "XMLDesc"
    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", with_channel)
    asked = Asked()
    guest = collect(connection, agents=asked)
    assert (guest.agent is not None, bool(guest.arp)) == (is_asked, not is_asked), "the agent spares the ARP table"
    assert asked.runs == ({guest.uuid: 1} if is_asked else {})


class Container:
    """A guest of a driver without bulk figures."""

    def __init__(self, name: str) -> None:
        self._name = name

    def UUIDString(self) -> str:
        return f"uuid of {self._name}"

    def name(self) -> str:
        return self._name

    def state(self) -> list[int]:
        if self._name == "gone":
            raise NotFound("gone")
        return [1, 1]

    def info(self) -> list[int]:
        return [1, 327680, 4096, 1, 77]


class Lxc:
    """A connection to such a driver."""

    raw: "Lxc"

    def __init__(self) -> None:
        self.raw = self

    def call(self, method: Any, *args: Any) -> Any:
        return method(*args)

    def getAllDomainStats(self, _stats: int, _flags: int) -> None:
        raise NotSupported("not with LXC")

    def listAllDomains(self, _flags: int) -> list[Container]:
        return [Container("web"), Container("gone")]


def test_a_driver_without_bulk_figures_is_asked_guest_by_guest() -> None:
    assert all_stats(Lxc()) == [  # type: ignore[arg-type]
        ("uuid of web", "web", {"state.state": 1, "state.reason": 1, "cpu.time": 77, "balloon.rss": 4096}),
        ("uuid of gone", "gone", {}),
    ]
