"""A move from its submission to its end, on simulated hosts with scripted faults."""

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from drivers.fake.moves import start_move
from drivers.types import GuestState
from hosts.models import SourceState
from inventory import power_runner
from inventory.models import Guest
from inventory.power import submit_power
from inventory.sync import apply_snapshot
from migrations import runner
from migrations.models import GuestMigration
from migrations.services import submit_migration
from operations.handle import JobHandle
from operations.leases import claim_job, release_job
from operations.models import Job, JobState
from operations.runtime import CRASHES_BEFORE_ATTENTION, run
from operations.services import request_cancel
from tests.world import Fleet, open_here


def submit(fleet: Fleet, guest: Guest) -> Job:
    return submit_migration(guest=guest, target_host=fleet.hosts["beta"], by="test").job


def go(job: Job) -> Job:
    run(str(job.pk))
    return Job.objects.get(pk=job.pk)


def migrate(fleet: Fleet, guest: Guest) -> Job:
    return go(submit(fleet, guest))


def host_name(guest: Guest) -> str:
    return Guest.objects.select_related("host").get(pk=guest.pk).host.name


def slow(fleet: Fleet, seconds: float) -> None:
    with fleet.world.open() as state:
        state.migration_seconds = seconds


def at_call(monkeypatch: Any, method: str, act: Callable[[], Any], *, times: int = 1) -> None:
    """Do something right before the runner calls this method of a session."""
    left = [times]

    def opened(*args: Any, **options: Any) -> AbstractContextManager[Any]:
        @contextmanager
        def proxied() -> Any:
            with open_here(*args, **options) as session:
                original = getattr(session, method)

                def called(*arguments: Any) -> Any:
                    if left[0]:
                        left[0] -= 1
                        act()
                    return original(*arguments)

                setattr(session, method, called)
                yield session

        return proxied()

    monkeypatch.setattr(runner.Attempt.__init__, "__defaults__", (opened,))


def test_a_guest_moves_and_its_row_with_it(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = migrate(fleet, guest)
    assert job.state == "succeeded", job.message
    assert fleet.world.running_on(guest.uuid) == ("beta",)
    assert host_name(guest) == "beta"
    assert [step.state for step in job.steps.all()][:3] == ["queued", "checking", "preparing"]
    assert fleet.world.guests("beta")[guest.uuid].stamp == ""


def test_the_figures_are_kept(fleet: Fleet) -> None:
    slow(fleet, 0.3)
    job = migrate(fleet, fleet.guest("alpha"))
    migration = GuestMigration.objects.get(pk=job.pk)
    assert job.progress["percent"] == 100
    assert migration.samples
    assert migration.bytes_moved
    assert migration.downtime_ms == 27, "the target told what the hypervisor measured"
    assert "copying" in [step.state for step in job.steps.all()]


@pytest.mark.parametrize("fault", ["target_killed", "source_killed", "cable_cut"])
def test_a_move_that_breaks_leaves_the_guest_where_it_was(fleet: Fleet, monkeypatch: Any, fault: str) -> None:
    monkeypatch.setattr(runner, "VERIFY_SECONDS", 5.0)
    slow(fleet, 0.2)
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="migration", do=fault, seconds=0.05)
    job = migrate(fleet, guest)
    assert fleet.world.fired("alpha", at="migration") == 1
    assert job.state == "failed", job.message
    assert "stayed on alpha" in job.message
    assert fleet.world.running_on(guest.uuid) == ("alpha",)
    assert host_name(guest) == "alpha"


def test_a_refusal_is_told_and_nothing_moved(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="migration", do="refused")
    job = migrate(fleet, guest)
    assert (job.state, job.message) == (
        "failed",
        "The target host does not accept this guest. The guest stayed on alpha.",
    )


def test_two_running_copies_are_shouted_about(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="migration", do="both_running")
    job = migrate(fleet, guest)
    assert job.state == "needs_attention"
    assert "Both run it: power it off on one of them at once" in job.message


def test_a_guest_that_stopped_on_arrival_is_told(fleet: Fleet) -> None:
    fleet.world.add_fault("alpha", at="migration", do="lost")
    job = migrate(fleet, fleet.guest("alpha"))
    assert job.state == "needs_attention"
    assert "beta has it powered off" in job.message


