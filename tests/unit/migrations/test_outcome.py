"""Every pair of words two hosts can say, and what becomes of the job."""

from itertools import product

import pytest

from drivers.types import GuestSighting, GuestState
from migrations.outcome import Sight, Verdict, Word, end_of, judge, word_of


def sighting(state: GuestState = GuestState.RUNNING, reason: str = "", *, moving: bool = False) -> GuestSighting:
    return GuestSighting(
        ref="r", uuid="u", name="n", state=state, state_reason=reason, persistent=True, stamp="", job_active=moving
    )


SIGHTS: dict[Word, tuple[bool, GuestSighting | None]] = {
    Word.RUNS: (True, sighting()),
    Word.PAUSED: (True, sighting(GuestState.PAUSED, "user")),
    Word.OFF: (True, sighting(GuestState.OFF)),
    Word.ABSENT: (True, None),
    Word.MOVING: (True, sighting(moving=True)),
    Word.SILENT: (False, None),
}


def sights(here: Word, there: Word) -> tuple[Sight, Sight]:
    return Sight("kvm-01", *SIGHTS[here]), Sight("kvm-02", *SIGHTS[there])


@pytest.mark.parametrize(("here", "there"), list(product(Word, Word)))
@pytest.mark.parametrize("cancelled", [False, True])
def test_every_pair_has_an_end_with_a_sentence(here: Word, there: Word, cancelled: bool) -> None:
    source, target = sights(here, there)
    assert (source.word, target.word) == (here, there)
    verdict = judge(source, target)
    end = end_of(verdict, source, target, cancelled=cancelled, error="")
    assert end.message.endswith(".")
    if end.state == "succeeded":
        assert there in {Word.RUNS, Word.PAUSED}
        assert here is Word.ABSENT
    if end.state in {"failed", "cancelled"}:
        assert there is Word.ABSENT, "nothing may be left behind unsaid"
    if Word.SILENT in {here, there} or here is there is Word.RUNS:
        assert end.state == "needs_attention"
        assert "kvm-01" in end.message
        assert "kvm-02" in end.message


@pytest.mark.parametrize(
    ("here", "there", "cancelled", "state", "says"),
    [
        (Word.ABSENT, Word.RUNS, False, "succeeded", "The guest runs on kvm-02."),
        (Word.ABSENT, Word.RUNS, True, "succeeded", "too late to cancel"),
        (Word.ABSENT, Word.PAUSED, False, "succeeded", "paused it on the way"),
        (Word.RUNS, Word.ABSENT, False, "failed", "stayed on kvm-01"),
        (Word.RUNS, Word.ABSENT, True, "cancelled", "Cancelled. The guest stayed on kvm-01."),
        (Word.OFF, Word.ABSENT, False, "failed", "off on kvm-01"),
        (Word.RUNS, Word.RUNS, False, "needs_attention", "power it off on one of them at once"),
        (Word.OFF, Word.RUNS, False, "needs_attention", "remove it there"),
        (Word.ABSENT, Word.ABSENT, False, "needs_attention", "Neither knows it"),
        (Word.RUNS, Word.SILENT, False, "needs_attention", "kvm-02 does not answer"),
    ],
)
def test_what_is_said(here: Word, there: Word, cancelled: bool, state: str, says: str) -> None:
    source, target = sights(here, there)
    end = end_of(judge(source, target), source, target, cancelled=cancelled, error="")
    assert end.state == state
    assert says in end.message


def test_a_guest_that_stands_still_for_a_fault_is_no_success() -> None:
    """Its datastore is full or away at the target: nobody paused it."""
    here, _there = sights(Word.ABSENT, Word.RUNS)
    there = Sight("kvm-02", answered=True, sighting=sighting(GuestState.PAUSED, "I/O error"))
    verdict = judge(here, there)
    assert verdict is Verdict.MOVED
    end = end_of(verdict, here, there, cancelled=False, error="")
    assert end.state == "needs_attention"
    assert end.message == "The guest is on kvm-02 and stands still there: I/O error. Mend that, then resume it."


def test_the_reason_of_a_failure_is_told() -> None:
    end = end_of(Verdict.STAYED, *sights(Word.RUNS, Word.ABSENT), cancelled=False, error="The cable was cut.")
    assert end.message == "The cable was cut. The guest stayed on kvm-01."


def test_a_guest_that_arrives_is_still_moving() -> None:
    assert word_of(sighting(GuestState.PAUSED, "migration")) is Word.MOVING
    assert word_of(sighting(GuestState.UNKNOWN)) is Word.MOVING
