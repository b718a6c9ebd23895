"""What a lab has besides: each is real, and the driver reads it. One lab of two hosts has all of them.

Debian 13's is in tests/full: one more root to unpack, and one more host.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.errors import AuthFailed
from drivers.isolation import SessionPool
from drivers.types import (
    DatastoreFact,
    Endpoint,
    GuestFact,
    GuestState,
    Hypervisor,
    Snapshot,
    StorageClass,
    Technology,
    Transport,
)
from lab import extras, lifecycle
from lab.api import Lab, LabGuest, LabHost
from lab.processes import LabError, run, succeeds, wait_for
from storage.identity import datastore_identity
from tests.traces import traces

EXTRAS = ("ovs", "tls", "iscsi", "archive", "lxc", "nfs")
MakeLab = Callable[..., Lab]


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Iterator[Lab]:
    """Two hosts; those tests that take it apart are the last ones."""
    lab = make_lab("extras", hosts=2, counting=True, extras=EXTRAS)
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def pool() -> Iterator[SessionPool]:
    pool = SessionPool(processes=2)
    yield pool
    pool.close()


def tcp(host: LabHost, hypervisor: Hypervisor = Hypervisor.QEMU) -> Endpoint:
    return Endpoint("libvirt", Transport.TCP, address=host.address, key=host.name, hypervisor=hypervisor)


def tls(host: LabHost, client: dict[str, str]) -> Endpoint:
    return Endpoint(
        "libvirt",
        Transport.TLS,
        address=host.address,
        key=f"{host.name} by {client['folder']}",
        ca_certificate=Path(client["ca"]).read_text(),
        client_certificate=Path(client["certificate"]).read_text(),
        private_key=Path(client["key"]).read_text(),
    )


def read(pool: SessionPool, endpoint: Endpoint) -> Snapshot:
    with pool.session(endpoint, deadline_s=60) as session:
        return session.snapshot()


def store(snapshot: Snapshot, name: str) -> DatastoreFact:
    return next(fact for fact in snapshot.datastores if fact.name == name)


def guest_in(snapshot: Snapshot, name: str) -> GuestFact:
    return next(fact for fact in snapshot.guests if fact.name == name)


def move(guest: LabGuest, to: LabHost) -> None:
    """By virsh, without force: libvirt itself holds the guest's disks for shared."""
    guest.host.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", guest.name, to.uri)


def other_host(guest: LabGuest) -> LabHost:
    return next(host for host in guest.lab.hosts if host.name != guest.host.name)


def moves_on(guest: LabGuest) -> None:
    """It moves, counts on and has noticed nothing."""
    before, boot, away = guest.wait_heartbeat(), guest.boot_id, other_host(guest)
    move(guest, away)
    assert guest.running_on == guest.defined_on == [away.name]
    guest.wait_heartbeat(before)
    assert guest.boot_id == boot


# -- Open vSwitch


def tagged(guest: LabGuest) -> str:
    """Its address on the tagged networks; one range for all, so that nothing but the tag keeps guests apart."""
    shown = guest.host.virsh("dumpxml", guest.name)
    return shown.partition("lab.tagged=")[2].partition("/")[0]


def said_since(guest: LabGuest, mark: int) -> str:
    return guest.serial_text(guest.host)[mark:]


def hears_its_own_vlan_only(guest: LabGuest, same: LabGuest, other: LabGuest, mark: int = 0) -> None:
    wanted = {f"REACHED {tagged(same)}", f"SILENT {tagged(other)}"}
    assert wait_for(lambda: wanted <= set(said_since(guest, mark).splitlines()), 120, step=0.2)
    assert f"REACHED {tagged(other)}" not in said_since(guest, mark)


def test_guests_of_one_vlan_meet_across_hosts_and_those_of_two_do_not(lab: Lab) -> None:
    web, other_web, other_db = (lab.guest(name) for name in ("web-01", "web-02", "db-02"))
    assert web.host.name != other_web.host.name
    hears_its_own_vlan_only(web, other_web, other_db)
    hears_its_own_vlan_only(lab.guest("db-01"), other_db, other_web)


