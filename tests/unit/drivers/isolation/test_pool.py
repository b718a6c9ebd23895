"""Sessions in child processes: shared, bounded, killed when one hangs, and never at the cost of the others."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import AuthFailed, Busy, DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.fake.world import FakeWorld
from drivers.isolation import SessionPool
from drivers.isolation.pool import QUARANTINE_LIMIT
from drivers.isolation.process import HOME
from drivers.ops import LARGEST_PIECE
from drivers.types import Endpoint, MigrationPhase, MigrationPlan, PowerAction, Transport

LONG_S = 60.0  # a deadline that must never be what ends a call
SHORT_S = 0.3
SECRET = "correct-horse-battery"


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition; the limit only ends a broken test."""
    limit = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the opening and the reading
        return False


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld.create(tmp_path / "world.json", hosts=("alpha", "beta", "gamma"), guests=3)


@pytest.fixture
def pool() -> Iterator[SessionPool]:
    pool = SessionPool(processes=1)
    yield pool
    pool.close()


def count_opens(world: FakeWorld, host: str) -> None:
    world.add_fault(host, at="open", do="slow", times=-1)


def test_a_session_is_opened_once_and_used_again(pool: SessionPool, world: FakeWorld) -> None:
    count_opens(world, "alpha")
    for _ in range(3):
        with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
            assert len(session.snapshot().guests) == 3
    assert world.fired("alpha", at="open") == 1
    assert len(pool.process_ids()) == 1


def test_many_at_once_share_one_opening(pool: SessionPool, world: FakeWorld) -> None:
    count_opens(world, "alpha")

    def read(_number: int) -> int:
        with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
            return len(session.read_states().guests)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(read, range(64))) == [3] * 64
    assert world.fired("alpha", at="open") == 1


def test_a_changed_endpoint_is_opened_anew(pool: SessionPool, world: FakeWorld) -> None:
    count_opens(world, "alpha")
    endpoint = world.endpoint("alpha")
    for changed in (endpoint, replace(endpoint, password="new"), endpoint):
        with pool.session(changed, deadline_s=LONG_S) as session:
            session.snapshot()
    assert world.fired("alpha", at="open") == 2


def test_the_least_recently_used_session_makes_room(world: FakeWorld) -> None:
    pool = SessionPool(processes=1, sessions_per_process=2)
    count_opens(world, "alpha")
    count_opens(world, "gamma")
    try:
        for name in ("alpha", "beta", "gamma", "gamma", "alpha"):
            with pool.session(world.endpoint(name), deadline_s=LONG_S) as session:
                session.snapshot()
    finally:
        pool.close()
    assert (world.fired("alpha", at="open"), world.fired("gamma", at="open")) == (2, 1)


