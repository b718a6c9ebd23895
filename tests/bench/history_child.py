"""One database's share of `bench history`, in a process of its own: prints results as lines of JSON."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import QuerySet  # noqa: E402
from django.utils import timezone  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from access.models import User  # noqa: E402
from access.roles import Role  # noqa: E402
from core.lists import LAST, Page, Sort, _cursor, _with_keys, keyset_page  # noqa: E402
from core.models import by_name  # noqa: E402
from history.models import GuestName, GuestRevision, GuestStay  # noqa: E402
from history.selectors import guest_names_as_of, guests_as_of, hosts_as_of, revisions_at, revisions_of, stays_of  # noqa: E402
from hosts.models import Datacenter, Host, Source  # noqa: E402
from inventory.models import Guest  # noqa: E402
from inventory.sync import apply_snapshot  # noqa: E402
from tests.bench.fleet import make_snapshot  # noqa: E402
from tests.bench.results import Result, as_json, p95_at_most, timed  # noqa: E402

NAMES: str = import_module("history.schema.0004_guest_names").NAMES

HOURS = 365 * 24
CHANGED = 0.02  # of the guests, each hour
HOURS_AT_ONCE = 24 * 7  # written in one transaction
LIST_GOAL_S = 1.0
ONE_GOAL_S = 0.2
LISTS = 30
ONES = 200
SORT = Sort("name", (by_name(),))
DEEP = 0.9  # of the list


def main(guests: int) -> Iterator[Result]:
    call_command("migrate", verbosity=0)
    year = Year(guests)
    bare = size_of_everything()
    seconds = timed(year.write)
    year.settle()
    yield year.size(bare, seconds)
    yield from lists(year)
    yield from single_guests(year)


class Year:
    """A source read a year ago, and what changed since, evenly: as many states and addresses as guests changed inside.

    The rows are made by the database itself, in the order of time, as polls would have written them.
    """

    def __init__(self, guests: int) -> None:
        self.begins = timezone.now() - timedelta(hours=HOURS + 1)
        self.guests = guests
        self.changes = max(2, round(guests * CHANGED))  # an hour
        self.dice = random.Random(guests)
        source = Source.objects.create(
            name="bench",
            datacenter=Datacenter.objects.create(name="Bench"),
            kind="fake",
            next_inventory_at=self.begins,
            next_states_at=self.begins,
        )
        read = replace(make_snapshot(guests), read_started_at=self.begins)
        apply_snapshot(source, read, source.lease_token)
        self.user = User.objects.create(username="reader", role=Role.VIEWER)
        self.vendor = connection.vendor

    def write(self) -> None:
        """Each guest in turn, in an order that has nothing to do with their ids."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE turn (number integer PRIMARY KEY, guest char(36))")
            ids = [database_text(pk) for pk in Guest.objects.order_by("uuid").values_list("pk", flat=True)]
            self.dice.shuffle(ids)
            cursor.executemany("INSERT INTO turn VALUES (%s, %s)", list(enumerate(ids)))
        for hour in range(0, HOURS, HOURS_AT_ONCE):
            with transaction.atomic(), connection.cursor() as cursor:
                for statement in self._statements(hour, min(hour + HOURS_AT_ONCE, HOURS)):
                    cursor.execute(statement)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM history_guestname")
            cursor.execute(NAMES)

    def _statements(self, first: int, last: int) -> list[str]:
        sizes: dict[str, Any] = {"begins": text_of(self.begins), "changes": self.changes, "guests": self.guests}
        sizes["seconds"] = f"((h + 1.0 + 1.0 * k / {self.changes}) * 3600)"
        words = sizes | {name: piece.format(**sizes) for name, piece in DIALECTS[self.vendor].items()}
        made = _CHANGES.format(**words, first=first, last=last)
        return [statement.format(**words, made=made) for statement in (_STAYS, _REVISIONS)]

    def settle(self) -> None:
        """As autovacuum would, and once for all reads of a year: what the first look writes is not measured."""
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE" if self.vendor == "postgresql" else "ANALYZE")

    def moment(self) -> datetime:
        return self.begins + timedelta(hours=self.dice.uniform(1, HOURS))

    def size(self, bare: int, seconds: float) -> Result:
        rows = GuestStay.objects.count() + GuestRevision.objects.count()
        grown = size_of_everything() - bare
        note = f"{rows} intervals of {self.guests} guests: {grown / rows:.0f} bytes each with indexes"
        note += f"; made in {seconds:.0f} s"
        return Result(
            f"a year on disk, {self.vendor}", "GiB", round(grown / 2**30, 2), None, None, "stated", True, note
        )


