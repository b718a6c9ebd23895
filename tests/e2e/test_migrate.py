"""A running guest moves between real hosts, and does not notice."""

import pytest

from access.models import User
from access.roles import Role
from inventory.models import Guest
from lab.api import LabGuest
from migrations.models import GuestMigration
from migrations.selectors import targets_for
from migrations.services import NotPossible, submit_migration
from operations.models import Job
from operations.services import request_cancel
from tests import jobs
from tests.stack import Product, wait_until


def wait_for_end(migration: GuestMigration) -> GuestMigration:
    jobs.wait_for_end(migration.job, 120)
    return GuestMigration.objects.select_related("job", "guest__host__source").get(pk=migration.pk)


def move(product: Product, guest: LabGuest, to: str) -> GuestMigration:
    row = product.settle(guest)
    migration = submit_migration(guest=row, target_host=product.host(to), by="test")
    return wait_for_end(migration)


def other_host(product: Product, guest: LabGuest) -> str:
    return next(host.name for host in product.lab.hosts if host.name != guest.host.name)


def test_there_and_back_without_a_break(product: Product) -> None:
    guest = product.lab.guests[0]
    home, away = guest.host.name, other_host(product, guest)
    boot, beat = guest.boot_id, guest.wait_heartbeat()
    with product.lab.ping(guest) as ping:
        for to in (away, home):
            migration = move(product, guest, to)
            assert migration.job.state == "succeeded", migration.job.message
            assert migration.guest is not None
            assert migration.guest.host.source.name == to, "the row says so in the commit that says succeeded"
            assert guest.running_on == [to]
            assert guest.defined_on == [to], "one definition"
            beat = guest.wait_heartbeat(after=beat)
    assert guest.boot_id == boot
    assert guest.doubled_beats() == []
    assert len(guest.lost_beats()) <= 2, "a line that a move cut in two is in neither half"
    assert ping.longest_gap < 5, "it answered all the time"


def test_the_story_and_the_figures_are_kept(product: Product) -> None:
    guest = product.lab.guests[1]
    migration = move(product, guest, other_host(product, guest))
    states = list(migration.job.steps.values_list("state", flat=True))
    assert states[:3] == ["queued", "checking", "preparing"]
    assert states[-2:] == ["verifying", "succeeded"]
    assert migration.job.progress["percent"] == 100
    assert "urn:guesthouse" not in guest.host.virsh("dumpxml", guest.uuid), "the stamp is gone"


def test_virsh_moves_a_guest_and_the_console_sees_it(product: Product) -> None:
    guest = product.lab.guests[2]
    row = product.settle(guest)
    away = next(host for host in product.lab.hosts if host.name != guest.host.name)
    guest.host.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", guest.uuid, away.uri)
    wait_until(
        lambda: Guest.objects.get(pk=row.pk).host_id == product.host(away.name).pk, "the console saw it", seconds=120
    )


def test_cancel_leaves_it_where_it_was(product: Product) -> None:
    guest = product.lab.guests[3]
    home, row = guest.host.name, product.settle(guest)
    slow_down(guest)
    migration = submit_migration(guest=row, target_host=product.host(other_host(product, guest)), by="test")
    wait_until(Job.objects.filter(pk=migration.pk, state="copying").exists, "it copies")
    request_cancel(job=migration.job, by="test")
    ended = wait_for_end(migration)
    assert ended.job.state == "cancelled", ended.job.message
    assert guest.running_on == [home]
    assert guest.defined_on == [home]


def slow_down(guest: LabGuest, mib_per_second: int = 1) -> None:
    """So that a move takes long enough to be hit in the middle."""
    guest.host.virsh("migrate-setspeed", guest.uuid, str(mib_per_second))


def test_every_host_is_a_target_or_says_why_not(product: Product) -> None:
    guest = product.lab.guests[0]
    row, home = product.settle(guest), guest.host.name
    targets = targets_for(guest=row, user=admin())
    assert {target.host.source.name: target.possible for target in targets} == {
        host.name: host.name != home for host in product.lab.hosts
    }
    assert [finding.check for finding in targets[-1].findings] == ["same_host"]


def test_a_guest_with_a_local_disk_stays_where_it_is(product: Product) -> None:
    guest = product.lab.add_guest(host=product.lab.hosts[0].name, local_disk=True)
    row, target = product.settle(guest), product.host(product.lab.hosts[1].name)
    with pytest.raises(NotPossible) as refusal:
        submit_migration(guest=row, target_host=target, by="test")
    assert "shared_disks" in {finding.check for finding in refusal.value.findings}
    guest.remove()


def test_the_command_line_moves_a_guest_and_tells_the_end(product: Product) -> None:
    guest = product.lab.guests[4]
    product.settle(guest)
    to = other_host(product, guest)
    done = product.stack.manage("migrate_guest", guest.name, str(product.host(to).pk), "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"The guest runs on {product.host(to).name}."
    assert guest.running_on == [to]
    again = product.stack.manage("migrate_guest", guest.name, str(product.host(to).pk), "--wait")
    assert again.returncode != 0
    assert "is on" in again.stderr


def admin() -> User:
    return User(username="admin", role=Role.ADMIN)
