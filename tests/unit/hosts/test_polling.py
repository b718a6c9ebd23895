"""When sources are read, by whom, and what success and failure mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core import queue
from drivers.errors import AuthFailed, DriverError, Unreachable
from hosts import lease, polling
from hosts.certificates import presented_key
from hosts.facts import Findings
from hosts.lease import Lease, LeaseLost
from hosts.models import Host, HostState, Source, SourceState
from hosts.sync import apply_hosts
from tests.certificates import make
from tests.facts import make_source, snapshot
from tests.together import database_for_threads, together

pytestmark = pytest.mark.django_db
LATER = timedelta(hours=1)
SOON = timedelta(minutes=2)  # no further ahead than anything is planned


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Messages as (source's id, queue)."""
    messages: list[tuple[str, str]] = []
    monkeypatch.setattr(queue, "_send", lambda task, ids, name, *_rest: messages.append((ids[0], name)))
    return messages


@pytest.fixture
def dispatch(django_capture_on_commit_callbacks: Callable[..., Any]) -> Callable[[], int]:
    def run() -> int:
        with django_capture_on_commit_callbacks(execute=True):
            return polling.dispatch_due()

    return run


def later(source: Source, by: timedelta = SOON, **values: Any) -> None:
    when = timezone.now() + by
    Source.objects.filter(pk=source.pk).update(**({"next_states_at": when, "next_inventory_at": when} | values))


def test_a_due_source_is_sent_once(sent: list[tuple[str, str]], dispatch: Callable[[], int]) -> None:
    source = make_source()
    assert (dispatch(), dispatch()) == (1, 0)
    assert sent == [(str(source.pk), "polls")]


def test_a_lost_message_is_sent_again(sent: list[tuple[str, str]], dispatch: Callable[[], int]) -> None:
    source = make_source()
    dispatch()
    Source.objects.update(sent_at=timezone.now() - polling.SENT_FOR - timedelta(seconds=1))
    assert dispatch() == 1
    assert len(sent) == 2
    assert lease.claim(source.pk) is not None
    assert lease.claim(source.pk) is None  # the doubled message


def test_becoming_due_anew_does_not_wait_for_the_last_message(
    sent: list[tuple[str, str]], dispatch: Callable[[], int]
) -> None:
    source = make_source()
    dispatch()
    polling.hurry([source.pk])
    assert dispatch() == 1


@pytest.mark.parametrize("left", [("next_states_at", "next_inventory_at"), ("sent_at",), ("lease_until",)])
def test_after_the_clock_was_set_back_sources_are_read_at_once(
    left: tuple[str, ...], sent: list[tuple[str, str]], dispatch: Callable[[], int]
) -> None:
    """Not only when it is where it was; whatever was left of the time ahead."""
    ahead = timezone.now() + LATER
    values: dict[str, Any] = dict.fromkeys(left, ahead)
    source = make_source(states_read_at=ahead, **values)
    assert (dispatch(), dispatch()) == (1, 0)
    assert lease.claim(source.pk) is not None


def test_who_is_planned_far_ahead_without_a_clock_set_back_waits(dispatch: Callable[[], int]) -> None:
    later(make_source(states_read_at=timezone.now()), LATER)
    assert dispatch() == 0


@pytest.mark.parametrize("read_at", [None, timezone.now() - timedelta(days=1)])
def test_nor_does_one_wait_that_was_never_read_or_not_for_long(
    read_at: datetime | None, sent: list[tuple[str, str]], dispatch: Callable[[], int]
) -> None:
    """Its plans are all that is left of the time ahead."""
    later(make_source(states_read_at=read_at, state=SourceState.UNREACHABLE, failures=4), LATER)
    assert (dispatch(), dispatch()) == (1, 0)


