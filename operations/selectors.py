"""Reading jobs."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from access.roles import Action
from operations.kinds import kind_of
from operations.models import ENDED, Job


def job_list(*, user: Any) -> QuerySet[Job]:
    """Every task this user may see, newest first: power actions, migrations and what comes later."""
    return Job.objects.restrict(user, Action.VIEW)


def open_job_for(*, exclusive: str) -> Job | None:
    """The open job that holds an object, such as `guest:<id>`."""
    return Job.objects.filter(exclusive=exclusive).exclude(state__in=ENDED).first()


def jobs_of(*, user: Any, target_kind: str, target_id: UUID | str) -> QuerySet[Job]:
    """The tasks of one object, newest first."""
    return job_list(user=user).filter(target_kind=target_kind, target_id=str(target_id))


def job_title(job: Job) -> str:
    """What the job does, for a person: "Start", "Migrate to kvm-02"."""
    return kind_of(job.kind).title(job.parameters)
