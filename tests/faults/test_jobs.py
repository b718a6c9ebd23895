"""Whatever happens to workers, beat and broker: no job is lost, none is done twice."""

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from redis import Redis

from config.supervisor import WORKERS
from core.errors import Conflict
from drivers.types import Endpoint, Transport
from hosts.models import Datacenter
from inventory.models import Guest
from inventory.power import submit_power
from migrations.services import submit_migration
from operations.models import ENDED, Job
from tests.jobs import taken_over, wait_for_end, worker_of
from tests.stack import Stack, wait_until
from tests.world import Fleet, make_rows

MANY = 400


def wait_for_state(job: Job, *states: str) -> None:
    wait_until(lambda: Job.objects.filter(pk=job.pk, state__in=states).exists(), f"the job is {states}")


def start_migration(fleet: Fleet, seconds: float | None = None) -> tuple[Guest, Job]:
    """`seconds`: how long the move takes, where a test needs to be sure to come before its end."""
    if seconds is not None:
        with fleet.world.open() as state:
            state.migration_seconds = seconds
    guest = fleet.guest("alpha")
    return guest, submit_migration(guest=guest, target_host=fleet.hosts["beta"], by="test").job


def assert_moved(fleet: Fleet, guest: Guest, job: Job) -> None:
    assert job.state == "succeeded", job.message
    assert fleet.world.running_on(guest.uuid) == ("beta",)
    guest.refresh_from_db()
    assert guest.host == fleet.hosts["beta"]


def test_a_killed_worker_s_job_goes_on_in_another(stack: Stack, fleet: Fleet) -> None:
    guest, job = start_migration(fleet)
    wait_for_state(job, "copying")
    stack.kill(worker_of(stack, job))
    assert_moved(fleet, guest, wait_for_end(job))
    assert fleet.moves() == 1
    assert taken_over(job)


def test_a_worker_that_slept_past_its_lease_does_nothing_more(stack: Stack, fleet: Fleet) -> None:
    guest, job = start_migration(fleet)
    wait_for_state(job, "copying")
    sleeper = worker_of(stack, job)
    stack.freeze(sleeper)
    wait_until(lambda: taken_over(job), "another worker has it")
    stack.thaw(sleeper)
    assert_moved(fleet, guest, wait_for_end(job))
    assert fleet.moves() == 1
    wait_until(lambda: "another worker's now" in stack.log(sleeper), "the sleeper noticed")


def assert_goes_on_elsewhere(fleet: Fleet, guest: Guest, job: Job) -> None:
    """The worker has stopped: another one ends the move that this one began."""
    assert Job.objects.get(pk=job.pk).is_open, "it stopped in the middle"
    assert_moved(fleet, guest, wait_for_end(job))
    assert fleet.moves() == 1
    assert taken_over(job)


def test_a_stopped_worker_hands_over_at_once(stack: Stack, fleet: Fleet) -> None:
    guest, job = start_migration(fleet)
    wait_for_state(job, "copying")
    stack.stop(worker_of(stack, job))
    assert_goes_on_elsewhere(fleet, guest, job)


def test_a_worker_that_stops_without_a_signal_hands_over_at_once(stack: Stack, fleet: Fleet) -> None:
    """As one does whose consumer met an error that it does not survive."""
    from celery import current_app

    guest, job = start_migration(fleet, seconds=12.0)
    wait_for_state(job, "copying")
    worker = worker_of(stack, job)
    current_app.control.shutdown(destination=[f"{worker}@{socket.gethostname()}"])
    stack.await_end(worker)
    assert_goes_on_elsewhere(fleet, guest, job)


def test_an_error_of_the_broker_ends_no_worker(stack: Stack, fleet: Fleet) -> None:
    """As at a failover: whoever waits for a message is answered with an error."""
    guest, job = start_migration(fleet, seconds=12.0)
    wait_for_state(job, "copying")
    marks = {name: len(stack.log(name)) for name in WORKERS}
    assert stack.fail_waiting_workers() == len(WORKERS)
    for name, mark in marks.items():
        wait_until(lambda name=name, mark=mark: "ResponseError" in stack.log(name)[mark:], f"the fault struck {name}")  # type: ignore[misc]
    for other in Guest.objects.filter(host=fleet.hosts["alpha"]).exclude(pk=guest.pk):
        assert wait_for_end(submit_power(guest=other, action="off", by="test")).state == "succeeded"
    assert Job.objects.get(pk=job.pk).is_open, "while the long one went on"
    assert_moved(fleet, guest, wait_for_end(job))
    assert not taken_over(job)
    assert [stack.processes[name].poll() for name in WORKERS] == [None] * len(WORKERS)


