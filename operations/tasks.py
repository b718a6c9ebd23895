"""What workers are told by name."""

from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from operations.leases import heartbeat
from operations.reconcile import reconcile_jobs
from operations.runtime import run


@shared_task(name="operations.run_job")  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    run(job_id)


@shared_task(name="operations.reconcile")  # type: ignore[untyped-decorator]
def reconcile() -> None:
    reconcile_jobs()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def hand_over(**_kwargs: Any) -> None:
    """At a signal at once, also while the broker is away; see `operations.worker.HandOver` for every other end."""
    heartbeat.stop_work()
