"""A lab of two releases: the newer host runs Debian 13's libvirt and QEMU, and guests move to it alive."""

from collections.abc import Callable, Iterator

import pytest

from drivers.isolation import SessionPool
from drivers.types import Endpoint, Snapshot, Transport
from lab.api import Lab, LabHost
from lab.processes import LabError

EXTRAS = ("ovs", "iscsi", "archive", "nfs", "trixie")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """kvm-01 is the older one, kvm-02 the newer one."""
    lab = make_lab("trixie", hosts=1, counting=True, extras=EXTRAS)
    yield lab
    lab.stop()


def read(host: LabHost) -> Snapshot:
    pool = SessionPool(processes=1)
    try:
        endpoint = Endpoint("libvirt", Transport.TCP, address=host.address, key=host.name)
        with pool.session(endpoint, deadline_s=60) as session:
            return session.snapshot()
    finally:
        pool.close()


def migrate(host: LabHost, name: str, to: LabHost) -> None:
    host.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", name, to.uri)


def test_the_driver_reads_both_releases(lab: Lab) -> None:
    older, newer = (read(host).hosts[0] for host in lab.hosts)
    assert newer.manager_version.startswith("11.")
    assert newer.hypervisor_version.startswith("10.")
    assert older.manager_version.startswith("9.")
    stores = [{fact.name for fact in read(host).datastores} for host in lab.hosts]
    assert stores[0] == stores[1] == {"shared", "local", "archive", "san"}


@pytest.mark.parametrize("name", ["web-01", "db-01", "erp-01", "files-01"])
def test_a_guest_of_the_older_host_moves_to_the_newer_one_alive_and_back(lab: Lab, name: str) -> None:
    guest, (older, newer) = lab.guest(name), lab.hosts
    boot, before = guest.boot_id, guest.wait_heartbeat()
    migrate(older, name, newer)
    assert guest.running_on == guest.defined_on == [newer.name]
    halfway = guest.wait_heartbeat(before)
    migrate(newer, name, older)
    assert guest.running_on == guest.defined_on == [older.name]
    guest.wait_heartbeat(halfway)
    assert guest.boot_id == boot


def test_a_guest_of_the_newer_host_has_a_machine_that_the_older_one_does_not_know(lab: Lab) -> None:
    older, newer = lab.hosts
    with pytest.raises(LabError, match="machine"):
        migrate(newer, "web-02", older)
    assert lab.guest("web-02").running_on == [newer.name]
