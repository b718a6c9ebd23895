"""One database's share of `bench search`, in a process of its own: prints results as lines of JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from access.models import User  # noqa: E402
from access.roles import Role  # noqa: E402
from hosts.models import Datacenter, Source  # noqa: E402
from inventory.find import Search  # noqa: E402
from inventory.models import Guest  # noqa: E402
from inventory.sync import apply_snapshot  # noqa: E402
from labels.models import Tag  # noqa: E402
from labels.services import MOST_OBJECTS, change_tag, change_tags  # noqa: E402
from search.models import Kind  # noqa: E402
from tests.bench.fleet import make_snapshot  # noqa: E402
from tests.bench.results import Result, as_json, at_most, times_faster  # noqa: E402

PAIRS = 5
REPEATS = 20  # of ours in a pair, of which the median counts: one takes less than a timer's noise
RESULTS = 51
RARE, MEDIUM, COMMON = 500, 30, 1
# Of acts on tags nothing is compared: what a person waits for, and what polls may have to wait for.
MANY_SECONDS, ALL_SECONDS, SEARCH_SECONDS = 2, 30, 0.5


def main(guests: int) -> Iterator[Result]:
    call_command("migrate", verbosity=0)
    user = fill(guests)
    for name, word, goal in words():
        yield measure(name, word, user, goal)
    yield from with_tags()


def fill(guests: int) -> User:
    """An inventory as a source left it, and somebody who may look at it."""
    now = timezone.now()
    source = Source.objects.create(
        name="bench",
        datacenter=Datacenter.objects.create(name="Bench"),
        kind="fake",
        next_inventory_at=now,
        next_states_at=now,
    )
    apply_snapshot(source, make_snapshot(guests), source.lease_token)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # as autovacuum would within a minute
            cursor.execute("VACUUM ANALYZE")
    return User.objects.create(username="reader", role=Role.VIEWER)


def words() -> list[tuple[str, str, float]]:
    """What people look for, how rare it is, and what is promised for it."""
    guest = Guest.objects.order_by("uuid")[Guest.objects.count() // 2]
    mac = guest.nics.order_by("position")[0].mac
    return [
        ("none", "no-such-thing", RARE),
        ("a name", guest.name, RARE),
        ("a UUID", guest.uuid, RARE),
        ("a MAC address", mac, RARE),
        ("an address", str(guest.nics.order_by("position")[0].addresses[0]), RARE),
        ("a subnet", "10.0.3.", MEDIUM),
        ("a note", "first tuesday", COMMON),
        ("a beginning of names", "web", COMMON),
        ("what all have", "qcow2", COMMON),
    ]


def measure(name: str, word: str, user: User, goal: float) -> Result:
    """Both have to find the same guests; ours looks among hosts, datastores, switches and sources, too."""
    found = count(word)
    ours, reference = [], []
    for _ in range(PAIRS):
        seconds, hits = timed(lambda: next(Search(word, user=user).hits(size=RESULTS), []), REPEATS)
        ours.append(seconds)
        seconds, rows = timed(lambda: by_like(word), 1)
        reference.append(seconds)
        mine = [hit.object_id for hit in hits if hit.kind == Kind.GUEST]
        assert set(mine) <= set(rows) or found > RESULTS, (word, mine, rows)
        assert len(hits) == RESULTS or len(mine) == found, (word, len(mine), found)
    note = f"{word}: {found} guests"
    return times_faster(f"search {name}, {connection.vendor}", ours, reference, goal=goal, note=note)


def with_tags() -> Iterator[Result]:
    """Acts on tags, up to one that every guest has, and searches by it. There is no usual way to compare with."""
    boss = User.objects.create(username="boss", role=Role.ADMIN)
    ids = list(Guest.objects.order_by("pk").values_list("pk", flat=True))
    parts = [ids[start : start + MOST_OBJECTS] for start in range(0, len(ids), MOST_OBJECTS)]
    seconds = [timed(partial(change_tags, kind="guest", ids=part, add=["everywhere"], by=boss), 1)[0] for part in parts]
    note = f"{len(parts[0])} guests"
    yield _at_most("tag many", median(seconds), MANY_SECONDS, note)
    change_tags(kind="guest", ids=ids[:5], add=["rare"], by=boss)
    guest = Guest.objects.order_by("uuid")[len(ids) // 2]
    for name, text, wanted in (
        ("a rare tag", "rare", 5),
        ("a name and a tag", f"{guest.name} everywhere", 1),
        ("what all are tagged with", "everywhere", min(RESULTS, len(ids))),
    ):
        seconds_each, hits = timed(lambda text=text: next(Search(text, user=boss).hits(size=RESULTS), []), REPEATS)  # type: ignore[misc]
        assert len(hits) == wanted, (text, len(hits))
        yield _at_most(f"search {name}", seconds_each, SEARCH_SECONDS, text)
    tag = Tag.objects.get(name="everywhere")
    rename = timed(lambda: change_tag(tag=tag, name="everything", by=boss), 1)[0]
    yield _at_most("rename a tag that all have", rename, ALL_SECONDS, f"{len(ids)} guests")


def _at_most(name: str, seconds: float, goal: float, note: str) -> Result:
    return at_most(f"{name}, {connection.vendor}", round(seconds, 4), goal=goal, unit="s", note=note)


def timed(act: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds, answer = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        answer = act()
        seconds.append(time.perf_counter() - started)
    return median(seconds), answer


# The usual way: one condition over every column, in the same order of results.
_CONDITION = """
    g.name {like} %(part)s OR g.title {like} %(part)s OR g.uuid {like} %(part)s OR g.notes {like} %(part)s
    OR EXISTS (SELECT 1 FROM inventory_nic n WHERE n.guest_id = g.id AND (
        n.mac {like} %(part)s OR n.network {like} %(part)s OR n.bridge {like} %(part)s
        OR n.port_group {like} %(part)s OR {addresses} {like} %(part)s))
    OR EXISTS (SELECT 1 FROM inventory_disk d WHERE d.guest_id = g.id AND d.source {like} %(part)s)
"""
_SELECT = """
    SELECT {id} FROM inventory_guest g WHERE {condition}
    ORDER BY CASE WHEN lower(g.name) = %(whole)s THEN 0 WHEN g.name {like} %(start)s THEN 1 ELSE 2 END,
             lower(g.name), g.id
    LIMIT %(most)s
"""


def by_like(word: str) -> list[str]:
    return [row[0] for row in _ask(_SELECT, word)]


def count(word: str) -> int:
    return int(_ask("SELECT count(*) FROM inventory_guest g WHERE {condition}", word)[0][0])


def _ask(statement: str, word: str) -> list[tuple[Any, ...]]:
    sqlite = connection.vendor == "sqlite"
    parts = {
        "id": "g.id" if sqlite else "g.id::text",
        "like": "LIKE" if sqlite else "ILIKE",
        "addresses": "n.addresses" if sqlite else "n.addresses::text",
    }
    query = statement.format(condition=_CONDITION.format(**parts), **parts)
    values: dict[str, str | int] = {"part": f"%{word}%", "whole": word, "start": f"{word}%", "most": RESULTS}
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


if __name__ == "__main__":
    for line in main(int(sys.argv[1])):
        sys.stdout.write(as_json(line) + "\n")
        sys.stdout.flush()