def test_a_broker_that_refuses_commands_for_long_costs_no_files(stack: Stack, fleet: Fleet) -> None:
    """As a replica does until it is promoted; the workers ask it several times a second."""
    marks = {name: len(stack.log(name)) for name in WORKERS}

    def refused() -> int:
        return min(stack.log(name)[mark:].count("read only replica") for name, mark in marks.items())

    with Redis.from_url(stack.redis_url) as broker:
        broker.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            wait_until(lambda: refused() >= 40, "every worker was refused forty times")
            assert len(broker.client_list()) < 60
        finally:
            broker.execute_command("REPLICAOF", "NO", "ONE")
    guest = fleet.guest("alpha")
    assert wait_for_end(submit_power(guest=guest, action="off", by="test")).state == "succeeded"
    assert [stack.processes[name].poll() for name in WORKERS] == [None] * len(WORKERS)


def test_fifty_clicks_at_once_make_one_job(stack: Stack, fleet: Fleet) -> None:
    guest, gate = fleet.guest("alpha"), threading.Barrier(50)

    def click(_number: int) -> str:
        gate.wait()
        try:
            return str(submit_migration(guest=guest, target_host=fleet.hosts["beta"], by="test").pk)
        except Conflict as refusal:
            return refusal.message
        finally:
            connection.close()

    for name in ("worker-a", "worker-b"):
        stack.freeze(name)  # the job stays open while they click
    with ThreadPoolExecutor(50) as clicks:
        answers = list(clicks.map(click, range(50)))
    stack.mend()
    job = Job.objects.get()
    assert answers.count(str(job.pk)) == 1
    refusals = [answer for answer in answers if answer != str(job.pk)]
    assert [answer for answer in refusals if "already has an open task: Migrate to beta" not in answer] == []
    assert_moved(fleet, guest, wait_for_end(job))
    assert fleet.moves() == 1


def test_many_more_jobs_than_threads_are_each_done_once(stack: Stack) -> None:
    """While a hundred threads write to one database, no lease may lapse for want of a turn."""
    endpoint = Endpoint(kind="fake", transport=Transport.FAKE, uri=f"fake://fleet/1?guests={2 * MANY}")
    with transaction.atomic():
        make_rows(endpoint, Datacenter.objects.create(name="many"), "host-1")
    guests = Guest.objects.filter(state="running")[:MANY]
    assert len(guests) == MANY
    for guest in guests:
        submit_power(guest=guest, action="off", by="test")
    wait_until(lambda: not Job.objects.exclude(state__in=ENDED).exists(), "all have ended", seconds=300)
    assert Counter(Job.objects.values_list("state", "token")) == {("succeeded", 2): MANY}, "claimed once, closed once"


def test_a_lost_message_is_sent_again(stack: Stack, fleet: Fleet) -> None:
    for name in ("worker-a", "worker-b"):
        stack.kill(name)
    stack.kill("beat")
    guests = Guest.objects.filter(host=fleet.hosts["alpha"])
    jobs = [submit_power(guest=guest, action="off", by="test") for guest in guests]
    assert stack.flush_broker() == len(jobs), "the fault: messages were there, and are gone"
    stack.start_workers("worker-a")
    stack.start_beat()
    assert {wait_for_end(job).state for job in jobs} == {"succeeded"}
    assert all(not fleet.world.running_on(guest.uuid) for guest in guests)


def test_a_doubled_message_does_nothing(stack: Stack, fleet: Fleet) -> None:
    from celery import current_app

    guest, job = start_migration(fleet)
    for _ in range(10):
        current_app.send_task("operations.run_job", args=[str(job.pk)], queue="operations")
    assert_moved(fleet, guest, wait_for_end(job))
    assert fleet.moves() == 1
    assert Job.objects.get(pk=job.pk).token == 2, "claimed once, closed once"


@pytest.mark.parametrize("message", ["", "no id", "01a203a1-946b-7b6e-abf7-b727523518fa", None, 5, {"id": 1}])
def test_a_forged_message_does_nothing(stack: Stack, fleet: Fleet, message: Any) -> None:
    from celery import current_app

    current_app.send_task("operations.run_job", args=[message], queue="operations")
    guest, job = start_migration(fleet)
    assert_moved(fleet, guest, wait_for_end(job))
