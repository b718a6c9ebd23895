"""Polling by real workers: hanging sources, doubled messages, a lost broker, a killed worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.utils import timezone

from core.queue import POLLS, SUSPECT
from drivers.fake.world import FakeWorld
from hosts.models import Datacenter, Source, SourceState
from hosts.polling import POLL
from inventory.models import Guest
from tests.stack import Stack, wait_until

SOURCES = 200
HANGING = 20


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld.create(tmp_path / "polled.json", hosts=("alpha",), guests=3)


def add_source(name: str, uri: str, *, due_in: float = 0.0) -> Source:
    where, _created = Datacenter.objects.get_or_create(name="dc")
    due = timezone.now() + timedelta(seconds=due_in)
    return Source.objects.create(
        name=name, datacenter=where, kind="fake", transport="fake", uri=uri, next_inventory_at=due, next_states_at=due
    )


def send(source: Source, queue: str = POLLS, times: int = 1) -> None:
    for _ in range(times):
        current_app.send_task(POLL, args=[str(source.pk)], queue=queue, ignore_result=True)


def is_read(source: Source) -> bool:
    return Source.objects.filter(pk=source.pk, state=SourceState.OK, lease_until=None).exists()


def make_due(source: Source) -> None:
    now = timezone.now()
    Source.objects.filter(pk=source.pk).update(next_states_at=now, next_inventory_at=now)


def test_twenty_messages_to_two_workers_are_one_read(stack: Stack, world: FakeWorld) -> None:
    world.add_fault("alpha", at="read_states", do="slow", seconds=2, times=-1)
    source = add_source("alpha", world.uri("alpha"), due_in=3600)
    make_due(source)
    send(source, POLLS, times=10)
    send(source, SUSPECT, times=10)
    wait_until(lambda: is_read(source), "the source is read")
    wait_until(lambda: stack.messages(POLLS) == stack.messages(SUSPECT) == 0, "all messages are taken")
    assert world.fired("alpha", at="read_states") == 1
    assert Source.objects.get().lease_token == 1
    assert Guest.objects.count() == 3


def test_a_flushed_broker_delays_a_read_and_loses_none(stack: Stack, world: FakeWorld) -> None:
    for name in ("reader", "worker-b"):
        stack.freeze(name)
    source = add_source("alpha", world.uri("alpha"))
    wait_until(lambda: Source.objects.filter(pk=source.pk, sent_at__isnull=False).exists(), "the message is sent")
    stack.flush_broker()
    assert stack.messages(POLLS) == 0
    stack.mend()
    wait_until(lambda: is_read(source), "the source is read all the same")


def test_a_worker_killed_in_the_middle_of_a_poll_is_replaced(stack: Stack, world: FakeWorld) -> None:
    world.add_fault("alpha", at="snapshot", do="hang", times=1)
    source = add_source("alpha", world.uri("alpha"))
    send(source)
    wait_until(lambda: world.fired("alpha", at="snapshot") == 1, "the read is under way")
    token = Source.objects.get().lease_token
    stack.kill("reader")
    stack.kill("worker-b")
    assert Source.objects.get().lease_until is not None  # nobody gave it back
    assert not Guest.objects.exists()
    # The lease ends by itself; no need to sit through it.
    Source.objects.update(lease_until=timezone.now())
    stack.start_workers("reader", "worker-b")
    wait_until(lambda: is_read(source), "another worker reads it")
    assert Source.objects.get().lease_token > token
    assert Guest.objects.count() == 3


def test_a_worker_frozen_past_its_lease_writes_nothing_old(stack: Stack, world: FakeWorld) -> None:
    world.add_fault("alpha", at="snapshot", do="slow", seconds=3, times=1)
    source = add_source("alpha", world.uri("alpha"), due_in=3600)
    make_due(source)
    send(source)
    wait_until(lambda: world.fired("alpha", at="snapshot") == 1, "the read is under way")
    stack.freeze("reader")
    Source.objects.update(lease_until=timezone.now())  # as time would
    make_due(source)
    send(source, SUSPECT)
    wait_until(lambda: is_read(source), "the other worker reads it")
    token = Source.objects.get().lease_token
    evidence = sorted(Guest.objects.values_list("pk", "evidence_at"))
    stack.thaw("reader")
    wait_until(lambda: "Another worker took over" in stack.log("reader"), "the frozen one finds out")
    assert Source.objects.get().lease_token == token
    assert sorted(Guest.objects.values_list("pk", "evidence_at")) == evidence


def test_ten_percent_of_two_hundred_hanging_delay_none_of_the_rest(stack: Stack) -> None:
    hanging = [add_source(f"hang-{n}", f"fake://fleet/hang-{n}?guests=2&hang=1") for n in range(HANGING)]
    well = [add_source(f"well-{n}", f"fake://fleet/well-{n}?guests=2") for n in range(SOURCES - HANGING)]
    began = timezone.now()
    hung = Source.objects.filter(pk__in=[source.pk for source in hanging])
    fine = Source.objects.filter(pk__in=[source.pk for source in well])
    wait_until(lambda: fine.filter(state=SourceState.OK).count() == len(well), "the well ones are read", seconds=300)
    wait_until(
        lambda: hung.filter(state=SourceState.UNREACHABLE, suspect=True).count() == HANGING,
        "each hanging one was tried and is a suspect",
        seconds=300,
    )
    # From here on the suspects have a queue of their own. While they hang again, every well one takes its turns.
    tries = dict(hung.values_list("pk", "lease_token"))
    turns = dict(fine.values_list("pk", "lease_token"))
    wait_until(
        lambda: all(fine.filter(pk=pk, lease_token__gt=token).exists() for pk, token in turns.items()),
        "every well one is read again",
        seconds=300,
    )
    assert not fine.exclude(state=SourceState.OK).exists()
    assert not fine.filter(failures__gt=0).exists()
    late = [source.name for source in fine if source.states_read_at and source.states_read_at < began]
    assert late == []
    wait_until(
        lambda: any(hung.filter(pk=pk, lease_token__gt=token).exists() for pk, token in tries.items()),
        "suspects were tried meanwhile",
        seconds=300,
    )
    assert not hung.exclude(suspect=True).exists()