@pytest.mark.parametrize("back", [timedelta(minutes=7), timedelta(hours=1), timedelta(days=400)])
def test_a_clock_that_steps_back_after_a_failure_delays_nothing(
    back: timedelta, dispatch: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with the clock stepped between a failed read and the next dispatch."""
    source, clock = make_source(), [timezone.now()]
    monkeypatch.setattr("django.utils.timezone.now", lambda: clock[0])
    assert dispatch() == 1
    claimed = lease.claim(source.pk)
    assert claimed is not None
    source.refresh_from_db()
    polling.record_failure(source, claimed, Unreachable("no answer"))
    assert dispatch() == 0
    clock[0] -= back
    assert dispatch() == 1
    assert lease.claim(source.pk) is not None


@pytest.mark.parametrize("first", [True, False])
def test_nothing_that_is_planned_as_usual_counts_as_far_ahead(
    first: bool, dispatch: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every read would be followed by another at once."""
    monkeypatch.setattr("hosts.polling.random.uniform", lambda _least, most: most)
    source = make_source(state=SourceState.NEW if first else SourceState.OK)
    for number in range(12):
        Source.objects.update(next_states_at=timezone.now(), next_inventory_at=timezone.now())
        assert dispatch() == 1
        claimed = lease.claim(source.pk)
        assert claimed is not None
        assert dispatch() == 0, "it is being read"
        source.refresh_from_db()
        if number:
            polling.record_failure(source, claimed, Unreachable("no answer"))
        else:
            polling.record_success(source, claimed, inventory=True)
        assert dispatch() == 0, "it waits for its turn"


def test_a_paused_source_stays_as_it_is_whatever_its_times(dispatch: Callable[[], int]) -> None:
    later(make_source(state=SourceState.PAUSED), LATER)
    assert dispatch() == 0
    assert not Source.objects.filter(next_states_at__lte=timezone.now()).exists()


def test_no_more_are_sent_than_may_wait(
    sent: list[tuple[str, str]], dispatch: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those that have waited longest come first."""
    monkeypatch.setattr(polling, "MOST_WAITING", 3)
    now = timezone.now()
    sources = [make_source(f"s{age}", next_states_at=now - timedelta(seconds=age)) for age in range(5)]
    suspects = [make_source(f"hung{age}", suspect=True) for age in range(4)]
    assert (dispatch(), dispatch()) == (6, 0)
    assert [pk for pk, name in sent if name == "polls"] == [str(source.pk) for source in sources[:1:-1]]
    assert sum(name == "suspect" for _pk, name in sent) == 3
    for source in (sources[4], suspects[0]):
        claimed = lease.claim(source.pk)
        assert claimed is not None
    assert dispatch() == 2, "there is room for one more of each"


def test_a_suspect_goes_to_a_queue_of_its_own(sent: list[tuple[str, str]], dispatch: Callable[[], int]) -> None:
    source = make_source(suspect=True)
    dispatch()
    assert sent == [(str(source.pk), "suspect")]


@pytest.mark.parametrize(
    ("state", "soon"),
    [
        (SourceState.PAUSED, ()),
        (SourceState.OK, ("next_states_at", "next_inventory_at")),
        (SourceState.OK, ("lease_until",)),
    ],
    ids=["paused", "not due", "being read"],
)
def test_what_is_neither_sent_nor_claimed(
    sent: list[tuple[str, str]], dispatch: Callable[[], int], state: str, soon: tuple[str, ...]
) -> None:
    times: dict[str, Any] = dict.fromkeys(soon, timezone.now() + SOON)
    source = make_source(state=state, **times)
    assert dispatch() == 0
    assert lease.claim(source.pk) is None


def test_an_expired_lease_is_taken_and_fences_the_old_holder() -> None:
    source = make_source()
    old = lease.claim(source.pk)
    assert old is not None
    Source.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    new = lease.claim(source.pk)
    assert new == Lease(source.pk, old.token + 1)
    lease.renew(new)
    with pytest.raises(LeaseLost):
        lease.renew(old)
    with pytest.raises(LeaseLost):
        polling.record_success(source, old, inventory=True)


def test_a_source_that_is_gone_is_nobodys() -> None:
    source = make_source()
    source_id = source.pk
    source.delete()
    assert lease.claim(source_id) is None


def test_success_sets_the_next_turns_and_gives_the_lease_back() -> None:
    source = make_source(state=SourceState.UNREACHABLE, failures=3, suspect=True, state_message="x")
    held = lease.claim(source.pk)
    assert held is not None
    polling.record_success(source, held, inventory=True)
    source.refresh_from_db()
    now = timezone.now()
    assert (source.state, source.state_message, source.failures, source.suspect) == (SourceState.OK, "", 0, False)
    assert now < source.next_states_at <= now + polling.STATES_EVERY
    assert now < source.next_inventory_at <= now + polling.INVENTORY_EVERY
    assert source.lease_until is None


def test_a_quick_read_leaves_the_inventorys_turn() -> None:
    source = make_source(next_inventory_at=timezone.now() + LATER)
    before = source.next_inventory_at
    held = lease.claim(source.pk)
    assert held is not None
    polling.record_success(source, held, inventory=False)
    source.refresh_from_db()
    assert source.next_inventory_at == before


def test_asking_for_a_read_during_a_read_brings_another() -> None:
    source = make_source()
    held = lease.claim(source.pk)
    assert held is not None
    polling.hurry([source.pk])
    polling.record_success(source, held, inventory=True)
    assert lease.claim(source.pk) is not None


@pytest.mark.parametrize(
    ("error", "state", "suspect"),
    [
        (Unreachable("No answer of %(host)s.", host="kvm-01"), SourceState.UNREACHABLE, True),
        (AuthFailed("Refused."), SourceState.AUTH_FAILED, False),
        (DriverError("Odd."), SourceState.FAILING, False),
    ],
)
def test_a_failure_says_why_and_waits(error: DriverError, state: SourceState, suspect: bool) -> None:
    source = make_source()
    held = lease.claim(source.pk)
    assert held is not None
    apply_hosts(source, snapshot(1), held, Findings())
    source.refresh_from_db()
    polling.record_failure(source, held, error)
    source.refresh_from_db()
    assert (source.state, source.state_message, source.suspect) == (state, error.message, suspect)
    assert Host.objects.get().state == HostState.NOT_RESPONDING
    assert lease.claim(source.pk) is None
    now = timezone.now()
    Source.objects.update(next_states_at=now)
    source.refresh_from_db()
    held = lease.claim(source.pk)
    assert held is not None
    polling.record_success(source, held, inventory=False)
    assert Host.objects.get().state == HostState.CONNECTED


def test_back_off_doubles_up_to_three_minutes() -> None:
    for failures, seconds in [(1, 10), (2, 20), (3, 40), (5, 160), (6, 180), (50, 180)]:
        delay = polling.back_off(failures).total_seconds()
        assert seconds * 0.9 <= delay <= seconds * 1.1


def test_since_when_a_state_holds_changes_only_with_it() -> None:
    source = make_source(state=SourceState.NEW)
    sinces = []
    for _ in range(2):
        polling.hurry([source.pk])
        Source.objects.update(next_states_at=timezone.now())
        source.refresh_from_db()
        held = lease.claim(source.pk)
        assert held is not None
        polling.record_failure(source, held, Unreachable("No answer."))
        source.refresh_from_db()
        sinces.append(source.state_since)
    assert sinces[0] == sinces[1] is not None
    assert source.failures == 2


def test_hurrying_does_not_shorten_the_back_off_of_a_failing_source() -> None:
    source = make_source(state=SourceState.UNREACHABLE)
    later(source)
    polling.hurry([source.pk])
    source.refresh_from_db()
    assert source.next_states_at > timezone.now()


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_the_source(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        source = make_source()
        outcomes = together(12, lambda _number: lease.claim(source.pk))
        assert [one for one in outcomes if isinstance(one, Exception)] == []
        assert [one for one in outcomes if one] == [Lease(source.pk, 1)]


@pytest.mark.parametrize("inventory", [True, False])
def test_a_source_that_told_of_a_change_is_read_without_waiting_for_beat(
    sent: list[tuple[str, str]],
    django_capture_on_commit_callbacks: Callable[..., Any],
    dispatch: Callable[[], int],
    inventory: bool,
) -> None:
    source = make_source()
    later(source)
    with django_capture_on_commit_callbacks(execute=True):
        polling.read_now(source.pk, inventory=inventory)
    assert sent == [(str(source.pk), "polls")]
    assert dispatch() == 0  # its message is under way
    source.refresh_from_db()
    assert (source.next_inventory_at <= timezone.now()) is inventory
    assert lease.claim(source.pk) is not None


def test_neither_a_paused_nor_a_removed_source_is_read_now(
    sent: list[tuple[str, str]], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    source, removed = make_source(state=SourceState.PAUSED), make_source(name="removed")
    removed_id = removed.pk
    removed.delete()
    with django_capture_on_commit_callbacks(execute=True):
        polling.read_now(source.pk, inventory=True)
        polling.read_now(removed_id, inventory=True)
    assert sent == []


def test_what_is_asked_for_while_it_is_read_is_read_after(dispatch: Callable[[], int], sent: list[Any]) -> None:
    source = make_source()
    held = lease.claim(source.pk)
    assert held is not None
    source.refresh_from_db()
    polling.read_now(source.pk, inventory=True)
    assert lease.claim(source.pk) is None  # the message finds it taken
    polling.record_success(source, held, inventory=True)
    assert dispatch() == 1


def test_the_hosts_certificate_is_kept_and_written_only_when_it_changes() -> None:
    source = make_source("rack-1", certificates={"client": {"subject": "CN=us"}})
    held = lease.claim(source.pk)
    assert held is not None
    presented = presented_key(make("kvm-1").pem)
    polling.note_certificate(source, held, presented)
    source.refresh_from_db()
    assert source.certificates["client"] == {"subject": "CN=us"}
    assert source.certificates["server"]["subject"] == "CN=kvm-1"
    with CaptureQueriesContext(connection) as queries:
        polling.note_certificate(source, held, presented)
    assert not queries.captured_queries


def test_whoever_lost_the_lease_keeps_no_certificate() -> None:
    source = make_source("rack-1")
    held = lease.claim(source.pk)
    assert held is not None
    Source.objects.update(lease_token=held.token + 1)
    with pytest.raises(LeaseLost):
        polling.note_certificate(source, held, presented_key(make("kvm-1").pem))
    assert Source.objects.get().certificates == {}
