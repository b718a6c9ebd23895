"""A move from its submission to its end, on simulated hosts with scripted faults."""

import pytest

from inventory.models import Guest
from migrations.services import submit_migration
from operations.models import Job
from operations.runtime import run
from tests.world import Fleet


def migrate(fleet: Fleet, guest: Guest, to: str = "beta") -> Job:
    migration = submit_migration(guest=guest, target_host=fleet.hosts[to], by="test")
    run(str(migration.pk))
    return Job.objects.get(pk=migration.pk)


def test_a_guest_moves_and_its_row_with_it(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = migrate(fleet, guest)
    assert job.state == "succeeded", job.message
    assert fleet.world.running_on(guest.uuid) == ("beta",)
    guest.refresh_from_db()
    assert guest.host == fleet.hosts["beta"]
    assert [step.state for step in job.steps.all()][:3] == ["queued", "checking", "preparing"]
    assert fleet.world.guests("beta")[guest.uuid].stamp == ""


@pytest.mark.parametrize("fault", ["target_killed", "cable_cut"])
def test_a_move_that_breaks_leaves_the_guest_where_it_was(fleet: Fleet, fault: str) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="migration", do=fault, seconds=0.05)
    job = migrate(fleet, guest)
    assert fleet.world.fired("alpha", at="migration") == 1
    assert job.state == "failed", job.message
    assert "stayed on alpha" in job.message
    assert fleet.world.running_on(guest.uuid) == ("alpha",)