def test_a_process_that_takes_nothing_any_more_is_replaced(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by whatever: a call larger than what the kernel holds for it has no other end."""
    monkeypatch.setattr("drivers.isolation.process.SEND_LIMIT_S", 0.2)
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        (stuck,) = pool.process_ids()
        os.kill(stuck, signal.SIGSTOP)
        with pytest.raises(NotFound, match="not open here"):  # asked in a process of its own, which knows of no upload
            session.send_upload("stamp", 0, b"x" * LARGEST_PIECE)
        assert len(session.snapshot().guests) == 3
        assert stuck not in pool.process_ids()
    wait_until(lambda: not is_running(stuck))


def test_a_hanging_call_is_unreachable_and_names_the_host(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="read_states", do="hang")
    endpoint = replace(world.endpoint("alpha"), address="kvm-01.example.org")
    with (
        pool.session(endpoint, deadline_s=LONG_S) as session,
        pytest.raises(Unreachable, match=r"kvm-01\.example\.org"),
    ):
        session.read_states(deadline_s=SHORT_S)
    assert world.fired("alpha", at="read_states") == 1


def test_a_hanging_open_is_unreachable(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="open", do="hang")
    with pytest.raises(Unreachable), pool.session(world.endpoint("alpha"), deadline_s=SHORT_S):
        pytest.fail("opened")  # pragma: no cover
    assert world.fired("alpha", at="open") == 1


def test_a_hanging_child_is_killed_and_replaced(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="read_states", do="hang")
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        (before,) = pool.process_ids()
        with pytest.raises(Unreachable):
            session.read_states(deadline_s=SHORT_S)
        assert len(session.read_states().guests) == 3
    wait_until(lambda: not is_running(before))
    assert before not in pool.process_ids()


def test_one_hanging_source_does_not_disturb_the_others(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="read_states", do="hang")
    world.add_fault("beta", at="snapshot", do="slow", seconds=1.0)
    with (
        ThreadPoolExecutor(1) as thread,
        pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as hanging,
        pool.session(world.endpoint("beta"), deadline_s=LONG_S) as slow,
        pool.session(world.endpoint("gamma"), deadline_s=LONG_S) as idle,
    ):
        in_flight = thread.submit(slow.snapshot)
        wait_until(lambda: world.fired("beta", at="snapshot") == 1)
        with pytest.raises(Unreachable):
            hanging.read_states(deadline_s=SHORT_S)
        assert len(idle.read_states().guests) == 3, "an open session goes on in a fresh child"
        assert len(in_flight.result().guests) == 3, "a call in flight ends as if nothing had happened"


def test_a_source_that_hung_gets_a_process_of_its_own(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="open", do="hang", times=3)
    with pool.session(world.endpoint("beta"), deadline_s=LONG_S) as healthy:
        with pytest.raises(Unreachable), pool.session(world.endpoint("alpha"), deadline_s=SHORT_S):
            pytest.fail("opened")  # pragma: no cover
        healthy.read_states()
        wait_until(lambda: len(pool.process_ids()) == 1)
        (shared,) = pool.process_ids()
        for _ in range(2):
            with pytest.raises(Unreachable), pool.session(world.endpoint("alpha"), deadline_s=SHORT_S):
                pytest.fail("opened")  # pragma: no cover
        assert shared in pool.process_ids(), "the second and third hang did not touch the shared child"
        with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as recovered:
            assert len(recovered.read_states().guests) == 3
            assert len(pool.process_ids()) == 2
    assert world.fired("alpha", at="open") == 3


def test_a_source_that_answers_again_comes_back_among_the_others(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is read all the time and its quarantine process never rests."""
    world.add_fault("alpha", at="open", do="hang")
    with pytest.raises(Unreachable), pool.session(world.endpoint("alpha"), deadline_s=SHORT_S):
        pytest.fail("opened")  # pragma: no cover

    def read(name: str) -> None:
        with pool.session(world.endpoint(name), deadline_s=LONG_S) as session:
            session.read_states()

    read("alpha")
    read("beta")
    wait_until(lambda: len(pool.process_ids()) == 2)
    pool.sweep()
    assert len(pool.process_ids()) == 2, "too early"
    monkeypatch.setattr("drivers.isolation.pool.PAROLE_S", 0.0)
    pool.sweep()
    wait_until(lambda: len(pool.process_ids()) == 1)
    read("alpha")
    assert len(pool.process_ids()) == 1


def refuse_a_thread(monkeypatch: pytest.MonkeyPatch, name: str) -> list[RuntimeError]:
    """The machine starts no thread of this name, once; returns what is still to fail."""
    real, failures = threading.Thread.start, [RuntimeError("can't start new thread")]

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith(name) and failures:
            raise failures.pop()
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return failures


@pytest.mark.parametrize("thread", ["session-child-", "session-starter"])
def test_a_child_that_cannot_be_started_is_told_and_the_next_one_starts(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    failures = refuse_a_thread(monkeypatch, thread)
    with pytest.raises(Unreachable, match="could not be started"), pool.session(world.endpoint("alpha")):
        pytest.fail("opened")  # pragma: no cover
    assert failures == []
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        assert len(session.read_states().guests) == 3


@pytest.mark.parametrize("thread", ["drain", "session-sweeper"])
def test_a_hanging_child_goes_also_when_a_thread_is_refused_at_first(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    failures = refuse_a_thread(monkeypatch, thread)
    world.add_fault("alpha", at="open", do="hang", times=2)
    children: list[int] = []
    for _ in range(2):
        with pytest.raises(Unreachable, match="did not answer"):
            pool.hold(world.endpoint("alpha"), pool._key_of(world.endpoint("alpha")), SHORT_S)
        children += pool.process_ids()
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        assert len(session.read_states().guests) == 3
    assert failures == []
    assert pool._sweeping
    wait_until(lambda: len(pool.process_ids()) == 1)
    assert children
    assert not any(is_running(pid) for pid in children)


def test_a_child_that_comes_too_late_is_ended(monkeypatch: pytest.MonkeyPatch, world: FakeWorld) -> None:
    begin, ended = threading.Event(), threading.Event()

    class SlowChild:
        def __init__(self, _sessions_limit: int) -> None:
            begin.wait(60)

        def kill(self) -> None:
            ended.set()

    monkeypatch.setattr("drivers.isolation.pool.Child", SlowChild)
    monkeypatch.setattr("drivers.isolation.pool.START_LIMIT_S", 0.05)
    pool = SessionPool(processes=1)
    for _ in range(2):  # one is under way, the other waits behind it
        with pytest.raises(Unreachable, match="could not be started"), pool.session(world.endpoint("alpha")):
            pytest.fail("opened")  # pragma: no cover
    begin.set()
    assert ended.wait(60)
    pool.close()


def test_what_a_killed_child_left_on_the_disk_is_removed(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S):
        (folder,) = (tmp_path / "tmp").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        environment = Path(f"/proc/{pool.process_ids()[0]}/environ").read_bytes().decode().split("\0")
        assert f"TMPDIR={folder}" in environment, "its temporary files go there"
        (folder / "left").mkdir()
        os.kill(pool.process_ids()[0], signal.SIGKILL)
        wait_until(lambda: not folder.exists())


def test_many_hanging_sources_do_not_take_many_processes(tmp_path: Path) -> None:
    names = tuple(f"h{number}" for number in range(20))
    world = FakeWorld.create(tmp_path / "world.json", hosts=(*names, "healthy"), guests=1)
    for name in names:
        world.add_fault(name, at="open", do="hang", times=-1)
    pool = SessionPool(processes=2)

    def fail(name: str) -> None:
        for _ in range(2):
            with pytest.raises(Unreachable), pool.session(world.endpoint(name), deadline_s=2.0):
                pytest.fail("opened")  # pragma: no cover

    try:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(fail, names))
        with pool.session(world.endpoint("healthy"), deadline_s=LONG_S) as session:
            assert len(session.read_states().guests) == 1
        wait_until(lambda: len(pool.process_ids()) <= 2 + QUARANTINE_LIMIT)
    finally:
        pool.close()
    # A call that waited for its turn in a child with another suspect may have been cut off before it struck.
    assert all(world.fired(name, at="open") >= 1 for name in names)


def test_a_child_with_a_migration_outlives_another_sources_hang(pool: SessionPool, world: FakeWorld) -> None:
    with world.open() as state:
        state.migration_seconds = 3.0
    guest = next(guest for guest in world.guests("alpha").values() if guest.state == "running")
    world.add_fault("beta", at="read_states", do="hang")
    plan = MigrationPlan(guest.uuid, guest.uuid, world.endpoint("gamma"))
    with (
        pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as moving,
        pool.session(world.endpoint("beta"), deadline_s=LONG_S) as hanging,
    ):
        (child,) = pool.process_ids()
        moving.start_migration(plan, "attempt-1", time.monotonic() + LONG_S)
        with pytest.raises(Unreachable):
            hanging.read_states(deadline_s=SHORT_S)
        while moving.poll_migration(guest.uuid, "attempt-1").phase is not MigrationPhase.ENDED:
            assert is_running(child)
    wait_until(lambda: not is_running(child))
    assert world.running_on(guest.uuid) == ("gamma",)


def test_a_killed_child_is_unreachable_once(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="snapshot", do="hang")
    with ThreadPoolExecutor(1) as thread, pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        in_flight = thread.submit(session.snapshot)
        wait_until(lambda: world.fired("alpha", at="snapshot") == 1)
        os.kill(pool.process_ids()[0], signal.SIGKILL)
        with pytest.raises(Unreachable):
            in_flight.result()
        assert len(session.snapshot().guests) == 3


@pytest.mark.parametrize(
    ("do", "kind"),
    [
        ("unreachable", Unreachable),
        ("auth_failed", AuthFailed),
        ("rejected", Rejected),
        ("busy", Busy),
        ("not_found", NotFound),
    ],
)
def test_errors_cross_with_their_kind_and_sentence(
    pool: SessionPool, world: FakeWorld, do: str, kind: type[DriverError]
) -> None:
    world.add_fault("alpha", at="snapshot", do=do)
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        with pytest.raises(kind) as raised:
            session.snapshot()
        assert type(raised.value) is kind
        assert raised.value.message.endswith(".")
        assert len(session.snapshot().guests) == 3, "the session is usable after it"


def test_what_a_sentence_is_made_of_crosses_with_it(pool: SessionPool, world: FakeWorld) -> None:
    guest = next(one for one in world.guests("alpha").values() if one.state == "running")
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session, pytest.raises(Rejected) as raised:
        session.power(guest.uuid, PowerAction.START)
    assert raised.value.template == "The guest is %(state)s; %(action)s is not possible now."
    assert raised.value.parameters == {"state": "running", "action": "start"}
    assert raised.value.message == "The guest is running; start is not possible now."


def test_an_unexpected_error_says_nothing_of_its_text(pool: SessionPool, world: FakeWorld) -> None:
    world.add_fault("alpha", at="snapshot", do="broken")
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        with pytest.raises(DriverError) as raised:
            session.snapshot()
        assert "bug in it" not in raised.value.message
        assert len(session.snapshot().guests) == 3


def test_what_is_not_declared_is_not_supported(pool: SessionPool) -> None:
    endpoint = Endpoint(kind="fake", transport=Transport.FAKE, uri="fake://fleet/1?guests=1")
    with pool.session(endpoint, deadline_s=LONG_S) as session, pytest.raises(NotSupported):
        session.find_migration("00000000-0000-4000-8000-000000000000", "stamp")


@pytest.mark.parametrize("op", ["__class__", "close", "_world", "capabilities", "nothing"])
def test_only_the_contract_can_be_called(pool: SessionPool, world: FakeWorld, op: str) -> None:
    endpoint = world.endpoint("alpha")
    with pool.session(endpoint, deadline_s=LONG_S):
        child, _can = pool.hold(endpoint, pool._key_of(endpoint), LONG_S)
        with pytest.raises(DriverError) as raised:
            child.call(op, pool._key_of(endpoint), (), object, LONG_S)
        assert type(raised.value) is DriverError


def test_an_unknown_kind_is_not_supported(pool: SessionPool) -> None:
    endpoint = Endpoint(kind="abacus", transport=Transport.TCP, address="192.0.2.1")
    with pytest.raises(NotSupported), pool.session(endpoint, deadline_s=LONG_S):
        pytest.fail("opened")  # pragma: no cover


def test_secrets_are_in_no_argument_and_no_environment(pool: SessionPool, world: FakeWorld) -> None:
    endpoint = replace(world.endpoint("alpha"), password=SECRET, private_key=SECRET)
    with pool.session(endpoint, deadline_s=LONG_S) as session:
        session.snapshot()
        (pid,) = pool.process_ids()
        shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert shown
    assert SECRET.encode() not in shown
    assert SECRET not in repr(endpoint)


def test_a_child_does_not_inherit_the_environment(
    pool: SessionPool, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", SECRET)
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S):
        (pid,) = pool.process_ids()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert SECRET.encode() not in environment
    assert b"PATH=" in environment


def test_a_closed_pool_has_no_children_and_takes_no_calls(world: FakeWorld) -> None:
    pool = SessionPool(processes=1)
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        (pid,) = pool.process_ids()
        pool.close()
        assert not is_running(pid)
        with pytest.raises(Unreachable):
            session.snapshot()


def test_power_goes_through_as_an_action(pool: SessionPool, world: FakeWorld) -> None:
    guest = next(guest for guest in world.guests("alpha").values() if guest.state == "running")
    with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
        session.power(guest.uuid, PowerAction.OFF)
        sighting = session.sight_guest(guest.uuid)
    assert sighting is not None
    assert sighting.state == "off"


def run_apart(code: str, world: FakeWorld) -> list[str]:
    """Run Python in a process of its own and return its lines."""
    script = f"WORLD = {str(world.path)!r}\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "sys.exit(0)"])
def test_children_die_with_their_parent(world: FakeWorld, end: str) -> None:
    code = f"""
        import os, sys
        from drivers.fake.world import FakeWorld
        from drivers.isolation import default_pool
        with default_pool().session(FakeWorld(WORLD).endpoint("alpha"), deadline_s=60) as session:
            session.snapshot()
            print(*default_pool().process_ids(), flush=True)
            {end}
    """
    (pid,) = run_apart(code, world)
    wait_until(lambda: not is_running(int(pid)))


def test_children_outlive_the_thread_that_asked_for_them(pool: SessionPool, world: FakeWorld) -> None:
    def read() -> None:
        with pool.session(world.endpoint("alpha"), deadline_s=LONG_S) as session:
            session.snapshot()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(read).result()
    before = pool.process_ids()
    read()
    assert pool.process_ids() == before
    assert is_running(before[0])


def test_a_fork_starts_its_own_children(world: FakeWorld) -> None:
    code = """
        import os
        from drivers.fake.world import FakeWorld
        from drivers.isolation import default_pool
        endpoint = FakeWorld(WORLD).endpoint("alpha")
        def pids():
            with default_pool().session(endpoint, deadline_s=60) as session:
                session.snapshot()
            return default_pool().process_ids()
        print(*pids(), flush=True)
        child = os.fork()
        if child == 0:
            print(*pids(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(*pids(), flush=True)
    """
    parent, fork, parent_again = run_apart(code, world)
    assert parent == parent_again
    assert fork != parent
