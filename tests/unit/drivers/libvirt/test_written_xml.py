"""What is written for libvirt: valid by its own schemas, whatever a person typed, and never more than was meant."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from drivers.errors import DriverError, Rejected
from drivers.libvirt.define import Ability, clone_xml, guest_xml
from drivers.libvirt.devices import changed_nic_xml, disk_xml, media_xml, next_target, nic_element
from drivers.libvirt.networks import network_xml
from drivers.libvirt.snapshots import GuestShape, plan_snapshot, snapshot_xml
from drivers.libvirt.volumes import volume_xml
from drivers.libvirt.write_xml import checked_device, checked_mac, checked_name, checked_path, written
from drivers.libvirt.xml import read_xml
from drivers.requests import (
    CloneRequest,
    DiskRequest,
    GuestRequest,
    NetworkMode,
    NetworkRequest,
    NicRequest,
    PortGroupRequest,
    SnapshotKind,
    SnapshotRequest,
    VolumeRequest,
)

SCHEMAS = Path("/usr/share/libvirt/schemas")  # of libvirt's own package
UUID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
MAC = "52:54:00:00:00:01"
HOSTILE = [
    "x'/><evil/>",
    'x" evil="1',
    "</name><uuid>1</uuid><name>",
    "]]><!--",
    "&amp;&lt;&#0;",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
    "a\x00b",
    "a\x1bb",
    "a\nb",
    "\ud800",
    "\u202egpj.exe",
    "../../etc/passwd",
    "-rf",
    "%s%n",
    "a" * 5000,
    "",
]
X86 = Ability("x86_64", "kvm", frozenset({"q35", "pc"}), 1 << 40)
WISH = GuestRequest(
    UUID,
    "web 1",
    1 << 30,
    2,
    title="T & <t>",
    notes="one\ntwo ]]>",
    uefi=True,
    disks=(
        DiskRequest("/a/b.qcow2"),
        DiskRequest("/dev/vg/c", "raw", "scsi", "none", read_only=True, block=True),
    ),
    iso_path="/iso/a.iso",
    nics=(
        NicRequest(MAC, network="lan", port_group="office"),
        NicRequest("52:54:00:00:00:02", bridge="br0", open_vswitch=True, link_up=False),
    ),
    os="http://debian.org/debian/12",
)


def require_valid(kind: str, xml: str) -> etree._Element:
    """By libvirt's own schema, where its package is installed."""
    node = etree.fromstring(xml)
    if (SCHEMAS / f"{kind}.rng").exists():
        schema = etree.RelaxNG(etree.parse(SCHEMAS / f"{kind}.rng"))
        assert schema.validate(node), f"{schema.error_log.last_error}\n{xml}"
    return node


def values_of(node: etree._Element) -> set[str]:
    return {str(value) for part in node.iter() for value in (part.text, *part.attrib.values()) if value}


@pytest.mark.parametrize("uefi", [False, True])
@pytest.mark.parametrize(
    "ability",
    [
        X86,
        Ability("x86_64", "qemu", frozenset({"pc"}), 0),
        Ability("i686", "qemu", frozenset(), 0),
        Ability("aarch64", "kvm", frozenset({"virt"}), 0),
        Ability("s390x", "kvm", frozenset(), 0),
    ],
    ids=lambda ability: f"{ability.architecture}-{ability.kind}",
)
def test_a_guest_is_as_libvirts_schema_has_it(ability: Ability, uefi: bool) -> None:
    node = require_valid("domain", guest_xml(replace(WISH, uefi=uefi), ability))
    assert node.get("type") == ability.kind
    assert (node.find("os").get("firmware") == "efi") is uefi  # type: ignore[union-attr]
    targets = [target.get("dev") for target in node.iterfind("devices/disk/target")]
    assert len(set(targets)) == len(targets) == 3


def test_a_guest_has_what_was_asked_for() -> None:
    node = require_valid("domain", guest_xml(WISH, X86))
    assert (node.findtext("name"), node.findtext("uuid"), node.findtext("vcpu")) == ("web 1", UUID, "2")
    assert (node.findtext("memory"), node.findtext("title")) == (str(1 << 20), "T & <t>")
    assert node.findtext("description") == "one\ntwo ]]>"
    assert [one.get("file") or one.get("dev") for one in node.iterfind("devices/disk/source")] == [
        "/a/b.qcow2",
        "/dev/vg/c",
        "/iso/a.iso",
    ]
    assert [bool(one.findall("readonly")) for one in node.iterfind("devices/disk")] == [False, True, True]
    assert [one.get("address") for one in node.iterfind("devices/interface/mac")] == [MAC, "52:54:00:00:00:02"]
    assert [one.get("state") for one in node.iterfind("devices/interface/link")] == ["up", "down"]


