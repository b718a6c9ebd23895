"""What libvirt says becomes facts; what a hostile host says becomes bounded facts."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.isolation.wire import pack, unpack
from drivers.libvirt import parse
from drivers.libvirt.raw import RawGuest, RawHost, RawInventory, RawNetwork, RawPool, RawReading
from drivers.types import GuestState, Snapshot

NOW = datetime(2026, 1, 2, tzinfo=UTC)
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
HOST = RawHost("kvm-01", "QEMU", 7002022, 9000000, ("x86_64", 1024, 64, 2450, 2, 1, 16, 2))


def test_load() -> None:
    stats: dict[str, int | str] = {
        "state.state": 1,
        "cpu.time": 5,
        "balloon.available": 1000,
        "balloon.usable": 400,
        "balloon.rss": 9,
        "block.count": 2,
        "block.0.rd.bytes": 1,
        "block.1.rd.bytes": 2,
        "block.0.wr.bytes": 3,
        "net.count": 1,
        "net.0.rx.bytes": 7,
        "net.0.tx.bytes": 8,
    }
    raw = RawHost("", "", 0, 0, HOST.node, cpu_ns={"user": 1, "kernel": 2, "idle": 3, "iowait": 4})
    reading = parse.reading_of(RawReading(NOW, raw, (RawGuest(UUID, "a", stats=stats), RawGuest(UUID, "b"))), "host-1")
    (running, unknown), (host,) = reading.guests, reading.hosts
    assert running.load is not None
    assert (running.load.cpu_time_ns, running.load.memory_used_bytes) == (5, 600 * 1024)
    assert (running.load.disk_read_bytes, running.load.disk_written_bytes) == (3, 3)
    assert (running.load.net_received_bytes, running.load.net_sent_bytes) == (7, 8)
    assert (unknown.state, unknown.load) == (GuestState.UNKNOWN, None)
    assert (host.cpu_busy_ns, host.cpu_total_ns) == (3, 10)


# A hostile hypervisor


TEXT = st.text(st.characters(codec=None), max_size=40)
NUMBERS = st.one_of(st.integers(), TEXT)


@settings(max_examples=200, deadline=None)
@given(name=TEXT, inner=TEXT, attribute=TEXT, number=NUMBERS)
def test_whatever_comes_can_be_sent_on(name: str, inner: str, attribute: str, number: int | str) -> None:
    """Facts must fit the message format: valid text, 64-bit numbers."""
    xml = (
        f"<domain><title>{inner}</title><memory unit='TiB'>{number}</memory><vcpu current='{attribute}'>{number}</vcpu>"
        f"<devices><disk type='{attribute}'><source file='{inner}'/><target dev='{attribute}'/></disk>"
        f"<interface type='{attribute}'><mac address='{inner}'/></interface></devices></domain>"
    )
    stats = dict.fromkeys(("state.state", "state.reason", "cpu.time", "block.count", "net.count"), number)
    raw = RawGuest(UUID, name, xml=xml, stats=stats, snapshot_count=0, addresses=((attribute, inner),))
    inventory = RawInventory(NOW, True, HOST, (raw,), (RawPool(xml, True, True),), (RawNetwork(xml, True, True, xml),))
    snapshot = parse.snapshot_of(inventory)
    assert unpack(pack(snapshot), Snapshot) == snapshot
