"""What guests are made of."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab import guests, hosts, state, storage
from lab.processes import LabError, ProcessRef
from lab.state import Host, LabState, Place

PLACE = Place("demo", Path("/data"))


@pytest.fixture
def lab() -> LabState:
    made = [Host(f"kvm-0{n}", n, f"uuid-{n}", f"10.66.4.1{n}") for n in (1, 2)]
    lab = LabState("demo", "/data", "10.66.4.0/23", "up", ProcessRef(1, 2), None, made)
    guests.first_guests(PLACE, lab)
    return lab


def xml(lab: LabState, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(guests.domain_xml(lab, lab.guest(name)))  # noqa: S314 - our own text


def test_every_host_starts_with_two_guests_of_their_own(lab: LabState) -> None:
    assert [(g.name, g.first_host) for g in lab.guests] == [
        ("web-01", "kvm-01"),
        ("db-01", "kvm-01"),
        ("web-02", "kvm-02"),
        ("db-02", "kvm-02"),
    ]
    for field in ("uuid", "address", "number"):
        assert len({getattr(guest, field) for guest in lab.guests}) == 4


def test_a_guest_is_on_networks_and_disks_every_host_has(lab: LabState) -> None:
    web, db = xml(lab, "web-01"), xml(lab, "db-01")
    assert [s.get("network") for s in web.findall(".//interface/source")] == ["guests", "default"]
    assert [s.get("network") for s in db.findall(".//interface/source")] == ["guests", "isolated"]
    assert [d.get("type") for d in (web.find(".//disk/driver"), db.find(".//disk/driver")) if d is not None] == [
        "qcow2",
        "raw",
    ]
    assert "kvm-01" not in guests.domain_xml(lab, lab.guest("web-01"))


def test_hardware_addresses_are_all_different(lab: LabState) -> None:
    seen = [mac.get("address") for guest in lab.guests for mac in xml(lab, guest.name).findall(".//interface/mac")]
    assert len(set(seen)) == len(seen) == 8


def test_a_tiny_guest_has_no_network_and_a_disk_nobody_writes(lab: LabState) -> None:
    tiny = guests.new_guest(PLACE, lab, host=lab.hosts[0], name="tiny-01", kind="tiny")
    made = xml(lab, tiny.name)
    assert made.find(".//interface") is None
    assert made.find(".//disk/readonly") is not None
    assert tiny.address is None
    assert tiny.disk == "none"


def test_a_local_disk_is_on_the_local_datastore(lab: LabState) -> None:
    guest = guests.new_guest(PLACE, lab, host=lab.hosts[0], name="build-01", disk="local")
    assert storage.disk_path(guest) == storage.LOCAL_PATH / "build-01.img"


def test_memory_that_is_rewritten_is_added(lab: LabState) -> None:
    busy = guests.new_guest(PLACE, lab, host=lab.hosts[0], name="cache-01", dirty=64)
    assert busy.memory == guests.LINUX_MEMORY + 64 + 16
    assert "lab.dirty=64" in guests.domain_xml(lab, busy)


def test_a_name_is_given_once(lab: LabState) -> None:
    with pytest.raises(LabError, match="already has a guest web-01"):
        guests.new_guest(PLACE, lab, host=lab.hosts[0], name="web-01")


def test_a_tiny_guest_can_do_little(lab: LabState) -> None:
    with pytest.raises(LabError, match="boot sector"):
        guests.new_guest(PLACE, lab, host=lab.hosts[0], name="x", kind="tiny", dirty=1)


def test_free_names_and_quiet_hosts(lab: LabState) -> None:
    assert guests.free_name(lab, "linux") == "app-01"
    guests.new_guest(PLACE, lab, host=lab.hosts[0], name="app-01")
    assert guests.free_name(lab, "linux") == "app-02"
    assert guests.quietest_host(lab).name == "kvm-02"


def test_states_are_read_from_one_answer(lab: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        "Domain: 'web-01'\n  state.state=1\n  state.reason=5\n\nDomain: 'it''s'\n  state.state=5\n  state.reason=0\n"
    )
    monkeypatch.setattr(guests, "run", lambda *_args, **_options: answer)
    assert guests.where(PLACE, lab.hosts[0]) == {"web-01": "running", "it''s": "shutoff"}


def test_networks_and_pools_are_well_formed(lab: LabState) -> None:
    one, two = lab.hosts
    for text in [net.xml for net in hosts.networks(PLACE, one)] + [pool.xml for pool in hosts.pools(PLACE, lab, one)]:
        assert ElementTree.fromstring(text).findtext("uuid")  # noqa: S314 - our own text
    shared = [[p.uuid for p in storage.pools(PLACE, lab, host) if p.shared] for host in (one, two)]
    assert shared[0] == shared[1]
    local = [[p.uuid for p in storage.pools(PLACE, lab, host) if not p.shared] for host in (one, two)]
    assert local[0] != local[1]


def test_a_host_knows_itself_and_the_others_by_name(lab: LabState) -> None:
    assert "10.66.4.12 kvm-02.lab kvm-02" in hosts.hosts_file(lab.hosts)
    assert state.DOMAIN == "lab"
