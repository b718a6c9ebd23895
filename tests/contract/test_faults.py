"""Faults on real hosts, each shown to have struck: we are told in time, the guest runs once, and a retry works."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.errors import DriverError, Unreachable
from drivers.isolation import RemoteSession, SessionPool
from drivers.types import Endpoint, GuestSighting, GuestState, MigrationPhase, Transport
from lab.api import Lab, LabHost
from tests.contract.conftest import lab_endpoint, lab_movable
from tests.contract.subjects import DEADLINE_S, Movable, soon, wait_for_copying, wait_for_end, wait_until

SHORT_S = 3.0


@dataclass(frozen=True)
class Moving:
    """A move stopped in the middle of its copy."""

    movable: Movable
    source_host: LabHost
    target_host: LabHost
    source: RemoteSession
    target: RemoteSession

    @property
    def uuid(self) -> str:
        return self.movable.guest_uuid

    def is_home_and_whole(self) -> None:
        """The guest runs at its source only, and can still go where it was to go."""
        wait_until(lambda: self.movable.running_on() == [self.source_host.name], "the guest at its source alone")
        self.movable.fast()
        stamp = "attempt-retry"
        self.source.start_migration(self.movable.plan(), stamp, soon())
        assert wait_for_end(self.source, self.uuid, stamp)[-1].error == ""
        assert self.movable.running_on() == [self.target_host.name]
        self.target.clear_stamp(self.uuid, stamp)


@pytest.fixture
def moving(lab: Lab, pool: SessionPool) -> Iterator[Moving]:
    guest = next(guest for guest in lab.guests if guest.address)
    movable = lab_movable(guest, lab.guest("power"))
    source = guest.host
    target = next(host for host in lab.hosts if host.name != source.name)
    movable.slow()
    with (
        pool.session(movable.source, deadline_s=DEADLINE_S) as one,
        pool.session(movable.target, deadline_s=DEADLINE_S) as two,
    ):
        one.start_migration(movable.plan(), "attempt-1", soon())
        wait_for_copying(one, guest.uuid, "attempt-1")
        yield Moving(movable, source, target, one, two)
    lab.mend()
    movable.fast()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_targets_libvirtd_is_killed(moving: Moving) -> None:
    pid = moving.target_host.libvirtd_pid
    assert pid is not None
    moving.target_host.kill_libvirtd()
    wait_until(lambda: is_gone(pid), "the target's libvirtd gone")
    last = wait_for_end(moving.source, moving.uuid, "attempt-1")[-1]
    assert last.error.endswith(".")
    assert not last.cancelled
    moving.target_host.start_libvirtd()
    moving.source.clear_stamp(moving.uuid, "attempt-1")
    wait_until(lambda: sight_when_back(moving.target, moving.uuid) is None, "the target's half gone")
    moving.is_home_and_whole()


def test_the_sources_libvirtd_is_killed(moving: Moving) -> None:
    pid = moving.source_host.libvirtd_pid
    assert pid is not None
    moving.source_host.kill_libvirtd()
    wait_until(lambda: is_gone(pid), "the source's libvirtd gone")
    with pytest.raises(Unreachable):
        moving.source.sight_guest(moving.uuid)
    moving.source_host.start_libvirtd()
    # The guest's own metadata outlives libvirtd: whoever takes over knows what was going on.
    sighting = sight_when_idle(moving.source, moving.uuid)
    assert (sighting.state, sighting.stamp) == (GuestState.RUNNING, "attempt-1")
    assert not moving.source.find_migration(moving.uuid, "attempt-1")
    last = moving.source.poll_migration(moving.uuid, "attempt-1")
    assert last.phase is MigrationPhase.ENDED
    assert last.error.endswith(".")
    moving.source.clear_stamp(moving.uuid, "attempt-1")
    wait_until(lambda: sight_when_back(moving.target, moving.uuid) is None, "the target's half gone")
    moving.is_home_and_whole()


def sight_when_idle(session: RemoteSession, uuid: str) -> GuestSighting:
    """As libvirt says when it has cleaned up what was going on before it ended."""
    sightings: list[GuestSighting] = []

    def is_idle() -> bool:
        sighting = sight_when_back(session, uuid)
        assert sighting is not None
        sightings.append(sighting)
        return not sighting.job_active

    wait_until(is_idle, "nothing under way with the guest")
    return sightings[-1]


def sight_when_back(session: RemoteSession, uuid: str) -> GuestSighting | None:
    """What the host says, once it answers again: a session that broke is opened anew by its next call."""
    answers: list[GuestSighting | None] = []

    def answered() -> bool:
        with contextlib.suppress(Unreachable):
            answers.append(session.sight_guest(uuid))
        return bool(answers)

    wait_until(answered, "the host's answer")
    return answers[-1]


def test_the_targets_cable_is_cut(moving: Moving) -> None:
    moving.target_host.cut_cable()
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        socket.create_connection((moving.target_host.address, 16509), timeout=1).close()
    last = wait_for_end(moving.source, moving.uuid, "attempt-1")[-1]
    assert last.error.endswith(".")
    assert moving.movable.running_on() == [moving.source_host.name]
    with pytest.raises(Unreachable):
        moving.target.read_states(deadline_s=20.0)
    moving.target_host.join_cable()
    moving.source.clear_stamp(moving.uuid, "attempt-1")
    wait_until(lambda: sight_when_back(moving.target, moving.uuid) is None, "the target's half gone")
    moving.is_home_and_whole()


def test_our_process_is_killed_and_the_move_goes_on(moving: Moving, pool: SessionPool) -> None:
    (child,) = pool.process_ids()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: is_gone(child), "the child gone")
    wait_until(lambda: _answers(moving.source), "a fresh child")
    assert child not in pool.process_ids()
    assert moving.source.find_migration(moving.uuid, "attempt-1"), "the stamp tells whose move it is"
    reading = moving.source.poll_migration(moving.uuid, "attempt-1")
    assert reading.phase is MigrationPhase.COPYING
    assert reading.bytes_remaining
    moving.movable.fast()
    wait_for_end(moving.source, moving.uuid, "attempt-1")
    wait_until(lambda: moving.movable.running_on() == [moving.target_host.name], "the guest at its target alone")
    arrived = moving.target.sight_guest(moving.uuid)
    assert arrived is not None
    assert (arrived.stamp, arrived.persistent) == ("attempt-1", True)
    moving.target.clear_stamp(moving.uuid, "attempt-1")


def _answers(session: RemoteSession) -> bool:
    try:
        return session.is_alive()
    except DriverError:
        return False


def test_a_frozen_libvirtd_costs_only_itself(lab: Lab, pool: SessionPool) -> None:
    """It takes connections and says nothing: libvirt's open() was still stuck after 25 s."""
    frozen, healthy = lab.hosts[0], lab.hosts[1]
    with pool.session(lab_endpoint(healthy), deadline_s=DEADLINE_S) as session:
        frozen.freeze_libvirtd()
        assert _state_letter(frozen) == "T"
        with pytest.raises(Unreachable), pool.session(lab_endpoint(frozen), deadline_s=SHORT_S) as stuck:
            stuck.read_states(deadline_s=SHORT_S)
        assert session.read_states().complete
        frozen.thaw_libvirtd()
        with pool.session(lab_endpoint(frozen), deadline_s=DEADLINE_S) as thawed:
            assert thawed.read_states().complete


