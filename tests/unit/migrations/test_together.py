"""Fifty at once who ask for the same guest to be moved."""

from collections import Counter
from pathlib import Path

import pytest

from audit.models import AuditRow
from inventory.power import submit_power
from migrations.models import GuestMigration
from migrations.services import NotPossible, submit_migration
from operations.errors import AlreadyOpen
from operations.models import Job
from tests.together import database_for_threads, together
from tests.world import make_fleet

AT_ONCE = 50


@pytest.mark.django_db(transaction=True)
def test_fifty_submissions_at_once_make_one_open_job(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        fleet = make_fleet(tmp_path / "world.json", "alpha", "beta")
        guest, target = fleet.guest("alpha"), fleet.hosts["beta"]
        results = together(AT_ONCE, lambda _number: submit_migration(guest=guest, target_host=target, by="test"))
        job = Job.objects.get()
        assert GuestMigration.objects.get().job == job
        assert job.steps.count() == AuditRow.objects.count() == 1
    made = [one for one in results if isinstance(one, GuestMigration)]
    assert [one.pk for one in made] == [job.pk]
    refused = [one for one in results if isinstance(one, NotPossible | AlreadyOpen)]
    assert len(refused) == AT_ONCE - 1, Counter(map(repr, results))
    assert all("already has an open task: Migrate to beta" in str(one) for one in refused)


@pytest.mark.django_db(transaction=True)
def test_moves_and_power_actions_at_once_make_one_open_job(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        fleet = make_fleet(tmp_path / "world.json", "alpha", "beta", "gamma")
        guest = fleet.guest("alpha")

        def act(number: int) -> Job:
            if number % 2:
                return submit_power(guest=guest, action="reset", by="test")
            target = fleet.hosts["beta" if number % 4 else "gamma"]
            return submit_migration(guest=guest, target_host=target, by="test").job

        results = together(AT_ONCE, act)
        job = Job.objects.get()
    assert [one.pk for one in results if isinstance(one, Job)] == [job.pk]
    refused = [one for one in results if isinstance(one, NotPossible | AlreadyOpen)]
    assert len(refused) == AT_ONCE - 1, Counter(map(repr, results))
