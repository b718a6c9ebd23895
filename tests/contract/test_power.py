"""Power: what each action does, and what is refused with a sentence."""

import pytest

from drivers.errors import NotFound, Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.types import GuestState, PowerAction
from tests.contract.subjects import DEADLINE_S, Subject, wait_until
from tests.contract.test_reads import UNKNOWN

OFF, RUNNING, PAUSED = GuestState.OFF, GuestState.RUNNING, GuestState.PAUSED


def wait_for_state(session: RemoteSession, uuid: str, state: GuestState) -> None:
    def is_so() -> bool:
        sighting = session.sight_guest(uuid)
        return sighting is not None and sighting.state is state

    wait_until(is_so, f"the guest being {state}")


def test_a_guest_through_all_its_states(subject: Subject, pool: SessionPool) -> None:
    uuid = subject.power_guest
    steps = [
        (PowerAction.SUSPEND, PAUSED),
        (PowerAction.RESUME, RUNNING),
        (PowerAction.RESET, RUNNING),
        (PowerAction.OFF, OFF),
        (PowerAction.START, RUNNING),
    ]
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        for action, state in steps:
            if action is PowerAction.RESET and not subject.can_reset:
                continue
            session.prepare_power(uuid)
            session.power(uuid, action)
            wait_for_state(session, uuid, state)
        states = {guest.uuid: guest.state for guest in session.read_states().guests}
    assert states[uuid] is RUNNING


def test_getting_ready_alone_changes_nothing(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        before = session.sight_guest(subject.power_guest)
        for _again in range(2):
            session.prepare_power(subject.power_guest)
        assert session.sight_guest(subject.power_guest) == before


def test_what_the_state_does_not_allow_is_rejected(subject: Subject, pool: SessionPool) -> None:
    uuid = subject.power_guest
    impossible = {
        RUNNING: (PowerAction.START, PowerAction.RESUME),
        PAUSED: (PowerAction.START, PowerAction.SUSPEND, PowerAction.SHUTDOWN),
        OFF: (PowerAction.OFF, PowerAction.SHUTDOWN, PowerAction.SUSPEND, PowerAction.RESUME, PowerAction.RESET),
    }
    there = [(RUNNING, None), (PAUSED, PowerAction.SUSPEND), (OFF, PowerAction.OFF)]
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        for state, action in there:
            if action is not None:
                session.power(uuid, action)
            for wrong in impossible[state]:
                with pytest.raises(Rejected) as raised:
                    session.power(uuid, wrong)
                assert raised.value.message.endswith(".")
            wait_for_state(session, uuid, state)
        session.power(uuid, PowerAction.START)
        wait_for_state(session, uuid, RUNNING)


def test_shutdown_is_taken(subject: Subject, pool: SessionPool) -> None:
    """A guest's operating system may take its time, or have none: the tiny guests of the lab ignore the button."""
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        session.power(subject.power_guest, PowerAction.SHUTDOWN)
        sighting = session.sight_guest(subject.power_guest)
        assert sighting is not None
        assert sighting.state in {RUNNING, OFF}
        if sighting.state is OFF:
            session.power(subject.power_guest, PowerAction.START)
        wait_for_state(session, subject.power_guest, RUNNING)


@pytest.mark.parametrize("action", list(PowerAction))
def test_a_guest_that_is_not_there(subject: Subject, pool: SessionPool, action: PowerAction) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        for ref in (UNKNOWN, "", "../x"):
            with pytest.raises(NotFound):
                session.power(ref, action)
