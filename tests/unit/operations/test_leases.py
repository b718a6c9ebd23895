"""Claim, renew, lose: only one worker's writes count."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core.db import write_transaction
from operations import handle as handle_module
from operations import leases
from operations.errors import HandOver, LeaseLost
from operations.handle import JobHandle
from operations.leases import claim_job, heartbeat, release_job, renew_lease, renew_leases
from operations.models import Job, JobState
from tests.together import together


def lapse(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def claim(job: Job) -> JobHandle:
    claimed = claim_job(job.pk)
    assert claimed is not None
    return JobHandle(*claimed)


def test_a_claimed_job_is_taken(job: Job) -> None:
    first = claim(job)
    assert claim_job(job.pk) is None
    assert first.job.owner == leases.owner_name()
    assert first.job.lease_until is not None
    left = (first.job.lease_until - timezone.now()).total_seconds()
    assert 0 < left <= leases.LEASE_SECONDS


def test_a_process_has_one_name_and_a_fork_has_another() -> None:
    """Made at a thread's first question, two of them might claim under two names and lose what they hold."""
    ask = "from operations.leases import owner_name\nimport os, sys\n"
    fork = "print(owner_name(), flush=True)\nif os.fork() == 0: print(owner_name(), flush=True); os._exit(0)\nos.wait()"
    script = f"import django; django.setup()\n{ask}{fork}"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(printed)) == 2
    assert printed[0].split(":")[1] != printed[1].split(":")[1]
    assert set(together(50, lambda _number: leases.owner_name())) == {leases.owner_name()}


def test_the_one_who_takes_over_shuts_the_first_out(job: Job) -> None:
    first = claim(job)
    first.switch(JobState.RUNNING)
    lapse(job)
    second = claim(job)
    with pytest.raises(LeaseLost):
        first.switch(JobState.SUCCEEDED)
    second.switch(JobState.SUCCEEDED)
    assert [step.message for step in job.steps.all()][2] == "Another worker goes on from here."


def test_a_lapsed_lease_that_nobody_took_is_renewed(job: Job) -> None:
    first = claim(job)
    lapse(job)
    assert renew_lease(job.pk, first.token)
    assert claim_job(job.pk) is None


def test_an_ended_job_is_not_claimed(job: Job) -> None:
    claim(job).switch(JobState.FAILED, "No.")
    assert claim_job(job.pk) is None


def test_a_released_job_is_free_at_once_or_after_a_while(job: Job) -> None:
    first = claim(job)
    release_job(job.pk, first.token, retry_after=60)
    assert claim_job(job.pk) is None
    lapse(job)
    second = claim(job)
    release_job(job.pk, second.token)
    assert claim_job(job.pk) is not None


def test_a_stale_worker_releases_nothing(job: Job) -> None:
    first = claim(job)
    lapse(job)
    second = claim(job)
    release_job(job.pk, first.token)
    assert Job.objects.get(pk=job.pk).owner == second.job.owner
    assert claim_job(job.pk) is None


def test_a_worker_that_slept_past_its_lease_goes_no_further(handle: JobHandle, monkeypatch: Any) -> None:
    handle.confirm()
    woken = time.monotonic() + leases.LEASE_SECONDS + 1
    monkeypatch.setattr("operations.handle.time.monotonic", lambda: woken)
    with pytest.raises(LeaseLost):
        handle.require_time()


def test_the_heartbeat_tells_a_runner_that_it_lost(handle: JobHandle, job: Job) -> None:
    lapse(job)
    claim(job)
    renew_leases([handle])
    with pytest.raises(LeaseLost):
        handle.pause(60)


def test_the_heartbeat_gives_a_runner_more_time(handle: JobHandle, job: Job) -> None:
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    handle._lease_ends = time.monotonic() - 1
    renew_leases([handle])
    handle.require_time()
    assert claim_job(job.pk) is None


def test_the_heartbeat_takes_nothing_back_that_was_let_go(handle: JobHandle, job: Job) -> None:
    release_job(job.pk, handle.token)
    renew_leases([handle])
    assert Job.objects.get(pk=job.pk).lease_until is None


