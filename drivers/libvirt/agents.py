"""Asks the agents inside the guests, none of which is trusted to answer.

A hung agent holds the call that asks it, and so does another client's long call to the same agent. So one thread asks
them one by one on a connection of its own, while the inventory waits for it at most BUDGET_S in all; those who were
asked longest ago come first. What was heard stays known for a while: a fact that comes and goes with the agent's luck
would be news at each poll.

libvirt keeps one response time-out per guest, for all its clients. Ours is short; a backup that freezes file systems
needs longer. So libvirt's own is put back as soon as we have asked; where none can be set, nobody is asked.
Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAgentSetResponseTimeout
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import libvirt

from drivers.errors import DriverError, Unreachable
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawAgent

RESPONSE_LIMIT_S = 2  # of each of the commands that make up an answer
BUDGET_S = 10.0  # what all the agents of a host may add to a read of its inventory
KEPT_S = 3600.0
REST_S = 300.0  # after a failure; doubles with each
LONGEST_REST_S = 3600.0
EVERYTHING = 0  # whatever the agent can tell; asking for more than it can would fail as a whole
MOST_VALUES = 4_096
_WANTED = ("hostname", "os.", "timezone.", "fs.")
_ADDRESS = re.compile(r"^(if\.(\d+)\.addr\.\d+\.addr)$", re.MULTILINE)


@dataclass(slots=True)
class _Known:
    """What is known of one guest's agent during one run of the guest."""

    run: int
    answer: RawAgent | None = None
    answered_at: float = -math.inf
    asked_at: float = -math.inf
    rests_until: float = -math.inf
    failures: int = 0


class Agents:
    """The agents of one host's guests. Thread-safe."""

    def __init__(self, open_line: Callable[[], Connection], now: Callable[[], float] = time.monotonic) -> None:
        self._open_line = open_line
        self._now = now
        self._guard = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._thread: threading.Thread | None = None
        self._until = -math.inf

    def start(self, runs: Mapping[str, int]) -> bool:
        """Begin to ask these guests, given with their run's number; False when there are none.

        While an earlier pass still hangs, nobody else is asked and nobody waits.
        """
        with self._guard:
            self._known = {uuid: self._same_run(uuid, run) for uuid, run in runs.items()}
            self._until = self._now()
            due = self._due()
            if due and (self._thread is None or not self._thread.is_alive()):
                self._until += BUDGET_S
                self._thread = threading.Thread(target=self._ask_all, args=(due, self._until), daemon=True)
                self._thread.start()
        return bool(runs)

    def _same_run(self, uuid: str, run: int) -> _Known:
        known = self._known.get(uuid)
        return known if known is not None and known.run == run else _Known(run)

    def _due(self) -> list[str]:
        now = self._now()
        due = [uuid for uuid, known in self._known.items() if known.rests_until <= now]
        return sorted(due, key=lambda uuid: self._known[uuid].asked_at)

    def answers(self) -> dict[str, RawAgent]:
        """What is known by the end of the budget, or as soon as all were asked."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._until - self._now()))
        oldest = self._now() - KEPT_S
        with self._guard:
            heard = {uuid: k.answer for uuid, k in self._known.items() if k.answered_at >= oldest}
        return {uuid: answer for uuid, answer in heard.items() if answer is not None}

    def _ask_all(self, due: list[str], until: float) -> None:
        with suppress(DriverError):  # of the connection: nobody is told anything
            line = self._open_line()
            try:
                for uuid in due:
                    if self._now() >= until:
                        return
                    self._ask(line, uuid)
            finally:
                line.close()

    def _ask(self, line: Connection, uuid: str) -> None:
        """Raises: Unreachable."""
        answer = None
        try:
            answer = ask_agent(line, uuid)
        except Unreachable:
            raise
        except DriverError:  # hung, refused, gone, or no way to bound the wait: not told
            pass
        finally:
            self._note(uuid, answer)

    def _note(self, uuid: str, answer: RawAgent | None) -> None:
        with self._guard:
            known = self._known.get(uuid)
            if known is None:  # it left while we asked
                return
            known.asked_at = self._now()
            known.failures = 0 if answer else known.failures + 1
            if answer:
                known.answer, known.answered_at = answer, known.asked_at
            else:
                known.rests_until = known.asked_at + min(LONGEST_REST_S, REST_S * 2.0 ** min(known.failures - 1, 10))


def ask_agent(line: Connection, uuid: str) -> RawAgent:
    """Raises: DriverError."""
    domain = line.call(line.raw.lookupByUUIDString, uuid)
    with _short_wait(line, domain):
        info = line.call(domain.guestInfo, EVERYTHING, 0)
        addresses = _pairs_of_info(info)
        if addresses is None:  # before libvirt 9
            nics = line.call(domain.interfaceAddresses, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
            addresses = address_pairs(nics)
    return RawAgent(dict(_wanted(info)), addresses)


@contextmanager
def _short_wait(line: Connection, domain: Any) -> Iterator[None]:
    line.call(domain.agentSetResponseTimeout, RESPONSE_LIMIT_S, 0)
    try:
        yield
    finally:
        with suppress(DriverError):
            line.call(domain.agentSetResponseTimeout, libvirt.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0)


def _wanted(info: Mapping[str, Any]) -> Iterator[tuple[str, int | str]]:
    """Without the users' names and whatever else is told unasked."""
    wanted = ((name, value) for name, value in info.items() if name.startswith(_WANTED))
    for name, value in islice(wanted, MOST_VALUES):
        yield name, value if isinstance(value, int) else str(value)


def _pairs_of_info(info: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """The interfaces' addresses, by MAC address; None when they are not told here."""
    if "if.count" not in info:
        return None
    found = _ADDRESS.findall("\n".join(name for name in islice(info, MOST_VALUES) if name.startswith("if.")))
    return tuple((str(info.get(f"if.{nic}.hwaddr")), str(info[name])) for name, nic in found)


def address_pairs(nics: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """(MAC address, IP address) from what `interfaceAddresses` returns."""
    return tuple(
        (str(nic.get("hwaddr")), str(address.get("addr")))
        for nic in (nics or {}).values()
        for address in nic.get("addrs") or ()
    )[:MOST_VALUES]