def test_without_a_screen_there_is_none() -> None:
    assert etree.fromstring(guest_xml(replace(WISH, vnc=False), X86)).find("devices/graphics") is None


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["name", "title", "notes", "machine", "iso_path", "os", "architecture"])
def test_hostile_text_in_a_guest_is_a_value_or_refused(field: str, text: str) -> None:
    usual = {part.tag for part in etree.fromstring(guest_xml(WISH, X86)).iter()}
    try:
        xml = guest_xml(replace(WISH, **{field: text}), X86)  # type: ignore[arg-type]
    except Rejected as error:
        assert error.message
        return
    node = etree.fromstring(xml)
    assert {part.tag for part in node.iter()} <= usual
    assert node.findtext("uuid") == UUID
    assert read_xml(xml)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_devices_is_refused(text: str) -> None:
    for nic in (
        NicRequest(MAC, network=text),
        NicRequest(MAC, bridge=text),
        NicRequest(MAC, network="a", port_group=text),
        NicRequest(MAC, network="a", model=text),
        NicRequest(text, network="a"),
    ):
        node = None
        try:
            from drivers.libvirt.devices import checked_nic

            checked_nic(nic)
            node = nic_element(nic)
        except Rejected:
            continue
        assert {part.tag for part in node.iter()} <= {"interface", "mac", "source", "link", "model"}
        assert values_of(etree.fromstring(written(node))) <= {MAC, "network", "bridge", "a", text, "up", "virtio"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_networks_volumes_and_snapshots(text: str) -> None:
    shape = GuestShape(read_xml("<domain type='kvm'><devices/></domain>"), up=False, libvirt_version=9_000_000)
    request = SnapshotRequest(text, notes=text)
    writes: list[Callable[[], str]] = [
        lambda: network_xml(NetworkRequest(UUID, text, NetworkMode.ISOLATED)),
        lambda: network_xml(NetworkRequest(UUID, "n", NetworkMode.BRIDGED, bridge=text)),
        lambda: network_xml(NetworkRequest(UUID, "n", NetworkMode.ISOLATED, domain=text)),
        lambda: network_xml(NetworkRequest(UUID, "n", NetworkMode.NAT, address=text)),
        lambda: network_xml(NetworkRequest(UUID, "n", NetworkMode.ISOLATED, address="192.0.2.1/24", dhcp=(text, text))),
        lambda: network_xml(NetworkRequest(text, "n", NetworkMode.ISOLATED)),
        lambda: volume_xml(VolumeRequest(UUID, text, 1)),
        lambda: snapshot_xml(shape, request, plan_snapshot(shape, request)),
    ]
    for write in writes:
        try:
            node = etree.fromstring(write())
        except DriverError as error:
            assert error.message
            continue
        assert not {part.tag for part in node.iter()} & {"evil", "script"}
        assert len(node.findall("name")) == 1


@pytest.mark.parametrize(
    "request_",
    [
        NetworkRequest(UUID, "n", NetworkMode.NAT, address="192.0.2.1/24", dhcp=("192.0.2.2", "192.0.2.9")),
        NetworkRequest(UUID, "n", NetworkMode.NAT, address="192.0.2.1/24", domain="lab.example", bridge="virbr7"),
        NetworkRequest(UUID, "n", NetworkMode.ISOLATED),
        NetworkRequest(UUID, "n", NetworkMode.ISOLATED, address="2001:db8::1/64", dhcp=("2001:db8::2", "2001:db8::9")),
        NetworkRequest(UUID, "n", NetworkMode.BRIDGED, bridge="br0", port_groups=(PortGroupRequest("a"),)),
        NetworkRequest(
            UUID,
            "n",
            NetworkMode.OPEN_VSWITCH,
            bridge="ovs0",
            port_groups=(PortGroupRequest("a", (10,), True), PortGroupRequest("t", (10, 20)), PortGroupRequest("u")),
        ),
    ],
    ids=lambda request: f"{request.mode}-{request.address}-{len(request.port_groups)}",
)
def test_a_network_is_as_libvirts_schema_has_it(request_: NetworkRequest) -> None:
    require_valid("network", network_xml(request_))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": NetworkMode.NAT},
        {"mode": NetworkMode.NAT, "address": "192.0.2.1"},
        {"mode": NetworkMode.NAT, "address": "127.0.0.1/8"},
        {"mode": NetworkMode.NAT, "address": "192.0.2.1/24", "dhcp": ("192.0.2.9", "192.0.2.2")},
        {"mode": NetworkMode.NAT, "address": "192.0.2.1/24", "dhcp": ("198.51.100.2", "198.51.100.9")},
        {"mode": NetworkMode.NAT, "address": "192.0.2.1/24", "dhcp": ("2001:db8::1", "2001:db8::2")},
        {"mode": NetworkMode.ISOLATED, "dhcp": ("192.0.2.2", "192.0.2.9")},
        {"mode": NetworkMode.BRIDGED},
        {"mode": NetworkMode.BRIDGED, "bridge": "br0", "address": "192.0.2.1/24"},
        {"mode": NetworkMode.BRIDGED, "bridge": "br0", "port_groups": (PortGroupRequest("a", (1,)),)},
        {"mode": NetworkMode.OPEN_VSWITCH, "bridge": "o", "port_groups": (PortGroupRequest("a", (0,)),)},
        {
            "mode": NetworkMode.OPEN_VSWITCH,
            "bridge": "o",
            "port_groups": (PortGroupRequest("a"), PortGroupRequest("a")),
        },
        {
            "mode": NetworkMode.OPEN_VSWITCH,
            "bridge": "o",
            "port_groups": (PortGroupRequest("a", (), True), PortGroupRequest("b", (), True)),
        },
    ],
)
def test_what_is_no_network_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        network_xml(NetworkRequest(UUID, "n", **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "formats"), [("dir", 1), ("netfs", 1), ("logical", 0), ("rbd", 0)])
@pytest.mark.parametrize("preallocate", [False, True])
def test_a_volume_is_as_libvirts_schema_has_it(kind: str, formats: int, preallocate: bool) -> None:
    request = VolumeRequest(UUID, "a b.raw", 1 << 30, "raw", preallocate)
    node = require_valid("storagevol", volume_xml(request, kind))
    assert len(node.findall("target/format")) == formats
    assert node.findtext("allocation") == (str(1 << 30) if preallocate or kind == "logical" else "0")


