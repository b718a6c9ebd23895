"""The base of jobs that ask a host for something: each step once, taken over where it stood, the end told as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from drivers.requests import Effect, SnapshotRequest
from hosts import acts
from hosts.acts import At, HostAct, Impossible, request_reads
from hosts.meter import Meter
from hosts.models import Host, Source
from operations import kinds
from operations.handle import JobHandle
from operations.kinds import JobKind
from operations.models import Job
from operations.services import request_cancel, submit_job
from tests.lives import Fate, live, strike_with
from tests.world import Fleet, make_fleet


class Prepare(HostAct):
    """Three steps: notes, memory, a snapshot."""

    def perform(self) -> str:
        host = Host.objects.select_related("source").get(name="alpha")
        at = At(host, self.handle.job.target_id)
        if self.handle.parameters.get("speaks_against"):
            raise Impossible("That makes no sense.")
        self.tell("notes", at, lambda session, turn: session.set_notes(at.ref, "t", "n", turn.not_after))
        effect = self.ask("memory", at, lambda s, turn: s.set_memory(at.ref, 2 << 30, 0, turn.not_after), Effect)
        wanted = SnapshotRequest("before")
        self.follow("snapshot", at, lambda s, turn: s.create_snapshot(at.ref, wanted, turn.stamp, turn.not_after))
        return f"Done, {effect.value}."


def run(handle: JobHandle) -> None:
    Prepare(handle).run()


@pytest.fixture(autouse=True)
def kind() -> Iterator[None]:
    path = f"{__name__}:run"
    kinds.register(
        JobKind(name="prepare", title=lambda _p: "Prepare", runner=path, on_unclear="hosts.acts:request_reads")
    )
    yield
    del kinds._kinds["prepare"]


@pytest.fixture
def fleet(db: None, tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path / "world.json", "alpha", guests=1)


@pytest.fixture
def fate(monkeypatch: pytest.MonkeyPatch) -> Fate:
    return strike_with(monkeypatch)


def submit(fleet: Fleet, **parameters: Any) -> Job:
    guest = fleet.guest("alpha")
    return submit_job(
        kind="prepare",
        target_kind="guest",
        target_id=guest.uuid,
        target_name=guest.name,
        parameters=parameters,
        exclusive=f"guest:{guest.pk}",
        by="test",
    )


def in_world(fleet: Fleet) -> Any:
    return fleet.world.guests("alpha")[fleet.guest("alpha").uuid]


def test_each_step_is_done_and_the_source_is_read_at_once(fleet: Fleet, fate: Fate) -> None:
    job = live(submit(fleet))
    assert (job.state, job.message) == ("succeeded", "Done, after_next_start.")
    assert [one.name for one in in_world(fleet).snapshots] == ["before"]
    assert fate.calls.count("create_snapshot") == 1
    assert Source.objects.get(name="alpha").next_inventory_at <= timezone.now()


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 8))
def test_whoever_takes_over_goes_on(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, number: int, made: bool) -> None:
    fate = strike_with(monkeypatch, Fate([(number, made)]))
    job = live(submit(fleet))
    struck = number not in fate.kills
    assert struck == (number <= 6)
    assert (job.state, job.message) == ("succeeded", "Done, after_next_start.")
    assert [one.name for one in in_world(fleet).snapshots] == ["before"]
    with fleet.world.open() as state:
        assert len(state.hosts["alpha"].tasks) == 1, "taken once"


def let_tasks_last(fleet: Fleet, fate: Fate, enough: Callable[[], bool]) -> None:
    """Tasks of the simulated host run on until, at some call, there was enough of them."""
    with fleet.world.open() as state:
        state.task_seconds = 3600.0

    def look(_number: int, _name: str) -> None:
        if enough():
            with fleet.world.open() as world:
                for task in world.hosts["alpha"].tasks:
                    task.seconds = 0.0

    fate.before_call = look


def test_a_lasting_task_is_read_to_its_end_with_progress(
    fleet: Fleet, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.handle.PROGRESS_SECONDS", 0.0)
    seen: list[dict[str, Any]] = []

    def has_grown() -> bool:
        seen.append(Job.objects.get().progress)
        return len({one["bytes_processed"] for one in seen if one.get("bytes_processed")}) > 1

    let_tasks_last(fleet, fate, has_grown)
    job = live(submit(fleet))
    assert job.state == "succeeded"
    assert "poll_task" in fate.calls
    assert any(one.get("bytes_total") == 1 << 30 and one["bytes_processed"] > 0 for one in seen)
    shares = [one["percent"] for one in seen if "percent" in one]
    assert shares == sorted(shares)


@pytest.mark.parametrize("made", [False, True])
def test_a_worker_that_dies_while_it_watches(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    fate = strike_with(monkeypatch, Fate([(7, made), (10, made)]))
    let_tasks_last(fleet, fate, lambda: not fate.kills)
    job = live(submit(fleet))
    assert job.state == "succeeded"
    assert not fate.kills
    with fleet.world.open() as state:
        assert len(state.hosts["alpha"].tasks) == 1, "taken once"


@pytest.mark.parametrize("at", ["open", "prepare_operation", "set_notes"])
def test_a_no_fails_it_with_the_drivers_sentence(fleet: Fleet, fate: Fate, at: str) -> None:
    fleet.world.add_fault("alpha", at=at, do="rejected")
    job = live(submit(fleet))
    assert (job.state, job.message) == ("failed", "The host refused this.")
    assert in_world(fleet).notes == ""


@pytest.mark.parametrize("at", ["open", "prepare_operation"])
def test_a_host_that_was_never_asked_fails_it_at_once(fleet: Fleet, fate: Fate, at: str) -> None:
    fleet.world.add_fault("alpha", at=at, do="unreachable", times=-1)
    job = live(submit(fleet))
    assert job.state == "failed"
    assert "does not answer" in job.message
    assert "asked" not in job.checkpoint


def test_a_host_that_is_silent_for_a_moment_is_asked_again(fleet: Fleet, fate: Fate) -> None:
    fleet.world.add_fault("alpha", at="set_memory", do="unreachable", times=2)
    assert live(submit(fleet)).state == "succeeded"
    assert fate.calls.count("set_memory") == 3


def test_a_host_that_stays_silent_needs_a_person(fleet: Fleet, fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "SILENCE_SECONDS", 0.05)
    fleet.world.add_fault("alpha", at="set_memory", do="unreachable", times=-1)
    job = live(submit(fleet))
    assert job.state == "needs_attention"
    assert "not known" in job.message
    assert "snapshot" not in job.checkpoint["asked"]


def test_a_guest_that_is_gone_when_a_step_is_taken_over_needs_a_person(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch, Fate([(4, False)]))
    fleet.world.add_fault("alpha", at="set_memory", do="not_found")
    job = live(submit(fleet))
    assert not fate.kills
    assert job.state == "needs_attention"


def test_a_host_that_is_gone_when_a_step_is_taken_over_needs_a_person(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "SILENCE_SECONDS", 0.05)
    fate = strike_with(monkeypatch, Fate([(4, False)]))
    fleet.world.add_fault("alpha", at="set_memory", do="slow")
    job = submit(fleet)

    def cut(number: int, _name: str) -> None:
        if number == 4:
            fleet.world.add_fault("alpha", at="open", do="unreachable", times=-1)

    fate.before_call = cut
    ended = live(job)
    assert ended.state == "needs_attention"
    assert in_world(fleet).memory_bytes == 1 << 30


@pytest.mark.parametrize(("asked", "state"), [(False, "failed"), (True, "needs_attention")])
def test_what_speaks_against_it_when_a_step_is_in_doubt(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, asked: bool, state: str
) -> None:
    strike_with(monkeypatch)
    job = submit(fleet, speaks_against=True)
    if asked:
        Job.objects.filter(pk=job.pk).update(
            checkpoint={"asked": {"notes": {"stamp": "s", "source": str(Source.objects.get().pk)}}}
        )
    ended = live(job)
    assert ended.state == state
    assert "That makes no sense." in ended.message


def test_what_somebody_else_holds_fails_at_once_and_was_not_asked(fleet: Fleet, fate: Fate) -> None:
    fleet.world.add_fault("alpha", at="set_notes", do="busy")
    job = live(submit(fleet))
    assert job.state == "failed"
    assert "notes" not in job.checkpoint["asked"]


def test_what_an_earlier_call_may_hold_is_waited_for(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch, Fate([(2, True)]))
    fleet.world.add_fault("alpha", at="set_notes", do="slow", times=1)
    fleet.world.add_fault("alpha", at="set_notes", do="busy", times=3)
    assert live(submit(fleet)).state == "succeeded"


def test_a_task_that_ends_with_a_no_fails_it(fleet: Fleet, fate: Fate) -> None:
    with fleet.world.open() as state:
        state.task_seconds = 0.02
    fleet.world.add_fault("alpha", at="task", do="rejected")
    job = live(submit(fleet))
    assert (job.state, job.message) == ("failed", "The host refused this.")


def test_a_task_whose_process_is_gone_is_asked_for_again(fleet: Fleet, fate: Fate) -> None:
    with fleet.world.open() as state:
        state.task_seconds = 0.1

    def forget(number: int, name: str) -> None:
        if name == "poll_task" and fate.calls.count("poll_task") == 1:
            with fleet.world.open() as world:
                world.hosts["alpha"].tasks.clear()

    fate.before_call = forget
    assert live(submit(fleet)).state == "succeeded"
    assert fate.calls.count("create_snapshot") == 2
    assert [one.name for one in in_world(fleet).snapshots] == ["before"]


@pytest.mark.parametrize(("number", "state"), [(1, "cancelled"), (3, "cancelled"), (6, "succeeded")])
def test_cancel_stops_before_the_next_step(fleet: Fleet, fate: Fate, number: int, state: str) -> None:
    job = submit(fleet)

    def cancel(now: int, _name: str) -> None:
        if now == number:
            request_cancel(job=job, by="ada")

    fate.before_call = cancel
    ended = live(job)
    assert ended.state == state
    if state == "cancelled":
        assert ("anything" in ended.message) == (number == 1), "it says whether something was done"
        assert in_world(fleet).memory_bytes == 1 << 30


def test_what_we_know_speaks_against_it(fleet: Fleet, fate: Fate) -> None:
    job = live(submit(fleet, speaks_against=True))
    assert (job.state, job.message) == ("failed", "That makes no sense.")
    assert fate.calls == []


def test_a_job_the_engine_gives_up_has_its_source_read(fleet: Fleet, fate: Fate) -> None:
    fleet.world.add_fault("alpha", at="set_memory", do="broken", times=-1)
    job = live(submit(fleet))
    assert job.state == "needs_attention"
    assert Source.objects.get(name="alpha").next_inventory_at <= timezone.now()


def test_a_job_that_asked_nothing_has_nothing_read(fleet: Fleet, fate: Fate) -> None:
    job = submit(fleet)
    request_reads(JobHandle(job, 0.0))
    assert Source.objects.get(name="alpha").next_inventory_at > timezone.now()


@pytest.mark.parametrize(
    ("total", "done", "percent"), [(None, None, 20), (100, None, 20), (0, 0, 20), (100, 50, 40), (100, 500, 60)]
)
def test_the_share_of_a_part(total: int | None, done: int | None, percent: int) -> None:
    assert Meter((20, 60)).read(total, done)["percent"] == percent


def test_the_rate_follows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr("hosts.meter.time.monotonic", lambda: moment[0])
    meter = Meter()
    assert meter.read(1000, 0)["rate_bytes_per_s"] is None
    moment[0] += 2
    shown = meter.read(1000, 200)
    assert (shown["rate_bytes_per_s"], shown["seconds_left"], shown["percent"]) == (100, 8, 20)
    moment[0] += 1
    assert meter.read(1000, 200)["rate_bytes_per_s"] == 70, "it slows down, not at once"
    assert meter.read(1000, 1000)["percent"] == 99, "all of it is told by the end alone"
