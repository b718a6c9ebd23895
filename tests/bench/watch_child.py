"""One database's share of `bench watch`, in a process of its own: prints results as lines of JSON.

The hypervisors are simulated: one that tells by itself compares its world fifty times a second, which is part of the
figure. Who changes something goes past this console, and then waits for the message that a browser's event stream
would bring.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
from msgspec.structs import replace

django.setup()

import msgspec  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from redis import Redis  # noqa: E402

from config.data import HOME  # noqa: E402
from config.processes import die_with_parent  # noqa: E402
from core.events import STREAM  # noqa: E402
from drivers.types import GuestState  # noqa: E402
from hosts.fleet import make_fleet as make_many  # noqa: E402
from hosts.models import Datacenter, Source, SourceState  # noqa: E402
from inventory.models import Guest, Watch  # noqa: E402
from inventory.sync import apply_snapshot  # noqa: E402
from tests.bench.fleet import make_snapshot  # noqa: E402
from tests.bench.results import Result, as_json, p95_at_most  # noqa: E402
from tests.world import Fleet, make_fleet  # noqa: E402

CHANGES = 60
PAUSE_S = 0.4  # longer than the gap between two looks at one source: people do not act faster
GOAL_S = 1.0
LONGEST_S = 30.0
GUESTS_A_HOST = 20
MOST_ON_SQLITE = 5000  # README: what has more than 100 hosts is for PostgreSQL
HOSTS = ("alpha", "beta", "gamma")


def main(guests: int) -> Iterator[Result]:
    call_command("migrate", verbosity=0)
    vendor = connection.vendor
    guests = min(guests, MOST_ON_SQLITE) if vendor == "sqlite" else guests
    with tempfile.TemporaryDirectory(prefix="gh-bench-", dir="/tmp") as folder:
        fleet = make_fleet(Path(folder) / "world.json", *HOSTS)
        with running("manage.py", "watch"):
            until(lambda: Watch.objects.filter(since__isnull=False).count() == len(HOSTS))
            yield result(f"event to browsers, {vendor}", measure(fleet))
            with storms(fleet):
                yield result(f"event to browsers, storms elsewhere, {vendor}", measure(fleet, "alpha"))
            more = watch_many(guests // GUESTS_A_HOST)
            yield result(
                f"event to browsers, {more} more sources that tell something each minute, {vendor}", measure(fleet)
            )
            with running("-m", "tests.bench.watch_child", "write", str(guests)):
                until(lambda: Guest.objects.count() > guests)
                yield result(f"event to browsers, {guests} guests being written, {vendor}", measure(fleet))


def watch_many(hosts: int) -> int:
    """Have the watcher listen to a fleet of so many more hosts, of which nobody polls any."""
    later = timezone.now() + timedelta(days=1)
    made = make_many(hosts=hosts, guests=hosts * 4, events_s=60, beside_real=True)
    fleet = Source.objects.filter(pk__in=[source.pk for source in made])
    fleet.update(state=SourceState.OK, next_inventory_at=later, next_states_at=later)
    until(lambda: fleet.filter(watch__since__isnull=False).count() == hosts, seconds=900)
    return hosts


def result(name: str, seconds: list[float]) -> Result:
    return p95_at_most(name, seconds, goal=GOAL_S)


def measure(fleet: Fleet, *only: str) -> list[float]:
    """Seconds from each change to its message."""
    guests = [fleet.guest(host) for host in only or HOSTS]
    client = Redis.from_url(settings.REDIS_URL)
    seconds = []
    for number in range(CHANGES):
        guest = guests[number % len(guests)]
        info: Any = client.xinfo_stream(STREAM) if client.exists(STREAM) else {"last-generated-id": "0"}
        with fleet.world.open() as world:
            one = world.hosts[guest.host.source.name].guests[guest.uuid]
            one.state = GuestState.PAUSED if one.state is GuestState.RUNNING else GuestState.RUNNING
        began = time.perf_counter()
        await_message(client, info["last-generated-id"], str(guest.pk))
        seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return seconds


def await_message(client: Redis, position: Any, guest_id: str) -> None:
    limit = time.monotonic() + LONGEST_S
    while time.monotonic() < limit:
        answer: Any = client.xread({STREAM: position}, block=1000)
        for entry, fields in answer[0][1] if answer else ():
            if ["guest", guest_id] in [change[:2] for change in msgspec.json.decode(fields[b"c"])]:
                return
            position = entry
    raise SystemExit("The change was never told.")


@contextmanager
def running(*arguments: str) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=HOME,
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - this process has one thread
    ) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def storms(fleet: Fleet) -> Iterator[None]:
    """Ten thousand events from each of the other hosts, again and again while these change."""
    with ExitStack() as undo:
        for host in HOSTS[1:]:
            fleet.world.add_fault(host, at="watch", do="storm", times=-1)
            undo.callback(fleet.world.clear_faults, host)
        yield


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise SystemExit("It never came true.")
        time.sleep(0.05)


def write(guests: int) -> None:
    """Another source's full reads, each with every guest changed, without end."""
    now = timezone.now()
    datacenter, _made = Datacenter.objects.get_or_create(name="Bench")
    source = Source.objects.create(
        name="bench", datacenter=datacenter, kind="fake", next_inventory_at=now, next_states_at=now
    )
    facts = make_snapshot(guests)
    for number in range(1_000_000):
        renamed = tuple(replace(fact, title=f"read {number}") for fact in facts.guests)
        apply_snapshot(source, replace(facts, guests=renamed, read_started_at=datetime.now(UTC)), source.lease_token)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(int(sys.argv[2]))
    else:
        for one in main(int(sys.argv[1])):
            sys.stdout.write(as_json(one) + "\n")
            sys.stdout.flush()
