"""How a job's time and the stations of a move are shown."""

from datetime import UTC, datetime, timedelta

import pytest

from console.jobs import format_seconds, seconds_between
from console.migrations import average_rate, format_estimate, pace_warning, stages_of
from operations.models import Job, JobState, JobStep

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.2, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3725, "1 h 02 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_lengths_of_time(seconds: float | None, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    assert seconds_between(NOW, NOW - timedelta(hours=1)) == 0
    assert seconds_between(None, NOW) is None


def test_an_estimate_claims_no_tenths() -> None:
    assert format_estimate(9) == "about 9 s"
    assert format_estimate(9, at_least=True) == "at least 9 s"
    assert format_estimate(None) == ""


def job_at(*states: JobState) -> tuple[Job, list[JobStep]]:
    job = Job(kind="migration", state=states[-1])
    return job, [
        JobStep(job=job, at=NOW + timedelta(seconds=number), state=state) for number, state in enumerate(states)
    ]


def shown(*states: JobState) -> list[tuple[str, str]]:
    return [(stage.state, stage.status) for stage in stages_of(*job_at(*states))]


def test_stations_ahead_are_ahead() -> None:
    assert shown(JobState.QUEUED, JobState.CHECKING, JobState.PREPARING) == [
        ("queued", "done"),
        ("checking", "done"),
        ("preparing", "current"),
        ("copying", "ahead"),
        ("switching", "ahead"),
        ("verifying", "ahead"),
        ("end", "ahead"),
    ]


def test_a_station_passed_between_two_readings_is_done_and_says_so() -> None:
    job, steps = job_at(
        JobState.QUEUED, JobState.CHECKING, JobState.PREPARING, JobState.COPYING, JobState.VERIFYING, JobState.SUCCEEDED
    )
    stages = {stage.state: (stage.status, stage.took) for stage in stages_of(job, steps)}
    assert stages["switching"] == ("done", "unseen")
    assert stages["copying"] == ("done", "1.0 s")
    assert stages["end"] == ("good", "")


def test_what_a_failed_move_never_reached_is_not_done() -> None:
    assert shown(JobState.QUEUED, JobState.CHECKING, JobState.FAILED)[2:] == [
        ("preparing", "skipped"),
        ("copying", "skipped"),
        ("switching", "skipped"),
        ("verifying", "skipped"),
        ("end", "bad"),
    ]


def test_a_cancelled_move_shows_the_way_it_took() -> None:
    way = (JobState.QUEUED, JobState.CHECKING, JobState.PREPARING, JobState.COPYING, JobState.CANCELLING)
    assert shown(*way)[-2:] == [("cancelling", "current"), ("end", "ahead")]
    assert shown(*way, JobState.CANCELLED)[-3:] == [("copying", "done"), ("cancelling", "done"), ("end", "skipped")]


@pytest.mark.parametrize(
    ("samples", "rate"),
    [([], None), ([[1, 10, 1, 1]], None), ([[0, 0, 1, None], [2, 300, 1, None]], 150.0), ([[0, None, 1, 1]], None)],
)
def test_the_average_needs_two_readings(samples: list[list[float]], rate: float | None) -> None:
    assert average_rate(samples) == rate


@pytest.mark.parametrize(
    ("state", "rate", "dirty", "iteration", "warned"),
    [
        ("copying", 100, 200, 2, True),
        ("copying", 100, 50, 2, False),
        ("copying", 100, 200, 1, False),
        ("copying", None, 200, 2, False),
        ("verifying", 100, 200, 2, False),
    ],
)
def test_who_cannot_catch_up_is_told(state: str, rate: int | None, dirty: int, iteration: int, warned: bool) -> None:
    progress = {"rate_bytes_per_s": rate, "dirty_rate_bytes_per_s": dirty, "iteration": iteration}
    assert bool(pace_warning(Job(state=state, progress=progress))) is warned