def test_one_renewal_tells_each_runner_its_own(submit: Callable[..., Job]) -> None:
    kept, lost, ended = (claim(submit(exclusive=f"guest:{number}")) for number in range(3))
    lapse(lost.job)
    claim(lost.job)
    ended.switch(JobState.FAILED, "No.")
    ends = kept.lease_ends
    renew_leases([kept, lost, ended])
    assert kept.lease_ends > ends
    kept.confirm()
    for gone in (lost, ended):
        with pytest.raises(LeaseLost):
            gone.pause(60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_a_row_that_is_being_written_holds_up_no_other_renewal(submit: Callable[..., Job]) -> None:
    written, free = (claim(submit(exclusive=f"guest:{number}")) for number in range(2))
    before = {handle: handle.lease_ends for handle in (written, free)}
    locked, renewed = threading.Event(), threading.Event()

    def write() -> None:
        with write_transaction():
            Job.objects.select_for_update().get(pk=written.job.pk)
            locked.set()
            renewed.wait(60)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    locked.wait(60)
    renew_leases([written, free])
    assert writer.is_alive(), "nobody waited for the writer"
    renewed.set()
    writer.join()
    assert free.lease_ends > before[free]
    assert written.lease_ends == before[written]
    written.pause(0)  # neither kept nor lost
    renew_leases([written])
    assert written.lease_ends > before[written]


def test_a_long_wait_for_the_right_to_write_costs_no_lease(handle: JobHandle, monkeypatch: Any) -> None:
    clock, begin = [time.monotonic()], write_transaction

    @contextmanager
    def after_a_while() -> Iterator[None]:
        clock[0] += leases.LEASE_SECONDS + 1
        with begin():
            yield

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(leases, "write_transaction", after_a_while)
    handle.note(asked="start")
    handle.require_time()


def test_a_stopping_worker_hands_over(handle: JobHandle) -> None:
    try:
        with heartbeat.holding(handle):
            heartbeat.stop_work()
            with pytest.raises(HandOver):
                handle.pause(60)
    finally:
        heartbeat.stopping.clear()


def test_a_lease_that_no_thread_would_renew_is_not_held(handle: JobHandle, monkeypatch: Any) -> None:
    """Renewed by the next job's thread, the job would stay with a worker that does nothing for it."""
    beats, real = leases.Heartbeat(), threading.Thread.start
    failures, renewed = [RuntimeError("can't start new thread")], threading.Event()

    def start(thread: threading.Thread) -> None:
        if failures:
            raise failures.pop()
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(beats, "_renew", lambda held: renewed.set() if held == (handle,) else None)
    with pytest.raises(RuntimeError), beats.holding(handle):
        pytest.fail("it went on")  # pragma: no cover
    assert not beats._held
    with beats.holding(handle):
        assert renewed.wait(60), "a thread was started after all"


def test_progress_is_throttled_and_never_goes_back(handle: JobHandle, monkeypatch: Any) -> None:
    assert handle.progress({"percent": 40})
    assert not handle.progress({"percent": 41}), "too soon"
    monkeypatch.setattr(handle_module, "PROGRESS_SECONDS", 0.0)
    assert handle.progress({"percent": 30, "bytes_remaining": 7})
    assert Job.objects.get(pk=handle.job.pk).progress == {"percent": 40, "bytes_remaining": 7}


def test_what_belongs_to_a_reading_is_written_with_it_or_not_at_all(
    handle: JobHandle, job: Job, submit: Callable[..., Job]
) -> None:
    lapse(job)
    claim(job)
    written: list[int] = []
    with pytest.raises(LeaseLost):
        handle.progress({"percent": 1}, also=lambda: written.append(1))
    assert written == []


def test_a_note_is_there_for_the_next_worker(handle: JobHandle, job: Job) -> None:
    handle.note(asked="reset")
    handle.note(at="noon")
    lapse(job)
    assert claim(job).checkpoint == {"asked": "reset", "at": "noon"}