def test_a_target_that_stays_silent_needs_a_person(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="migration", do="target_killed", seconds=60)
    job = migrate(fleet, guest)
    assert job.state == "needs_attention"
    assert "beta does not answer" in job.message
    assert fleet.world.running_on(guest.uuid) == ("alpha",)


def be_silent(fleet: Fleet, host: str, *, silent: bool = True) -> None:
    with fleet.world.open() as state:
        state.hosts[host].down_until = time.time() + 3600 if silent else 0.0


def read(fleet: Fleet, host: str) -> None:
    """One full read of a host, applied."""
    source = fleet.hosts[host].source
    with open_here(source) as session:
        apply_snapshot(source, session.snapshot(), source.lease_token)


def turn_off(fleet: Fleet, guest: Guest) -> None:
    with fleet.world.open() as state:
        lost = state.hosts["alpha"].guests[guest.uuid]
        lost.state, lost.state_reason = GuestState.OFF, ""


@pytest.fixture
def moved_or_off(fleet: Fleet, monkeypatch: Any) -> Guest:
    """A guest whose move nobody saw the end of: the source has it powered off, the target fell silent."""
    guest = fleet.guest("alpha")

    def lose() -> None:
        turn_off(fleet, guest)
        be_silent(fleet, "beta")

    at_call(monkeypatch, "start_migration", lose)
    monkeypatch.setattr(power_runner.PowerRun.__init__, "__defaults__", (open_here,))
    job = migrate(fleet, guest)
    assert (job.state, "has it powered off; beta does not answer" in job.message) == ("needs_attention", True)
    read(fleet, "alpha")
    guest.refresh_from_db()
    assert (guest.host.name, guest.state, guest.missing_since, guest.conflict) == ("alpha", "off", None, "")
    return guest


def test_a_guest_that_may_run_on_a_silent_target_is_not_started(fleet: Fleet, moved_or_off: Guest) -> None:
    job = go(submit_power(guest=moved_or_off, action="start", by="test"))
    assert job.state == "failed", job.message
    assert job.message.startswith("beta may have this guest and cannot be asked; going on here could run it twice")
    assert fleet.world.guests("alpha")[moved_or_off.uuid].state is GuestState.OFF


def test_a_move_whose_runner_fails_again_and_again_lets_nobody_start_the_guest_unasked(
    fleet: Fleet, monkeypatch: Any
) -> None:
    guest = fleet.guest("alpha")
    monkeypatch.setattr(power_runner.PowerRun.__init__, "__defaults__", (open_here,))

    def fail(_attempt: Any, *_args: Any) -> None:
        turn_off(fleet, guest)
        be_silent(fleet, "beta")
        raise RuntimeError

    monkeypatch.setattr(runner.Attempt, "start", fail)
    monkeypatch.setattr(runner.Attempt, "resume", fail)
    job = submit(fleet, guest)
    for _ in range(CRASHES_BEFORE_ATTENTION):
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        ended = go(job)
    assert (ended.state, ended.crashes) == ("needs_attention", CRASHES_BEFORE_ATTENTION)
    read(fleet, "alpha")
    started = go(submit_power(guest=Guest.objects.get(pk=guest.pk), action="start", by="test"))
    assert started.message.startswith("beta may have this guest and cannot be asked")
    assert fleet.world.guests("alpha")[guest.uuid].state is GuestState.OFF


def test_what_cannot_be_written_down_keeps_no_job_open(fleet: Fleet, monkeypatch: Any) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise RuntimeError

    for name in ("run", "suspect_both"):
        monkeypatch.setattr(runner.Attempt, name, fail)
    job = submit(fleet, fleet.guest("alpha"))
    for _ in range(CRASHES_BEFORE_ATTENTION):
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        ended = go(job)
    assert ended.state == "needs_attention"