@pytest.mark.parametrize("kind", SnapshotKind)
def test_a_snapshot_is_as_libvirts_schema_has_it(kind: SnapshotKind) -> None:
    guest = read_xml(
        "<domain type='kvm'><devices><disk device='disk'><driver type='qcow2'/><target dev='vda'/></disk>"
        "<disk device='cdrom'><target dev='sda'/></disk><disk><readonly/><target dev='vdb'/></disk></devices></domain>"
    )
    shape = GuestShape(guest, up=False, libvirt_version=9_000_000)
    request = SnapshotRequest("before it", "Notes & <more>", kind=kind)
    node = require_valid("domainsnapshot", snapshot_xml(shape, request, plan_snapshot(shape, request)))
    assert {one.get("name"): one.get("snapshot") for one in node.iterfind("disks/disk")} == {
        "vda": kind.value,
        "sda": "no",
        "vdb": "no",
    }


# What is made of a description that is there

GUEST = f"""<domain type='kvm'><name>web</name><uuid>{UUID}</uuid><genid>{UUID}</genid>
<metadata><a:attempt xmlns:a='urn:guesthouse:operation' stamp='op-1'/><o:os xmlns:o='urn:other'>x</o:os></metadata>
<os><type>hvm</type><nvram template='/t.fd'>/var/web_VARS.fd</nvram></os>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a/web.qcow2'/>
<backingStore type='file'><source file='/a/base'/></backingStore><target dev='vda' bus='virtio'/></disk>
<disk type='block' device='disk'><source dev='/dev/vg/web'/><target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='{MAC}'/><source network='lan'/><target dev='vnet3'/></interface>
</devices></domain>"""


def clone(**values: object) -> CloneRequest:
    usual = CloneRequest(OTHER, "web 2", (("vda", "/a/web2.qcow2"), ("vdb", "/dev/vg/web2")), ("52:54:00:00:00:09",))
    return replace(usual, **values)  # type: ignore[arg-type]


