"""`bench hosts`, in a process of its own: prints results as lines of JSON.

A fleet of simulated hosts is read by the very processes that the supervisor runs. First its hanging tenth is paused,
then it hangs beside the others: the ages of what is known of the healthy ones are sampled once a second, both times.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.apps import apps  # noqa: E402 - Django's settings come first
from django.db import connection  # noqa: E402
from django.db.models import Q, QuerySet  # noqa: E402
from django.utils import timezone  # noqa: E402

from hosts.models import Source, SourceState  # noqa: E402
from hosts.polling import STATES_EVERY  # noqa: E402
from inventory.models import Guest, Watch  # noqa: E402
from tests.bench.results import Result, as_json, at_most, p95  # noqa: E402
from tests.stack import Stack, running_stack, wait_until  # noqa: E402

GUESTS_A_HOST = 20
HUNG_SHARE = 0.1
WINDOW_S = 120.0
SETTLE_S = 60.0
LONGEST_S = 1800.0
GOAL_RATIO = 1.1
# What an idle fleet must not write. Sources keep when they were read, metrics keep loads.
QUIET_APPS = ("inventory", "storage", "networks", "search", "history")
QUIET_TABLES = ("hosts_host", "hosts_hostdetails")


def main(guests: int) -> Iterator[Result]:
    hosts = max(10, guests // GUESTS_A_HOST)
    hung = int(hosts * HUNG_SHARE)
    with running_stack() as stack:
        began = time.monotonic()
        make(stack, hosts, guests, hung)
        suspects = Source.objects.filter(uri__contains="hang=1")
        suspects.update(state=SourceState.PAUSED)
        well = Source.objects.exclude(uri__contains="hang=1")
        until(lambda: is_read(well))
        first = time.monotonic() - began
        note = f"{well.count()} hosts with {Guest.objects.count()} guests, from nothing"
        yield Result("first read of everything", "s", round(first, 1), None, None, "stated", ok=True, note=note)
        stack.start_watcher()
        until(lambda: Watch.objects.filter(since__isnull=False).count() >= well.count())
        settle()
        written = writes()
        alone = sample(well)
        yield at_most("rows written by an idle fleet", writes() - written, goal=0, unit="rows", note=f"{WINDOW_S:g} s")
        suspects.update(state=SourceState.NEW, next_states_at=timezone.now(), next_inventory_at=timezone.now())
        until(lambda: not suspects.exclude(suspect=True).exists())
        settle()
        beside = sample(well)
        yield compared(alone, beside, hung)


def make(stack: Stack, hosts: int, guests: int, hung: int) -> None:
    done = stack.manage("make_fleet", "--hosts", str(hosts), "--guests", str(guests), "--hung", str(hung))
    if done.returncode:
        raise SystemExit(done.stderr)


def is_read(sources: QuerySet[Source]) -> bool:
    return not sources.filter(Q(inventory_read_at=None) | Q(states_read_at=None)).exists()


def settle() -> None:
    """What the change before stirred up is over: two turns of every source."""
    time.sleep(SETTLE_S)


def sample(sources: QuerySet[Source]) -> list[float]:
    """The ages in seconds of all these sources' states, once a second for a while; ordered."""
    ages: list[float] = []
    end = time.monotonic() + WINDOW_S
    while time.monotonic() < end:
        now = timezone.now()
        read_at = sources.values_list("states_read_at", flat=True)
        ages += [(now - at) / timedelta(seconds=1) for at in read_at if at]
        time.sleep(1.0)
    return sorted(ages)


def compared(alone: list[float], beside: list[float], hung: int) -> Result:
    reference, ours = p95(alone), p95(beside)
    medians = f"medians {alone[len(alone) // 2]:.1f} s and {beside[len(beside) // 2]:.1f} s"
    return Result(
        name=f"age of healthy hosts' states, {hung} others hanging",
        unit="s",
        ours=round(ours, 1),
        reference=round(reference, 1),
        ratio=round(ours / reference, 2),
        goal=f"ratio <= {GOAL_RATIO:g}",
        ok=ours <= reference * GOAL_RATIO,
        note=f"p95; reference: none hanging; {medians}; longest {beside[-1]:.1f} s; due every {STATES_EVERY.seconds} s",
    )


def writes() -> int:
    """Rows ever inserted, updated or deleted in what an idle fleet must not touch."""
    tables = {model._meta.db_table for app in QUIET_APPS if apps.is_installed(app) for model in _models(app)}
    tables |= set(QUIET_TABLES)
    tables -= {Watch._meta.db_table, "inventory_watcher"}  # who listens says that it lives
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables "
            "WHERE relname = ANY(%s)",
            [sorted(tables)],
        )
        (count,) = cursor.fetchone() or (0,)
        return int(count)


def _models(app: str) -> list[Any]:
    return list(apps.get_app_config(app).get_models())


def until(condition: Callable[[], bool]) -> None:
    wait_until(condition, "the fleet is as wanted", seconds=LONGEST_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # its processes go, too
    for one in main(int(sys.argv[1])):
        sys.stdout.write(as_json(one) + "\n")
        sys.stdout.flush()
