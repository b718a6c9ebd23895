"""Simulated migrations, step by step on a clock of the test's own: each fault ends as it did on real hosts."""

import pytest

from drivers.errors import Busy, NotFound, Rejected
from drivers.fake import faults
from drivers.fake.build import make_host
from drivers.fake.model import FakeFault, FakeGuest, FakeHost, FakeState
from drivers.fake.moves import active_move, cancel_move, last_move, progress_of, settle, start_move
from drivers.types import GuestState, MigrationPhase

START, END = 1000.0, 1010.0


class Scene:
    """Two hosts and one running guest; a move takes ten seconds."""

    def __init__(self) -> None:
        self.source, self.target = make_host("a", guests=0), make_host("b", guests=0)
        self.guest = FakeGuest(uuid="u", name="db", memory_bytes=1000)
        self.source.guests["u"] = self.guest
        self.state = FakeState(hosts={"a": self.source, "b": self.target}, migration_seconds=END - START)

    def start(self, do: str = "", *, stamp: str = "s", after: float = 0.5) -> None:
        if do:
            self.source.faults.append(FakeFault(at="migration", do=do, after=after, seconds=2.0))
        start_move(self.state, self.source, self.guest, "b", stamp, START)

    def phase_at(self, now: float) -> MigrationPhase:
        settle(self.state, now)
        move = last_move(self.source, "u", "s")
        assert move is not None
        return progress_of(move, now).phase

    def states(self) -> tuple[GuestState | None, GuestState | None]:
        return state_on(self.source), state_on(self.target)


def state_on(host: FakeHost) -> GuestState | None:
    return host.guests["u"].state if "u" in host.guests else None


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_move_goes_through_its_phases(scene: Scene) -> None:
    scene.start()
    assert scene.phase_at(START) is MigrationPhase.PREPARING
    assert scene.phase_at(START + 5) is MigrationPhase.COPYING
    assert scene.states() == (GuestState.RUNNING, GuestState.PAUSED), "the target's half stands still"
    assert scene.phase_at(END - 0.1) is MigrationPhase.SWITCHING
    assert scene.phase_at(END) is MigrationPhase.ENDED
    assert scene.states() == (None, GuestState.RUNNING)
    moved = scene.target.guests["u"]
    assert (moved.stamp, moved.persistent, moved.state_reason) == ("s", True, "migrated")


def test_figures_never_run_backwards(scene: Scene) -> None:
    scene.start()
    move = last_move(scene.source, "u", "s")
    assert move is not None
    readings = [progress_of(move, START + step) for step in range(1, 10)]
    done = [reading.bytes_processed for reading in readings if reading.bytes_processed is not None]
    assert done == sorted(done)
    assert all((r.bytes_processed or 0) + (r.bytes_remaining or 0) == 1000 for r in readings if r.bytes_total)


def test_a_paused_guest_arrives_paused(scene: Scene) -> None:
    scene.guest.state = GuestState.PAUSED
    scene.start()
    assert scene.phase_at(END) is MigrationPhase.ENDED
    assert scene.states() == (None, GuestState.PAUSED)


def test_the_same_attempt_is_not_begun_twice(scene: Scene) -> None:
    scene.start()
    scene.start()
    assert len(scene.source.moves) == 1
    with pytest.raises(Busy):
        scene.start(stamp="other")


def test_an_ended_attempt_is_not_begun_again(scene: Scene) -> None:
    scene.start()
    cancel_move(scene.source, "u", "s", START + 1)
    settle(scene.state, START + 1)
    with pytest.raises(Rejected):
        scene.start()
    scene.start(stamp="retry")
    assert active_move(scene.source, "u") is not None


@pytest.mark.parametrize("change", [{"state": GuestState.OFF}, {"snapshot_count": 1}, {"state": GuestState.CRASHED}])
def test_what_cannot_move_is_rejected(scene: Scene, change: dict[str, object]) -> None:
    for name, value in change.items():
        setattr(scene.guest, name, value)
    with pytest.raises(Rejected):
        scene.start()
    assert scene.target.guests == {}


def test_refused_at_once(scene: Scene) -> None:
    with pytest.raises(Rejected):
        scene.start(faults.REFUSED)
    assert scene.states() == (GuestState.RUNNING, None)


def test_cancelled_on_the_way(scene: Scene) -> None:
    scene.start()
    cancel_move(scene.source, "u", "s", START + 5)
    assert scene.phase_at(START + 5) is MigrationPhase.ENDED
    move = last_move(scene.source, "u", "s")
    assert move is not None
    assert progress_of(move, START + 5).cancelled
    assert scene.states() == (GuestState.RUNNING, None)


def test_too_late_to_cancel(scene: Scene) -> None:
    scene.start()
    with pytest.raises(Rejected):
        cancel_move(scene.source, "u", "s", END - 0.1)
    with pytest.raises(NotFound):
        cancel_move(scene.source, "u", "another", START + 1)


@pytest.mark.parametrize(
    ("do", "ends_at", "states", "has_error"),
    [
        (faults.TARGET_KILLED, START + 5, (GuestState.RUNNING, None), True),
        (faults.CABLE_CUT, START + 7, (GuestState.RUNNING, None), True),
        (faults.LOST, END, (None, GuestState.OFF), True),
        (faults.BOTH_RUNNING, END, (GuestState.RUNNING, GuestState.RUNNING), False),
    ],
)
def test_how_faults_end(
    scene: Scene, do: str, ends_at: float, states: tuple[GuestState, GuestState], has_error: bool
) -> None:
    scene.start(do)
    assert scene.phase_at(ends_at - 0.5) is not MigrationPhase.ENDED
    assert scene.phase_at(ends_at) is MigrationPhase.ENDED
    assert scene.states() == states
    move = last_move(scene.source, "u", "s")
    assert move is not None
    assert bool(progress_of(move, ends_at).error) is has_error
    assert scene.source.faults[0].fired == 1


def test_a_killed_source_forgets_the_move_and_is_away_for_a_while(scene: Scene) -> None:
    scene.start(faults.SOURCE_KILLED)
    settle(scene.state, START + 5)
    assert last_move(scene.source, "u", "s") is None
    assert scene.source.down_until == START + 7
    assert scene.states() == (GuestState.RUNNING, None)


def test_what_never_converges_runs_until_it_is_cancelled(scene: Scene) -> None:
    scene.start(faults.STALL, after=0.8)
    assert scene.phase_at(START + 10_000) is MigrationPhase.COPYING
    cancel_move(scene.source, "u", "s", START + 10_000)
    assert scene.phase_at(START + 10_000) is MigrationPhase.ENDED
    assert scene.states() == (GuestState.RUNNING, None)
