from hypothesis import given
from hypothesis import strategies as st

from drivers.types import MigrationPhase, MigrationProgress
from migrations.progress import SAMPLES_KEPT, as_progress, percent_of, seconds_left, with_sample

MIB = 1 << 20
SIZES = st.none() | st.integers(0, 1 << 50)


def reading(**figures: int | None) -> MigrationProgress:
    return MigrationProgress(MigrationPhase.COPYING, **figures)  # type: ignore[arg-type]


@given(total=SIZES, remaining=SIZES, sent=SIZES, rate=SIZES, dirty=SIZES, iteration=st.none() | st.integers(0, 9))
def test_any_figures_make_a_percentage_and_an_estimate(
    total: int | None,
    remaining: int | None,
    sent: int | None,
    rate: int | None,
    dirty: int | None,
    iteration: int | None,
) -> None:
    figures = {"bytes_total": total, "bytes_remaining": remaining, "bytes_processed": sent, "iteration": iteration}
    shown = as_progress(reading(**figures, rate_bytes_per_s=rate, dirty_rate_bytes_per_s=dirty))
    assert 0 <= shown["percent"] <= 99
    assert shown["seconds_left"] is None or shown["seconds_left"] >= 0


def test_half_is_half() -> None:
    assert percent_of(reading(bytes_total=8 * MIB, bytes_remaining=4 * MIB)) == 50


def test_the_first_pass_is_not_the_whole_way() -> None:
    first = reading(bytes_total=100, bytes_remaining=1, bytes_processed=60, iteration=1)
    assert percent_of(first) == 89
    assert percent_of(reading(bytes_total=100, bytes_remaining=15, bytes_processed=85, iteration=2)) == 85


def test_a_guest_that_writes_as_fast_as_we_copy_has_no_end() -> None:
    assert seconds_left(reading(bytes_remaining=90, rate_bytes_per_s=30)) == 3
    assert seconds_left(reading(bytes_remaining=90, rate_bytes_per_s=30, dirty_rate_bytes_per_s=30)) is None


def test_a_chart_has_points_enough_and_no_more() -> None:
    samples: list[list[float]] = []
    for second in range(SAMPLES_KEPT * 5):
        samples = with_sample(samples, reading(elapsed_ms=second * 1000, bytes_processed=second))
    assert SAMPLES_KEPT / 2 <= len(samples) <= SAMPLES_KEPT + 1
    assert samples[0][0] == 0
    assert samples[-1][0] == SAMPLES_KEPT * 5 - 1
    assert samples == sorted(samples)
