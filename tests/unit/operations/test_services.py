from collections.abc import Callable
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.errors import Forbidden
from operations.errors import AlreadyOpen, CancelRequested, CannotCancel, LeaseLost
from operations.handle import JobHandle
from operations.models import Job, JobState, JobStep
from operations.services import overrule_job, request_cancel, submit_job


def acts(job: Job) -> list[str]:
    return list(AuditRow.objects.filter(detail__job=str(job.pk)).order_by("at", "id").values_list("action", flat=True))


def test_a_submitted_job_is_queued_audited_and_sent(
    submit: Callable[..., Job], monkeypatch: Any, django_capture_on_commit_callbacks: Any
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("core.queue._send", lambda *what: sent.append(what))
    with django_capture_on_commit_callbacks(execute=True):
        job = submit()
    assert job.state == "queued"
    assert sent == [("operations.run_job", (str(job.pk),), "operations", None)], "the id and nothing else"
    assert acts(job) == ["simple.submitted"]
    assert [step.state for step in job.steps.all()] == ["queued"]


def test_a_second_job_on_the_same_object_names_the_first(submit: Callable[..., Job]) -> None:
    first = submit()
    with pytest.raises(
        AlreadyOpen, match=r"db-07 already has an open task: Simple \(queued\), asked by test"
    ) as refusal:
        submit()
    assert refusal.value.job == first
    assert Job.objects.count() == 1
    assert JobStep.objects.count() == 1


def test_an_ended_job_makes_room(submit: Callable[..., Job]) -> None:
    request_cancel(job=submit(), by="test")
    assert submit().state == "queued"


def test_jobs_without_a_key_stand_beside_each_other(submit: Callable[..., Job]) -> None:
    assert submit(exclusive="") != submit(exclusive="")


def test_a_queued_job_is_cancelled_at_once(job: Job) -> None:
    ended = request_cancel(job=job, by="ada")
    assert ended.state == "cancelled"
    assert ended.message == "Cancel asked by ada."
    assert ended.ended_at is not None
    assert acts(job) == ["simple.submitted", "simple.cancel_requested", "simple.cancelled"]


def test_a_running_job_is_asked_to_stop(handle: JobHandle) -> None:
    handle.switch(JobState.RUNNING)
    assert request_cancel(job=handle.job, by="ada").state == "cancelling"
    assert request_cancel(job=handle.job, by="bob").cancel_requested_by == "ada", "asked before"
    with pytest.raises(CancelRequested):
        handle.pause(0)
    handle.pause(0)
    handle.switch(JobState.CANCELLED, "Stopped.")
    assert acts(handle.job)[-1] == "simple.cancelled"


def test_an_ended_job_cannot_be_cancelled(job: Job) -> None:
    request_cancel(job=job, by="ada")
    with pytest.raises(CannotCancel, match="has ended already: cancelled"):
        request_cancel(job=job, by="ada")


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
def test_who_may_cancel(job: Job, role: str, allowed: bool) -> None:
    user = User.objects.create(username=role, role=role)
    if allowed:
        assert request_cancel(job=job, by=user).state == "cancelled"
    else:
        with pytest.raises(Forbidden):
            request_cancel(job=job, by=user)


def test_a_job_that_was_overruled_takes_no_more_writes(handle: JobHandle) -> None:
    handle.switch(JobState.RUNNING)
    overrule_job(job=handle.job, by="ada", message="Overruled.")
    for write in (
        lambda: handle.switch(JobState.SUCCEEDED),
        lambda: handle.progress({"percent": 1}),
        lambda: handle.note(asked="off"),
        handle.confirm,
        lambda: handle.pause(0),
    ):
        with pytest.raises(LeaseLost):
            write()
    row = Job.objects.get(pk=handle.job.pk)
    assert (row.state, row.progress, row.checkpoint) == ("cancelled", {}, {})


def test_the_submitter_is_kept_by_name_and_id(db: None) -> None:
    user = User.objects.create(username="ada", role=Role.OPERATOR)
    job = submit_job(
        kind="simple", target_kind="guest", target_id=1, target_name="x", parameters={}, exclusive="", by=user
    )
    assert (job.submitted_by_name, job.submitted_by_id) == ("ada", str(user.pk))
