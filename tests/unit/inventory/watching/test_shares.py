"""Watchers share the sources, and what one that died held is taken over."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from core.db import write_transaction
from hosts.lease import LeaseLost, renew
from hosts.models import Source, SourceState
from inventory.models import Watch, Watcher
from inventory.watching import shares
from inventory.watching.shares import WatchLease, balance, beat, leave, register
from tests.facts import make_source

pytestmark = pytest.mark.django_db


@pytest.fixture
def sources() -> list[Source]:
    return [make_source(name=f"s{number}") for number in range(7)]


def die(watcher: UUID) -> None:
    """As after kill -9, once its lease is over."""
    Watcher.objects.filter(pk=watcher).update(alive_until=Now() - timedelta(seconds=1))


def settle(*watchers: UUID) -> list[set[UUID]]:
    """What each holds when every one has balanced often enough."""
    for _ in range(3):
        held = [set(balance(watcher)) for watcher in watchers]
    return held


def test_one_watcher_has_every_source(sources: list[Source]) -> None:
    assert settle(register()) == [{source.pk for source in sources}]


@pytest.mark.parametrize("number", [2, 3, 7, 9])
def test_shares_are_fair_whole_and_apart(sources: list[Source], number: int) -> None:
    first = register()
    balance(first)
    held = settle(first, *(register() for _ in range(number - 1)))
    assert sum(map(len, held)) == len(sources)
    assert set().union(*held) == {source.pk for source in sources}
    assert max(map(len, held)) <= -(-len(sources) // number)


def test_shares_that_are_fair_stay_as_they_are(sources: list[Source]) -> None:
    watchers = register(), register()
    settle(*watchers)
    before = dict(Watch.objects.values_list("pk", "token"))
    settle(*watchers)
    assert dict(Watch.objects.values_list("pk", "token")) == before


def test_the_sources_of_a_dead_watcher_are_taken_over(sources: list[Source]) -> None:
    dead, other = register(), register()
    settle(dead, other)
    before = dict(Watch.objects.filter(watcher=dead).values_list("pk", "token"))
    assert before
    die(dead)
    assert set(balance(other)) == {source.pk for source in sources}
    after = dict(Watch.objects.filter(pk__in=before).values_list("pk", "token"))
    assert after == {pk: token + 1 for pk, token in before.items()}


def test_nothing_is_taken_from_one_that_lives(sources: list[Source]) -> None:
    first, second = register(), register()
    balance(first)
    held = set(Watch.objects.filter(watcher=first).values_list("pk", flat=True))
    beat(first)
    balance(second)
    assert held == set(Watch.objects.filter(watcher=first).values_list("pk", flat=True))


def test_one_that_leaves_is_followed_at_once(sources: list[Source]) -> None:
    first, second = register(), register()
    settle(first, second)
    leave(first)
    assert len(balance(second)) == len(sources)


def test_a_take_over_lasts_no_longer_than_ten_seconds() -> None:
    assert shares.LEASE.total_seconds() + 2 * shares.BEAT_S <= 10


def test_what_a_stopped_watcher_heard_is_not_written_when_it_wakes(sources: list[Source]) -> None:
    stopped, other = register(), register()
    tokens = balance(stopped)
    die(stopped)
    settle(other)
    assert beat(stopped)
    for source_id, token in tokens.items():
        with pytest.raises(LeaseLost), write_transaction():
            renew(WatchLease(source_id, token, stopped))
    assert all(source not in balance(stopped) or token != tokens[source] for source, token in balance(stopped).items())


def test_a_right_that_holds_is_proven(sources: list[Source]) -> None:
    watcher = register()
    for source_id, token in balance(watcher).items():
        with write_transaction():
            renew(WatchLease(source_id, token, watcher))


def test_a_paused_source_is_nobodys(sources: list[Source]) -> None:
    watcher = register()
    tokens = balance(watcher)
    Source.objects.filter(pk=sources[0].pk).update(state=SourceState.PAUSED)
    assert set(balance(watcher)) == {source.pk for source in sources[1:]}
    with pytest.raises(LeaseLost), write_transaction():
        renew(WatchLease(sources[0].pk, tokens[sources[0].pk], watcher))


def test_a_new_source_is_taken_and_a_removed_one_let_go(sources: list[Source]) -> None:
    watcher = register()
    balance(watcher)
    added = make_source(name="added")
    sources[0].delete()
    assert set(balance(watcher)) == {added.pk, *(source.pk for source in sources[1:])}


def test_many_are_claimed_in_several_transactions(monkeypatch: pytest.MonkeyPatch, sources: list[Source]) -> None:
    monkeypatch.setattr(shares, "AT_ONCE", 3)
    first, second = register(), register()
    assert len(balance(first)) == 4
    assert [len(held) for held in settle(first, second)] == [4, 3]
    die(second)
    assert len(balance(first)) == 7


def test_a_forgotten_watcher_is_told_so() -> None:
    watcher = register()
    Watcher.objects.all().delete()
    assert not beat(watcher)


def test_the_names_of_long_dead_watchers_are_forgotten() -> None:
    old = register()
    Watcher.objects.filter(pk=old).update(alive_until=timezone.now() - timedelta(hours=2))
    new = register()
    assert list(Watcher.objects.values_list("pk", flat=True)) == [new]
