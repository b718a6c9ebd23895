"""Connections opened ahead for calls that may last: what a slow host costs, and that none is left open."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from drivers.errors import Busy, NotFound, Rejected
from drivers.libvirt import lines, power
from drivers.libvirt.lines import LEFT_AFTER_S, Lines
from drivers.libvirt.session import QemuSession
from drivers.types import Endpoint, PowerAction, Transport

HOST = Endpoint(kind="libvirt", transport=Transport.SSH, address="192.0.2.1")
GUEST = "6f0d6b2e-6a1b-4b5c-9d0f-000000000001"
OTHER = "6f0d6b2e-6a1b-4b5c-9d0f-000000000002"
THIRD = "6f0d6b2e-6a1b-4b5c-9d0f-000000000003"
LEASE_S = 6.0
SIGN_IN_S = 9.0


class StandIn:
    """A connection to a host that has one running guest."""

    def __init__(self, _endpoint: Endpoint = HOST) -> None:
        self.asked: list[str] = []
        self.alive, self.closed = True, False
        domain = SimpleNamespace(
            state=lambda: [libvirt.VIR_DOMAIN_RUNNING, 0], destroy=lambda: self.asked.append("destroy")
        )
        self.raw = SimpleNamespace(lookupByUUIDString=lambda _uuid: domain)

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args)

    def is_alive(self) -> bool:
        return self.alive

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How far the clock was put forward."""
    ahead, real = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    return ahead


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> list[StandIn]:
    """The lines to a host that takes long to let anybody in."""
    made: list[StandIn] = []

    def sign_in(endpoint: Endpoint) -> StandIn:
        clock[0] += SIGN_IN_S
        made.append(StandIn(endpoint))
        return made[-1]

    monkeypatch.setattr(lines, "Connection", sign_in)
    monkeypatch.setattr(power, "has_active_job", lambda *_: False)
    return made


@pytest.fixture
def host(opened: list[StandIn]) -> Any:
    return QemuSession(HOST, StandIn())  # type: ignore[arg-type]


def test_a_slow_sign_in_ahead_costs_no_lease(host: Any, opened: list[StandIn]) -> None:
    host.prepare_power(GUEST)
    host.power(GUEST, PowerAction.OFF, time.monotonic() + LEASE_S)
    (line,) = opened
    assert (line.asked, line.closed) == (["destroy"], True)


def test_without_it_nothing_is_done_past_the_lease(host: Any, opened: list[StandIn]) -> None:
    with pytest.raises(Busy):
        host.power(GUEST, PowerAction.OFF, time.monotonic() + LEASE_S)
    (line,) = opened
    assert (line.asked, line.closed) == ([], True)


def test_each_guest_has_its_own(host: Any, opened: list[StandIn]) -> None:
    for guest in (GUEST, OTHER):
        host.prepare_power(guest)
    until = time.monotonic() + LEASE_S
    for guest in (OTHER, GUEST):
        host.power(guest, PowerAction.OFF, until)
    assert [line.asked for line in opened] == [["destroy"], ["destroy"]]


def test_a_broken_line_is_replaced(host: Any, opened: list[StandIn]) -> None:
    host.prepare_power(GUEST)
    opened[0].alive = False
    host.prepare_power(GUEST)
    host.power(GUEST, PowerAction.OFF, time.monotonic() + LEASE_S)
    assert [(line.asked, line.closed) for line in opened] == [([], True), (["destroy"], True)]


def test_a_refusal_leaves_no_line_open(host: Any, opened: list[StandIn]) -> None:
    host.prepare_power(GUEST)
    with pytest.raises(Rejected):
        host.power(GUEST, PowerAction.RESUME, time.monotonic() + LEASE_S)
    assert opened[0].closed


def test_the_session_s_end_closes_what_nobody_came_for(host: Any, opened: list[StandIn]) -> None:
    host.prepare_power(GUEST)
    host.close()
    assert opened[0].closed


def test_a_line_nobody_came_for_serves_the_next(clock: list[float], opened: list[StandIn]) -> None:
    pool = Lines(HOST)
    pool.open(GUEST)
    pool.open(GUEST)
    assert len(opened) == 1, "the same guest's is open"
    pool.open(THIRD)
    clock[0] += LEFT_AFTER_S
    pool.open(OTHER)
    assert [line.closed for line in opened] == [False, True], "one is used, the other is one too many"
    taken: Any = pool.take(OTHER)
    assert taken is opened[0]
    pool.close()
    assert not opened[0].closed, "whoever took it closes it"


def test_a_name_that_cannot_be_a_guest_s_opens_nothing(host: Any, opened: list[StandIn]) -> None:
    with pytest.raises(NotFound):
        host.prepare_power("../x")
    assert opened == []
