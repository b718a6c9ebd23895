"""One database's share of `bench metrics`, in a process of its own: prints results as lines of JSON."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from uuid import UUID

import django
import numpy as np

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Sum  # noqa: E402
from django.db.models.functions import Length  # noqa: E402

from access.models import User  # noqa: E402
from access.roles import Role  # noqa: E402
from core.ids import new_id  # noqa: E402
from drivers.types import GuestLoadFact, HostLoadFact  # noqa: E402
from metrics.models import Level, LoadBlock, LoadPoll  # noqa: E402
from metrics.packing import decode, encode  # noqa: E402
from metrics.ranges import RANGES  # noqa: E402
from metrics.selectors import load_series  # noqa: E402
from metrics.series import COMPUTE  # noqa: E402
from metrics.services import GuestReading, HostReading, record_loads  # noqa: E402
from metrics.upkeep import keep_up  # noqa: E402
from tests.bench.results import Result, as_json, at_most, timed  # noqa: E402

GOAL = 13_000  # samples a second
GUESTS_A_HOST = 20
POLLED_S = 30
POLLS = 4
OWN_SOURCES = 200  # of one host each
THREADS = 8
SAMPLE = 400  # guests whose days are packed and read, and whose samples are written row by row
DAYS = 1
READS = 40
GIB = 1 << 30
# The first second of a day and of a week of blocks.
BEGAN = 1_769_040_000
TABLE = "bench_sample"


def main(guests: int) -> Iterator[Result]:
    call_command("migrate", verbosity=0)
    vendor = connection.vendor
    fleet = Fleet(guests)
    yield from stored(fleet, vendor)
    LoadPoll.objects.all().delete()
    small = Fleet(min(guests, SAMPLE))
    yield from kept(small, guests, vendor)


class Fleet:
    """Guests that idle, work and toil, on hosts of twenty each; their counters go on with each poll."""

    def __init__(self, guests: int) -> None:
        self.chance = random.Random(7)
        self.hosts = [new_id() for _host in range(max(1, guests // GUESTS_A_HOST))]
        self.guests = [new_id() for _guest in range(guests)]
        self.counters = [[0] * 7 for _guest in range(guests)]
        self.memory = [self.chance.randrange(GIB // 4, 4 * GIB) for _guest in range(guests)]

    def host_of(self, number: int) -> UUID:
        return self.hosts[min(number // GUESTS_A_HOST, len(self.hosts) - 1)]

    def poll(self, position: int) -> tuple[list[GuestReading], list[HostReading]]:
        guests = [
            GuestReading(guest, self.host_of(number), 2, self._fact(number)) for number, guest in enumerate(self.guests)
        ]
        busy, total = position * 9 * 10**9, position * POLLED_S * 10**9
        return guests, [HostReading(host, HostLoadFact("h", busy, total, 9 * GIB, 64 * GIB)) for host in self.hosts]

    def _fact(self, number: int) -> GuestLoadFact:
        """Six of ten idle, three work, one toils; memory moves a little."""
        chance, kind = self.chance.random, number % 10
        busy = 0.01 if kind < 6 else 0.2 if kind < 9 else 0.8
        counters = self.counters[number]
        counters[0] += int(POLLED_S * 2e9 * busy * (0.7 + 0.6 * chance()))
        for position in range(1, 7):
            often = chance() < (0.3 if kind < 6 else 1.0)
            counters[position] += int(often * busy * chance() * (10**8 if position not in (3, 4) else 10**4))
        self.memory[number] += int((chance() - 0.5) * busy * 2**22)
        cpu, read, written, reads, writes, received, sent = counters
        return GuestLoadFact(
            cpu_time_ns=cpu,
            memory_used_bytes=self.memory[number],
            disk_read_bytes=read,
            disk_written_bytes=written,
            net_received_bytes=received,
            net_sent_bytes=sent,
            memory_bytes=4 * GIB,
            disk_reads=reads,
            disk_writes=writes,
        )


def stored(fleet: Fleet, vendor: str) -> Iterator[Result]:
    """What a poll of everything costs, as one source and as one source for each host; the first poll has no rates."""
    samples = (len(fleet.guests) + len(fleet.hosts)) * len(COMPUTE)
    whole = [_poll_whole(fleet, position) for position in range(POLLS + 1)][1:]
    rate = samples / median(whole)
    note = f"{samples} samples a poll of {len(fleet.guests)} guests and {len(fleet.hosts)} hosts, with latest load"
    yield _rate(f"samples stored, one source, {vendor}", rate, vendor, note)
    own = _poll_own(fleet, POLLS + 1)
    of_own = OWN_SOURCES * (GUESTS_A_HOST + 1) * len(COMPUTE)
    note = f"one source a host, {THREADS} at a time; reference: {_reference(fleet):.0f} a second as one row a sample"
    yield _rate(f"samples stored, own sources, {vendor}", of_own / own, vendor, note)


def _rate(name: str, rate: float, vendor: str, note: str) -> Result:
    stated = vendor == "sqlite"
    goal = "stated" if stated else f">= {GOAL}"
    return Result(name, "samples/s", round(rate), None, None, goal, stated or rate >= GOAL, note)


def _poll_whole(fleet: Fleet, position: int) -> float:
    guests, hosts = fleet.poll(position)
    return timed(lambda: record_loads(guests, hosts, read_at=_at(position)))


def _poll_own(fleet: Fleet, position: int) -> float:
    """As the workers do it: some sources beside each other, each in a thread."""
    guests, hosts = fleet.poll(position)

    def write(number: int) -> None:
        mine = guests[number * GUESTS_A_HOST : (number + 1) * GUESTS_A_HOST]
        record_loads(mine, [hosts[number]], read_at=_at(position))

    with ThreadPoolExecutor(THREADS, initializer=connection.ensure_connection) as threads:
        list(threads.map(write, range(THREADS)))  # everyone is connected
        chosen = range(THREADS, min(THREADS + OWN_SOURCES, len(hosts)))
        return timed(lambda: list(threads.map(write, chosen))) * OWN_SOURCES / max(1, len(chosen))


def _reference(fleet: Fleet) -> float:
    """Samples a second, each a row with an index by object, series and time, in one statement and transaction."""
    guests, _hosts = fleet.poll(POLLS + 2)
    rows = [
        (str(one.guest_id), number, BEGAN, float(one.load.cpu_time_ns))
        for one in guests[:SAMPLE]
        for number in range(len(COMPUTE))
    ]
    kind = "char(36)" if connection.vendor == "sqlite" else "uuid"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {TABLE} (object {kind}, series smallint, at bigint, value double precision,"
            " PRIMARY KEY (object, series, at))"
        )
    seconds = timed(lambda: _insert_rows(rows))
    return len(rows) / seconds


def _insert_rows(rows: list[tuple[str, int, int, float]]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)  # noqa: S608
            return
        with cursor.copy(f"COPY {TABLE} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def kept(fleet: Fleet, guests: int, vendor: str) -> Iterator[Result]:
    """A day of some guests: the work to pack and roll them up, their size, and how long a chart takes."""
    _fill(fleet)
    objects = len(fleet.guests) + len(fleet.hosts)
    seconds = timed(lambda: _keep_up(BEGAN + DAYS * 86400 + 600))
    hours = DAYS * 24
    whole = seconds / hours * (guests + guests / GUESTS_A_HOST) / objects
    note = f"packing and rolling up one hour of {guests} guests; measured: {hours} h of {len(fleet.guests)}"
    yield at_most(f"upkeep of an hour, {vendor}", round(whole, 1), goal=3600, unit="s", note=note)
    for level, name in ((Level.RAW, "raw"), (Level.FIVE_MINUTES, "5 minutes")):
        yield _size(level, name, vendor)
    yield from _charts(fleet, vendor)


def _fill(fleet: Fleet) -> None:
    """The polls of a day. Each hour's are those of the first one with some noise: making them is not measured."""
    for position in range(3600 // POLLED_S + 1):
        record_loads(*fleet.poll(position), read_at=_at(position))
    hour = list(LoadPoll.objects.filter(at__gt=BEGAN))
    noise = np.random.default_rng(7)
    for _hour in range(1, DAYS * 24):
        for poll in hour:
            poll.pk, poll.at = None, poll.at + 3600
            values = decode(bytes(poll.values_packed), len(COMPUTE), exact=False)
            poll.values_packed = encode(values * noise.lognormal(0.0, 0.05, values.shape), exact=False)
        LoadPoll.objects.bulk_create(hour, batch_size=500)


def _keep_up(now: int) -> None:
    while not keep_up(now=now, budget_s=600):
        pass


def _size(level: Level, name: str, vendor: str) -> Result:
    blocks = LoadBlock.objects.filter(level=level)
    total = blocks.aggregate(total=Sum(Length("packed")))["total"] or 0
    points = {Level.RAW: 3600 // POLLED_S, Level.FIVE_MINUTES: 288}[level]
    numbers = blocks.count() * points * len(COMPUTE)
    note = "average, minimum, maximum and count" if level else "with their times"
    return Result(
        f"a point of a series, {name}, {vendor}", "bytes", round(total / numbers, 2), None, None, "stated", True, note
    )


def _charts(fleet: Fleet, vendor: str) -> Iterator[Result]:
    user = User(role=Role.VIEWER)
    for name, length, end in (("1h", 3600, BEGAN + DAYS * 86400), ("1d", 86400, BEGAN + DAYS * 86400)):
        times = []
        for guest in fleet.guests[:READS]:
            span = (end - length, end, RANGES[name].step)
            times.append(timed(lambda g=guest, s=span: _read(user, g, *s)) * 1000)  # type: ignore[misc]
        worst = sorted(times)[int(len(times) * 0.95)]
        note = f"median {median(times):.1f} ms; nine series"
        yield at_most(f"a guest's chart of {name}, p95, {vendor}", round(worst, 1), goal=200, unit="ms", note=note)


def _read(user: User, guest: UUID, start: int, end: int, step: int) -> None:
    found = load_series(user=user, kind="guest", object_id=guest, start=start, end=end, step=step)
    if len(found.points.times) < 60:  # half of what there is
        raise SystemExit("A chart that was measured is empty.")


def _at(position: int) -> datetime:
    return datetime.fromtimestamp(BEGAN + position * POLLED_S, UTC)


if __name__ == "__main__":
    for result in main(int(sys.argv[1])):
        sys.stdout.write(as_json(result) + "\n")
        sys.stdout.flush()
