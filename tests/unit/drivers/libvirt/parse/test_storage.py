"""Storage pools and volumes become datastores that say how they are reached, and nothing that is not known."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.isolation.wire import pack, unpack
from drivers.libvirt.parse.storage import datastore_fact
from drivers.libvirt.parse.volumes import MOST_VOLUMES, volume_facts
from drivers.libvirt.raw import RawPool, RawVolume
from drivers.libvirt.text import LARGEST_NUMBER
from drivers.libvirt.xml import LONGEST_PATH
from drivers.types import DatastoreFact, HostBusAdapterFact, StorageClass, Technology, VolumeFact

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
DAS, SAN, NAS = StorageClass.DAS, StorageClass.SAN, StorageClass.NAS


def read(name: str) -> str:
    return (FIXTURES / name).read_text()


def store(xml: str, *, active: bool = True, adapters: tuple[HostBusAdapterFact, ...] = ()) -> DatastoreFact:
    fact = datastore_fact(RawPool(xml, active=active, autostart=True), "host-1", adapters)
    assert fact is not None
    return fact


def pool(name: str, *, active: bool = True, adapters: tuple[HostBusAdapterFact, ...] = ()) -> DatastoreFact:
    return store(read(f"pools/{name}.xml"), active=active, adapters=adapters)


@pytest.mark.parametrize(
    ("name", "technology", "storage_class", "source"),
    [
        ("dir", Technology.LOCAL, DAS, ""),
        ("fs", Technology.LOCAL, DAS, "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"),
        ("disk", Technology.LOCAL, DAS, "/dev/sdb"),
        ("nfs", Technology.NFS, NAS, "filer.example.org:/export/vm"),
        ("netfs-auto", Technology.NFS, NAS, "filer.example.org:/export/iso"),
        ("netfs-odd", Technology.OTHER, NAS, "filer:/x"),
        ("smb", Technology.SMB, NAS, "filer:vm"),
        ("glusterfs", Technology.GLUSTER, NAS, "g1:vol0"),
        ("gluster", Technology.GLUSTER, NAS, "g1:vol0"),
        ("gluster-folder", Technology.GLUSTER, NAS, "g1:vol0/sub"),
        ("vstorage", Technology.VSTORAGE, NAS, "cluster1"),
        ("logical", Technology.LVM, DAS, "vg0"),
        ("logical-on-fc", Technology.LVM, SAN, "vg1"),
        ("zfs", Technology.ZFS, DAS, "tank"),
        ("iscsi", Technology.ISCSI, SAN, "san1:iqn.2020-01.org.example:t1"),
        ("iscsi-direct", Technology.ISCSI, SAN, "[2001:db8::50]:3261:iqn.2020-01.org.example:t2"),
        ("fc", Technology.FC, SAN, "10000000c9831b4b"),
        ("scsi", Technology.SCSI, DAS, "host2"),
        ("scsi-by-slot", Technology.SCSI, DAS, "0000:18:00.0"),
        ("mpath", Technology.MULTIPATH, SAN, ""),
        ("rbd", Technology.RBD, SAN, "mon1:vms"),
        ("rbd-monitors", Technology.RBD, SAN, "[2001:db8::3]:6790,mon1,mon2:vms"),
        ("sheepdog", Technology.SHEEPDOG, SAN, "127.0.0.1:flock"),
        ("odd", Technology.OTHER, DAS, ""),
    ],
)
def test_pools(name: str, technology: Technology, storage_class: StorageClass, source: str) -> None:
    fact = pool(name)
    assert (fact.technology, fact.storage_class, fact.source) == (technology, storage_class, source)
    assert fact.ref == f"host-1/{fact.uuid}"


def test_every_type_of_pool_of_the_fixtures_is_tested() -> None:
    tested = {arguments[0] for mark in test_pools.pytestmark for arguments in mark.args[1]}  # type: ignore[attr-defined]
    assert tested | {"fs-on-iscsi"} == {path.stem for path in (FIXTURES / "pools").glob("*.xml")}


def test_what_a_pool_is_made_of() -> None:
    direct, ceph, group = pool("iscsi-direct"), pool("rbd-monitors"), pool("logical-on-fc")
    assert (direct.kind, direct.servers, direct.devices, direct.initiator) == (
        "iscsi-direct",
        ("[2001:db8::50]:3261",),
        ("iqn.2020-01.org.example:t2",),
        "iqn.2020-01.org.example:kvm-01",
    )
    assert ceph.servers == ("mon2", "[2001:db8::3]:6790", "mon1")
    assert (group.format, group.path, group.autostart) == ("lvm2", "/dev/vg1", True)
    assert group.devices == ("/dev/disk/by-path/pci-0000:3b:00.0-fc-0x50060e8010405060-lun-3", "/dev/sdc")
    assert (pool("fc").adapter, pool("scsi").adapter) == ("10000000c9831b4b", "host2")


def test_a_targets_controller_is_no_volume_and_a_lun_nobody_could_read_is_one() -> None:
    """As libvirt 9.0 lists the LUNs of tgt 1.0.85."""
    told = "<volume type='network'><name>unit:0:0:{0}</name><key>lun-{0}</key><capacity>{1}</capacity></volume>"
    listed = (
        RawVolume("unit:0:0:0", "lun-0", told.format(0, 0)),
        RawVolume("unit:0:0:1", "lun-1", told.format(1, 209714688)),
        RawVolume("unit:0:0:2", "lun-2"),
    )
    for kind, names in (("iscsi-direct", ["unit:0:0:1", "unit:0:0:2"]), ("gluster", [one.name for one in listed])):
        fact = datastore_fact(RawPool(read(f"pools/{kind}.xml"), True, True, listed), "host-1")
        assert fact is not None
        assert [volume.name for volume in fact.volumes] == names


def test_a_file_system_on_a_lun_of_a_fabric_is_no_direct_attached_one() -> None:
    fact = pool("fs-on-iscsi")
    assert (fact.technology, fact.storage_class, fact.format) == (Technology.LOCAL, SAN, "ocfs2")


@pytest.mark.parametrize(
    ("device", "storage_class"),
    [
        ("/dev/disk/by-path/pci-0000:3b:00.0-fc-0x50060e8010405060-lun-3", SAN),
        ("/dev/disk/by-path/ccw-0.0.1700-zfcp-0x500507630703d3b3:0x4011401500000000", SAN),
        ("/dev/disk/by-path/ip-[2001:db8::1]:3260-iscsi-iqn.2020-01.org.example:t1-lun-0-part1", SAN),
        ("/dev/rbd/vms/web", SAN),
        ("/dev/rbd0", SAN),
        ("/dev/disk/by-path/pci-0000:00:17.0-ata-1", DAS),
        ("/dev/disk/by-path/pci-0000:18:00.0-sas-phy0-lun-0", DAS),
        ("/dev/mapper/mpatha", DAS),
        ("/srv/my-iscsi-images/disk", DAS),
        ("/dev/sdc", DAS),
    ],
)
def test_only_a_name_that_tells_makes_a_disk_one_of_a_san(device: str, storage_class: StorageClass) -> None:
    xml = read("pools/logical.xml").replace("<source>", f"<source><device path='{device}'/>")
    assert store(xml).storage_class is storage_class


@pytest.mark.parametrize(
    ("card", "technology", "storage_class", "source"),
    [
        (HostBusAdapterFact("host2", "fc", wwpn="10000000c9831b4b"), Technology.FC, SAN, "10000000c9831b4b"),
        (HostBusAdapterFact("scsi_host2", "iscsi", iqn="iqn.x"), Technology.ISCSI, SAN, ""),
        (HostBusAdapterFact("host2", "sas"), Technology.SAS, DAS, "host2"),
        (HostBusAdapterFact("host2", "sata"), Technology.SCSI, DAS, "host2"),
        (HostBusAdapterFact("host22", "fc", wwpn="1"), Technology.SCSI, DAS, "host2"),
    ],
)
def test_a_pool_of_a_cards_disks_is_reached_as_the_card_reaches_them(
    card: HostBusAdapterFact, technology: Technology, storage_class: StorageClass, source: str
) -> None:
    """`source` never says of two hosts' cards of one name that they are the same."""
    fact = pool("scsi", adapters=(card,))
    assert (fact.technology, fact.storage_class, fact.source) == (technology, storage_class, source)


