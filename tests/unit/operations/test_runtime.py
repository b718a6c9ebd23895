"""A worker survives its runners."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import DataError, OperationalError

from migrations.machine import MIGRATION
from operations import kinds
from operations.errors import HandOver, LeaseLost
from operations.handle import JobHandle
from operations.models import ENDED, Job, JobState
from operations.runtime import CRASHES_BEFORE_ATTENTION, run
from operations.selectors import job_title
from operations.states import SIMPLE
from tests import runners


def raising(error: BaseException) -> Any:
    def step(_handle: JobHandle) -> None:
        raise error

    return step


def test_a_job_runs_once(job: Job) -> None:
    ran: list[int] = []
    runners.steps += [lambda handle: handle.switch(JobState.SUCCEEDED, "Done."), lambda _handle: ran.append(1)]
    run(str(job.pk))
    run(str(job.pk))
    assert ran == [1]
    assert Job.objects.get(pk=job.pk).state == "succeeded"


@pytest.mark.parametrize("message", ["", "x", "01a203a1-946b-7b6e-abf7-b727523518fa", None, 5, {}])
def test_a_forged_message_does_nothing(db: None, message: Any) -> None:
    run(message)
    assert not Job.objects.exists()


def test_an_unforeseen_failure_is_tried_again_and_then_shown_to_a_person(job: Job) -> None:
    runners.steps.append(raising(RuntimeError("secret detail")))
    for _ in range(CRASHES_BEFORE_ATTENTION):
        assert Job.objects.get(pk=job.pk).is_open
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        run(str(job.pk))
    # QUEUED may end: nothing was begun, but nobody knows why.
    row = Job.objects.get(pk=job.pk)
    assert row.state == "needs_attention"
    assert "secret" not in row.message
    assert row.crashes == CRASHES_BEFORE_ATTENTION


@pytest.mark.parametrize("error", [RuntimeError("bug"), DataError("does not fit")])
@pytest.mark.parametrize("state", [state for state in JobState if state not in ENDED and state != "queued"])
def test_nothing_that_fails_for_good_goes_on_for_ever(job: Job, state: JobState, error: Exception) -> None:
    machine = MIGRATION if state in MIGRATION.changes else SIMPLE
    kinds.register(replace(kinds.kind_of("simple"), machine=machine))
    Job.objects.filter(pk=job.pk).update(state=state)
    runners.steps.append(raising(error))
    for _ in range(CRASHES_BEFORE_ATTENTION):
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        run(str(job.pk))
    assert Job.objects.get(pk=job.pk).state == "needs_attention"


def test_a_kind_that_this_version_does_not_have_is_shown_and_ended(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(kind="from-the-future")
    row = Job.objects.get(pk=job.pk)
    assert job_title(row) == "from-the-future"
    run(str(job.pk))
    row.refresh_from_db()
    assert (row.state, "does not know this kind" in row.message) == ("needs_attention", True)


def test_a_runner_that_forgets_to_end_its_job_is_a_failure_too(job: Job) -> None:
    run(str(job.pk))
    assert Job.objects.get(pk=job.pk).crashes == 1


@pytest.mark.parametrize("error", [LeaseLost(), OperationalError("gone")])
def test_a_worker_that_lost_its_job_or_its_database_leaves_it_alone(job: Job, error: BaseException) -> None:
    runners.steps.append(raising(error))
    run(str(job.pk))
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.crashes) == ("queued", 0)
    assert row.lease_until is not None, "it lapses"


def test_a_stopping_worker_lets_go_of_its_job(job: Job) -> None:
    runners.steps.append(raising(HandOver()))
    run(str(job.pk))
    row = Job.objects.get(pk=job.pk)
    assert (row.owner, row.lease_until, row.sent_at) == ("", None, None)
