"""What a lab can have besides: its machines, what they define, and the roots they run from."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab import containers, extras, guests, hosts, network, ovs, roots, san, status
from lab.processes import LabError, NotPossible, ProcessRef
from lab.state import LabState, Place

PLACE = Place("demo", Path("/data"))


def make_lab(*chosen: str, count: int = 2) -> LabState:
    lab = LabState("demo", "/data", "10.66.4.0/23", "up", ProcessRef(1, 2), None, extras=list(chosen))
    extras.enter_machines(PLACE, lab, count)
    guests.first_guests(PLACE, lab)
    return lab


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - our own text


def test_extras_are_named_by_commas() -> None:
    assert extras.parse("") == []
    assert extras.parse("tls, ovs,tls") == ["ovs", "tls"]
    assert extras.parse("all") == list(extras.EXTRAS)
    with pytest.raises(LabError, match=r"cannot have teapot; --with takes ovs, .*, all\."):
        extras.parse("ovs,teapot")


def test_a_plain_lab_has_hosts_from_this_machine_alone() -> None:
    lab = make_lab()
    assert [(host.name, host.release, host.trunk) for host in lab.machines] == [
        ("kvm-01", "", False),
        ("kvm-02", "", False),
    ]
    assert [pool.name for pool in hosts.pools(PLACE, lab, lab.hosts[0])] == ["shared", "local"]
    assert [net.name for net in hosts.networks(PLACE, lab.hosts[0])] == ["default", "isolated", "guests"]


def test_each_extra_brings_its_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "own_release", lambda: "bookworm")
    assert [host.name for host in make_lab("trixie").machines] == ["kvm-01", "kvm-02", "kvm-03"]
    assert [host.release for host in make_lab("trixie").hosts] == ["", "", "trixie"]
    assert [host.name for host in make_lab("lxc").others] == ["lxc-01"]
    assert [host.name for host in make_lab("iscsi", "nfs").others] == ["san-01"]
    assert {host.release for host in make_lab("iscsi").machines} == {"bookworm"}
    everything = make_lab(*extras.EXTRAS, count=network.MAX_HOSTS).machines
    assert len({host.address for host in everything}) == len({host.uuid for host in everything}) == len(everything)


def test_two_releases_are_two_on_a_machine_of_the_newer_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "own_release", lambda: "trixie")
    assert [host.release for host in make_lab("trixie", "ovs").hosts] == ["bookworm", "bookworm", "trixie"]
    assert [host.release for host in make_lab("ovs").hosts] == ["trixie", "trixie"]


def test_port_groups_have_their_tags_and_the_trunk_has_all() -> None:
    lab = make_lab("ovs")
    net = next(net for net in hosts.networks(PLACE, lab.hosts[0]) if net.name == ovs.NAME)
    root = parsed(net.xml)
    assert root.find("virtualport[@type='openvswitch']") is not None
    tags = {g.get("name"): [tag.get("id") for tag in g.findall("vlan/tag")] for g in root.findall("portgroup")}
    assert tags == {"vlan10": ["10"], "vlan20": ["20"], "trunk": ["10", "20"]}


def test_guests_of_a_vlan_ask_those_of_both() -> None:
    lab = make_lab("ovs")
    web, db = (parsed(guests.domain_xml(lab, lab.guest(name))) for name in ("web-01", "db-01"))
    groups = [root.find(".//interface/source[@network='lan']") for root in (web, db)]
    assert [group.get("portgroup") for group in groups if group is not None] == ["vlan10", "vlan20"]
    words = (web.findtext("os/cmdline") or "").split()
    mine = network.tagged_address(lab.guest("web-01").number)
    others = [network.tagged_address(guest.number) for guest in lab.guests if guest.name != "web-01"]
    assert f"lab.tagged={mine}/24" in words
    assert f"lab.ask={','.join(others)}" in words


def test_the_disks_of_the_storage_machine_are_reached_by_qemu() -> None:
    lab = make_lab("iscsi", "nfs")
    sources = {
        name: parsed(guests.domain_xml(lab, lab.guest(name))).find(".//disk[@type='network']/source")
        for name in ("erp-01", "files-01")
    }
    shown = {name: (s.get("protocol"), s.get("name")) for name, s in sources.items() if s is not None}
    assert shown == {"erp-01": ("iscsi", f"{san.iqn('demo')}/1"), "files-01": ("nfs", "/srv/nfs/files-01.img")}


def test_every_host_has_defined_the_luns_apart() -> None:
    lab = make_lab("iscsi")
    pools = [parsed(san.pool(PLACE, lab, host).xml) for host in lab.hosts]
    assert {pool.get("type") for pool in pools} == {"iscsi-direct"}
    assert len({pool.findtext("uuid") for pool in pools}) == 2
    targets = [pool.find("source/device") for pool in pools]
    assert {target.get("path") for target in targets if target is not None} == {san.iqn("demo")}


def test_the_archive_is_one_datastore() -> None:
    lab = make_lab("archive")
    found = [pool for host in lab.hosts for pool in hosts.pools(PLACE, lab, host) if pool.name == "archive"]
    assert len(found) == 2
    assert len({pool.uuid for pool in found}) == 1


def test_the_container_is_well_formed_and_has_an_address_no_guest_gets() -> None:
    lab = make_lab("lxc")
    root = parsed(containers.container_xml(PLACE, lab))
    assert root.get("type") == "lxc"
    assert containers.address(lab) == "10.66.5.251"
    with pytest.raises(LabError):
        network.guest_address(lab.subnet, 251 - network.FIRST_GUEST)


def test_uris() -> None:
    lab = make_lab("lxc", "tls")
    kvm, lxc = lab.hosts[0], lab.others[0]
    assert (hosts.tcp_uri(kvm), hosts.tls_uri(kvm)) == (
        "qemu+tcp://10.66.4.11/system",
        "qemu+tls://10.66.4.11/system",
    )
    assert hosts.tcp_uri(lxc) == f"lxc+tcp://{lxc.address}/system"
    assert hosts.unix_uri(PLACE, lxc).startswith("lxc+unix:///system?socket=/")


def test_a_person_sees_every_machine() -> None:
    machine = {"name": "san-01", "release": "bookworm", "power": "on", "cable": "joined", "iscsi": "a:3260/b"}
    shown = {"name": "demo", "state": "up", "extras": ["iscsi"], "hosts": [], "guests": [], "others": [machine]}
    assert list(status.sentences(shown)) == [
        "lab demo: up, with iscsi",
        "  san-01 [bookworm]  power on, cable joined  a:3260/b",
    ]


def test_a_missing_program_of_an_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotPossible, match=r"mmdebstrap, which this machine lacks; .* mmdebstrap$"):
        extras.prepare(PLACE, make_lab("trixie"), print)


def test_a_root_in_the_cache_is_used_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.state.RUNTIME", tmp_path / "run")
    monkeypatch.setattr(roots, "run", lambda *_args, **_more: pytest.fail("the cache was not used"))
    roots.folder(tmp_path, "trixie").mkdir()
    assert roots.prepare(tmp_path, "trixie") == roots.folder(tmp_path, "trixie")


def test_a_root_that_could_not_be_unpacked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_more: object) -> str:
        raise LabError("no mirror")

    monkeypatch.setattr("lab.state.RUNTIME", tmp_path / "run")
    monkeypatch.setattr(roots, "run", fail)
    with pytest.raises(LabError, match="no mirror"):
        roots.prepare(tmp_path / "cache", "trixie")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_link_takes_the_place_of_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    roots._link(tmp_path / "run", "/run")
    roots._link(tmp_path / "run", "/elsewhere")
    assert (tmp_path / "run").readlink() == Path("/run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(OSError, match="not empty"):
        roots._link(tmp_path / "full", "/run")


def test_the_mirror_is_this_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        roots, "run", lambda *_: "Debian Debian-Security http://s\nDebian Debian http://mirror.example\n"
    )
    assert roots.mirror() == "http://mirror.example"
    monkeypatch.setattr(roots, "run", lambda *_: "Ubuntu Ubuntu http://u\n")
    assert roots.mirror() == roots.DEFAULT_MIRROR