def test_a_world_wide_name_has_one_spelling() -> None:
    xml = read("pools/fc.xml").replace("wwpn='10000000c9831b4b'", "wwpn='0x10000000C9831B4B'")
    assert store(xml) == pool("fc")


def test_a_slot_with_two_cards_tells_nothing() -> None:
    ports = tuple(HostBusAdapterFact(name, "fc", "0000:18:00.0") for name in ("host4", "host5"))
    assert pool("scsi-by-slot", adapters=ports).technology is Technology.SCSI
    assert pool("scsi-by-slot", adapters=ports[:1]).technology is Technology.FC


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<host name='mon1'/><host name='mon2'/>", "<host name='MON2.' port='6789'/><host name='mon1' port='3300'/>"),
        ("<host name='2001:db8::1'/>", "<host name='[2001:DB8:0::1]'/>"),
        ("<host name='mon1'/>", "<host name='mon1'/><host name='mon1' port='0'/><host/>"),
    ],
)
def test_one_source_has_one_spelling(one: str, other: str) -> None:
    xml = read("pools/rbd.xml")
    sources = {store(xml.replace("<host name='mon1' port='6789'/>", hosts)).source for hosts in (one, other)}
    assert len(sources) == 1


def test_a_pools_sizes_make_sense() -> None:
    nfs, smb, odd = pool("nfs", active=False), pool("smb"), pool("odd")
    assert (nfs.capacity_bytes, nfs.available_bytes, nfs.active) == (100 << 30, 40 << 30, False)
    assert (smb.capacity_bytes, smb.available_bytes) == (10, 10), "no more free than there is"
    assert (odd.capacity_bytes, odd.name) == (0, odd.uuid)