def test_a_guest_keeps_its_vlan_when_it_moves(lab: Lab) -> None:
    web = lab.guest("web-01")
    away = other_host(web)
    mark = len(web.serial_text(away))
    moves_on(web)
    hears_its_own_vlan_only(web, lab.guest("web-02"), lab.guest("db-02"), mark)
    moves_on(web)


def test_the_driver_reads_port_groups_vlans_and_the_uplink(lab: Lab, pool: SessionPool) -> None:
    snapshot = read(pool, tcp(lab.guest("db-01").host))
    lan = next(fact for fact in snapshot.switches if fact.name == "lan")
    assert lan.virtual_port == "openvswitch"
    assert {group.name: (group.vlans, group.trunk) for group in lan.port_groups} == {
        "vlan10": ((10,), False),
        "vlan20": ((20,), False),
        "trunk": ((10, 20), True),
    }
    (nic,) = (nic for nic in guest_in(snapshot, "db-01").nics if nic.network == "lan")
    assert (nic.port_group, nic.virtual_port, nic.vlans) == ("vlan20", "openvswitch", (20,))


# -- disks over the network


def test_the_luns_are_one_datastore_that_every_host_defined_apart(lab: Lab, pool: SessionPool) -> None:
    seen = [store(read(pool, tcp(host)), "san") for host in lab.hosts]
    assert {(fact.technology, fact.storage_class) for fact in seen} == {(Technology.ISCSI, StorageClass.SAN)}
    assert len({fact.uuid for fact in seen}) == 2
    assert len({datastore_identity(fact, host.uuid) for fact, host in zip(seen, lab.hosts, strict=True)}) == 1
    assert [volume.name for volume in seen[0].volumes] == ["unit:0:0:1", "unit:0:0:2", "unit:0:0:3"]
    assert {volume.capacity_bytes >> 20 for volume in seen[0].volumes} == {199}


@pytest.mark.parametrize(("name", "protocol", "port"), [("erp-01", "iscsi", ":3260"), ("files-01", "nfs", "")])
def test_a_guest_lives_on_a_disk_over_the_network(
    lab: Lab, pool: SessionPool, name: str, protocol: str, port: str
) -> None:
    guest = lab.guest(name)
    assert "DISK mounted, start 1" in guest.serial_text("kvm-01")
    (disk,) = guest_in(read(pool, tcp(guest.host)), name).disks
    assert disk.source_type == "network"
    assert disk.source.startswith(f"{protocol}:")
    assert disk.servers == (f"{lab.host('san-01').address}{port}",)
    moves_on(guest)


def test_a_guest_without_its_storage_goes_on_once_that_is_back(lab: Lab) -> None:
    guest, san = lab.guest("erp-01"), lab.host("san-01")
    san.pull_plug()
    assert not san.is_on
    san.plug_in()
    before = guest.wait_heartbeat()
    guest.host.virsh("pool-refresh", "san")
    assert guest.wait_heartbeat(before)


def test_the_second_shared_datastore_is_one_with_a_size_of_its_own(lab: Lab, pool: SessionPool) -> None:
    first, second = (read(pool, tcp(host)) for host in lab.hosts)
    stores = [store(first, "archive"), store(second, "archive")]
    assert len({datastore_identity(fact, host.uuid) for fact, host in zip(stores, lab.hosts, strict=True)}) == 1
    assert 2 << 30 < stores[0].capacity_bytes < 3 << 30
    assert store(first, "shared").capacity_bytes != stores[0].capacity_bytes
    lab.hosts[0].virsh("vol-create-as", "archive", "proof.img", "1M")
    lab.hosts[1].virsh("pool-refresh", "archive")
    assert "proof.img" in lab.hosts[1].virsh("vol-list", "archive")
    lab.hosts[1].virsh("vol-delete", "proof.img", "archive")