def test_a_host_removed_in_the_middle_leaves_the_guest_to_be_asked_for(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    claimed = claim_job(job.pk)
    assert claimed is not None
    handle = JobHandle(*claimed)
    handle.switch(JobState.CHECKING)
    handle.switch(JobState.PREPARING)
    release_job(job.pk, handle.token)
    GuestMigration.objects.update(source_host=None)
    assert go(job).state == "needs_attention"
    assert {word.host.name: word.state for word in guest.placements.all()} == {"alpha": "running", "beta": "unknown"}


def test_it_is_started_when_the_target_says_that_it_has_it_not(fleet: Fleet, moved_or_off: Guest) -> None:
    be_silent(fleet, "beta", silent=False)
    read(fleet, "beta")
    assert [word.host.name for word in moved_or_off.placements.all()] == ["alpha"]
    be_silent(fleet, "beta")  # it has said so
    job = go(submit_power(guest=moved_or_off, action="start", by="test"))
    assert (job.state, fleet.world.running_on(moved_or_off.uuid)) == ("succeeded", ("alpha",)), job.message


def test_it_is_shown_where_it_runs_as_soon_as_the_target_says_so(fleet: Fleet, moved_or_off: Guest) -> None:
    be_silent(fleet, "beta", silent=False)
    arrived = fleet.world.guests("alpha")[moved_or_off.uuid]
    arrived.state = GuestState.RUNNING
    fleet.world.add_guest("beta", arrived)
    read(fleet, "beta")
    moved_or_off.refresh_from_db()
    assert (moved_or_off.host.name, moved_or_off.state, moved_or_off.conflict) == ("beta", "running", "")


def test_a_start_that_does_not_answer_is_looked_at_not_repeated(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="start_migration", do="unreachable")
    job = migrate(fleet, guest)
    assert job.state == "failed", job.message
    with fleet.world.open() as state:
        assert state.hosts["alpha"].moves == [], "asked once, not taken, not asked again"


def test_readings_that_fail_for_a_moment_are_no_end(fleet: Fleet, monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 5.0)
    slow(fleet, 0.2)
    fleet.world.add_fault("alpha", at="poll_migration", do="unreachable", times=3)
    assert migrate(fleet, fleet.guest("alpha")).state == "succeeded"
    assert fleet.world.fired("alpha", at="poll_migration") == 3


def test_a_move_we_lost_sight_of_is_found_again(fleet: Fleet) -> None:
    slow(fleet, 0.6)
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="poll_migration", do="broken", times=0)
    fleet.world.add_fault("alpha", at="poll_migration", do="rejected")
    job = migrate(fleet, guest)
    assert fleet.world.fired("alpha", at="poll_migration") == 1
    assert job.state == "succeeded", job.message
    assert host_name(guest) == "beta"


# -- checks in the worker


def change_guest(fleet: Fleet, guest: Guest, host: str, **values: Any) -> None:
    with fleet.world.open() as state:
        for name, value in values.items():
            setattr(state.hosts[host].guests[guest.uuid], name, value)