@pytest.mark.parametrize("uuid", ["", "x", "3f2504e0-4f89", "{}", "../../etc"])
def test_what_has_no_uuid_is_no_datastore(uuid: str) -> None:
    xml = f"<pool type='dir'><name>a</name><uuid>{uuid}</uuid></pool>"
    assert datastore_fact(RawPool(xml, active=True, autostart=True), "h") is None


# Volumes


def volume(name: str) -> VolumeFact:
    (fact,) = volume_facts((RawVolume("", "", read(f"volumes/{name}.xml")),))
    return fact


def test_volumes() -> None:
    assert volume("qcow2") == VolumeFact(
        key="/srv/vm/db-07.qcow2",
        name="db-07.qcow2",
        path="/srv/vm/db-07.qcow2",
        kind="file",
        format="qcow2",
        capacity_bytes=10 << 30,
        allocated_bytes=1 << 20,
        backing="/srv/vm/debian.qcow2",
    )
    block, folder, image = volume("logical"), volume("netdir"), volume("rbd")
    assert (block.kind, block.path, block.format) == ("block", "/dev/vg0/orders", "")
    assert (folder.kind, folder.path, folder.capacity_bytes) == ("netdir", "gluster://g1/vol0/sub", 0)
    assert (image.kind, image.key, image.allocated_bytes) == ("network", "vms/web", 9)


def test_a_volume_of_which_only_the_path_is_known_is_named_by_it() -> None:
    odd = volume("odd")
    assert (odd.key, odd.name) == ("/srv/vm/only a path.img", "only a path.img")
    assert (odd.capacity_bytes, odd.allocated_bytes) == (0, 0)


@pytest.mark.parametrize(
    "xml", ["", "no xml", "<volume>", "<!DOCTYPE v [<!ENTITY e 'x'>]><volume><name>&e;</name></volume>"]
)
def test_a_volume_that_cannot_be_described_is_still_there(xml: str) -> None:
    (fact,) = volume_facts((RawVolume("a.img", "/srv/a.img", xml),))
    assert (fact.key, fact.name, fact.capacity_bytes, fact.kind) == ("/srv/a.img", "a.img", 0, "")


def test_volumes_have_one_order_and_each_key_once() -> None:
    raw = [RawVolume(name, f"/srv/{name}") for name in ("b", "a", "c", "a", "")]
    assert [fact.key for fact in volume_facts(raw)] == ["/srv/", "/srv/a", "/srv/b", "/srv/c"]
    assert volume_facts(raw) == volume_facts(reversed(raw))
    assert volume_facts((RawVolume("", "", "<volume/>"),)) == ()


def test_volumes_are_bounded() -> None:
    assert len(volume_facts(RawVolume("", str(number)) for number in range(MOST_VOLUMES + 7))) == MOST_VOLUMES


def test_a_pool_says_when_it_may_have_more_volumes() -> None:
    whole = RawPool(read("pools/dir.xml"), True, True, (RawVolume("a.img", "/a.img"),))
    raws = (whole, replace(whole, cut=True), replace(whole, active=False, volumes=()))
    facts = [datastore_fact(raw, "h") for raw in raws]
    assert [fact.volumes_cut for fact in facts if fact] == [False, True, True]
    assert facts[0]
    assert [volume.name for volume in facts[0].volumes] == ["a.img"]


TEXT = st.text(st.characters(codec=None), max_size=40)
KINDS = st.sampled_from(["netfs", "scsi", "gluster", "logical", "rbd", "iscsi", "x"])


@settings(deadline=None)
@given(kind=KINDS, a=TEXT, b=TEXT, number=st.one_of(st.integers().map(str), TEXT))
def test_whatever_comes_can_be_sent_on(kind: str, a: str, b: str, number: str) -> None:
    """Facts must fit the message format: valid text, 64-bit numbers."""
    source = (
        f"<host name='{a}' port='{number}'/><device path='{b}'/><dir path='{a}'/><name>{b}</name><format type='{a}'/>"
        f"<adapter type='{b}' wwpn='{a}'><parentaddr><address slot='{number}' bus='{b}'/></parentaddr></adapter>"
    )
    xml = (
        f"<pool type='{kind}'><uuid>3f2504e0-4f89-41d3-9a0c-0305e82c3301</uuid><capacity unit='{a}'>{number}</capacity>"
    )
    volumes = (RawVolume(a, b, f"<volume><capacity unit='EiB'>{number}</capacity><key>{a}</key></volume>"),)
    fact = datastore_fact(RawPool(f"{xml}<source>{source}</source></pool>", True, True, volumes), "h")
    if fact:
        assert unpack(pack(fact), DatastoreFact) == fact
        assert len(fact.source) <= LONGEST_PATH
        sizes = [fact.capacity_bytes, *(one.capacity_bytes for one in fact.volumes)]
        assert all(0 <= size <= LARGEST_NUMBER for size in sizes)
