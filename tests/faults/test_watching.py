"""Watchers die, freeze and come back while sources change; each test proves that its fault fired."""

from __future__ import annotations

import os
import signal
import subprocess

from django.utils import timezone

from drivers.types import GuestState
from inventory.models import Guest, Watch, Watcher
from tests.stack import Stack, wait_until
from tests.world import Fleet


def listens_to(stack: Stack, number: int) -> bool:
    """Every source's events come, to so many watchers."""
    rows = Watch.objects.filter(since__isnull=False)
    return rows.count() == Watch.objects.count() > 0 and rows.values("watcher").distinct().count() == number


def is_written(guest: Guest, state: GuestState) -> bool:
    return Guest.objects.filter(pk=guest.pk, state=state.value).exists()


def test_a_killed_watcher_is_replaced_by_the_other(stack: Stack, fleet: Fleet) -> None:
    stack.start_watcher("watcher-1")
    stack.start_watcher("watcher-2")
    wait_until(lambda: listens_to(stack, 2), "both listen")
    before = {watch.pk: watch.watcher_id for watch in Watch.objects.all()}
    stack.kill("watcher-1")
    killed_at = timezone.now()
    assert stack.processes["watcher-1"].returncode == -signal.SIGKILL
    wait_until(lambda: listens_to(stack, 1), "the other has taken over")
    taken = [watch for watch in Watch.objects.all() if watch.watcher_id != before[watch.pk]]
    assert taken
    assert all(watch.since is not None and watch.since > killed_at for watch in taken)
    guests = [fleet.set_state(host, GuestState.PAUSED) for host in ("alpha", "beta")]
    wait_until(lambda: all(is_written(guest, GuestState.PAUSED) for guest in guests), "what changes is written")


def test_a_watcher_frozen_past_its_lease_gives_way(stack: Stack, fleet: Fleet) -> None:
    stack.start_watcher("watcher-1")
    wait_until(lambda: listens_to(stack, 1), "it listens")
    tokens = dict(Watch.objects.values_list("pk", "token"))
    stack.freeze("watcher-1")
    stack.start_watcher("watcher-2")
    wait_until(lambda: all(w.token > tokens[w.pk] and w.since for w in Watch.objects.all()), "the other took over")
    guest = fleet.set_state("alpha", GuestState.PAUSED)
    wait_until(lambda: is_written(guest, GuestState.PAUSED), "the other writes it")
    stack.thaw("watcher-1")
    wait_until(lambda: listens_to(stack, 2), "they share again")
    guest = fleet.set_state("beta", GuestState.PAUSED)
    wait_until(lambda: is_written(guest, GuestState.PAUSED), "what changes is written")


def test_a_killed_helper_process_loses_no_source(stack: Stack, fleet: Fleet) -> None:
    stack.start_watcher("watcher-1")
    wait_until(lambda: listens_to(stack, 1), "it listens")
    began = timezone.now()
    listed = subprocess.run(["pgrep", "-P", str(stack.pid("watcher-1"))], capture_output=True, text=True, check=True)
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    wait_until(
        lambda: Watch.objects.filter(since__gt=began).count() == len(fleet.hosts),
        "every stream is open again",
    )
    guest = fleet.set_state("alpha", GuestState.PAUSED)
    wait_until(lambda: is_written(guest, GuestState.PAUSED), "what changes is written")


def test_a_storm_does_not_hold_up_another_source(stack: Stack, fleet: Fleet) -> None:
    stack.start_watcher("watcher-1")
    wait_until(lambda: listens_to(stack, 1), "it listens")
    fleet.world.add_fault("alpha", at="watch", do="storm", times=5)
    guest = fleet.set_state("beta", GuestState.PAUSED)
    wait_until(lambda: is_written(guest, GuestState.PAUSED), "the other's change is written")
    wait_until(lambda: fleet.world.fired("alpha", at="watch") > 0, "the storm came")


def test_a_watcher_that_is_stopped_leaves_its_sources_at_once(stack: Stack, fleet: Fleet) -> None:
    stack.start_watcher("watcher-1")
    wait_until(lambda: listens_to(stack, 1), "it listens")
    watcher = Watch.objects.values_list("watcher", flat=True)[0]
    stack.stop("watcher-1")
    assert stack.processes["watcher-1"].returncode == 0
    assert not Watcher.objects.filter(pk=watcher).exists()
    assert not Watch.objects.exclude(watcher=None, since=None).exists()
