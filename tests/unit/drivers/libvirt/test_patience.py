"""A guest that hangs keeps nobody from a host's states."""

import threading
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from drivers.errors import Unreachable
from drivers.libvirt import parse
from drivers.libvirt.patience import States
from tests.unit.drivers.libvirt.fakes import FakeConnection

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


class Guest:
    def UUIDString(self) -> str:
        return UUID

    def name(self) -> str:
        return "a"


class Host:
    """Its guest answers for its load when `answers` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[int] = []
        self.opened: list[FakeConnection] = []

    def stats(self, groups: int, flags: int) -> list[tuple[Guest, dict[str, int]]]:
        assert flags & libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        self.asked.append(groups)
        values = {"state.state": 1, "state.reason": 1}
        if groups != libvirt.VIR_DOMAIN_STATS_STATE:
            self.answers.wait()
            values |= {"cpu.time": 5}
        return [(Guest(), values)]

    def open(self) -> Any:
        line = FakeConnection(
            getAllDomainStats=self.stats,
            getInfo=lambda: ("x86_64", 1, 1, 1, 1, 1, 1, 1),
            getMemoryStats=lambda _cell: {},
            getCPUStats=lambda _cpu: {},
        )
        self.opened.append(line)
        return line


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.answers.set()


def load_of(states: States) -> object:
    (guest,) = parse.reading_of(states.read(), "host").guests
    assert guest.state == "running"
    return guest.load


def test_what_answers_is_read_on_one_connection(host: Host) -> None:
    host.answers.set()
    states = States(host.open(), host.open)
    assert [load_of(states) is None, load_of(states) is None] == [False, False]
    assert len(host.opened) == 1
    closed: list[bool] = []
    states.when_free(lambda: closed.append(True))
    assert closed == [True]


def test_while_a_guest_hangs_its_host_tells_states(host: Host) -> None:
    states = States(host.open(), host.open, patience_s=0.05)
    assert [load_of(states), load_of(states)] == [None, None]
    assert [groups == libvirt.VIR_DOMAIN_STATS_STATE for groups in host.asked] == [False, True, True], "asked once only"
    closed = threading.Event()
    states.when_free(closed.set)
    assert not closed.is_set(), "not under a call that hangs"
    host.answers.set()
    assert closed.wait(60)
    while load_of(states) is None:
        pass
    assert len(host.opened) < len(host.asked)


def test_an_error_is_one(host: Host) -> None:
    def fail(*_args: object) -> None:
        raise Unreachable("gone")

    line = host.open()
    line.raw.getAllDomainStats = fail
    with pytest.raises(Unreachable):
        States(line, host.open).read()