# -- other connections


def test_a_client_of_the_labs_authority_is_let_in_and_a_stranger_is_not(lab: Lab, pool: SessionPool) -> None:
    host, clients = lab.hosts[0], lab.status()["tls"]
    assert read(pool, tls(host, clients["client"])).hosts[0].uuid == host.uuid
    uri = lab.status()["hosts"][0]["tls_uri"]
    assert run(["virsh", "-q", "-c", f"{uri}?pkipath={clients['client']['folder']}", "hostname"]).strip() == host.fqdn
    with pytest.raises(AuthFailed):
        read(pool, tls(host, clients["stranger"]))
    with pytest.raises(LabError, match="TLS"):
        run(["virsh", "-q", "-c", f"{uri}?pkipath={clients['stranger']['folder']}", "hostname"])


def test_hosts_are_each_others_clients_by_tls(lab: Lab) -> None:
    guest = lab.guest("db-01")
    away, before = other_host(guest), guest.wait_heartbeat()
    options = ("--live", "--p2p", "--undefinesource", "--persistent")
    guest.host.virsh("migrate", *options, guest.name, f"qemu+tls://{away.address}/system")
    assert guest.running_on == guest.defined_on == [away.name]
    guest.wait_heartbeat(before)


def test_a_container_runs_and_the_driver_reads_it(lab: Lab, pool: SessionPool) -> None:
    host = lab.host("lxc-01")
    (container,) = lab.status()["others"][0]["containers"]
    assert wait_for(lambda: succeeds(["ping", "-c", "1", "-W", "1", container["address"]]), 30)
    snapshot = read(pool, tcp(host, Hypervisor.LXC))
    assert snapshot.hosts[0].uuid == host.uuid
    assert [(guest.name, guest.state) for guest in snapshot.guests] == [(container["name"], GuestState.RUNNING)]


# -- power


def test_all_of_it_outlives_a_power_loss(lab: Lab, pool: SessionPool) -> None:
    host, web = lab.host("kvm-02"), lab.guest("web-02")
    host.pull_plug()
    host.plug_in()
    active = set((host.virsh("pool-list", "--name") + host.virsh("net-list", "--name")).split())
    assert active == {"shared", "local", "archive", "san", "default", "isolated", "guests", "lan"}
    mark = len(web.serial_text(host))
    web.make_run()
    hears_its_own_vlan_only(web, lab.guest("web-01"), lab.guest("db-01"), mark)


def test_a_container_starts_again_with_its_host(lab: Lab) -> None:
    host = lab.host("lxc-01")
    (container,) = lab.status()["others"][0]["containers"]
    host.pull_plug()
    assert not succeeds(["ping", "-c", "1", "-W", "1", container["address"]])
    host.plug_in()
    assert wait_for(lambda: succeeds(["ping", "-c", "1", "-W", "1", container["address"]]), 30)
    assert host.virsh("list", "--name").split() == [container["name"]]


def test_a_person_sees_every_machine_and_its_extras(lab: Lab) -> None:
    shown = lab.status()
    assert shown["extras"] == [name for name in extras.EXTRAS if name in EXTRAS]
    assert [machine["name"] for machine in shown["hosts"] + shown["others"]] == ["kvm-01", "kvm-02", "lxc-01", "san-01"]
    assert {machine["power"] for machine in shown["hosts"] + shown["others"]} == {"on"}


def test_a_lab_that_was_killed_leaves_nothing(lab: Lab) -> None:
    """The last one: it ends the lab of this module."""
    process = lab._process
    assert process is not None
    process.kill()
    process.wait()
    assert wait_for(lambda: not any(host.is_on for host in lab.hosts + lab.others), 20)
    lifecycle.down(lab.place)
    assert traces(lab.name) == []
    assert not lab.place.folder.exists()
