"""Reading migrations."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from access.roles import Action
from inventory.models import Guest
from migrations.models import GuestMigration
from migrations.planner import Target, check_targets


def migration_list(*, user: Any) -> QuerySet[GuestMigration]:
    """Every migration this user may see, newest first, with its job."""
    return GuestMigration.objects.restrict(user, Action.VIEW).select_related(
        "job", "guest", "source_host", "target_host"
    )


def migration_detail(*, user: Any, migration_id: UUID | str) -> GuestMigration:
    """One migration with its job's steps loaded as `migration.job.steps.all()`.

    Raises: GuestMigration.DoesNotExist.
    """
    return migration_list(user=user).prefetch_related("job__steps").get(job_id=migration_id)


def targets_for(*, guest: Guest, user: Any) -> list[Target]:
    """For each host of the guest's datacenter that this user may see: whether the guest can move there, and why not.

    Possible ones first. A constant number of queries.
    """
    return check_targets(guest, user=user)
