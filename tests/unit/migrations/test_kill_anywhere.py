"""Workers die before or after any call, hosts fail, people cancel: the story always ends, and it is true."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.models import Guest
from migrations import runner
from migrations.services import submit_migration
from operations.errors import CannotCancel
from operations.models import Job
from operations.runtime import run
from operations.services import request_cancel
from tests.examples import examples
from tests.world import Fleet, make_fleet, open_here

METHODS = (
    "sight_guest",
    "check_migration",
    "start_migration",
    "find_migration",
    "poll_migration",
    "cancel_migration",
    "clear_stamp",
)
MOST_LIVES = 12


class Killed(BaseException):
    """Stands for kill -9."""


class Fate:
    """Counts the workers' hypervisor calls and strikes at the chosen ones."""

    def __init__(self, kills: list[tuple[int, bool]], cancel_at: int | None, job: Job) -> None:
        self.kills = dict(kills)
        self.cancel_at = cancel_at
        self.job = job
        self.calls = 0
        self.killed = 0

    def before(self) -> bool | None:
        """Whether to be killed after this call; kills before it at once."""
        self.calls += 1
        if self.calls == self.cancel_at:
            try:
                request_cancel(job=self.job, by="ada")
            except CannotCancel:
                self.cancel_at = None
        after = self.kills.pop(self.calls, None)
        if after is False:
            self.strike()
        return after

    def strike(self) -> None:
        self.killed += 1
        raise Killed

    @contextmanager
    def open(self, *args: Any, **options: Any) -> Iterator[Any]:
        with open_here(*args, **options) as session:
            for method in METHODS:
                setattr(session, method, self.wrapped(getattr(session, method)))
            yield session

    def wrapped(self, method: Any) -> Any:
        def called(*arguments: Any) -> Any:
            after = self.before()
            answer = method(*arguments)
            if after:
                self.strike()
            return answer

        return called


FAULTS = st.sampled_from([None, None, None, "target_killed", "source_killed", "cable_cut", "refused", "lost"])


@pytest.mark.usefixtures("db", "quick")
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.tuples(st.integers(1, 14), st.booleans()), max_size=4, unique_by=lambda kill: kill[0]),
    fault=FAULTS,
    call_fault=st.sampled_from([None, *METHODS]),
    cancel_at=st.none() | st.integers(1, 12),
    seconds=st.sampled_from([0.0, 0.03, 0.08]),
)
def test_the_story_ends_and_is_true(
    kills: list[tuple[int, bool]], fault: str | None, call_fault: str | None, cancel_at: int | None, seconds: float
) -> None:
    with tempfile.TemporaryDirectory() as folder, transaction.atomic():
        fleet = make_fleet(Path(folder) / "world.json", "alpha", "beta", guests=1, seconds=seconds)
        if fault is not None:
            fleet.world.add_fault("alpha", at="migration", do=fault, seconds=0.02)
        if call_fault is not None:
            fleet.world.add_fault("alpha", at=call_fault, do="unreachable")
        guest = fleet.guest("alpha")
        job = submit_migration(guest=guest, target_host=fleet.hosts["beta"], by="test").job
        fate = Fate(kills, cancel_at, job)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner.Attempt.__init__, "__defaults__", (fate.open,))
            patch.setattr(runner, "VERIFY_SECONDS", 0.5)
            live(job)
        check(fleet, guest, Job.objects.get(pk=job.pk), fate)
        transaction.set_rollback(True)


def live(job: Job) -> None:
    """One worker after the other, until the job has ended."""
    for _ in range(MOST_LIVES):
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        try:
            run(str(job.pk))
        except Killed:
            continue
        if not Job.objects.get(pk=job.pk).is_open:
            return
    raise AssertionError("the story does not end")


def check(fleet: Fleet, guest: Guest, job: Job, fate: Fate) -> None:
    running = fleet.world.running_on(guest.uuid)
    assert len(running) <= 1, "never two running copies"
    assert fleet.moves() <= 1, "begun once at most"
    row = Guest.objects.select_related("host").get(pk=guest.pk)
    if job.state == "succeeded":
        assert running == ("beta",)
    if job.state in {"failed", "cancelled"}:
        assert running == ("alpha",)
    if job.state != "needs_attention":
        assert (row.host.name,) == running
        assert row.state == "running"
    if job.state == "cancelled":
        assert fate.cancel_at is not None
    steps = [step.state for step in job.steps.all()]
    assert steps[0] == "queued"
    assert steps[-1] == job.state
    assert job.message.endswith(".")
