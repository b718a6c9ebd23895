import pytest

from migrations.machine import MIGRATION
from operations.models import ENDED, JobState
from operations.states import ENDS, SIMPLE, ForbiddenChange, Machine, OnCancel, require_change

MACHINES = [SIMPLE, MIGRATION]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("end", ENDED)
def test_an_end_is_followed_by_nothing(machine: Machine, end: JobState) -> None:
    assert not any(machine.allows(end, after) for after in JobState)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_open_state_has_a_way_on_and_an_answer_to_cancel(machine: Machine) -> None:
    reached = {JobState.QUEUED} | {after for afters in machine.changes.values() for after in afters}
    for state in reached - ENDS:
        assert machine.changes[state]
        assert isinstance(machine.answer_cancel(state), OnCancel)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_may_be_asked_to_stop_can(machine: Machine) -> None:
    for state, answer in machine.on_cancel.items():
        if answer is OnCancel.ASK:
            assert machine.allows(state, JobState.CANCELLING)
        if answer is OnCancel.AT_ONCE:
            assert machine.allows(state, JobState.CANCELLED)
        if answer is OnCancel.TOO_LATE:
            assert not machine.allows(state, JobState.CANCELLING)


def test_a_migration_succeeds_only_after_both_hosts_were_asked() -> None:
    before = {state for state, afters in MIGRATION.changes.items() if JobState.SUCCEEDED in afters}
    assert JobState.COPYING not in before
    assert JobState.SWITCHING not in before


def test_a_forbidden_change_is_a_mistake_of_ours() -> None:
    require_change(SIMPLE, JobState.QUEUED, JobState.RUNNING)
    with pytest.raises(ForbiddenChange):
        require_change(SIMPLE, JobState.SUCCEEDED, JobState.RUNNING)
