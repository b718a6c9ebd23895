"""Agents are asked in turns, never for long, and libvirt's own time-out is put back."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from drivers.errors import DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.libvirt import agents
from drivers.libvirt.agents import Agents, ask_agent
from drivers.libvirt.raw import RawAgent

BLOCK = libvirt.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK


class Domain:
    """A guest whose agent answers what it is told to."""

    def __init__(self, answer: Callable[[], dict[str, Any]]) -> None:
        self.answer = answer
        self.waits: list[int] = []
        self.asked = 0

    def agentSetResponseTimeout(self, seconds: int, _flags: int) -> int:
        self.waits.append(seconds)
        return 0

    def guestInfo(self, _types: int, _flags: int) -> dict[str, Any]:
        self.asked += 1
        return self.answer()

    def interfaceAddresses(self, source: int) -> dict[str, Any]:
        assert source == libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
        return {"eth0": {"hwaddr": "52:54:00:00:00:01", "addrs": [{"addr": "192.0.2.1"}]}, "lo": {"addrs": None}}


class Line:
    """A connection to a host with these guests."""

    def __init__(self, domains: dict[str, Domain]) -> None:
        self.domains = domains
        self.raw = self
        self.closed = threading.Event()

    def lookupByUUIDString(self, uuid: str) -> Domain:
        if uuid not in self.domains:
            raise NotFound("gone")
        return self.domains[uuid]

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args)

    def close(self) -> None:
        self.closed.set()


def fail(error: DriverError) -> Callable[[], dict[str, Any]]:
    def answer() -> dict[str, Any]:
        raise error

    return answer


def told(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"hostname": name, "if.count": 0}


@pytest.fixture
def clock() -> Iterator[list[float]]:
    yield [1000.0]


def make(domains: dict[str, Domain], clock: list[float]) -> Agents:
    return Agents(lambda: Line(domains), lambda: clock[0])  # type: ignore[arg-type, return-value]


def ask(asked: Agents, runs: dict[str, int]) -> dict[str, str | int]:
    """One pass that waits for its end."""
    asked.start(runs)
    if asked._thread is not None:
        asked._thread.join(30)
    return {uuid: answer.info["hostname"] for uuid, answer in asked.answers().items()}


def test_an_answer_has_the_addresses_and_nothing_that_nobody_wanted() -> None:
    info = {
        "hostname": "db-07",
        "os.id": "debian",
        "user.count": 1,
        "user.0.name": "root",
        "if.count": 1,
        "if.0.hwaddr": "52:54:00:00:00:01",
        "if.0.addr.count": 1,
        "if.0.addr.0.addr": "192.0.2.1",
        "if.0.addr.0.type": "ipv4",
        "if.1.addr.x.addr": "no",
    }
    answer = ask_agent(Line({"a": Domain(lambda: info)}), "a")  # type: ignore[arg-type]
    assert answer == RawAgent({"hostname": "db-07", "os.id": "debian"}, (("52:54:00:00:00:01", "192.0.2.1"),))


def test_an_older_libvirt_is_asked_for_the_addresses_apart() -> None:
    answer = ask_agent(Line({"a": Domain(dict)}), "a")  # type: ignore[arg-type]
    assert answer.addresses == (("52:54:00:00:00:01", "192.0.2.1"),)


@pytest.mark.parametrize("answer", [told("x"), fail(Rejected("hung"))])
def test_libvirts_own_time_out_is_put_back(answer: Callable[[], dict[str, Any]], clock: list[float]) -> None:
    domain = Domain(answer)
    ask(make({"a": domain}, clock), {"a": 1})
    assert domain.waits == [agents.RESPONSE_LIMIT_S, BLOCK]


def test_where_no_time_out_can_be_set_nobody_is_asked(clock: list[float]) -> None:
    class Old(Domain):
        def agentSetResponseTimeout(self, seconds: int, _flags: int) -> int:
            raise NotSupported("libvirt before 5.10")

    domain = Old(told("x"))
    assert ask(make({"a": domain}, clock), {"a": 1}) == {}
    assert domain.asked == 0


def test_a_failure_hides_nobody_else(clock: list[float]) -> None:
    domains = {"a": Domain(fail(Rejected("hung"))), "c": Domain(told("c"))}
    assert ask(make(domains, clock), {"a": 1, "b": 1, "c": 1}) == {"c": "c"}


def test_a_lost_connection_ends_the_pass(clock: list[float]) -> None:
    domains = {"a": Domain(fail(Unreachable("cut"))), "b": Domain(told("b"))}
    assert ask(make(domains, clock), {"a": 1, "b": 1}) == {}


def test_a_host_that_lets_nobody_in_tells_nothing(clock: list[float]) -> None:
    def refuse() -> Any:
        raise Unreachable("refused")

    assert ask(Agents(refuse, lambda: clock[0]), {"a": 1}) == {}


def test_what_was_heard_stays_known_when_the_agent_fails_for_a_while(clock: list[float]) -> None:
    domain = Domain(told("first"))
    asked = make({"a": domain}, clock)
    assert ask(asked, {"a": 1}) == {"a": "first"}
    domain.answer = fail(Rejected("hung"))
    clock[0] += 300
    assert ask(asked, {"a": 1}) == {"a": "first"}
    clock[0] += agents.KEPT_S
    assert ask(asked, {"a": 1}) == {}


def test_what_was_heard_is_forgotten_with_the_guests_run(clock: list[float]) -> None:
    domain = Domain(told("first"))
    asked = make({"a": domain}, clock)
    ask(asked, {"a": 1})
    domain.answer = fail(Rejected("not up yet"))
    assert ask(asked, {"a": 2}) == {}
    assert asked.start({}) is False
    assert asked.answers() == {}


def test_an_agent_that_failed_rests_for_longer_each_time(clock: list[float]) -> None:
    domain = Domain(fail(Rejected("hung")))
    asked = make({"a": domain}, clock)
    counts = []
    for _minute in range(0, 60, 5):
        ask(asked, {"a": 1})
        counts.append(domain.asked)
        clock[0] += 300
    assert counts == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4]


def test_whoever_was_asked_longest_ago_comes_first_when_time_is_short(clock: list[float]) -> None:
    def slow(name: str) -> Callable[[], dict[str, Any]]:
        def answer() -> dict[str, Any]:
            clock[0] += agents.BUDGET_S
            return {"hostname": name, "if.count": 0}

        return answer

    domains = {name: Domain(slow(name)) for name in "abc"}
    asked = make(domains, clock)
    runs = dict.fromkeys("abc", 1)
    assert ask(asked, runs) == {"a": "a"}
    assert ask(asked, runs) == {"a": "a", "b": "b"}
    assert ask(asked, runs) == {"a": "a", "b": "b", "c": "c"}


def test_a_hung_agent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "BUDGET_S", 0.01)
    release, entered = threading.Event(), threading.Event()

    def hang() -> dict[str, Any]:
        entered.set()
        assert release.wait(30)
        return {"hostname": "late", "if.count": 0}

    line = Line({"a": Domain(hang), "b": Domain(told("b"))})
    asked = Agents(lambda: line)  # type: ignore[arg-type, return-value]
    try:
        assert asked.start({"a": 1, "b": 1}) is True
        assert entered.wait(30)
        assert asked.answers() == {}, "back while the agent still hangs"
        assert asked.start({"a": 1, "b": 1}) is True
        assert line.domains["a"].asked == 1, "not asked again meanwhile"
        assert asked.answers() == {}
    finally:
        release.set()
    assert line.closed.wait(30), "the late thread cleans up"
    assert line.domains["b"].asked == 0, "its time was over"
    assert {uuid: answer.info for uuid, answer in asked.answers().items()} == {"a": {"hostname": "late"}}
