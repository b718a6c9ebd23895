import pytest

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.errors import Forbidden, Invalid
from inventory.power import submit_power
from migrations.models import GuestMigration
from migrations.selectors import migration_detail, migration_list
from migrations.services import NotPossible, request_cancel, submit_migration
from operations.errors import AlreadyOpen, CannotCancel
from operations.models import Job, JobState
from operations.selectors import job_title
from tests.world import Fleet


def user(role: str) -> User:
    return User.objects.create(username=f"u-{role}", role=role)


def submit(fleet: Fleet, by: object = "test") -> GuestMigration:
    return submit_migration(guest=fleet.guest("alpha"), target_host=fleet.hosts["beta"], by=by)


def test_a_migration_and_its_job_share_their_id(fleet: Fleet) -> None:
    migration = submit(fleet)
    assert migration.pk == migration.job.pk
    assert job_title(migration.job) == "Migrate to beta"
    assert migration.job.exclusive == f"guest:{migration.guest_id}"
    assert AuditRow.objects.get().action == "migration.submitted"


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, False),
        (Role.OPERATOR, False),
        (Role.MIGRATION_ADMIN, True),
        (Role.AUDITOR, False),
        (Role.ADMIN, True),
    ],
)
def test_who_may_migrate(fleet: Fleet, role: str, allowed: bool) -> None:
    if allowed:
        assert submit(fleet, user(role)).job.submitted_by_name == f"u-{role}"
    else:
        with pytest.raises(Forbidden):
            submit(fleet, user(role))
        assert not Job.objects.exists()


def test_what_stands_against_it_is_told(fleet: Fleet) -> None:
    fleet.hosts["beta"].maintenance = True
    fleet.hosts["beta"].save()
    with pytest.raises(NotPossible, match=r"beta is in maintenance\. End its maintenance") as refusal:
        submit(fleet)
    assert [finding.check for finding in refusal.value.findings] == ["maintenance"]
    assert not Job.objects.exists()


def test_only_live_moves_are_offered(fleet: Fleet) -> None:
    with pytest.raises(Invalid):
        submit_migration(guest=fleet.guest("alpha"), target_host=fleet.hosts["beta"], live=False, by="test")


def test_a_guest_with_an_open_task_is_not_moved(fleet: Fleet) -> None:
    submit_power(guest=fleet.guest("alpha"), action="reset", by="test")
    with pytest.raises(NotPossible, match="already has an open task: Reset"):
        submit(fleet)


def test_a_race_for_the_guest_has_one_winner(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrations.services._require_possible", lambda target: None)
    first = submit(fleet)
    with pytest.raises(AlreadyOpen) as refusal:
        submit(fleet)
    assert refusal.value.job == first.job
    assert GuestMigration.objects.count() == 1


@pytest.mark.parametrize("state", [JobState.SWITCHING, JobState.VERIFYING])
def test_a_cancel_is_refused_once_the_guest_switches(fleet: Fleet, state: str) -> None:
    migration = submit(fleet)
    Job.objects.filter(pk=migration.pk).update(state=state)
    with pytest.raises(CannotCancel, match="too late to cancel"):
        request_cancel(migration=migration, by="test")


@pytest.mark.parametrize("state", [JobState.CHECKING, JobState.PREPARING, JobState.COPYING])
def test_a_cancel_is_taken_before(fleet: Fleet, state: str) -> None:
    migration = submit(fleet)
    Job.objects.filter(pk=migration.pk).update(state=state)
    assert request_cancel(migration=migration, by="test").job.state == "cancelling"


def test_readers_see_migrations_and_strangers_none(fleet: Fleet) -> None:
    migration = submit(fleet)
    viewer = user(Role.VIEWER)
    assert list(migration_list(user=viewer)) == [migration]
    assert len(migration_detail(user=viewer, migration_id=str(migration.pk)).job.steps.all()) == 1
    assert not migration_list(user=None).exists()
