"""Migrations and tasks as a worker would have left them, for tests of pages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from hosts.models import Host
from inventory.models import Guest
from migrations.models import GuestMigration
from operations.models import ENDED, Job, JobState, JobStep
from tests.factories import make_job

MIB = 1024**2
PROGRESS = {
    "percent": 42,
    "bytes_total": 4096 * MIB,
    "bytes_processed": 1700 * MIB,
    "bytes_remaining": 2396 * MIB,
    "rate_bytes_per_s": 310 * MIB,
    "dirty_rate_bytes_per_s": 40 * MIB,
    "iteration": 2,
    "expected_downtime_ms": 300,
    "elapsed_ms": 5500,
    "seconds_left": 9,
}
SAMPLES = [[second / 2, second * 155 * MIB, 310 * MIB, 40 * MIB] for second in range(12)]
WAYS: dict[str, Sequence[JobState]] = {
    "queued": (),
    "checking": (JobState.CHECKING,),
    "copying": (JobState.CHECKING, JobState.PREPARING, JobState.COPYING),
    "switching": (JobState.CHECKING, JobState.PREPARING, JobState.COPYING, JobState.SWITCHING),
    "succeeded": (
        JobState.CHECKING,
        JobState.PREPARING,
        JobState.COPYING,
        JobState.SWITCHING,
        JobState.VERIFYING,
        JobState.SUCCEEDED,
    ),
    "failed": (JobState.CHECKING, JobState.FAILED),
    "cancelled": (
        JobState.CHECKING,
        JobState.PREPARING,
        JobState.COPYING,
        JobState.CANCELLING,
        JobState.CANCELLED,
    ),
    "needs_attention": (
        JobState.CHECKING,
        JobState.PREPARING,
        JobState.COPYING,
        JobState.VERIFYING,
        JobState.NEEDS_ATTENTION,
    ),
}


def make_migration(guest: Guest, target: Host, state: str = "copying", **values: Any) -> GuestMigration:
    """A migration that came as far as this state, a second a station."""
    way = [JobState.QUEUED, *WAYS.get(state, (JobState(state),))]
    begun = timezone.now() - timedelta(seconds=len(way))
    ended = JobState(state) in ENDED
    job_values = values.pop("job", {})
    job = make_job(
        guest,
        **{
            "kind": "migration",
            "state": state,
            "parameters": {"target_host": str(target.pk), "target_host_name": target.name, "live": True},
            "progress": {} if state in {"queued", "checking"} else dict(PROGRESS),
            "exclusive": f"guest:{guest.pk}",
            "submitted_at": begun,
            "started_at": None if state == "queued" else begun,
            "ended_at": timezone.now() if ended else None,
            **job_values,
        },
    )
    add_steps(job, way)
    defaults: dict[str, Any] = {
        "guest_uuid": guest.uuid,
        "guest_name": guest.name,
        "source_host": guest.host,
        "source_host_name": guest.host.name,
        "target_host": target,
        "target_host_name": target.name,
        "stamp": secrets.token_hex(8),
        "bytes_moved": PROGRESS["bytes_processed"] if state not in {"queued", "checking"} else None,
        "samples": SAMPLES if state not in {"queued", "checking"} else [],
    }
    return GuestMigration.objects.create(job=job, guest=guest, **(defaults | values))


def add_steps(job: Job, states: Sequence[JobState]) -> None:
    for number, state in enumerate(states):
        JobStep.objects.create(
            job=job, at=job.submitted_at + timedelta(seconds=number), state=state, message=job.message
        )