def test_a_clone_differs_in_what_must_differ() -> None:
    node = etree.fromstring(clone_xml(read_xml(GUEST), clone()))
    assert (node.findtext("name"), node.findtext("uuid"), node.findtext("genid")) == ("web 2", OTHER, "")
    sources = [one.get("file") or one.get("dev") for one in node.iterfind("devices/disk/source")]
    assert sources == ["/a/web2.qcow2", "/dev/vg/web2", "/iso/a.iso"]
    assert node.find("devices/disk/backingStore") is None
    assert [one.get("address") for one in node.iterfind("devices/interface/mac")] == ["52:54:00:00:00:09"]
    nvram = node.find("os/nvram")
    assert nvram is not None
    assert (nvram.get("template"), nvram.text) == ("/t.fd", None)
    text = etree.tostring(node, encoding="unicode")
    assert "op-1" not in text
    assert "vnet3" not in text
    assert "urn:other" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"disks": (("vda", "/a/2"),)},
        {"disks": ()},
        {"disks": (("vda", "/a/2"), ("vdb", "/a/3"), ("vdz", "/a/4"))},
        {"disks": (("vda", "/a/../etc/shadow"), ("vdb", "/b"))},
        {"macs": ()},
        {"macs": ("52:54:00:00:00:09", "52:54:00:00:00:0a")},
        {"macs": ("no address",)},
        {"name": "a/b"},
    ],
)
def test_a_clone_that_does_not_fit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        clone_xml(read_xml(GUEST), clone(**wrong))


def test_other_media_in_the_same_drive() -> None:
    drive = read_xml(
        "<disk type='block' device='cdrom'><driver name='qemu' type='raw'/><source dev='/dev/sr0'/>"
        "<backingStore/><target dev='sda' bus='sata'/><readonly/></disk>"
    )
    node = etree.fromstring(media_xml(drive, "/iso/b & c.iso"))
    assert (node.get("type"), node.find("source").get("file")) == ("file", "/iso/b & c.iso")  # type: ignore[union-attr]
    assert len(node.findall("source")) == 1
    assert etree.fromstring(media_xml(drive, "")).find("source") is None


def test_an_adapter_keeps_its_address_and_what_a_running_guest_sees() -> None:
    now = read_xml(
        f"<interface type='network'><mac address='{MAC}'/><source network='a' portid='1' bridge='b'/><vlan>"
        "<tag id='1'/></vlan><model type='virtio'/><link state='down'/><address type='pci' slot='0x03'/></interface>"
    )
    wish = NicRequest(MAC, bridge="br1", open_vswitch=True, model="e1000")
    live = etree.fromstring(changed_nic_xml(now, wish, live=True))
    stored = etree.fromstring(changed_nic_xml(now, wish, live=False))
    for node in (live, stored):
        assert (node.get("type"), dict(node.find("source").attrib)) == ("bridge", {"bridge": "br1"})  # type: ignore[union-attr]
        assert node.find("address") is not None
        assert node.find("vlan") is None
        assert [one.get("state") for one in node.iterfind("link")] == ["up"]
    assert [node.find("model").get("type") for node in (live, stored)] == ["virtio", "e1000"]  # type: ignore[union-attr]


def test_names_for_disks_go_on_after_z() -> None:
    taken = [f"vd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    assert next_target("virtio", taken) == "vdaa"
    assert next_target("sata", taken) == "sda"
    assert next_target("virtio", ["vda", "vdc"]) == "vdb"


def test_a_disk_says_its_format_and_never_guesses() -> None:
    node = etree.fromstring(disk_xml(DiskRequest("/a/b", "raw", cache="none"), "vdc"))
    assert node.find("driver").attrib == {"name": "qemu", "type": "raw", "cache": "none", "discard": "unmap"}  # type: ignore[union-attr]


@pytest.mark.parametrize("path", ["", "a", "/a/../b", "/a\n", "/a\x00b", "//../x", "/" + "a" * 3000])
def test_no_path(path: str) -> None:
    with pytest.raises(Rejected):
        checked_path(path)


@pytest.mark.parametrize(
    "mac", ["", "52:54:00:00:00", "53:54:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "52-54"]
)
def test_no_address_of_one_adapter(mac: str) -> None:
    with pytest.raises(Rejected):
        checked_mac(mac)


def test_an_address_is_written_in_lower_case() -> None:
    assert checked_mac("52:54:00:AB:CD:EF") == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize("name", ["web 1", "Db_2.example+a@b:c-d", "9"])
def test_a_name(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["br0", "ovs-br.1", "a" * 15])
def test_a_device(name: str) -> None:
    assert checked_device(name) == name