# One row for each change: guest (hour * changes + k) in turn, evenly spread over the hour; every other one is a stay.
_CHANGES = """
    WITH RECURSIVE hours(h) AS (SELECT {first} UNION ALL SELECT h + 1 FROM hours WHERE h + 1 < {last}),
    turns(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM turns WHERE k + 1 < {changes}),
    changes AS (
        SELECT h, k, CAST(h AS bigint) * {changes} + k AS n, {moment} AS moment FROM hours CROSS JOIN turns
    )
"""
_STAYS = """
    INSERT INTO history_gueststay (object_id, valid_from, gone, state, host_id, addresses)
    {made}
    SELECT g.id, c.moment, {no}, CASE WHEN (c.n / {guests}) % 4 < 3 THEN 'running' ELSE 'off' END,
           CASE WHEN c.n % 20 = 0 THEN o.host_id ELSE g.host_id END, g.addresses
    FROM changes c
    JOIN turn t ON t.number = c.n % {guests} JOIN inventory_guest g ON g.id = {id}
    JOIN turn u ON u.number = (c.n + 7) % {guests} JOIN inventory_guest o ON o.id = {other}
    WHERE c.k % 2 = 0 ORDER BY c.n
"""
_REVISIONS = """
    INSERT INTO history_guestrevision (object_id, valid_from, name, datacenter_id, vcpus, memory_bytes, facts, hardware)
    {made}
    SELECT g.id, c.moment, CASE WHEN c.n % 499 = 1 THEN 'renamed-' || c.n % 97 ELSE g.name END, g.datacenter_id,
           1 + c.n % 16, g.memory_bytes, {facts}, r.hardware
    FROM changes c
    JOIN turn t ON t.number = c.n % {guests} JOIN inventory_guest g ON g.id = {id}
    JOIN history_guestrevision r ON r.object_id = g.id AND r.valid_from = {start}
    WHERE c.k % 2 = 1 ORDER BY c.n
"""
DIALECTS: dict[str, dict[str, str]] = {
    "sqlite": {
        "moment": "strftime('%Y-%m-%d %H:%M:%f000', '{begins}', {seconds} || ' seconds')",
        "no": "0",
        "id": "t.guest",
        "other": "u.guest",
        "facts": "json_set(r.facts, '$.notes', 'Change ' || c.n || ' of the year')",
        "start": "'{begins}'",
    },
    "postgresql": {
        "moment": "timestamptz '{begins}+00' + make_interval(secs => {seconds})",
        "no": "false",
        "id": "t.guest::uuid",
        "other": "u.guest::uuid",
        "facts": "jsonb_set(r.facts, '{{notes}}', to_jsonb('Change ' || c.n || ' of the year'))",
        "start": "timestamptz '{begins}+00'",
    },
}


def database_text(pk: UUID) -> str:
    return pk.hex if connection.vendor == "sqlite" else str(pk)


def text_of(moment: datetime) -> str:
    """As Django writes it to SQLite."""
    return str(moment.astimezone(UTC).replace(tzinfo=None))


def size_of_everything() -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(cursor.fetchone()[0])


# -- what is measured


def lists(year: Year) -> Iterator[Result]:
    """Each time another moment: nothing of the answer before is of use, but for what the database keeps in memory."""
    user = year.user
    host = Host.objects.order_by("name")[Host.objects.count() // 2].pk
    cases: list[tuple[str, Callable[[datetime], object]]] = [
        ("first page", lambda at: page_of(guest_names_as_of(at, user=user), at, user)),
        ("page at 90 %", Deep(year)),
        ("last page", lambda at: page_of(guest_names_as_of(at, user=user), at, user, LAST)),
        ("guests that ran", lambda at: page_of(guest_names_as_of(at, user=user, state="running"), at, user)),
        ("guests of a host", lambda at: page_of(guest_names_as_of(at, user=user, host_id=host), at, user)),
        ("hosts", lambda at: keyset_page(hosts_as_of(at, user=user), SORT)),
    ]
    for name, act in cases:
        seconds = []
        for _look in range(LISTS):
            at = year.moment()
            if isinstance(act, Deep):
                act.prepare(at)
            seconds.append(timed(lambda act=act, at=at: act(at)))  # type: ignore[misc]
        yield result(f"as of: {name}", seconds, LIST_GOAL_S, year)
    every = [
        timed(lambda: list(guests_as_of(year.moment(), user=user).values_list("pk", "name"))) for _look in range(5)
    ]
    yield result("as of: every guest at once, as a report needs it", every, None, year)


def page_of(rows: QuerySet[GuestName], at: datetime, user: User, cursor: str = "") -> Page[GuestName]:
    """A page of the list, with where and how each guest of it was."""
    page = keyset_page(rows, SORT, cursor)
    assert page.rows
    guests = [row.object_id for row in page.rows]
    assert len(stays_of(guests, at, user=user)) == len(revisions_at(guests, at, user=user)) == len(guests)
    return page


@dataclass
class Deep:
    """The page far down: a person followed links there, or a script. What it starts from is not measured."""

    year: Year
    cursor: str = ""

    def prepare(self, at: datetime) -> None:
        keyed, names = _with_keys(guest_names_as_of(at, user=self.year.user), SORT)
        start = keyed.order_by(*names).values_list(*names)[int(self.year.guests * DEEP)]
        self.cursor = _cursor(start, SORT, False, int(self.year.guests * DEEP))

    def __call__(self, at: datetime) -> object:
        return page_of(guest_names_as_of(at, user=self.year.user), at, self.year.user, self.cursor)


def single_guests(year: Year) -> Iterator[Result]:
    ids = list(Guest.objects.values_list("pk", flat=True))

    def look(guest: UUID, at: datetime) -> None:
        assert stays_of([guest], at, user=year.user)
        assert revisions_of(guest, user=year.user).filter(valid_from__lte=at).first()

    looks = [(year.dice.choice(ids), year.moment()) for _look in range(ONES)]
    seconds = [timed(lambda guest=guest, at=at: look(guest, at)) for guest, at in looks]  # type: ignore[misc]
    yield result("as of: one guest", seconds, ONE_GOAL_S, year)
    newest = [timed(lambda guest=guest: list(revisions_of(guest, user=year.user)[:50])) for guest, _at in looks]  # type: ignore[misc]
    yield result("the last 50 revisions of a guest", newest, ONE_GOAL_S, year)


def result(name: str, seconds: list[float], goal: float | None, year: Year) -> Result:
    """Without a goal it is stated."""
    note = f"at {year.guests} guests" if year.guests < 50_000 else ""
    return p95_at_most(f"{name}, {year.vendor}", seconds, goal=goal, note=note)


if __name__ == "__main__":
    for line in main(int(sys.argv[1])):
        sys.stdout.write(as_json(line) + "\n")
        sys.stdout.flush()
