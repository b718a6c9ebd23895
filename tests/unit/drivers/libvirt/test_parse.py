"""What libvirt says becomes facts; what a hostile host says becomes bounded facts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.isolation.wire import pack, unpack
from drivers.libvirt import parse
from drivers.libvirt.parse import guest as parse_guest
from drivers.libvirt.parse.common import LONGEST_NAME
from drivers.libvirt.parse.host import MOST_VCPUS
from drivers.libvirt.raw import RawGuest, RawHost, RawInventory, RawNetwork, RawPool, RawReading
from drivers.libvirt.text import LARGEST_NUMBER
from drivers.types import GuestFact, GuestState, NicFact, Snapshot, StorageClass, SwitchKind, Technology

FIXTURES = Path(__file__).parent.parent / "fixtures"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
HOST = RawHost("kvm-01", "QEMU", 7002022, 9000000, ("x86_64", 1024, 64, 2450, 2, 1, 16, 2))


def read(name: str) -> str:
    return (FIXTURES / name).read_text()


def guest(xml: str, **fields: object) -> GuestFact:
    return parse.guest_fact(RawGuest(**{"uuid": UUID, "name": "db-07", "xml": xml, **fields}), "host-1")  # type: ignore[arg-type]


@pytest.fixture
def rich() -> GuestFact:
    stats: dict[str, int | str] = {"state.state": 1, "state.reason": 1, "block.count": 1}
    stats |= {"block.0.name": "vda", "block.0.capacity": 10 << 30}
    addresses = (("52:54:00:aa:00:02", "192.0.2.7"), ("52:54:00:AA:00:02", "2001:db8::7"), ("52:54:00:aa:00:02", "x"))
    return guest(read("guests/rich.xml"), stats=stats, autostart=True, snapshot_count=2, addresses=addresses)


def test_a_guests_identity_and_size(rich: GuestFact) -> None:
    assert (rich.ref, rich.uuid, rich.name, rich.host_ref) == (UUID, UUID, "db-07", "host-1")
    assert (rich.title, rich.notes) == ("Orders database", "Primary.\nPatched on the first Tuesday.")
    assert (rich.vcpus, rich.memory_bytes) == (4, 8 << 30)
    assert (rich.state, rich.state_reason) == (GuestState.RUNNING, "booted")
    assert (rich.autostart, rich.persistent, rich.snapshot_count) == (True, True, 2)


def test_a_guests_hardware(rich: GuestFact) -> None:
    assert (rich.architecture, rich.machine, rich.firmware) == ("x86_64", "pc-q35-7.2", "uefi")
    assert rich.cpu_mode == "custom: EPYC-Milan"
    assert set(rich.passthrough) == {
        "pci 0000:3b:00.0",
        "usb 0529:0001",
        "mdev c2177883-f1bb-47f0-914d-32a22e3a8804",
        "pci 0000:81:10.2",
    }


def test_a_guests_disks(rich: GuestFact) -> None:
    shown = [(disk.target, disk.device, disk.source_type, disk.source) for disk in rich.disks]
    assert shown == [
        ("vda", "disk", "file", "/srv/shared/db-07.qcow2"),
        ("sda", "lun", "block", "/dev/mapper/orders"),
        ("vdb", "disk", "network", "rbd:pool/orders"),
        ("vdc", "disk", "volume", "vg0/orders-log"),
        ("fda", "floppy", "dir", "/srv/floppy"),
        ("sdb", "cdrom", "", ""),
    ]
    first, second, *_others, drive = rich.disks
    assert (first.bus, first.format, first.cache, first.capacity_bytes) == ("virtio", "qcow2", "none", 10 << 30)
    assert (second.shareable, second.read_only, second.capacity_bytes) == (True, False, None)
    assert (drive.read_only, drive.bus) == (True, "sata")


def test_a_guests_nics(rich: GuestFact) -> None:
    network, bridge, direct, _hostdev, user = rich.nics
    assert network == NicFact("52:54:00:aa:00:01", "virtio", "network", "production", "br-prod", link_up=False)
    assert (bridge.kind, bridge.bridge, bridge.link_up) == ("bridge", "br0", True)
    assert bridge.addresses == ("192.0.2.7", "2001:db8::7")
    assert (direct.kind, direct.bridge) == ("direct", "eth2")
    assert (user.kind, user.mac) == ("user", "")


def test_a_guest_without_ceremony() -> None:
    fact = guest(read("guests/direct-kernel.xml"), stats={"state.state": 5, "state.reason": 3})
    assert (fact.firmware, fact.cpu_mode, fact.memory_bytes) == ("direct kernel", "host-passthrough", 96 << 20)
    assert (fact.state, fact.state_reason) == (GuestState.OFF, "crashed")


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, GuestState.UNKNOWN),
        (1, GuestState.RUNNING),
        (2, GuestState.RUNNING),
        (3, GuestState.PAUSED),
        (4, GuestState.RUNNING),
        (5, GuestState.OFF),
        (6, GuestState.CRASHED),
        (7, GuestState.SUSPENDED),
        (99, GuestState.UNKNOWN),
    ],
)
def test_states(code: int, state: GuestState) -> None:
    assert guest("<domain/>", stats={"state.state": code, "state.reason": 40}).state is state


@pytest.mark.parametrize(
    ("name", "technology", "storage_class", "source"),
    [
        ("dir", Technology.LOCAL, StorageClass.DAS, ""),
        ("nfs", Technology.NFS, StorageClass.NAS, "filer.example.org:/export/vm"),
        ("smb", Technology.SMB, StorageClass.NAS, "filer:vm"),
        ("glusterfs", Technology.GLUSTER, StorageClass.NAS, "g1:vol0"),
        ("gluster", Technology.GLUSTER, StorageClass.NAS, "g1:/"),
        ("logical", Technology.LVM, StorageClass.DAS, "vg0"),
        ("iscsi", Technology.ISCSI, StorageClass.SAN, "san1:iqn.2020-01.org.example:t1"),
        ("fc", Technology.FC, StorageClass.SAN, ""),
        ("scsi", Technology.SCSI, StorageClass.DAS, ""),
        ("rbd", Technology.RBD, StorageClass.SAN, "mon1:vms"),
        ("zfs", Technology.ZFS, StorageClass.DAS, "tank"),
        ("mpath", Technology.OTHER, StorageClass.DAS, ""),
    ],
)
def test_pools(name: str, technology: Technology, storage_class: StorageClass, source: str) -> None:
    fact = parse.datastore_fact(RawPool(read(f"pools/{name}.xml"), active=True, autostart=True), "host-1")
    assert fact is not None
    assert (fact.technology, fact.storage_class, fact.source) == (technology, storage_class, source)
    assert fact.ref == f"host-1/{fact.uuid}"


def test_a_pools_sizes_make_sense() -> None:
    nfs = parse.datastore_fact(RawPool(read("pools/nfs.xml"), active=False, autostart=False), "h")
    smb = parse.datastore_fact(RawPool(read("pools/smb.xml"), active=True, autostart=False), "h")
    assert nfs is not None
    assert smb is not None
    assert (nfs.capacity_bytes, nfs.available_bytes, nfs.active) == (100 << 30, 40 << 30, False)
    assert (smb.capacity_bytes, smb.available_bytes) == (10, 10), "no more free than there is"


@pytest.mark.parametrize(
    ("name", "kind", "bridge", "uplinks"),
    [
        ("nat", SwitchKind.NAT, "virbr0", ()),
        ("routed", SwitchKind.ROUTED, "virbr1", ("eth1",)),
        ("isolated", SwitchKind.ISOLATED, "virbr2", ()),
        ("bridged", SwitchKind.BRIDGED, "br0", ("eth1", "bond0")),
        ("macvtap", SwitchKind.MACVTAP, "", ("eth3", "eth4")),
        ("vepa", SwitchKind.MACVTAP, "", ("eth5",)),
        ("open", SwitchKind.OPEN, "virbr3", ()),
        ("hostdev", SwitchKind.OTHER, "", ("eth6",)),
    ],
)
def test_networks(name: str, kind: SwitchKind, bridge: str, uplinks: tuple[str, ...]) -> None:
    ports = read("networks/br0-interface.xml") if name == "bridged" else ""
    raw = RawNetwork(read(f"networks/{name}.xml"), active=True, autostart=False, bridge_xml=ports)
    fact = parse.switch_fact(raw, "host-1", frozenset({"vnet4"}))
    assert fact is not None
    assert (fact.kind, fact.bridge, fact.uplinks) == (kind, bridge, uplinks)
    assert (fact.active, fact.autostart, fact.ref) == (True, False, f"host-1/{fact.uuid}")


def test_a_host() -> None:
    raw = RawHost(
        hostname="kvm-01.example.org",
        hypervisor="QEMU",
        hypervisor_version=7002022,
        library_version=9000000,
        node=("x86_64", 262144, 64, 2450, 2, 1, 16, 2),
        capabilities_xml=read("hosts/capabilities.xml"),
        sysinfo_xml=read("hosts/sysinfo.xml"),
        memory_kib={"total": 268_000_000, "free": 1000, "buffers": 10, "cached": 20},
    )
    fact = parse.host_fact(raw)
    assert fact.ref == fact.uuid == "4c4c4544-0047-5310-8051-c7c04f483533"
    assert (fact.hypervisor_version, fact.manager_version) == ("7.2.22", "9.0.0")
    assert (fact.vendor, fact.model) == ("Dell Inc.", "PowerEdge R7525")
    assert fact.cpu_model == "AMD EPYC 7543 32-Core Processor"
    assert (fact.cpu_sockets, fact.cpu_cores, fact.cpu_threads, fact.cpu_mhz) == (2, 32, 64, 2450)
    assert fact.memory_bytes == 268_000_000 * 1024


def test_a_host_without_a_board_says_its_cpu_by_libvirts_name() -> None:
    fact = parse.host_fact(
        RawHost("h", "QEMU", 0, 0, ("x86_64", 1024, 2, 1, 1, 1, 2, 1), read("hosts/capabilities.xml"))
    )
    assert (fact.vendor, fact.model, fact.cpu_model, fact.hypervisor_version) == ("", "", "EPYC-Milan", "")
    assert fact.memory_bytes == 1 << 30


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


def test_counters_that_are_kept_back_are_no_zeros() -> None:
    stats: dict[str, int | str] = {"state.state": 3, "cpu.time": 5, "block.count": 1, "block.0.capacity": 7}
    assert parse.state_fact(RawGuest(UUID, "a", stats=stats), "h").load is None
    told = parse.state_fact(RawGuest(UUID, "a", stats=stats | {"block.0.rd.bytes": 0}), "h")
    assert told.load is not None


# A hostile hypervisor


@pytest.mark.parametrize("name", ["billion-laughs", "entity"])
def test_entities_are_not_read_at_all(name: str) -> None:
    fact = guest(read(f"guests/{name}.xml"), stats={"state.state": 1})
    assert (fact.name, fact.title, fact.notes, fact.state) == ("db-07", "", "", GuestState.RUNNING)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<domain>",
        "<domain><title>a\x00b</title></domain>",
        "<domain>\ud800</domain>",
        "<a>" * 5000 + "</a>" * 5000,
        "<domain>" + "x" * (9 * 1024 * 1024) + "</domain>",
    ],
)
def test_a_broken_description_leaves_the_guest_with_what_is_known(xml: str) -> None:
    fact = guest(xml, stats={"state.state": 1})
    assert (fact.uuid, fact.name, fact.state, fact.disks) == (UUID, "db-07", GuestState.RUNNING, ())


def test_ten_megabytes_of_notes_are_cut() -> None:
    assert guest(f"<domain><description>{'n' * 10_000_000}</description></domain>").notes == "", "refused as too large"
    notes = guest(f"<domain><description>{'n' * 3_000_000}</description></domain>").notes
    assert len(notes) == parse_guest.LONGEST_NOTES
    assert notes.endswith("…")


def test_names_lose_controls_and_direction_marks() -> None:
    fact = guest("<domain><title>a\u202eb\u2066c</title></domain>", name="x\u202e\u0000\x1b[31m\ud800y\nz" + "n" * 999)
    assert fact.title == "abc"
    assert fact.name.startswith("x[31my znn")
    assert len(fact.name) == LONGEST_NAME


def test_a_name_of_nothing_visible_becomes_the_uuid() -> None:
    assert guest("<domain/>", name="\u202e\x07").name == UUID


@pytest.mark.parametrize("size", ["-1", "-99999999999999999999", "1e9", "NaN", "", "0x10", "9" * 5000])
def test_sizes_are_never_negative_nor_endless(size: str) -> None:
    xml = f"<domain><memory>{size}</memory><vcpu>{size}</vcpu></domain>"
    fact = guest(xml, snapshot_count=-5)
    assert 0 <= fact.memory_bytes <= LARGEST_NUMBER
    assert 0 <= fact.vcpus <= MOST_VCPUS
    assert fact.snapshot_count == 0


def test_a_thousand_disks_are_bounded() -> None:
    disks = "<disk><target dev='vda'/></disk>" * 2000
    assert len(guest(f"<domain><devices>{disks}</devices></domain>").disks) == 512


def test_counters_that_lie_about_their_number_cost_nothing() -> None:
    stats: dict[str, int | str] = {"state.state": 1, "block.count": 2**60, "net.count": "many"}
    fact = parse.state_fact(RawGuest(UUID, "a", stats=stats), "h")
    assert fact.load is None


@pytest.mark.parametrize("uuid", ["", "x", "3f2504e0-4f89", "{}", "../../etc"])
def test_what_has_no_uuid_is_no_datastore_and_no_switch(uuid: str) -> None:
    xml = f"<pool type='dir'><name>a</name><uuid>{uuid}</uuid></pool>"
    assert parse.datastore_fact(RawPool(xml, active=True, autostart=True), "h") is None
    assert parse.switch_fact(RawNetwork(xml, active=True, autostart=True), "h", frozenset()) is None


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


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%<script>" + "x" * 1_000_000, "fe80::1"),
        ("::ffff:" + "0" * 1_000_000, ""),
        ("9" * 1_000_000, ""),
        ("2001:DB8:0:0:0:0:0:7", "2001:db8::7"),
    ],
)
def test_an_address_is_short_and_has_no_zone(said: str, kept: str) -> None:
    assert parse_guest._clean_ip(said) == kept