def _state_letter(host: LabHost) -> str:
    return Path(f"/proc/{host.libvirtd_pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_host_that_falls_silent_fails_an_open_session(lab: Lab, pool: SessionPool) -> None:
    """Without keep-alives a call would hang for minutes."""
    host = lab.hosts[0]
    with pool.session(lab_endpoint(host), deadline_s=DEADLINE_S) as session:
        assert session.read_states().complete
        children = pool.process_ids()
        host.cut_cable()
        with pytest.raises(Unreachable):
            session.read_states()
        assert pool.process_ids() == children, "the keep-alive ended the call, not the deadline"
        host.join_cable()
        wait_until(lambda: _reads(session), "the host back")


def _reads(session: RemoteSession) -> bool:
    with contextlib.suppress(Unreachable):
        return session.read_states().complete
    return False


@pytest.fixture
def silent_listener() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port that takes connections and says nothing, and those it took."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def test_a_silent_listener(silent_listener: tuple[int, list[socket.socket]], pool: SessionPool) -> None:
    port, taken = silent_listener
    endpoint = Endpoint(kind="libvirt", transport=Transport.TCP, address="127.0.0.1", port=port)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"), pool.session(endpoint, deadline_s=SHORT_S):
        pytest.fail("opened")  # pragma: no cover
    assert len(taken) == 2, "the probe, then libvirt"


def test_nobody_listens(pool: SessionPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoint = Endpoint(kind="libvirt", transport=Transport.TCP, address="127.0.0.1", port=port)
    with pytest.raises(Unreachable, match=str(port)), pool.session(endpoint, deadline_s=DEADLINE_S):
        pytest.fail("opened")  # pragma: no cover


def test_somebody_else_listens(pool: SessionPool) -> None:
    """Not libvirt at all: it answers every connection with a web server's words."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = server.accept()
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        endpoint = Endpoint("libvirt", Transport.TCP, address="127.0.0.1", port=server.getsockname()[1])
        with pytest.raises(Unreachable) as raised, pool.session(endpoint, deadline_s=DEADLINE_S):
            pytest.fail("opened")  # pragma: no cover
        server.shutdown(socket.SHUT_RDWR)
    assert "HTTP" not in raised.value.message
