"""What a host says of its guests becomes facts; what a hostile one says becomes bounded facts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.isolation.wire import pack, unpack
from drivers.libvirt.parse import agent as parse_agent
from drivers.libvirt.parse import guest as parse_guest
from drivers.libvirt.parse import snapshots as parse_snapshots
from drivers.libvirt.parse.common import LONGEST_NAME
from drivers.libvirt.parse.guest import guest_fact, state_fact
from drivers.libvirt.parse.host import MOST_VCPUS
from drivers.libvirt.parse.nics import MOST_ADDRESSES, clean_ip
from drivers.libvirt.raw import RawAgent, RawGuest
from drivers.libvirt.text import LARGEST_NUMBER
from drivers.types import (
    AgentFact,
    ConsoleFact,
    DeviceFact,
    DisplayFact,
    FileSystemFact,
    GuestFact,
    GuestHardware,
    GuestState,
    ImageFact,
    NicFact,
)

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def read(name: str) -> str:
    return (FIXTURES / name).read_text()


def guest(xml: str, **fields: object) -> GuestFact:
    return guest_fact(RawGuest(**{"uuid": UUID, "name": "db-07", "xml": xml, **fields}), "host-1")  # type: ignore[arg-type]


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
    assert network == NicFact(
        "52:54:00:aa:00:01",
        "virtio",
        "network",
        "production",
        "br-prod",
        link_up=False,
        port_group="vlan10",
        device="vnet3",
    )
    assert (bridge.kind, bridge.bridge, bridge.link_up) == ("bridge", "br0", True)
    assert bridge.addresses == ("192.0.2.7", "2001:db8::7")
    assert (direct.kind, direct.bridge) == ("direct", "eth2")
    assert (user.kind, user.mac) == ("user", "")


def test_a_network_that_plugs_in_by_a_bridge_is_told_as_when_the_guest_is_off() -> None:
    off = "<interface type='network'><source network='guests'/></interface>"
    runs = "<interface type='bridge'><source network='guests' portid='x' bridge='br0'/></interface>"
    facts = [guest(f"<domain><devices>{nic}</devices></domain>").nics[0] for nic in (off, runs)]
    assert [(fact.kind, fact.network, fact.bridge) for fact in facts] == [
        ("network", "guests", ""),
        ("network", "guests", "br0"),
    ]


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


def test_counters_that_are_kept_back_are_no_zeros() -> None:
    stats: dict[str, int | str] = {"state.state": 3, "cpu.time": 5, "block.count": 1, "block.0.capacity": 7}
    assert state_fact(RawGuest(UUID, "a", stats=stats), "h").load is None
    told = state_fact(RawGuest(UUID, "a", stats=stats | {"block.0.rd.bytes": 0}), "h")
    assert told.load is not None


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
    fact = state_fact(RawGuest(UUID, "a", stats=stats), "h")
    assert fact.load is None


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
    assert clean_ip(said) == kept


# In breadth


@pytest.fixture(scope="module")
def everything() -> GuestFact:
    return guest(read("guests/everything.xml"))


def test_the_processor_and_memory_a_guest_sees(everything: GuestFact) -> None:
    hardware = everything.hardware
    assert (everything.vcpus, everything.memory_bytes) == (6, 12 << 30)
    assert (hardware.most_vcpus, hardware.most_memory_bytes) == (24, 64 << 30)
    assert (hardware.cpu_sockets, hardware.cpu_cores, hardware.cpu_threads) == (2, 6, 2), "two clusters of three cores"
    assert hardware.cpu_features == ("require x2apic", "disable svm")
    assert (hardware.cpu_shares, hardware.hugepages, hardware.numa_cells, hardware.balloon) == (2048, True, 2, "virtio")


def test_what_switches_a_machine_has_on(everything: GuestFact) -> None:
    assert everything.hardware.features == ("acpi", "apic", "pae", "hyperv relaxed", "kvm hidden", "smm")


def test_firmware_tpm_and_what_the_makers_wrote_down(everything: GuestFact) -> None:
    hardware = everything.hardware
    assert (everything.firmware, hardware.secure_boot, hardware.tpm) == ("uefi", True, "tpm-crb 2.0 emulator")
    assert (hardware.os, hardware.os_type, hardware.init) == ("http://debian.org/debian/12", "hvm", "")
    assert hardware.metadata == ("http://libosinfo.org/xmlns/libvirt/domain/1.0", "urn:example:backup")


@pytest.mark.parametrize(
    ("firmware", "shown", "secure"),
    [
        ("<os firmware='bios'/>", "bios", False),
        ("<os firmware='efi'/>", "uefi", False),
        ("<os firmware='efi'><firmware><feature name='secure-boot' enabled='yes'/></firmware></os>", "uefi", True),
        (
            "<os firmware='efi'><firmware><feature name='secure-boot' enabled='yes'/>"
            "<feature name='enrolled-keys' enabled='no'/></firmware></os>",
            "uefi",
            False,
        ),
        (
            "<os firmware='efi'><firmware><feature name='secure-boot' enabled='no'/></firmware>"
            "<loader secure='yes'/></os>",
            "uefi",
            False,
        ),
        ("<os><loader type='pflash' secure='yes'/></os>", "uefi", True),
        ("<os><loader type='pflash' secure='no'/></os>", "uefi", False),
        ("<os><loader type='pflash'/><kernel>/k</kernel></os>", "uefi", False),
        ("<os><type>linux</type><kernel>/k</kernel></os>", "direct kernel", False),
        ("<os><type>linux</type></os>", "", False),
        ("<os><type>exe</type></os>", "", False),
    ],
)
def test_firmware(firmware: str, shown: str, secure: bool) -> None:
    fact = guest(f"<domain>{firmware}</domain>")
    assert (fact.firmware, fact.hardware.secure_boot) == (shown, secure)


def test_two_tpms_are_both_told() -> None:
    xml = "<tpm model='spapr-tpm-proxy'><backend type='passthrough'/></tpm><tpm><backend version='1.2'/></tpm>"
    assert guest(f"<domain><devices>{xml}</devices></domain>").hardware.tpm == "spapr-tpm-proxy passthrough, 1.2"


def test_devices_boot_in_their_own_order(everything: GuestFact) -> None:
    shown = ("52:54:00:bb:00:01", "vda", "pci 0001:3b:1f.7", "usb redirection spicevmc")
    assert everything.hardware.boot == shown
    assert (everything.disks[0].boot_order, everything.nics[0].boot_order, everything.disks[1].boot_order) == (
        2,
        1,
        None,
    )


def test_a_guest_may_boot_by_kinds_of_devices() -> None:
    assert guest("<domain><os><boot dev='cdrom'/><boot dev='hd'/></os></domain>").hardware.boot == ("cdrom", "hd")


def test_a_disk_in_breadth(everything: GuestFact) -> None:
    disk = everything.disks[0]
    assert (disk.io, disk.discard, disk.cache) == ("io_uring", "unmap", "none")
    assert (disk.serial, disk.wwn) == ("0123-SERIAL", "5000c50015ea71aa")
    assert disk.backing == (ImageFact("/srv/a/middle.qcow2", "file", "qcow2"), ImageFact("nbd:base", "network", "raw"))


def test_the_servers_of_a_network_disk(everything: GuestFact) -> None:
    assert everything.disks[1].servers == (
        "mon1.example.org:6789",
        "[2001:db8::1]:6789",
        "mon3.example.org",
        "/run/mon.sock",
    )
    assert everything.disks[0].servers == (), "those of an image under it are not its own"


def test_encryption_is_seen_wherever_it_is_written(everything: GuestFact) -> None:
    assert [disk.encrypted for disk in everything.disks] == [False, True, True, False, False, False]


def test_disks_that_are_no_images(everything: GuestFact) -> None:
    shown = [(disk.source_type, disk.source) for disk in everything.disks[3:]]
    assert shown == [
        ("nvme", "0000:01:00.0/1"),
        ("vhostuser", "/run/vhost-user-blk.sock"),
        ("vhostvdpa", "/dev/vhost-vdpa-0"),
    ]


def test_an_endless_backing_chain_ends() -> None:
    link = "<backingStore type='file'><format type='raw'/><source file='/a'/>"
    xml = f"<domain><devices><disk>{link * 100}{'</backingStore>' * 100}</disk></devices></domain>"
    assert len(guest(xml).disks[0].backing) == 64


def test_a_trunk_with_what_travels_untagged(everything: GuestFact) -> None:
    nic = everything.nics[0]
    assert (nic.vlans, nic.native_vlan, nic.port_group) == ((7, 42), 7, "servers"), "no VLAN 9999"
    assert (nic.virtual_port, nic.device, nic.mtu, nic.bridge) == ("openvswitch", "vnet12", 9000, "ovsbr0")


def test_other_nics(everything: GuestFact) -> None:
    shown = [(nic.kind, nic.vlans, nic.virtual_port, nic.device, nic.mtu) for nic in everything.nics[1:]]
    assert shown == [
        ("network", (10,), "", "", None),
        ("direct", (), "802.1Qbg", "macvtap3", None),
        ("hostdev", (11,), "", "", None),
        ("vdpa", (), "", "", None),
    ]


def test_addresses_come_from_whoever_knows_best() -> None:
    macs = [f"52:54:00:bb:00:0{number}" for number in range(1, 5)]
    agent = RawAgent(
        {}, ((macs[0].upper(), "2001:db8::9"), (macs[0], "192.0.2.9"), (macs[3], "no address"), ("lo", "::1"))
    )
    leases = ((macs[0], "192.0.2.1"), (macs[1], "192.0.2.2"))
    arp = ((macs[1], "192.0.2.99"), (macs[2], "192.0.2.3"), (macs[3], "192.0.2.4"))
    fact = guest(read("guests/everything.xml"), agent=agent, leases=leases, arp=arp)
    assert [(nic.addresses_from, nic.addresses) for nic in fact.nics] == [
        ("agent", ("192.0.2.9", "2001:db8::9")),
        ("lease", ("192.0.2.2",)),
        ("arp", ("192.0.2.3",)),
        ("arp", ("192.0.2.4",)),
        ("", ()),
    ]


def test_the_order_in_which_addresses_are_told_is_no_news() -> None:
    xml = "<domain><devices><interface><mac address='52:54:00:bb:00:01'/></interface></devices></domain>"
    pairs = tuple(("52:54:00:bb:00:01", f"192.0.2.{number}") for number in range(200))
    first, second = guest(xml, leases=pairs), guest(xml, leases=pairs[::-1])
    assert first == second
    assert len(first.nics[0].addresses) == MOST_ADDRESSES


def test_what_is_passed_through(everything: GuestFact) -> None:
    assert everything.passthrough == (
        "pci 0001:3b:1f.7",
        "usb 003:014",
        "scsi scsi_host2:0:6:1",
        "scsi iqn.2020-01.org.example:t1/1",
        "scsi_host naa.5123456789abcde0",
        "pci",
        "pci 0000:82:10.1",
        "nvme 0000:01:00.0",
    )


def test_displays(everything: GuestFact) -> None:
    assert everything.hardware.displays == (
        DisplayFact("vnc", "192.0.2.1", 5901),
        DisplayFact("spice", "192.0.2.2", None, 5902),
        DisplayFact("rdp", "::1", 3389),
        DisplayFact("vnc", socket="/run/old.sock"),
        DisplayFact("spice", socket="/run/spice.sock"),
        DisplayFact("egl-headless"),
    )


def test_serial_lines_consoles_and_channels(everything: GuestFact) -> None:
    agent = "/run/libvirt/qemu/channel/12-everything/org.qemu.guest_agent.0"
    assert everything.hardware.consoles == (
        ConsoleFact("serial", "isa-serial", "pty", "/dev/pts/3"),
        ConsoleFact("serial", "", "tcp", "127.0.0.1:2445"),
        ConsoleFact("serial", "", "udp", "[2001:db8::9]:2397"),
        ConsoleFact("parallel", "", "file", "/var/log/lpt"),
        ConsoleFact("console", "virtio", "pty", "/dev/pts/4"),
        ConsoleFact("channel", "org.qemu.guest_agent.0", "unix", agent, connected=True),
        ConsoleFact("channel", "com.redhat.spice.0", "spicevmc", connected=False),
        ConsoleFact("channel", "org.spice-space.webdav.0", "spiceport", "org.spice-space.webdav.0"),
        ConsoleFact("channel", "guestfwd 10.0.2.1:4600", "pipe", "/run/guestfwd"),
    )


def test_a_console_alone_is_a_console() -> None:
    xml = "<domain><devices><console type='pty'><target type='serial'/></console></devices></domain>"
    assert guest(xml).hardware.consoles == (ConsoleFact("console", "serial", "pty"),)


def test_every_other_device(everything: GuestFact) -> None:
    assert everything.hardware.devices == (
        DeviceFact("controller", "virtio-scsi", "type=scsi index=0"),
        DeviceFact("controller", "qemu-xhci", "type=usb index=0"),
        DeviceFact("filesystem", "virtiofs", "source=/srv/share target=share access=passthrough read=only"),
        DeviceFact("input", "tablet", "bus=usb"),
        DeviceFact("input", "evdev", "source=/dev/input/event1"),
        DeviceFact("sound", "ich9", "codec=micro"),
        DeviceFact("audio", "spice"),
        DeviceFact("video", "virtio", "heads=2 accel3d=yes"),
        DeviceFact("redirdev", "spicevmc", "bus=usb"),
        DeviceFact("hub", "usb"),
        DeviceFact("smartcard", "passthrough", "type=spicevmc"),
        DeviceFact("watchdog", "itco", "action=reset"),
        DeviceFact("rng", "virtio", "backend=random source=/dev/urandom"),
        DeviceFact("panic", "hyperv"),
        DeviceFact("shmem", "ivshmem-plain", "name=shared size=4 unit=M"),
        DeviceFact("memory", "dimm", "size_kib=524288 cell=1"),
        DeviceFact("iommu", "intel", "intremap=on caching_mode=on"),
        DeviceFact("vsock", "virtio", "cid=3"),
        DeviceFact("crypto", "virtio", "type=qemu backend=builtin"),
        DeviceFact("lease", "", "lockspace=somewhere key=somekey"),
        DeviceFact("pstore", "acpi-erst", "path=/var/lib/libvirt/pstore"),
        DeviceFact("nvram", ""),
        DeviceFact("somethingnew", ""),
        DeviceFact("controller", "pcie-root", "type=pci"),
        DeviceFact("controller", "pcie-root-port", "type=pci", 3),
    )


def test_a_container() -> None:
    fact = guest(read("guests/container.xml"))
    assert (fact.hardware.os_type, fact.hardware.init, fact.firmware) == ("exe", "/sbin/init", "")
    assert fact.hardware.features == ("privnet", "capabilities mknod")
    assert fact.disks == (), "its file systems are no disks: most are directories of the host"
    assert fact.hardware.devices == (
        DeviceFact("filesystem", "mount", "source=/srv/containers/a target=/ access=passthrough"),
        DeviceFact("filesystem", "loop", "source=/srv/images/data.img target=/data"),
        DeviceFact("filesystem", "ram", "source=1024 target=/tmp"),
    )
    assert fact.passthrough == ("storage /dev/sdf1", "misc /dev/input/event3", "net eth7")


def test_a_paravirtual_guest() -> None:
    fact = guest(read("guests/xen-pv.xml"))
    assert (fact.hardware.os_type, fact.machine, fact.firmware) == ("linux", "xenpv", "")
    assert (fact.disks[0].source, fact.disks[0].bus) == ("/dev/vg0/xen-pv", "xen")
    assert fact.hardware.consoles == (ConsoleFact("console", "xen", "pty", "/dev/pts/1"),)


# Snapshots


def snapshots(**parents: str) -> tuple[str, ...]:
    text = "<domainsnapshot><name>{}</name><parent><name>{}</name></parent></domainsnapshot>"
    return tuple(text.format(name, parent) for name, parent in parents.items())


def test_snapshots_are_a_tree_oldest_first() -> None:
    texts = tuple(read(f"guests/snapshots/{name}.xml") for name in ("external", "running", "base", "old"))
    facts = guest("<domain/>", snapshots=texts, current_snapshot="running").hardware.snapshots
    assert [(fact.name, fact.parent, fact.current) for fact in facts] == [
        ("base", "", False),
        ("old", "base", False),
        ("running", "base", True),
        ("external", "running", False),
    ]
    assert [(fact.state, fact.memory, fact.external) for fact in facts] == [
        ("shutoff", False, False),
        ("running", True, False),
        ("running", True, True),
        ("disk-snapshot", False, True),
    ]
    assert facts[0].created_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert facts[0].notes == "Before the update.\nKeep."


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "d", "d": "b"}])
def test_no_snapshot_is_its_own_ancestor(parents: dict[str, str]) -> None:
    facts = guest("<domain/>", snapshots=snapshots(**parents)).hardware.snapshots
    known = {fact.name: fact.parent for fact in facts}
    assert known.keys() == parents.keys()
    for name in known:
        ancestor = name
        for _step in known:
            ancestor = known.get(ancestor, "")
        assert ancestor == ""


def test_a_snapshot_whose_parent_is_unknown_is_a_root() -> None:
    (fact,) = guest("<domain/>", snapshots=snapshots(a="gone")).hardware.snapshots
    assert fact.parent == ""


def test_snapshots_without_a_name_or_twice_are_not_told() -> None:
    texts = (*snapshots(a=""), *snapshots(a=""), "<domainsnapshot/>", "no xml", "")
    assert [fact.name for fact in guest("<domain/>", snapshots=texts).hardware.snapshots] == ["a"]


def test_snapshots_are_bounded() -> None:
    texts = snapshots(**{f"s{number}": f"s{number - 1}" for number in range(parse_snapshots.MOST_SNAPSHOTS + 9)})
    assert len(guest("<domain/>", snapshots=texts).hardware.snapshots) == parse_snapshots.MOST_SNAPSHOTS


@pytest.mark.parametrize("time", ["-5", "0", "", "soon", "9" * 30])
def test_a_snapshots_time_can_always_be_shown(time: str) -> None:
    (fact,) = guest(
        "<domain/>",
        snapshots=(f"<domainsnapshot><name>a</name><creationTime>{time}</creationTime></domainsnapshot>",),
    ).hardware.snapshots
    assert fact.created_at is None or fact.created_at.year <= 3000


# The agent


INFO: dict[str, int | str] = {
    "hostname": "db-07.example.org",
    "os.id": "debian",
    "os.name": "Debian GNU/Linux",
    "os.version": "12 (bookworm)",
    "os.pretty-name": "Debian GNU/Linux 12 (bookworm)",
    "os.kernel-release": "6.1.0-18-amd64",
    "timezone.name": "CET",
    "timezone.offset": 3600,
    "fs.count": 4,
    "fs.0.name": "vda1",
    "fs.0.mountpoint": "/var/lib/containers/1/merged",
    "fs.0.fstype": "ext4",
    "fs.1.name": "vda1",
    "fs.1.mountpoint": "/",
    "fs.1.fstype": "ext4",
    "fs.1.total-bytes": 1 << 34,
    "fs.1.used-bytes": 77,
    "fs.1.disk.count": 2,
    "fs.1.disk.0.alias": "vda",
    "fs.2.mountpoint": "C:\\",
    "fs.2.fstype": "NTFS",
    "fs.3.name": "no place",
}


def test_what_the_agent_says() -> None:
    assert guest("<domain/>", agent=RawAgent(INFO)).agent == AgentFact(
        hostname="db-07.example.org",
        os="Debian GNU/Linux 12 (bookworm)",
        os_id="debian",
        kernel="6.1.0-18-amd64",
        time_zone="CET",
        file_systems=(FileSystemFact("/", "ext4", ("vda",), 1 << 34), FileSystemFact("C:\\", "NTFS", ())),
    )


def test_an_agent_that_did_not_tell_is_another_thing_than_one_that_knows_nothing() -> None:
    assert guest("<domain/>").agent is None
    assert guest("<domain/>", agent=RawAgent()).agent == AgentFact()


def test_an_os_without_a_pretty_name_is_put_together() -> None:
    agent = RawAgent({"os.name": "FreeBSD", "os.version": "14.0"})
    assert guest("<domain/>", agent=agent).agent == AgentFact(os="FreeBSD 14.0")


def test_an_agent_that_lies_costs_nothing() -> None:
    info: dict[str, int | str] = {"fs.count": 2**60, "hostname": "h" * 10_000, "os.id": -1}
    info |= {f"fs.{number}.mountpoint": f"/{number:05}\u202e" + "m" * 9_999 for number in range(5_000)}
    info |= {f"fs.{number}.disk.count": 2**60 for number in range(5_000)}
    agent = guest("<domain/>", agent=RawAgent(info)).agent
    assert agent is not None
    assert len(agent.file_systems) == parse_agent.MOST_FILE_SYSTEMS
    assert {len(fact.mount) for fact in agent.file_systems} == {parse_agent.LONGEST_MOUNT}
    assert len(agent.hostname) == 255


# Whatever comes


def test_a_guest_of_nothing_has_no_hardware() -> None:
    assert guest("<domain/>").hardware == GuestHardware()


TEXT = st.text(st.characters(codec=None), max_size=40)
ATTRIBUTES = (
    "type",
    "mode",
    "model",
    "name",
    "path",
    "port",
    "order",
    "id",
    "address",
    "state",
    "policy",
    "size",
    "service",
    "host",
    "slot",
    "bus",
)
TAGS = (
    "disk",
    "interface",
    "hostdev",
    "serial",
    "console",
    "channel",
    "graphics",
    "tpm",
    "video",
    "memory",
    "filesystem",
    "redirdev",
    "strange",
)


@given(tag=st.sampled_from(TAGS), value=TEXT, number=st.integers())
def test_devices_of_any_kind_can_be_sent_on(tag: str, value: str, number: int) -> None:
    kept = "".join(character for character in value if character.isprintable() and character not in "<>&'\"")
    said = " ".join(f"{name}='{kept if len(name) % 2 else number}'" for name in ATTRIBUTES)
    inside = "".join(
        f"<{name} {said}>{number}</{name}>" for name in ("source", "target", "boot", "backend", "model", "host")
    )
    vlan = f"<vlan><tag id='{number}' nativeMode='x'/></vlan><mtu size='{number}'/><source><address {said}/></source>"
    fact = guest(f"<domain><devices><{tag} {said}>{inside}{vlan}</{tag}></devices></domain>")
    assert len(fact.disks) + len(fact.nics) + len(fact.passthrough) + len(fact.hardware.devices) <= 2
    assert unpack(pack(fact), GuestFact) == fact


@given(value=TEXT, info=st.dictionaries(TEXT, st.one_of(st.integers(), TEXT), max_size=5))
def test_what_agents_and_snapshots_say_can_be_sent_on(value: str, info: dict[str, int | str]) -> None:
    keyed = {f"os.{name}": said for name, said in info.items()} | {
        "hostname": value,
        "fs.count": 1,
        "fs.0.mountpoint": value,
    }
    texts = (f"<domainsnapshot><name>{value}</name><creationTime>{value}</creationTime></domainsnapshot>",)
    fact = guest("<domain/>", agent=RawAgent(keyed, ((value, value),)), snapshots=texts, current_snapshot=value)
    assert unpack(pack(fact), GuestFact) == fact