def test_what_changed_since_the_click_is_seen(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    change_guest(fleet, guest, "alpha", state=GuestState.OFF)
    assert go(job).message == "alpha has it powered off, so the guest cannot be moved now."


def test_a_target_that_went_into_maintenance_is_refused(fleet: Fleet) -> None:
    job = submit(fleet, fleet.guest("alpha"))
    fleet.hosts["beta"].maintenance = True
    fleet.hosts["beta"].save()
    ended = go(job)
    assert ended.state == "failed"
    assert ended.message.startswith("beta is in maintenance.")
    assert GuestMigration.objects.get(pk=job.pk).findings[0]["check"] == "maintenance"


def test_a_finding_of_the_hypervisor_stops_it(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    change_guest(fleet, guest, "alpha", snapshot_count=1)
    ended = go(job)
    assert ended.state == "failed"
    assert ended.message == "The guest has snapshots, which cannot move with it. Delete them."


@pytest.mark.parametrize("at", ["sight_guest", "check_migration"])
def test_a_host_that_does_not_answer_before_the_start(fleet: Fleet, at: str) -> None:
    fleet.world.add_fault("alpha", at=at, do="unreachable")
    job = migrate(fleet, fleet.guest("alpha"))
    assert job.state == "failed", job.message
    assert [step.state for step in job.steps.all()] == ["queued", "checking", "failed"]


def test_a_removed_host_is_told(fleet: Fleet) -> None:
    job = submit(fleet, fleet.guest("alpha"))
    GuestMigration.objects.update(target_host=None)
    assert "removed from the inventory" in go(job).message


def test_a_guest_that_went_elsewhere_meanwhile(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    Guest.objects.filter(pk=guest.pk).update(host=fleet.hosts["beta"])
    assert go(job).message == "The guest is not on alpha any more."


def test_a_silent_source_row_is_no_target(fleet: Fleet) -> None:
    job = submit(fleet, fleet.guest("alpha"))
    fleet.hosts["beta"].source.state = SourceState.UNREACHABLE
    fleet.hosts["beta"].source.save()
    assert go(job).message.startswith("beta is not connected.")


# -- cancel


def test_a_cancel_while_it_copies_leaves_the_guest(fleet: Fleet, monkeypatch: Any) -> None:
    slow(fleet, 20.0)
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", lambda: request_cancel(job=job, by="ada"))
    ended = go(job)
    assert (ended.state, ended.message) == ("cancelled", "Cancelled. The guest stayed on alpha.")
    assert fleet.world.running_on(guest.uuid) == ("alpha",)


@pytest.mark.parametrize("method", ["sight_guest", "check_migration"])
def test_a_cancel_before_the_start_moves_nothing(fleet: Fleet, monkeypatch: Any, method: str) -> None:
    job = submit(fleet, fleet.guest("alpha"))
    at_call(monkeypatch, method, lambda: request_cancel(job=job, by="ada"))
    ended = go(job)
    assert (ended.state, ended.message) == ("cancelled", "Cancelled before anything was moved.")
    with fleet.world.open() as state:
        assert state.hosts["alpha"].moves == []


def test_a_cancel_that_came_too_late_is_told(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", lambda: request_cancel(job=job, by="ada"))
    ended = go(job)
    assert (ended.state, ended.message) == ("succeeded", "The guest runs on beta. It was too late to cancel.")
    assert host_name(guest) == "beta"


def test_a_cancel_before_the_start_needs_no_host_even_when_the_worker_dies(fleet: Fleet, monkeypatch: Any) -> None:
    job = submit(fleet, fleet.guest("alpha"))

    def cancel_and_die() -> None:
        request_cancel(job=job, by="ada")
        kill()

    at_call(monkeypatch, "check_migration", cancel_and_die)
    die(job)
    assert Job.objects.get(pk=job.pk).state == JobState.CANCELLING
    fleet.world.add_fault("alpha", at="sight_guest", do="unreachable", times=-1)
    ended = go(job)
    assert (ended.state, ended.message) == ("cancelled", "Cancelled before anything was moved.")


def test_somebody_else_s_cancel_is_a_failure(fleet: Fleet, monkeypatch: Any) -> None:
    slow(fleet, 20.0)
    guest = fleet.guest("alpha")

    def abort() -> None:
        with fleet.world.open() as state:
            state.hosts["alpha"].moves[0].cancelled = True

    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", abort)
    ended = go(job)
    assert ended.state == "failed"
    assert ended.message == "Somebody cancelled it on the host itself. The guest stayed on alpha."


# -- take-over


def test_a_move_that_runs_is_adopted(fleet: Fleet, monkeypatch: Any) -> None:
    slow(fleet, 0.4)
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", kill)
    die(job)
    assert go(job).state == "succeeded"
    with fleet.world.open() as state:
        assert len(state.hosts["alpha"].moves) == 1


def test_a_move_that_was_never_begun_is_begun(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "start_migration", kill)
    die(job)
    assert Job.objects.get(pk=job.pk).state == JobState.PREPARING
    assert go(job).state == "succeeded"
    assert host_name(guest) == "beta"


def test_a_stamp_without_a_move_is_verified_not_begun_again(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "start_migration", kill)
    die(job)
    change_guest(fleet, guest, "alpha", stamp=GuestMigration.objects.get(pk=job.pk).stamp)
    ended = go(job)
    assert ended.state == "failed"
    assert "stayed on alpha" in ended.message
    with fleet.world.open() as state:
        assert state.hosts["alpha"].moves == []


def test_a_start_that_comes_late_is_seen_not_called_a_failure(fleet: Fleet, monkeypatch: Any) -> None:
    """A dead worker's call was still in line at the hypervisor: the stamp is there, the job begins after our look."""
    monkeypatch.setattr(runner, "LATE_START_SECONDS", 5.0)
    slow(fleet, 0.3)
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "start_migration", kill)
    die(job)
    change_guest(fleet, guest, "alpha", stamp=GuestMigration.objects.get(pk=job.pk).stamp)
    begun = []

    def begin() -> None:
        """After the new worker has seen the guest stand there a few times."""
        with fleet.world.open() as state:
            alpha = state.hosts["alpha"]
            stamp, alpha.guests[guest.uuid].stamp = alpha.guests[guest.uuid].stamp, ""
            start_move(state, alpha, alpha.guests[guest.uuid], "beta", stamp, time.time())
            begun.append(len(alpha.moves))

    wait = runner.Attempt.wait
    looks = itertools.count()

    def waiting(attempt: runner.Attempt, seconds: float) -> None:
        if attempt.handle.state == "verifying" and next(looks) == 3:
            begin()
        wait(attempt, seconds)

    monkeypatch.setattr(runner.Attempt, "wait", waiting)
    ended = go(job)
    assert begun == [1], "the late start came while it was verified"
    assert ended.state == "succeeded", ended.message
    assert host_name(guest) == "beta"
    assert "copying" in [step.state for step in ended.steps.all()], "it was watched again, and could be cancelled"


def test_a_start_past_the_lease_is_refused_and_nothing_is_begun(fleet: Fleet, monkeypatch: Any) -> None:
    """The worker was stopped between its last look at the lease and the hypervisor's work."""
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    monkeypatch.setattr(JobHandle, "lease_ends", property(lambda _handle: time.monotonic() - 1))
    ended = go(job)
    assert (ended.state, ended.message) == ("failed", "The time to begin this attempt is over; nothing was begun.")
    assert fleet.world.guests("alpha")[guest.uuid].stamp == ""
    with fleet.world.open() as state:
        assert state.hosts["alpha"].moves == []


def test_another_operation_of_the_guest_is_told_at_once(fleet: Fleet, monkeypatch: Any) -> None:
    slow(fleet, 20.0)
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)

    def somebody_else_moves_it() -> None:
        with fleet.world.open() as state:
            alpha = state.hosts["alpha"]
            start_move(state, alpha, alpha.guests[guest.uuid], "beta", "somebody-else", time.time())

    at_call(monkeypatch, "start_migration", somebody_else_moves_it)
    ended = go(job)
    assert (ended.state, ended.message) == ("failed", "Another migration of this guest is under way.")
    assert "verifying" not in [step.state for step in ended.steps.all()]


def test_a_move_that_ended_meanwhile_is_verified(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", kill)
    die(job)
    assert fleet.world.running_on(guest.uuid) == ("beta",)
    assert host_name(guest) == "alpha", "nobody told the row yet"
    assert go(job).state == "succeeded"
    assert host_name(guest) == "beta"


def test_a_cancel_that_outlived_its_worker_is_done(fleet: Fleet, monkeypatch: Any) -> None:
    slow(fleet, 20.0)
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)
    at_call(monkeypatch, "poll_migration", kill)
    die(job)
    request_cancel(job=job, by="ada")
    assert go(job).state == "cancelled"
    assert fleet.world.running_on(guest.uuid) == ("alpha",)


def test_a_worker_that_woke_up_starts_nothing(fleet: Fleet, monkeypatch: Any) -> None:
    """It was stopped right before its call; meanwhile another one finished the job."""
    guest = fleet.guest("alpha")
    job = submit(fleet, guest)

    def overtaken() -> None:
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        monkeypatch.setattr(runner.Attempt.__init__, "__defaults__", (open_here,))
        assert go(job).state == "succeeded"

    at_call(monkeypatch, "check_migration", overtaken)
    run(str(job.pk))
    assert fleet.world.running_on(guest.uuid) == ("beta",)
    assert Job.objects.get(pk=job.pk).state == "succeeded"
    assert fleet.moves() == 1


class Killed(BaseException):
    """Stands for kill -9: nothing of the worker runs any more."""


def kill() -> None:
    raise Killed


def die(job: Job) -> None:
    """Run until the scripted kill strikes, then let the lease lapse."""
    with pytest.raises(Killed):
        run(str(job.pk))
    Job.objects.filter(pk=job.pk).update(lease_until=None)
