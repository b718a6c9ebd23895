"""Who is sent again, and who is not."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from operations import reconcile
from operations.leases import claim_job, release_job
from operations.models import Job
from operations.reconcile import LOST_AFTER_SECONDS, LOST_IN_LINE_AFTER_SECONDS, reconcile_jobs
from operations.services import request_cancel


@pytest.fixture(autouse=True)
def sent(monkeypatch: Any) -> Iterator[list[str]]:
    """The ids that are sent; the broker's line is empty unless a test says otherwise."""
    ids: list[str] = []
    monkeypatch.setattr(reconcile, "enqueue", lambda _task, job_id, queue: ids.append(job_id))
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 0)
    yield ids


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def change(job: Job, **values: Any) -> None:
    Job.objects.filter(pk=job.pk).update(**values)


def test_a_fresh_job_is_left_to_its_message(job: Job, sent: list[str]) -> None:
    assert reconcile_jobs() == 0
    assert sent == []


def test_a_job_whose_message_was_lost_is_sent_again_once(job: Job, sent: list[str]) -> None:
    change(job, sent_at=ago(LOST_AFTER_SECONDS + 1))
    assert reconcile_jobs() == 1
    assert reconcile_jobs() == 0
    assert sent == [str(job.pk)]


def test_a_job_that_waits_in_line_is_not_sent_again(job: Job, sent: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 3)
    change(job, sent_at=ago(LOST_AFTER_SECONDS + 1))
    assert reconcile_jobs() == 0


def test_a_message_that_died_with_its_worker_is_not_waited_for_for_ever(
    job: Job, sent: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 3)
    change(job, sent_at=ago(LOST_IN_LINE_AFTER_SECONDS + 1))
    assert (reconcile_jobs(), reconcile_jobs()) == (1, 0)


def test_an_orphan_is_sent_even_when_others_wait_but_only_once(job: Job, sent: list[str], monkeypatch: Any) -> None:
    claim_job(job.pk)
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 3)
    change(job, lease_until=ago(1), sent_at=ago(60))
    assert reconcile_jobs() == 1
    change(job, sent_at=ago(0.5))
    assert reconcile_jobs() == 0
    change(job, sent_at=ago(0.5), lease_until=ago(30))
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 0)
    assert reconcile_jobs() == 0, "its message is on the way"
    change(job, sent_at=ago(LOST_AFTER_SECONDS + 1))
    assert reconcile_jobs() == 1


def test_an_orphan_whose_next_message_died_is_not_waited_for_for_ever(
    job: Job, sent: list[str], monkeypatch: Any
) -> None:
    """The worker that fetched the second message died, too, or stopped; and the line is never empty."""
    claim_job(job.pk)
    monkeypatch.setattr(reconcile, "messages_waiting", lambda: 3)
    change(job, lease_until=ago(120), sent_at=ago(LOST_IN_LINE_AFTER_SECONDS - 1))
    assert reconcile_jobs() == 0, "it most likely waits in line"
    change(job, sent_at=ago(LOST_IN_LINE_AFTER_SECONDS + 1))
    assert (reconcile_jobs(), reconcile_jobs()) == (1, 0)


def test_a_held_job_is_left_alone(job: Job, sent: list[str]) -> None:
    claim_job(job.pk)
    change(job, sent_at=ago(600))
    assert reconcile_jobs() == 0


def test_a_job_that_was_handed_over_is_sent_at_once(job: Job, sent: list[str]) -> None:
    claimed = claim_job(job.pk)
    assert claimed is not None
    release_job(job.pk, claimed[0].token)
    assert reconcile_jobs() == 1


def test_an_ended_job_is_never_sent(submit: Callable[..., Job], sent: list[str]) -> None:
    job = submit()
    request_cancel(job=job, by="test")
    change(job, sent_at=ago(600))
    assert reconcile_jobs() == 0


def test_an_idle_round_writes_nothing(job: Job, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        reconcile_jobs()


def test_a_broker_that_does_not_answer_counts_as_empty(settings: Any, monkeypatch: Any) -> None:
    from celery import current_app

    monkeypatch.undo()
    monkeypatch.setattr(current_app, "connection_for_read", lambda: (_ for _ in ()).throw(OSError("gone")))
    assert reconcile.messages_waiting() == 0
